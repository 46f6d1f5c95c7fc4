"""Wall times and phone numbers, as the method writes and reads them.

*Wall seconds* are seconds from 1970-01-01 00:00:00 on the account's own wall clock, which is what
the method shows and asks for. An instant is called one.
"""

import re
import time
from datetime import datetime, timezone

DAY = 86_400
DAY_FIRST = "%d-%m-%Y %H:%M:%S"
_DATE = re.compile(r"(\d\d)([-.])(\d\d)\2(\d{4}) (\d\d):(\d\d):(\d\d)", re.ASCII)


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


def wall_text(wall: int) -> str:
    """Write wall seconds as the method does: `01-04-2024 15:05:32`."""
    return time.strftime(DAY_FIRST, time.gmtime(wall))


def last_digits(number: object) -> str:
    """Return a phone number's last ten digits, in whatever format it is, or as many as it has."""
    return re.sub(r"\D", "", str(number), flags=re.ASCII)[-10:]
