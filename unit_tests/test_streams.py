"""The stream against a model account, through the CDK: `source_calltouch_sms.streams`."""

import gc
import json
import logging
import random
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pendulum
import pytest
import requests
import requests_mock
from airbyte_cdk.models import AirbyteStreamStatusReasonType, SyncMode
from airbyte_cdk.utils.traced_exception import AirbyteTracedException
from hypothesis import given, settings
from hypothesis import strategies as st

from source_calltouch_sms import api
from source_calltouch_sms.messages import THROTTLED_SECONDS
from source_calltouch_sms.streams import SmsMessages, Timeouts
from unit_tests.account import (
    FAULTS,
    SITE_ID,
    START,
    TOKEN,
    Account,
    Row,
    identities,
    most_at_once,
    response,
    row,
    rows_of_an_account,
    sent,
)
from unit_tests.conftest import END, NOW, Read, messages, read, read_some, spread, stream

Serve = Callable[[Account], Account]
EMPTY: dict[str, Any] = {"meta": [], "data": []}
ALL = {"dateFrom": "01-04-2024 00:00:00", "dateTo": "15-06-2024 12:00:00"}


def keys(result: Read) -> list[str]:
    return [record["smsKey"] for record in result.records]


def assert_complete(sync: Read, account: Account) -> None:
    assert not sync.error, sync.logs
    assert sync.records
    assert identities(sync.records) == account.identities()
    assert len(set(keys(sync))) == len(sync.records)


def warnings(logs: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in logs.records if r.levelno == logging.WARNING]


def requests_running() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("calltouch")]


def requests_alive() -> list[requests.PreparedRequest]:
    gc.collect()
    return [r for r in gc.get_objects() if isinstance(r, requests.PreparedRequest)]


# The request.


def test_a_request_is_as_the_apis_page_says(serve: Serve) -> None:
    account = serve(Account(spread(25), page_size=10))
    assert_complete(read(stream(phone_numbers=["+7 000 000-00-01"])), account)
    assert sorted(body.pop("pageOfResult", 0) for body in account.bodies) == [0, 2, 3]
    for body in account.bodies:
        assert body == {**ALL, "phoneNumbers": ["+7 000 000-00-01"]}


def test_headers_bear_token_and_site(requests_mock: requests_mock.Mocker) -> None:
    requests_mock.post(api.URL, json=EMPTY)
    assert not read(stream()).error
    request = requests_mock.request_history[0]
    assert request.headers["Access-Token"] == TOKEN
    assert request.headers["SiteId"] == SITE_ID
    assert request.headers["Content-Type"] == "application/json"
    assert str(request.timeout) == "(10, 120)"
    assert request.verify, "TLS is verified, by the environment's certificates if it names some"


@pytest.mark.parametrize("location", ["https://elsewhere.example/", "http://[::1"])
def test_a_redirect_is_not_followed_lest_it_carry_the_token(
    requests_mock: requests_mock.Mocker, location: str
) -> None:
    elsewhere = requests_mock.post("https://elsewhere.example/", json=EMPTY)
    requests_mock.post(api.URL, status_code=307, headers={"Location": location})
    assert "The server redirects" in str(read(stream(timeouts=Timeouts(1, 1, 1, 0))).error)
    assert not elsewhere.called


def test_cookies_and_a_netrc_are_not_used(
    requests_mock: requests_mock.Mocker, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine api.calltouch.ru login someone password else")
    monkeypatch.setenv("NETRC", str(netrc))
    requests_mock.post(api.URL, json=EMPTY, headers={"Set-Cookie": "a=b"}, cookies={"c": "d"})
    for _ in range(2):
        sms = stream()
        sms.check()
        sms.check()
    for request in requests_mock.request_history:
        assert not {"Authorization", "Cookie"} & set(request.headers)


# The hooks, each by itself.


def page(number: int, count: int, total: int = 25) -> requests.Response:
    """Return an answer as a page of 10,000 SMS would come."""
    rows = [row(START + n * timedelta(seconds=1), text=str(n)) for n in range(count)]
    data = {"totalCountSms": total, "smsDetails": rows}
    asked = {**ALL, "pageOfResult": number} if number > 1 else ALL
    return response(json.dumps({"data": data}), asked=asked)


def test_an_answer_is_parsed_by_itself_and_twice_alike() -> None:
    sms, answer = stream(), page(1, 3)
    first, second = ([dict(r) for r in sms.parse_response(answer)] for _ in range(2))
    assert first == second
    assert [record["smsMessage"] for record in first] == ["0", "1", "2"]
    assert {record["siteId"] for record in first} == {SITE_ID}


@pytest.mark.parametrize(
    ("number", "count", "total", "token"),
    [
        (1, 3, 25, {"pageOfResult": 2}),
        (1, 3, 3, None),
        (2, 3, 10_004, {"pageOfResult": 3}),
        (2, 3, 10_003, None),
        (2, 0, 25_000, None),
    ],
)
def test_the_next_page_follows_from_the_answer_alone(
    number: int, count: int, total: int, token: dict[str, int] | None
) -> None:
    assert stream().next_page_token(page(number, count, total)) == token


def test_request_hooks_depend_on_their_arguments_alone() -> None:
    sms, numbers = stream(), stream(phone_numbers=["70000000001"])
    for _ in range(2):
        assert sms.request_body_json(None, ALL, {"pageOfResult": 2}) == {**ALL, "pageOfResult": 2}
        assert sms.request_body_json(None, ALL) == ALL
        assert numbers.request_body_json(None, ALL) == {**ALL, "phoneNumbers": ["70000000001"]}
        assert numbers.request_body_json(None, {**ALL, "phoneNumbers": ["7"]}) == {
            **ALL,
            "phoneNumbers": ["7"],
        }
        assert sms.url_base + sms.path() == api.URL
        assert sms.request_headers()["SiteId"] == SITE_ID
        assert sms.get_backoff_strategy().backoff_time(None, 1) > 0
        resolution = sms.get_error_handler().interpret_response(page(1, 3))
        assert resolution.failure_type is None


def test_slices_that_nobody_reads_end(serve: Serve) -> None:
    account, sms = serve(Account(spread(25), page_size=10)), stream()
    for _ in range(2):
        assert list(sms.stream_slices(sync_mode=SyncMode.full_refresh)) == [ALL]
    assert not account.bodies
    assert_complete(read(sms), account)


def test_slices_obey_the_state_they_are_given() -> None:
    state = {"dateSent": "2024-06-10T10:00:00+03:00"}
    (part,) = stream().stream_slices(sync_mode=SyncMode.incremental, stream_state=state)
    assert part == {**ALL, "dateFrom": "07-06-2024 10:00:00"}


def test_a_slice_is_read_by_itself_and_twice(serve: Serve) -> None:
    account, sms = serve(Account(spread(300), page_size=10)), stream()
    read(sms)
    for _ in range(2):
        reading: Any = sms.read_records(SyncMode.full_refresh, None, ALL)
        records = [message.record.data for message in reading]
        assert identities(records) == account.identities()
    assert not requests_running()


def test_without_a_slice_there_is_nothing_to_read() -> None:
    assert list(stream().read_records(SyncMode.full_refresh)) == []


def test_a_stream_can_be_checked_and_read_again_and_again(serve: Serve) -> None:
    account, sms = serve(Account(spread(300), page_size=10)), stream()
    sms.check()
    for sync_mode in (SyncMode.full_refresh, SyncMode.incremental):
        assert_complete(read(sms, {}, sync_mode), account)
        sms.check()
    read_some(sms, {}, 5, {})
    assert_complete(read(sms, {}), account)
    assert not requests_running()


# The state, and what is read because of it.


def test_a_second_sync_reads_the_lookback_again_and_nothing_older(serve: Serve) -> None:
    account = serve(Account(spread(1000)))
    first = read(stream())
    for sms in account.rows:
        sms["smsStatus"] = "settled"
    account.bodies.clear()
    second = read(stream(), first.state)
    since = datetime.fromisoformat(first.state["dateSent"][:19]) - timedelta(days=3)
    assert [body["dateFrom"] for body in account.bodies] == [api.wire_time(since)]
    recent = [sms for sms in account.rows if since <= sent(sms)]
    assert recent
    assert [record["smsStatus"] for record in second.records] == ["settled"] * len(recent)
    assert set(keys(second)) < set(keys(first))
    assert second.state == first.state


def test_without_lookback_the_cursors_second_alone_is_read_again(serve: Serve) -> None:
    account = serve(Account([*spread(10), row(END, text="a"), row(END, text="b")]))
    first = read(stream(lookback_window_days=0))
    account.bodies.clear()
    account.rows.append(row(END + timedelta(minutes=5), text="new"))
    second = read(stream(NOW.add(hours=1), lookback_window_days=0), first.state)
    assert [record["smsMessage"] for record in second.records] == ["a", "b", "new"]
    assert account.bodies[0]["dateFrom"] == api.wire_time(END)
    assert second.state == {"dateSent": "2024-06-15T12:05:00+03:00"}


@pytest.mark.parametrize(
    ("state", "changes", "asked"),
    [
        ({}, {}, "01-04-2024 00:00:00 to 15-06-2024 12:00:00"),
        (None, {}, "01-04-2024 00:00:00 to 15-06-2024 12:00:00"),
        ({"dateSent": None}, {}, "01-04-2024 00:00:00 to 15-06-2024 12:00:00"),
        ({}, {"end_date": "2024-04-30"}, "01-04-2024 00:00:00 to 30-04-2024 23:59:59"),
        ({}, {"end_date": "2030-01-01"}, "01-04-2024 00:00:00 to 15-06-2024 12:00:00"),
        ({}, {"timezone": "Asia/Vladivostok"}, "01-04-2024 00:00:00 to 15-06-2024 19:00:00"),
        (
            {"dateSent": "2024-06-10T10:00:00+03:00"},
            {},
            "07-06-2024 10:00:00 to 15-06-2024 12:00:00",
        ),
        (
            {"dateSent": "2024-06-10T17:00:00+10:00"},
            {},
            "07-06-2024 10:00:00 to 15-06-2024 12:00:00",
        ),
        (
            {"dateSent": "2024-06-10T10:00:00", "a": 1},
            {},
            "07-06-2024 10:00:00 to 15-06-2024 12:00:00",
        ),
        (
            {"dateSent": "2024-04-02T00:00:00+03:00"},
            {},
            "01-04-2024 00:00:00 to 15-06-2024 12:00:00",
        ),
    ],
)
def test_state_and_settings_say_what_is_read(
    serve: Serve, state: Any, changes: dict[str, Any], asked: str
) -> None:
    account = serve(Account([]))
    sync = read(stream(**changes), state)
    assert (sync.records, sync.error) == ([], None)
    assert [f"{body['dateFrom']} to {body['dateTo']}" for body in account.bodies] == [asked]


@pytest.mark.parametrize("moment", ["2099-01-01T00:00:00+03:00", "2024-06-15T12:00:01+03:00"])
def test_a_state_in_the_future_reads_nothing_and_stays(serve: Serve, moment: str) -> None:
    account = serve(Account(spread(10)))
    sync = read(stream(), {"dateSent": moment})
    assert (sync.records, sync.error, account.bodies) == ([], None, [])
    assert sync.state == {"dateSent": moment}


def test_a_state_never_moves_back(serve: Serve) -> None:
    account = serve(Account(spread(100)))
    first = read(stream())
    del account.rows[-2:]
    second = read(stream(), first.state)
    assert second.records
    assert second.state == first.state


def test_an_sms_beyond_its_window_does_not_move_the_cursor_beyond_it(
    serve: Serve, logs: pytest.LogCaptureFixture
) -> None:
    serve(Account([row("01-01-2030 00:00:00", _at="01-05-2024 00:00:00")]))
    assert read(stream()).state == {"dateSent": "2024-06-15T12:00:00+03:00"}
    assert "1 SMS are dated outside the requested range" in logs.text


def test_windows_come_oldest_first_each_followed_by_its_checkpoint(serve: Serve) -> None:
    account = serve(Account(spread(100), page_size=1, order=lambda sms: sms["smsMessage"]))
    sync = read(stream())
    assert_complete(sync, account)
    moments = [state["dateSent"] for state in sync.states]
    assert len(moments) > 10
    assert moments == sorted(moments)
    assert moments[-1] == max(record["dateSent"] for record in sync.records)
    days = [record["dateSent"] for record in sync.records]
    for moment in moments:
        later = next((n for n, day in enumerate(days) if day > moment), len(days))
        assert all(day > moment for day in days[later:])


# What stays incomplete, fails or is interrupted.


def counts_more(_: int, document: dict[str, Any]) -> None:
    if "totalCountSms" in document["data"]:
        document["data"]["totalCountSms"] += 2


def test_a_window_that_stays_incomplete_fails_with_both_numbers_and_the_range(
    serve: Serve,
) -> None:
    serve(Account(spread(5), spoil=counts_more))
    sync = read(stream())
    assert (
        "2024-04-01 00:00:00 to 2024-06-15 12:00:00: Calltouch reported 7 SMS but returned 5 "
        "distinct SMS, after several attempts." in sync.logs[0]
    )
    assert isinstance(sync.error, AirbyteTracedException)
    assert (sync.records, sync.states) == ([], [])


def test_incomplete_windows_are_warned_of_once_if_the_setting_allows_them(
    serve: Serve, logs: pytest.LogCaptureFixture
) -> None:
    account = serve(Account([*spread(95), row(START), row(START)], page_size=10, spoil=counts_more))
    assert_complete(sync := read(stream(require_complete_windows=False)), account)
    assert sync.state == {"dateSent": max(record["dateSent"] for record in sync.records)}
    (warning,) = warnings(logs)
    windows, lacking = (int(word) for word in warning.split() if word.isdigit())
    assert windows > 1
    assert lacking == 2 * windows


def test_the_end_of_a_sync_sums_it_up(serve: Serve, logs: pytest.LogCaptureFixture) -> None:
    serve(Account(spread(25), page_size=10, faults={2: "429"}))
    read(stream())
    assert "All SMS: 25 SMS in 1 windows; 4 API requests, 1 of them answered 429, 6" in logs.text


def test_a_wait_because_of_a_429_is_reported_to_the_platform(
    requests_mock: requests_mock.Mocker,
) -> None:
    limited: dict[str, Any] = {"status_code": 429, "headers": {"Retry-After": "1"}}
    requests_mock.post(api.URL, [limited, {"json": EMPTY}])
    before = time.time()
    statuses = [m.trace.stream_status for m in messages(stream()) if m.trace]
    (reason,) = [r for status in statuses if status for r in status.reasons or []]
    assert reason.type == AirbyteStreamStatusReasonType.RATE_LIMITED
    assert reason.rate_limited
    assert reason.rate_limited.quota_reset >= 1000 * (before + THROTTLED_SECONDS)


def test_an_error_surfaces_before_any_record_of_its_window(serve: Serve) -> None:
    account = serve(Account(spread(100), page_size=10))

    def revoke(call: int) -> None:
        if account.bodies[call - 1].get("pageOfResult") == 3:
            account.faults[call] = "revoked"

    account.before_answer = revoke
    sync = read(stream())
    assert (sync.records, sync.states) == ([], [])
    assert "does not accept the API token" in sync.logs[0]
    assert not requests_running()


@pytest.mark.parametrize("call", [1, 2])
def test_a_large_answer_of_another_form_is_an_error(serve: Serve, call: int) -> None:
    def spoil(number: int, document: dict[str, Any]) -> None:
        if number >= call:
            document["data"]["total"] = document["data"].pop("totalCountSms")
            document["data"]["smsDetails"] *= 2

    serve(Account(spread(1500), page_size=1000, spoil=spoil))
    sync = read(stream())
    assert (sync.records, sync.states) == ([], [])
    assert "matches no format in Calltouch's API documentation" in sync.logs[0]
    assert not requests_running()


def test_a_reader_that_leaves_leaves_no_thread_behind(serve: Serve) -> None:
    serve(Account(spread(300), page_size=10))
    reading = messages(stream())
    assert any(message.record for message in (next(reading) for _ in range(20)))
    reading.close()  # type: ignore[attr-defined]
    assert not requests_running()


def test_the_cdks_record_limit_ends_the_sync_and_its_requests(serve: Serve) -> None:
    account = serve(Account(spread(3000), page_size=10))
    sync = read(stream(), _limit=5)
    assert (len(sync.records), sync.error, sync.state) == (5, None, {})
    assert len(account.bodies) < 150, "of 300"
    assert not requests_running()


def test_no_request_is_left_behind_after_it_was_tried_again(serve: Serve) -> None:
    account = serve(Account(spread(25), page_size=10))
    account.faults = {1: "429", 2: "503", 4: "half", 6: "firewall"}
    sms, before = stream(), requests_alive()
    assert_complete(read(sms), account)
    assert len(account.bodies) >= 7
    left = [request for request in requests_alive() if request not in before]
    assert len(left) <= len(account.bodies), "the mock's own"


@settings(max_examples=120, deadline=None)
@given(
    rows=rows_of_an_account,
    page_size=st.integers(1, 20),
    chance=st.randoms(use_true_random=False),
    stops=st.lists(st.integers(1, 70), max_size=3),
    zone=st.sampled_from(["Europe/Moscow", "America/New_York", "Asia/Kathmandu"]),
)
def test_whatever_the_account_order_size_and_interruption_each_sms_comes_with_one_key(
    rows: list[Row], page_size: int, chance: random.Random, stops: list[int], zone: str
) -> None:
    order = {id(sms): chance.random() for sms in rows}
    page_size = max(page_size, most_at_once(rows))
    account = Account(rows, page_size=page_size, order=lambda sms: order[id(sms)])
    now = pendulum.datetime(2024, 6, 15, 12, 1, tz=zone)
    table: dict[str, Row] = {}
    state: Any = {}
    with requests_mock.Mocker() as mock:
        account.serve(mock)
        for stop in stops:
            state = read_some(stream(now, timezone=zone), state, stop, table)
        sync = read(stream(now, timezone=zone), state)
        full = read(stream(now, timezone=zone), None, SyncMode.full_refresh)
    assert not sync.error
    table.update((record["smsKey"], record) for record in sync.records)
    assert identities(table.values()) == account.identities()
    assert identities(full.records) == account.identities()
    assert set(keys(full)) == set(table)
    if rows:
        assert sync.state["dateSent"][:19] == max(map(sent, rows)).isoformat()


@settings(max_examples=120, deadline=None)
@given(
    rows=rows_of_an_account,
    page_size=st.integers(1, 20),
    faults=st.dictionaries(st.integers(1, 40), st.sampled_from(sorted(FAULTS)), max_size=12),
)
def test_random_faults_end_in_the_account_or_in_a_state_to_reach_it_from(
    rows: list[Row], page_size: int, faults: dict[int, str]
) -> None:
    account = Account(rows, page_size=max(page_size, most_at_once(rows)), faults=faults)
    table: dict[str, Row] = {}
    state: dict[str, Any] = {}
    with requests_mock.Mocker() as mock:
        account.serve(mock)
        # Each fault ends one sync at the most, since calls are counted through all of them.
        for _ in range(len(faults) + 1):
            sync = read(stream(), state)
            table.update((record["smsKey"], record) for record in sync.records)
            state = dict(sync.state) or state
            if not sync.error:
                break
            assert sync.logs, "an error has a sentence"
    assert not sync.error
    assert identities(table.values()) == account.identities()


# Clocks that are set, and dates that are odd.

BERLIN = {"timezone": "Europe/Berlin", "start_date": "2024-10-01", "lookback_window_days": 0}
SPRING = {**BERLIN, "start_date": "2024-03-01"}


def berlin(month: int, day: int, hour: int, minute: int, **changes: Any) -> SmsMessages:
    """Return the stream of a sync that starts at a moment of UTC."""
    return stream(pendulum.datetime(2024, month, day, hour, minute, tz="UTC"), **changes)


def test_the_hour_that_comes_twice_loses_nothing(serve: Serve) -> None:
    account = serve(Account([row("27-10-2024 02:54:00", text="first pass")]))
    first = read(berlin(10, 27, 0, 55, **BERLIN))
    assert first.state == {"dateSent": "2024-10-27T02:54:00+02:00"}
    account.rows.append(row("27-10-2024 02:10:00", text="second pass"))
    second = read(berlin(10, 27, 1, 35, **BERLIN), first.state)
    third = read(berlin(10, 27, 2, 55, **BERLIN), second.state)
    emitted = {r["smsMessage"] for r in first.records + second.records + third.records}
    assert emitted == {"first pass", "second pass"}
    assert third.state == first.state


def test_the_hour_that_does_not_exist_shifts_nothing(serve: Serve) -> None:
    serve(Account([row("31-03-2024 01:59:59"), row("31-03-2024 03:00:00")]))
    sync = read(berlin(4, 1, 0, 0, **SPRING))
    assert [record["dateSent"] for record in sync.records] == [
        "2024-03-31T01:59:59+01:00",
        "2024-03-31T03:00:00+02:00",
    ]
    again = read(berlin(4, 1, 0, 0, **SPRING), sync.state)
    assert [record["dateSent"] for record in again.records] == ["2024-03-31T03:00:00+02:00"]


def test_an_unreadable_date_is_warned_of_once_without_the_sms(
    serve: Serve, logs: pytest.LogCaptureFixture
) -> None:
    odd = [row("вчера", text=f"тайна {n}", _at="01-05-2024 00:00:00") for n in range(3)]
    serve(Account([row("01-05-2024 00:00:00"), *odd]))
    sync = read(stream())
    assert [record["dateSent"] for record in sync.records].count(None) == 3
    assert sync.state == {"dateSent": "2024-05-01T00:00:00+03:00"}
    (warning,) = warnings(logs)
    assert warning == "3 SMS have an unreadable dateSent; set to null."
