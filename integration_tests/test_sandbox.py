"""Holds the sandbox to Calltouch's page, and its options and faults to their names."""

import contextlib
import json
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import requests

from sandbox.account import Account, Clock
from sandbox.faults import KINDS
from sandbox.options import DATE_FORMATS, Making
from sandbox.process import Sandbox, running
from sandbox.times import DAY_FIRST as WRITTEN
from sandbox.wire import Wire

MOSCOW = ZoneInfo("Europe/Moscow")
NO_DATE = "Значение даты и времени недопустимо."
STRING, INTEGER = "Тип значения должен быть string.", "Тип значения должен быть integer."


def day(offset: int) -> str:
    return f"{datetime.now(MOSCOW) + timedelta(days=offset):%d-%m-%Y}"


def everything() -> dict[str, Any]:
    return {"dateFrom": "01-01-2020 00:00:00", "dateTo": f"{day(0)} 23:59:59"}


def call(
    sandbox: Sandbox, body: object = None, *, token: str | None = None, **options: Any
) -> requests.Response:
    """Call the method, for the whole account unless a body is given."""
    sent = body if isinstance(body, bytes) else json.dumps(body or everything()).encode()
    headers = {"Access-Token": token or sandbox.token, "SiteId": sandbox.site_id}
    options = {"timeout": 20, "allow_redirects": False, **options}
    return requests.post(sandbox.url, data=sent, headers=headers, **options)


def data(sandbox: Sandbox, **body: Any) -> dict[str, Any]:
    """Return the data of a page that must come."""
    response = call(sandbox, {**everything(), **body})
    assert response.status_code == 200, response.text
    content: dict[str, Any] = json.loads(response.text, strict=False)["data"]
    return content


def violations(sandbox: Sandbox, **body: Any) -> set[tuple[str, str]]:
    response = call(sandbox, {**everything(), **body})
    assert response.status_code == 422
    listed = response.json()["data"]["validationErrorData"]["violations"]
    return {(violation["fieldPath"], violation["message"]) for violation in listed}


def all_rows(sandbox: Sandbox) -> list[dict[str, Any]]:
    """Return the rows of all pages, as many as the first page's total and length ask for."""
    first = data(sandbox)
    rows: list[dict[str, Any]] = first["smsDetails"]
    for page in range(2, -(-first["totalCountSms"] // len(rows)) + 1):
        rows += data(sandbox, pageOfResult=page)["smsDetails"]
    return rows


def made(form: str = WRITTEN, **making: Any) -> list[dict[str, Any]]:
    """Return an account's SMS."""
    account = Account(Making(**making), Wire(), Clock())
    return [json.loads(text) for text in account.written(account.everything(), 0, 10**6, form)]


def moment(sms: dict[str, Any]) -> datetime:
    return datetime.strptime(sms["dateSent"], WRITTEN).replace(tzinfo=MOSCOW)


def same(some: list[dict[str, Any]], others: list[dict[str, Any]]) -> bool:
    return Counter(map(str, some)) == Counter(map(str, others))


def row(sent: str, number: object = "70001112233", **fields: object) -> dict[str, Any]:
    status = {"smsStatus": "delivered", "smsStatusDetail": "Доставлено", "smsMessage": "Добавлено"}
    return {"phoneNumber": number, "dateSent": sent, **status, **fields}


@pytest.fixture(scope="module")
def shared() -> Iterator[Sandbox]:
    """One whose faults each test sets, and whose account no test changes."""
    with running("--sms", "300", "--rate", "0", "--page-size", "100") as sandbox:
        yield sandbox
        sandbox.set_faults([])


@pytest.fixture
def small() -> Iterator[Sandbox]:
    with running("--sms", "300", "--rate", "0", "--page-size", "100") as sandbox:
        yield sandbox


# The page's rules


def test_a_body_that_lacks_what_is_required_is_refused(shared: Sandbox) -> None:
    broken, lacking = call(shared, b"["), call(shared, {"dateFrom": ""})
    assert broken.status_code == lacking.status_code == 400
    assert broken.json()["data"]["apiErrorData"]["errorCode"] == 1
    sentence = "В запросе не указано обязательное поле dateTo"
    assert lacking.json() == {"meta": [], "data": {"message": sentence}}


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("dateFrom", "", "Значение не должно быть пустым."),
        ("dateTo", None, STRING),
        ("dateFrom", "2024-04-01 09:00:00", NO_DATE),
        ("dateFrom", "30-02-2024 09:00:00", NO_DATE),
        ("dateFrom", "01-04.2024 09:00:00", NO_DATE),
        ("dateTo", f"{day(2)} 00:00:00", "Значение не может быть больше текущего дня"),
        ("sort", "asc", "Данное поле не ожидалось."),
        ("phoneNumbers", "79209383654", "Тип значения должен быть array."),
        ("phoneNumbers", [], "Эта коллекция должна содержать больше или равно 1 элементу"),
        ("pageOfResult", 1, "Значение должно быть больше 1."),
        ("pageOfResult", 4, "Значение должно быть меньше или равно 3."),
        ("pageOfResult", "2", INTEGER),
        ("pageOfResult", True, INTEGER),
    ],
)
def test_a_wrong_value_is_one_violation(
    shared: Sandbox, field: str, value: object, message: str
) -> None:
    assert violations(shared, **{field: value}) == {(field, message)}


def test_all_violations_come_in_one_answer(shared: Sandbox) -> None:
    said = violations(
        shared,
        dateFrom="02-01-2024 00:00:00",
        dateTo="01-01-2024 00:00:00",
        phoneNumbers=["70001112233", "938-36-54", 7920938],
    )
    assert {path for path, _ in said} == {
        *("dateFrom", "dateTo", "phoneNumbers[1]", "phoneNumbers[2]")
    }


def test_access_is_refused_as_documented(shared: Sandbox) -> None:
    wrong = call(shared, token="wrong")
    assert (wrong.status_code, wrong.json()) == (401, {"message": "Invalid credentials."})
    with running("--sms", "10", "--no-right", "--refusal", "right=200") as sandbox:
        refused = call(sandbox)
    assert refused.status_code == 200
    assert "не имеет доступа к данному методу API" in refused.json()["data"]["message"]


# Pages and what stands on them


@pytest.mark.parametrize("order", ["mixed", "ascending", "descending", "ties"])
def test_pages_together_hold_each_sms_once(order: str) -> None:
    args = ("--sms", "5000", "--page-size", "1000", "--rate", "0", "--order", order)
    with running(*args) as sandbox:
        sandbox.add_sms([row(f"{day(-n)} 12:00:00", smsMessage=str(n)) for n in (1, 200, 3)])
        rows, truth = all_rows(sandbox), sandbox.sms()
    assert same(rows, truth)
    sent, by_time = [sms["dateSent"] for sms in rows], [sms["dateSent"] for sms in truth]
    assert (sent == by_time) == (order in {"ascending", "ties"})
    assert (sent == by_time[::-1]) == (order == "descending")


def test_ties_stand_in_another_order_at_every_call() -> None:
    args = ("--sms", "9000", "--page-size", "4000", "--rate", "0", "--order", "ties", "--mailings")
    with running(*args) as sandbox:
        first, again = data(sandbox)["smsDetails"], data(sandbox)["smsDetails"]
        rows, truth = all_rows(sandbox), sandbox.sms()
    assert same(first[:3000], again[:3000])
    assert first[:3000] != again[:3000]
    # What a client that turns the pages gets: as many rows as there are, not the same ones.
    assert [sms["dateSent"] for sms in rows] == [sms["dateSent"] for sms in truth]
    assert not same(rows, truth)


def test_options_of_the_wire_change_no_value() -> None:
    args = "--sms 300 --rate 0 --raw-breaks --unescaped-unicode --gzip --total-as-text"
    with running(*args.split()) as sandbox:
        sandbox.add_sms([row(f"{day(0)} 00:00:00", smsMessage="a\nb \\n c\\\r\nd 5%s")])
        response, page, truth = call(sandbox), data(sandbox), sandbox.sms()
    assert "Внимание, скидки!\nТолько сегодня" in response.text
    assert response.headers["Content-Encoding"] == "gzip"
    assert page["totalCountSms"] == "301"
    assert same(page["smsDetails"], truth)


def test_added_rows_are_sent_as_given(small: Sandbox) -> None:
    odd = [
        row("01.01.2024 00:00:00", None, smsStatus=None, smsMessage=5),
        row("not a date", 70001112233, extra={"a": [1]}),
    ]
    small.add_sms(odd)
    assert data(small)["smsDetails"][:2] == odd[::-1]
    assert data(small, phoneNumbers=["+7 (000) 111-22-33"])["smsDetails"] == [odd[1]]
    assert [sms for sms in small.sms() if sms in odd] == odd


# The account


@pytest.mark.parametrize("form", DATE_FORMATS.values())
def test_dates_have_the_form_that_is_asked_for(form: str) -> None:
    written = [sms["dateSent"] for sms in made(form, sms=50)]
    moments = [moment(sms) for sms in made(sms=50)]
    assert written == [f"{sent:{form.replace('+00:00', '+03:00')}}" for sent in moments]


def test_statuses_settle_as_the_clock_goes_on() -> None:
    with running("--sms", "2000", "--days", "1", "--also-status", "queued:Новый") as sandbox:
        before = sandbox.sms()
        sandbox.forward_clock(4 * 86_400)
        after = sandbox.sms()
        assert same(call(sandbox).json()["data"]["smsDetails"], after)
    moves = {(old["smsStatus"], new["smsStatus"]) for old, new in zip(before, after, strict=True)}
    assert {("waiting", "delivered"), ("sent", "delivered"), ("waiting", "queued")} <= moves
    assert not any(old in {"delivered", "error", "unknown"} for old, new in moves if old != new)
    assert len({(sms["smsStatus"], sms["smsStatusDetail"]) for sms in after}) == 10
    assert {(sms["phoneNumber"][:4], len(sms["phoneNumber"])) for sms in after} == {("7000", 11)}


@pytest.mark.parametrize(
    ("making", "largest"),
    [
        ({"sms": 32_000, "shape": "burst"}, range(31_000, 31_100)),  # in one second
        ({"sms": 1000, "mailings": 250}, [250]),
        ({"sms": 1000, "text_length": 200}, [2, 3]),  # some agree in number, second and text
        ({"sms": 25_352, "shape": "business"}, range(2, 100)),
        ({"sms": 100, "shape": "late", "days": 1000}, [2, 3]),
    ],
)
def test_an_account_has_its_size_and_shape(making: dict[str, Any], largest: list[int]) -> None:
    sms = made(**making)
    assert len(sms) == making["sms"]
    assert max(Counter(one["dateSent"] for one in sms).values()) in largest
    assert {len(one["smsMessage"]) for one in sms} == {200} or "text_length" not in making


def test_a_business_sends_on_weekdays_and_has_one_bad_day() -> None:
    days: defaultdict[date, list[bool]] = defaultdict(list)
    for sms in made(sms=20_000, shape="business"):
        days[moment(sms).date()].append(sms["smsStatus"] in {"error", "unknown"})
    assert sum(100 < len(met) < 3 * sum(met) for met in days.values()) == 1
    weekdays, weekends = ([len(days[d]) for d in days if (d.weekday() < 5) == b] for b in (1, 0))
    assert sum(weekdays) / len(weekdays) > 2 * sum(weekends) / len(weekends)


def test_the_clock_brings_sms_that_were_ahead_and_a_new_day() -> None:
    with running("--sms", "2000", "--rate", "0", "--days", "5", "--ahead", "5") as sandbox:
        before = sandbox.sms()
        sandbox.forward_clock(86_400)
        after = data(sandbox, dateTo=f"{day(1)} 23:59:59")["totalCountSms"]
        sandbox.forward_clock(9 * 86_400)
        assert (900 <= len(before) <= 1100, 180 <= after - len(before) <= 220) == (True, True)
        assert len(sandbox.sms()) == 2000


def test_sms_that_are_deleted_are_gone_and_move_those_after_them(small: Sandbox) -> None:
    rows = all_rows(small)
    small.delete_sms([rows[10]])
    assert all_rows(small) == rows[:10] + rows[11:]
    assert len(small.sms()) == 299
    with pytest.raises(ValueError, match="no such SMS"):
        small.delete_sms([rows[10]])


def test_sms_arrive_and_go_by_faults(small: Sandbox) -> None:
    rows = all_rows(small)
    small.set_faults([{"kind": "late-rows", "at": 1}, {"kind": "gone-rows", "at": 2, "rows": 5}])
    second = data(small, pageOfResult=2)
    assert (second["totalCountSms"], second["smsDetails"]) == (303, rows[97:197])
    assert data(small)["totalCountSms"] == len(small.sms()) == 298


# Limits


def test_ranges_can_be_limited_by_length_and_by_age() -> None:
    args = "--sms 100 --rate 0 --max-days 30 --kept-days 90 --longest-days 20"
    body = {"dateFrom": f"{day(-31)} 00:00:00", "dateTo": f"{day(-1)} 00:00:01"}
    old = {"dateFrom": f"{day(-91)} 00:00:00", "dateTo": f"{day(-91)} 00:00:01"}
    with running(*args.split()) as sandbox:
        assert violations(sandbox, **body) == {("dateFrom", "Период не может быть больше 30 дней")}
        assert violations(sandbox, **old) == {("dateFrom", "Данные хранятся 90 дней")}
        assert call(sandbox, {**body, "dateTo": f"{day(-1)} 00:00:00"}).status_code == 504
        assert call(sandbox, {**body, "dateTo": f"{day(-11)} 00:00:00"}).status_code == 200


def test_the_sixth_call_in_a_second_gets_429_at_once_and_a_used_up_day_as_well() -> None:
    with running("--sms", "10", "--latency", "0.3", "--points", "10") as sandbox:
        with ThreadPoolExecutor(11) as threads:
            answers = list(threads.map(lambda _: call(sandbox), range(11)))
        time.sleep(1)
        used_up, stats = call(sandbox), sandbox.stats()
        limited = [answer for answer in answers if answer.status_code == 429]
    assert (len(limited), stats["served"], stats["points"]) == (6, 5, 10)
    assert all(answer.elapsed < timedelta(seconds=0.3) for answer in limited)
    assert used_up.json()["data"] == {"message": "Превышен суточный лимит API-баллов"}
    assert used_up.status_code == 429


# Faults


@pytest.mark.parametrize(
    ("rule", "status", "start"),
    [
        ({"kind": "503"}, 503, "<!DOCTYPE html>"),
        ({"kind": "503-retry-after", "seconds": 3600}, 503, "<!DOCTYPE html>"),
        ({"kind": "token-refused"}, 403, '{"message":"Invalid credentials"}'),
        ({"kind": "permanent"}, 400, '{"meta":[],"data":{"type":"apiError","apiErrorData":{"e'),
        ({"kind": "data-message", "status": 403, "words": "No"}, 403, '{"meta":[],"data":{"mess'),
        ({"kind": "page-under-status", "status": 500}, 500, '{"meta":[],"data":{"totalCountSms"'),
        ({"kind": "null-total"}, 200, '{"meta":[],"data":{"totalCountSms":null'),
        ({"kind": "wrong-total", "rows": 10**12}, 200, '{"meta":[],"data":{"totalCountSms":1000'),
        ({"kind": "redirect"}, 302, ""),
        ({"kind": "empty"}, 200, ""),
    ],
)  # fmt: skip
def test_a_fault_answers_as_its_rule_says(
    shared: Sandbox, rule: dict[str, Any], status: int, start: str
) -> None:
    shared.set_faults([{**rule, "at": 1}])
    response = call(shared)
    assert response.status_code == status
    assert response.text.startswith(start)
    assert response.headers.get("Retry-After") == ("3600" if "seconds" in rule else None)


def test_faults_change_a_page_as_they_are_named(shared: Sandbox) -> None:
    kinds = ("short-page", "rows-as-object", "page-size", "charset")
    shared.set_faults([{"kind": kind, "at": at, "rows": 4} for at, kind in enumerate(kinds, 2)])
    right, short, keyed, sized = (data(shared)["smsDetails"] for _ in range(4))
    assert (short, sized) == (right[:96], right[:4])
    assert keyed == {str(place): sms for place, sms in enumerate(right)}
    response = call(shared)
    assert (response.encoding, response.json()["data"]["smsDetails"]) == ("windows-1251", right)


def test_each_kind_answers_or_ends_the_connection(small: Sandbox) -> None:
    small.set_faults([{"kind": kind, "at": at, "seconds": 0} for at, kind in enumerate(KINDS, 1)])
    for _ in KINDS:
        with (
            contextlib.suppress(requests.RequestException, ValueError),
            call(small, timeout=1, stream=True) as response,
        ):
            next(response.iter_content(1), None)
    assert small.stats()["faulted"] == len(KINDS)
    assert call(small).status_code == 200


def test_rules_name_their_calls_and_stats_count_them(shared: Sandbox) -> None:
    plan = [
        {"kind": "500", "at": 2},
        {"kind": "502", "from": 4, "times": 1},
        {"kind": "504", "every": 3},
    ]
    shared.set_faults(plan)
    shared.reset_stats()
    met = [200, 500, 504, 502, 200, 504]
    assert [call(shared).status_code for _ in range(6)] == met
    stats = shared.stats()
    assert (stats["served"], stats["faulted"], stats["points"]) == (2, 4, 4)
    assert [status for _, status in stats["calls"]] == met
    assert stats["bodies"] == [everything()] * 6


def test_a_wrong_plan_is_refused(shared: Sandbox) -> None:
    for rule in ({"kind": "none", "at": 1}, {"kind": "500"}, {"kind": "500", "at": 1, "second": 2}):
        with pytest.raises(ValueError, match="faults"):
            shared.set_faults([rule])


def test_running_tells_that_it_could_not_start() -> None:
    with pytest.raises(RuntimeError, match="did not start"), running("--zone", "Nowhere/City"):
        pass
