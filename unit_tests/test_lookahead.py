"""Requests in flight: `source_calltouch_sms.lookahead`."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from types import SimpleNamespace

import pytest
import requests
from airbyte_cdk.models import FailureType
from airbyte_cdk.sources.http_config import MAX_CONNECTION_POOL_SIZE
from airbyte_cdk.utils.traced_exception import AirbyteTracedException

from source_calltouch_sms import lookahead
from source_calltouch_sms.lookahead import ANSWER_SECONDS, MOST_REQUESTS, SPARE, Ask, Lookahead
from source_calltouch_sms.pace import Pace
from source_calltouch_sms.windows import Window, cut
from unit_tests.account import response

SIZE = 10
MANY = 20_000


def windows(count: int, seconds: int) -> list[Window]:
    """Return windows in a row, of that many SMS each: there is one every second."""
    length = timedelta(seconds=seconds)
    first = datetime(2024, 1, 1)
    return Window(first, first + count * length - timedelta(seconds=1)).parts(seconds)


def pages_of(window: Window) -> list[Ask]:
    return [Ask(window, page) for page in range(1, -(-window.seconds // SIZE) + 1)]


class Clock:
    """The time by which requests are judged; it stands still unless a test moves it."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self._lock = threading.Lock()

    def monotonic(self) -> float:
        with self._lock:
            return self.now

    def advance(self, seconds: float) -> None:
        with self._lock:
            self.now += seconds


class Server:
    """An SMS a second, in pages. Requests can be held before the gate, and answers behind it."""

    def __init__(self) -> None:
        self.asked: list[Ask] = []
        """In the order in which they came to the gate."""
        self.pace = Pace()
        self.ahead = Lookahead(self.fetch, self.pace)
        self.gate, self.go = threading.Event(), threading.Event()
        self.gate.set()
        self.go.set()
        self.before_gate: Callable[[Ask], None] = lambda _: None
        self.behind_gate: Callable[[Ask], None] = lambda _: None
        self.rows: int | None = None
        """How many SMS each window has; None: one a second."""
        self._passed = threading.Condition()
        self._passes = 0

    def fetch(self, ask: Ask) -> requests.Response:
        self.asked.append(ask)
        self.before_gate(ask)
        self.gate.wait(30)
        self.pace.acquire_call(requests.PreparedRequest())
        with self._passed:
            self._passes += 1
            self._passed.notify_all()
        self.go.wait(30)
        self.behind_gate(ask)
        a_window = ask.window.seconds if self.rows is None else self.rows
        total = len(ask.numbers) or a_window
        rows = min(SIZE, total - (ask.page - 1) * SIZE)
        data = {"totalCountSms": total, "smsDetails": [{"dateSent": ""}] * rows}
        return response(json.dumps({"data": data}))

    def await_passes(self, count: int) -> None:
        """Wait until so many requests have passed the gate and have chosen what follows them."""
        with self._passed:
            assert self._passed.wait_for(lambda: self._passes >= count, 30)

    def take(self, ask: Ask) -> requests.Response:
        """Take an answer as the reader does: it tries again as long as there is none."""
        for _ in range(3):
            answer = self.ahead.take(ask, 30)
            if answer is not None:
                return answer
        raise AssertionError


def requests_alive() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith("calltouch ")]


def settle() -> None:
    """Wait until no request is under way: each one starts the next before it ends."""
    while alive := requests_alive():
        alive[0].join(30)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(lookahead, "time", SimpleNamespace(monotonic=clock.monotonic))
    monkeypatch.setattr(Pace, "rate", 5.0)
    return clock


@pytest.fixture
def server(clock: Clock) -> Iterator[Server]:
    server = Server()
    yield server
    server.gate.set()
    server.go.set()
    server.ahead.close()
    settle()


def test_every_page_of_every_window_is_asked_for_once_and_counted(server: Server) -> None:
    plan = windows(4, 25)
    taken = []
    for n, window in enumerate(plan):
        server.ahead.plan(plan[n:], MANY)
        for ask in pages_of(window):
            assert len(json.loads(server.take(ask).content)["data"]["smsDetails"]) in {5, SIZE}
            taken.append(ask)
    settle()
    assert Counter(server.asked) == Counter(taken)
    assert server.ahead.served == len(taken) == 12


def test_there_is_no_answer_until_it_has_come(server: Server) -> None:
    (window,) = windows(1, SIZE)
    server.ahead.plan([window], MANY)
    server.go.clear()
    assert server.ahead.take(Ask(window), 0) is None
    assert server.ahead.take(Ask(window), 0) is None
    server.go.set()
    assert server.ahead.take(Ask(window), 30) is not None
    assert server.asked == [Ask(window)]


def test_an_answer_is_handed_out_once_and_then_asked_for_anew(server: Server) -> None:
    (window,) = windows(1, 25)
    server.ahead.plan([window], MANY)
    for page in (1, 2, 1, 2, 3):
        server.take(Ask(window, page))
    assert server.asked.count(Ask(window)) == 2


def test_an_answer_of_phone_numbers_is_one_of_its_own(server: Server) -> None:
    (window,) = windows(1, SIZE)
    server.ahead.plan([window], MANY)
    server.take(Ask(window))
    answer = server.take(Ask(window, numbers=("70000000001", "70000000002")))
    assert json.loads(answer.content)["data"]["totalCountSms"] == 2


def test_pages_go_in_order_and_are_all_asked_for_before_the_first_page_of_the_next_window(
    server: Server,
) -> None:
    plan, taken = windows(6, 25), []
    for n, window in enumerate(plan):
        server.ahead.plan(plan[n:], MANY)
        for ask in pages_of(window):
            server.take(ask)
            taken.append(ask)
            settle()
    asked = server.asked
    assert [ask for ask in asked if ask.page > 1] == [ask for ask in taken if ask.page > 1]
    assert [ask for ask in asked if ask.page == 1] == [Ask(window) for window in plan]
    for window, following in pairwise(plan[1:]):
        assert pages_of(window)[-1] in asked[: asked.index(Ask(following)) + 2]


def test_while_no_page_is_known_first_pages_are_asked_for_in_half_of_the_room(
    server: Server, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, *plan = windows(9, 100)
    server.behind_gate = lambda _: clock.advance(10)
    size = len(server.take(Ask(small)).content)
    server.asked.clear()
    monkeypatch.setattr(lookahead, "MOST_BYTES", (6 + lookahead.DECODING) * size)
    server.go.clear()
    server.ahead.plan(plan, MANY)
    server.await_passes(1 + 3)
    first_pages = [Ask(window) for window in plan[:3]]
    assert server.asked == first_pages
    assert len(requests_alive()) == len(first_pages)
    server.go.set()
    settle()
    assert len(server.asked) == 6
    assert all(ask.page > 1 for ask in server.asked[3:])


def test_what_is_due_goes_before_everything_else(server: Server) -> None:
    plan = windows(3, 100)
    server.ahead.plan(plan, MANY)
    settle()
    asked = len(server.asked)
    server.take(Ask(plan[2], 7))
    assert server.asked[asked] == Ask(plan[2], 7)


@pytest.mark.parametrize(("longest", "count"), [(0, 3), (2, 13)])
def test_the_longer_an_answer_takes_the_more_are_asked_for(
    server: Server, clock: Clock, longest: float, count: int
) -> None:
    plan = windows(50, 100)
    server.go.clear()
    server.ahead.plan(plan, MANY)
    server.await_passes(3)
    clock.advance(longest)
    # 3 spare ones and 5 a second.
    server.ahead.plan(plan, MANY)
    server.await_passes(count)
    assert server.asked == [Ask(window) for window in plan[:count]]
    assert len(requests_alive()) == count


def test_one_slow_answer_is_enough_to_ask_for_more(server: Server, clock: Clock) -> None:
    (window,) = windows(1, 100)
    server.behind_gate = lambda ask: clock.advance(2 if ask.page == 1 else 0)
    server.ahead.plan([window], MANY)
    settle()
    # Two seconds need 10 requests, and each quick answer takes a fifth off.
    assert len(server.asked) > SPARE + 2


def test_however_slow_the_answers_are_there_is_an_end_to_those_under_way_and_to_those_held(
    server: Server, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pace, "rate", 100.0)
    server.behind_gate = lambda _: clock.advance(10)
    plan = windows(50, 100)
    server.go.clear()
    server.ahead.plan(plan, MANY)
    server.await_passes(1)
    clock.advance(10)
    server.ahead.plan(plan, MANY)
    server.await_passes(MOST_REQUESTS)
    assert len(requests_alive()) == MOST_REQUESTS
    server.go.set()
    settle()
    needed = [ask for window in plan for ask in pages_of(window)][: 2 * MOST_REQUESTS]
    assert set(needed) <= set(server.asked)
    assert len(server.asked) < 3 * MOST_REQUESTS, "but for first pages that came before others"


def test_answers_held_are_bounded_in_bytes(
    server: Server, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    (window,) = windows(1, 400)
    size = len(server.fetch(Ask(window)).content)
    server.asked.clear()
    monkeypatch.setattr(lookahead, "MOST_BYTES", (5 + lookahead.DECODING) * size)
    server.behind_gate = lambda _: clock.advance(10)
    server.ahead.plan([window], MANY)
    settle()
    assert server.asked == pages_of(window)[:5]
    server.take(Ask(window))
    settle()
    assert server.asked == pages_of(window)[:6]


def test_answers_are_counted_by_the_largest_seen(
    server: Server, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    large, *empty = windows(30, 10)
    server.ahead.plan([large], MANY)
    size = len(server.take(Ask(large)).content)
    monkeypatch.setattr(lookahead, "MOST_BYTES", (5.5 + lookahead.DECODING) * size)
    server.behind_gate = lambda _: clock.advance(10)
    server.ahead.plan([window.parts(1)[0] for window in empty], MANY)
    settle()
    server.asked.clear()
    (last,) = windows(1, 300)
    server.ahead.plan([last], MANY)
    settle()
    assert server.asked == pages_of(last)[:5]


def test_of_a_window_of_too_many_sms_the_parts_are_asked_for(server: Server, clock: Clock) -> None:
    server.behind_gate = lambda _: clock.advance(10)
    plan = windows(3, 100)
    server.ahead.plan(plan, 99)
    settle()
    parts = [part for window in plan for part in cut(window, 100, 99)]
    expected = [*map(Ask, plan), *(ask for part in parts for ask in pages_of(part))]
    assert sorted(server.asked) == sorted(expected)
    asked = len(server.asked)
    server.take(Ask(plan[0]))
    server.ahead.plan([*parts[:2], *plan[1:]], 99)
    for part in parts[:2]:
        for ask in pages_of(part):
            server.take(ask)
    assert len(server.asked) == asked, "nothing is asked for again when it is cut"


def test_a_second_of_too_many_sms_is_asked_for_by_pages(server: Server, clock: Clock) -> None:
    server.behind_gate = lambda _: clock.advance(10)
    server.rows = 2 * SIZE
    plan = windows(3, 1)
    server.ahead.plan(plan, 1)
    settle()
    assert sorted(server.asked) == [Ask(window, page) for window in plan for page in (1, 2)]


@pytest.mark.parametrize("rows", [0, SIZE])
def test_a_window_whose_first_answer_holds_all_is_asked_for_once(server: Server, rows: int) -> None:
    server.rows = rows
    plan = windows(3, 100)
    for _ in range(2):  # however few SMS a window may hold
        server.ahead.plan(plan, 1)
        settle()
    for window in plan:
        server.take(Ask(window))
    assert server.asked == [Ask(window) for window in plan]


def test_where_pages_are_not_trusted_none_is_asked_for_ahead(server: Server) -> None:
    plan = windows(5, 25)
    server.ahead.plan(plan, MANY)
    settle()
    server.ahead.plan(plan, SIZE)
    server.asked.clear()
    for window in plan:
        server.take(Ask(window))
    settle()
    assert {ask.page for ask in server.asked} == {1}


def test_pages_that_are_trusted_no_longer_leave_room_for_others(
    server: Server, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    paged, *others = windows(4, 100)
    server.ahead.plan([paged], MANY)
    server.take(Ask(paged))
    size = len(server.take(Ask(paged, 2)).content)
    monkeypatch.setattr(lookahead, "MOST_BYTES", (4 + lookahead.DECODING) * size)
    server.behind_gate = lambda _: clock.advance(10)
    settle()
    server.asked.clear()
    server.ahead.plan([paged, *others], SIZE)
    settle()
    assert server.asked == [Ask(part) for part in cut(paged, 100, SIZE)[:4]]


def test_what_has_failed_for_good_is_not_asked_for_again(server: Server) -> None:
    window, after = windows(2, 100)

    def fail(ask: Ask) -> None:
        if ask == Ask(window):
            raise ZeroDivisionError

    server.behind_gate = fail
    with pytest.raises(ZeroDivisionError):
        server.take(Ask(window))
    parts = window.parts(50)
    server.ahead.plan([*parts, after], MANY)
    for part in parts:
        server.take(Ask(part))
    assert server.asked.count(Ask(window)) == 1


def test_what_came_for_windows_no_longer_planned_is_let_go(server: Server) -> None:
    old, new = windows(2, 20)
    server.ahead.plan([old], MANY)
    settle()
    assert server.asked == pages_of(old)
    server.ahead.plan([new], MANY)
    server.take(Ask(new))
    server.ahead.plan([old], MANY)
    server.take(Ask(old))
    assert server.asked.count(Ask(old)) == 2


def test_the_next_request_is_chosen_when_the_one_before_it_has_passed(server: Server) -> None:
    plan = windows(1, 100)
    server.ahead.plan(plan, MANY)
    settle()
    asked = len(server.asked)
    server.gate.clear()
    server.take(Ask(plan[0]))
    server.ahead.plan(plan, MANY)
    assert len(requests_alive()) == 1
    for _ in range(2):
        assert server.ahead.take(Ask(plan[0], 9), 0) is None
    assert len(requests_alive()) == 1, "even what is due waits its turn"
    server.gate.set()
    server.take(Ask(plan[0], 9))
    assert server.asked[asked : asked + 2] == [Ask(plan[0], asked + 1), Ask(plan[0], 9)]


def test_a_request_that_fails_before_it_has_passed_does_not_hold_the_others(
    server: Server,
) -> None:
    def fail(ask: Ask) -> None:
        if ask.page == 2:
            raise ZeroDivisionError

    server.before_gate = fail
    (window,) = windows(1, 100)
    server.ahead.plan([window], MANY)
    settle()
    assert Ask(window, 3) in server.asked


def test_a_request_that_hangs_does_not_hold_up_the_others(server: Server) -> None:
    hanging = threading.Event()

    def hang(ask: Ask) -> None:
        if ask.page == 3:
            hanging.wait(30)

    server.behind_gate = hang
    (window,) = windows(1, 50)
    server.ahead.plan([window], MANY)
    for page in (1, 2, 4, 5):
        server.take(Ask(window, page))
    assert not hanging.is_set()
    hanging.set()
    assert server.take(Ask(window, 3))


class Failing:
    """Fails the requests for one page, so many times."""

    def __init__(self, page: int, times: int) -> None:
        self._page = page
        self._times = times

    def __call__(self, ask: Ask) -> None:
        if ask.page == self._page and self._times:
            self._times -= 1
            raise ZeroDivisionError


@pytest.mark.parametrize("hook", ["before_gate", "behind_gate"])
def test_what_failed_ahead_is_asked_once_more_when_it_is_due(
    server: Server, clock: Clock, hook: str
) -> None:
    (window,) = windows(1, 20)
    setattr(server, hook, Failing(page=2, times=1))
    server.ahead.plan([window], MANY)
    settle()
    server.ahead.plan([window], MANY)
    failed = Ask(window, 2)
    assert server.asked == [Ask(window), failed]
    clock.advance(1)
    assert server.ahead.take(failed, 30) is None
    assert server.ahead.take(failed, 30) is not None
    assert server.asked == [Ask(window), failed, failed]


def test_what_fails_while_it_is_due_raises(server: Server, clock: Clock) -> None:
    (window,) = windows(1, 20)
    server.behind_gate = Failing(page=2, times=2)
    server.ahead.plan([window], MANY)
    settle()
    clock.advance(1)
    failed = Ask(window, 2)
    assert server.ahead.take(failed, 30) is None
    with pytest.raises(ZeroDivisionError):
        server.ahead.take(failed, 30)
    assert server.asked.count(failed) == 2


def test_an_error_does_not_come_before_its_page_is_due(server: Server) -> None:
    (window,) = windows(1, 50)
    server.behind_gate = Failing(page=3, times=99)
    server.ahead.plan([window], MANY)
    settle()
    server.take(Ask(window))
    server.take(Ask(window, 2))
    with pytest.raises(ZeroDivisionError):
        server.take(Ask(window, 3))


def test_an_answer_asked_for_ahead_that_takes_too_long_is_asked_for_once_more(
    server: Server, clock: Clock
) -> None:
    (window,) = windows(1, SIZE)
    server.go.clear()
    server.ahead.plan([window], MANY)
    server.await_passes(1)
    clock.advance(ANSWER_SECONDS)
    assert server.ahead.take(Ask(window), 0) is None
    assert server.asked == [Ask(window)]
    clock.advance(1)
    assert server.ahead.take(Ask(window), 0) is None
    assert server.ahead.take(Ask(window), 0) is None
    server.await_passes(2)
    server.go.set()
    assert server.ahead.take(Ask(window), 30) is not None
    assert server.asked == [Ask(window)] * 2


def test_what_an_answer_that_was_given_up_tells_too_late_is_not_asked_for_again(
    server: Server, clock: Clock
) -> None:
    (window,) = windows(1, 3 * SIZE)
    given_up = threading.Event()

    def drip(_: Ask) -> None:
        server.behind_gate = lambda _: None
        given_up.wait(30)

    server.behind_gate = drip
    server.ahead.plan([window], MANY)
    server.await_passes(1)
    clock.advance(ANSWER_SECONDS + 1)
    for ask in pages_of(window):
        server.take(ask)
        clock.advance(1)
    given_up.set()
    settle()
    assert Counter(server.asked) == Counter([Ask(window), *pages_of(window)])


def test_an_answer_that_is_due_and_takes_too_long_is_an_error_that_time_mends(
    server: Server, clock: Clock
) -> None:
    (window,) = windows(1, SIZE)
    server.go.clear()
    assert server.ahead.take(Ask(window), 0) is None
    server.await_passes(1)
    clock.advance(ANSWER_SECONDS + 1)
    with pytest.raises(AirbyteTracedException, match="whole answer within 300 s") as raised:
        server.ahead.take(Ask(window), 0)
    assert raised.value.failure_type == FailureType.transient_error


def test_the_wait_at_the_gate_is_no_slow_answer(server: Server, clock: Clock) -> None:
    (window,) = windows(1, SIZE)
    server.gate.clear()
    for _ in range(3):
        assert server.ahead.take(Ask(window), 0) is None
        clock.advance(ANSWER_SECONDS + 1)
    server.gate.set()
    server.take(Ask(window))
    assert server.asked == [Ask(window)]


def test_the_wait_at_the_gate_before_another_try_is_no_slow_answer(
    server: Server, clock: Clock
) -> None:
    (window,) = windows(1, SIZE)
    again = threading.Event()

    def limited(_: Ask) -> None:
        server.behind_gate = lambda _: None
        server.pace.on_wait()  # Calltouch told it to try again in 400 s
        again.wait(30)
        server.pace.on_pass()

    server.behind_gate = limited
    assert server.ahead.take(Ask(window), 0) is None
    server.await_passes(1)
    for _ in range(3):
        clock.advance(ANSWER_SECONDS + 1)
        assert server.ahead.take(Ask(window), 0) is None
    again.set()
    server.take(Ask(window))
    assert server.asked == [Ask(window)]


def test_the_connections_that_the_cdk_keeps_suffice_for_all_requests() -> None:
    assert MOST_REQUESTS + 1 <= MAX_CONNECTION_POOL_SIZE, "the one that is due included"


def test_after_a_close_no_thread_is_left(server: Server) -> None:
    plan = windows(3, 100)
    server.ahead.plan(plan, MANY)
    server.take(Ask(plan[0]))
    server.ahead.close()
    assert not requests_alive()


def test_what_ends_after_a_close_makes_no_request(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookahead, "CLOSE_SECONDS", 0)
    plan = windows(3, 100)
    server.go.clear()
    server.ahead.plan(plan, MANY)
    server.await_passes(1)
    server.ahead.close()
    asked = len(server.asked)
    server.go.set()
    settle()
    assert len(server.asked) == asked


def test_a_close_ends_what_waits_at_the_gate(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pace, "_opens_at", time.monotonic() + 1_000)
    server.ahead.plan(windows(1, SIZE), MANY)
    assert len(requests_alive()) == 1
    server.ahead.close()
    assert not requests_alive()
    assert server.pace.requests == 0


def test_a_request_that_the_network_holds_does_not_hold_a_close(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookahead, "CLOSE_SECONDS", 0)
    server.go.clear()
    server.ahead.plan(windows(1, SIZE), MANY)
    server.await_passes(1)
    server.ahead.close()
    (held,) = requests_alive()
    assert held.daemon, "the process may end"


def test_an_answer_by_numbers_has_no_page_asked_for_again(server: Server) -> None:
    (window,) = windows(1, 25)
    server.ahead.plan([window], MANY)
    for ask in pages_of(window):
        server.take(ask)
    server.take(Ask(window, numbers=("7",)))
    settle()
    assert server.asked == [*pages_of(window), Ask(window, numbers=("7",))]
