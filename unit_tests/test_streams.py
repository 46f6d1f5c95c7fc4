"""The stream against a model account: `source_calltouch_sms.streams`."""

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import chain
from typing import Any

import pendulum
import pytest
import requests_mock
from airbyte_cdk.models import FailureType, SyncMode
from airbyte_cdk.utils.traced_exception import AirbyteTracedException
from hypothesis import given, settings
from hypothesis import strategies as st

from source_calltouch_sms import api, lookahead, retriever
from source_calltouch_sms.streams import SmsMessages
from unit_tests.account import (
    FAULTS,
    SITE_ID,
    START,
    TOKEN,
    Account,
    Row,
    identities,
    most_at_once,
    row,
    rows_of_an_account,
)
from unit_tests.conftest import NOW, Read, messages, read, stream

Serve = Callable[[Account], Account]
END = datetime(2024, 6, 15, 12)


def spread(count: int, **more: Any) -> list[Row]:
    """Return SMS spread evenly over the time that the settings ask for."""
    step = (END - START) / max(1, count)
    return [row(START + n * step, text=f"{n}", **more) for n in range(count)]


def keys(result: Read) -> list[str]:
    return [record["smsKey"] for record in result.records]


def test_a_request_is_as_the_apis_page_says(serve: Serve) -> None:
    account = serve(Account(spread(25), page_size=10))
    sync = read(stream(phone_numbers=["+7 000 000-00-01"]))
    assert len(sync.records) == 25
    assert sorted(body.get("pageOfResult", 0) for body in account.bodies) == [0, 2, 3]
    for body in account.bodies:
        assert body.pop("pageOfResult", 2) > 1
        assert body == {
            "dateFrom": "01-04-2024 00:00:00",
            "dateTo": "15-06-2024 12:00:00",
            "phoneNumbers": ["+7 000 000-00-01"],
        }


def test_headers_bear_token_and_site(requests_mock: requests_mock.Mocker) -> None:
    requests_mock.post(api.URL, json={"meta": [], "data": []})
    assert not read(stream()).error
    request = requests_mock.request_history[0]
    assert request.headers["Access-Token"] == TOKEN
    assert request.headers["SiteId"] == SITE_ID
    assert request.headers["Content-Type"] == "application/json"
    assert str(request.timeout) == "(10, 120)"
    assert request.verify, "TLS is verified, by the environment's certificates if it names some"


def test_a_redirect_is_not_followed_lest_it_carry_the_token(
    requests_mock: requests_mock.Mocker,
) -> None:
    elsewhere = requests_mock.post("https://elsewhere.example/", json={"meta": [], "data": []})
    requests_mock.post(api.URL, status_code=307, headers={"Location": "https://elsewhere.example/"})
    assert "another address: «https://elsewhere.example/»" in read(stream()).logs[0]
    assert not elsewhere.called


def test_no_sms_are_no_records(serve: Serve) -> None:
    account = serve(Account([]))
    sync = read(stream())
    assert (sync.records, sync.error, len(account.bodies)) == ([], None, 1)


def test_a_second_sync_reads_the_lookback_again_and_nothing_older(serve: Serve) -> None:
    account = serve(Account(spread(1000)))
    first = read(stream())
    for sms in account.rows:
        sms["smsStatus"] = "settled"
    account.bodies.clear()
    second = read(stream(), first.state)
    cursor = datetime.fromisoformat(first.state["dateSent"]).replace(tzinfo=None)
    assert [body["dateFrom"] for body in account.bodies] == [
        api.wire_time(cursor - timedelta(days=3))
    ]
    recent = [sms for sms in account.rows if cursor - timedelta(days=3) <= when(sms)]
    assert [record["smsStatus"] for record in second.records] == ["settled"] * len(recent)
    assert set(keys(second)) < set(keys(first))
    assert second.state == first.state


def when(sms: Row) -> datetime:
    return api.read_wire_time(sms["dateSent"])


def test_without_lookback_the_cursors_second_alone_is_read_again(serve: Serve) -> None:
    account = serve(Account([*spread(10), row(END, text="a"), row(END, text="b")]))
    first = read(stream(lookback_window_days=0))
    account.bodies.clear()
    later = row(END + timedelta(minutes=5), text="new")
    account.rows.append(later)
    second = read(stream(NOW.add(hours=1), lookback_window_days=0), first.state)
    assert [record["smsMessage"] for record in second.records] == ["a", "b", "new"]
    assert account.bodies[0]["dateFrom"] == api.wire_time(END)
    assert second.state == {"dateSent": "2024-06-15T12:05:00+03:00"}


def test_the_start_date_bounds_the_lookback(serve: Serve) -> None:
    account = serve(Account([]))
    read(stream(lookback_window_days=365), {"dateSent": "2024-04-02T00:00:00+03:00"})
    assert account.bodies[0]["dateFrom"] == "01-04-2024 00:00:00"


def test_the_end_date_is_read_to_its_last_second(serve: Serve) -> None:
    account = serve(Account([row("30-04-2024 23:59:59"), row("01-05-2024 00:00:00")]))
    sync = read(stream(end_date="2024-04-30"))
    assert [record["dateSent"] for record in sync.records] == ["2024-04-30T23:59:59+03:00"]
    assert account.bodies[0]["dateTo"] == "30-04-2024 23:59:59"


def test_an_end_date_to_come_is_now(serve: Serve) -> None:
    account = serve(Account([]))
    read(stream(end_date="2030-01-01"))
    assert account.bodies[0]["dateTo"] == "15-06-2024 12:00:00"


@pytest.mark.parametrize(
    ("zone", "now"), [("Asia/Vladivostok", "15-06-2024 19:00:00"), ("UTC", "15-06-2024 09:00:00")]
)
def test_now_is_the_accounts(serve: Serve, zone: str, now: str) -> None:
    account = serve(Account([]))
    read(stream(timezone=zone))
    assert account.bodies[0]["dateTo"] == now


@pytest.mark.parametrize(
    ("state", "date_from"),
    [
        ({}, "01-04-2024 00:00:00"),
        (None, "01-04-2024 00:00:00"),
        ({"dateSent": None}, "01-04-2024 00:00:00"),
        ({"dateSent": "2024-06-10T10:00:00+03:00"}, "07-06-2024 10:00:00"),
        ({"dateSent": "2024-06-10T07:00:00Z"}, "07-06-2024 07:00:00"),
        ({"dateSent": "2024-06-10T17:00:00+10:00"}, "07-06-2024 10:00:00"),
        ({"dateSent": "2024-06-10T10:00:00"}, "07-06-2024 10:00:00"),
        ({"dateSent": "2024-06-10T10:00:00+03:00", "extra": 1}, "07-06-2024 10:00:00"),
        ({"dateSent": "2020-01-01T00:00:00+03:00"}, "01-04-2024 00:00:00"),
    ],
)
def test_a_state_is_where_the_sync_begins(serve: Serve, state: Any, date_from: str) -> None:
    account = serve(Account([]))
    assert not read(stream(), state).error
    assert [body["dateFrom"] for body in account.bodies] == [date_from]


@pytest.mark.parametrize("moment", ["2099-01-01T00:00:00+03:00", "2024-06-15T12:00:01+03:00"])
def test_a_state_in_the_future_reads_nothing_and_stays(serve: Serve, moment: str) -> None:
    account = serve(Account(spread(10)))
    sync = read(stream(), {"dateSent": moment})
    assert (sync.records, sync.error, account.bodies) == ([], None, [])
    assert sync.state == {"dateSent": moment}


@pytest.mark.parametrize("moment", ["yesterday", "", 5, ["2024"], "10:00", {}])
def test_a_malformed_state_is_an_error_that_names_it(serve: Serve, moment: Any) -> None:
    account = serve(Account(spread(10)))
    sync = read(stream(), {"dateSent": moment})
    assert not account.bodies
    assert not sync.records
    assert "The saved state cannot be used: its dateSent" in sync.logs[0]
    assert repr(moment) in sync.logs[0]


def test_a_state_never_moves_back(serve: Serve) -> None:
    account = serve(Account(spread(100)))
    first = read(stream())
    del account.rows[-2:]
    second = read(stream(), first.state)
    assert second.records
    assert second.state == first.state


def test_a_row_beyond_its_window_does_not_move_the_cursor_beyond_it(serve: Serve) -> None:
    bogus = row("01-01-2030 00:00:00", _at="01-05-2024 00:00:00")
    serve(Account([bogus]))
    assert read(stream()).state == {"dateSent": "2024-06-15T12:00:00+03:00"}


def test_a_full_refresh_goes_on_after_the_state_of_its_first_attempt(serve: Serve) -> None:
    account = serve(Account(spread(100)))
    sync = read(stream(), {"dateSent": "2024-06-10T10:00:00+03:00"}, SyncMode.full_refresh)
    assert not sync.error
    assert [body["dateFrom"] for body in account.bodies] == ["10-06-2024 10:00:01"]


@contextmanager
def small_windows(size: int) -> Iterator[None]:
    """Make a window hold `size` SMS, for an account of few."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retriever, "MAX_WINDOW_SMS", size)
        yield


def test_windows_come_oldest_first_each_followed_by_its_checkpoint(serve: Serve) -> None:
    serve(Account(spread(100), page_size=4, order=lambda sms: sms["smsMessage"]))
    with small_windows(10):
        sync = read(stream())
    assert len(sync.states) > 10
    moments = [state["dateSent"] for state in sync.states]
    assert moments == sorted(moments)
    assert sync.state == {"dateSent": max(record["dateSent"] for record in sync.records)}
    days = [record["dateSent"] for record in sync.records]
    for state in moments:
        split = next((n for n, day in enumerate(days) if day > state), len(days))
        assert all(day > state for day in days[split:])


def test_an_account_of_one_window_costs_its_pages(serve: Serve) -> None:
    account = serve(Account(spread(100), page_size=10))
    assert len(read(stream()).records) == 100
    assert len(account.bodies) == 10


def test_a_burst_within_a_second_is_one_window(serve: Serve) -> None:
    burst = [row("01-05-2024 10:00:00", f"7000000{n % 50:04}") for n in range(100)]
    account = serve(Account([*burst, *spread(20)], page_size=7))
    with small_windows(10):
        sync = read(stream())
    assert identities(sync.records) == account.identities()
    assert len(set(keys(sync))) == 120


# Completeness: what may happen while a window is being read.


def late(account: Account, at: int, rows: list[Row]) -> None:
    """Add rows as call `at` comes in, in front of all others."""

    def before_answer(call: int) -> None:
        if call == at:
            account.rows[:0] = rows

    account.before_answer = before_answer


@pytest.mark.parametrize("at", [2, 3, 4])
def test_sms_that_appear_while_pages_are_read_lose_none(serve: Serve, at: int) -> None:
    account = serve(Account(spread(40), page_size=10))
    late(account, at, [row("01-04-2024 12:00:00", text=f"late {n}") for n in range(3)])
    sync = read(stream())
    assert not sync.error
    assert identities(sync.records) == account.identities()
    assert len(set(keys(sync))) == 43


@pytest.mark.parametrize("call", [1, 2, 3])
def test_a_page_that_comes_short_once_is_read_again(serve: Serve, call: int) -> None:
    def spoil(number: int, document: dict[str, Any]) -> None:
        if number == call:
            del document["data"]["smsDetails"][-2:]

    account = serve(Account(spread(25), page_size=10, spoil=spoil))
    sync = read(stream())
    assert not sync.error
    assert identities(sync.records) == account.identities()


def test_a_total_that_changes_once_is_read_again(serve: Serve) -> None:
    def spoil(number: int, document: dict[str, Any]) -> None:
        if number == 2:
            document["data"]["totalCountSms"] += 1

    account = serve(Account(spread(25), page_size=10, spoil=spoil))
    sync = read(stream())
    assert not sync.error
    assert identities(sync.records) == account.identities()
    assert len(account.bodies) >= 5


def short_for_ever(_: int, document: dict[str, Any]) -> None:
    if "totalCountSms" in document["data"]:
        document["data"]["totalCountSms"] += 2


def test_a_window_that_stays_incomplete_fails_with_both_numbers_and_the_range(
    serve: Serve,
) -> None:
    account = serve(Account(spread(5), spoil=short_for_ever))
    sync = read(stream())
    assert (
        "2024-04-01 00:00:00 to 2024-06-15 12:00:00: Calltouch reported 7 SMS but returned 5 "
        "distinct SMS, after several attempts." in sync.logs[0]
    )
    assert "require_complete_windows" in sync.logs[0]
    assert sum("pageOfResult" not in body for body in account.bodies) <= 7
    assert sync.states == []


def test_an_incomplete_window_is_warned_of_and_left_if_the_setting_says_so(
    serve: Serve,
) -> None:
    account = serve(Account([*spread(5), row(START), row(START)], spoil=short_for_ever))
    sync = read(stream(require_complete_windows=False))
    assert not sync.error
    assert identities(sync.records) == account.identities()
    assert len(set(keys(sync))) == 7
    assert sync.state == {"dateSent": max(record["dateSent"] for record in sync.records)}


def test_an_emptied_first_page_does_not_cost_a_call_for_each_sms(serve: Serve) -> None:
    def spoil(_: int, document: dict[str, Any]) -> None:
        if document["data"].get("pageOfResult") == 1:
            del document["data"]["smsDetails"][1:]

    account = serve(Account(spread(500), page_size=100, spoil=spoil))
    assert "reported 90 SMS but returned 1 distinct" in read(stream()).logs[0]
    assert len(account.bodies) < 50


# Interruption.


def test_a_reader_that_leaves_leaves_no_thread_behind(serve: Serve) -> None:
    serve(Account(spread(100), page_size=10))
    before = calls_running()
    reading = messages(stream())
    for _ in range(20):
        next(reading)
    reading.close()  # type: ignore[attr-defined]
    assert calls_running() <= before


def calls_running() -> set[threading.Thread]:
    return {t for t in threading.enumerate() if t.name.startswith("calltouch")}


def test_the_cdks_record_limit_ends_the_sync_and_its_calls(serve: Serve) -> None:
    account = serve(Account(spread(1000), page_size=10))
    with small_windows(20):
        sync = read(stream(), _limit=5)
    assert len(sync.records) == 5
    assert not sync.error
    assert sync.state == {}
    assert len(account.bodies) < 20
    assert not calls_running()


@pytest.mark.parametrize("call", [1, 2])
def test_a_large_answer_of_another_form_is_an_error_where_it_is_due(
    serve: Serve, call: int
) -> None:
    def spoil(number: int, document: dict[str, Any]) -> None:
        if number >= call:
            data = document["data"]
            data["total"] = data.pop("totalCountSms")
            data["smsDetails"] *= 2

    account = serve(Account(spread(1500), page_size=1000, spoil=spoil))
    sync = read(stream())
    assert identities(sync.records) == identities(account.rows[: 1000 * (call - 1)])
    assert isinstance(sync.error, AirbyteTracedException)
    assert "matches no format in Calltouch's API documentation" in sync.logs[0]
    assert sync.states == []
    assert not calls_running()


def test_an_error_surfaces_after_all_that_comes_before_it(serve: Serve) -> None:
    def spoil(_: int, document: dict[str, Any]) -> None:
        if document["data"]["pageOfResult"] == 3:
            document["data"] = {"message": "Invalid credentials."}
            document.update(document.pop("data"))

    account = serve(Account(spread(100), page_size=10, spoil=spoil))
    sync = read(stream())
    assert identities(sync.records) == identities(account.rows[:20])
    assert isinstance(sync.error, AirbyteTracedException)
    assert "does not accept the API token" in sync.logs[0]
    assert sync.states == []
    assert not calls_running()


@settings(max_examples=150, deadline=None)
@given(
    rows=rows_of_an_account,
    page_size=st.integers(1, 20),
    window=st.integers(3, 30),
    chance=st.randoms(use_true_random=False),
    stops=st.lists(st.integers(1, 70), max_size=3),
    zone=st.sampled_from(["Europe/Moscow", "America/New_York", "Asia/Kathmandu"]),
)
def test_whatever_the_account_order_size_and_interruption_each_sms_comes_with_one_key(
    rows: list[Row],
    page_size: int,
    window: int,
    chance: random.Random,
    stops: list[int],
    zone: str,
) -> None:
    order = {id(sms): chance.random() for sms in rows}
    page_size = max(page_size, most_at_once(rows))
    account = Account(rows, page_size=page_size, order=lambda sms: order[id(sms)])
    now = pendulum.datetime(2024, 6, 15, 12, 1, tz=zone)
    table: dict[str, Row] = {}
    state: dict[str, Any] = {}
    with requests_mock.Mocker() as mock, small_windows(window):
        account.serve(mock)
        for stop in stops:
            state = dict(read_some(stream(now, timezone=zone), state, stop, table))
        sync = read(stream(now, timezone=zone), state)
        full = read(stream(now, timezone=zone), None, SyncMode.full_refresh)
    assert not sync.error
    table.update((record["smsKey"], record) for record in sync.records)
    assert identities(table.values()) == account.identities()
    assert identities(full.records) == account.identities()
    assert set(keys(full)) == set(table)
    if rows:
        assert sync.state["dateSent"][:19] == max(when(sms) for sms in rows).isoformat()


def read_some(
    sms_messages: SmsMessages, state: dict[str, Any], stop: int, table: dict[str, Row]
) -> dict[str, Any]:
    """Read `stop` records into a table, leave, and return the last state that was emitted."""
    reading = messages(sms_messages, state)
    for message in reading:
        if message.record:
            table[message.record.data["smsKey"]] = message.record.data
            stop -= 1
        if message.state and message.state.stream and message.state.stream.stream_state:
            state = dict(message.state.stream.stream_state.__dict__)
        if not stop:
            break
    reading.close()  # type: ignore[attr-defined]
    return state


@settings(max_examples=100, deadline=None)
@given(
    rows=rows_of_an_account,
    page_size=st.integers(2, 20),
    late_rows=st.dictionaries(st.integers(2, 6), rows_of_an_account.map(lambda r: r[:3])),
)
def test_rows_that_come_late_are_each_emitted_once_with_one_key(
    rows: list[Row], page_size: int, late_rows: dict[int, list[Row]]
) -> None:
    page_size = max(page_size, most_at_once([*rows, *chain.from_iterable(late_rows.values())]))
    account = Account(list(rows), page_size=page_size)
    lock = threading.Lock()

    def before_answer(call: int) -> None:
        with lock:
            account.rows[:0] = late_rows.get(call, [])

    account.before_answer = before_answer
    with requests_mock.Mocker() as mock:
        account.serve(mock)
        sync = read(stream())
        account.before_answer = lambda _: None
        again = read(stream())
    # Each row once: at most those that came after the last page are missing, and only for now.
    assert len(set(keys(sync))) == len(sync.records)
    if not sync.error:
        assert identities(sync.records) <= account.identities()
        assert set(keys(sync)) <= set(keys(again))
    assert identities(again.records) == account.identities()


@settings(max_examples=120, deadline=None)
@given(
    rows=rows_of_an_account,
    page_size=st.integers(2, 20),
    window=st.integers(5, 30),
    faults=st.dictionaries(st.integers(1, 40), st.sampled_from(sorted(FAULTS)), max_size=12),
)
def test_random_faults_end_in_the_account_or_in_a_state_to_reach_it_from(
    rows: list[Row], page_size: int, window: int, faults: dict[int, str]
) -> None:
    account = Account(rows, page_size=max(page_size, most_at_once(rows)), faults=faults)
    table: dict[str, Row] = {}
    state: dict[str, Any] = {}
    with requests_mock.Mocker() as mock, small_windows(window):
        account.serve(mock)
        # Each fault ends one sync at the most, since calls are counted through all of them.
        for _ in range(len(faults) + 1):
            sync = read(stream(), state)
            table.update((record["smsKey"], record) for record in sync.records)
            state = dict(sync.state)
            if not sync.error:
                break
            assert sync.logs, "an error has a sentence"
    assert not sync.error
    assert identities(table.values()) == account.identities()


BERLIN = {"timezone": "Europe/Berlin", "start_date": "2024-10-01", "lookback_window_days": 0}


def test_the_hour_that_comes_twice_loses_nothing(serve: Serve) -> None:
    account = serve(Account([row("27-10-2024 02:54:00", text="first pass")]))
    summer = pendulum.datetime(2024, 10, 27, 0, 55, tz="UTC")
    first = read(stream(summer, **BERLIN))
    assert first.state == {"dateSent": "2024-10-27T02:54:00+02:00"}
    account.rows.append(row("27-10-2024 02:10:00", text="second pass"))
    second = read(stream(summer.add(minutes=40), **BERLIN), first.state)
    third = read(stream(summer.add(hours=2), **BERLIN), second.state)
    emitted = {r["smsMessage"] for r in first.records + second.records + third.records}
    assert emitted == {"first pass", "second pass"}
    assert third.state == first.state


def test_the_hour_that_does_not_exist_shifts_nothing(serve: Serve) -> None:
    changes = {**BERLIN, "start_date": "2024-03-01"}
    serve(Account([row("31-03-2024 01:59:59"), row("31-03-2024 03:00:00")]))
    sync = read(stream(pendulum.datetime(2024, 4, 1, tz="UTC"), **changes))
    assert [record["dateSent"] for record in sync.records] == [
        "2024-03-31T01:59:59+01:00",
        "2024-03-31T03:00:00+02:00",
    ]
    again = read(stream(pendulum.datetime(2024, 4, 1, tz="UTC"), **changes), sync.state)
    assert [record["dateSent"] for record in again.records] == ["2024-03-31T03:00:00+02:00"]


def test_a_time_that_does_not_exist_does_not_move_the_cursor_into_the_hour_after(
    serve: Serve,
) -> None:
    changes = {**BERLIN, "start_date": "2024-03-01"}
    account = serve(Account([row("31-03-2024 01:10:00"), row("31-03-2024 02:30:00")]))
    first = read(stream(pendulum.datetime(2024, 3, 31, 1, 5, tz="UTC"), **changes))
    assert len(first.records) == 2
    account.rows.append(row("31-03-2024 03:10:00", text="in the hour after"))
    second = read(stream(pendulum.datetime(2024, 4, 1, tz="UTC"), **changes), first.state)
    assert "in the hour after" in {record["smsMessage"] for record in second.records}


def test_an_unreadable_date_is_warned_of_once_without_the_sms(serve: Serve) -> None:
    odd = [row("вчера", text=f"тайна {n}", _at="01-05-2024 00:00:00") for n in range(3)]
    serve(Account([row("01-05-2024 00:00:00"), *odd]))
    sync = read(stream())
    assert [record["dateSent"] for record in sync.records].count(None) == 3
    assert sync.state == {"dateSent": "2024-05-01T00:00:00+03:00"}


def test_a_sync_of_which_no_date_can_be_read_fails_and_brings_nothing(serve: Serve) -> None:
    serve(Account([row("вчера", text="тайна", _at="01-05-2024 00:00:00")]))
    sync = read(stream())
    assert (sync.records, sync.state) == ([], {})
    assert "the form «xxxxx»" in sync.logs[0]


def test_a_failing_check_is_the_users_or_transient(requests_mock: requests_mock.Mocker) -> None:
    requests_mock.post(api.URL, json={"message": "Invalid credentials."})
    with pytest.raises(AirbyteTracedException) as raised:
        stream().check()
    assert raised.value.failure_type == FailureType.config_error
    assert requests_mock.call_count == 1


def test_a_server_that_drips_for_ever_does_not_hold_a_check(
    requests_mock: requests_mock.Mocker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookahead, "ANSWER_SECONDS", 0)
    monkeypatch.setattr(retriever, "WAKE_SECONDS", 0.01)
    ended = threading.Event()

    def drip(*_: Any) -> str:
        ended.wait(30)
        return ""

    requests_mock.post(api.URL, text=drip)
    with pytest.raises(AirbyteTracedException, match="did not send a whole answer") as raised:
        stream().check()
    ended.set()
    assert raised.value.failure_type == FailureType.transient_error


def test_no_request_is_left_behind_after_it_was_tried_again(serve: Serve) -> None:
    account = Account([row("01-05-2024 00:00:00", text=str(n)) for n in range(25)], page_size=10)
    account.faults = {1: "429", 2: "503", 4: "half", 6: "firewall"}
    serve(account)
    sync = stream()
    assert len(read(sync).records) == 25
    assert len(account.bodies) >= 7
    assert sync._http_client._request_attempt_count == {}  # noqa: SLF001 - the CDK shows it nowhere
