"""Read by each Python that is started beside a faked clock."""

import select
import time
from typing import SupportsIndex


def sleep(seconds: float | SupportsIndex, /) -> None:
    """Sleep; libfaketime takes the moment up to which Python 3.11 does for the wall clock's."""
    select.select([], [], [], float(seconds))


time.sleep = sleep
