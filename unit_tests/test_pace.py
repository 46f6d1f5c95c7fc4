"""How fast requests are made, and in what order: `source_calltouch_sms.pace`."""

import logging
import threading
from itertools import pairwise
from types import SimpleNamespace

import pytest
import requests
from airbyte_cdk.models import FailureType
from airbyte_cdk.utils.traced_exception import AirbyteTracedException
from hypothesis import given
from hypothesis import strategies as st

from source_calltouch_sms import api, pace
from source_calltouch_sms.pace import (
    FULL_RATE,
    RATE_STEP,
    RETRY_SECONDS,
    SLOWDOWN,
    SLOWEST_RATE,
    Left,
    Pace,
    retry_after,
)
from unit_tests.account import response


class Gate(threading.Condition):
    """The gate with a clock of its own, which goes on only while a request waits by it."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.stands = False
        """Whether the clock stands still, so that requests wait until it is moved on."""
        self.came = threading.Semaphore(0)
        """Released by each wait while the clock stands."""

    def wait(self, timeout: float | None = None) -> bool:
        if self.stands:
            self.came.release()
            return super().wait()
        assert timeout is not None, "a lone request waits for nobody"
        self.now += timeout
        return False

    def move_on(self) -> None:
        """Let a long time pass for the requests that wait."""
        with self:
            self.now += 1000
            self.notify_all()


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    """Give the gate its real rates, and a clock that costs the test no time."""
    gate = Gate()
    monkeypatch.setattr(pace, "time", SimpleNamespace(monotonic=lambda: gate.now))
    monkeypatch.setattr(pace, "FULL_RATE", FULL_RATE)
    monkeypatch.setattr(pace, "SLOWEST_RATE", SLOWEST_RATE)
    monkeypatch.setattr(Pace, "_gate", gate)
    monkeypatch.setattr(Pace, "rate", FULL_RATE)
    return gate


def new_request() -> requests.PreparedRequest:
    return requests.Request("POST", api.URL).prepare()


def moments(gate: Gate, requests_pace: Pace, count: int) -> list[float]:
    """Return when each of some requests passes the gate."""
    passed = []
    for _ in range(count):
        requests_pace.acquire_call(new_request())
        passed.append(gate.now)
    return passed


def answered(requests_pace: Pace, status: int, **headers: str) -> None:
    requests_pace.update_from_response(new_request(), response("", status, **headers))


def test_requests_are_evenly_spaced_and_below_the_limit(gate: Gate) -> None:
    requests_pace = Pace()
    passed = moments(gate, requests_pace, 50)
    gaps = [later - earlier for earlier, later in pairwise(passed)]
    assert gaps == pytest.approx([1 / FULL_RATE] * 49)
    assert all(later - earlier > 1 for earlier, later in zip(passed, passed[5:], strict=False))
    assert requests_pace.requests == 50


def test_all_streams_of_the_process_share_the_gate(gate: Gate) -> None:
    (first,), (second,) = moments(gate, Pace(), 1), moments(gate, Pace(), 1)
    assert second - first == pytest.approx(1 / FULL_RATE)


def test_time_that_nobody_used_is_not_made_up_for(gate: Gate) -> None:
    requests_pace = Pace()
    moments(gate, requests_pace, 1)
    gate.now += 3600
    first, second = moments(gate, requests_pace, 2)
    assert second - first == pytest.approx(1 / FULL_RATE)


def test_a_429_slows_the_requests_of_all_streams(gate: Gate) -> None:
    limited, other = Pace(), Pace()
    answered(limited, 429)
    least, most = SLOWDOWN
    assert least * FULL_RATE <= other.rate <= most * FULL_RATE
    first, second = moments(gate, other, 2)
    assert first == pytest.approx(1000 + 1 / other.rate), "the next one waits already"
    assert second - first == pytest.approx(1 / other.rate)
    assert (limited.limited, other.limited) == (1, 0)


def test_the_429s_of_one_second_slow_down_once(gate: Gate) -> None:
    requests_pace = Pace()
    answered(requests_pace, 429)
    slowed = requests_pace.rate
    gate.now += 0.9
    answered(requests_pace, 429)
    assert requests_pace.rate == slowed
    gate.now += 0.2
    answered(requests_pace, 429)
    assert requests_pace.rate < slowed
    assert requests_pace.limited == 3


def test_the_rate_does_not_fall_below_the_slowest(gate: Gate) -> None:
    requests_pace = Pace()
    for _ in range(20):
        gate.now += 2
        answered(requests_pace, 429)
    assert requests_pace.rate == SLOWEST_RATE


@pytest.mark.parametrize("status", [200, 500])
def test_each_other_answer_speeds_up_until_the_full_rate(gate: Gate, status: int) -> None:
    requests_pace = Pace()
    gate.now += 2
    answered(requests_pace, 429)
    slowed = requests_pace.rate
    answered(requests_pace, status)
    assert requests_pace.rate == pytest.approx(slowed + RATE_STEP)
    for _ in range(50):
        answered(requests_pace, status)
    assert requests_pace.rate == FULL_RATE


def test_only_the_last_answer_tells_whether_429_holds_up(gate: Gate) -> None:
    assert gate
    requests_pace = Pace()
    answered(requests_pace, 429)
    assert requests_pace.holds_up
    answered(requests_pace, 200)
    assert not requests_pace.holds_up


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_closes_the_gate(gate: Gate, status: int) -> None:
    requests_pace = Pace()
    answered(requests_pace, status, Retry_After="7")
    assert requests_pace.closed_seconds == 7
    assert moments(gate, requests_pace, 1) == [1007]


def test_retry_after_of_a_page_means_nothing(gate: Gate) -> None:
    requests_pace = Pace()
    answered(requests_pace, 200, Retry_After="7")
    assert moments(gate, requests_pace, 1) == [1000]


def test_a_gate_that_is_closed_for_longer_than_a_request_is_tried_fails_who_waits(
    gate: Gate,
) -> None:
    requests_pace = Pace()
    answered(requests_pace, 429, Retry_After=str(RETRY_SECONDS + 1))
    with pytest.raises(AirbyteTracedException, match="daily API points") as raised:
        requests_pace.acquire_call(new_request())
    assert raised.value.failure_type == FailureType.transient_error
    assert requests_pace.requests == 0
    gate.now += 1
    assert moments(gate, requests_pace, 1) == [1001 + RETRY_SECONDS]


def test_a_shorter_retry_after_does_not_open_the_gate(gate: Gate) -> None:
    requests_pace = Pace()
    answered(requests_pace, 429, Retry_After="70")
    answered(requests_pace, 429, Retry_After="1")
    assert moments(gate, requests_pace, 1) == [1070]


def test_a_series_of_429_is_told_now_and_then(
    gate: Gate, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("airbyte"), "propagate", True)
    requests_pace = Pace()
    with caplog.at_level(logging.WARNING):
        for _ in range(20):
            answered(requests_pace, 429, Retry_After="7")
            gate.now += 1
    told = [r.getMessage() for r in caplog.records if "Slowing down" in r.getMessage()]
    assert len(told) == 2, "at the first one, and 16 seconds later"
    assert "the next one goes in 7.0 s" in told[0]


def test_a_clock_that_is_set_changes_nothing(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    wall = iter(range(10**9, -(10**9), -86_400))
    jumping = lambda: float(next(wall))  # noqa: E731 - one for both places
    monkeypatch.setattr("time.time", jumping)
    monkeypatch.setattr("source_calltouch_sms.pace.time.time", jumping, raising=False)
    requests_pace, request = Pace(), new_request()
    requests_pace.acquire_call(request)
    passed = [gate.now, *moments(gate, requests_pace, 3)]
    expected = [1000 + n / FULL_RATE for n in range(4)]
    assert passed == pytest.approx(expected)
    answered(requests_pace, 429, Retry_After="7")
    assert moments(gate, requests_pace, 1) == pytest.approx([expected[-1] + 7])


def test_tries_are_counted_from_when_a_request_first_came_to_the_gate(gate: Gate) -> None:
    requests_pace, request = Pace(), new_request()
    answered(requests_pace, 429, Retry_After="7")
    for tries in (1, 2, 3):
        requests_pace.acquire_call(request)
        gate.now += 10
        attempt = requests_pace.attempt()
        assert attempt.tries == tries
        assert attempt.seconds == pytest.approx(7 + 10 * tries), "waits at the gate included"
    requests_pace.acquire_call(new_request())
    assert requests_pace.attempt().tries == 1


class Waiting(threading.Thread):
    """A request that waits at the gate in its own thread."""

    def __init__(self, gate: Gate, requests_pace: Pace, request: requests.PreparedRequest) -> None:
        super().__init__(daemon=True)
        self.requests_pace, self.request = requests_pace, request
        self.error: Exception | None = None
        self.start()
        assert gate.came.acquire(timeout=5), "it waits"

    def run(self) -> None:
        try:
            self.requests_pace.acquire_call(self.request)
        except Left as error:
            self.error = error

    def end(self) -> None:
        self.join(5)
        assert not self.is_alive()


def test_the_request_that_was_first_made_first_goes_first(gate: Gate) -> None:
    requests_pace = Pace()
    order: list[str] = []
    requests_pace.on_pass = lambda: order.append(threading.current_thread().name)
    requests_pace.acquire_call(new_request())
    order.clear()
    gate.stands = True
    again = Waiting(gate, requests_pace, new_request())
    gate.now += 0.01
    later = Waiting(gate, requests_pace, new_request())
    gate.move_on()
    again.end()
    assert order == [again.name]
    gate.move_on()
    later.end()
    assert order == [again.name, later.name]


def test_who_waits_leaves_with_the_reader(gate: Gate) -> None:
    requests_pace = Pace()
    answered(requests_pace, 429, Retry_After="500")
    gate.stands = True
    waiting = [Waiting(gate, requests_pace, new_request()) for _ in range(3)]
    requests_pace.leave()
    for thread in waiting:
        thread.end()
        assert isinstance(thread.error, Left)
    assert requests_pace.requests == 0


def test_no_request_is_made_after_the_reader_left(gate: Gate) -> None:
    left, other = Pace(), Pace()
    left.leave()
    with pytest.raises(Left):
        left.acquire_call(new_request())
    assert left.requests == 0
    assert len(moments(gate, other, 1)) == 1, "the next stream's reader has not left"


@pytest.mark.parametrize(
    ("told", "seconds"),
    [("7", 7), ("0", 0), ("", 0), ("soon", 0), ("-5", 0), ("1.5", 0), ("٣", 0), ("9" * 999, 1e9)],
)
def test_retry_after_is_read_as_seconds(told: str, seconds: float) -> None:
    assert retry_after({"Retry-After": told}) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("date", "told", "seconds"),
    [
        ("Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 21 Oct 2015 07:28:30 GMT", 30),
        ("Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 21 Oct 2015 07:27:00 GMT", 0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 21 Oct 2015 07:28:30 -0000", 0),
        ("", "Wed, 21 Oct 2015 07:28:30 GMT", 0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", "", 0),
    ],
)
def test_retry_after_as_a_date_is_taken_by_the_servers_own_clock(
    date: str, told: str, seconds: float
) -> None:
    assert retry_after({"Date": date, "Retry-After": told}) == seconds


@given(st.text(), st.text())
def test_no_retry_after_breaks_the_reader(told: str, date: str) -> None:
    assert retry_after({"Retry-After": told, "Date": date}) >= 0
