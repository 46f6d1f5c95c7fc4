"""How a sync reads its windows: hold, prove, emit; one after another, oldest first.

Nothing leaves before it is proved. A window's answers are held until they are proved to be every
SMS of it, as `completeness.py` says; only then do its records leave.

Answers are taken in order; `prefetcher.py` decides what to request before it is due.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Final, NamedTuple

from airbyte_cdk.sources.streams.http.request_window_split_exception import (
    RequestWindowSplitRequiredException,
)
from airbyte_cdk.utils.traced_exception import AirbyteTracedException

from source_calltouch_sms import completeness
from source_calltouch_sms.api import PAGE_SIZE
from source_calltouch_sms.completeness import Ambiguous, Answer, Gathered, Record, Split
from source_calltouch_sms.errors import transient_error
from source_calltouch_sms.prefetcher import MAX_TOTAL, Prefetcher
from source_calltouch_sms.windows import PART_SHARE, SECOND, PageRequest, Window

logger = logging.getLogger("airbyte.calltouch")

MAX_VAIN_READS: Final = 4
"""How often a window is read again without more SMS before it counts as incomplete."""
PAUSE_SECONDS: Final = 2
"""Between two such reads."""
PASSES: Final = 2
"""After so many passes over a second's pages, almost all of its phone numbers have been seen."""
SHORT: Final = timedelta(days=31)
"""Ranges up to this are expected to be answered as a whole."""
BATCH: Final = 500
"""How many records leave before the next look at what to request."""


class WindowEnd(NamedTuple):
    """All records of a window have left; the latest `dateSent` among them, empty if none has."""

    window: Window
    latest: str


class Reader:
    """Reads the windows of one sync."""

    def __init__(self, prefetcher: Prefetcher, *, require_complete_windows: bool = True) -> None:
        self.sms = self.read = 0
        """How many SMS were emitted, of how many windows."""
        self._undated = self._outside = 0
        """How many of these SMS have no readable date, or one outside of their window."""
        self.incomplete: list[int] = []
        """How many SMS did not come, for each window that stayed incomplete."""
        self.windows = prefetcher.windows
        """Those still to be read, oldest first: the prefetcher's list, which it may split."""
        self.error: AirbyteTracedException | None = None
        """Why the sync fails, although each window was proved: some SMS are in none of them."""
        self._period = prefetcher.windows[0]
        self._reported = 0
        """How many SMS Calltouch reports for the whole period, if it has answered for it."""
        self._prefetcher = prefetcher
        self._require_complete_windows = require_complete_windows
        self._longest_answered = 0
        """Days of the longest window that Calltouch could answer."""

    def close(self) -> None:
        """Make no further request; warn of what was odd."""
        self._prefetcher.close()
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
                "that Calltouch reported were not returned. The sync continued, as set."
            )

    def read_next_window(self) -> Iterator[list[Record] | WindowEnd]:
        """Yield the oldest window's records, in batches, once every SMS of it has arrived.

        Its `WindowEnd` comes last. After that of the last window, `error` may be set.

        Raises:
            AirbyteTracedException: a request failed for good, or the window stays incomplete.
        """
        window = self.windows.pop(0)
        while isinstance(outcome := self._collect(window), Split):
            window, *others = outcome.parts
            self.windows[:0] = others
        if not outcome.is_complete:
            self._report_incomplete(window, outcome.total, len(outcome.records))
        self._prefetcher.set_due([])
        latest, before = "", self.sms
        while batch := outcome.records[:BATCH]:
            del outcome.records[:BATCH]
            latest = max(latest, self._count(window, batch))
            yield batch
            self._prefetcher.is_reported = False
            self._prefetcher.request_ahead()
        self.read += 1
        logger.info(f"{window}: {self.sms - before} SMS emitted")
        if not self.windows:
            try:
                self._check_sum()
            except AirbyteTracedException as error:
                self.error = error
        yield WindowEnd(window, latest)

    def _count(self, window: Window, batch: list[Record]) -> str:
        """Count records, and odd dates among them; return the latest date, empty if none has."""
        sent = [record["dateSent"] for record in batch if record["dateSent"]]
        start, end = window.start.isoformat(), window.end.isoformat() + "~"  # after any offset
        self.sms += len(batch)
        self._undated += len(batch) - len(sent)
        self._outside += sum(not start <= moment <= end for moment in sent)
        return max(sent, default="")

    def _collect(self, window: Window) -> Answer | Split:
        """Hold a window's answers until they prove something, or reading again brings no more."""
        gathered, vain_reads = Gathered(), 0
        best: Answer | None = None
        while True:
            try:
                if window.seconds > 1:
                    outcome = self._read_range(window)
                else:
                    outcome = self._read_second(window, gathered)
                if isinstance(outcome, Split):
                    return outcome
                if outcome.is_complete:
                    self._check_start(window, outcome)
                    return self._check_cap(window, outcome)
            except RequestWindowSplitRequiredException:
                return self._split_too_long(window)
            if not best or len(outcome.records) > len(best.records):
                best = outcome
                continue
            vain_reads += 1
            # If a window has stayed incomplete, Calltouch counts what it does not return, and no
            # wait helps.
            if vain_reads == (1 if self.incomplete else MAX_VAIN_READS):
                return best
            time.sleep(PAUSE_SECONDS)

    def _read_range(self, window: Window) -> Answer | Split:
        """Read a window that can be split by time."""
        first = self._prefetcher.take_first(window)
        if window == self._period:
            self._reported = first.total
        self._longest_answered = max(self._longest_answered, window.seconds // 86_400)
        if first.is_complete:
            return first
        if self._prefetcher.max_sms < first.total <= MAX_TOTAL:
            return Split(window.split(first.total, self._prefetcher.max_sms))
        pages = self._prefetcher.take_pages(window, first)
        is_short = len(pages) == 1 and first.total <= PAGE_SIZE
        if not self._prefetcher.is_paged:
            if split := self._split_in_order(window, first):
                return split
            # Page 2 was not taken, but tells a short answer from a full page of few rows.
            is_short = is_short and not self._prefetcher.take(PageRequest(window, 2)).records
        # A false total, or one answer's worth that came short: parts would be short as well.
        if first.total > MAX_TOTAL or is_short:
            return Gathered(pages).answer()
        if proved := self._prove(window, pages):
            return proved
        return self._split_unproved(window, pages)

    def _split_unproved(self, window: Window, pages: list[Answer]) -> Split:
        """Split a window whose pages prove nothing into parts that one answer may hold."""
        times, page_size = completeness.times(pages), self._prefetcher.page_size
        if self._prefetcher.is_paged:
            # From now on, a window is what one answer holds.
            self._prefetcher.window_pages = 1
        elif len(times) > 1:  # those of one page say little about the rest
            return Split(window.split(pages[0].total, page_size))
        return Split(window.split_by_time(times, page_size))

    def _check_start(self, window: Window, complete: Answer) -> None:
        """See that a long window holds no SMS before its first one, if that is of a later day.

        Some services may answer the last days alone of a range that is too long for them.

        Raises:
            RequestWindowSplitRequiredException: this one does.
        """
        if window.end - window.start <= SHORT:
            return
        first = completeness.first_time(window, complete.records)
        if first.date() > window.start.date():
            # What lies just before the first SMS may be part of what was answered.
            silence = Window(window.start, min(first, window.end - SHORT) - SECOND)
            if self._prefetcher.take(PageRequest(silence)).total:
                self._longest_answered = (window.end.date() - first.date()).days + 1
                raise RequestWindowSplitRequiredException

    def _check_cap(self, window: Window, complete: Answer) -> Answer | Split:
        """Check a total of full pages, where the service may have stopped counting.

        Some count no further than one page, or a few, holds; then parts of the window count more.
        """
        total = complete.total
        if window.seconds == 1 or not total or total % PAGE_SIZE:
            return complete
        times = completeness.times([complete])
        parts = window.split_by_time(times, total * 3 // 5)  # into two, if not in one second
        requests = [PageRequest(part) for part in parts]
        self._prefetcher.set_due(requests)
        totals = [self._prefetcher.take(request).total for request in requests]
        # A part that counts as many as the whole may have stopped there, too.
        return complete if sum(totals) == total > max(totals) else Split(parts)

    def _prove(self, window: Window, pages: list[Answer]) -> Answer | None:
        """Return every SMS of a range by its pages, if they prove it; ask for what is ambiguous."""
        verdict = completeness.check_pages(pages)
        if not isinstance(verdict, Ambiguous):
            return verdict
        numbers, total = verdict.phone_numbers, pages[0].total
        answer = self._prefetcher.take(PageRequest(window, 1, numbers))
        if total % PAGE_SIZE:  # else `_check_cap` counts once more
            # By the last page, as it is the smallest.
            total = self._prefetcher.take(PageRequest(window, len(pages))).total
        return completeness.replace(pages, numbers, answer, total)

    def _split_in_order(self, window: Window, answer: Answer) -> Split | None:
        """Split a window where an answer in order of time ends; None if that proves nothing."""
        if not (parts := completeness.divide(window, answer)):
            return None
        following = self._prefetcher.take(PageRequest(parts[1]))
        if not (behind := completeness.left_behind(answer, following)):
            return None
        known = zip(map(PageRequest, parts), (behind, following), strict=True)
        self._prefetcher.kept.update(known)
        return Split(sorted(parts))

    def _read_second(self, window: Window, gathered: Gathered) -> Answer:
        """Read a second, which cannot be split by time, once more.

        What its pages hold is united, pass after pass, until it is as many as Calltouch reports.
        Besides, what was sent to each phone number is asked for.
        """
        first = self._prefetcher.take_first(window)
        if first.is_complete:
            return first
        has_new = gathered.add(self._prefetcher.take_pages(window, first))
        if not gathered.answer().is_complete and (not has_new or gathered.passes == PASSES):
            self._ask_phone_numbers(window, gathered)
            # A total that has changed meanwhile drops what was gathered.
            gathered.add([self._prefetcher.take(PageRequest(window))])
        return gathered.answer()

    def _ask_phone_numbers(self, window: Window, gathered: Gathered) -> None:
        """Add what was sent to the phone numbers seen, as far as one answer holds it."""
        page_size = self._prefetcher.page_size
        groups = [(part, MAX_TOTAL) for part in gathered.phone_numbers(int(PART_SHARE * page_size))]
        while groups:
            numbers, total_before = groups.pop()
            answer = self._prefetcher.take(PageRequest(window, 1, numbers))
            if answer.is_complete:
                gathered.add_records(answer.records)
            # A half that counts as many as the whole: Calltouch does not look at the numbers.
            elif (
                len(answer.records) >= page_size
                and len(numbers) > 1
                and answer.total < total_before
            ):
                half = len(numbers) // 2
                groups += [(part, answer.total) for part in (numbers[:half], numbers[half:])]

    def _split_too_long(self, window: Window) -> Split:
        """Split a window that Calltouch cannot answer, unless it answers nothing at all."""
        days, answered = (window.end.date() - window.start.date()).days + 1, self._longest_answered
        if window == self._period or days <= answered:  # the length may not be the reason
            self._prefetcher.take(PageRequest(Window(window.start, window.start)))
        if days == 1:
            return Split(window.halves())
        at_once = answered if 0 < answered < days else -(-days // 2)
        logger.warning("%s: too long for Calltouch. Asking for %s days at once.", window, at_once)
        return Split(window.days(at_once))

    def _check_sum(self) -> None:
        """Compare the SMS of all windows with what Calltouch reports for the whole period.

        A part's answer may be false as a whole, and a service may leave out what is sent in the
        last second of a range: each answer is complete, and together they are not.
        """
        found = self.sms + sum(self.incomplete)
        if found < self._reported <= MAX_TOTAL:
            # Some may have been deleted meanwhile. Without an answer, they count as missing.
            with suppress(AirbyteTracedException, RequestWindowSplitRequiredException):
                self._reported = self._prefetcher.take(PageRequest(self._period)).total
            if found < self._reported:
                self._report_incomplete(self._period, self._reported, found)

    def _report_incomplete(self, window: Window, total: int, returned: int) -> None:
        if self._require_complete_windows:
            raise transient_error(
                f"{window}: Calltouch reported {total} SMS but returned {returned} distinct SMS, "
                "after several attempts. Nothing is lost: the next sync begins before this window. "
                "If it persists, report it to Calltouch, or switch off the setting Fail on "
                "incomplete data (require_complete_windows)."
            )
        self.incomplete.append(max(0, total - returned))
