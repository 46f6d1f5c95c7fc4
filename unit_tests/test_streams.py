"""The stream against a model account, through the CDK: `source_calltouch_sms.streams`."""

import json
import logging
import random
import threading
import time
from datetime import datetime, timedelta
from typing import Any

import pendulum
import pytest
import requests
import requests_mock
from airbyte_cdk.models import SyncMode
from airbyte_cdk.utils.traced_exception import AirbyteTracedException
from hypothesis import given, settings
from hypothesis import strategies as st

from source_calltouch_sms import api
from source_calltouch_sms.messages import MIN_RATE_LIMITED_SECONDS
from source_calltouch_sms.streams import Timeouts
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
from unit_tests.conftest import Serve, assert_complete, messages, read, spread, stream

EMPTY: dict[str, Any] = {"meta": [], "data": []}
ALL = {"dateFrom": "01-04-2024 00:00:00", "dateTo": "15-06-2024 12:00:00"}


def warnings(logs: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in logs.records if r.levelno == logging.WARNING]


def requests_running() -> list[str]:
    """Return the requests that do not end."""
    threads = [t for t in threading.enumerate() if t.name.startswith("calltouch")]
    for thread in threads:
        thread.join(10)
    return [thread.name for thread in threads if thread.is_alive()]


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
    assert "The server redirects" in read(stream(timeouts=Timeouts(1, 1, 1, 0))).words
    assert not elsewhere.called


# The hooks, each by itself.


def page(number: int, count: int, total: int = 25) -> requests.Response:
    """Return an answer as a page of 10,000 SMS would come."""
    rows = [row(START + n * timedelta(seconds=1), text=str(n)) for n in range(count)]
    data = {"totalCountSms": total, "smsDetails": rows}
    asked = {**ALL, "pageOfResult": number} if number > 1 else ALL
    return response(json.dumps({"data": data}), asked=asked)


@pytest.mark.parametrize(
    ("number", "count", "total", "token"),
    [
        (1, 3, 25, {"pageOfResult": 2}),
        (2, 3, 10_004, {"pageOfResult": 3}),
        (2, 3, 10_003, None),
        (2, 0, 25_000, None),
    ],
)
def test_records_and_the_next_page_follow_from_the_answer_alone(
    number: int, count: int, total: int, token: dict[str, int] | None
) -> None:
    sms, answer = stream(), page(number, count, total)
    for _ in range(2):
        records = [(r["smsMessage"], r["siteId"]) for r in sms.parse_response(answer)]
        assert records == [(str(n), SITE_ID) for n in range(count)]
        assert sms.next_page_token(answer) == token


def test_a_body_is_the_slice_and_the_page_and_the_slices_numbers_stand_before_those_set() -> None:
    sms, narrower = stream(phone_numbers=["70000000001"]), {**ALL, "phoneNumbers": ["7"]}
    body = {**ALL, "phoneNumbers": ["70000000001"], "pageOfResult": 2}
    assert sms.request_body_json(None, ALL, {"pageOfResult": 2}) == body
    assert sms.request_body_json(None, narrower) == narrower
    assert stream().request_body_json(None, ALL) == ALL


def test_slices_obey_the_state_and_end_where_nobody_reads_them(serve: Serve) -> None:
    account, sms = serve(Account([])), stream()
    for state in ({"dateSent": "2024-06-10T10:00:00+03:00"}, None):
        (part,) = sms.stream_slices(sync_mode=SyncMode.incremental, stream_state=state)
        assert part == {**ALL, "dateFrom": "07-06-2024 10:00:00"}
    assert not account.bodies
    assert list(sms.read_records(SyncMode.full_refresh)) == [], "without a slice"


def test_a_stream_can_be_checked_and_read_again_and_again(serve: Serve) -> None:
    account, sms = serve(Account(spread(300), page_size=10)), stream()
    for sync_mode in (SyncMode.full_refresh, SyncMode.incremental):
        sms.check()
        assert_complete(read(sms, {}, sync_mode), account)
        reading: Any = sms.read_records(sync_mode, None, ALL)
        assert identities(m.record.data for m in reading) == account.identities()
        assert len(read(sms, {}, sync_mode, stop=5).records) == 5
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
    assert second.table.keys() < first.table.keys()
    assert second.state == first.state
    del account.rows[-2:]
    third = read(stream(), first.state)
    assert third.records
    assert third.state == first.state, "it never moves back"


def test_a_state_in_the_future_reads_nothing_and_stays(serve: Serve) -> None:
    account, state = serve(Account(spread(10))), {"dateSent": "2024-06-15T12:00:01+03:00"}
    sync = read(stream(), state)
    assert (sync.records, sync.error, account.bodies) == ([], None, [])
    assert sync.state == state


def test_odd_dates_are_warned_of_once_without_the_sms_and_move_no_cursor_beyond_the_window(
    serve: Serve, logs: pytest.LogCaptureFixture
) -> None:
    odd = [row("вчера", text=f"тайна {n}", _at="01-05-2024 00:00:00") for n in range(3)]
    account = serve(Account([row("01-05-2024 00:00:00"), *odd]))
    sync = read(stream())
    assert [record["dateSent"] for record in sync.records].count(None) == 3
    assert sync.state == {"dateSent": "2024-05-01T00:00:00+03:00"}
    assert warnings(logs) == ["3 SMS have an unreadable dateSent; set to null."]
    logs.clear()
    account.rows[1:] = [row("01-01-2030 00:00:00", _at="01-05-2024 00:00:00")]
    assert read(stream()).state == {"dateSent": "2024-06-15T12:00:00+03:00"}
    (warning,) = warnings(logs)
    assert "1 SMS are dated outside the requested range" in warning


def test_windows_come_oldest_first_each_followed_by_its_checkpoint(serve: Serve) -> None:
    account = serve(Account(spread(100), page_size=1, order=sent))
    came = list[str]()
    for message in messages(stream()):
        if message.record:
            came.append(message.record.data["dateSent"])
        if message.state and message.state.stream and message.state.stream.stream_state:
            assert message.state.stream.stream_state.__dict__ == {"dateSent": came[-1]}
            came.append("state")
    assert came.count("state") > 10
    days = [day for day in came if day != "state"]
    assert days == sorted(days)
    assert len(days) == len(account.rows)


# What stays incomplete, fails or is interrupted.


def test_a_window_that_stays_incomplete_fails_or_is_warned_of_as_set(
    serve: Serve, logs: pytest.LogCaptureFixture
) -> None:
    account = serve(Account([*spread(95), row(START), row(START)], page_size=10))
    account.spoil = lambda _, data: data.update(totalCountSms=data["totalCountSms"] + 2)
    failed = read(stream())
    assert "distinct SMS, after several attempts." in failed.words
    assert (failed.records, failed.states) == ([], [])
    logs.clear()
    assert_complete(sync := read(stream(require_complete_windows=False)), account)
    assert sync.state == {"dateSent": max(record["dateSent"] for record in sync.records)}
    (warning,) = warnings(logs)
    windows, lacking = (int(word) for word in warning.split() if word.isdigit())
    assert windows > 1
    assert lacking == 2 * windows


@pytest.mark.parametrize("state", [{}, {"dateSent": "2024-04-02T00:00:00+03:00"}])
def test_a_sync_whose_windows_hold_less_than_the_period_goes_back_to_its_beginning(
    serve: Serve, state: dict[str, Any]
) -> None:
    account = serve(Account(spread(2500), page_size=100))
    account.spoil = lambda call, data: call == 3 and data.update(totalCountSms=0, smsDetails=[])
    sync = read(stream(), state)
    assert "reported 2500 SMS but returned" in sync.words
    assert len(sync.records) < 2500
    assert max(moment["dateSent"] for moment in sync.states) > sync.state["dateSent"]
    assert sync.state == (state or {"dateSent": "2024-03-31T23:59:59+03:00"})
    account.spoil = lambda *_: None
    assert_complete(read(stream(), sync.state), account)


def test_a_wait_because_of_a_429_is_reported_to_the_platform(
    requests_mock: requests_mock.Mocker, capsys: pytest.CaptureFixture[str]
) -> None:
    limited: dict[str, Any] = {"status_code": 429, "headers": {"Retry-After": "1"}}
    requests_mock.post(api.URL, [limited, {"json": EMPTY}])
    before = time.time()
    assert not read(stream()).error
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "RATE_LIMITED" in line]
    (reason,) = json.loads(line)["trace"]["stream_status"]["reasons"]
    assert reason["rate_limited"]["quota_reset"] >= 1000 * (before + MIN_RATE_LIMITED_SECONDS)


def test_a_damaged_page_does_not_make_an_address_wrong_that_has_sent_a_page(serve: Serve) -> None:
    serve(Account(spread(25)))
    used = stream()
    read(used)
    for sms, words in ((stream(), "There is no API method"), (used, "Try again later")):
        with pytest.raises(AirbyteTracedException, match=words):
            sms.parse_response(response('{"data": {', 404))


@pytest.mark.parametrize("call", [1, 2])
def test_a_large_answer_of_another_form_is_an_error(serve: Serve, call: int) -> None:
    def spoil(number: int, data: dict[str, Any]) -> None:
        if number >= call:
            data["total"] = data.pop("totalCountSms")
            data["smsDetails"] *= 2

    serve(Account(spread(1500), page_size=1000, spoil=spoil))
    sync = read(stream())
    assert (sync.records, sync.states) == ([], [])
    assert "matches no format in Calltouch's API documentation" in sync.words
    assert not requests_running()


def test_the_cdks_record_limit_ends_the_sync_and_its_requests(serve: Serve) -> None:
    account = serve(Account(spread(9000), page_size=10))
    sync = read(stream(), _limit=5)
    assert (len(sync.records), sync.error, sync.state) == (5, None, {})
    assert len(account.bodies) < 300, "of 900"
    assert not requests_running()


@settings(max_examples=200, deadline=None)
@given(
    rows=rows_of_an_account,
    page_size=st.integers(1, 20),
    chance=st.randoms(use_true_random=False),
    stops=st.lists(st.integers(1, 70), max_size=3),
    faults=st.just({})
    | st.dictionaries(st.integers(1, 40), st.sampled_from(sorted(FAULTS)), max_size=12),
    zone=st.sampled_from(["Europe/Moscow", "America/New_York", "Asia/Kathmandu"]),
)
def test_each_sms_comes_with_one_key_whatever_the_order_fault_and_interruption(
    rows: list[Row],
    page_size: int,
    chance: random.Random,
    stops: list[int],
    faults: dict[int, str],
    zone: str,
) -> None:
    order = {id(sms): chance.random() for sms in rows}
    account = Account(rows, max(page_size, most_at_once(rows)), lambda sms: order[id(sms)])
    account.faults = dict(faults)
    now = pendulum.datetime(2024, 6, 15, 12, 1, tz=zone)
    table: dict[str, Row] = {}
    state: Any = {}
    with requests_mock.Mocker() as mock:
        mock.post(api.URL, text=account.answer)
        # Each fault ends one sync at the most, since calls are counted through all of them.
        for stop in [*stops, *[0] * (len(faults) + 1)]:
            sync = read(stream(now, timezone=zone), state, stop=stop)
            table |= sync.table
            state = sync.state or state
            assert not sync.error or sync.words, "an error has a sentence"
            if not (stop or sync.error):
                break
        account.faults.clear()
        full = read(stream(now, timezone=zone), None, SyncMode.full_refresh)
    assert not sync.error
    assert identities(table.values()) == account.identities()
    assert_complete(full, account)
    assert full.table.keys() == table.keys()
    if rows:
        assert state["dateSent"][:19] == max(map(sent, rows)).isoformat()
