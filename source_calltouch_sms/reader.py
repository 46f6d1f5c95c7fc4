"""How a sync reads its windows: hold, prove, emit; one after another, oldest first.

Nothing leaves before it is proved. A window's answers are held until they are proved to be every
SMS of it, as `completeness.py` says; only then do its records leave.

Answers are taken in order; `prefetcher.py` decides what to request before it is due.
"""

import logging
import time
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import requests
from airbyte_cdk.sources.streams.http.request_window_split_exception import (
    RequestWindowSplitRequiredException,
)

from source_calltouch_sms import completeness
from source_calltouch_sms.api import PAGE_SIZE
from source_calltouch_sms.completeness import Answer, Complete, Incomplete, Record, Split, Union
from source_calltouch_sms.errors import transient_error
from source_calltouch_sms.fetcher import Fetcher
from source_calltouch_sms.prefetcher import MAX_PAGES, MAX_TOTAL, Prefetcher, Steps, Throttled
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

MAX_TRIES: Final = 4
"""How often a window that stays short of its total is read again in vain."""
PAUSE_SECONDS: Final = 2
"""Before it is read again."""
PASSES: Final = 2
"""After so many over a second's pages, almost all of its phone numbers have been seen."""

BATCH: Final = 500
"""How many records leave before the next look at what to request."""


class WindowEnd(NamedTuple):
    """All records of a window have left; the latest `dateSent` among them, empty if none has."""

    window: Window
    latest: str


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
        self.sms = self.read = 0
        """How many SMS were emitted, of how many windows."""
        self._undated = self._outside = 0
        """How many SMS have no readable date, or one outside of their window."""
        self.incomplete: list[int] = []
        """How many SMS did not come, for each window that stayed incomplete."""
        self._answers = Prefetcher(fetcher, parse, rate_limiter, window)
        self._require_complete_windows = require_complete_windows
        self._longest_answered = 0
        """Seconds of the longest window that Calltouch could answer."""
        self._max_tries = MAX_TRIES

    @property
    def windows(self) -> list[Window]:
        """Those still to be read, oldest first."""
        return self._answers.windows

    @property
    def answers(self) -> int:
        """How many came, each of which has cost points."""
        return self._answers.count

    def close(self) -> None:
        """Make no further request; warn of what was odd."""
        self._answers.close()
        if self._undated:
            logger.warning(f"{self._undated} SMS have an unreadable dateSent; set to null.")
        if self._outside:
            logger.warning(
                f"{self._outside} SMS are dated outside the requested range. Check that the "
                "setting Time zone (timezone) is the zone of the times in Calltouch."
            )
        if self.incomplete:
            logger.warning(
                f"{len(self.incomplete)} windows stayed incomplete: {sum(self.incomplete)} SMS "
                "that Calltouch reported were not returned. Continued, as set."
            )

    def read_next_window(self) -> Iterator[list[Record] | Throttled | WindowEnd]:
        """Yield the oldest window's records, in batches, once every SMS of it has arrived.

        Raises:
            AirbyteTracedException: a request failed for good, or the window stays incomplete.
        """
        while True:
            window = self._answers.windows.pop(0)
            outcome = yield from self._collect(window)
            if not isinstance(outcome, Split):
                break
            self._answers.windows[:0] = outcome.parts
        if isinstance(outcome, Incomplete):
            self._report_incomplete(window, outcome)
        self._answers.expect([])
        latest, before = "", self.sms
        while batch := outcome.records[:BATCH]:
            del outcome.records[:BATCH]
            latest = max(latest, self._count(window, batch))
            yield batch
            self._answers.is_reported = False
            self._answers.request_ahead()
        self.read += 1
        logger.info(f"{window}: {self.sms - before} SMS emitted")
        yield WindowEnd(window, latest)

    def _count(self, window: Window, batch: list[Record]) -> str:
        """Count records, and odd dates among them; return the latest date, empty if none has."""
        sent = [record["dateSent"] for record in batch if record["dateSent"]]
        start, end = window.start.isoformat(), window.end.isoformat() + "~"  # after any offset
        self.sms += len(batch)
        self._undated += len(batch) - len(sent)
        if sent and not start <= min(sent) <= max(sent) <= end:
            self._outside += sum(not start <= moment <= end for moment in sent)
        return max(sent, default="")

    def _collect(self, window: Window) -> Steps[Complete | Split | Incomplete]:
        """Hold a window's answers until they prove something, or until tries bring no more SMS."""
        union, most, tries = Union(), -1, 0
        while True:
            try:
                if window.seconds > 1:
                    outcome = yield from self._read_range(window)
                else:
                    outcome = yield from self._read_second(window, union)
            except RequestWindowSplitRequiredException:
                return self._split_too_long(window)
            if not isinstance(outcome, Incomplete):
                return outcome
            if len(outcome.records) <= most:
                tries += 1
                if tries == self._max_tries:
                    return outcome
                if not self.incomplete:  # else such windows are the service's way: no wait helps
                    time.sleep(PAUSE_SECONDS)
            most = max(most, len(outcome.records))

    def _read_range(self, window: Window) -> Steps[Complete | Split | Incomplete]:
        """Read a window that can be split by time."""
        first = yield from self._answers.take_first(window, MAX_PAGES)
        self._longest_answered = max(self._longest_answered, window.seconds)
        if first.is_complete:
            return (yield from self._check_cap(window, Complete(first.records)))
        max_sms = self._answers.max_sms_of(len(first.records))
        if max_sms < first.total <= MAX_TOTAL:
            return Split(split(window, first.total, max_sms))
        pages = yield from self._take_pages(window, first, MAX_PAGES)
        if first.total > MAX_TOTAL or (len(pages) == 1 and first.total <= PAGE_SIZE):
            return Incomplete(first.total, Union(pages).all())
        verdict = yield from self._prove(window, pages)
        if isinstance(verdict, Complete):
            return (yield from self._check_cap(window, verdict))
        # Pages prove nothing here: from now on, a window is what one answer holds.
        self._answers.max_sms = self._answers.page_size
        return Split(split_by_times(window, completeness.times(pages), self._answers.max_sms))

    def _check_cap(self, window: Window, complete: Complete) -> Steps[Complete | Split]:
        """Check a total of full pages, where the service may have stopped counting.

        Some count no further than one page, or a few, holds; then the halves count more.
        """
        total = len(complete.records)
        if total and total % PAGE_SIZE == 0:
            halves = yield from self._answers.take_all([PageRequest(h) for h in window.halves()])
            if sum(half.total for half in halves) != total:
                return Split(window.halves())
        return complete

    def _take_pages(self, window: Window, first: Answer, max_pages: int) -> Steps[list[Answer]]:
        """Take a window's further pages, as long as they agree and bring something new."""
        pages, keys = [first], {record["smsKey"] for record in first.records}
        requests = self._answers.pages_of(window)[1:max_pages]
        self._answers.expect(requests)
        for request in requests:
            page = yield from self._answers.take(request)
            if not page.records:
                break
            pages.append(page)
            new = {record["smsKey"] for record in page.records} - keys
            if not new or not completeness.fits(pages):
                break
            keys |= new
        return pages

    def _prove(
        self, window: Window, pages: list[Answer]
    ) -> Steps[Complete | completeness.Inconsistent]:
        """Say whether pages are all of a window; ask for ambiguous parts of it alone."""
        verdict = completeness.check_pages(pages)
        if not isinstance(verdict, completeness.Ambiguous):
            return verdict
        seconds, numbers = verdict
        # Identical SMS are few in a second; a second in another order at every request has many.
        if window.seconds > 1 and len(seconds) < min(len(pages), len(numbers) / 2):
            part_of, asked = completeness.second_of, [[time] for time in seconds]
            requests = [PageRequest(second(time)) for time in seconds]
        else:
            part_of, asked = completeness.phone_number_of, [list(numbers)]
            requests = [PageRequest(window, 1, numbers)]
        answers = yield from self._answers.take_all(requests)
        last = yield from self._answers.take(PageRequest(window, len(pages)))
        parts = list(zip(asked, answers, strict=True))
        return completeness.replace(pages, part_of, parts, last.total)

    def _read_second(self, window: Window, union: Union) -> Steps[Complete | Incomplete]:
        """Read a second, which cannot be split by time, once more.

        What its pages hold is united, pass after pass, until it is as many as Calltouch reports.
        Besides, what was sent to each phone number is asked for.
        """
        max_pages = 2 * union.pages + 1 if union.pages else MAX_PAGES  # the total may be false
        first = yield from self._answers.take_first(window, max_pages)
        if first.is_complete:
            return Complete(first.records)
        if union.is_complete and union.total == first.total:
            return Complete(union.all())
        pages = yield from self._take_pages(window, first, max_pages)
        if not union.passes:
            verdict = yield from self._prove(window, pages)
            if isinstance(verdict, Complete):
                return verdict
        has_new = union.add(pages)
        if union.is_complete:
            return Complete(union.all())
        if not has_new or union.passes == PASSES:
            yield from self._ask_phone_numbers(window, union)
        return Incomplete(union.total, union.all())

    def _ask_phone_numbers(self, window: Window, union: Union) -> Steps[None]:
        """Add what was sent to the phone numbers seen, as far as one answer holds it."""
        page_size = self._answers.page_size
        groups = union.phone_numbers(int(PART_SHARE * page_size))
        while groups:
            numbers = groups.pop()
            answer = yield from self._answers.take(PageRequest(window, 1, numbers))
            if answer.is_complete:
                union.add_records(answer.records)
            elif len(answer.records) == page_size and len(numbers) > 1:
                half = len(numbers) // 2
                groups += [numbers[:half], numbers[half:]]

    def _split_too_long(self, window: Window) -> Split:
        """Split a window that Calltouch cannot answer."""
        answered = self._longest_answered
        seconds = answered if 0 < answered < window.seconds else -(-window.seconds // 2)
        logger.warning(
            "%s: too long for Calltouch. Asking for %.1f days at once.", window, seconds / 86_400
        )
        return Split(window.parts(seconds))

    def _report_incomplete(self, window: Window, outcome: Incomplete) -> None:
        came = len(outcome.records)
        if self._require_complete_windows:
            raise transient_error(
                f"{window}: Calltouch reported {outcome.total} SMS but returned {came} distinct "
                "SMS, after several attempts. Nothing is lost: the next sync begins before this "
                "window. If it persists, report it to Calltouch, or switch off the setting Fail on "
                "incomplete data (require_complete_windows)."
            )
        self.incomplete.append(outcome.total - came)
        self._max_tries = 1
