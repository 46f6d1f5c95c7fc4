"""Windows of wall time and how they are split; what one request asks for. Pure.

A second is never in two windows, so what depends on all SMS of a second (a key's ordinal) is the
same in every sync.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final, NamedTuple

SECOND: Final = timedelta(seconds=1)
PART_SHARE: Final = 0.89
"""How full a part is planned to be, since the first request for one of too many SMS is wasted. Of
ten pages it is just under nine: at nine, many a tenth request would be for a few SMS."""
MAX_PARTS: Final = 16
"""Of one split; parts of too many SMS are split again. A false total could ask for millions."""


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
        """Split into parts of that many seconds, oldest first; the last one may be shorter."""
        starts = [self.start + n * SECOND for n in range(0, self.seconds, max(1, seconds))]
        return _windows(starts, self.end)

    def days(self, count: int) -> list["Window"]:
        """Split at midnights, into parts of up to that many calendar days, oldest first."""
        starts, day = [self.start], self.start.replace(hour=0, minute=0, second=0)
        while (day := day + timedelta(days=count)) <= self.end:
            starts.append(day)
        return _windows(starts, self.end)

    def halves(self) -> list["Window"]:
        """Split in two."""
        return self.parts(-(-self.seconds // 2))

    def split(self, total: int, max_sms: int) -> list["Window"]:
        """Split a window of `total` SMS into parts of up to `max_sms`, as if evenly filled."""
        seconds = int(self.seconds * PART_SHARE * max_sms / total)
        return self.parts(max(seconds, -(-self.seconds // MAX_PARTS)))

    def split_by_time(self, times: Mapping[str, int], max_sms: int) -> list["Window"]:
        """Split into parts of up to `max_sms`, by how many SMS were seen at each time.

        `times` counts SMS by wall time, `2024-04-01T15:05:32`. A second of more is a part of its
        own. Where the times make no split, the window is halved.
        """
        starts, held, limit = {self.start}, 0, PART_SHARE * max_sms
        for time, count in sorted(times.items()):
            if held + count > limit:
                starts.add(datetime.fromisoformat(time))
                held = 0
            held += count
            if held > limit:
                starts.add(datetime.fromisoformat(time) + SECOND)
                held = 0
        inside = sorted(start for start in starts if self.start <= start <= self.end)
        return _windows(inside, self.end) if len(inside) > 1 else self.halves()


class PageRequest(NamedTuple):
    """What one request asks for: a page of a window, of certain phone numbers if some are named."""

    window: Window
    page: int = 1
    phone_numbers: tuple[str, ...] = ()


def _windows(starts: list[datetime], end: datetime) -> list[Window]:
    ends = [*(start - SECOND for start in starts[1:]), end]
    return [Window(*bounds) for bounds in zip(starts, ends, strict=True)]
