"""How a row becomes a record: its time gets the project's zone, the SMS a key. No side effects."""

import hashlib
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Final

import orjson
import pendulum

from source_calltouch_sms.api import read_wire_time

FIELDS: Final = ("phoneNumber", "dateSent", "smsStatus", "smsStatusDetail", "smsMessage")
"""The documented fields of an SMS, all of them text."""

DIGEST_BYTES: Final = 16
BATCH_ROWS: Final = 500
"""So few are still in the processor's cache when they are written: a tenth of all CPU less."""
_MINUTES: Final = frozenset(f"{h:02}:{m:02}" for h in range(24) for m in range(60))
_SECONDS: Final = frozenset(f":{s:02}" for s in range(60))

Records = list[dict[str, Any]]


def wall_time(moment: datetime, zone: pendulum.Timezone) -> datetime:
    """The naive wall time, in whole seconds, that clocks in `zone` show at an aware moment."""
    # Of the standard library's type, whose subtraction pendulum's does not share.
    return datetime(*moment.astimezone(zone).timetuple()[:6])  # noqa: DTZ001 - naive on purpose


def zoned(wall: datetime, zone: pendulum.Timezone) -> str:
    """A wall time as ISO 8601 with the zone's offset: `2024-04-01T15:05:32+03:00`.

    In an hour that the clocks repeat it is the first; in an hour that they skip the digits stay.
    """
    return wall.replace(tzinfo=zone, fold=0).isoformat()


def clock_change(wall: datetime, zone: pendulum.Timezone) -> timedelta:
    """By how much clocks are set within a day of `wall`: so many hours are repeated or skipped."""
    days = (wall - timedelta(days=1), wall + timedelta(days=1))
    before, after = (day.replace(tzinfo=zone).utcoffset() or timedelta() for day in days)
    return abs(after - before)


class RecordMaker:
    """Turns rows into records, for one project."""

    def __init__(self, site_id: str, zone: pendulum.Timezone) -> None:
        self._site_id = site_id
        self._zone = zone
        self._days: dict[str, tuple[str, str]] = {}

    def records(self, rows: list[dict[str, Any]]) -> Iterator[Records]:
        """Turn the rows of one answer into records, a batch at a time; `rows` is emptied.

        They are the same objects, so that unknown fields pass through. The key is a hash of site,
        number, wall time and text, and of the rank among the answer's rows that agree in these:
        neither the zone that is set, nor the way dates are written, nor a status that changes
        touches it.
        """
        site_id, days, dumps = self._site_id, self._days, orjson.dumps
        empty = hashlib.blake2b(digest_size=DIGEST_BYTES)
        counts: dict[str, int] = {}
        while rows:
            batch = rows[:BATCH_ROWS]
            del rows[:BATCH_ROWS]
            for row in batch:
                get = row.get
                number, sent, text = get("phoneNumber"), get("dateSent"), get("smsMessage")
                status, detail = get("smsStatus"), get("smsStatusDetail")
                if not (
                    type(number) is type(sent) is type(text) is type(status) is type(detail) is str
                ):
                    number, sent, text = _make_texts(row)

                when = sent or ""
                day = days.get(when[:11])
                if day is None or when[11:16] not in _MINUTES or when[16:] not in _SECONDS:
                    wall, iso = self._read_date(when)
                else:
                    wall = day[0] + when[11:]
                    iso = wall + day[1]

                digest = empty.copy()  # cheaper than a new one
                digest.update(dumps((site_id, number, wall or sent, text)))
                key = digest.hexdigest()
                if key in counts:
                    digest.update(b"%d" % counts[key])
                    counts[key] += 1
                    key = digest.hexdigest()
                else:
                    counts[key] = 1
                row["siteId"] = site_id
                row["dateSent"] = iso
                row["smsKey"] = key
            yield batch

    def _read_date(self, sent: str) -> tuple[str | None, str | None]:
        """Read a time the slow way: its wall time and its zoned form, None if it is not a time.

        No zone changes its offset twice within a day, so where it is the same at both ends of a
        day, it is remembered for the whole of it.
        """
        try:
            wall = read_wire_time(sent)
        except ValueError:
            return None, None
        ends = wall.replace(hour=0, minute=0, second=0), wall.replace(hour=23, minute=59, second=59)
        first, last = (zoned(end, self._zone) for end in ends)
        if first[19:] == last[19:]:
            self._days[sent[:11]] = (first[:11], first[19:])
        return wall.isoformat(), zoned(wall, self._zone)


def _make_texts(row: dict[str, Any]) -> tuple[str | None, str | None, str | None]:
    """Make the documented fields text or null; return number, time and text."""
    for field in FIELDS:
        value = row.setdefault(field)
        if value is not None and not isinstance(value, str):
            row[field] = orjson.dumps(value).decode()
    return row["phoneNumber"], row["dateSent"], row["smsMessage"]
