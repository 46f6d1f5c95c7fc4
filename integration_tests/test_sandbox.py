"""Holds the sandbox to Calltouch's page, and its faults to their names.

What the contract suite asks of every service is proved by test_contract.py, not here.
"""

import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit
from zoneinfo import ZoneInfo

import pytest
import requests

from sandbox.account import Account, Clock, Making, Writer
from sandbox.app import Calltouch, Options
from sandbox.faults import KINDS, Plan, read_plan
from sandbox.process import Sandbox, running
from sandbox.wire import Wire

MOSCOW = ZoneInfo("Europe/Moscow")
DETAILS = {
    "waiting": {"Статус еще не получен", "Ожидает отправки"},
    "unknown": {"Неизвестный статус"},
    "sent": {"Передано оператору", "Просрочено"},
    "error": {
        "Невозможно доставить",
        "Неверный номер",
        "Запрещено",
        "Недостаточно средств",
        "Недоступный номер",
    },
    "delivered": {"Доставлено"},
}


def day(offset: int) -> str:
    return f"{datetime.now(MOSCOW) + timedelta(days=offset):%d-%m-%Y}"


def moment(sent: str) -> datetime:
    return datetime.strptime(sent, "%d-%m-%Y %H:%M:%S").replace(tzinfo=MOSCOW)


def everything() -> dict[str, Any]:
    return {"dateFrom": "01-01-2020 00:00:00", "dateTo": f"{day(0)} 23:59:59"}


def call(
    sandbox: Sandbox,
    body: object = None,
    *,
    headers: dict[str, str] | None = None,
    timeout: float = 20,
    stream: bool = False,
) -> requests.Response:
    """Call the method, for the whole account unless a body is given."""
    sent = body if isinstance(body, bytes) else json.dumps(body or everything()).encode()
    given = {"Access-Token": sandbox.token, "SiteId": sandbox.site_id, **(headers or {})}
    given = {"Content-Type": "application/json", **given}
    return requests.post(
        sandbox.url, data=sent, headers=given, timeout=timeout, stream=stream, allow_redirects=False
    )


def await_call(url: str) -> None:
    """Wait until the sandbox has had a call since the last reset."""
    while not requests.get(urljoin(url, "/_sandbox/stats"), timeout=20).json()["bodies"]:
        time.sleep(0.01)


def data(sandbox: Sandbox, **body: Any) -> dict[str, Any]:
    """Return the data of a page that must come."""
    response = call(sandbox, {**everything(), **body})
    assert response.status_code == 200, response.text
    content: dict[str, Any] = response.json()["data"]
    return content


def violations(sandbox: Sandbox, **body: Any) -> set[tuple[str, str]]:
    response = call(sandbox, {**everything(), **body})
    assert response.status_code == 422
    answer = response.json()
    assert answer["meta"] == []
    assert answer["data"]["type"] == "validationError"
    assert answer["data"]["apiErrorData"] is None
    listed = answer["data"]["validationErrorData"]["violations"]
    return {(violation["fieldPath"], violation["message"]) for violation in listed}


def row(sent: str, number: object = "70001112233", **fields: object) -> dict[str, Any]:
    return {
        "phoneNumber": number,
        "dateSent": sent,
        "smsStatus": "delivered",
        "smsStatusDetail": "Доставлено",
        "smsMessage": "Добавлено",
        **fields,
    }


@pytest.fixture(scope="module")
def shared() -> Iterator[Sandbox]:
    """One that tests only read from, or leave as it was."""
    with running("--sms", "25352", "--rate", "0") as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def faulty() -> Iterator[Sandbox]:
    """One whose faults each test sets."""
    with running("--sms", "300", "--rate", "0") as sandbox:
        yield sandbox


@pytest.fixture
def ahead() -> Iterator[Sandbox]:
    """One with SMS of five days, and of five days to come."""
    args = ("--sms", "2000", "--rate", "0", "--days", "5", "--ahead", "5")
    with running(*args) as sandbox:
        yield sandbox


@pytest.fixture
def small() -> Iterator[Sandbox]:
    """A fresh one."""
    with running("--sms", "300", "--rate", "0", "--page-size", "100") as sandbox:
        yield sandbox


# Access


def test_missing_credentials_are_refused(shared: Sandbox) -> None:
    response = requests.post(shared.url, json=everything(), timeout=20)
    assert response.status_code == 401


def test_no_right_to_the_method_is_told_as_documented() -> None:
    with running("--sms", "10", "--no-right") as sandbox:
        response = call(sandbox)
    assert response.status_code == 403
    sentence = response.json()["data"]["message"]
    assert sentence.startswith("Пользователь ")
    assert sentence.endswith(" не имеет доступа к данному методу API")
    assert "party_name" not in sentence


def test_only_post_is_allowed(shared: Sandbox) -> None:
    assert requests.get(shared.url, timeout=20).status_code == 405


@pytest.mark.parametrize(
    "path", ["/lead-service/v1/api/calltouch-leads/sms-to-clients/result", "/other"]
)
def test_another_address_is_an_html_404(shared: Sandbox, path: str) -> None:
    response = requests.post(f"http://127.0.0.1:{shared.port}{path}", json={}, timeout=20)
    assert response.status_code == 404
    assert response.headers["Content-Type"].startswith("text/html")


# What the body may be


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"text"', b"null", b"\xff"])
def test_a_body_that_is_no_json_object_is_a_syntax_error(shared: Sandbox, body: bytes) -> None:
    response = call(shared, body)
    assert response.status_code == 400
    assert response.json() == {
        "meta": [],
        "data": {
            "type": "apiError",
            "apiErrorData": {
                "errorCode": 1,
                "errorMessage": "Синтаксическая ошибка JSON в запросе или запрос пустой",
                "errorDescription": None,
            },
            "validationErrorData": None,
        },
    }


@pytest.mark.parametrize("field", ["dateFrom", "dateTo"])
def test_a_missing_required_field_is_named(shared: Sandbox, field: str) -> None:
    body = everything()
    del body[field]
    response = call(shared, body)
    assert response.status_code == 400
    sentence = f"В запросе не указано обязательное поле {field}"
    assert response.json() == {"meta": [], "data": {"message": sentence}}


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("dateFrom", "", ("dateFrom", "Значение не должно быть пустым.")),
        ("dateTo", 1, ("dateTo", "Тип значения должен быть string.")),
        ("dateTo", None, ("dateTo", "Тип значения должен быть string.")),
        ("dateFrom", "2024-04-01 09:00:00", ("dateFrom", "Значение даты и времени недопустимо.")),
        ("dateFrom", "30-02-2024 09:00:00", ("dateFrom", "Значение даты и времени недопустимо.")),
        ("dateFrom", "01-04.2024 09:00:00", ("dateFrom", "Значение даты и времени недопустимо.")),
        ("dateFrom", "01-04-2024T09:00:00", ("dateFrom", "Значение даты и времени недопустимо.")),
        ("dateFrom", "01-04-2024 09:00", ("dateFrom", "Значение даты и времени недопустимо.")),
        ("dateFrom", "01-04-2024 24:00:00", ("dateFrom", "Значение даты и времени недопустимо.")),
        ("page", 2, ("page", "Данное поле не ожидалось.")),
        ("phoneNumbers", "79209383654", ("phoneNumbers", "Тип значения должен быть array.")),
        ("phoneNumbers", [7920938], ("phoneNumbers[0]", "Тип значения должен быть string.")),
        (
            "phoneNumbers",
            ["70001112233", "938-36-54"],
            (
                "phoneNumbers[1]",
                "Значение не является номером телефона с кодом города или оператора.",
            ),
        ),
        (
            "phoneNumbers",
            [],
            ("phoneNumbers", "Эта коллекция должна содержать больше или равно 1 элементу"),
        ),
        (
            "phoneNumbers",
            ["70001112233"] * 10_001,
            ("phoneNumbers", "Эта коллекция должна содержать меньше или равно 10000 элементам"),
        ),
        ("pageOfResult", 0, ("pageOfResult", "Значение должно быть больше 1.")),
        ("pageOfResult", 1, ("pageOfResult", "Значение должно быть больше 1.")),
        ("pageOfResult", 4, ("pageOfResult", "Значение должно быть меньше или равно 3.")),
        ("pageOfResult", True, ("pageOfResult", "Тип значения должен быть integer.")),
        ("pageOfResult", "2", ("pageOfResult", "Тип значения должен быть integer.")),
        ("pageOfResult", 2.0, ("pageOfResult", "Тип значения должен быть integer.")),
    ],
)
def test_a_wrong_value_is_one_violation(
    shared: Sandbox, field: str, value: object, said: tuple[str, str]
) -> None:
    assert violations(shared, **{field: value}) == {said}


def test_dates_after_today_in_the_accounts_zone_are_refused(shared: Sandbox) -> None:
    message = "Значение не может быть больше текущего дня"
    tomorrow = f"{day(1)} 00:00:00"
    assert violations(shared, dateTo=tomorrow) == {("dateTo", message)}
    both = violations(shared, dateFrom=tomorrow, dateTo=tomorrow)
    assert both == {("dateFrom", message), ("dateTo", message)}


def test_all_violations_come_in_one_answer(shared: Sandbox) -> None:
    said = violations(
        shared,
        dateFrom="02-01-2024 00:00:00",
        dateTo="01-01-2024 00:00:00",
        phoneNumbers=[],
        pageOfResult=1,
        sort="asc",
    )
    assert said == {
        ("dateFrom", "Значение не может быть больше dateTo"),
        ("dateTo", "Значение не может быть меньше dateFrom"),
        ("phoneNumbers", "Эта коллекция должна содержать больше или равно 1 элементу"),
        ("pageOfResult", "Значение должно быть больше 1."),
        ("sort", "Данное поле не ожидалось."),
    }


# Pages


@pytest.mark.parametrize("order", ["mixed", "ascending", "descending", "ties"])
def test_pages_together_hold_each_sms_once(order: str) -> None:
    with running(
        "--sms", "5000", "--page-size", "1000", "--rate", "0", "--order", order
    ) as sandbox:
        sandbox.add_sms([row(f"{day(-n)} 12:00:00", smsMessage=str(n)) for n in (1, 200, 3)])
        rows = data(sandbox)["smsDetails"]
        for number in range(2, 7):
            page = data(sandbox, pageOfResult=number)
            assert (page["totalCountSms"], page["pageOfResult"]) == (5003, number)
            rows += page["smsDetails"]
        truth = sandbox.sms()
    assert Counter(map(str, rows)) == Counter(map(str, truth))
    by_time = [sms["dateSent"] for sms in truth]
    sent = [sms["dateSent"] for sms in rows]
    assert (sent == by_time) == (order in {"ascending", "ties"})
    assert (sent == by_time[::-1]) == (order == "descending")


def all_rows(sandbox: Sandbox) -> list[dict[str, Any]]:
    """Return the rows of all pages, as many as the first page's total and length ask for."""
    first = data(sandbox)
    rows: list[dict[str, Any]] = first["smsDetails"]
    for page in range(2, -(-first["totalCountSms"] // len(rows)) + 1):
        rows += data(sandbox, pageOfResult=page)["smsDetails"]
    return rows


def test_ties_stand_in_another_order_at_every_call() -> None:
    args = ("--sms", "9000", "--page-size", "4000", "--rate", "0", "--order", "ties", "--mailings")
    with running(*args) as sandbox:
        first = data(sandbox)["smsDetails"]
        again = data(sandbox)["smsDetails"]
        rows, truth = all_rows(sandbox), sandbox.sms()
    assert [sms["dateSent"] for sms in first] == [sms["dateSent"] for sms in again]
    assert Counter(map(str, first[:3000])) == Counter(map(str, again[:3000]))
    assert first[:3000] != again[:3000]
    assert Counter(map(str, first)) != Counter(map(str, again))
    # What a client that turns the pages gets: as many rows as there are, not the same ones.
    assert [sms["dateSent"] for sms in rows] == [sms["dateSent"] for sms in truth]
    assert Counter(map(str, rows)) != Counter(map(str, truth))


# What stands on the wire


def test_raw_breaks_stand_unescaped_and_nothing_else_changes() -> None:
    args = ("--sms", "300", "--raw-breaks", "--unescaped-unicode")
    with running(*args) as sandbox:
        sandbox.add_sms([row(f"{day(0)} 00:00:00", smsMessage="a\nb \\n c\\\r\nd")])
        content = call(sandbox).content.decode()
        truth = sandbox.sms()
    assert "Внимание, скидки!\nТолько сегодня" in content
    with pytest.raises(json.JSONDecodeError):
        json.loads(content)
    rows = json.loads(content, strict=False)["data"]["smsDetails"]
    assert Counter(map(str, rows)) == Counter(map(str, truth))


def test_added_rows_are_sent_as_given(small: Sandbox) -> None:
    odd = [
        row("01-01-2024 00:00:00", None, smsStatus=None, smsMessage=5),
        row("not a date", 70001112233, extra={"a": [1]}),
    ]
    small.add_sms(odd)
    rows = data(small)["smsDetails"]
    assert all(added in rows for added in odd)
    filtered = data(small, phoneNumbers=["70001112233"])["smsDetails"]
    assert filtered == [odd[1]]
    # What has no date is found where a client that leaves out the newest minute looks for it.
    until = datetime.now(MOSCOW) - timedelta(minutes=1)
    assert odd[1] in data(small, dateTo=f"{until:%d-%m-%Y %H:%M:%S}")["smsDetails"]


def test_a_page_is_compressed_for_a_client_that_takes_it() -> None:
    with running("--sms", "300", "--rate", "0", "--gzip") as sandbox:
        compressed, again = call(sandbox), call(sandbox)
        plain = call(sandbox, headers={"Accept-Encoding": "identity"})
    assert compressed.headers["Content-Encoding"] == "gzip"
    assert int(compressed.headers["Content-Length"]) < len(plain.content)
    assert "Content-Encoding" not in plain.headers
    assert compressed.content == again.content == plain.content


def test_dates_can_be_written_in_another_way_at_every_call() -> None:
    truth = row("01-02-2021 10:20:30")
    with running("--shape", "empty", "--rate", "0", "--date-format", "mixed") as sandbox:
        sandbox.add_sms([truth])
        written = {data(sandbox)["smsDetails"][0]["dateSent"] for _ in range(3)}
        assert sandbox.sms() == [truth]
    assert written == {"01-02-2021 10:20:30", "01.02.2021 10:20:30", "2021-02-01 10:20:30"}


def test_all_statuses_come_with_their_documented_details(shared: Sandbox) -> None:
    met: dict[str, set[str]] = {}
    for sms in shared.sms():
        met.setdefault(sms["smsStatus"], set()).add(sms["smsStatusDetail"])
    assert met == DETAILS


def test_numbers_belong_to_nobody(shared: Sandbox) -> None:
    assert {(sms["phoneNumber"][:4], len(sms["phoneNumber"])) for sms in shared.sms()} == {
        ("7000", 11)
    }


def test_some_sms_agree_in_number_second_and_text() -> None:
    with running("--sms", "100") as sandbox:
        rows = sandbox.sms()
    groups = Counter((sms["phoneNumber"], sms["dateSent"], sms["smsMessage"]) for sms in rows)
    assert sum(count > 1 for count in groups.values()) >= 3


def test_statuses_settle_as_the_clock_goes_on() -> None:
    with running("--sms", "2000", "--days", "1") as sandbox:
        before = sandbox.sms()
        on_page = call(sandbox).json()["data"]["smsDetails"]
        sandbox.forward_clock(4 * 86_400)
        after = sandbox.sms()
        settled_page = call(sandbox).json()["data"]["smsDetails"]
    assert Counter(map(str, settled_page)) == Counter(map(str, after))
    assert on_page != settled_page
    assert any(sms["smsStatus"] == "waiting" for sms in before)
    assert not any(sms["smsStatus"] == "waiting" for sms in after)
    moves = {(old["smsStatus"], new["smsStatus"]) for old, new in zip(before, after, strict=True)}
    assert ("waiting", "delivered") in moves
    assert ("sent", "delivered") in moves
    assert ("delivered", "delivered") in moves
    assert not any(old in {"delivered", "error", "unknown"} for old, new in moves if old != new)
    unchanged = ("phoneNumber", "dateSent", "smsMessage")
    assert [[sms[name] for name in unchanged] for sms in before] == [
        [sms[name] for name in unchanged] for sms in after
    ]


def test_burst_has_31000_sms_in_one_second() -> None:
    with running("--sms", "32000", "--shape", "burst") as sandbox:
        seconds = Counter(sms["dateSent"] for sms in sandbox.sms())
    assert max(seconds.values()) >= 31_000


def test_mailings_send_as_many_sms_as_they_say_in_one_second() -> None:
    with running("--sms", "1000", "--mailings", "250") as sandbox:
        seconds = Counter(sms["dateSent"] for sms in sandbox.sms())
    assert list(seconds.values()) == [250] * 4


def test_texts_have_the_length_that_is_asked_for() -> None:
    with running("--sms", "100", "--text-length", "200") as sandbox:
        texts = {sms["smsMessage"] for sms in sandbox.sms()}
    assert {len(text) for text in texts} == {200}
    assert len(texts) > 90
    assert all(letter.isalpha() or letter == " " for text in texts for letter in text[:-4])


def test_the_clock_brings_sms_that_were_ahead_and_a_new_day(ahead: Sandbox) -> None:
    body = {"dateFrom": f"{day(-9)} 00:00:00", "dateTo": f"{day(0)} 23:59:59"}
    tomorrow = {**body, "dateTo": f"{day(1)} 23:59:59"}
    before, today = ahead.sms(), data(ahead, **body)["totalCountSms"]
    assert 900 <= len(before) == today <= 1100
    assert call(ahead, tomorrow).status_code == 422
    ahead.forward_clock(86_400)
    after = ahead.sms()
    assert 180 <= len(after) - len(before) <= 220
    assert [sms["dateSent"] for sms in after[: len(before)]] == [sms["dateSent"] for sms in before]
    assert data(ahead, **tomorrow)["totalCountSms"] == len(after)
    ahead.forward_clock(9 * 86_400)
    assert len(ahead.sms()) == 2000


def test_late_has_nine_tenths_in_the_last_30_days() -> None:
    with running("--sms", "1000", "--shape", "late", "--rate", "0") as sandbox:
        recent = data(sandbox, dateFrom=f"{day(-30)} 00:00:00")["totalCountSms"]
    assert 895 <= recent <= 910


def test_equal_seeds_make_equal_accounts() -> None:
    def texts(seed: int) -> list[tuple[str, str]]:
        account = Account(Making(sms=50, seed=seed), Clock())
        rows = account.page(account.everything(), "ascending", 0, 50)
        written = json.loads(f"[{Writer(account, Wire()).rows(rows, ',')[0]}]")
        return [(sms["phoneNumber"], sms["smsMessage"]) for sms in written]

    assert texts(7) == texts(7) != texts(8)


# SMS that come and go


def test_deleted_sms_are_gone_from_pages_and_from_the_truth(small: Sandbox) -> None:
    before = small.sms()
    doomed = [before[7], before[200], row("01-02-2021 10:00:00"), row("01-02-2021 10:00:00")]
    small.add_sms(doomed[2:])
    small.delete_sms(doomed[:3])
    after = small.sms()
    assert Counter(map(str, after)) == Counter(map(str, [*before, doomed[3]])) - Counter(
        map(str, doomed[:2])
    )
    assert Counter(map(str, all_rows(small))) == Counter(map(str, after))
    number = before[7]["phoneNumber"]
    filtered = data(small, phoneNumbers=[number])["totalCountSms"]
    assert filtered == sum(sms["phoneNumber"] == number for sms in after)
    with pytest.raises(ValueError, match="no such SMS"):
        small.delete_sms([before[7]])


def test_gone_rows_leave_the_last_page_refused(small: Sandbox) -> None:
    small.add_sms([row("01-02-2021 10:00:00")])
    assert len(data(small, pageOfResult=4)["smsDetails"]) == 1
    small.set_faults([{"kind": "gone-rows", "at": 1, "rows": 2}])
    refused = violations(small, pageOfResult=4)
    assert refused == {("pageOfResult", "Значение должно быть меньше или равно 3.")}
    assert len(small.sms()) == data(small)["totalCountSms"] == 299


def test_an_sms_that_is_deleted_moves_those_after_it_and_no_others(small: Sandbox) -> None:
    before = data(small)["smsDetails"]
    small.delete_sms([before[10]])
    after = data(small)["smsDetails"]
    assert after[:99] == before[:10] + before[11:]


def test_arriving_brings_an_sms_of_this_minute_before_each_call() -> None:
    with running("--sms", "10", "--rate", "0", "--arriving") as sandbox:
        assert [data(sandbox)["totalCountSms"] for _ in range(3)] == [11, 12, 13]
        old = [data(sandbox, dateTo="02-01-2020 00:00:00")["totalCountSms"] for _ in range(3)]
        assert old == [0] * 3
        sandbox.forward_clock(3600)
        call(sandbox)
        newest = moment(sandbox.sms()[-1]["dateSent"])
    since = datetime.now(MOSCOW) + timedelta(hours=1) - newest
    assert timedelta(seconds=-1) < since < timedelta(seconds=65)


# Limits


def test_a_range_that_is_too_long_gets_504_after_a_while() -> None:
    args = ("--sms", "100", "--rate", "0", "--longest-days", "40", "--too-long-seconds", "0.3")
    body = {"dateFrom": f"{day(-41)} 00:00:00", "dateTo": f"{day(-1)} 00:00:00"}
    with running(*args) as sandbox:
        assert call(sandbox, body).status_code == 200
        longer = call(sandbox, {**body, "dateTo": f"{day(-1)} 00:00:01"})
        stats = sandbox.stats()
    assert (longer.status_code, longer.headers["Content-Type"][:9]) == (504, "text/html")
    assert longer.elapsed > timedelta(seconds=0.3)
    assert (stats["served"], stats["faulted"], stats["points"]) == (1, 1, 2)


def test_jitter_varies_the_latency_by_its_part() -> None:
    calltouch = Calltouch(Making(sms=0), Options(latency=2, jitter=0.25), Plan())
    drawn = sorted(calltouch.latency() for _ in range(1000))
    assert 1.5 <= drawn[0] < 1.6
    assert 2.4 < drawn[-1] <= 2.5


def test_the_sixth_call_in_a_second_gets_429_at_once_and_a_later_one_is_served() -> None:
    with running("--sms", "10", "--latency", "0.3") as sandbox:
        with ThreadPoolExecutor(11) as threads:
            begun = time.monotonic()
            answers = list(threads.map(lambda _: call(sandbox), range(11)))
            took = time.monotonic() - begun
        statuses = Counter(answer.status_code for answer in answers)
        limited = [answer for answer in answers if answer.status_code == 429]
        stats = sandbox.stats()
        time.sleep(1)
        assert call(sandbox).status_code == 200
    assert statuses == {200: 5, 429: 6}
    assert took >= 0.3
    assert all(answer.elapsed < timedelta(seconds=0.3) for answer in limited)
    assert (stats["served"], stats["limited"], stats["points"]) == (5, 6, 10)


def test_a_used_up_day_of_points_answers_429() -> None:
    with running("--sms", "10", "--points", "4", "--rate", "0") as sandbox:
        assert call(sandbox, b"").status_code == 400
        assert [call(sandbox).status_code for _ in range(2)] == [200, 200]
        refused = call(sandbox)
        assert sandbox.stats()["points"] == 4
        sandbox.reset_stats()
        assert call(sandbox).status_code == 200
    assert refused.status_code == 429
    assert refused.json()["data"] == {"message": "Превышен суточный лимит API-баллов"}


def test_stats_keep_bodies_and_control_calls_do_not_count(small: Sandbox) -> None:
    body = {**everything(), "pageOfResult": 2}
    call(small, body)
    call(small, b"{")
    small.sms()
    stats = small.stats()
    assert stats["bodies"] == [body, "{"]
    assert (stats["served"], stats["refused"], stats["faulted"]) == (1, 1, 0)
    assert [status for _, status in stats["calls"]] == [200, 400]
    assert 0 <= stats["calls"][0][0] <= stats["calls"][1][0] < 60
    assert small.token not in json.dumps(stats)


# Faults


@pytest.mark.parametrize("kind", ["429", "500", "502", "503", "504", "408"])
def test_status_faults_are_that_status_with_html(faulty: Sandbox, kind: str) -> None:
    faulty.set_faults([{"kind": kind, "at": 1}])
    response = call(faulty)
    assert response.status_code == int(kind)
    assert response.headers["Content-Type"].startswith("text/html")
    assert "Retry-After" not in response.headers
    assert call(faulty).status_code == 200


def test_retry_after_comes_in_seconds_or_as_a_date(faulty: Sandbox) -> None:
    faulty.set_faults(
        [
            {"kind": "429-retry-after", "at": 1},
            {"kind": "429-retry-after", "at": 2, "seconds": 60, "date": True},
        ]
    )
    first, second = call(faulty), call(faulty)
    assert (first.status_code, first.headers["Retry-After"]) == (429, "1")
    until = parsedate_to_datetime(second.headers["Retry-After"]).timestamp()
    assert 55 <= until - time.time() <= 61


def test_reset_resets_the_connection(faulty: Sandbox) -> None:
    faulty.set_faults([{"kind": "reset", "at": 1}])
    with socket.create_connection(("127.0.0.1", faulty.port)) as client:
        path = faulty.url.partition(str(faulty.port))[2]
        client.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode())
        with pytest.raises(ConnectionResetError):
            client.recv(1)


def test_cut_ends_before_the_announced_length(faulty: Sandbox) -> None:
    faulty.set_faults([{"kind": "cut", "at": 1}])
    with pytest.raises(requests.exceptions.ChunkedEncodingError, match="IncompleteRead"):
        call(faulty)


def test_half_json_is_whole_http_and_half_a_page(faulty: Sandbox) -> None:
    right = call(faulty).content
    faulty.set_faults([{"kind": "half-json", "at": 1}])
    assert call(faulty).content == right[: len(right) // 2]


@pytest.mark.parametrize(
    ("kind", "start"),
    [
        ("html", "<!DOCTYPE html>"),
        ("api-error", '{"meta":[],"data":{"type":"apiError","apiErrorData":{"errorCode":500'),
        ("syntax-error", '{"meta":[],"data":{"type":"apiError","apiErrorData":{"errorCode":1,'),
        ("token-revoked", '{"message":"Invalid credentials."}'),
        ("unknown-json", '{"result":"ok","items":['),
        ("other-words", '{"meta":[],"data":{"message":"\\u041e'),
    ],
)
def test_wrong_content_comes_under_200(faulty: Sandbox, kind: str, start: str) -> None:
    faulty.set_faults([{"kind": kind, "at": 1}])
    response = call(faulty)
    assert response.status_code == 200
    assert response.text.startswith(start)


def test_damaged_begins_and_ends_like_a_page_and_is_no_json(faulty: Sandbox) -> None:
    right = call(faulty).text
    faulty.set_faults([{"kind": "damaged", "at": 1}])
    damaged = call(faulty).text
    assert damaged[:50] == right[:50]
    assert damaged.endswith("}]}}")
    with pytest.raises(json.JSONDecodeError):
        json.loads(damaged, strict=False)


def test_each_kind_answers_or_ends_the_connection(small: Sandbox) -> None:
    small.set_faults([{"kind": kind, "at": n + 1, "seconds": 0.1} for n, kind in enumerate(KINDS)])
    for _ in KINDS:
        with (
            contextlib.suppress(requests.RequestException, ValueError),
            call(small, timeout=0.5, stream=True) as response,
        ):
            next(response.iter_content(1), None)
    assert small.stats()["faulted"] == len(KINDS)
    small.set_faults([])
    assert call(small).status_code == 200


def test_a_charset_is_declared_and_kept_to(faulty: Sandbox) -> None:
    faulty.set_faults([{"kind": "charset", "at": 1, "charset": "windows-1251"}])
    response = call(faulty)
    assert response.encoding == "windows-1251"
    assert "Доставлено".encode("windows-1251") in response.content
    rows = response.json()["data"]["smsDetails"]
    assert Counter(map(str, rows)) == Counter(map(str, faulty.sms()))


def test_words_and_status_are_as_a_rule_has_them(faulty: Sandbox) -> None:
    faulty.set_faults([{"kind": "data-message", "status": 403, "words": "Нет", "at": 1}])
    response = call(faulty)
    assert (response.status_code, response.json()["data"]) == (403, {"message": "Нет"})


def test_ranges_can_be_limited_by_length_and_by_age() -> None:
    args = ("--sms", "100", "--rate", "0", "--max-days", "30", "--kept-days", "90")
    with running(*args) as sandbox:
        long = {"dateFrom": f"{day(-31)} 00:00:00", "dateTo": f"{day(-1)} 00:00:01"}
        assert violations(sandbox, **long) == {("dateFrom", "Период не может быть больше 30 дней")}
        assert call(sandbox, {**long, "dateTo": f"{day(-1)} 00:00:00"}).status_code == 200
        old = {"dateFrom": f"{day(-91)} 00:00:00", "dateTo": f"{day(-91)} 00:00:01"}
        assert violations(sandbox, **old) == {("dateFrom", "Данные хранятся 90 дней")}


def test_a_cap_hides_what_lies_behind_it() -> None:
    with running("--sms", "300", "--rate", "0", "--page-size", "100", "--cap", "100") as sandbox:
        page = data(sandbox)
        assert (page["totalCountSms"], len(page["smsDetails"])) == (100, 100)


def test_drip_sends_one_byte_after_another_and_never_ends(faulty: Sandbox) -> None:
    faulty.set_faults([{"kind": "drip", "at": 1, "seconds": 0.1}])
    with requests.post(
        faulty.url, json=everything(), headers={"SiteId": "1"}, timeout=20, stream=True
    ) as response:
        assert response.status_code == 200
        assert b"".join(islice(response.iter_content(1), 5)) == b" " * 5


def test_firewall_is_403_with_html(faulty: Sandbox) -> None:
    faulty.set_faults([{"kind": "firewall", "at": 1}])
    response = call(faulty)
    assert (response.status_code, response.headers["Content-Type"][:9]) == (403, "text/html")


@pytest.mark.parametrize("status", [400, 500])
def test_a_right_page_can_come_under_another_status(faulty: Sandbox, status: int) -> None:
    faulty.set_faults([{"kind": "page-under-status", "at": 1, "status": status}])
    response = call(faulty)
    assert response.status_code == status
    assert response.json() == call(faulty).json()


def test_empty_is_200_without_a_body(faulty: Sandbox) -> None:
    faulty.set_faults([{"kind": "empty", "at": 1}])
    response = call(faulty)
    assert (response.status_code, response.content) == (200, b"")


def test_short_page_lacks_rows_that_its_total_counts(faulty: Sandbox) -> None:
    faulty.set_faults([{"kind": "short-page", "at": 1, "rows": 4}])
    page, total = data(faulty), len(faulty.sms())
    assert page["totalCountSms"] == total
    assert len(page["smsDetails"]) == total - 4
    assert len(data(faulty)["smsDetails"]) == total


def test_a_first_page_can_be_empty_though_there_are_sms(faulty: Sandbox) -> None:
    faulty.set_faults([{"kind": "short-page", "at": 1, "rows": 10_000}])
    assert data(faulty) == {"totalCountSms": 300, "pageOfResult": 1, "smsDetails": []}


@pytest.mark.parametrize("rows", [2, -2])
def test_wrong_total_counts_more_or_fewer_sms_than_there_are(faulty: Sandbox, rows: int) -> None:
    faulty.set_faults([{"kind": "wrong-total", "from": 1, "rows": rows, "times": 1}])
    page = data(faulty)
    assert (page["totalCountSms"], len(page["smsDetails"])) == (300 + rows, 300)
    assert data(faulty)["totalCountSms"] == 300


def test_a_page_can_have_another_size_than_the_first(small: Sandbox) -> None:
    rows = all_rows(small)
    small.set_faults([{"kind": "page-size", "at": 2, "rows": 80}])
    assert data(small)["smsDetails"] == rows[:100]
    assert data(small, pageOfResult=2)["smsDetails"] == rows[80:160]
    assert data(small, pageOfResult=2)["smsDetails"] == rows[100:200]


def test_late_rows_shift_the_later_pages(small: Sandbox) -> None:
    before = [data(small)["smsDetails"], data(small, pageOfResult=2)["smsDetails"]]
    small.set_faults([{"kind": "late-rows", "at": 1}])
    second = data(small, pageOfResult=2)
    assert second["totalCountSms"] == 303
    assert second["smsDetails"] == before[0][-3:] + before[1][:-3]
    assert len(small.sms()) == 303


def test_slow_answers_after_its_seconds_while_others_go_on(faulty: Sandbox) -> None:
    faulty.reset_stats()
    faulty.set_faults([{"kind": "slow", "at": 1, "seconds": 0.7}])
    with ThreadPoolExecutor(1) as threads:
        slow = threads.submit(call, faulty)
        await_call(faulty.url)
        assert call(faulty).elapsed < timedelta(seconds=0.4)
        assert slow.result().status_code == 200
        assert slow.result().elapsed > timedelta(seconds=0.7)


def test_silent_never_answers(faulty: Sandbox) -> None:
    faulty.set_faults([{"kind": "silent", "at": 1}])
    with pytest.raises(requests.exceptions.ReadTimeout):
        call(faulty, timeout=0.5)
    assert call(faulty).status_code == 200


def test_redirect_points_to_its_location(faulty: Sandbox) -> None:
    faulty.set_faults([{"kind": "redirect", "at": 1, "location": "https://other.invalid/x"}])
    response = call(faulty)
    assert (response.status_code, response.headers["Location"]) == (302, "https://other.invalid/x")


def test_rules_name_their_calls_and_faults_are_counted(faulty: Sandbox) -> None:
    def statuses(plan: list[dict[str, Any]]) -> list[int]:
        faulty.reset_stats()
        faulty.set_faults(plan)
        return [call(faulty).status_code for _ in range(6)]

    assert statuses([{"kind": "500", "at": 2}]) == [200, 500, 200, 200, 200, 200]
    assert statuses([{"kind": "500", "every": 3}]) == [200, 200, 500, 200, 200, 500]
    assert statuses([{"kind": "500", "from": 5}]) == [200, 200, 200, 200, 500, 500]
    assert statuses([{"kind": "500", "from": 2, "times": 2}, {"kind": "503", "from": 3}]) == [
        200, 500, 500, 503, 503, 503,
    ]  # fmt: skip
    stats = faulty.stats()
    assert (stats["served"], stats["faulted"], stats["points"]) == (1, 5, 2)


def test_a_rule_can_go_by_the_time_since_the_plan_was_set() -> None:
    plan = read_plan([{"kind": "503", "after": 2, "for": 60}, {"kind": "429", "after": 90}])
    begun, met = plan.begun, []
    for seconds in (0, 1, 3, 61, 63, 89, 91, 9000):
        plan.begun = begun - seconds
        rule = plan.next()
        met.append(rule and rule["kind"])
    assert met == [None, None, "503", "503", None, None, "429", "429"]


@pytest.mark.parametrize(
    "plan",
    [
        {},
        [1],
        [{"kind": "none", "at": 1}],
        [{"kind": "500"}],
        [{"kind": "500", "at": 0}],
        [{"kind": "500", "at": 1, "every": 2}],
        [{"kind": "500", "at": 1, "second": 2}],
        [{"kind": "500", "at": 1, "for": 2}],
        [{"kind": "500", "after": "1"}],
        [{"kind": "short-page", "at": 1, "rows": -1}],
    ],
)
def test_a_wrong_plan_is_refused(faulty: Sandbox, plan: Any) -> None:
    with pytest.raises(ValueError, match="faults"):
        faulty.set_faults(plan)


def test_a_plan_can_be_given_at_the_start() -> None:
    with running("--sms", "10", "--faults", '[{"kind": "503", "at": 1}]') as sandbox:
        assert [call(sandbox).status_code for _ in range(2)] == [503, 200]


# The process


def test_the_home_page_shows_a_config_for_the_connector(shared: Sandbox) -> None:
    page = requests.get(f"http://127.0.0.1:{shared.port}/", timeout=20).text
    assert json.dumps(shared.config(), indent=2).splitlines()[1] in page
    for value in shared.config().values():
        assert value in page


def test_config_begins_at_the_accounts_first_day(shared: Sandbox) -> None:
    config = shared.config(site_id="5", lookback_window_days=1)
    first = moment(shared.sms()[0]["dateSent"])
    assert config["start_date"] == f"{first:%Y-%m-%d}"
    assert (config["site_id"], config["lookback_window_days"]) == ("5", 1)


@pytest.mark.parametrize("asked", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_quietly_even_while_a_call_hangs(
    asked: signal.Signals,
) -> None:
    plan = '[{"kind": "silent", "from": 1}]'
    command = [sys.executable, "-m", "sandbox", "--port", "0", "--faults", plan]
    with subprocess.Popen(
        command,
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        url = next(line for line in process.stdout if line.startswith("URL:")).split()[1]
        with socket.create_connection(("127.0.0.1", urlsplit(url).port or 0)) as client:
            client.sendall(b"POST /lead-service/v1/api/sms-to-clients/result HTTP/1.1\r\n")
            client.sendall(b"Host: x\r\nContent-Length: 0\r\n\r\n")
            await_call(url)
            process.send_signal(asked)
            assert process.wait(20) == 0
        assert process.stderr.read() == ""


def test_running_ends_the_process_when_its_body_raises() -> None:
    ports = []

    def fail() -> None:
        with running("--sms", "10") as sandbox:
            ports.append(sandbox.port)
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", ports[0])).close()


def test_running_tells_that_it_could_not_start() -> None:
    with pytest.raises(RuntimeError, match="did not start"), running("--zone", "Nowhere/City"):
        pass
