"""What a sync reads, and what it costs: `source_calltouch_sms.reader`, without threads or HTTP.

The statement of the hostile accounts: a sync that succeeds has brought every SMS that was there all
the time, once, under one key; no key stands for an SMS that never was; and each window's records
are what the account held at one moment. Anything else is an error that says why.
"""

import random
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest
import requests
from airbyte_cdk.sources.streams.http.request_window_split_exception import (
    RequestWindowSplitRequiredException,
)
from airbyte_cdk.utils.traced_exception import AirbyteTracedException
from hypothesis import given, settings
from hypothesis import strategies as st

from source_calltouch_sms import api
from source_calltouch_sms.errors import CancelledError, transient_error
from source_calltouch_sms.fetcher import MAX_BYTES, Fetch, Fetcher, Transport
from source_calltouch_sms.prefetcher import (
    MAX_REQUESTS,
    Load,
    Prefetcher,
    next_request,
)
from source_calltouch_sms.rate_limiter import RateLimiter
from source_calltouch_sms.reader import BATCH, Reader, WindowEnd
from source_calltouch_sms.windows import SECOND, PageRequest, Window
from unit_tests.account import (
    FAULTS,
    SECONDS,
    START,
    Account,
    Row,
    identities,
    identity,
    parse,
    response,
    row,
    rows_of_an_account,
    sent,
)
from unit_tests.conftest import Read, assert_complete

ALL = Window(START, START + SECONDS * SECOND)
YEAR = Window(START, START + timedelta(days=365) - SECOND)
YEARS = Window(START, START + timedelta(days=1095) - SECOND)
ONE_SECOND = Window(START, START)


class Network(Fetcher):
    """Fetches without threads: which answer arrives next is drawn while the reader waits."""

    def __init__(
        self,
        fetch: Callable[[PageRequest], requests.Response],
        chance: random.Random | None = None,
        latency: float | None = None,
        polls: int = 0,
    ) -> None:
        super().__init__(fetch, Transport(300), RateLimiter())
        self.requests: list[PageRequest] = []
        """In the order in which they were made."""
        self.under_way: list[Fetch] = []
        self.cancelled: list[PageRequest] = []
        self.is_closed = False
        self._due: Fetch | None = None
        self._answer, self._chance = fetch, chance or random.Random(1)
        self._latency = self._chance.choice([0, 0.3, 3]) if latency is None else latency
        self._polls = polls
        """How often the reader looks in vain before the first answer arrives."""

    def start(self, request: PageRequest, *, is_due: bool = False) -> Fetch:
        fetch = Fetch(request, is_due=is_due)
        fetch.attempt.sent_at = fetch.attempt.since
        self.requests.append(request)
        self.under_way.append(fetch)
        return fetch

    def expedite(self, fetch: Fetch) -> None:
        fetch.attempt.is_due, self._due = True, fetch
        self._polls -= 1
        if self._polls >= 0:
            return
        arriving = self.under_way.pop(self._chance.randrange(len(self.under_way)))
        try:
            answer = self._answer(arriving.request)
            answer.elapsed = timedelta(seconds=self._latency)
            arriving.set_result(answer)
        except Exception as error:  # noqa: BLE001 - as the fetcher does
            arriving.set_exception(error)

    def release(self, fetch: Fetch) -> None:
        fetch.attempt.is_cancelled = True
        if fetch in self.under_way:
            assert self.is_closed or fetch is not self._due, "the reader waits for it"
            self.under_way.remove(fetch)
            self.cancelled.append(fetch.request)
            fetch.set_exception(CancelledError())

    def close(self, fetches: list[Fetch]) -> None:
        self.is_closed = True
        super().close(fetches)


@dataclass(kw_only=True)
class Sync(Read):
    """What a reader brought."""

    reader: Reader
    network: Network
    windows: list[tuple[WindowEnd, list[Row]]] = field(default_factory=list)
    """Those that ended, and their records."""
    throttled: list[float] = field(default_factory=list)
    """The waits that were reported."""


def read(
    account: Account,
    window: Window = YEARS,
    network: Network | None = None,
    stop: int | None = None,
    **options: Any,
) -> Sync:
    """Read a window to its end, to an error, or until so many records have left."""
    network = network or Network(account.fetch)
    waits = list[float]()
    reader = Reader(Prefetcher(network, parse, window, waits.append), **options)
    sync = Sync(reader=reader, network=network, throttled=waits)
    try:
        while reader.windows:
            begin = len(sync.records)
            for step in reader.read_next_window():
                if isinstance(step, WindowEnd):
                    sync.windows.append((step, sync.records[begin:]))
                else:
                    assert 0 < len(step) <= BATCH
                    sync.records += step
                if stop and len(sync.records) >= stop:
                    return sync
        sync.error = reader.error
    except AirbyteTracedException as error:
        sync.error = error
    finally:
        reader.close()
    return sync


def number(n: int) -> str:
    return f"7900{n:07}"


def evenly(count: int, days: float = 1095, first: datetime = START) -> list[Row]:
    """Return SMS spread evenly over some days."""
    step = timedelta(days=days) / count
    return [row(first + n * step, number(n)) for n in range(count)]


def mailings(count: int, each: int) -> list[Row]:
    """Return mailings, each within one second, spread evenly over three years."""
    step = timedelta(days=1095) / count
    return [row(START + n * step, number(n * each + k)) for n in range(count) for k in range(each)]


def with_ties(rows: list[Row]) -> Account:
    """Sort by second, and break ties in another order at every answer."""
    return Account(rows, order=sent, shuffle=random.Random(1))


def shuffled(rows: list[Row]) -> list[Row]:
    return random.Random(7).sample(rows, len(rows))


# What to request next.

FREE = Load(waiting=0, in_flight=0, bytes=0, rate=5, latency=0, max_requests=MAX_REQUESTS)
BUSY = FREE._replace(waiting=9, in_flight=99, bytes=10**9)
PAGES = [PageRequest(YEAR, page) for page in range(1, 100)]


@pytest.mark.parametrize(
    ("due", "requested", "load", "page"),
    [
        # What is due, whatever is under way.
        (8, 0, BUSY, 8),
        (8, 8, BUSY, None),
        # Ahead, the first that is wanted; answers that wait for a late one have an end.
        (None, 3, FREE, 4),
        (None, 5, FREE, 6),
        (None, 6, FREE, None),
        # As many as the latency needs and bytes have room.
        (None, 0, FREE._replace(waiting=1), None),
        (None, 0, FREE._replace(bytes=MAX_BYTES), 1),
        (None, 0, FREE._replace(bytes=MAX_BYTES + 1), None),
        (None, 0, FREE._replace(in_flight=2), 1),
        (None, 0, FREE._replace(in_flight=3), None),
        (None, 0, FREE._replace(in_flight=12, latency=2), 1),
        (None, 0, FREE._replace(in_flight=13, latency=2), None),
        (None, 0, FREE._replace(in_flight=MAX_REQUESTS - 1, latency=120), 1),
        (None, 0, FREE._replace(in_flight=MAX_REQUESTS, latency=120), None),
        (None, 0, FREE._replace(max_requests=2, in_flight=1), 1),
        (None, 0, FREE._replace(max_requests=2, in_flight=2), None),
    ],
)
def test_what_is_requested_next(
    due: int | None, requested: int, load: Load, page: int | None
) -> None:
    what_is_due = PAGES[due - 1] if due else None
    asked = next_request(what_is_due, PAGES, PAGES[:requested], load)
    assert asked == (PAGES[page - 1] if page else None)


# Costs, a hundredth of the size: pages of 100 SMS.


def month() -> list[Row]:
    """Return an account that has nine tenths of its SMS in a month."""
    busy = evenly(2250, 30, START + timedelta(days=500))
    return sorted([*busy, *evenly(250)], key=sent)


def bursts(count: int = 3000, days: int = 1095, seed: int = 3) -> list[Row]:
    """Return SMS over some days, up to 40 to a second."""
    chance, rows = random.Random(seed), list[Row]()
    while len(rows) < count:
        moment = START + chance.randrange(days * 86_400) * SECOND
        rows += [row(moment, number(len(rows) + n)) for n in range(chance.randrange(1, 40))]
    return sorted(rows, key=sent)


def newest_first(sms: Row) -> timedelta:
    return START - sent(sms)


def twins_on_two_pages(count: int = 1000, page_size: int = 100) -> list[Row]:
    rows = evenly(count)
    rows[page_size] = dict(rows[page_size - 1])
    return rows


@pytest.mark.parametrize(
    ("account", "most"),
    [
        (Account([]), 1),
        (Account(evenly(100)), 1),
        (Account(evenly(2500)), 30),
        (Account(month()), 40),
        (Account(bursts()), 40),
        (with_ties(bursts()), 50),
        (with_ties(mailings(20, 30)), 20),
        (with_ties(mailings(60, 30)), 55),
        (Account(mailings(60, 30), order=newest_first, shuffle=random.Random(1)), 46),
        (Account([*mailings(1, 310), *mailings(1, 30)]), 40),
        (Account(shuffled(mailings(1, 100) * 3)), 40),
        (with_ties(mailings(1, 310)), 120),
        (with_ties([*bursts(), *mailings(3, 150)]), 100),
        (Account(twins_on_two_pages()), 13),
        (Account(shuffled(twins_on_two_pages())), 24),
        (Account(evenly(230), shuffle=random.Random(1)), 10),
        (Account(evenly(500), longest=timedelta(days=90)), 60),
        (Account(evenly(500), longest=timedelta(days=31)), 120),
        # An outage does not shred the range.
        (Account(evenly(500), faults=dict.fromkeys((1, 3, 4, 5), "503")), 40),
        (with_ties([*evenly(2000), *mailings(1, 310)]), 120),
        (Account([*evenly(500), *mailings(1, 250)], shuffle=random.Random(1)), 120),
    ],
)
def test_each_sms_comes_once_within_the_requests_promised(account: Account, most: int) -> None:
    account.page_size = 100
    assert_complete(read(account), account)
    assert len(account.bodies) <= most


@pytest.mark.parametrize("order", [sent, newest_first])
def test_ties_in_another_order_each_time_cost_a_fifth_more_at_the_most(
    order: Callable[[Row], Any],
) -> None:
    rows = bursts(5000, days=365)
    stable = Account(rows, 100, order)
    ties = Account(list(rows), 100, order, shuffle=random.Random(1))
    for account in (stable, ties):
        assert_complete(read(account), account)
    assert len(ties.bodies) <= 1.2 * len(stable.bodies)


@pytest.mark.parametrize(
    ("rows", "cap", "most"),
    [
        (evenly(25_000), api.PAGE_SIZE, 20),
        (evenly(25_000, 30), 2 * api.PAGE_SIZE, 20),
        (evenly(api.PAGE_SIZE), 10**6, 4),
        (twins_on_two_pages(2 * api.PAGE_SIZE, api.PAGE_SIZE), 10**6, 6),
    ],
)
def test_a_total_of_full_pages_that_is_a_cap_is_found_out(
    rows: list[Row], cap: int, most: int
) -> None:
    account = Account(rows)
    account.spoil = lambda _, data: data.update(totalCountSms=min(data["totalCountSms"], cap))
    assert_complete(read(account), account)
    assert len(account.bodies) <= most


def shorten(account: Account, days: int) -> None:
    """Answer the last days alone of a longer range."""
    body = account.bodies[-1]
    earliest = api.read_wire_time(body["dateTo"]) - timedelta(days)
    body["dateFrom"] = api.wire_time(max(earliest, api.read_wire_time(body["dateFrom"])))


@pytest.mark.parametrize(("count", "days"), [(60, 31), (500, 14), (500, 92), (2500, 31)])
def test_a_range_of_which_the_last_days_alone_are_answered_is_found_out(
    count: int, days: int
) -> None:
    account = Account(evenly(count), page_size=100)
    account.before_answer = lambda _: shorten(account, days)
    assert_complete(read(account), account)
    assert len(account.bodies) < 160


def test_a_range_cut_to_its_last_days_is_found_out_where_only_the_last_of_them_has_sms() -> None:
    year = Window(START, START + timedelta(days=365))
    account = Account([row(year.end - timedelta(days=days)) for days in (200, 40, 2)])
    account.before_answer = lambda _: shorten(account, 31)
    assert_complete(read(account, year), account)


def test_a_date_before_a_long_window_is_no_fault() -> None:
    account = Account([*evenly(60), row("01-01-0001 00:00:00", _at=api.wire_time(YEARS.end))])
    assert_complete(read(account), account)


def test_the_first_day_of_the_calendar_can_be_empty() -> None:
    account = Account([])
    assert_complete(read(account, Window(datetime(1, 1, 1), datetime(1, 12, 31))), account)


# What leaves, and when.


def test_records_leave_as_their_answers_have_them_the_oldest_window_first() -> None:
    account = Account(evenly(3000), page_size=1000)
    sync = read(account)
    assert_complete(sync, account)
    dates = [record["dateSent"] for record in sync.records]
    assert dates == sorted(dates)
    for end, records in sync.windows:
        assert end.latest == records[-1]["dateSent"]


@pytest.mark.parametrize("call", range(2, 8))
@pytest.mark.parametrize("twin", [False, True])
@pytest.mark.parametrize("each", [1, 3])
def test_sms_that_arrive_while_an_ambiguous_part_is_asked_for_lose_none(
    call: int, each: int, *, twin: bool
) -> None:
    rows = evenly(40)
    identical = [{**rows[9 - each], "phoneNumber": number(100 + n)} for n in range(each)] * 2
    account = Account([*rows[: 10 - each], *identical, *rows[10 - each :]], 10, order=sent)
    before = account.identities()

    def arrive(now: int) -> None:
        if now == call:
            account.rows.insert(0, {**identical[0]} if twin else {**rows[9 - each]})

    account.before_answer = arrive
    sync = read(account)
    assert not sync.error
    assert len(account.bodies) >= call
    if call > 5:
        assert "phoneNumbers" in account.bodies[5]
    assert before <= identities(sync.records) <= account.identities()
    assert len(sync.table) == len(sync.records)


def test_a_reader_that_stops_requests_nothing_more() -> None:
    account = Account(evenly(2500), page_size=10)
    sync = read(account, network=Network(account.fetch, latency=3), stop=5)
    assert len(sync.records) >= 5
    assert sync.reader.windows == []
    assert len(account.bodies) < 150, "of more than 250"
    assert sync.network.cancelled
    assert sync.network.is_closed
    assert not sync.network.under_way


# A service that changes, contradicts itself or fails.


def test_one_sms_before_every_answer_does_not_hold_the_others_up() -> None:
    account = Account(evenly(250, 75), page_size=100)
    before = account.identities()
    account.before_answer = lambda call: account.rows.insert(
        0, row(ALL.end - call * SECOND, number(1000 + call), "new")
    )
    sync = read(account)
    assert not sync.error
    assert before <= identities(sync.records)
    assert len(account.bodies) < 60


@pytest.mark.parametrize("call", [1, 2, 3])
@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.update(totalCountSms=data["totalCountSms"] + 1),
        lambda data: data.update(smsDetails=data["smsDetails"][:-2]),
        lambda data: data.update(smsDetails=[]),
        lambda data: data.update(totalCountSms=10**9),
        lambda data: data.update(totalCountSms=10**12 - 1),
    ],
)
def test_one_false_answer_loses_nothing(change: Callable[[Any], object], call: int) -> None:
    account = Account(evenly(25), page_size=10)
    account.spoil = lambda now, data: now == call and change(data)
    assert_complete(read(account), account)
    assert len(account.bodies) < 100


def test_pages_of_another_size_than_the_first_lose_nothing() -> None:
    account = Account(evenly(50), page_size=20)
    account.spoil = lambda *_: setattr(account, "page_size", 8)
    assert_complete(read(account), account)


@pytest.mark.parametrize("times", [1, 2])
def test_a_damaged_answer_is_requested_once_more_then_it_is_an_error(times: int) -> None:
    account, asked = Account(evenly(100), page_size=10), Counter[int]()

    def damage(call: int) -> None:
        page = account.bodies[-1].get("pageOfResult", 1)
        asked[page] += 1
        if asked[page] <= times:
            account.faults[call] = "half"

    account.before_answer = damage
    sync = read(account)
    if times == 1:
        assert_complete(sync, account)
        assert asked == dict.fromkeys(range(1, 11), 2)
    else:
        assert "is cut off" in sync.words
        assert (sync.records, asked) == ([], {1: 2})


def test_requests_that_are_no_longer_wanted_are_cancelled() -> None:
    account = Account(evenly(100), page_size=10)
    account.spoil = lambda _, data: data.update(
        totalCountSms=data["totalCountSms"] + (data["pageOfResult"] == 2)
    )
    sync = read(account, network=Network(account.fetch, latency=3))
    assert_complete(sync, account)
    assert sync.network.cancelled


# A count that never fits.


@pytest.mark.parametrize(("count", "lacking"), [(600, 7), (5, 5), (400, 400)])
def test_a_count_that_never_fits_fails_soon_with_the_numbers_or_is_counted_as_set(
    count: int, lacking: int
) -> None:
    account = Account(evenly(count), page_size=100)
    account.spoil = lambda _, data: data.update(smsDetails=data["smsDetails"][:-lacking])
    sync = read(account)
    numbers = re.search(r"reported (\d+) SMS but returned (\d+) distinct SMS", sync.words)
    assert numbers
    assert int(numbers[1]) - int(numbers[2]) == lacking
    assert sync.words.startswith("2024-04-01 00:00:00 to ")
    assert sync.records == []
    assert len(account.bodies) < 40
    account.bodies.clear()
    sync = read(account, require_complete_windows=False)
    assert not sync.error
    assert set(sync.reader.incomplete) == {lacking}
    assert len(sync.records) == count - sum(sync.reader.incomplete)
    assert len(account.bodies) < 60


def second_before(account: Account) -> None:
    """Read `dateTo` as if it were not included."""
    body = account.bodies[-1]
    body["dateTo"] = api.wire_time(api.read_wire_time(body["dateTo"]) - SECOND)


@pytest.mark.parametrize("is_required", [True, False])
@pytest.mark.parametrize("manner", ["an empty part", "the last second is left out"])
def test_parts_that_hold_less_than_the_whole_are_incomplete(
    manner: str, *, is_required: bool
) -> None:
    window = Window(START, START + timedelta(seconds=300))
    rows = [row(START + n // 10 * SECOND, number(n)) for n in range(3000)]
    account = Account(rows, page_size=100)
    if manner == "an empty part":
        account.spoil = lambda call, data: call == 3 and data.update(totalCountSms=0, smsDetails=[])
    else:
        account.before_answer = lambda _: second_before(account)
    network = Network(account.fetch, latency=0)
    sync = read(account, window, network, require_complete_windows=is_required)
    lost = 3000 - len(sync.records)
    assert lost > 0
    if is_required:
        assert f"reported 3000 SMS but returned {len(sync.records)} distinct SMS" in sync.words
        assert sync.words.startswith(f"{window}: ")
    else:
        assert (sync.error, sync.reader.incomplete) == (None, [lost])


def test_what_is_missing_counts_also_if_calltouch_no_longer_answers() -> None:
    account = Account(evenly(2500), page_size=100)
    account.spoil = lambda call, data: call == 3 and data.update(totalCountSms=0, smsDetails=[])

    def revoke(call: int) -> None:
        if call > 1 and account.bodies[-1] == account.bodies[0]:
            account.faults[call] = "revoked"

    account.before_answer = revoke
    sync = read(account)
    assert account.faults
    assert "reported 2500 SMS but returned" in sync.words


def test_sms_that_are_deleted_meanwhile_are_not_missed() -> None:
    account = Account(evenly(2500), page_size=100)
    account.before_answer = lambda call: call == 6 and account.rows.pop()
    sync = read(account)
    assert (sync.error, len(sync.records)) == (None, 2499)


def test_of_several_short_answers_the_best_counts() -> None:
    account, lacking = Account(evenly(50), page_size=100), iter([9, 3, *[9] * 20])
    account.spoil = lambda _, data: data.update(smsDetails=data["smsDetails"][: -next(lacking)])
    sync = read(account, require_complete_windows=False)
    assert (sync.reader.incomplete, len(sync.records)) == ([3], 47)


def test_sms_beyond_a_total_do_not_make_up_for_missing_ones() -> None:
    account = Account(evenly(50), page_size=100)
    account.spoil = lambda _, data: data.update(totalCountSms=data["totalCountSms"] - 1)
    sync = read(account, require_complete_windows=False)
    assert (sync.reader.incomplete, len(sync.records)) == ([0], 50)


@pytest.mark.parametrize("total", [10**12 - 1, 10**7])
@pytest.mark.parametrize(("window", "latency"), [(YEARS, 0.3), (ONE_SECOND, 3)])
@pytest.mark.parametrize("count", [0, 25])
def test_a_total_beyond_reason_ends_in_numbers(
    total: int, window: Window, latency: float, count: int
) -> None:
    account = Account(mailings(1, count), page_size=10)
    account.spoil = lambda _, data: data.update(totalCountSms=total)
    sync = read(account, window, Network(account.fetch, latency=latency))
    assert f"reported {total} SMS but returned {count} distinct SMS" in sync.words
    assert len(account.bodies) <= 100


def test_a_total_beyond_reason_splits_no_window_if_what_is_missing_may_be() -> None:
    account = Account(evenly(25), page_size=100)
    account.spoil = lambda _, data: data.update(totalCountSms=10**12)
    sync = read(account, require_complete_windows=False)
    assert len(sync.records) == 25
    assert len(account.bodies) <= 20


def test_pages_that_repeat_the_first_are_not_read_to_a_false_total() -> None:
    account = Account(mailings(1, 10), page_size=10)
    account.spoil = lambda _, data: data.update(totalCountSms=5_000)
    sync = read(account, ONE_SECOND, Network(lambda r: account.fetch(r._replace(page=1))))
    assert "reported 5000 SMS but returned 10 distinct SMS" in sync.words
    assert len(account.bodies) <= 100


@pytest.mark.parametrize(
    ("account", "most"),
    [
        (Account(evenly(500), longest=timedelta(seconds=1)), 40),
        (Account(evenly(500), faults=dict.fromkeys(range(999), "503")), 2),
        (Account(evenly(25_000), faults=dict.fromkeys(range(2, 999), "503")), 8),
        (Account(evenly(500), faults=dict.fromkeys(range(99), "refused")), 1),
    ],
)
def test_where_even_a_day_is_not_answered_or_the_first_page_is_refused_it_ends_soon(
    account: Account, most: int
) -> None:
    sync = read(account)
    assert sync.error
    assert sync.records == []
    assert len(account.bodies) <= most


def test_parts_of_a_full_page_that_are_not_answered_split_its_window() -> None:
    account, parts = Account(evenly(api.PAGE_SIZE)), list[Window]()

    def fetch(request: PageRequest) -> requests.Response:
        parts.extend([request.window] * (request.window != YEARS and not parts))
        if request.window in parts:
            raise RequestWindowSplitRequiredException
        return account.fetch(request)

    assert_complete(read(account, network=Network(fetch)), account)


def test_where_calltouch_answers_calendar_days_alone_ranges_are_split_at_midnight() -> None:
    account = Account(evenly(400, 40))

    def fetch(request: PageRequest) -> requests.Response:
        if request.window.start.date() < request.window.end.date():
            raise RequestWindowSplitRequiredException
        return account.fetch(request)

    window = Window(START + timedelta(hours=17), START + timedelta(days=39, hours=10))
    sync = read(account, window, Network(fetch))
    account.rows = [sms for sms in account.rows if window.start <= sent(sms) <= window.end]
    assert_complete(sync, account)
    assert len(sync.windows) == 40
    assert len(sync.network.requests) < 60


def test_a_day_that_is_not_answered_in_time_is_read_in_parts() -> None:
    account = Account(evenly(20, 2))

    def fetch(request: PageRequest) -> requests.Response:
        if request.window.seconds > 20_000:
            raise RequestWindowSplitRequiredException
        return account.fetch(request)

    network = Network(fetch)
    assert_complete(read(account, Window(START, START + timedelta(days=2)), network), account)
    assert len(network.requests) < 45


# A second that no answer holds.


def without_numbers(account: Account) -> Account:
    """Let an account refuse phone numbers as a filter."""
    account.before_answer = lambda call: (
        "phoneNumbers" in account.bodies[-1] and account.faults.update({call: "refused"})
    )
    return account


def same_page(account: Account) -> Account:
    """Let an account give its first page for every page."""
    account.before_answer = lambda _: account.bodies[-1].pop("pageOfResult", None)
    return account


@pytest.mark.parametrize(
    ("account", "total", "came"),
    [
        (without_numbers(Account(mailings(1, 4) * 2, page_size=4)), 8, 4),
        (Account([row(START)] * 12, page_size=5), 12, 5),
        (same_page(Account([*mailings(1, 19), row(START, number(99))], page_size=10)), 20, 10),
    ],
)
def test_a_second_that_nothing_proves_is_incomplete(
    account: Account, total: int, came: int
) -> None:
    sync = read(account, require_complete_windows=False)
    assert sync.reader.incomplete == [total - came]
    assert len(sync.records) == came
    assert identities(sync.records) <= account.identities()


def test_phone_numbers_that_calltouch_ignores_are_not_halved_down_to_one() -> None:
    account = with_ties(mailings(1, 250))
    account.page_size = 100
    account.before_answer = lambda _: account.bodies[-1].pop("phoneNumbers", None)
    sync = read(account)
    assert not sync.error or "after several attempts" in sync.words
    assert len(account.bodies) < 120


def test_sms_that_arrive_with_phone_numbers_do_not_stand_for_one_that_did_not_come() -> None:
    account = Account(mailings(1, 4), page_size=2)

    def before_answer(_: int) -> None:
        body = account.bodies[-1]
        account.rows.sort(key=lambda sms: sms["phoneNumber"])
        if "pageOfResult" in body:  # the first page's last comes again, the last one never
            account.rows.sort(key=lambda sms: sms["phoneNumber"] in {number(1), number(2)})
        if "phoneNumbers" in body and len(account.rows) == 4:
            account.rows.insert(0, row(START, number(1), "new"))

    account.before_answer = before_answer
    sync = read(account)
    assert row(START, number(3)) in account.rows
    assert "reported 5 SMS but returned 4 distinct SMS" in sync.words


# While the reader waits.


@pytest.mark.parametrize("is_throttled", [True, False])
def test_a_wait_is_reported_once_if_a_429_is_the_reason(*, is_throttled: bool) -> None:
    account = Account(evenly(5))
    network = Network(account.fetch, polls=15)
    if is_throttled:
        network.rate_limiter.update_from_response(None, response("", 429, Retry_After="700"))
    sync = read(account, network=network)
    assert_complete(sync, account)
    assert [seconds > 600 for seconds in sync.throttled] == [True] * is_throttled


def test_a_request_that_never_ends_ends_the_sync() -> None:
    network = Network(Account(evenly(5)).fetch, polls=9)
    network.max_seconds = 0.1
    assert "sends no answer" in read(Account([]), network=network).words


class Late(random.Random):
    """Lets what was requested last arrive first."""

    def randrange(self, start: int, *_: Any) -> int:
        return start - 1


def test_what_failed_before_it_was_due_is_requested_once_more() -> None:
    account, asked = Account(evenly(100), page_size=10), Counter[PageRequest]()

    def fetch(request: PageRequest) -> requests.Response:
        asked[request] += 1
        if request.page in {3, 7} and asked[request] == 1:
            raise CancelledError if request.page == 3 else transient_error("It may have passed")
        return account.fetch(request)

    sync = read(account, network=Network(fetch, Late(1), latency=3))
    assert_complete(sync, account)
    assert [page for (_, page, _), times in asked.items() if times == 2] == [7, 3]


def test_a_service_that_bears_few_requests_at_once_gets_few_until_it_bears_more() -> None:
    account, at_once, failed = Account(evenly(5000), page_size=100), list[int](), 0

    def fetch(request: PageRequest) -> requests.Response:
        nonlocal failed
        at_once.append(len(network.under_way))
        if at_once[-1] > 3 and len(at_once) < 50:
            failed += 1
            raise CancelledError
        return account.fetch(request)

    network = Network(fetch, latency=3)
    assert_complete(read(account, network=network), account)
    assert 0 < failed < 20
    assert max(at_once[50:]) > 4


def test_windows_of_large_answers_hold_fewer_pages() -> None:
    account = Account(evenly(100), page_size=10)

    def fetch(request: PageRequest) -> requests.Response:
        answer = account.fetch(request)
        large = response(b" " * 30_000_000 + answer.content)
        large.request = answer.request
        return large

    sync = read(account, network=Network(fetch))
    assert_complete(sync, account)
    assert max(len(records) for _, records in sync.windows) <= 30


hostile_accounts = st.builds(
    Account,
    rows_of_an_account,
    st.integers(1, 20),
    st.sampled_from([sent, lambda _: 0]),
    faults=st.dictionaries(st.integers(1, 20), st.sampled_from(sorted(FAULTS)), max_size=3),
    longest=st.none() | st.integers(3, 80).map(timedelta),
    shuffle=st.none() | st.integers(0, 999).map(random.Random),
)
sorted_accounts = st.builds(
    Account,
    st.integers(0, 999).map(lambda seed: bursts(250, 70, seed)),
    st.just(100),
    st.sampled_from([sent, newest_first]),
    faults=st.dictionaries(st.integers(1, 20), st.sampled_from(sorted(FAULTS)), max_size=1),
    shuffle=st.integers(0, 999).map(random.Random),
)
rows_that_come = rows_of_an_account.map(lambda rows: rows[:2])


@settings(max_examples=1000, deadline=None)
@given(
    account=st.one_of(*[hostile_accounts] * 4, sorted_accounts),
    comes=st.dictionaries(st.integers(1, 20), rows_that_come, max_size=3),
    twins=st.sets(st.integers(1, 20), max_size=3),
    goes=st.sets(st.integers(2, 20), max_size=2),
    lies=st.dictionaries(st.integers(1, 20), st.sampled_from([-1, 1, 5]), max_size=3),
    complete=st.booleans(),
    seed=st.integers(0, 999),
)
def test_a_sync_that_succeeds_has_every_sms_once_whatever_the_service_does(  # noqa: C901
    account: Account,
    comes: dict[int, list[Row]],
    twins: set[int],
    goes: set[int],
    lies: dict[int, int],
    complete: bool,  # noqa: FBT001
    seed: int,
) -> None:
    chance, held = random.Random(seed), [list(account.rows)]
    stable, ever = account.identities(), account.identities()

    def before_answer(call: int) -> None:
        nonlocal stable
        new = comes.get(call, [])
        if call in twins and account.rows:
            new = [*new, chance.choice(account.rows)]
        account.rows[:0] = new
        ever.update(map(identity, new))
        # SMS that come and go between the same two calls leave no trace in any total.
        if call in goes and not comes and not twins and account.rows:
            gone = account.rows.pop()
            stable -= Counter([identity(gone)])
        if account.identities() != Counter(map(identity, held[-1])):
            held.append(list(account.rows))

    def lie(call: int, data: dict[str, Any]) -> None:
        if call in lies and data["totalCountSms"]:
            total = data["totalCountSms"] + lies[call]
            # A lower total at which the pages end just so is a lie that nobody can find out.
            if lies[call] > 0 or (total % account.page_size and not comes and not twins):
                data["totalCountSms"] = total

    account.before_answer, account.spoil = before_answer, lie
    sync = read(account, ALL, Network(account.fetch, chance), require_complete_windows=complete)
    found = identities(sync.records)
    assert len(sync.table) == len(sync.records)
    assert found <= ever, "no key stands for an SMS that never was"
    assert not sync.error or sync.words, "an error has a sentence"
    if not lies and not sync.reader.incomplete:
        for (part, _), emitted in sync.windows:
            was = (identities(r for r in v if part.start <= sent(r) <= part.end) for v in held)
            assert identities(emitted) in was, "it is what the account held at one moment"
    if not sync.error and not sync.reader.incomplete:
        assert stable <= found, "nothing is lost"
