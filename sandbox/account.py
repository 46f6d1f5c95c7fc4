"""The account: made-up SMS in columns, and how they are found, ordered and written.

Times are *wall seconds*: seconds from 1970-01-01 00:00:00 on the account's own wall clock, which is
what the method shows and asks for. An instant is called one.
"""

import random
import re
import sys
import time
from array import array
from bisect import bisect_left, bisect_right, insort
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

from sandbox.texts import FINAL, PASSED_ON, QUEUED, TEMPLATES, UNANSWERED, long_templates
from sandbox.wire import Wire

DAY = 86_400
QUARTER = 900
LATE_DAYS = 30
BURST = 31_000
SLOWEST = 3 * DAY  # no status settles later than this after the SMS was sent

# No area or operator code of the +7 zone begins with 0: the digit is reserved for the trunk prefix.
# So +7 000 xxx-xx-xx looks like a phone number and can be nobody's.
FIRST_NUMBER = 70_000_000_000
NUMBERS = 10_000_000
_SPREAD, _SHIFT = 7_368_787, 1_234_567  # client k has the number k * SPREAD + SHIFT
_UNSPREAD = pow(_SPREAD, -1, NUMBERS)

# How an SMS's 32 random bits are used: 8 for the template, 16 for its digits, 8 for the status.
_DIGITS_AT, _FINAL_AT = 8, 24
_MIX, _MASK = 0x9E37_79B1, 0xFFFF_FFFF

_BLOCK = 4096  # SMS that the mixed order shuffles as one
_PLACES = random.Random(_BLOCK).sample(range(_BLOCK), _BLOCK)  # of an SMS in its block

DAY_FORMAT = "%d-%m-%Y"  # what the method writes
_DATE = re.compile(r"(\d\d)([-.])(\d\d)\2(\d{4}) (\d\d):(\d\d):(\d\d)", re.ASCII)

Row = Mapping[str, object]


def wall_seconds(text: str) -> int | None:
    """Read `01-04-2024 09:00:00` or `01.04.2024 09:00:00`; None if it is not such a date."""
    parts = _DATE.fullmatch(text)
    if parts is None:
        return None
    day, _, month, year, *clock = parts.groups()
    hour, minute, second = map(int, clock)
    try:
        moment = datetime(
            int(year), int(month), int(day), hour, minute, second, tzinfo=timezone.utc
        )
    except ValueError:
        return None
    return round(moment.timestamp())


def wall_text(wall: int, day: str = DAY_FORMAT) -> str:
    """Write wall seconds as the method does: `01-04-2024 15:05:32`."""
    return time.strftime(f"{day} %H:%M:%S", time.gmtime(wall))


def last_digits(number: object) -> str:
    """Return a phone number's last ten digits, in whatever format it is, or as many as it has."""
    return re.sub(r"\D", "", str(number), flags=re.ASCII)[-10:]


@dataclass
class Clock:
    """The account's clock: the real one, moved ahead by `offset` seconds."""

    offset: float = 0.0

    def now(self) -> float:
        """Return the instant, in seconds since the epoch."""
        return time.time() + self.offset


@dataclass(frozen=True)
class Making:
    """What kind of account to make. Equal `Making`s in the same minute make equal accounts."""

    sms: int = 25_000
    seed: int = 1
    zone: str = "Europe/Moscow"
    days: int = 365
    ahead: int = 0  # days
    shape: str = "even"  # even, late, burst or empty
    mailings: int = 0  # how many SMS were sent in one second; 0: each at its own time
    text_length: int = 0  # Russian letters; 0: as the templates are
    also_fields: Sequence[str] = ()  # of an SMS, in addition to the documented ones
    also_statuses: Sequence[tuple[str, str]] = ()  # with their details, in addition to those


@dataclass(frozen=True, order=True)
class Added:
    """A row that a control call or a fault added; it stays as it was given."""

    wall: int
    serial: int
    row: Row = field(compare=False)


@dataclass(frozen=True)
class Selection:
    """The SMS that a request selects: made ones, by index and in time order, and added ones."""

    made: Sequence[int]
    added: Sequence[Added]

    @property
    def total(self) -> int:
        """How many SMS there are."""
        return len(self.made) + len(self.added)


class Account:
    """The SMS of one Calltouch account."""

    def __init__(self, making: Making, clock: Clock) -> None:
        self.clock = clock
        self.zone = ZoneInfo(making.zone)
        self.offsets = _Offsets(self.zone)
        self.wall_offsets = _Offsets(self.zone, of_wall=True)
        # Not the newest minute, which a client may leave out as still being written.
        self.made_until = (int(time.time()) // 60 - 2) * 60
        dice = random.Random(making.seed)
        instants = _instants(making, self.made_until, dice)
        self.walls = array("q", sorted(t + self.offsets[t // QUARTER] for t in instants))
        if making.mailings:
            firsts = self.walls[:: making.mailings]
            self.walls = array("q", [firsts[i // making.mailings] for i in range(len(self.walls))])
        # All but the time of an SMS comes from two random numbers, so that a million are made at
        # once: the first says who it was sent to, the second the rest.
        self.receivers = array("I", dice.randbytes(4 * len(self.walls)))
        self.bits = array("I", dice.randbytes(4 * len(self.walls)))
        self.clients = max(1, min(NUMBERS, len(self.walls) // 5))
        self.templates = long_templates(making.text_length) if making.text_length else TEMPLATES
        self.fields = making.also_fields
        self.finals = [*(status for status in making.also_statuses for _ in range(16)), *FINAL][
            :256
        ]
        self.added: list[Added] = []
        self.gone: list[int] = []  # made SMS that were deleted
        self.changes = 0  # how many SMS were added or deleted so far
        self.ahead = making.ahead > 0
        self.dice = dice
        self._make_equals()
        first = self.made_until - making.days * DAY
        self.first_wall = self.walls[0] if self.walls else self.wall_of(first)

    def _make_equals(self) -> None:
        """Let some SMS agree in number, second and text: pairs, and in every third group three.

        Every second group agrees in its status as well.
        """
        count = len(self.walls)
        groups = min(200, count // 30)
        for group in range(groups):
            first = group * count // groups
            for twin in range(first + 1, first + (3 if group % 3 == 0 else 2)):
                self.walls[twin] = self.walls[first]
                self.receivers[twin] = self.receivers[first]
                other_final = 0 if group % 2 else 0xFF << _FINAL_AT
                self.bits[twin] = self.bits[first] ^ other_final

    def __len__(self) -> int:
        """Count the SMS."""
        return self.everything().total

    def wall_of(self, instant: float) -> int:
        """Return what the account's wall clock shows at an instant."""
        return int(instant) + self.offsets[int(instant) // QUARTER]

    def now(self) -> int:
        """Return what the account's wall clock shows now."""
        return self.wall_of(self.clock.now())

    def add(self, rows: Sequence[Row]) -> None:
        """Add rows as they are; one without a date stands where the made SMS end."""
        undated = self.wall_of(self.made_until)
        for row in rows:
            sent = wall_seconds(str(row.get("dateSent")))
            insort(self.added, Added(undated if sent is None else sent, self.changes, row))
            self.changes += 1

    def remove(self, rows: Sequence[int | Added]) -> None:
        """Delete SMS."""
        for row in rows:
            if isinstance(row, Added):
                self.added.remove(row)
            else:
                insort(self.gone, row)
            self.changes += 1

    def shown(self, until: int) -> int:
        """Return the wall second up to which SMS exist for a request up to `until`."""
        return min(until, self.now()) if self.ahead else until

    def select(self, since: int, until: int, numbers: frozenset[str] | None = None) -> Selection:
        """Return the SMS of `since`..`until`, both included; `numbers` are last ten digits."""
        made: Sequence[int] = range(bisect_left(self.walls, since), bisect_right(self.walls, until))
        added = [row for row in self.added if since <= row.wall <= until]
        if made:
            gone = self.gone[bisect_left(self.gone, made[0]) : bisect_right(self.gone, made[-1])]
            if gone:
                made = array("I", sorted(set(made).difference(gone)))
        if numbers is not None:
            receivers, clients, wanted = self.receivers, self.clients, _clients(numbers)
            made = array("I", [i for i in made if receivers[i] % clients in wanted])
            added = [row for row in added if last_digits(row.row.get("phoneNumber")) in numbers]
        return Selection(made, added)

    def everything(self) -> Selection:
        """Return all SMS."""
        return self.select(-sys.maxsize, self.shown(sys.maxsize))

    def page(self, selection: Selection, order: str, start: int, stop: int) -> list[int | Added]:
        """Return the SMS at `start`..`stop` of the selection in one of four orders.

        `ascending` and `descending` go by time; so does `ties`, but the SMS of one second come in
        a new order at every call. `mixed` is the same at every call and not by time: what was
        added last comes first, then the made SMS, shuffled.
        """
        if order == "mixed":
            return _mixed(selection, start, stop)
        stop = min(stop, selection.total)
        if order == "ties":
            return self._by_second(selection, start, stop)
        if order == "ascending":
            return self._ascending(selection, start, stop)
        total = selection.total
        return self._ascending(selection, total - stop, total - start)[::-1]

    def _ascending(self, selection: Selection, start: int, stop: int) -> list[int | Added]:
        # The places of the added rows among all; they are few, so each is found by bisection.
        places = [
            bisect_right(selection.made, row.wall, key=self.walls.__getitem__) + rank
            for rank, row in enumerate(selection.added)
        ]
        before = bisect_left(places, start)
        rows: list[int | Added] = list(selection.made[start - before : stop - before])
        for rank in range(before, bisect_left(places, stop)):
            rows.insert(places[rank] - start, selection.added[rank])
        return rows[: stop - start]

    def _by_second(self, selection: Selection, start: int, stop: int) -> list[int | Added]:
        if start >= stop:
            return []
        # The first and the last second are shuffled whole, so any of their SMS may be left out.
        ends = [self._ascending(selection, place, place + 1)[0] for place in (start, stop - 1)]
        low = self._before(selection, self._wall(ends[0]))
        rows = self._ascending(selection, low, self._before(selection, self._wall(ends[1]) + 1))
        self.dice.shuffle(rows)
        rows.sort(key=self._wall)
        return rows[start - low : stop - low]

    def _before(self, selection: Selection, wall: int) -> int:
        """Count the SMS of the selection that were sent before that second."""
        return bisect_left(selection.made, wall, key=self.walls.__getitem__) + bisect_left(
            selection.added, wall, key=self._wall
        )

    def _wall(self, row: int | Added) -> int:
        return row.wall if isinstance(row, Added) else self.walls[row]

    def status(self, index: int) -> tuple[tuple[str, str], float]:
        """Return a made SMS's status with its detail, and the instant at which it changes next."""
        wall, bits = self.walls[index], self.bits[index]
        final = self.finals[bits >> _FINAL_AT]
        sent = wall - self.wall_offsets[wall // QUARTER]
        pace = ((bits ^ self.receivers[index]) * _MIX & _MASK) >> 8
        settles = 3600 + (pace >> 2) % (SLOWEST - 3600) if pace % 4 == 0 else 20 + pace % 580
        now = self.clock.now()
        for status, until in (
            (QUEUED, sent + settles * 0.1),
            (UNANSWERED, sent + settles * 0.4),
            (PASSED_ON, sent + settles),
        ):
            if now < until:
                return status, until
        return final, float("inf")


class Writer:
    """Writes SMS as JSON objects."""

    def __init__(self, account: Account, wire: Wire) -> None:
        self.account = account
        self.wire = wire
        # Strings without quotes, escaped only once: rows are put together from them.
        self.templates = [[wire.text(piece)[1:-1] for piece in t] for t in account.templates]
        finals = account.finals
        self.statuses = {status: self._status(status) for status in (QUEUED, UNANSWERED, *finals)}
        self.statuses[PASSED_ON] = self._status(PASSED_ON)
        self.finals = [self.statuses[status] for status in finals]
        self.end = "".join(f',{wire.text(name)}:""' for name in account.fields)
        self.dates: defaultdict[str, dict[int, str]] = defaultdict(dict)
        self.minutes = [f"{m // 60:02d}:{m % 60:02d}:" for m in range(1440)]
        self.seconds = [f"{s:02d}" for s in range(60)]

    def _status(self, status: tuple[str, str]) -> str:
        word, detail = map(self.wire.text, status)
        return f'"smsStatus":{word},"smsStatusDetail":{detail},"smsMessage":"'

    def rows(
        self, rows: Sequence[int | Added], separator: str, day_format: str = DAY_FORMAT
    ) -> tuple[str, float]:
        """Return the rows as JSON, and the instant until which their statuses hold."""
        account, walls, bits = self.account, self.account.walls, self.account.bits
        receivers, clients = account.receivers, account.clients
        templates, finals, end = self.templates, self.finals, self.end
        dates, minutes, seconds = self.dates[day_format], self.minutes, self.seconds
        # Two hours more than any status takes, since the wall clock may be set back by as much.
        settled = account.wall_of(account.clock.now()) - SLOWEST - 7200
        valid_until = float("inf")
        written = []
        for row in rows:
            if isinstance(row, Added):
                written.append(self.wire.text(_dated(row.row, day_format)))
                continue
            wall, dice = walls[row], bits[row]
            if wall < settled:
                status = finals[dice >> _FINAL_AT]
            else:
                state, changes = account.status(row)
                status = self.statuses[state]
                valid_until = min(valid_until, changes)
            day, second = divmod(wall, DAY)
            try:
                date = dates[day]
            except KeyError:
                date = dates[day] = wall_text(wall, day_format)[:10]
            template = templates[(dice & 0xFF) % len(templates)]
            digits = 1000 + (dice >> _DIGITS_AT & 0xFFFF) % 9000
            number = FIRST_NUMBER + (receivers[row] % clients * _SPREAD + _SHIFT) % NUMBERS
            written.append(
                f'{{"phoneNumber":"{number}",'
                f'"dateSent":"{date} {minutes[second // 60]}{seconds[second % 60]}",'
                f'{status}{str(digits).join(template)}"{end}}}'
            )
        return separator.join(written), valid_until


class _Offsets(dict[int, int]):
    """The zone's offset from UTC in seconds, by quarter of an hour: zones change only between two.

    The quarters are of instants or, with `of_wall`, of wall seconds. In an hour that the clocks
    repeat, a wall second always means the first of its two instants.
    """

    def __init__(self, zone: ZoneInfo, *, of_wall: bool = False) -> None:
        super().__init__()
        self.zone = zone
        self.of_wall = of_wall

    def __missing__(self, quarter: int) -> int:
        moment = datetime.fromtimestamp(quarter * QUARTER, timezone.utc)
        there = moment.replace(tzinfo=self.zone) if self.of_wall else moment.astimezone(self.zone)
        offset = round((there.utcoffset() or timedelta()).total_seconds())
        self[quarter] = offset
        return offset


def _instants(making: Making, until: int, dice: random.Random) -> list[int]:
    """Return the instants at which the SMS were sent, or will be, up to `ahead` days later."""
    since = until - making.days * DAY
    until += making.ahead * DAY
    chance = dice.random

    def spread(start: int, stop: int, count: int) -> list[int]:
        step = (stop - start) / max(1, count)
        return [int(start + (i + chance()) * step) for i in range(count)]

    def even() -> list[int]:
        return spread(since, until, making.sms)

    def late() -> list[int]:
        border = max(since, until - LATE_DAYS * DAY)
        early = making.sms // 10 if border > since else 0
        return spread(since, border, early) + spread(border, until, making.sms - early)

    def burst() -> list[int]:
        together = min(BURST, making.sms)
        moment = until - making.days * DAY // 3
        return [moment] * together + spread(since, until, making.sms - together)

    shapes: dict[str, Callable[[], list[int]]] = {"even": even, "late": late, "burst": burst}
    return shapes[making.shape]() if making.shape in shapes else []


def _clients(numbers: frozenset[str]) -> set[int]:
    """Return which clients have these numbers, given by their last ten digits."""
    area = str(FIRST_NUMBER)[1:4]
    return {
        (int(number[3:]) - _SHIFT) * _UNSPREAD % NUMBERS
        for number in numbers
        if number.startswith(area)
    }


def _mixed(selection: Selection, start: int, stop: int) -> list[int | Added]:
    """Return added rows, the last one first, then made ones in shuffled blocks.

    A block is of the account's SMS, not of the selection's, so that a page is found without those
    before it, and a deleted SMS only moves those after it.
    """
    added, made = selection.added, selection.made
    rows: list[int | Added] = list(sorted(added, key=lambda row: -row.serial)[start:stop])
    passed = len(added)
    blocks = range(made[0] // _BLOCK, made[-1] // _BLOCK + 1) if made else ()
    for block in sorted(blocks, key=lambda number: number * _MIX & _MASK):
        if passed >= stop:
            break
        low = bisect_left(made, block * _BLOCK)
        high = bisect_left(made, (block + 1) * _BLOCK)
        if passed + high - low > start:
            inside = sorted(made[low:high], key=lambda index: _PLACES[index % _BLOCK])
            rows += inside[max(0, start - passed) : stop - passed]
        passed += high - low
    return rows


def _dated(row: Row, day_format: str) -> Row:
    wall = None if day_format == DAY_FORMAT else wall_seconds(str(row.get("dateSent")))
    return row if wall is None else {**row, "dateSent": wall_text(wall, day_format)}
