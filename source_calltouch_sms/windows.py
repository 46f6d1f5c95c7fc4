"""Ranges of the account's wall time: how they are cut, and the proof that one was read whole. Pure.

Whole seconds never straddle two windows, so what depends on all SMS of a second (a key's rank) is
known inside one window.
"""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from source_calltouch_sms.api import PAGE_SIZE

WINDOW_SMS: Final = 10 * PAGE_SIZE
"""How many SMS a window is meant to hold: ten pages between two checkpoints."""
MAX_WINDOW_SMS: Final = WINDOW_SMS * 13 // 10
"""So much more is not worth a cut, which would cost a request and a half-filled page."""
WINDOW_SHARE: Final = 0.99
"""Aim 1 % lower, so that uneven traffic rarely needs an eleventh page."""
ANSWER_SHARE: Final = 0.8
"""Aim lower where a part must fit one answer: one that does not is asked for in vain."""
KNOWN_SHARE: Final = 0.9
"""The same where it has been seen how the SMS lie in time, though perhaps not all of them."""

SECOND: Final = timedelta(seconds=1)


class Window(NamedTuple):
    """From `start` to `end`, both inclusive: naive wall times of the account, whole seconds."""

    start: datetime
    end: datetime

    @property
    def seconds(self) -> int:
        """How many seconds the window holds; 1 where `start` is `end`."""
        return round((self.end - self.start) / SECOND) + 1

    def __str__(self) -> str:
        return f"{self.start} to {self.end}"

    def parts(self, seconds: int) -> list["Window"]:
        """Cut into parts of that many seconds, oldest first; the last one may be shorter."""
        step = max(1, seconds)
        starts = [self.start + n * SECOND for n in range(0, self.seconds, step)]
        return [Window(s, min(s + (step - 1) * SECOND, self.end)) for s in starts]


def cut(window: Window, total: int, sms: float) -> list[Window]:
    """Cut a window that holds `total` SMS into parts that, if evenly filled, hold `sms` each."""
    return window.parts(int(window.seconds * sms / total))


def cut_by_times(window: Window, times: Mapping[str, int], sms: float) -> list[Window]:
    """Cut a window into parts of up to `sms` SMS, by how many were seen at each time.

    `times` counts SMS by wall time, `2024-04-01T15:05:32`. Where that makes no cut, it is halved.
    """
    starts, held = [window.start], 0
    for time in sorted(times):
        if held and held + times[time] > sms:
            start = datetime.fromisoformat(time)
            if starts[-1] < start <= window.end:
                starts.append(start)
                held = 0
        held += times[time]
    if len(starts) == 1:
        return window.parts(-(-window.seconds // 2))
    ends = [*(start - SECOND for start in starts[1:]), window.end]
    return [Window(*bounds) for bounds in zip(starts, ends, strict=True)]


class Reading:
    """What has come of a window, pass by pass over its pages, and whether that is all of it.

    A count proves nothing: where the order is not the same in every answer, a row can come on two
    pages and another on none. What proves a window whole:

    - all its rows came in one answer, which is a snapshot;
    - or its pages hold as many distinct SMS as each of them reported. A record's key tells SMS
      apart, equal ones of one answer too. Of equal rows on two pages it is not known whether they
      are one SMS or two, so they count as one.
    """

    def __init__(self, window: Window, most: int, emitted: dict[str, int], *, paged: bool) -> None:
        self.window = window
        self.most = most
        """How many SMS a window may hold; one of more is to be cut, unless it is a second."""
        self.paged = paged
        """Whether pages are trusted; a second that fits no answer is read by them all the same."""
        self.emitted = emitted
        """Keys that are no longer new though they do not count: of readings that failed."""
        self.keys: dict[str, int] = {}
        """Of the distinct SMS that came, in all passes since the total changed; a hash of the
        status that each was emitted with."""
        self.times: Counter[str] = Counter()
        """How many rows came in this pass, by wall time."""
        self.doubtful_numbers: set[str] = set()
        """Phone numbers of rows whose equals had come in other answers."""
        self.total = 0
        self.spoiled = False
        """Whether pages do not fit together, so that this pass can no longer be whole."""
        self.start_pass()

    def start_pass(self) -> None:
        """Begin again at the first page; pages that did not fit together do not count."""
        if self.spoiled:
            self._discount()
        self.rows = self.pages = self.page_size = self.full_page = 0
        self.spoiled = False
        self.times.clear()
        self.doubtful_numbers.clear()

    def add(self, total: int, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Take the next page's records and the total it reported; return those that are new."""
        self.pages += 1
        if self.pages == 1:
            if total != self.total:  # SMS came or went: what came before proves nothing now
                self._discount()
            self.total, self.page_size = total, len(records)
        elif total != self.total or len(records) != min(self.page_size, total - self.rows):
            self.spoiled = True
        self.rows += len(records)
        if self.pages == 2 and records:  # noqa: PLR2004
            self.full_page = len(records) if self.rows < total else self.page_size
        if self.too_much:
            return []
        self.times.update(r["dateSent"][:19] for r in records if r["dateSent"])
        return self.add_snapshot(records)

    def _discount(self) -> None:
        self.emitted.update(self.keys)
        self.keys = {}

    def add_snapshot(self, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Take an answer that stands for itself; return the records that are new."""
        keys = {record["smsKey"] for record in records}
        again = self.keys.keys() & keys
        if again:
            numbers = (r["phoneNumber"] for r in records if r["smsKey"] in again)
            self.doubtful_numbers.update(number for number in numbers if number)
        old = again | self.emitted.keys() & keys
        new = self._untold(records, old) if old else records
        self.keys.update((key, self.emitted[key]) for key in old - again)
        self.keys.update((r["smsKey"], _status(r)) for r in new)
        return new

    def _untold(self, records: list[dict[str, Any]], old: set[str]) -> list[dict[str, Any]]:
        """Return an answer's records but those whose keys have come.

        A key's rank goes by the order within an answer, so the row of a new key may have come under
        another key. Which of the equal rows had not come, their statuses tell.
        """
        new = [record for record in records if record["smsKey"] not in old]
        twins = {_identity(r) for r in new} & {_identity(r) for r in records if r["smsKey"] in old}
        if not twins:
            return new
        came = Counter(
            (_identity(r), self.keys.get(r["smsKey"], self.emitted.get(r["smsKey"])))
            for r in records
            if r["smsKey"] in old
        )
        left: dict[tuple[Any, ...], list[dict[str, Any]]] = {twin: [] for twin in twins}
        for record in records:
            identity = _identity(record)
            if came[identity, _status(record)]:
                came[identity, _status(record)] -= 1
            elif identity in twins:
                left[identity].append(record)
        return [
            {**left[_identity(r)].pop(0), "smsKey": r["smsKey"]} if _identity(r) in twins else r
            for r in new
        ]

    @property
    def too_much(self) -> bool:
        """Whether the window is to be cut: nothing of it was taken."""
        return self.window.seconds > 1 and self.rows < self.total > self.most

    @property
    def goes_on(self) -> bool:
        """Whether a further page may make this pass whole."""
        may_be_paged = self.window.seconds == 1 or (self.paged and not self.too_much)
        return may_be_paged and not self.spoiled and 0 < self.rows < self.total

    @property
    def is_doubtful(self) -> bool:
        """Whether nothing stands against this pass but that equal rows came on two pages."""
        return self.pages > 1 and not self.spoiled and self.rows >= self.total

    @property
    def whole(self) -> bool:
        """Whether it is proved that every SMS of the window came."""
        if self.pages == 1:
            return self.rows == self.total
        return not self.spoiled and len(self.keys) == self.total


def _identity(record: Mapping[str, Any]) -> tuple[Any, ...]:
    return record["phoneNumber"], record["dateSent"], record["smsMessage"]


def _status(record: Mapping[str, Any]) -> int:
    return hash((record["smsStatus"], record["smsStatusDetail"]))
