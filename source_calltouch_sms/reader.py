"""How a sync reads its windows: hold, prove, emit; one after another, oldest first.

Nothing leaves before it is proved. A window's answers are held until `completeness.py` says that
they are every SMS of it; only then do its records leave. What proves a window is said there.

One thread, the CDK's main one, decides what is requested, takes the answers in order and reads
them. It asks for what it needs next, and ahead for later windows as long as there is room. All
that the other threads do is fetch.
"""

import logging
import math
import time
from collections.abc import Callable, Collection, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, wait
from itertools import chain, islice
from typing import Final, NamedTuple, TypeVar

import requests
from airbyte_cdk.sources.http_config import MAX_CONNECTION_POOL_SIZE
from airbyte_cdk.sources.streams.http.request_window_split_exception import (
    RequestWindowSplitRequiredException,
)
from airbyte_cdk.utils.traced_exception import AirbyteTracedException

from source_calltouch_sms.api import MAX_NUMBERS, PAGE_SIZE
from source_calltouch_sms.completeness import (
    Ambiguous,
    Answer,
    Complete,
    Incomplete,
    Inconsistent,
    Record,
    Split,
    Union,
    check_pages,
    fits,
    phone_number_of,
    replace,
    second_of,
    times,
)
from source_calltouch_sms.errors import RefusedError, RefusedPageError, transient_error
from source_calltouch_sms.fetcher import MAX_BYTES, Fetch, Fetcher
from source_calltouch_sms.rate_limiter import RateLimiter
from source_calltouch_sms.windows import (
    PART_SHARE,
    PageRequest,
    Window,
    second,
    split,
    split_by_times,
)

logger = logging.getLogger("airbyte.calltouch")

WINDOW_PAGES: Final = 10
"""How many pages a window may have: so much is held, and read again after a failure."""
WINDOW_BYTES: Final = MAX_BYTES // 2
"""The same in bytes of answers."""
MAX_TOTAL: Final = 10**9
"""A higher one is false, and no reason to split a window a hundred times."""
MAX_PAGES: Final = 1_000
"""How far one second is paged."""
MAX_TRIES: Final = 4
"""How often a window is read that stays short of what Calltouch reports."""
PAUSE_SECONDS: Final = 2
"""Before it is read again."""
PASSES: Final = 2
"""Over a second's pages: then almost all of its phone numbers have been seen."""

SPARE: Final = 3
"""Requests beyond those that the latency needs, so that the reader rarely waits."""
MAX_REQUESTS: Final = MAX_CONNECTION_POOL_SIZE - 1
"""Under way, however slow the answers are."""
POLL_SECONDS: Final = 0.05
"""How soon the reader sees that a request has passed the rate limiter, so that another may wait."""
THROTTLED_SECONDS: Final = 0.5
"""For how long it waits before it reports that a 429 is the reason."""
BATCH: Final = 500
"""How many records leave before it looks whether there is something to request."""

REFUSED: Final = Answer(-1, [])
"""In place of an answer, where Calltouch refuses what the reader made up."""

T = TypeVar("T")


class Throttled(NamedTuple):
    """The reader waits because of a 429; no request will pass for so many seconds."""

    seconds: float


class WindowEnd(NamedTuple):
    """All records of a window have left; the latest `dateSent` among them, empty if none has."""

    window: Window
    latest: str


Steps = Generator[Throttled, None, T]
"""What a step of the reader yields while it waits, and its result."""


class Load(NamedTuple):
    """What is under way."""

    waiting: int
    """Requests that the rate limiter has not let pass yet."""
    in_flight: int
    """Requests without an answer, those waiting among them."""
    bytes: int
    """Of all answers, held or on their way, one more among them."""
    rate: float
    """Requests a second."""
    latency: float
    """Seconds that an answer takes."""


def next_request(
    due: PageRequest | None,
    wanted: Iterable[PageRequest],
    requested: Collection[PageRequest],
    load: Load,
) -> PageRequest | None:
    """Return what to request next: what is due, else the first that is wanted, if there is room."""
    if due and due not in requested:
        return due
    needed = min(SPARE + math.ceil(load.rate * load.latency), MAX_REQUESTS)
    if load.waiting or load.in_flight >= needed or load.bytes > MAX_BYTES:
        return None
    # As many again may have come, and wait for one that is late.
    new = (request for request in islice(wanted, 2 * needed) if request not in requested)
    return next(new, None)


class Reader:
    """Reads the windows of one sync."""

    def __init__(
        self,
        fetcher: Fetcher,
        parse: Callable[[requests.Response], Answer],
        rate_limiter: RateLimiter,
        window: Window,
        *,
        require_complete_windows: bool = True,
    ) -> None:
        self.windows = [window]
        """Those still to be read, oldest first."""
        self.sms = self.read = self.answers = 0
        """For the summary: SMS emitted, windows read, answers that came (each costs points)."""
        self.undated = self.outside = 0
        """How many SMS have no readable date, or one outside of their window."""
        self.incomplete: list[int] = []
        """Of the windows that stayed incomplete: how many SMS did not come."""
        self._fetcher = fetcher
        self._parse = parse
        self._rate_limiter = rate_limiter
        self._require_complete_windows = require_complete_windows

        self._due: list[PageRequest] = []
        """What is taken next, in order."""
        self._fetches: dict[PageRequest, Fetch] = {}
        """Requests made, whose answers are not taken yet."""
        self._arriving: list[Fetch] = []
        """Those under way, also if nobody wants them any more."""
        self._pages: dict[Window, int] = {}
        """How many pages a window has, once its first one has come."""
        self._latency = 0.0
        self._page_bytes = 0.0

        self._page_size = 0
        """Rows of the largest answer so far."""
        self._max_sms = WINDOW_PAGES * PAGE_SIZE
        """How many SMS a window may hold: fewer, once pages have proved nothing."""
        self._longest_answered = 0
        """Seconds of the longest window that Calltouch could answer."""
        self._tries = MAX_TRIES

    def read_next_window(self) -> Iterator[list[Record] | Throttled | WindowEnd]:
        """Yield the oldest window's records, in batches, once every SMS of it has arrived.

        Raises:
            AirbyteTracedException: a request failed for good, or the window stays incomplete.
        """
        while True:
            window = self.windows.pop(0)
            outcome = yield from self._collect(window)
            if not isinstance(outcome, Split):
                break
            self.windows[:0] = outcome.parts
        if isinstance(outcome, Incomplete):
            self._report_incomplete(window, outcome)
        self._expect([])
        latest, before = "", self.sms
        for page in outcome.records:
            for start in range(0, len(page), BATCH):
                batch = page[start : start + BATCH]
                latest = max(latest, self._count(window, batch))
                yield batch
                self._request_ahead()
            page.clear()
        self.read += 1
        logger.info(f"{window}: {self.sms - before} SMS emitted")
        yield WindowEnd(window, latest)

    def _count(self, window: Window, batch: list[Record]) -> str:
        """Count records, and odd dates among them; return the latest date, empty if none has."""
        sent = [record["dateSent"] for record in batch if record["dateSent"]]
        start, end = window.start.isoformat(), window.end.isoformat() + "~"  # after any offset
        self.sms += len(batch)
        self.undated += len(batch) - len(sent)
        if sent and not start <= min(sent) <= max(sent) <= end:
            self.outside += sum(not start <= moment <= end for moment in sent)
        return max(sent, default="")

    def _collect(self, window: Window) -> Steps[Complete | Split | Incomplete]:
        """Hold a window's answers until they prove something."""
        read = self._read_range if window.seconds > 1 else self._read_second
        tries = 0
        while True:
            try:
                outcome = yield from read(window)
            except RequestWindowSplitRequiredException:
                return self._split_too_long(window)
            tries += 1
            is_final = window.seconds == 1 or tries >= self._tries  # a second has tries of its own
            if is_final or not isinstance(outcome, Incomplete):
                return outcome
            time.sleep(PAUSE_SECONDS)

    def _read_range(self, window: Window) -> Steps[Complete | Split | Incomplete]:
        """Read a window that can be split by time."""
        first = yield from self._take_first(window)
        self._longest_answered = max(self._longest_answered, window.seconds)
        if first.is_complete:
            return (yield from self._check_cap(window, first))
        max_sms = self._max_sms_of(len(first.records))
        if max_sms < first.total <= MAX_TOTAL:
            return Split(split(window, first.total, max_sms))
        pages = yield from self._take_pages(window, first)
        if first.total > MAX_TOTAL or (len(pages) == 1 and first.total <= PAGE_SIZE):
            return Incomplete(first.total, [page.records for page in pages])
        verdict = yield from self._prove(window, pages)
        if isinstance(verdict, Complete):
            return verdict
        # Pages prove nothing here: from now on, windows are read that one answer holds.
        self._max_sms = self._page_size
        return Split(split_by_times(window, times(pages), self._max_sms))

    def _check_cap(self, window: Window, first: Answer) -> Steps[Complete | Split]:
        """Take an answer that holds all it reports, unless what it reports may be a full page.

        Some services count no more SMS than one page holds; then the halves count more.
        """
        if first.total == PAGE_SIZE:
            halves = yield from self._take_all([PageRequest(h) for h in window.halves()])
            if sum(half.total for half in halves) != first.total:
                return Split(window.halves())
        return Complete([first.records])

    def _take_pages(
        self, window: Window, first: Answer, max_pages: int = MAX_PAGES
    ) -> Steps[list[Answer]]:
        """Take a window's further pages, as long as they agree and bring something new."""
        pages, keys = [first], {record["smsKey"] for record in first.records}
        self._expect(self._pages_of(window)[1:max_pages])
        for request in list(self._due):
            page = yield from self._take(request)
            if not page.records:
                break
            pages.append(page)
            new = {record["smsKey"] for record in page.records} - keys
            if not new or not fits(pages):
                break
            keys |= new
        return pages

    def _prove(self, window: Window, pages: list[Answer]) -> Steps[Complete | Inconsistent]:
        """Say whether pages are all of a window; ask for ambiguous parts of it alone."""
        verdict = check_pages(pages)
        if not isinstance(verdict, Ambiguous):
            return verdict
        seconds, numbers = verdict
        # Identical SMS are few in a second; a second in another order at every request has many.
        if window.seconds > 1 and len(seconds) < min(len(pages), len(numbers) / 2):
            part_of, asked = second_of, [[time] for time in seconds]
            requests = [PageRequest(second(time)) for time in seconds]
        else:
            part_of, asked = phone_number_of, [list(numbers)]
            requests = [PageRequest(window, 1, numbers)]
        answers = yield from self._take_all(requests)
        last = yield from self._take(PageRequest(window, len(pages)))
        return replace(pages, part_of, list(zip(asked, answers, strict=True)), last.total)

    def _read_second(self, window: Window) -> Steps[Complete | Incomplete]:
        """Read a second, which cannot be split by time.

        What its pages hold is united, pass after pass, until it is as many as Calltouch reports.
        Then, what was sent to each phone number is asked for.
        """
        union, passes, tries, max_pages = Union(), 0, 0, MAX_PAGES
        while True:
            first = yield from self._take_first(window, max_pages)
            if first.is_complete:
                return Complete([first.records])
            if union.is_complete and union.total == first.total:
                return Complete([union.all()])
            pages = yield from self._take_pages(window, first, max_pages)
            max_pages = 2 * len(pages) + 1  # a false total makes no more of them
            passes += 1
            verdict = (yield from self._prove(window, pages)) if passes == 1 else None
            if isinstance(verdict, Complete):
                return verdict
            has_new = union.add(pages)
            if union.is_complete:
                return Complete([union.all()])
            if not has_new:
                tries += 1
                if tries == self._tries:
                    return Incomplete(union.total, [union.all()])
                time.sleep(PAUSE_SECONDS)
            if passes == PASSES or not has_new:
                yield from self._ask_phone_numbers(window, union)

    def _ask_phone_numbers(self, window: Window, union: Union) -> Steps[None]:
        """Add what was sent to the phone numbers seen, as far as one answer holds it."""
        groups, sms = [list[str]()], 0
        for number, count in union.phone_numbers().items():
            if groups[-1] and (
                sms + count > PART_SHARE * self._page_size or len(groups[-1]) == MAX_NUMBERS
            ):
                groups.append([])
                sms = 0
            groups[-1].append(number)
            sms += count
        while groups:
            numbers = groups.pop(0)
            answer = yield from self._take(PageRequest(window, 1, tuple(numbers)))
            if answer.is_complete:
                union.add_records(answer.records)
            elif len(answer.records) == self._page_size and len(numbers) > 1:
                half = len(numbers) // 2
                groups[:0] = [numbers[:half], numbers[half:]]

    def _max_sms_of(self, rows: int) -> int:
        """Return how many SMS a window may hold whose pages have so many rows."""
        rows = rows or self._page_size or PAGE_SIZE
        by_bytes = int(WINDOW_BYTES / max(self._page_bytes, 1) * rows)
        return max(min(self._max_sms, WINDOW_PAGES * rows, by_bytes), rows)

    def _split_too_long(self, window: Window) -> Split:
        """Split a window that Calltouch cannot answer."""
        answered = self._longest_answered
        seconds = answered if 0 < answered < window.seconds else -(-window.seconds // 2)
        logger.warning(
            "%s: Calltouch does not answer. Asking for %.1f days at once.", window, seconds / 86_400
        )
        return Split(window.parts(seconds))

    def _report_incomplete(self, window: Window, outcome: Incomplete) -> None:
        came = sum(map(len, outcome.records))
        if self._require_complete_windows:
            raise transient_error(
                f"{window}: Calltouch reported {outcome.total} SMS but returned {came} distinct "
                "SMS, after several attempts. Nothing is lost: the next sync begins before this "
                "window. If it persists, report it to Calltouch, or switch off the setting Fail on "
                "incomplete data (require_complete_windows)."
            )
        self.incomplete.append(outcome.total - came)
        self._tries = 2  # such a service does not mend: one try and one more

    # Requests and their answers.

    def _take_first(self, window: Window, max_pages: int = MAX_PAGES) -> Steps[Answer]:
        self._expect(self._pages_of(window)[:max_pages])
        first = yield from self._take(PageRequest(window))
        self._page_size = max(self._page_size, len(first.records))
        self._note_first_page(window, first.total, len(first.records))
        return first

    def _take_all(self, requests: list[PageRequest]) -> Steps[list[Answer]]:
        """Ask for several answers at once, and wait for all."""
        self._expect(requests)
        answers = []
        for request in requests:
            answer = yield from self._take(request)
            answers.append(answer)
        return answers

    def _take(self, request: PageRequest) -> Steps[Answer]:
        """Wait for an answer and read it; a damaged one is asked for once more."""
        for is_last in (False, True):
            fetch = yield from self._wait_for(request)
            self._due = [due for due in self._due if due != request]
            try:
                answer = self._parse(fetch.result().response)
            except RefusedPageError:  # it is gone: SMS were deleted, or the total is false
                return REFUSED
            except RefusedError:
                if request.phone_numbers:  # they are those of SMS, but Calltouch takes no such
                    return REFUSED
                raise
            except AirbyteTracedException:
                if is_last or fetch.exception():
                    raise
            else:
                return answer
            finally:
                self._fetcher.release(fetch)
        raise AssertionError

    def _wait_for(self, request: PageRequest) -> Steps[Fetch]:
        since, is_reported = time.monotonic(), False
        while True:
            self._request_ahead(request)
            fetch = self._fetches[request]
            if fetch not in self._arriving:
                del self._fetches[request]
                if not fetch.exception() or fetch.attempt.since >= since:
                    return fetch
                continue  # nobody waited for it when it failed, and it may succeed now
            self._fetcher.expedite(fetch)
            wait(self._arriving, POLL_SECONDS, FIRST_COMPLETED)
            is_long = time.monotonic() - since > THROTTLED_SECONDS
            if is_long and self._rate_limiter.is_throttled and not is_reported:
                is_reported = True
                yield Throttled(self._rate_limiter.closed_seconds)

    def _expect(self, due: list[PageRequest]) -> None:
        """Say what is taken next; let go of what nobody will take any more."""
        self._due = due
        wanted, windows = set(due), set(self.windows)
        for request in list(self._fetches):
            if request not in wanted and request.window not in windows:
                self._fetcher.release(self._fetches.pop(request))

    def _request_ahead(self, due: PageRequest | None = None) -> None:
        self._note_arrivals()
        while request := next_request(due, self._wanted(), self._fetches, self._load()):
            self._fetches[request] = self._fetcher.start(request)
            self._arriving.append(self._fetches[request])

    def _wanted(self) -> Iterator[PageRequest]:
        ahead = (request for window in self.windows for request in self._pages_of(window))
        return chain(self._due, ahead)

    def _pages_of(self, window: Window) -> list[PageRequest]:
        """Return the pages of a window, as far as they are known."""
        return [PageRequest(window, n + 1) for n in range(self._pages.get(window, 1))]

    def _load(self) -> Load:
        now = time.monotonic()
        under_way = [f.attempt.sent_at for f in self._arriving if not f.attempt.is_cancelled]
        sent = [sent_at for sent_at in under_way if sent_at < math.inf]
        held = sum(fetch.attempt.bytes for fetch in self._fetches.values() if fetch.done())
        return Load(
            waiting=len(under_way) - len(sent),
            in_flight=len(under_way),
            bytes=round(held + self._page_bytes * (len(under_way) + 1)),
            rate=self._rate_limiter.rate,
            latency=max(self._latency, now - min(sent, default=now)),
        )

    def _note_arrivals(self) -> None:
        """Learn from answers that have arrived."""
        for fetch in [fetch for fetch in self._arriving if fetch.done()]:
            self._arriving.remove(fetch)
            if fetch.exception():
                continue
            fetched = fetch.result()
            self.answers += 1
            # Up at once and down slowly: answers wait for the slowest one, and for the largest.
            self._latency = max(fetch.seconds, 0.8 * self._latency)
            self._page_bytes = max(len(fetched.response.content), 0.9 * self._page_bytes)
            self._page_size = max(self._page_size, fetched.rows)
            if fetch.request == PageRequest(fetch.request.window):
                self._note_first_page(fetch.request.window, fetched.total, fetched.rows)

    def _note_first_page(self, window: Window, total: int, rows: int) -> None:
        """Learn a window's pages, or split it at once, wherever it stands, if it is too large."""
        max_sms = self._max_sms_of(rows)
        if window in self.windows and window.seconds > 1 and max_sms < total <= MAX_TOTAL:
            place = self.windows.index(window)
            self.windows[place : place + 1] = split(window, total, max_sms)
            self._expect(self._due)
        else:  # what fits one answer has one page; if that is short, another one tells
            most = MAX_PAGES if total > self._page_size else 2
            self._pages[window] = min(math.ceil(total / max(rows, 1)) or 1, most)

    def close(self) -> None:
        """Make no further request."""
        self.windows = []
        self._expect([])
        self._fetcher.close(self._arriving)
