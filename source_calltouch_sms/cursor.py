"""The state, and the range that a sync reads by it. Pure."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import pendulum
from airbyte_cdk.models import SyncMode

from source_calltouch_sms.config import Config
from source_calltouch_sms.errors import config_error
from source_calltouch_sms.records import overlap_after, wall_time
from source_calltouch_sms.windows import SECOND, Window

MAX_BACK_DAYS: Final = 400


def range_to_read(
    config: Config, cursor: datetime | None, now: datetime, sync_mode: SyncMode
) -> Window | None:
    """From the start date, or the cursor less the lookback, to now or the end date.

    `cursor` and `now` are wall times. None: there is nothing to read.
    """
    start, end = config.start, min(config.end or now, now)
    if cursor:
        if cursor > now:
            return None
        # A full refresh has a state only in its second attempt, which goes on after the first.
        back = -SECOND if sync_mode == SyncMode.full_refresh else config.lookback
        start = max(start, cursor - back - overlap_after(cursor, config.zone))
    return Window(start, end) if start <= end else None


def read_cursor(state: Mapping[str, Any], zone: pendulum.Timezone) -> datetime | None:
    """Read a state's `dateSent` as a wall time; one without an offset is taken as the account's.

    Raises:
        AirbyteTracedException: a `config_error`: it is no moment.
    """
    value = state.get("dateSent")
    if value is None:
        return None
    try:
        moment = pendulum.parse(value, tz=zone) if isinstance(value, str) else None
        if isinstance(moment, datetime):
            cursor = wall_time(moment, zone)
            cursor - timedelta(days=MAX_BACK_DAYS)  # a year 1 would fail later, without its name
            return cursor
    except (ValueError, OverflowError):
        pass
    raise config_error(
        f"The saved state cannot be used: its dateSent, {value!r}, is not a valid date and time. "
        "Clear the stream's data in Airbyte (or leave the state out) to read from the start date "
        "again."
    )
