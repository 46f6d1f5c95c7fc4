"""How fast requests are made, and in what order: `source_calltouch_sms.rate_limiter`.

Time is real here: a test relies on what does not happen too early, never on what is soon.
"""

import threading
import time
from itertools import pairwise

import pytest
from airbyte_cdk.models import FailureType
from airbyte_cdk.utils.traced_exception import AirbyteTracedException
from hypothesis import given
from hypothesis import strategies as st

from source_calltouch_sms.api import CALLS_PER_SECOND
from source_calltouch_sms.errors import CancelledError
from source_calltouch_sms.rate_limiter import (
    FULL_RATE,
    RATE_STEP,
    RETRY_SECONDS,
    SLOWDOWN,
    SLOWEST_RATE,
    Attempt,
    RateLimiter,
    retry_after,
)
from unit_tests.account import response

FAST = 1e6


def passes(limiter: RateLimiter, count: int) -> list[float]:
    """Return when each of some requests passes."""
    attempt, moments = Attempt(), []
    limiter.begin(attempt)
    for _ in range(count):
        limiter.acquire_call(None)
        moments.append(attempt.sent_at)
    return moments


def answered(limiter: RateLimiter, status: int, **headers: str) -> None:
    limiter.update_from_response(None, response("", status, **headers))


class Waiting(threading.Thread):
    """A request that waits in its own thread."""

    def __init__(self, limiter: RateLimiter, attempt: Attempt) -> None:
        super().__init__(daemon=True)
        self.limiter, self.attempt = limiter, attempt
        self.error: Exception | None = None
        attempt.sent_at = 0
        self.start()
        while attempt.sent_at == 0:  # until it is there
            threading.Event().wait(0.001)

    def run(self) -> None:
        self.limiter.begin(self.attempt)
        try:
            self.limiter.acquire_call(None)
        except CancelledError as error:
            self.error = error

    def end(self) -> None:
        self.join(30)
        assert not self.is_alive()


def test_requests_are_evenly_spaced() -> None:
    limiter = RateLimiter(100)
    gaps = [later - earlier for earlier, later in pairwise(passes(limiter, 10))]
    assert min(gaps) >= 0.0099
    assert limiter.requests == 10


def test_the_full_rate_is_a_little_below_the_limit() -> None:
    assert RateLimiter().rate == FULL_RATE
    assert 0.9 * CALLS_PER_SECOND < FULL_RATE < CALLS_PER_SECOND


def test_time_that_nobody_used_is_not_made_up_for() -> None:
    limiter = RateLimiter(50)
    passes(limiter, 1)
    threading.Event().wait(0.1)
    first, second = passes(limiter, 2)
    assert second - first >= 0.0199


def test_a_429_slows_all_requests() -> None:
    limiter = RateLimiter(100)
    answered(limiter, 429)
    least, most = SLOWDOWN
    assert least * 100 <= limiter.rate <= most * 100
    gaps = [later - earlier for earlier, later in pairwise(passes(limiter, 4))]
    assert min(gaps) >= 1 / (most * 100)
    assert limiter.limited == 1


def test_after_a_429_the_next_request_waits() -> None:
    limiter = RateLimiter(0.6)
    answered(limiter, 429)
    assert 1 < limiter.closed_seconds <= 2


def test_the_429s_of_one_second_slow_down_once_and_later_ones_again() -> None:
    limiter = RateLimiter(100)
    answered(limiter, 429)
    slowed = limiter.rate
    answered(limiter, 429)
    assert limiter.rate == slowed
    threading.Event().wait(1.01)
    answered(limiter, 429)
    assert limiter.rate < slowed
    assert limiter.limited == 3


@pytest.mark.parametrize("rate", [SLOWEST_RATE, SLOWEST_RATE + 0.01, 0.1])
def test_the_rate_does_not_fall_below_the_slowest(rate: float) -> None:
    limiter = RateLimiter(rate)
    answered(limiter, 429)
    assert limiter.rate == min(rate, SLOWEST_RATE)


@pytest.mark.parametrize("status", [200, 500])
def test_each_other_answer_speeds_up_until_the_full_rate(status: int) -> None:
    limiter = RateLimiter(5)
    answered(limiter, 429)
    slowed = limiter.rate
    answered(limiter, status)
    assert limiter.rate == pytest.approx(slowed + RATE_STEP)
    for _ in range(50):
        answered(limiter, status)
    assert limiter.rate == 5


def test_the_last_answer_tells_whether_requests_are_throttled() -> None:
    limiter = RateLimiter(FAST)
    assert not limiter.is_throttled
    answered(limiter, 429)
    assert limiter.is_throttled
    answered(limiter, 200)
    assert not limiter.is_throttled


@pytest.mark.parametrize(("status", "seconds"), [(429, 70), (503, 70), (200, 0)])
def test_retry_after_of_a_failure_closes_the_gate(status: int, seconds: float) -> None:
    limiter = RateLimiter(FAST)
    answered(limiter, status, Retry_After="70")
    assert limiter.closed_seconds == pytest.approx(seconds, abs=10)
    answered(limiter, status, Retry_After="1")
    assert limiter.closed_seconds == pytest.approx(seconds, abs=10), "it is not opened earlier"


def test_a_request_waits_as_long_as_it_is_asked_to() -> None:
    limiter, before = RateLimiter(FAST), time.monotonic()
    answered(limiter, 503, Retry_After="1")
    assert passes(limiter, 1)[0] - before >= 1


@pytest.mark.parametrize(
    ("status", "advice"), [(429, "daily API points"), (503, "Try again later.")]
)
def test_a_wait_that_is_longer_than_a_request_is_retried_fails(status: int, advice: str) -> None:
    limiter = RateLimiter(FAST)
    answered(limiter, status, Retry_After=str(RETRY_SECONDS + 60))
    with pytest.raises(AirbyteTracedException, match=advice) as raised:
        limiter.acquire_call(None)
    assert raised.value.failure_type == FailureType.transient_error
    assert limiter.requests == 0


def test_a_storm_of_429s_is_logged_once_in_a_while(logs: pytest.LogCaptureFixture) -> None:
    limiter = RateLimiter(FAST)
    for _ in range(20):
        answered(limiter, 429, Retry_After="7")
    (line,) = logs.messages
    assert "the next one goes in 7.0 s" in line


def test_tries_and_time_are_those_of_the_request() -> None:
    limiter, attempt = RateLimiter(FAST), Attempt()
    limiter.begin(attempt)
    assert limiter.attempt() is attempt
    for tries in (1, 2, 3):
        limiter.acquire_call(None)
        assert attempt.tries == tries
        assert attempt.since <= attempt.sent_at <= attempt.since + attempt.seconds


def test_a_thread_that_makes_no_request_of_ours_has_an_attempt_of_its_own() -> None:
    limiter, attempts = RateLimiter(FAST), list[Attempt]()
    limiter.begin(Attempt())
    thread = threading.Thread(target=lambda: attempts.append(limiter.attempt()))
    thread.start()
    thread.join()
    assert attempts[0] is not limiter.attempt()
    assert attempts[0].tries == 1, "its one try is made"


def test_of_requests_that_wait_the_one_that_was_first_made_goes_first() -> None:
    limiter, attempts = RateLimiter(FAST), [Attempt() for _ in range(8)]
    answered(limiter, 503, Retry_After="1")
    waiting = [Waiting(limiter, attempts[n]) for n in (3, 7, 0, 5, 1, 6, 2, 4)]
    for thread in waiting:
        thread.end()
    sent = [attempt.sent_at for attempt in attempts]
    assert sent == sorted(sent)


def test_a_request_that_is_cancelled_does_not_pass() -> None:
    limiter = RateLimiter(FAST)
    answered(limiter, 429, Retry_After="500")
    waiting = [Waiting(limiter, Attempt()) for _ in range(3)]
    for thread in waiting:
        limiter.cancel(thread.attempt)
        thread.end()
        assert isinstance(thread.error, CancelledError)
    assert limiter.requests == 0


def test_a_request_that_was_cancelled_is_not_retried() -> None:
    limiter, cancelled = RateLimiter(FAST), Attempt()
    limiter.begin(cancelled)
    limiter.acquire_call(None)
    limiter.cancel(cancelled)
    with pytest.raises(CancelledError):
        limiter.acquire_call(None)
    assert (limiter.requests, cancelled.tries) == (1, 1)
    assert passes(limiter, 1), "others go on"


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [("7", 7), ("0", 0), ("", 0), ("soon", 0), ("-5", 0), ("1.5", 0), ("٣", 0), ("9" * 999, 1e9)],
)
def test_retry_after_is_read_as_seconds(asked: str, seconds: float) -> None:
    assert retry_after({"Retry-After": asked}) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("date", "asked", "seconds"),
    [
        ("Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 21 Oct 2015 07:28:30 GMT", 30),
        ("Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 21 Oct 2015 07:27:00 GMT", 0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 21 Oct 2015 07:28:30 -0000", 0),
        ("", "Wed, 21 Oct 2015 07:28:30 GMT", 0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", "", 0),
    ],
)
def test_retry_after_as_a_date_is_taken_by_the_servers_own_clock(
    date: str, asked: str, seconds: float
) -> None:
    assert retry_after({"Date": date, "Retry-After": asked}) == seconds


@given(st.text(), st.text())
def test_no_retry_after_breaks_the_sync(asked: str, date: str) -> None:
    assert retry_after({"Retry-After": asked, "Date": date}) >= 0
