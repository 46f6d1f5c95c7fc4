"""Hostile accounts: no order, SMS that come and go, totals that lie, ranges too long to answer.

The statement: a sync that succeeds has brought every SMS that was there all the time, once, under
one key, and no key stands for an SMS that never was. Anything else is an error that says why.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest
import requests_mock
from airbyte_cdk.models import SyncMode
from hypothesis import given, settings
from hypothesis import strategies as st

from source_calltouch_sms import api, retriever
from unit_tests.account import (
    FAULTS,
    SECONDS,
    START,
    Account,
    Row,
    identities,
    identity,
    row,
    rows_of_an_account,
)
from unit_tests.conftest import Read, messages, read, stream

Serve = Callable[[Account], Account]


@contextmanager
def small(window: int, page_size: int) -> Iterator[None]:
    """Make windows and answers small."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retriever, "MAX_WINDOW_SMS", window)
        patch.setattr(api, "PAGE_SIZE", page_size)
        yield


def mailings(count: int, each: int) -> list[Row]:
    """Return mailings, each within one second, spread evenly."""
    return [
        row(START + timedelta(seconds=n * (SECONDS // count)), f"7000{n:03}{k:04}", "Скидки!")
        for n in range(count)
        for k in range(each)
    ]


def ties(account: Account, chance: random.Random) -> None:
    """Sort by second, and break ties in another order at every call."""
    account.shuffle = chance
    account.order = lambda sms: (sms["dateSent"][6:10], sms["dateSent"][3:5], sms["dateSent"])


def assert_once(sync: Read, account: Account) -> None:
    assert not sync.error, sync.logs
    assert identities(sync.records) == account.identities()
    assert len({record["smsKey"] for record in sync.records}) == len(sync.records)


@pytest.mark.parametrize(("count", "most"), [(20, 20), (60, 50)])
def test_mailings_in_another_order_at_every_call_are_read_whole_and_cheaply(
    serve: Serve, count: int, most: int
) -> None:
    account = serve(Account(mailings(count, 300), page_size=1000))
    ties(account, random.Random(1))
    with small(11_000, 1000):
        sync = read(stream(), None, SyncMode.full_refresh)
    assert_once(sync, account)
    assert len(account.bodies) <= most


def test_a_second_that_fits_no_answer_is_united_over_passes(serve: Serve) -> None:
    account = serve(Account(mailings(1, 3100), page_size=1000))
    ties(account, random.Random(2))
    with small(11_000, 1000):
        sync = read(stream(), None, SyncMode.full_refresh)
    assert_once(sync, account)
    assert len(account.bodies) <= 80


def test_later_windows_are_read_without_pages_once_pages_have_failed(serve: Serve) -> None:
    account = serve(Account(mailings(60, 300), page_size=1000))
    ties(account, random.Random(3))
    with small(11_000, 1000):
        read(stream())
    pages = [n for n, body in enumerate(account.bodies) if "pageOfResult" in body]
    assert pages
    assert pages[-1] < 25, "but for what was asked for ahead"


def test_twins_on_two_pages_cost_one_request(serve: Serve) -> None:
    twins = [row(START, "70000000001", "a"), row(START, "70000000001", "a")]
    others = [row(START + timedelta(days=n), f"7000000{n:04}", "b") for n in range(1, 19)]
    account = serve(Account([twins[0], *others, twins[1]], page_size=10))
    assert_once(read(stream()), account)
    assert len(account.bodies) == 3


def test_a_window_whose_twins_fit_no_answer_is_cut_and_a_second_is_asked_for_fewer_numbers(
    serve: Serve,
) -> None:
    sms = [row(START, f"7000000{n:04}", text) for n in range(10) for text in "abc"]
    account = serve(Account([*sms, *sms[::3]], page_size=10))
    assert_once(read(stream()), account)
    asked = [body for body in account.bodies if "phoneNumbers" in body]
    assert [len(body["phoneNumbers"]) for body in asked] == [5, 5, 2, 2, 2, 2, 2]
    assert [body["dateTo"] == body["dateFrom"] for body in asked] == [False] + [True] * 6


def test_a_window_whose_numbers_calltouch_cannot_answer_is_read_without_pages(
    serve: Serve,
) -> None:
    sms = [row(START + timedelta(days=n), f"7000000{n:04}") for n in range(19)]
    account = serve(Account([*sms, sms[0]], page_size=10))

    def fail(call: int) -> None:
        if "phoneNumbers" in account.bodies[call - 1]:
            account.faults[call] = "503"

    account.before_answer = fail
    assert_once(read(stream()), account)
    assert account.faults, "they were asked for"


def test_no_more_numbers_are_asked_for_at_once_than_calltouch_takes(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "MAX_NUMBERS", 3)
    sms = mailings(1, 18)
    account = serve(Account([*sms, *sms[:5]], page_size=18))
    assert_once(read(stream()), account)
    asked = [body["phoneNumbers"] for body in account.bodies if "phoneNumbers" in body]
    assert [len(numbers) for numbers in asked] == [3, 2]


def test_numbers_that_calltouch_refuses_as_a_filter_leave_a_second_unproved(serve: Serve) -> None:
    sms = mailings(1, 4)
    account = serve(Account([*sms, *sms], page_size=4))

    def refuse(call: int, document: dict[str, Any]) -> None:
        if "phoneNumbers" in account.bodies[call - 1]:
            violation = {"fieldPath": "phoneNumbers", "message": "Неверный формат"}
            document["data"] = {"validationErrorData": {"violations": [violation]}}

    account.spoil = refuse
    sync = read(stream())
    assert "reported 8 SMS but returned 4 distinct SMS" in sync.logs[0]
    assert set(identities(sync.records).values()) == {1}


def test_a_number_with_more_sms_in_a_second_than_fit_an_answer_is_left_unproved(
    serve: Serve,
) -> None:
    serve(Account([row(START, "70000000001")] * 12, page_size=5))
    sync = read(stream())
    assert "reported 12 SMS but returned 5 distinct SMS" in sync.logs[0]


def test_sms_that_come_while_numbers_are_asked_for_do_not_stand_for_one_that_did_not(
    serve: Serve,
) -> None:
    numbers = [f"7000000{n:04}" for n in range(4)]
    account = serve(Account([row(START, number) for number in numbers], page_size=2))

    def before_answer(call: int) -> None:
        body = account.bodies[call - 1]
        account.rows.sort(key=lambda sms: sms["phoneNumber"])
        if "pageOfResult" in body:  # the first page's last comes again, the last does not
            account.rows.sort(key=lambda sms: sms["phoneNumber"] in {numbers[1], numbers[2]})
        if "phoneNumbers" in body and len(account.rows) == len(numbers):
            account.rows.insert(0, row(START, numbers[1], "new"))

    account.before_answer = before_answer
    sync = read(stream())
    assert row(START, numbers[3]) in account.rows
    assert "reported 5 SMS but returned 4 distinct SMS" in sync.logs[0]


def test_a_service_that_pages_by_another_order_makes_up_no_twin(serve: Serve) -> None:
    account = serve(Account(mailings(1, 30), page_size=10))
    account.order = lambda _: 0

    def reverse(call: int) -> None:  # page 2 overlaps page 1, the same way each time
        page = account.bodies[call - 1].get("pageOfResult", 1)
        account.rows.sort(key=lambda sms: sms["phoneNumber"], reverse=page == 2)

    account.before_answer = reverse
    sync = read(stream(), None, SyncMode.full_refresh)
    keys = Counter(identity(record) for record in sync.records)
    assert set(keys.values()) == {1}


def test_a_service_that_gives_every_page_alike_makes_up_no_twin(serve: Serve) -> None:
    account = serve(Account(mailings(1, 20), page_size=10))

    def ignore_page(call: int) -> None:
        account.bodies[call - 1].pop("pageOfResult", None)

    account.before_answer = ignore_page
    sync = read(stream(), None, SyncMode.full_refresh)
    assert "reported 20 SMS but returned 10 distinct SMS" in sync.logs[0]
    assert set(identities(sync.records).values()) == {1}


def test_a_total_beyond_all_measure_does_not_cut_years_to_seconds(serve: Serve) -> None:
    def spoil(call: int, document: dict[str, Any]) -> None:
        if call == 1:
            document["data"]["totalCountSms"] = 10**9

    account = serve(Account(mailings(3, 1), spoil=spoil))
    assert_once(read(stream()), account)
    assert len(account.bodies) < 1_100


def test_one_sms_before_every_call_does_not_hold_the_others_up(serve: Serve) -> None:
    account = serve(Account(mailings(250, 1), page_size=100))
    stable = account.identities()
    newest = datetime(2024, 6, 15, 11, 59)

    def arrive(call: int) -> None:
        account.rows.insert(0, row(newest + timedelta(seconds=call % 60), f"70009{call:06}", "new"))

    account.before_answer = arrive
    sync = read(stream(), None, SyncMode.full_refresh)
    assert not sync.error
    assert stable <= identities(sync.records)
    assert len({r["smsKey"] for r in sync.records}) == len(sync.records)


def test_sms_that_disappear_between_pages_are_no_error(serve: Serve) -> None:
    account = serve(Account(mailings(41, 1), page_size=10))

    def leave(call: int) -> None:
        if call == 5:
            del account.rows[:3]

    account.before_answer = leave
    sync = read(stream())
    assert not sync.error, sync.logs
    assert account.identities() <= identities(sync.records)
    assert len(account.bodies) <= 20


def test_an_empty_first_page_with_a_total_is_asked_for_again(serve: Serve) -> None:
    def spoil(call: int, document: dict[str, Any]) -> None:
        if call == 1:
            document["data"]["smsDetails"] = []

    account = serve(Account(mailings(3, 1), spoil=spoil))
    assert_once(read(stream()), account)


def test_a_total_of_digits_as_text_is_a_total(serve: Serve) -> None:
    def spoil(_: int, document: dict[str, Any]) -> None:
        document["data"]["totalCountSms"] = str(document["data"]["totalCountSms"])

    account = serve(Account(mailings(25, 1), page_size=10, spoil=spoil))
    assert_once(read(stream()), account)
    assert len(account.bodies) == 3


def test_pages_of_another_size_than_the_first_lose_nothing(serve: Serve) -> None:
    account = serve(Account(mailings(50, 1), page_size=20))

    def shrink(call: int) -> None:
        account.page_size = 20 if call == 1 else 8

    account.before_answer = shrink
    assert_once(read(stream()), account)


def test_ranges_that_calltouch_cannot_answer_are_asked_for_in_parts(serve: Serve) -> None:
    account = serve(Account(mailings(50, 2), longest=timedelta(days=9)))
    sync = read(stream())
    assert_once(sync, account)
    assert len(sync.states) > 5
    assert len(account.bodies) < 100, "those that fail cost no points"


def test_an_outage_does_not_shred_the_range(serve: Serve) -> None:
    account = serve(Account(mailings(50, 2), outages=[(0, 0.1, "503")]))
    assert_once(read(stream()), account)
    served = {(body["dateFrom"], body["dateTo"]) for body in account.bodies}
    assert len(served) < 20


@settings(max_examples=2000, deadline=None)
@given(
    rows=rows_of_an_account,
    page_size=st.integers(2, 20),
    window=st.integers(5, 30),
    order=st.sampled_from(["stable", "ties", "none"]),
    seed=st.integers(0, 999),
    comes=st.dictionaries(st.integers(1, 12), rows_of_an_account.map(lambda r: r[:2]), max_size=3),
    goes=st.none() | st.integers(2, 12),
    lies=st.dictionaries(st.integers(1, 12), st.sampled_from([-1, 1, 5]), max_size=3),
    faults=st.dictionaries(st.integers(1, 20), st.sampled_from(sorted(FAULTS)), max_size=3),
    longest=st.none() | st.integers(3, 80),
    complete=st.booleans(),
    stop=st.none() | st.integers(1, 40),
)
def test_a_sync_that_succeeds_has_every_sms_once_whatever_the_service_does(  # noqa: C901
    rows: list[Row],
    page_size: int,
    window: int,
    order: str,
    seed: int,
    comes: dict[int, list[Row]],
    goes: int | None,
    lies: dict[int, int],
    faults: dict[int, str],
    longest: int | None,
    complete: bool,  # noqa: FBT001
    stop: int | None,
) -> None:
    account = Account(rows, page_size=page_size, faults=faults)
    account.shuffle = None if order == "stable" else random.Random(seed)
    account.longest = timedelta(days=longest) if longest else None
    ever = Counter(identity(sms) for sms in rows)
    gone: Counter[Any] = Counter()
    if order == "ties":
        account.order = lambda sms: (sms["dateSent"][3:5], sms["dateSent"])

    def before_answer(call: int) -> None:
        # One equal to an SMS on two pages, that comes just then, could not be told from it.
        new = [{**sms, "smsMessage": f"came with {call}"} for sms in comes.get(call, [])]
        account.rows[:0] = new
        ever.update(map(identity, new))
        # SMS that come and go between the same two calls leave no trace in any total.
        if call == goes and not comes and account.rows:
            gone[identity(account.rows.pop())] += 1

    def spoil(call: int, document: dict[str, Any]) -> None:
        data = document["data"]
        if call in lies and data.get("totalCountSms"):
            told = data["totalCountSms"] + lies[call]
            # A lower total at which the pages end just so is a lie that nobody can find out.
            if lies[call] > 0 or told % page_size:
                data["totalCountSms"] = told

    account.before_answer, account.spoil = before_answer, spoil
    stable = Counter(identity(sms) for sms in rows)
    with requests_mock.Mocker() as mock, small(window, 10_000):
        account.serve(mock)
        changes: dict[str, Any] = {"require_complete_windows": complete}
        if stop:
            table, state = interrupted(stop, changes)
        else:
            table, state = {}, {}
        sync = read(stream(**changes), state)
    if not stop:
        assert len({record["smsKey"] for record in sync.records}) == len(sync.records)
    table.update({record["smsKey"]: record for record in sync.records})
    found = Counter(identity(record) for record in table.values())
    assert found <= ever, "no key stands for an SMS that never was"
    if sync.error:
        assert sync.logs, "an error has a sentence"
    elif complete:
        assert stable - gone <= found, "nothing is lost"


def interrupted(stop: int, changes: dict[str, Any]) -> tuple[dict[str, Row], dict[str, Any]]:
    """Read up to `stop` records; return them by key, and the last state."""
    table: dict[str, Row] = {}
    state: dict[str, Any] = {}
    reading = messages(stream(**changes))
    try:
        for message in reading:
            if message.record:
                table[message.record.data["smsKey"]] = message.record.data
            if message.state and message.state.stream and message.state.stream.stream_state:
                state = dict(message.state.stream.stream_state.__dict__)
            if len(table) >= stop:
                break
    except Exception:  # noqa: BLE001 - a fault may end it first
        pass
    reading.close()  # type: ignore[attr-defined]
    return table, state
