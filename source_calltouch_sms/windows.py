"""Windows of wall time: how they are cut, and the proof that one is whole. No side effects.

A second is never in two windows, so what depends on all SMS of a second (a key's rank) is
known inside one window.
"""

from collections import ChainMap, Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Any, Final, NamedTuple

from source_calltouch_sms.api import PAGE_SIZE
from source_calltouch_sms.records import Row

WINDOW_SMS: Final = 10 * PAGE_SIZE
"""How many SMS a window is meant to hold: ten pages between two checkpoints."""
MAX_WINDOW_SMS: Final = WINDOW_SMS * 13 // 10
"""So much more is not worth a cut, which would cost a request and a half-filled page."""
PART_SHARE: Final = 0.9
"""Share of its limit that a part is cut to: a request for one that holds too much is wasted."""
MOST_PARTS: Final = 1_000
"""At one cut; parts that are too large are cut again. A wrong total could ask for millions."""

SECOND: Final = timedelta(seconds=1)

Records = list[Row]


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


def cut(window: Window, total: int, most: int) -> list[Window]:
    """Cut a window that holds `total` SMS into parts that hold up to `most`, if evenly filled."""
    seconds = int(window.seconds * PART_SHARE * most / total)
    return window.parts(max(seconds, window.seconds // MOST_PARTS))


def cut_by_times(window: Window, times: Mapping[str, int], most: int) -> list[Window]:
    """Cut a window into parts of up to `most` SMS, by how many were seen at each time.

    `times` counts SMS by wall time, `2024-04-01T15:05:32`. A second of more is a part of its own.
    Where that makes no cut, the window is halved.
    """
    starts, held, sms = [window.start], 0, PART_SHARE * most
    for time, count in sorted(times.items()):
        start = datetime.fromisoformat(time)
        if held + count > sms:
            starts.append(start)
            held = 0
        held += count
        if held > sms:
            starts.append(start + SECOND)
            held = 0
    starts = sorted({start for start in starts if window.start <= start <= window.end})
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
      are one SMS or two, so they count as one, until an answer of their phone numbers alone tells.

    A second cannot be cut, so its passes are united.
    """

    def __init__(self, window: Window, most: int, emitted: dict[str, int]) -> None:
        self.window = window
        self.most = most
        """How many SMS a window may hold; one of more is to be cut, unless it is a second."""
        self.emitted = emitted
        """Of the SMS emitted before those in `keys`, also by readings that failed; like `keys`."""
        self.keys: dict[str, int] = {}
        """Of the SMS that came in this pass, of a second in all passes since the total changed; a
        hash of their status. All of them were emitted."""
        self.doubtful: Counter[tuple[Any, ...]] = Counter()
        """How often rows came for which an answer of their phone numbers will tell how many SMS
        they are: rows whose equals came on another page of this pass; of a second, all rows."""
        self.sent: list[str | None] = []
        """The `dateSent` of this pass."""
        self.total = 0
        self.start_pass()

    def start_pass(self) -> None:
        """Begin again at the first page."""
        if self.window.seconds > 1:
            self._put_aside()
        self.rows = self.pages = self.full_page = 0
        self.spoiled = False
        """Whether pages do not fit together, so that this pass can no longer prove anything."""
        self.sent.clear()

    def _put_aside(self) -> None:
        self.emitted.update(self.keys)
        self.keys.clear()
        self.doubtful.clear()

    def add(self, total: int, size: int, batches: Iterable[Records]) -> Iterator[Records]:
        """Take the next page, its records in batches; return those that were not emitted yet."""
        if total != self.total:  # SMS came or went: what came before proves nothing now
            self._put_aside()
            self.spoiled = self.pages > 0
        if self.pages and size != min(self.full_page, total - self.rows):
            self.spoiled = True
        self.total, self.full_page = total, max(self.full_page, size)
        self.pages += 1
        self.rows += size
        return iter(()) if self.too_much else self._add_batches(batches)

    def _add_batches(self, batches: Iterable[Records]) -> Iterator[Records]:
        is_second, waiting = self.window.seconds == 1, list[dict[str, Any]]()
        for batch in batches:
            keys = list(map(_key, batch))
            self.sent += map(_sent, batch)
            if is_second:
                self.doubtful.update(map(_identity, batch))
            seen = (self.keys, self.emitted)
            if waiting or not all(emitted.keys().isdisjoint(keys) for emitted in seen):
                # Which of equal rows is new, only all of the page's tell, so they wait for its end.
                waiting += batch
                again = (record for record in batch if not is_second and _key(record) in self.keys)
                self.doubtful.update(map(_identity, again))
            else:
                self.keys.update(zip(keys, map(hash, map(_status, batch)), strict=True))
                yield batch
        yield self.add_answer(waiting)

    def add_numbers(self, records: Records) -> Records:
        """Take all SMS of some phone numbers, in one answer; return those not emitted yet.

        Of equal SMS only if no more are new than came as doubtful rows: an SMS that has come since
        the pages, counted now, would stand for one that did not come.
        """
        new = Counter(_identity(record) for record in records if _key(record) not in self.keys)
        fit = {identity for identity, count in new.items() if count <= self.doubtful[identity]}
        return self.add_answer([record for record in records if _identity(record) in fit])

    def add_answer(self, records: Records) -> Records:
        """Take records of one answer; return those that were not emitted yet.

        A key's rank goes by the order within an answer, so the row of a new key may have been
        emitted under another key. Which of equal rows it was, their statuses tell.
        """
        emitted = ChainMap(self.keys, self.emitted)
        groups: dict[Any, Records] = {}
        for record in records:
            groups.setdefault(_identity(record), []).append(record)
        new = [record for equals in groups.values() for record in _missing(equals, emitted)]
        self.keys.update((key, emitted[key]) for key in map(_key, records) if key in emitted)
        self.keys.update(zip(map(_key, new), map(hash, map(_status, new)), strict=True))
        return new

    @property
    def times(self) -> Counter[str]:
        """How many rows came in this pass, by wall time."""
        return Counter(sent[:19] for sent in self.sent if sent)

    @property
    def too_much(self) -> bool:
        """Whether the window must be cut, so that nothing of it is taken."""
        return self.window.seconds > 1 and self.rows < self.total > self.most

    @property
    def goes_on(self) -> bool:
        """Whether a further page may make this pass whole."""
        return not (self.too_much or self.spoiled) and 0 < self.rows < self.total

    @property
    def whole(self) -> bool:
        """Whether it is proved that every SMS of the window came."""
        if self.pages == 1:
            return self.rows == self.total
        return not self.spoiled and len(self.keys) == self.total


def _missing(equals: Records, emitted: Mapping[str, int]) -> Records:
    """Return those of equal records that were not emitted yet, each with a key that was not."""
    keys, rows = [record["smsKey"] for record in equals], list(equals)
    for key in keys:
        if key in emitted:
            status = emitted[key]
            rows.remove(next((row for row in rows if hash(_status(row)) == status), rows[0]))
    free = (key for key in keys if key not in emitted)
    return [{**row, "smsKey": key} for key, row in zip(free, rows, strict=True)]


_key = itemgetter("smsKey")
_identity = itemgetter("phoneNumber", "dateSent", "smsMessage")
_sent = itemgetter("dateSent")
_status = itemgetter("smsStatus", "smsStatusDetail")
