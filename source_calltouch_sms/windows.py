"""Ranges of the account's wall time, how they split, and when one of them was read whole. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from source_calltouch_sms.api import PAGE_SIZE, Page, page_count

WINDOW_SMS: Final = 10 * PAGE_SIZE
"""How many SMS a window is meant to hold: ten calls between two checkpoints."""
MAX_WINDOW_SMS: Final = WINDOW_SMS * 11 // 10
"""A little more is not worth a cut, which would cost a call and a half-filled page."""
CUT_SMS: Final = WINDOW_SMS * 99 // 100
"""A cut aims a little lower, lest chance push half of its parts onto an eleventh page."""

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


def cut(window: Window, total: int) -> list[Window]:
    """Cut a window that holds `total` SMS into parts that, if evenly filled, hold `CUT_SMS` each.

    Returns the parts, oldest first, without gap or overlap; the window alone where it need not
    be cut, or cannot be because it is one second.
    """
    if total <= MAX_WINDOW_SMS or window.seconds == 1:
        return [window]
    step = max(1, window.seconds * CUT_SMS // total)
    return [
        Window(start, min(start + (step - 1) * SECOND, window.end))
        for start in (window.start + n * SECOND for n in range(0, window.seconds, step))
    ]


@dataclass
class Reading:
    """One pass over the pages of a window: what was told, what came, and whether it fits.

    SMS that appear while pages are being read push others across the borders of pages, so a pass
    is `whole` only if every page told the same total and the rows number it.
    """

    thorough: bool = False
    """Go on to the last page even if it is clear that the pass cannot be whole."""

    total: int = 0
    rows: int = 0
    pages: int = 0
    page_size: int = 0
    fits: bool = True

    def add(self, page: Page) -> None:
        """Take the next page, in order of number."""
        self.pages += 1
        size = len(page.rows)
        if self.pages == 1:
            self.total, self.page_size = page.total, size
        last = self.pages == page_count(self.total, self.page_size)
        expected = self.total - self.rows if last else self.page_size
        # The first page is asked for without a number, and some would call it 0.
        numbers = (None, 0, 1) if self.pages == 1 else (None, self.pages)
        if page.total != self.total or size != expected or page.number not in numbers:
            self.fits = False
        self.rows += size
        # For a thorough pass: the fullest page tells the size, the latest total how many there are.
        self.page_size = max(self.page_size, size)
        self.total = max(self.total, page.total)

    @property
    def next_page(self) -> int | None:
        """The `pageOfResult` to ask for next; None where the pass is over."""
        if not (self.fits or self.thorough) or self.pages >= page_count(self.total, self.page_size):
            return None
        return self.pages + 1

    @property
    def whole(self) -> bool:
        """Whether every row of the window came, and each once."""
        return self.fits and self.rows == self.total
