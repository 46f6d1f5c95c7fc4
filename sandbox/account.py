"""The account: made-up SMS in a table in memory, and how they are found, ordered and written."""

import json
import random
import sqlite3
import time
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from zoneinfo import ZoneInfo

from sandbox.options import Making
from sandbox.shapes import Sent, sent
from sandbox.texts import PASSED_ON, QUEUED, TEMPLATES, UNANSWERED, long_templates
from sandbox.times import DAY, DAY_FIRST, last_digits, wall_seconds, wall_text
from sandbox.wire import Wire

QUARTER = 900  # seconds; zones change their offset only between two
SLOWEST = 3 * DAY  # no status settles later than this after the SMS was sent
BLOCK = 4096  # SMS that the mixed order shuffles as one
IDENTITY = ("phoneNumber", "dateSent", "smsMessage")
FIELDS = ("phoneNumber", "dateSent", "smsStatus", "smsStatusDetail", "smsMessage")

# No area or operator code of the +7 zone begins with 0: the digit is reserved for the trunk prefix.
# So +7 000 xxx-xx-xx looks like a phone number and can be nobody's.
NUMBERS = 10_000_000
_SPREAD = 7_368_787  # client k has the number k * SPREAD

# Where an SMS's values are put into its JSON: letters that no text holds.
NUMBER, DATE, STATUS, DETAIL, DIGITS = MARKS = "\ue000\ue001\ue002\ue003\ue004"

_TABLES = """
CREATE TABLE bodies (id INTEGER PRIMARY KEY, wire TEXT, truth TEXT);
CREATE TABLE statuses (id INTEGER PRIMARY KEY, wire TEXT, wire_detail TEXT, truth TEXT,
    truth_detail TEXT);
CREATE TABLE sms (id INTEGER PRIMARY KEY, wall INTEGER, instant INTEGER, place INTEGER, number TEXT,
    body INTEGER, digits INTEGER, final INTEGER, settles INTEGER);
"""
_INSERT = "INSERT INTO sms VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_ORDERS = {"mixed": "place", "descending": "wall DESC, id DESC"}
_FIND = """
SELECT id FROM sms WHERE wall BETWEEN :since AND :until
    AND (:numbers IS NULL OR number IN (SELECT value FROM json_each(:numbers))) ORDER BY """
_OFFSET = """printf('%s%02d:%02d', iif(wall < instant, '-', '+'), abs(wall - instant) / 3600,
    abs(wall - instant) / 60 % 60)"""
_WRITE = """
SELECT printf(bodies.{form}, '7' || number, replace(strftime(:date, wall, 'unixepoch'), '+00:00',
    {offset}), statuses.{form}, statuses.{form}_detail, digits)
FROM json_each(:ids) AS asked CROSS JOIN sms ON sms.id = asked.value
CROSS JOIN bodies ON bodies.id = body
CROSS JOIN statuses ON statuses.id = CASE WHEN :now < instant + settles * 0.1 THEN 0
    WHEN :now < instant + settles * 0.4 THEN 1 WHEN :now < instant + settles THEN 2 ELSE final END
ORDER BY {order} LIMIT :size OFFSET :start
"""

Row = Mapping[str, object]


@dataclass
class Clock:
    """The account's clock: the real one, moved ahead by `offset` seconds."""

    offset: float = 0.0

    def now(self) -> float:
        """Return the instant, in seconds since the epoch."""
        return time.time() + self.offset


class Account:
    """The SMS of one Calltouch account."""

    def __init__(self, making: Making, wire: Wire, clock: Clock) -> None:
        self.making = making
        self.clock = clock
        self.zone = ZoneInfo(making.zone)
        self.wires = (wire, Wire(unescaped_unicode=True))
        # Not the newest minute, which a client may leave out as still being written.
        self.made_until = (int(time.time()) // 60 - 2) * 60
        self.changes = 0  # how many SMS were added or deleted so far
        self.table = sqlite3.connect(":memory:", isolation_level=None)
        self.table.executescript(_TABLES)
        self.table.execute("BEGIN")
        self._make(random.Random(making.seed))
        self.table.execute("CREATE INDEX by_wall ON sms (wall, id)")
        self.table.execute("COMMIT")
        # The pages of one selection are asked for one by one; a change makes it another selection.
        self.found = lru_cache(8)(self._find)

    def _make(self, dice: random.Random) -> None:
        making = self.making
        sms = sent(making, self.made_until, dice)
        outcomes = dict.fromkeys([QUEUED, UNANSWERED, PASSED_ON, *(each.final for each in sms)])
        statuses = {status: place for place, status in enumerate(outcomes)}
        for status, place in statuses.items():
            texts = [wire.text(part)[1:-1] for wire in self.wires for part in status]
            self.table.execute("INSERT INTO statuses VALUES (?, ?, ?, ?, ?)", (place, *texts))
        for pieces in long_templates(making.text_length) if making.text_length else TEMPLATES:
            fields = (NUMBER, DATE, STATUS, DETAIL, DIGITS.join(pieces))
            also = dict.fromkeys(making.also_fields, "")
            self._add_body({**dict(zip(FIELDS, fields, strict=True)), **also})
        self.table.executemany(_INSERT, self._rows(sms, statuses, dice))
        start = sms[0].instant if sms else self.made_until - making.days * DAY
        self.first_day = f"{datetime.fromtimestamp(start, self.zone):%Y-%m-%d}"

    def _rows(
        self, sms: Sequence[Sent], statuses: Mapping[tuple[str, str], int], dice: random.Random
    ) -> Iterator[tuple[object, ...]]:
        """Yield the table's rows; some agree in number, second and text."""
        clients = max(1, min(NUMBERS, len(sms) // 5))
        blocks = dice.sample(range(len(sms) // BLOCK + 1), len(sms) // BLOCK + 1)
        places = dice.sample(range(BLOCK), BLOCK)
        groups = min(200, len(sms) // 30)
        # By the place of an SMS that equals the one before: whether in status, too.
        twins: dict[int, bool] = {}
        for group in range(groups):
            first = group * len(sms) // groups
            twins |= dict.fromkeys(range(first + 1, first + 2 + (group % 3 == 0)), group % 2 == 1)
        for at, (instant, text, final) in enumerate(sms):
            wall = instant + _offset(instant // QUARTER, self.zone)
            settles = dice.randrange(*((3600, SLOWEST) if dice.random() < 0.25 else (20, 600)))
            place = blocks[at // BLOCK] * BLOCK + places[at % BLOCK]
            if at not in twins:
                number = f"000{dice.randrange(clients) * _SPREAD % NUMBERS:07}"
                when, what = (wall, instant), (number, text + 1, dice.randrange(1000, 10_000))
                outcome = (statuses[final], settles)
            elif not twins[at]:
                outcome = (max(2, (outcome[0] + 1) % len(statuses)), settles)
            yield at, *when, place, *what, *outcome

    def _add_body(self, fields: Row) -> int:
        """Keep how an SMS is written, its marks replaced by what printf fills in; return its id."""
        texts = []
        skipped = "%.0s" * (fields.get("dateSent") == DATE and fields.get("phoneNumber") != NUMBER)
        for wire in self.wires:
            text = wire.text(fields).replace("%", "%%")
            for mark in MARKS:
                text = text.replace(wire.text(mark)[1:-1], "%s")
            texts.append(skipped + text)
        added = self.table.execute("INSERT INTO bodies (wire, truth) VALUES (?, ?)", texts)
        assert added.lastrowid is not None
        return added.lastrowid

    def now(self) -> int:
        """Return what the account's wall clock shows now."""
        return self._wall(self.clock.now())

    def _wall(self, instant: float) -> int:
        return int(instant) + _offset(int(instant) // QUARTER, self.zone)

    def add(self, rows: Sequence[Row]) -> None:
        """Add rows as they are; one without a date stands where the made SMS end."""
        for row in rows:
            self.changes += 1
            sent_at, body = str(row.get("dateSent")), row
            wall = wall_seconds(sent_at)
            if wall is None:
                wall = self._wall(self.made_until)
            elif wall_text(wall) == sent_at:  # it can be written in other ways, too
                body = {**row, "dateSent": DATE}
            there = datetime.fromtimestamp(wall, timezone.utc).replace(tzinfo=self.zone)
            number = last_digits(row.get("phoneNumber"))
            own = (wall, int(there.timestamp()), -self.changes, number, self._add_body(body))
            self.table.execute(_INSERT, (None, *own, 0, 0, 0))

    def remove(self, ids: Sequence[int]) -> None:
        """Delete SMS."""
        self.changes += len(ids)
        self.table.executemany("DELETE FROM sms WHERE id = ?", [(each,) for each in ids])

    def find(
        self,
        since: int,
        until: int,
        numbers: frozenset[str] | None = None,
        order: str = "ascending",
    ) -> Sequence[int]:
        """Return the SMS of `since`..`until`, both included; `numbers` are last ten digits.

        `ascending` and `descending` go by time; so does `ties`, but `written` writes those of one
        second in a new order at every call. `mixed` is the same at every call and not by time: what
        was added last comes first, then the made SMS, in shuffled blocks.
        """
        if self.making.ahead:
            until = min(until, self.now())
        return self.found(since, until, numbers, order, self.changes)

    def _find(
        self, since: int, until: int, numbers: frozenset[str] | None, order: str, _changes: int
    ) -> Sequence[int]:
        listed = None if numbers is None else json.dumps(list(numbers))
        asked = {"since": since, "until": until, "numbers": listed}
        found = self.table.execute(_FIND + _ORDERS.get(order, "wall, id"), asked)
        return array("q", (each for (each,) in found))

    def everything(self) -> Sequence[int]:
        """Return all SMS, by time."""
        return self.find(-(2**62), 2**62)

    def written(
        self,
        ids: Sequence[int],
        start: int,
        stop: int,
        date_format: str = DAY_FIRST,
        *,
        shuffled: bool = False,
        form: str = "wire",
    ) -> list[str]:
        """Return the SMS at `start`..`stop` as JSON; `truth` is the form that never changes."""
        size = stop - start
        if shuffled and ids[start:]:  # with all SMS of its first and its last second
            first = bisect_left(ids, self._wall_at(ids[start]), key=self._wall_at)
            last = self._wall_at(ids[min(stop, len(ids)) - 1])
            ids, start = ids[first : bisect_right(ids, last, key=self._wall_at)], start - first
        else:
            ids, start = ids[start:stop], 0
        query = _WRITE.format(
            form=form,
            offset=_OFFSET if "+00:00" in date_format else "''",
            order="wall, random()" if shuffled else "asked.key",
        )
        values = {"ids": json.dumps(list(ids)), "date": date_format, "now": self.clock.now()}
        rows = self.table.execute(query, {**values, "start": start, "size": size})
        return [text for (text,) in rows]

    def _wall_at(self, each: int) -> int:
        wall: int
        (wall,) = self.table.execute("SELECT wall FROM sms WHERE id = ?", (each,)).fetchone()
        return wall

    def like(self, row: Row) -> int | None:
        """Return an SMS with this phone number, second and text, as `truth` writes them."""
        wall = wall_seconds(str(row.get("dateSent")))
        for each in [] if wall is None else self.find(wall, wall):
            written = json.loads(self.written([each], 0, 1, form="truth")[0])
            if all(written.get(name) == row.get(name) for name in IDENTITY):
                return each
        return None


@lru_cache(None)
def _offset(quarter: int, zone: ZoneInfo) -> int:
    """Return the zone's offset from UTC in seconds at an instant."""
    offset = datetime.fromtimestamp(quarter * QUARTER, zone).utcoffset()
    return round((offset or timedelta()).total_seconds())
