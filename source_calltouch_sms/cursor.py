"""The saved state, and what a sync reads because of it. No side effects.

`dateSent` is the cursor. `statusesReadAt`, in UTC, is when the latest sync that read the last days
again began; it is set once that sync is through, unless an end date cut these days short.
"""

import re
import reprlib
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta, tzinfo
from typing import Any, Final, NamedTuple

import pendulum
from airbyte_cdk.models import SyncMode

from source_calltouch_sms.config import Config
from source_calltouch_sms.errors import config_error
from source_calltouch_sms.records import clock_change, wall_time
from source_calltouch_sms.windows import SECOND, Window

STATUSES_READ_AT: Final = "statusesReadAt"
EARLY: Final = timedelta(minutes=5)
"""How much too early a sync may start: schedules are not exact to the second."""
NEW_SMS_ONLY: Final = timedelta(days=8)
"""The longest that syncs read new SMS only: the longest interval, and clocks set back."""
_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d.*)?", re.ASCII)
"""`fromisoformat` checks the rest; alone it accepts more in some versions than in others."""


class Plan(NamedTuple):
    """What a sync reads, what kind of sync that is, and what its end adds to the state."""

    window: Window
    kind: str
    state: Mapping[str, str]


def plan_sync(
    config: Config, state: Mapping[str, Any], now: datetime, sync_mode: SyncMode
) -> Plan | None:
    """From the start date, or from where the state says, to now or the end date.

    `now` is an aware moment. None: there is nothing to read.

    Raises:
        AirbyteTracedException: a `config_error`: a value of the state is not a date and time.
    """
    zone, interval, adds = config.zone, config.lookback_interval, dict[str, str]()
    cursor, read_at = read_cursor(state, zone), _read_moment(state, STATUSES_READ_AT, pendulum.UTC)
    start, end = config.start, wall_time(now, zone)
    if cursor and cursor > end:
        return None
    since, back, kind = cursor, timedelta(), "All SMS"
    if sync_mode == SyncMode.full_refresh:
        back = -SECOND  # only a second attempt has a state, and continues after it
    elif cursor and read_at and timedelta() <= now - read_at < interval - EARLY:
        kind = "New SMS only"
    else:
        if cursor:
            since, kind = _last_days_end(cursor, read_at, zone), "New SMS and status updates"
        back = config.lookback
        is_cut_short = config.end and config.end < end
        if not is_cut_short and (interval or STATUSES_READ_AT in state):
            adds[STATUSES_READ_AT] = f"{now.astimezone(pendulum.UTC):%Y-%m-%dT%H:%M:%SZ}"
    if since:
        # A time in an hour that clocks repeat or skip may be meant an hour earlier.
        start = max(start, since - back - clock_change(since, zone))
    end = min(config.end or end, end)
    return Plan(Window(start, end), kind, adds) if start <= end else None


def _last_days_end(cursor: datetime, read_at: datetime | None, zone: pendulum.Timezone) -> datetime:
    """Return the wall time from which the last days are counted back.

    It is where they last ended, since statuses of what came later have not been read again yet. A
    cursor further ahead is that of a sync which failed while it read the last days, and goes on.
    """
    last = wall_time(read_at, zone) if read_at else cursor
    return last if last < cursor < last + NEW_SMS_ONLY else cursor


def read_cursor(state: Mapping[str, Any], zone: pendulum.Timezone) -> datetime | None:
    """Read a state's `dateSent` as a wall time; one without an offset is taken as the account's.

    If it was saved in another time zone, it is the earlier of what clocks show in either: the times
    that Calltouch gave are the same, and a sync reads again as much as the zones differ.

    Raises:
        AirbyteTracedException: a `config_error`: it is not a date and time.
    """
    moment = _read_moment(state, "dateSent", zone)
    return moment and min(wall_time(moment, zone), moment.replace(tzinfo=None, microsecond=0))


def _read_moment(state: Mapping[str, Any], name: str, zone: tzinfo) -> datetime | None:
    value = state.get(name)
    if value is None:
        return None
    with suppress(ValueError):
        if isinstance(value, str) and _MOMENT.fullmatch(value):
            moment = datetime.fromisoformat(value.replace("Z", "+00:00"))
            # Leap years, from which no lookback and no zone leads out of the calendar.
            moment = moment.replace(year=min(max(moment.year, 4), 9996))
            return moment if moment.tzinfo else moment.replace(tzinfo=zone)
    raise config_error(
        f"The saved state cannot be used: its {name}, {reprlib.repr(value)}, is not a valid date "
        "and time. Clear the stream's data in Airbyte (or leave the state out) to read from the "
        "start date again."
    )
