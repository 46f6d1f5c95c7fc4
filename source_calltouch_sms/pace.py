"""How fast to send requests: the CDK's API budget, one gate for all requests of the process.

Every try of a request passes the gate in the thread that makes it. They pass evenly spaced, a
little below Calltouch's limit, on the monotonic clock. A 429 slows all of them down.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Final, NamedTuple

import requests
from airbyte_cdk.sources.streams.call_rate import APIBudget

from source_calltouch_sms import api
from source_calltouch_sms.errors import LATER, transient_error

logger = logging.getLogger("airbyte.calltouch")

FULL_RATE: Final = api.CALLS_PER_SECOND / 1.04
"""Requests a second. Slightly below the limit: network delay can bunch requests together at the
server."""
SLOWEST_RATE: Final = 0.5
"""Even if every answer is a 429: enough to see when that ends."""
SLOWDOWN: Final = (0.6, 0.75)
"""What a 429 leaves of the rate: random, so that two syncs do not stay in step."""
RATE_STEP: Final = 0.15
"""By how much each answer that is not a 429 raises the rate."""
LOG_SECONDS: Final = 15
RETRY_SECONDS: Final = 600
"""For how long one request is tried before it has failed for good."""

THROTTLED: Final = (
    f"Other programs behind the same IP address may be using up the {api.CALLS_PER_SECOND} "
    "requests a second, or the project's daily API points are used up: look in Calltouch, or wait "
    "for tomorrow."
)


class Left(Exception):  # noqa: N818 - no error, and never seen by a user
    """The reader has left: the request is not worth making."""


class Attempt(NamedTuple):
    """How often a request was sent, and since when, by `time.monotonic`."""

    since: float
    tries: int

    @property
    def seconds(self) -> float:
        """For how long it has been tried, with waits."""
        return time.monotonic() - self.since


class Pace(APIBudget):
    """The CDK's hook for the rate.

    Others may use the same IP address: the rate falls by about a third with each second of 429s,
    and grows with each other answer, so that all who do the same come to share the limit. Of the
    requests that wait at the gate, the oldest goes first, since it is needed first.
    """

    # Of the class, since the process has one IP address, however many streams it reads.
    _gate = threading.Condition()
    rate = FULL_RATE
    _opens_at = 0.0
    _slowed_at = _logged_at = float("-inf")

    def __init__(self) -> None:
        super().__init__(policies=[])
        self.requests = self.limited = 0
        self.on_wait: Callable[[], None] = lambda: None
        """Called in a request's own thread when it comes to the gate, for each try again."""
        self.on_pass: Callable[[], None] = lambda: None
        """Called in a request's own thread when it has passed the gate."""
        self.holds_up = False
        """Whether the last answer was a 429."""
        self._left = False
        self._waiting: list[float] = []
        self._here = threading.local()
        """Of this thread's request: since when it is tried, and how often it has passed."""

    @property
    def closed_seconds(self) -> float:
        """For how many seconds no request will pass."""
        return max(0.0, self._opens_at - time.monotonic())

    def attempt(self) -> Attempt:
        """This thread's request, or a fresh attempt outside of any."""
        return Attempt(
            getattr(self._here, "since", time.monotonic()), getattr(self._here, "tries", 1)
        )

    def acquire_call(self, request: Any, *_: Any, **__: Any) -> None:
        """Wait until the request may be made.

        Raises:
            AirbyteTracedException: Calltouch told to wait for longer than a request is tried.
            Left: the reader has left.
        """
        here = self._here
        if getattr(here, "request", None) is not request:
            here.request, here.since, here.tries = request, time.monotonic(), 0
        self.on_wait()
        with self._gate:
            self._waiting.append(here.since)
            try:
                while not self._left:
                    seconds = self._opens_at - time.monotonic()
                    if seconds > RETRY_SECONDS:
                        raise transient_error(
                            f"Calltouch asks to wait {seconds:.0f} s before the next API request. "
                            f"{THROTTLED if self.holds_up else LATER}"
                        )
                    is_next = here.since == min(self._waiting)
                    if is_next and seconds <= 0:
                        break
                    self._gate.wait(max(seconds, 0) if is_next else None)
                else:
                    raise Left
            finally:
                self._waiting.remove(here.since)
                self._gate.notify_all()
            Pace._opens_at = time.monotonic() + 1 / self.rate
            here.tries += 1
            self.requests += 1
        self.on_pass()

    def update_from_response(self, request: Any, response: requests.Response) -> None:
        """Slow down at a 429, else speed up; a failure's `Retry-After` holds for all requests."""
        with self._gate:
            now = time.monotonic()
            told = 0 if response.ok else retry_after(response.headers)
            Pace._opens_at = max(self._opens_at, now + told)
            self.holds_up = response.status_code == HTTPStatus.TOO_MANY_REQUESTS
            if not self.holds_up:
                Pace.rate = min(self.rate + RATE_STEP, FULL_RATE)
                return
            self.limited += 1
            if now - self._slowed_at > 1:  # the 429s of one second have one cause
                Pace._slowed_at = now
                share = random.uniform(*SLOWDOWN)  # noqa: S311 - no secret
                Pace.rate = max(self.rate * share, SLOWEST_RATE)
            Pace._opens_at = max(self._opens_at, now + 1 / self.rate)
            if now - self._logged_at > LOG_SECONDS:
                Pace._logged_at = now
                logger.warning(
                    "Calltouch allows no more API requests for now (HTTP 429). Slowing down: the "
                    "next one goes in %.1f s.",
                    self.closed_seconds,
                )

    def leave(self) -> None:
        """Let no further request pass."""
        with self._gate:
            self._left = True
            self._gate.notify_all()


def retry_after(headers: Mapping[str, str]) -> float:
    """Return `Retry-After` in seconds, whether it is a number or a date; 0 if it is neither.

    A date is taken by the server's own clock, its `Date`, which need not agree with this machine's.
    """
    told = headers.get("Retry-After", "").strip()
    if told.isascii() and told.isdigit():
        return float(told[:9])
    try:
        wait = parsedate_to_datetime(told) - parsedate_to_datetime(headers.get("Date", ""))
    except (TypeError, ValueError, OverflowError):
        return 0
    return max(0.0, wait.total_seconds())
