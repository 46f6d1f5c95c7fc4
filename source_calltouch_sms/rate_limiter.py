"""How fast to send requests: the CDK's API budget, one gate for all requests.

Every try of a request passes the gate in the thread that makes it. They pass evenly spaced, a
little below Calltouch's limit, on the monotonic clock. A 429 slows all of them down.
"""

import logging
import math
import random
import threading
import time
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Final

import requests
from airbyte_cdk.sources.streams.call_rate import APIBudget

from source_calltouch_sms import api
from source_calltouch_sms.errors import LATER, CancelledError, transient_error

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
"""For how long one request is retried, and the longest wait that Calltouch may ask for."""

THROTTLED: Final = (
    f"Other programs behind the same IP address may be using up the {api.CALLS_PER_SECOND} "
    "requests a second, or the project's daily API points are used up: look in Calltouch, or wait "
    "for tomorrow."
)


@dataclass(eq=False)
class Attempt:
    """One request, over all its tries."""

    since: float = field(default_factory=time.monotonic)
    tries: int = 0
    """How often it has passed the gate."""
    sent_at: float = math.inf
    """When its last try passed the gate; infinity while one waits there."""
    is_cancelled: bool = False
    is_due: bool = True
    """Whether the reader waits for it."""
    bytes: int = 0
    """How much of its answer has arrived."""

    def begin(self) -> None:
        """Make this thread's requests tries of it, from now on."""
        _current.set(self)

    @classmethod
    def current(cls) -> "Attempt":
        """Return this thread's; a new one where it has begun none."""
        return _current.get(None) or cls(tries=1)


_current: ContextVar[Attempt] = ContextVar("attempt")


class RateLimiter(APIBudget):
    """The CDK's hook for the rate, up to `rate` requests a second.

    Others may use the same IP address: the rate falls by about a third with each second of 429s,
    and grows with each other answer, so that all who do the same come to share the limit. Of the
    requests that wait at the gate, the one that the reader waits for goes first, then the oldest.
    """

    def __init__(self, rate: float = FULL_RATE) -> None:
        super().__init__(policies=[])
        self.rate = self._full_rate = rate
        self.requests = self.limited = self.answered = 0
        """How many passed the gate, and how many were answered 429, and without a failure."""
        self.is_throttled = False
        """Whether the last answer was a 429."""
        self._gate = threading.Condition()
        self._opens_at = 0.0
        self._slowed_at = self._logged_at = -math.inf
        self._waiting: list[Attempt] = []

    @property
    def closed_seconds(self) -> float:
        """For how many seconds no request will pass."""
        return max(0.0, self._opens_at - time.monotonic())

    def acquire_call(self, request: Any, *_: Any, **__: Any) -> None:
        """Wait until the request may be made.

        Raises:
            AirbyteTracedException: Calltouch says to wait for longer than a request is retried.
            CancelledError: the request is no longer wanted.
        """
        attempt = Attempt.current()
        attempt.sent_at = math.inf
        with self._gate:
            self._waiting.append(attempt)
            try:
                self._wait_for_turn(attempt)
            finally:
                self._waiting.remove(attempt)
                self._gate.notify_all()
            attempt.sent_at = time.monotonic()
            attempt.tries += 1
            self._opens_at = attempt.sent_at + 1 / self.rate
            self.requests += 1

    def _wait_for_turn(self, attempt: Attempt) -> None:
        while not attempt.is_cancelled:
            seconds = self.closed_seconds
            if seconds > RETRY_SECONDS:
                raise transient_error(
                    f"Calltouch says to wait {seconds:.0f} s before the next API request. "
                    f"{THROTTLED if self.is_throttled else LATER}"
                )
            is_next = attempt is min(self._waiting, key=lambda a: (not a.is_due, a.since))
            if is_next and not seconds:
                return
            self._gate.wait(seconds if is_next else None)
        raise CancelledError

    def wake(self) -> None:
        """Look again at what waits: a request has become due, or is cancelled."""
        with self._gate:
            self._gate.notify_all()

    def update_from_response(self, request: Any, response: requests.Response) -> None:
        """Slow down at a 429, else speed up; a failure's `Retry-After` holds for all requests."""
        with self._gate:
            now = time.monotonic()
            self.answered += response.ok
            asked = 0 if response.ok else retry_after(response.headers)
            self._opens_at = max(self._opens_at, now + asked)
            self.is_throttled = response.status_code == HTTPStatus.TOO_MANY_REQUESTS
            if not self.is_throttled:
                self.rate = min(self.rate + RATE_STEP, self._full_rate)
                return
            self.limited += 1
            if now - self._slowed_at > 1:  # the 429s of one second have one cause
                self._slowed_at = now
                share = random.uniform(*SLOWDOWN)  # noqa: S311 - no secret
                self.rate = max(self.rate * share, min(SLOWEST_RATE, self._full_rate))
            self._opens_at = max(self._opens_at, now + 1 / self.rate)
            if now - self._logged_at > LOG_SECONDS:
                self._logged_at = now
                logger.warning(
                    "Calltouch allows no more API requests for now (HTTP 429). Slowing down: the "
                    "next one goes in %.1f s.",
                    self.closed_seconds,
                )


def retry_after(headers: Mapping[str, str]) -> float:
    """Return `Retry-After` in seconds, whether it is a number or a date; 0 if it is neither.

    A date is taken by the server's own clock, its `Date`, which need not agree with this machine's.
    """
    asked = headers.get("Retry-After", "").strip()
    if asked.isascii() and asked.isdigit():
        return float(asked[:9])
    try:
        wait = parsedate_to_datetime(asked) - parsedate_to_datetime(headers.get("Date", ""))
    except (TypeError, ValueError, OverflowError):
        return 0
    return max(0.0, wait.total_seconds())
