"""Are answers every SMS of a window, and if not, what to ask for next? Pure: no HTTP, no threads.

An answer is a snapshot; pages are the fast path. Where they leave a doubt, less is asked for,
until one answer holds it: a range is split by time, a second by phone numbers.

- One answer with as many rows as it reports is complete, in whatever order.
- Pages are complete when all report the same total, their rows add up to it, and no SMS is on two
  of them. That may be two identical SMS, or one served twice and another not at all. So its
  second, or its phone number, is asked for alone: the answer takes the place of the pages' rows
  about it, if it is complete and has as many, and if the window's total is the same afterwards.
- The answers about a second that none of them holds are united: of identical SMS, as many count as
  one answer had.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from source_calltouch_sms.api import MAX_NUMBERS
from source_calltouch_sms.windows import Window

Record = dict[str, Any]


class Answer(NamedTuple):
    """What one answer says: the total of all SMS that were asked for, and those that it holds."""

    total: int
    records: list[Record]

    @property
    def is_complete(self) -> bool:
        """Whether it holds all that it reports."""
        return len(self.records) == self.total


class Ambiguous(NamedTuple):
    """SMS of these seconds, `2024-04-01T15:05:32`, and phone numbers are on two pages."""

    seconds: tuple[str, ...]
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
    due = min(len(first.records), first.total - rows + len(last.records))
    return last.total == first.total and len(last.records) == due > 0


def check_pages(pages: list[Answer]) -> Answer | Ambiguous | None:
    """Return every SMS of a window, as its pages hold it; None if they prove nothing."""
    records = [record for page in pages for record in page.records]
    if any(page.total != len(records) for page in pages):
        return None
    if len({record["smsKey"] for record in records}) == len(records):
        return Answer(len(records), records)
    counts = Counter(record["smsKey"] for record in records)  # within a page, keys are distinct
    ambiguous = [record for record in records if counts[record["smsKey"]] > 1]
    seconds, numbers = ({*map(of, ambiguous)} for of in (second_of, phone_number_of))
    if "" in seconds | numbers or len(numbers) > MAX_NUMBERS:  # nothing to ask for
        return None
    return Ambiguous((*sorted(seconds),), (*sorted(numbers),))


def replace(
    pages: list[Answer],
    group_of: Callable[[Record], str],
    answers: Sequence[tuple[Collection[str], Answer]],
    total: int,
) -> Answer | None:
    """Replace what pages hold of some seconds or numbers by the answers about these alone.

    `group_of` is `second_of` or `phone_number_of`; each answer stands beside what it was asked for.
    `total` is the window's, asked for once more after them, unless it is counted then by its parts.
    None: they prove nothing.
    """
    seen = Counter(group_of(record) for page in pages for record in page.records)
    for group, answer in answers:
        held = Counter(map(group_of, answer.records))
        expected, of_group = (sum(counts[each] for each in group) for counts in (seen, held))
        if not answer.is_complete or not answer.total == of_group == expected:
            return None
    if total != pages[0].total:
        return None
    asked = {each for group, _ in answers for each in group}
    others = [r for page in pages for r in page.records if group_of(r) not in asked]
    return Answer(total, others + [r for _, answer in answers for r in answer.records])


class Gathered:
    """What several answers hold together: of identical SMS, as many as any one answer had.

    Keys say so: those of identical SMS differ by an ordinal within one answer.
    """

    def __init__(self) -> None:
        self.total = 0
        """What Calltouch reports."""
        self.passes = 0
        """How often pages were added."""
        self._by_key: dict[str, Record] = {}

    def add(self, pages: Sequence[Answer]) -> bool:
        """Take pages; return whether they held anything new. A changed total drops older SMS."""
        if len(self._by_key) > self.total:  # some have disappeared from the account
            self._by_key.clear()
        self.passes, before = self.passes + 1, len(self._by_key)
        if pages[0].total != self.total:
            self.total, before = pages[0].total, 0
            self._by_key.clear()
        for page in pages:
            if page.total == self.total:
                self.add_records(page.records)
        return len(self._by_key) > before

    def add_records(self, records: list[Record]) -> None:
        """Take the records of one answer."""
        self._by_key.update((record["smsKey"], record) for record in records)

    def answer(self) -> Answer:
        """Return them as if one answer held them."""
        return Answer(self.total, list(self._by_key.values()))

    def phone_numbers(self, max_sms: int) -> list[tuple[str, ...]]:
        """Return the phone numbers, in groups of up to `max_sms` SMS as far as these are known."""
        counts = Counter(map(phone_number_of, self._by_key.values()))
        del counts[""]
        groups, sms = [list[str]()], 0
        for number, count in counts.items():
            if groups[-1] and (sms + count > max_sms or len(groups[-1]) == MAX_NUMBERS):
                groups.append([])
                sms = 0
            groups[-1].append(number)
            sms += count
        return [tuple(group) for group in groups if group]
