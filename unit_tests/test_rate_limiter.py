"""How fast requests are made, and in what order: `source_calltouch_sms.rate_limiter`.

Time is real here: a test relies on what does not happen too early, never on what is soon.
"""

import threading
from concurrent.futures import ThreadPoolExecutor, wait
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


def acquire(limiter: RateLimiter, attempt: Attempt) -> None:
    attempt.begin()
    limiter.acquire_call(None)


def gaps(limiter: RateLimiter, count: int) -> list[float]:
    """Return the seconds between some requests that pass one after another."""
    attempt, moments = Attempt(), list[float]()
    for _ in range(count):
        acquire(limiter, attempt)
        moments.append(attempt.sent_at)
    assert attempt.since <= moments[0]
    assert attempt.tries == count, "tries and time are those of the request"
    return [later - earlier for earlier, later in pairwise(moments)]


def answered(limiter: RateLimiter, status: int, **headers: str) -> None:
    limiter.update_from_response(None, response("", status, **headers))


def test_requests_are_evenly_spaced_and_time_that_nobody_used_is_not_made_up_for() -> None:
    limiter = RateLimiter(50)
    assert min(gaps(limiter, 5)) >= 0.0199
    threading.Event().wait(0.1)
    assert min(gaps(limiter, 3)) >= 0.0199
    assert limiter.requests == 8


def test_the_full_rate_is_a_little_below_the_limit() -> None:
    assert RateLimiter().rate == FULL_RATE
    assert 0.9 * CALLS_PER_SECOND < FULL_RATE < CALLS_PER_SECOND


def test_a_429_slows_all_requests_those_of_one_second_once() -> None:
    limiter, (least, most) = RateLimiter(100), SLOWDOWN
    answered(limiter, 429)
    slowed = limiter.rate
    assert least * 100 <= slowed <= most * 100
    answered(limiter, 429)
    assert limiter.rate == slowed
    assert min(gaps(limiter, 4)) >= 1 / (most * 100)
    threading.Event().wait(1.01)
    answered(limiter, 429)
    assert limiter.rate < slowed
    assert limiter.limited == 3


@pytest.mark.parametrize("rate", [SLOWEST_RATE, SLOWEST_RATE + 0.01, 0.1])
def test_the_rate_does_not_fall_below_the_slowest_and_is_kept(rate: float) -> None:
    limiter = RateLimiter(rate)
    answered(limiter, 429)
    assert limiter.rate == min(rate, SLOWEST_RATE)
    assert 1 < limiter.closed_seconds <= 1 / limiter.rate


@pytest.mark.parametrize("status", [200, 500])
def test_each_other_answer_speeds_up_until_the_full_rate(status: int) -> None:
    limiter = RateLimiter(5)
    assert not limiter.is_throttled
    answered(limiter, 429)
    assert limiter.is_throttled, "by the last answer"
    slowed = limiter.rate
    answered(limiter, status)
    assert not limiter.is_throttled
    assert limiter.rate == pytest.approx(slowed + RATE_STEP)
    assert limiter.answered == (status == 200), "which cost points"
    for _ in range(50):
        answered(limiter, status)
    assert limiter.rate == 5


@pytest.mark.parametrize(("status", "seconds"), [(429, 70), (503, 70), (200, 0)])
def test_retry_after_of_a_failure_closes_the_gate(status: int, seconds: float) -> None:
    limiter = RateLimiter(FAST)
    answered(limiter, status, Retry_After="70")
    assert limiter.closed_seconds == pytest.approx(seconds, abs=10)
    answered(limiter, status, Retry_After="1")
    assert limiter.closed_seconds == pytest.approx(seconds, abs=10), "it is not opened earlier"


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


def test_a_thread_that_makes_no_request_of_ours_has_an_attempt_of_its_own() -> None:
    ours = Attempt()
    ours.begin()
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(Attempt.current).result()
    assert Attempt.current() is ours
    assert other is not ours
    assert other.tries == 1, "its one try is made"


def test_of_requests_that_wait_the_one_that_is_due_goes_first_then_the_one_first_made() -> None:
    limiter, attempts = RateLimiter(FAST), [Attempt(is_due=False) for _ in range(8)]
    answered(limiter, 503, Retry_After="1")
    with ThreadPoolExecutor(8) as pool:
        for n in (3, 7, 0, 5, 1, 6, 2, 4):
            pool.submit(acquire, limiter, attempts[n])
        attempts[6].is_due = True
        limiter.wake()
    sent = [attempt.sent_at for attempt in (attempts.pop(6), *attempts)]
    assert sent == sorted(sent)
    assert sent[0] > attempts[-1].since + 1


def test_a_request_that_is_cancelled_does_not_pass() -> None:
    limiter = RateLimiter(FAST)
    answered(limiter, 429, Retry_After="100")
    with ThreadPoolExecutor(3) as pool:
        for attempt in [Attempt() for _ in range(3)]:
            waiting = pool.submit(acquire, limiter, attempt)
            assert wait([waiting], 0.05).not_done
            attempt.is_cancelled = True
            limiter.wake()
            assert isinstance(waiting.exception(30), CancelledError)
    assert limiter.requests == 0


@pytest.mark.parametrize(
    ("asked", "date", "seconds"),
    [
        *((asked, "", int(asked)) for asked in ("0", "7", "9" * 9)),
        ("9" * 999, "", 999_999_999),
        *((asked, "", 0) for asked in ("", "soon", "-5", "1.5", "٣")),
        # A date is taken by the server's own clock.
        ("Wed, 21 Oct 2015 07:28:30 GMT", "Wed, 21 Oct 2015 07:28:00 GMT", 30),
        ("Wed, 21 Oct 2015 07:27:00 GMT", "Wed, 21 Oct 2015 07:28:00 GMT", 0),
        ("Wed, 21 Oct 2015 07:28:30 -0000", "Wed, 21 Oct 2015 07:28:00 GMT", 0),
        ("Wed, 21 Oct 2015 07:28:30 GMT", "", 0),
        ("", "Wed, 21 Oct 2015 07:28:00 GMT", 0),
    ],
)
def test_retry_after_is_seconds_or_a_date(asked: str, date: str, seconds: float) -> None:
    assert retry_after({"Retry-After": asked, "Date": date}) == seconds


@given(st.text(), st.text())
def test_no_retry_after_breaks_the_sync(asked: str, date: str) -> None:
    assert retry_after({"Retry-After": asked, "Date": date}) >= 0
