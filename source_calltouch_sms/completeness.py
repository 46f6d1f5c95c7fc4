"""Are answers every SMS of a window, and if not, what to ask for next? Pure: no HTTP, no threads.

An answer is a snapshot; pages are the fast path. Where they leave a doubt, less is asked for,
until one answer holds it: a range is split by time, a second by phone numbers.

- One answer with as many rows as it reports is complete, in whatever order.
- Pages are complete when all report the same total, their rows add up to it, and no SMS is on two
  of them. That may be two identical SMS, or one served twice and another not at all. So its phone
  number is asked for alone: the answer takes the place of the pages' rows about it, if it is
  complete and has as many, and if the window's total is the same afterwards.
- An answer in order of time is complete up to its last second, if it has as many SMS before that
  second as the totals of its range and of the rest differ by, and the rest begins with it.
- The answers about a second that none of them holds are united: of identical SMS, as many count as
  one answer had.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from itertools import pairwise, starmap
from operator import ge, le
from typing import Any, Final, NamedTuple

from source_calltouch_sms.api import MAX_NUMBERS
from source_calltouch_sms.windows import SECOND, Window

Record = dict[str, Any]

MIN_IN_ORDER: Final = 100
"""Fewer SMS may be in order of time by chance."""


class Answer(NamedTuple):
    """What one answer says: the total of all SMS that were asked for, and those that it holds."""

    total: int
    records: list[Record]

    @property
    def is_complete(self) -> bool:
        """Whether it holds all that it reports."""
        return len(self.records) == self.total


class Ambiguous(NamedTuple):
    """SMS of these phone numbers are on two pages."""

    phone_numbers: tuple[str, ...]


class Split(NamedTuple):
    """Too many SMS, too long, or pages that contradict each other: read these parts instead."""

    parts: list[Window]


def second_of(record: Record) -> str:
    """Return a record's wall time, `2024-04-01T15:05:32`; empty where it has none."""
    return (record["dateSent"] or "")[:19]


def phone_number_of(record: Record) -> str:
    """Return a record's phone number; empty where it has none."""
    return record["phoneNumber"] or ""


def times(pages: Iterable[Answer]) -> Counter[str]:
    """Count the SMS of pages by wall time."""
    counts = Counter(second_of(record) for page in pages for record in page.records)
    del counts[""]
    return counts


def first_time(window: Window, records: Iterable[Record]) -> datetime:
    """Return the wall time of a window's first SMS; the window's start where it has none."""
    start = window.start.isoformat()
    times = (time for time in map(second_of, records) if time >= start)
    return datetime.fromisoformat(min(times, default=start))


def fits(pages: list[Answer]) -> bool:
    """Tell whether pages so far agree: one total, and all but the last one equally full."""
    first, last = pages[0], pages[-1]
    rows = sum(len(page.records) for page in pages)
    expected = min(len(first.records), first.total - rows + len(last.records))
    return last.total == first.total and len(last.records) == expected > 0


def check_pages(pages: list[Answer]) -> Answer | Ambiguous | None:
    """Return every SMS of a window, as its pages hold it; None if they prove nothing."""
    records = [record for page in pages for record in page.records]
    if any(page.total != len(records) for page in pages):
        return None
    if len({record["smsKey"] for record in records}) == len(records):
        return Answer(len(records), records)
    counts = Counter(record["smsKey"] for record in records)  # within a page, keys are distinct
    numbers = {phone_number_of(record) for record in records if counts[record["smsKey"]] > 1}
    if "" in numbers or len(numbers) > MAX_NUMBERS:  # nothing to ask for
        return None
    return Ambiguous((*sorted(numbers),))


def is_in_order(pages: list[Answer]) -> bool:
    """Tell whether the service sorts by time, the oldest or the newest first, as SMS show it."""
    times = [second_of(record) for page in pages for record in page.records]
    if len(times) < MIN_IN_ORDER or not all(times) or times[0] == times[-1]:
        return False
    return any(all(starmap(in_order, pairwise(times))) for in_order in (le, ge))


def replace(
    pages: list[Answer], phone_numbers: Collection[str], answer: Answer, total: int
) -> Answer | None:
    """Replace what pages hold of some phone numbers by the answer about these alone.

    `total` is the window's, asked for once more after it, unless it is counted then by its parts.
    None: they prove nothing.
    """
    asked = {*phone_numbers}
    records = [record for page in pages for record in page.records]
    others = [record for record in records if phone_number_of(record) not in asked]
    replaced = Answer(total, others + answer.records)
    is_about_asked = {*map(phone_number_of, answer.records)} <= asked
    is_proved = answer.is_complete and replaced.is_complete and total == pages[0].total
    return replaced if is_about_asked and is_proved else None


def divide(window: Window, answer: Answer) -> tuple[Window, Window] | None:
    """Divide a window where an answer in order of time ends: what it leaves behind, and the rest.

    The rest begins with the last second seen. None: the answer is in no order, or of one second.
    """
    if not is_in_order([answer]):
        return None
    first, last = (datetime.fromisoformat(second_of(answer.records[n])) for n in (0, -1))
    if not window.start < last < window.end:
        return None
    if first < last:
        return Window(window.start, last - SECOND), Window(last, window.end)
    return Window(last + SECOND, window.end), Window(window.start, last)


def left_behind(answer: Answer, rest: Answer) -> Answer | None:
    """Return the SMS that an answer leaves behind, as `divide` says; None if they are not certain.

    `rest` is the answer about the rest: it must begin with the last second seen.
    """
    last = second_of(answer.records[-1])
    records = [record for record in answer.records if second_of(record) != last]
    begins = bool(rest.records) and second_of(rest.records[0]) == last
    is_proved = begins and len(records) == answer.total - rest.total
    return Answer(len(records), records) if is_proved else None


class Gathered:
    """What several answers hold together: of identical SMS, as many as any one answer had.

    Identical SMS are taken together, since only within one answer are they told apart.
    """

    def __init__(self, pages: Sequence[Answer] = ()) -> None:
        self.total = 0
        """What Calltouch reports."""
        self.passes = 0
        """How often pages were added."""
        self._identical: dict[tuple[Any, ...], list[Record]] = {}
        if pages:
            self.add(pages)

    def add(self, pages: Sequence[Answer]) -> bool:
        """Take pages; return whether they held anything new.

        Older SMS are dropped where the total has changed, or where they are more than it.
        """
        if pages[0].total != self.total or len(self.answer().records) > self.total:
            self._identical.clear()
        self.total, before = pages[0].total, len(self.answer().records)
        self.passes += 1
        for page in pages:
            if page.total == self.total:
                self.add_records(page.records)
        return len(self.answer().records) > before

    def add_records(self, records: list[Record]) -> None:
        """Take the records of one answer."""
        groups = dict[tuple[Any, ...], list[Record]]()
        for record in records:
            identity = (record["phoneNumber"], record["dateSent"], record["smsMessage"])
            groups.setdefault(identity, []).append(record)
        for identity, group in groups.items():
            if len(group) >= len(self._identical.get(identity, ())):
                self._identical[identity] = group

    def answer(self) -> Answer:
        """Return them as if one answer held them."""
        return Answer(self.total, [r for group in self._identical.values() for r in group])

    def phone_numbers(self, max_sms: int) -> list[tuple[str, ...]]:
        """Return the phone numbers, in groups of up to `max_sms` SMS as far as these are known."""
        counts = Counter(map(phone_number_of, self.answer().records))
        del counts[""]
        groups, sms = [list[str]()], 0
        for number, count in counts.items():
            if groups[-1] and (sms + count > max_sms or len(groups[-1]) == MAX_NUMBERS):
                groups.append([])
                sms = 0
            groups[-1].append(number)
            sms += count
        return [tuple(group) for group in groups if group]
