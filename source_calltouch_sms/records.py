"""How a row becomes a record: its time gets the project's zone, the SMS a key. No side effects."""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, Final

import orjson
import pendulum

from source_calltouch_sms.api import read_wire_time
from source_calltouch_sms.errors import system_error

FIELDS: Final = ("phoneNumber", "dateSent", "smsStatus", "smsStatusDetail", "smsMessage")
"""The documented fields of an SMS, all of them text."""

_MINUTES: Final = frozenset(f"{h:02}:{m:02}" for h in range(24) for m in range(60))
_SECONDS: Final = frozenset(f":{s:02}" for s in range(60))
_LETTER: Final = re.compile(r"[^\W\d_TZ]")
"""A letter that may be private; T and Z are those of ISO 8601."""

Row = dict[str, Any]


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
    """How far clocks are set within a day of `wall`: that much time is repeated or skipped."""
    day = timedelta(days=1)
    before, after = ((wall + shift).replace(tzinfo=zone).timestamp() for shift in (-day, day))
    return abs(timedelta(seconds=after - before) - 2 * day)


class RecordMaker:
    """Turns the rows of one answer at a time into records, for one project."""

    def __init__(self, site_id: str, zone: pendulum.Timezone) -> None:
        self._site_id = site_id
        self._zone = zone
        self._month_first: bool | None = None
        self._days: dict[str, tuple[str, str]] = {}
        """By a date as it is written: its ISO form, and its offset if that is the whole day's."""

    def records(self, rows: list[Row], start: datetime, end: datetime) -> Iterator[Row]:
        """Turn rows into records, which are the same objects, so that unknown fields pass through.

        The key is a hash of site, number, wall time and text, and of the ordinal among the rows
        that agree in these: neither the zone that is set, nor the way dates are written, nor a
        status that changes touches it.

        `start` and `end` are the requested range, in wall time: it tells whether `01/04/2024` is in
        April or in January. Where an answer leaves that open, an earlier one decides; else it is
        not read, unless it is written with `-` or `.`, for which Calltouch documents the day first.

        Raises:
            AirbyteTracedException: no date of the answer can be read.
        """
        self._learn_form(rows, start, end)
        site_id, days, dumps = self._site_id, self._days, orjson.dumps
        empty = hashlib.blake2b(digest_size=16)
        counts: dict[str, int] = {}
        for row in rows:
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
            yield row

    def _learn_form(self, rows: list[Row], start: datetime, end: datetime) -> None:
        """Learn whether the day or the month is first; fail if no date can be read for certain."""
        sent, is_certain = [row.get("dateSent") for row in rows], True
        if self._month_first is None:
            one_of_a_day = {text[:11]: text for text in sent if isinstance(text, str)}.values()
            # A day more at either end: a time zone must not decide it.
            days = range(start.toordinal() - 1, end.toordinal() + 2)
            orders = [[self._read(s, month_first=m) for s in one_of_a_day] for m in (False, True)]
            day_first, month_first = (
                sum(wall.toordinal() in days for wall in order if wall) for order in orders
            )
            if day_first != month_first:
                self._month_first = month_first > day_first
                self._days.clear()
            elif orders[0] != orders[1]:
                is_certain = not any("/" in text[:3] for text in one_of_a_day)
        if rows and not (is_certain and any(self._read_date(_text(s) or "")[0] for s in sent)):
            written = _text(next(filter(None, sent), None)) or ""
            form = _LETTER.sub("x", re.sub(r"\d", "9", written[:40])) or "null"
            raise system_error(
                "Calltouch returned SMS, but none of their dates can be read: dateSent has the "
                f"form «{form}» (9: a digit, x: a letter), which is unknown or does not tell the "
                "day from the month. Please report this to the connector's developers."
            )

    def _read(self, sent: str, *, month_first: bool) -> datetime | None:
        """Read a time: a wall time or, if it has an offset, a moment in the zone."""
        with suppress(ValueError, OverflowError):
            moment = read_wire_time(sent, month_first=month_first)
            return moment.astimezone(self._zone) if moment.tzinfo else moment
        return None

    def _read_date(self, sent: str) -> tuple[str, str | None]:
        """Read a time the slow way: its wall time and its zoned form; ("", None) if it is no time.

        No zone changes its offset twice within a day, so where it is the same at both ends of a
        day, it is remembered for the whole of it.
        """
        wall = self._read(sent, month_first=bool(self._month_first))
        if not wall:
            return "", None
        if wall.tzinfo:
            return wall_time(wall, self._zone).isoformat(), wall.isoformat()
        first = zoned(wall.replace(hour=0, minute=0, second=0), self._zone)
        last = zoned(wall.replace(hour=23, minute=59, second=59), self._zone)
        if first[19:] == last[19:] and sent[10] in " T":
            self._days[sent[:11]] = (first[:11], first[19:])
        return wall.isoformat(), zoned(wall, self._zone)


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value)


def _make_texts(row: Row) -> tuple[str | None, str | None, str | None]:
    """Make the documented fields text or null; return number, time and text."""
    for field in FIELDS:
        row[field] = _text(row.get(field))
    return row["phoneNumber"], row["dateSent"], row["smsMessage"]
