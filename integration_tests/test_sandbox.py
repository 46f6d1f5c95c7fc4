"""Holds the sandbox to Calltouch's page, and to what the other tests rely on."""

import json
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import requests

from sandbox.app import Limiter
from sandbox.process import Sandbox, running

Data = dict[str, Any]
NO_DATE = "Значение даты и времени недопустимо."
SMS = {"phoneNumber": "70001112233", "smsStatus": "sent", "smsMessage": "a\nb \\n c\\\r\nd 5%s"}


def day(offset: int, clock: str = "00:00:00") -> str:
    return f"{datetime.now(ZoneInfo('Europe/Moscow')) + timedelta(offset):%d-%m-%Y} {clock}"


def call(sandbox: Sandbox, raw: bytes = b"", token: str = "", **body: Any) -> requests.Response:
    """Call the method, for the whole account unless the body says otherwise."""
    ends = {"dateFrom": day(-1500), "dateTo": day(0, "23:59:59")}
    headers = {"Access-Token": token or sandbox.token, "SiteId": sandbox.site_id}
    sent = raw or json.dumps(ends | body).encode()
    return requests.post(sandbox.url, sent, headers=headers, timeout=5, allow_redirects=False)


def data(sandbox: Sandbox, **body: Any) -> Data:
    content: Data = json.loads(call(sandbox, **body).text, strict=False)["data"]
    return content


def violations(sandbox: Sandbox, **body: Any) -> dict[str, str]:
    listed = data(sandbox, **body)["validationErrorData"]["violations"]
    return {violation["fieldPath"]: violation["message"] for violation in listed}


def same(some: list[Data], others: list[Data]) -> bool:
    return Counter(map(str, some)) == Counter(map(str, others))


@pytest.fixture(scope="module")
def calltouch() -> Iterator[Sandbox]:
    with running("--sms", "300", "--rate", "0", "--page-size", "100") as sandbox:
        yield sandbox


def test_a_body_or_token_that_is_wrong_is_answered_in_the_pages_words(sandbox: Sandbox) -> None:
    broken, lacking = call(sandbox, b"["), call(sandbox, b'{"dateFrom": ""}')
    assert broken.json()["data"]["apiErrorData"]["errorCode"] == 1
    sentence = "В запросе не указано обязательное поле dateTo"
    assert lacking.json() == {"meta": [], "data": {"message": sentence}}
    assert call(sandbox, token="wrong").json() == {"message": "Invalid credentials."}


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("dateFrom", "", "Значение не должно быть пустым."),
        ("dateTo", None, "Тип значения должен быть string."),
        ("dateFrom", "2024-04-01 09:00:00", NO_DATE),
        ("dateFrom", "30-02-2024 09:00:00", NO_DATE),
        ("dateFrom", "01-04.2024 09:00:00", NO_DATE),
        ("dateFrom", "1-4-2024 9:00:00", NO_DATE),
        ("dateTo", day(2), "Значение не может быть больше текущего дня"),
        ("sort", "asc", "Данное поле не ожидалось."),
        ("phoneNumbers", "79209383654", "Тип значения должен быть array."),
        ("phoneNumbers", [], "Эта коллекция должна содержать больше или равно 1 элементу"),
        ("pageOfResult", 1, "Значение должно быть больше 1."),
        ("pageOfResult", 4, "Значение должно быть меньше или равно 3."),
        ("pageOfResult", "2", "Тип значения должен быть integer."),
    ],
)
def test_a_wrong_value_is_one_violation(
    sandbox: Sandbox, field: str, value: object, message: str
) -> None:
    assert violations(sandbox, **{field: value}) == {field: message}


@pytest.mark.parametrize("order", ["mixed", "ascending", "descending", "ties"])
def test_pages_hold_the_account_in_the_order_that_is_asked_for(order: str) -> None:
    options = f"--sms 300 --page-size 100 --mailings 100 --rate 0 --order {order}"
    with running(*options.split()) as sandbox:
        pages = [data(sandbox)["smsDetails"]]
        pages += [data(sandbox, pageOfResult=page)["smsDetails"] for page in (2, 3)]
        again, truth = data(sandbox)["smsDetails"], sandbox.sms()
    rows = [row for page in pages for row in page]
    sent, by_time = [sms["dateSent"] for sms in rows], [sms["dateSent"] for sms in truth]
    assert same(rows, truth)
    assert same(again, pages[0])
    assert (again != pages[0]) == (order == "ties")
    assert (sent == by_time) == (order in {"ascending", "ties"})
    assert (sent == by_time[::-1]) == (order == "descending")


def test_options_of_the_wire_change_no_value() -> None:
    options = "--raw-breaks --unescaped-unicode --gzip --total-as-text --date-format dd.mm.yyyy"
    with running("--sms", "300", *options.split()) as sandbox:
        sandbox.add_sms([SMS | {"dateSent": day(-1)}])
        response, page, truth = call(sandbox), data(sandbox), sandbox.sms()
    assert "Внимание, скидки!\nТолько сегодня" in response.text
    assert response.headers["Content-Encoding"] == "gzip"
    assert page["totalCountSms"] == "301"
    rows = [sms | {"dateSent": sms["dateSent"].replace(".", "-")} for sms in page["smsDetails"]]
    assert same(rows, truth)


def test_sms_come_and_go_and_those_that_are_added_are_sent_as_given() -> None:
    odd = SMS | {"phoneNumber": 70001112233, "dateSent": "not a date", "extra": {"a": [1]}}
    with running("--sms", "300", "--rate", "0") as sandbox:
        sandbox.add_sms([odd])
        assert data(sandbox, phoneNumbers=["+7 (000) 111-22-33"])["smsDetails"] == [odd]
        late, gone = {"kind": "late-rows", "at": 1}, {"kind": "gone-rows", "at": 2, "rows": 5}
        sandbox.set_faults([late, gone])
        assert [data(sandbox)["totalCountSms"] for _ in range(2)] == [304, 299]
        assert len(sandbox.sms()) == 299


def test_the_clock_settles_statuses_and_brings_a_new_day() -> None:
    with running("--sms", "2000", "--days", "5") as sandbox:
        before = sandbox.sms()
        sandbox.forward_clock(10 * 86_400)
        after = sandbox.sms()
        assert data(sandbox, dateTo=day(10, "23:59:59"))["totalCountSms"] == len(before) == 2000
    moves = {(o["smsStatus"], n["smsStatus"]) for o, n in zip(before, after, strict=False)}
    assert {("waiting", "delivered"), ("sent", "delivered")} <= moves
    assert not any(old in {"delivered", "error", "unknown"} for old, new in moves if old != new)


def test_limits_hold() -> None:
    options = "--sms 10 --rate 0 --max-days 30 --kept-days 90 --longest-days 20 --points 2"
    with running(*options.split()) as sandbox:
        long = violations(sandbox, dateFrom=day(-31), dateTo=day(0))
        assert long == {"dateFrom": "Период не может быть больше 30 дней"}
        old = violations(sandbox, dateFrom=day(-91), dateTo=day(-91))
        assert old == {"dateFrom": "Данные хранятся 90 дней"}
        assert call(sandbox, dateFrom=day(-31), dateTo=day(-1)).status_code == 504
        assert data(sandbox, dateFrom=day(-9))["totalCountSms"] < 10
        used_up = call(sandbox, dateFrom=day(-9))
    assert used_up.json()["data"] == {"message": "Превышен суточный лимит API-баллов"}
    assert used_up.status_code == 429


def test_in_any_second_five_calls_of_an_address_are_let_in() -> None:
    limiter = Limiter(5)
    came = [0, 0.5, 0.5, 0.9, 0.9, 0.95, 1.0, 1.4, 1.5]
    let_in = [limiter.lets_in("here", at) for at in came]
    assert let_in == [True] * 5 + [False, True, False, True]
    assert limiter.lets_in("elsewhere", 1.5)


def test_rules_name_their_calls_and_stats_count_them(sandbox: Sandbox) -> None:
    first = {"kind": "500", "at": 2}
    more: list[Data] = [{"kind": "502", "from": 4, "times": 1}, {"kind": "504", "every": 3}]
    sandbox.set_faults([first, *more])
    met = [200, 500, 504, 502, 200, 504]
    assert [call(sandbox).status_code for _ in range(6)] == met
    stats = sandbox.stats()
    assert (stats["served"], stats["faulted"], stats["points"]) == (2, 4, 4)
    assert [status for _, status in stats["calls"]] == met
    for rule in ({"kind": "none", "at": 1}, {"kind": "500"}, {**first, "second": 2}):
        with pytest.raises(ValueError, match="faults"):
            sandbox.set_faults([rule])
