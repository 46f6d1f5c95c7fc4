"""What a sync reads, and what it costs: `source_calltouch_sms.reader`, without threads or HTTP.

The statement of the hostile accounts: a sync that succeeds has brought every SMS that was there all
the time, once, under one key; no key stands for an SMS that never was; and each window's records
are what the account held at one moment. Anything else is an error that says why.
"""

import json
import random
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pendulum
import pytest
import requests
from airbyte_cdk.sources.http_config import MAX_CONNECTION_POOL_SIZE
from airbyte_cdk.utils.traced_exception import AirbyteTracedException
from hypothesis import given, settings
from hypothesis import strategies as st

from source_calltouch_sms import api
from source_calltouch_sms.completeness import Answer
from source_calltouch_sms.errors import CancelledError, transient_error
from source_calltouch_sms.fetcher import MAX_BYTES, Fetch, Fetched, Fetcher, Transport
from source_calltouch_sms.prefetcher import MAX_REQUESTS, Load, Throttled, next_request
from source_calltouch_sms.rate_limiter import RateLimiter
from source_calltouch_sms.reader import (
    Reader,
    WindowEnd,
)
from source_calltouch_sms.records import RecordMaker
from source_calltouch_sms.windows import SECOND, PageRequest, Window
from unit_tests.account import (
    FAULTS,
    SECONDS,
    START,
    Account,
    Row,
    identities,
    identity,
    response,
    row,
    rows_of_an_account,
    sent,
)

ALL = Window(START, START + SECONDS * SECOND)
YEAR = Window(START, START + timedelta(days=365) - SECOND)
YEARS = Window(START, START + timedelta(days=1095) - SECOND)
ONE_SECOND = Window(START, START)


class Network(Fetcher):
    """Fetches without threads: which answer arrives next is drawn while the reader waits."""

    def __init__(
        self,
        fetch: Callable[[PageRequest], Fetched],
        chance: random.Random,
        latency: float | None = None,
        polls: int = 0,
    ) -> None:
        self.limiter = RateLimiter()
        super().__init__(fetch, self.limiter, Transport(self.limiter, 300))
        self.requests: list[PageRequest] = []
        """In the order in which they were made."""
        self.under_way: list[Fetch] = []
        self.cancelled: list[PageRequest] = []
        self._latency = chance.choice([0, 0.3, 3]) if latency is None else latency
        self._polls = polls
        """How often the reader looks in vain before the first answer arrives."""
        self._answer, self._chance = fetch, chance

    def start(self, request: PageRequest) -> Fetch:
        fetch = Fetch(request)
        fetch.attempt.sent_at = fetch.attempt.since
        fetch.seconds = self._latency
        self.requests.append(request)
        self.under_way.append(fetch)
        return fetch

    def expedite(self, fetch: Fetch) -> None:
        self._polls -= 1
        if self._polls >= 0:
            return
        arriving = self.under_way.pop(self._chance.randrange(len(self.under_way)))
        try:
            arriving.set_result(self._answer(arriving.request))
        except Exception as error:  # noqa: BLE001 - as the fetcher does
            arriving.set_exception(error)

    def release(self, fetch: Fetch) -> None:
        fetch.attempt.is_cancelled = True
        if fetch in self.under_way:
            self.under_way.remove(fetch)
            self.cancelled.append(fetch.request)
            fetch.set_exception(CancelledError())


def parse(maker: RecordMaker, response: requests.Response) -> Answer:
    body = json.loads(response.request.body or b"")
    try:
        page = api.read_page(response.content)
    except api.ErrorBody as error:
        raise transient_error(f"Calltouch's answer is cut off: {error}") from None
    bounds = (api.read_wire_time(body[bound]) for bound in ("dateFrom", "dateTo"))
    return Answer(page.total, list(maker.records(page.rows, *bounds)))


@dataclass
class Sync:
    """What a reader brought."""

    reader: Reader
    network: Network
    windows: list[tuple[Window, list[Row]]] = field(default_factory=list)
    """Those that ended, and their records."""
    records: list[Row] = field(default_factory=list)
    """All that left, those of a window that did not end among them."""
    batches: list[int] = field(default_factory=list)
    throttled: list[Throttled] = field(default_factory=list)
    latest: str = ""
    error: AirbyteTracedException | None = None

    @property
    def words(self) -> str:
        """The error's; empty if there is none."""
        return (self.error and self.error.message) or ""

    @property
    def requests(self) -> list[PageRequest]:
        return self.network.requests


def read(
    account: Account,
    window: Window = YEARS,
    chance: random.Random | None = None,
    stop: int | None = None,
    network: Network | None = None,
    **options: Any,
) -> Sync:
    """Read a window to its end, to an error, or until so many records have left."""
    network = network or Network(account.fetch, chance or random.Random(1))
    maker = RecordMaker("1", pendulum.timezone("Europe/Moscow"))
    reader = Reader(network, partial(parse, maker), network.limiter, window, **options)
    sync = Sync(reader, network)
    try:
        while reader.windows:
            records: list[Row] = []
            for step in reader.read_next_window():
                if isinstance(step, WindowEnd):
                    sync.windows.append((step.window, records))
                    sync.latest = max(sync.latest, step.latest)
                elif isinstance(step, Throttled):
                    sync.throttled.append(step)
                else:
                    sync.batches.append(len(step))
                    records += step
                    sync.records += step
                if stop and len(sync.records) >= stop:
                    return sync
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


def mailings(count: int, each: int, days: float = 1095) -> list[Row]:
    """Return mailings, each within one second, spread evenly over some days."""
    step = timedelta(days=days) / count
    return [row(START + n * step, number(n * each + k)) for n in range(count) for k in range(each)]


def with_ties(rows: list[Row], seed: int = 1, **options: Any) -> Account:
    """Sort by second, and break ties in another order at every answer."""
    return Account(rows, order=sent, shuffle=random.Random(seed), **options)


def without_order(rows: list[Row], **options: Any) -> Account:
    return Account(rows, shuffle=random.Random(1), **options)


def shuffled(rows: list[Row]) -> list[Row]:
    return random.Random(7).sample(rows, len(rows))


def assert_complete(sync: Sync, account: Account) -> None:
    assert not sync.error, sync.words
    assert sync.records
    assert identities(sync.records) == account.identities()
    assert len({record["smsKey"] for record in sync.records}) == len(sync.records)


NONE = Load(waiting=0, in_flight=0, bytes=0, rate=5, latency=0)
PAGES = [PageRequest(YEAR, page) for page in range(1, 100)]


# What to request next.


def test_what_is_due_is_requested_first_and_whatever_is_under_way() -> None:
    busy = Load(waiting=9, in_flight=99, bytes=10**9, rate=5, latency=0)
    assert next_request(PAGES[7], PAGES, [], busy) == PAGES[7]
    assert next_request(PAGES[7], PAGES, PAGES[:8], busy) is None


def test_ahead_the_first_that_is_wanted_is_requested() -> None:
    assert next_request(None, PAGES, PAGES[:3], NONE) == PAGES[3]
    assert next_request(None, [], [], NONE) is None


@pytest.mark.parametrize(
    ("load", "room"),
    [
        (NONE._replace(waiting=1), False),
        (NONE._replace(bytes=MAX_BYTES), True),
        (NONE._replace(bytes=MAX_BYTES + 1), False),
        (NONE._replace(in_flight=2), True),
        (NONE._replace(in_flight=3), False),
        (NONE._replace(in_flight=12, latency=2), True),
        (NONE._replace(in_flight=13, latency=2), False),
        (NONE._replace(in_flight=MAX_REQUESTS - 1, latency=120), True),
        (NONE._replace(in_flight=MAX_REQUESTS, latency=120), False),
    ],
)
def test_as_many_are_requested_ahead_as_the_latency_needs_and_bytes_have_room(
    load: Load, *, room: bool
) -> None:
    assert (next_request(None, PAGES, [], load) is not None) == room


def test_answers_that_wait_for_a_late_one_have_an_end() -> None:
    assert next_request(None, PAGES, PAGES[:5], NONE) == PAGES[5]
    assert next_request(None, PAGES, PAGES[:6], NONE) is None


def test_the_connections_that_the_cdk_keeps_suffice_for_all_requests() -> None:
    assert MAX_REQUESTS + 1 <= MAX_CONNECTION_POOL_SIZE, "the one that is due among them"


# Costs, a hundredth of the size: pages of 100 SMS.


def month() -> list[Row]:
    """Return an account that has nine tenths of its SMS in a month."""
    busy = evenly(2250, 30, START + timedelta(days=500))
    return sorted([*busy, *evenly(250)], key=sent)


def second_with_twins() -> list[Row]:
    return [*(mailings(1, 310)), *(mailings(1, 30))]


def twins_on_two_pages() -> list[Row]:
    rows = evenly(1000)
    rows[100] = dict(rows[99])
    return rows


@pytest.mark.parametrize(
    ("account", "most"),
    [
        (Account([]), 1),
        (Account(evenly(100)), 1),
        (Account(evenly(2500)), 30),
        (Account(month()), 40),
        (with_ties(mailings(20, 30)), 20),
        (with_ties(mailings(60, 30)), 55),
        (Account(second_with_twins()), 40),
        (with_ties(mailings(1, 310)), 120),
        (Account(twins_on_two_pages()), 13),
        (Account(shuffled(twins_on_two_pages())), 24),
        (without_order(evenly(230)), 10),
        (with_ties([*evenly(2000), *mailings(1, 310)]), 120),
        (without_order([*evenly(500), *mailings(1, 250)]), 120),
    ],
)
def test_each_sms_comes_once_within_the_requests_promised(account: Account, most: int) -> None:
    account.page_size = 100
    sync = read(account)
    if account.rows:
        assert_complete(sync, account)
    assert not sync.error
    assert len(account.bodies) <= most


def test_bursts_in_another_order_at_every_answer_cost_at_most_twice_a_stable_order() -> None:
    chance, rows = random.Random(3), list[Row]()
    while len(rows) < 3000:
        moment = START + chance.randrange(1095 * 86_400) * SECOND
        rows += [row(moment, number(len(rows) + n)) for n in range(chance.randrange(1, 40))]
    costs = []
    for account in (Account(sorted(rows, key=sent)), with_ties(rows)):
        account.page_size = 100
        assert_complete(read(account), account)
        costs.append(len(account.bodies))
    assert costs[1] <= 2 * costs[0]


# What leaves, and when.


def test_records_leave_in_batches_as_their_answers_have_them_the_oldest_window_first() -> None:
    account = Account(evenly(3000), page_size=1000)
    sync = read(account)
    assert_complete(sync, account)
    assert [record["dateSent"] for record in sync.records] == sorted(
        record["dateSent"] for record in sync.records
    )
    assert max(sync.batches) <= 500
    assert sync.latest == sync.records[-1]["dateSent"]


def fail_page(account: Account, call: int, page: int, fault: str) -> None:
    if account.bodies[call - 1].get("pageOfResult", 1) >= page:
        account.faults[call] = fault


@pytest.mark.parametrize("call", range(2, 11))
def test_no_sms_leaves_that_was_deleted_while_its_window_was_read(call: int) -> None:
    account = Account(evenly(100), page_size=10)

    def delete(now: int) -> None:
        if now == call:
            del account.rows[:3], account.rows[40:42]

    account.before_answer = delete
    assert_complete(read(account), account)
    assert len(account.rows) == 95


@pytest.mark.parametrize("call", range(2, 8))
@pytest.mark.parametrize("twin", [False, True])
def test_sms_that_arrive_while_an_ambiguous_second_is_asked_for_lose_none(
    call: int, *, twin: bool
) -> None:
    rows = [*evenly(19, 20), *mailings(1, 3), *evenly(20, 20, START + timedelta(days=20))]
    account = Account([*rows[:19], rows[9], *rows[19:]], page_size=10, order=sent)
    before = account.identities()

    def arrive(now: int) -> None:
        if now == call:
            account.rows.insert(0, dict(rows[9]) if twin else row(sent(rows[9]), number(99)))

    account.before_answer = arrive
    sync = read(account)
    assert not sync.error
    assert before <= identities(sync.records) <= account.identities()
    assert len({record["smsKey"] for record in sync.records}) == len(sync.records)


def test_a_reader_that_stops_requests_nothing_more() -> None:
    account = Account(evenly(2500), page_size=100)
    sync = read(account, stop=5)
    assert len(sync.records) >= 5
    assert sync.reader.windows == []
    assert len(account.bodies) < 20
    assert not sync.network.under_way


# A service that changes, contradicts itself or fails.


def test_one_sms_before_every_answer_does_not_hold_the_others_up() -> None:
    account = Account(evenly(250, 75), page_size=100)
    before = account.identities()

    def arrive(call: int) -> None:
        account.rows.insert(0, row(ALL.end - call * SECOND, number(1000 + call), "new"))

    account.before_answer = arrive
    sync = read(account)
    assert not sync.error
    assert before <= identities(sync.records)
    assert len(account.bodies) < 60


def spoiled(change: Callable[[dict[str, Any]], object], *calls: int) -> Account:
    """Return an account of three pages, some of whose answers are changed."""

    def spoil(call: int, document: dict[str, Any]) -> None:
        if (call in calls or not calls) and "totalCountSms" in document["data"]:
            change(document["data"])

    return Account(evenly(25), page_size=10, spoil=spoil)


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
    account = spoiled(change, call)
    assert_complete(read(account), account)
    assert len(account.bodies) < 100


def test_pages_of_another_size_than_the_first_lose_nothing() -> None:
    account = Account(evenly(50), page_size=20)

    def shrink(call: int) -> None:
        account.page_size = 20 if call == 1 else 8

    account.before_answer = shrink
    assert_complete(read(account), account)


def test_each_damaged_answer_is_requested_once_more() -> None:
    account = Account(evenly(100), page_size=10)
    asked = Counter[str]()

    def damage(call: int) -> None:
        page = json.dumps(account.bodies[call - 1])
        asked[page] += 1
        if asked[page] == 1:
            account.faults[call] = "half"

    account.before_answer = damage
    assert_complete(read(account), account)
    assert set(asked.values()) == {2}
    assert len(account.bodies) == 20


def test_an_answer_that_is_damaged_twice_is_an_error() -> None:
    account = Account(evenly(100), page_size=10)
    account.before_answer = lambda call: fail_page(account, call, 2, "half")
    sync = read(account)
    assert "is cut off" in sync.words
    assert sync.records == []
    assert len([request for request in sync.requests if request.page == 2]) == 2


def test_requests_that_are_no_longer_wanted_are_cancelled() -> None:
    account = Account(evenly(100), page_size=10)

    def contradict(call: int, document: dict[str, Any]) -> None:
        if document["data"].get("pageOfResult") == 2:
            document["data"]["totalCountSms"] += 1

    account.spoil = contradict
    sync = read(account, network=Network(account.fetch, random.Random(1), latency=3))
    assert_complete(sync, account)
    assert sync.network.cancelled
    assert sync.reader.answers == len(account.bodies)


# A count that never fits.


def short(rows: list[Row], lacking: int = 7) -> Account:
    """Return an account whose every answer lacks some SMS that it reports."""

    def lack(_: int, document: dict[str, Any]) -> None:
        if "smsDetails" in document["data"]:
            rows = document["data"]["smsDetails"]
            del rows[max(0, len(rows) - lacking) :]

    return Account(rows, page_size=100, spoil=lack)


@pytest.mark.parametrize(("count", "lacking"), [(600, 7), (5, 5), (400, 400)])
def test_a_count_that_never_fits_fails_soon_with_the_numbers(count: int, lacking: int) -> None:
    account = short(evenly(count), lacking)
    sync = read(account)
    numbers = re.search(r"reported (\d+) SMS but returned (\d+) distinct SMS", sync.words)
    assert numbers
    assert int(numbers[1]) - int(numbers[2]) == lacking
    assert sync.words.startswith("2024-04-01 00:00:00 to ")
    assert "require_complete_windows" in sync.words
    assert sync.records == []
    assert len(account.bodies) < 40


def test_a_count_that_never_fits_costs_little_more_where_the_setting_allows_it() -> None:
    account = short(evenly(600))
    sync = read(account, require_complete_windows=False)
    lacking = sync.reader.incomplete
    assert not sync.error
    assert sum(lacking) == 7 * len(lacking)
    assert len(sync.records) == 600 - sum(lacking)
    assert len(account.bodies) < 60


@pytest.mark.parametrize("total", [10**12 - 1, 10**7])
@pytest.mark.parametrize(("window", "latency"), [(YEARS, 0.3), (ONE_SECOND, 3)])
@pytest.mark.parametrize("count", [0, 25])
def test_a_total_beyond_reason_ends_in_numbers(
    total: int, window: Window, latency: float, count: int
) -> None:
    account = spoiled(lambda data: data.update(totalCountSms=total))
    account.rows = mailings(1, count) if count else []
    sync = read(account, window, network=Network(account.fetch, random.Random(1), latency))
    assert f"reported {total} SMS but returned {count} distinct SMS" in sync.words
    assert len(account.bodies) <= 100


@pytest.mark.parametrize("pages", [1, 2])
def test_a_total_of_full_pages_that_is_a_cap_is_found_out(pages: int) -> None:
    def cap(_: int, document: dict[str, Any]) -> None:
        data = document["data"]
        data["totalCountSms"] = min(data["totalCountSms"], pages * api.PAGE_SIZE)

    account = Account(evenly(25_000), spoil=cap)
    assert_complete(read(account), account)
    assert len(account.bodies) < 20


def test_one_full_page_that_is_no_cap_costs_three_requests() -> None:
    account = Account(evenly(api.PAGE_SIZE))
    assert_complete(read(account), account)
    assert len(account.bodies) == 4


# Ranges that Calltouch cannot answer.


@pytest.mark.parametrize(("days", "most"), [(90, 40), (31, 60), (9, 100)])
def test_a_range_that_is_too_long_is_requested_in_parts_that_are_answered(
    days: int, most: int
) -> None:
    account = Account(evenly(500, 365), longest=timedelta(days=days))
    assert_complete(read(account, YEAR), account)
    assert len(account.bodies) <= most


def test_where_even_a_day_is_refused_it_ends_soon() -> None:
    account = Account(evenly(500, 365), longest=timedelta(seconds=1))
    sync = read(account, YEAR)
    assert sync.error
    assert sync.records == []
    assert len(account.bodies) <= 40


def test_a_refusal_of_anything_else_than_what_the_reader_made_up_ends_it() -> None:
    account = Account(evenly(5))
    violation = {"fieldPath": "phoneNumbers", "message": "Неверный формат"}
    account.spoil = lambda _, document: document.update(
        data={"validationErrorData": {"violations": [violation]}}
    )
    sync = read(account)
    assert sync.error
    assert sync.records == []
    assert len(account.bodies) == 1


def test_an_outage_does_not_shred_the_range() -> None:
    account = Account(evenly(500, 365), faults=dict.fromkeys(range(1, 7), "503"))
    assert_complete(read(account, YEAR), account)
    assert len(account.bodies) < 40


# A second that no answer holds.


def test_a_second_is_split_by_phone_numbers() -> None:
    rows = [sms for sms in mailings(1, 10) for _ in range(3)]
    account = Account(shuffled(rows), page_size=10)
    assert_complete(read(account, ONE_SECOND), account)
    asked = [body["phoneNumbers"] for body in account.bodies if "phoneNumbers" in body]
    assert asked
    assert len(account.bodies) < 30


def test_no_more_numbers_are_requested_at_once_than_calltouch_takes() -> None:
    account = without_order(mailings(1, 13_000), page_size=12_000)  # which refuses more
    assert_complete(read(account, ONE_SECOND), account)
    asked = [len(body["phoneNumbers"]) for body in account.bodies if "phoneNumbers" in body]
    assert max(asked) == api.MAX_NUMBERS


def without_numbers(account: Account) -> Account:
    """Let an account refuse phone numbers as a filter."""

    def refuse(call: int, document: dict[str, Any]) -> None:
        if "phoneNumbers" in account.bodies[call - 1]:
            violation = {"fieldPath": "phoneNumbers", "message": "Неверный формат"}
            document["data"] = {"validationErrorData": {"violations": [violation]}}

    account.spoil = refuse
    return account


def same_page(account: Account) -> Account:
    """Let an account give its first page for every page."""
    account.before_answer = lambda call: account.bodies[call - 1].pop("pageOfResult", None)
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


def test_sms_that_arrive_with_phone_numbers_do_not_stand_for_one_that_did_not_come() -> None:
    account = Account(mailings(1, 4), page_size=2)

    def before_answer(call: int) -> None:
        body = account.bodies[call - 1]
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
    network = Network(account.fetch, random.Random(1), polls=15)
    if is_throttled:
        network.limiter.update_from_response(None, response("", 429, Retry_After="700"))
    sync = read(account, network=network)
    assert_complete(sync, account)
    assert [step.seconds > 600 for step in sync.throttled] == [True] * is_throttled


def test_what_failed_before_it_was_due_is_requested_once_more() -> None:
    account, asked = Account(evenly(100), page_size=10), Counter[PageRequest]()

    def fetch(request: PageRequest) -> Fetched:
        asked[request] += 1
        if request.page in {3, 7} and asked[request] == 1:
            raise transient_error("It may pass")
        return account.fetch(request)

    sync = read(account, network=Network(fetch, Late(1), latency=3))
    assert_complete(sync, account)
    assert [page for (_, page, _), times in asked.items() if times == 2] == [7, 3]


class Late(random.Random):
    """Lets what was requested last arrive first."""

    def randrange(self, start: int, *_: Any) -> int:
        return start - 1


def test_windows_of_large_answers_hold_fewer_pages() -> None:
    account = Account(evenly(100), page_size=10)

    def fetch(request: PageRequest) -> Fetched:
        fetched = account.fetch(request)
        body = fetched.response.content
        fetched.response.raw, large = None, response(b" " * 30_000_000 + body)
        large.request = fetched.response.request
        return Fetched(large, fetched.total, fetched.rows)

    sync = read(account, network=Network(fetch, random.Random(1)))
    assert_complete(sync, account)
    assert max(len(records) for _, records in sync.windows) <= 30


@settings(max_examples=1000, deadline=None)
@given(
    rows=rows_of_an_account,
    page_size=st.integers(1, 20),
    order=st.sampled_from(["stable", "ties", "none"]),
    comes=st.dictionaries(st.integers(1, 20), rows_of_an_account.map(lambda r: r[:2]), max_size=3),
    twins=st.sets(st.integers(1, 20), max_size=3),
    goes=st.sets(st.integers(2, 20), max_size=2),
    lies=st.dictionaries(st.integers(1, 20), st.sampled_from([-1, 1, 5]), max_size=3),
    faults=st.dictionaries(st.integers(1, 20), st.sampled_from(sorted(FAULTS)), max_size=3),
    longest=st.none() | st.integers(3, 80),
    complete=st.booleans(),
    stop=st.none() | st.integers(1, 40),
    seed=st.integers(0, 999),
)
def test_a_sync_that_succeeds_has_every_sms_once_whatever_the_service_does(  # noqa: C901
    rows: list[Row],
    page_size: int,
    order: str,
    comes: dict[int, list[Row]],
    twins: set[int],
    goes: set[int],
    lies: dict[int, int],
    faults: dict[int, str],
    longest: int | None,
    complete: bool,  # noqa: FBT001
    stop: int | None,
    seed: int,
) -> None:
    chance = random.Random(seed)
    account = Account(rows, page_size=page_size, faults=faults)
    account.shuffle = None if order == "stable" else chance
    account.longest = timedelta(days=longest) if longest else None
    if order == "ties":
        account.order = sent
    stable, ever = account.identities(), account.identities()
    held = [list(rows)]

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

    def spoil(call: int, document: dict[str, Any]) -> None:
        data = document["data"]
        if call in lies and data.get("totalCountSms"):
            total = data["totalCountSms"] + lies[call]
            # A lower total at which the pages end just so is a lie that nobody can find out.
            if lies[call] > 0 or (total % page_size and not comes and not twins):
                data["totalCountSms"] = total

    account.before_answer, account.spoil = before_answer, spoil
    table: dict[str, Row] = {}
    syncs = []
    window = ALL
    if stop:
        syncs = [read(account, ALL, chance, stop, require_complete_windows=complete)]
        latest = syncs[0].latest[:19]
        window = Window(datetime.fromisoformat(latest), ALL.end) if latest else ALL
    syncs.append(read(account, window, chance, require_complete_windows=complete))
    for sync in syncs:
        assert len({record["smsKey"] for record in sync.records}) == len(sync.records)
        table.update({record["smsKey"]: record for record in sync.records})
        if not lies and not sync.reader.incomplete:
            for part, records in sync.windows:
                was = (identities(r for r in v if part.start <= sent(r) <= part.end) for v in held)
                assert identities(records) in was, "it is what the account held at one moment"
    found = identities(table.values())
    assert found <= ever, "no key stands for an SMS that never was"
    if sync.error:
        assert sync.words, "an error has a sentence"
    elif not any(sync.reader.incomplete for sync in syncs):
        assert stable <= found, "nothing is lost"
