"""Requests ahead of need: which page to request next, and which answers have arrived.

One thread, the reader's, decides it all; the threads of the fetcher only fetch. What is due comes
first, then what is due afterwards, then the pages of later windows, in order, as long as there is
room.
"""

import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, wait
from itertools import chain, islice
from typing import Final, NamedTuple

import requests
from airbyte_cdk.sources.http_config import MAX_CONNECTION_POOL_SIZE

from source_calltouch_sms.api import PAGE_SIZE, seen_counts
from source_calltouch_sms.completeness import Answer, fits, is_in_order
from source_calltouch_sms.errors import CancelledError, RefusedError, transient_error
from source_calltouch_sms.fetcher import MAX_BYTES, Fetch, Fetcher
from source_calltouch_sms.windows import PageRequest, Window

WINDOW_PAGES: Final = 10
"""How many pages a window may have: that much is held, and read again after a failure."""
WINDOW_BYTES: Final = 90_000_000
"""The same in bytes of answers."""
MAX_TOTAL: Final = 10**9
"""A higher one is false, and no reason to split a window a hundred times."""
MAX_PAGES: Final = 1_000
"""How far one second is paged."""

SPARE: Final = 3
"""Requests beyond those that the latency needs, so that the reader rarely waits."""
MAX_REQUESTS: Final = MAX_CONNECTION_POOL_SIZE - 1
"""Under way, however slow the answers are."""
POLL_SECONDS: Final = 0.05
"""How soon the reader sees that a request has passed the rate limiter, so that another may wait."""
REPORT_AFTER_SECONDS: Final = 0.5
"""For how long it waits before it reports that a 429 is the reason."""


REFUSED: Final = Answer(-1, [])
"""It is never complete, and fits no other page."""


class Load(NamedTuple):
    """What is under way."""

    waiting: int
    """Requests that the rate limiter has not let pass yet."""
    in_flight: int
    """Requests without an answer, those waiting included."""
    bytes: int
    """Of all answers held or on their way, one more included."""
    rate: float
    """Requests a second."""
    latency: float
    """Seconds that an answer takes."""
    max_requests: int
    """How many requests Calltouch seems to bear at once, as failures tell."""


def next_request(
    due: PageRequest | None,
    wanted: Iterable[PageRequest],
    requested: Collection[PageRequest],
    load: Load,
) -> PageRequest | None:
    """Return what to request next: what is due, else the first that is wanted, if there is room."""
    if due and due not in requested:
        return due
    needed = min(SPARE + math.ceil(load.rate * load.latency), load.max_requests)
    if load.waiting or load.in_flight >= needed or load.bytes > MAX_BYTES:
        return None
    # Look further ahead: as many again may have arrived, and wait behind a late one.
    new = (request for request in islice(wanted, 2 * needed) if request not in requested)
    return next(new, None)


class Prefetcher:
    """Makes requests before they are due, and hands out their answers one by one."""

    def __init__(
        self,
        fetcher: Fetcher,
        parse: Callable[[requests.Response], Answer],
        window: Window,
        report_throttled: Callable[[float], None],
    ) -> None:
        self.windows = [window]
        """Those still to be read, oldest first. One that turns out to be too large is split."""
        self.window_pages = WINDOW_PAGES
        """The reader lowers it to 1, once pages have proved nothing."""
        self.is_paged = True
        """Whether ranges are paged: no longer, once the order within a second has changed."""
        self.page_size = 0
        """Rows of the largest answer so far."""
        self.is_reported = False
        """Whether a 429 was reported since the last record: the platform ignores another."""
        self.kept: dict[PageRequest, Answer] = {}
        """Answers that the reader knows already, each until it is taken."""
        self._fetcher = fetcher
        self._parse = parse
        self._report_throttled = report_throttled
        """Takes for how many seconds no request will pass."""
        self._rate_limiter = fetcher.rate_limiter
        self._due: list[PageRequest] = []
        """What is taken next, in order."""
        self._fetches: dict[PageRequest, Fetch] = {}
        """Requests made, whose answers are not taken yet."""
        self._arriving: list[Fetch] = []
        """Those under way, also if nobody wants them any more."""
        self._pages: dict[Window, int] = {}
        """How many pages a window has, once its first one has come."""
        self._latency = 0.0
        self._page_bytes = 1.0
        self._max_requests = MAX_REQUESTS

    def take_first(self, window: Window) -> Answer:
        """Wait for a window's first page; request more of its pages, if they are known, besides."""
        self.set_due(self.pages_of(window))
        first = self.take(PageRequest(window))
        self.note_first_page(window, first.total, len(first.records))
        return first

    def take_pages(self, window: Window, first: Answer) -> list[Answer]:
        """Take a window's further pages, as long as they agree and bring something new."""
        pages, keys = [first], {record["smsKey"] for record in first.records}
        rows = len(first.records)
        requests = self.pages_of(window)[1:]
        self.set_due(requests)
        for request in requests:
            page = self.take(request)
            if not page.records:
                break
            pages.append(page)
            rows, before = rows + len(page.records), len(keys)
            keys |= {record["smsKey"] for record in page.records}
            if len(keys) == before or not fits(pages):
                break
            if rows - len(keys) > 1 and window.seconds > 1 and is_in_order(pages):
                # SMS of a second come in another order each time: some twice, others not at all.
                self.is_paged = False
                self.set_due([])
                break
        return pages

    def take(self, request: PageRequest) -> Answer:
        """Wait for an answer and read it.

        One that failed before anybody waited for it is asked for again; so is, once, one that turns
        out to be damaged, after the CDK's tries. A further page that is refused is `REFUSED`.

        Raises:
            AirbyteTracedException: the request failed for good.
            RequestWindowSplitRequiredException: Calltouch cannot answer so long a range.
        """
        if request in self.kept:
            return self.kept.pop(request)
        is_again = False
        while True:
            fetch = self._wait_for(request)
            try:
                return self._parse(fetch.result())
            except CancelledError:
                continue
            except RefusedError:
                if request == PageRequest(request.window):
                    raise
                # The page is gone, since SMS were deleted; or it takes no numbers of that form.
                return REFUSED
            except Exception:
                if is_again or (fetch.exception() and fetch.attempt.is_due):
                    raise
                is_again = True
            finally:
                self._fetcher.release(fetch)

    def _wait_for(self, request: PageRequest) -> Fetch:
        since = time.monotonic()
        others = [due for due in self._due if due != request]
        self._due = [request, *others]
        while True:
            self.request_ahead(request)
            fetch = self._fetches[request]
            if fetch not in self._arriving:
                del self._fetches[request]
                self._due = others
                return fetch
            self._fetcher.expedite(fetch)
            wait(self._arriving, POLL_SECONDS, FIRST_COMPLETED)
            if time.monotonic() - max(since, fetch.attempt.sent_at) > self._fetcher.max_seconds:
                raise transient_error(
                    "Calltouch took a request, but sends no answer. Try again later."
                )
            is_long = time.monotonic() - since > REPORT_AFTER_SECONDS
            if is_long and self._rate_limiter.is_throttled and not self.is_reported:
                self.is_reported = True
                self._report_throttled(self._rate_limiter.closed_seconds)

    def set_due(self, due: list[PageRequest]) -> None:
        """Say what is taken next; let go of what nobody will take any more."""
        self._due = [request for request in due if request not in self.kept]
        wanted = set(self._wanted())
        for request in list(self._fetches):
            if request not in wanted:
                self._fetcher.release(self._fetches.pop(request))

    def request_ahead(self, due: PageRequest | None = None) -> None:
        """Make the requests that are needed next, as far as there is room."""
        self._note_arrivals()
        while request := next_request(
            due, self._wanted(), {*self._fetches, *self.kept}, self._load()
        ):
            self._fetches[request] = self._fetcher.start(request, is_due=request == due)
            self._arriving.append(self._fetches[request])

    def _wanted(self) -> Iterator[PageRequest]:
        ahead = (request for window in self.windows for request in self.pages_of(window))
        return chain(self._due, ahead)

    def pages_of(self, window: Window) -> list[PageRequest]:
        """Return the pages of a window, as far as they are known."""
        pages = self._pages.get(window, 1) if self.is_paged or window.seconds == 1 else 1
        return [PageRequest(window, n + 1) for n in range(pages)]

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
            max_requests=self._max_requests,
        )

    def _note_arrivals(self) -> None:
        """Learn from answers that have arrived."""
        for fetch in [fetch for fetch in self._arriving if fetch.done()]:
            self._arriving.remove(fetch)
            if fetch.attempt.is_cancelled:
                continue
            if fetch.exception():  # they may be too many at once
                self._max_requests = max(1, self._max_requests // 2)
                continue
            self._max_requests = min(self._max_requests + 1, MAX_REQUESTS)
            response = fetch.result()
            total, rows = seen_counts(response.content)
            # Up at once and down slowly: answers wait for the slowest one, and for the largest.
            self._latency = max(response.elapsed.total_seconds(), 0.8 * self._latency)
            self._page_bytes = max(len(response.content), 0.9 * self._page_bytes)
            self.page_size = max(self.page_size, rows)
            if fetch.request == PageRequest(fetch.request.window):
                self.note_first_page(fetch.request.window, total, rows)

    def note_first_page(self, window: Window, total: int, rows: int) -> None:
        """Learn a window's pages, or split it at once, wherever it stands, if it is too large."""
        self.page_size = max(self.page_size, rows)
        if window in self.windows and window.seconds > 1 and self.max_sms < total <= MAX_TOTAL:
            place = self.windows.index(window)
            self.windows[place : place + 1] = window.split(total, self.max_sms)
            self.set_due(self._due)
        else:
            pages = math.ceil(total / (rows or self.page_size or PAGE_SIZE))
            self._pages[window] = min(max(pages, 1), MAX_PAGES)

    def close(self) -> None:
        """Make no further request."""
        self.windows.clear()
        self._fetcher.close(self._arriving)
        self.set_due([])

    @property
    def max_sms(self) -> int:
        """How many SMS a window may hold."""
        pages = min(self.window_pages, WINDOW_BYTES / self._page_bytes)
        return int(max(pages, 1) * (self.page_size or PAGE_SIZE))
