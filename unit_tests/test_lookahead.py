"""Calls in flight: `source_calltouch_sms.lookahead`."""

import itertools
import json
import queue
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
import requests

from source_calltouch_sms import api, lookahead
from source_calltouch_sms.lookahead import (
    FIRST_PAGES_AHEAD,
    PAGES_AHEAD,
    Fetch,
    Lookahead,
)
from source_calltouch_sms.windows import Window
from unit_tests.account import response

RANGE = Window(datetime(2024, 1, 1), datetime(2024, 1, 1) + timedelta(seconds=999_999))
SIZE = 10_000


class Server:
    """A million SMS, one a second, in pages; calls wait until they are let go."""

    def __init__(self) -> None:
        self.asked: list[tuple[Window, int]] = []
        self.running = 0
        self.go = threading.Event()
        self._lock = threading.Lock()
        self.go.set()

    def fetch(self, window: Window, page: int) -> requests.Response:
        with self._lock:
            self.asked.append((window, page))
            self.running += 1
        self.go.wait(10)
        rows = min(SIZE, window.seconds - (page - 1) * SIZE)
        data = {"totalCountSms": window.seconds, "smsDetails": [{}] * rows}
        with self._lock:
            self.running -= 1
        return response(json.dumps({"data": data}))


def looking_ahead(fetch: Fetch, stopping: threading.Event | None = None) -> Lookahead:
    """Look ahead over `RANGE`, with a budget that lets every call through at once."""

    def pass_the_budget(window: Window, page: int) -> requests.Response:
        ahead.let_through()
        return fetch(window, page)

    ahead = Lookahead(pass_the_budget, RANGE, stopping or threading.Event())
    return ahead


def pages_of(window: Window) -> range:
    return range(1, -(-window.seconds // SIZE) + 1)


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 5
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.005)
    return condition()


def running() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name == lookahead.THREAD_NAME]


def test_a_range_is_asked_then_cut_and_its_pages_come_in_order() -> None:
    server = Server()
    ahead = looking_ahead(server.fetch)
    taken = []
    for window in ahead.windows():
        for page in pages_of(window):
            ahead.take(window, page)
            taken.append((window, page))
    assert ahead.total == 1_000_000
    assert [window for window, _ in taken] == sorted(window for window, _ in taken)
    assert server.asked[0] == (RANGE, 1)
    assert sorted(server.asked[1:]) == sorted(taken), "each page is asked for once"
    assert len(server.asked) == 1 + 10 * 10 + 1


def test_calls_fly_together_and_are_bounded() -> None:
    server = Server()
    ahead = looking_ahead(server.fetch)
    window = next(ahead.windows())
    server.go.clear()
    ahead.take(window, 1)
    assert eventually(lambda: server.running >= 5)
    time.sleep(0.05)
    assert len(running()) <= PAGES_AHEAD
    server.go.set()
    ahead.close()


def test_calls_are_made_in_order_of_need() -> None:
    server, made = Server(), []

    def fetch(window: Window, page: int) -> requests.Response:
        made.append((window, page))
        ahead.let_through()
        return server.fetch(window, page)

    ahead = Lookahead(fetch, RANGE, threading.Event())
    taken = []
    for window in ahead.windows():
        for page in pages_of(window):
            ahead.take(window, page)
            taken.append((window, page))
            assert eventually(lambda: not server.running)
    # Pages in order; first pages too, but early enough that their answers tell what comes next.
    assert [call for call in made[1:] if call[1] > 1] == [c for c in taken if c[1] > 1]
    windows = [window for window, page in taken if page == 1]
    assert [window for window, page in made[1:] if page == 1] == windows
    for earlier, later in itertools.pairwise(windows):
        last = (earlier, pages_of(earlier)[-1])
        calls_between = made.index(last) - made.index((later, 1))
        assert calls_between >= api.CALLS_PER_SECOND, "a call may take a second"


def test_first_pages_of_later_windows_leave_room_for_the_pages_due_before_them() -> None:
    server = Server()
    ahead = looking_ahead(server.fetch)
    window = next(ahead.windows())
    assert eventually(lambda: not server.running)
    assert len(server.asked) <= 1 + 1 + FIRST_PAGES_AHEAD
    ahead.take(window, 1)
    assert eventually(lambda: len(server.asked) >= PAGES_AHEAD)
    assert (window, PAGES_AHEAD - FIRST_PAGES_AHEAD) in server.asked
    ahead.close()


def test_the_next_call_is_chosen_when_the_one_before_it_was_let_through() -> None:
    at_the_budget: queue.Queue[int] = queue.Queue()
    gate = threading.Semaphore(0)

    def fetch(window: Window, page: int) -> requests.Response:
        at_the_budget.put(page)
        gate.acquire(timeout=10)
        ahead.let_through()
        return Server().fetch(window, page)

    ahead = Lookahead(fetch, RANGE, threading.Event())
    reader = threading.Thread(target=lambda: ahead.take(next(ahead.windows()), 1), daemon=True)
    reader.start()
    for _ in range(5):
        at_the_budget.get(timeout=5)
        time.sleep(0.01)
        assert at_the_budget.empty(), "one call at a time"
        gate.release()
    gate.release(100)
    ahead.close()


def test_a_call_that_fails_before_it_is_let_through_does_not_hold_the_others() -> None:
    server = Server()

    def fetch(window: Window, page: int) -> requests.Response:
        if page == 3:
            raise ZeroDivisionError
        ahead.let_through()
        return server.fetch(window, page)

    ahead = Lookahead(fetch, RANGE, threading.Event())
    window = next(ahead.windows())
    ahead.take(window, 1)
    assert eventually(lambda: (window, 4) in server.asked)
    ahead.close()


def test_a_call_that_hangs_does_not_hold_up_pages_due_before_its_own() -> None:
    server, hanging = Server(), threading.Event()

    def fetch(window: Window, page: int) -> requests.Response:
        if page == 1 and window.start > RANGE.start:
            hanging.wait(10)
        return server.fetch(window, page)

    ahead = looking_ahead(fetch)
    begun = time.monotonic()
    window = next(ahead.windows())
    for page in pages_of(window):
        ahead.take(window, page)
    assert time.monotonic() - begun < 5
    hanging.set()
    ahead.close()


def test_what_is_not_taken_is_not_fetched_without_bound() -> None:
    server = Server()
    ahead = looking_ahead(server.fetch)
    window = next(ahead.windows())
    ahead.take(window, 1)
    ahead.take(window, 2)
    assert eventually(lambda: not server.running)
    assert len(server.asked) <= 3 + PAGES_AHEAD
    ahead.close()


def test_an_error_ahead_surfaces_where_its_page_is_due() -> None:
    server = Server()

    def fetch(window: Window, page: int) -> requests.Response:
        if page == 3:
            raise ZeroDivisionError
        return server.fetch(window, page)

    ahead = looking_ahead(fetch)
    window = next(ahead.windows())
    ahead.take(window, 1)
    ahead.take(window, 2)
    with pytest.raises(ZeroDivisionError):
        ahead.take(window, 3)
    ahead.close()


def test_an_error_at_the_first_page_surfaces_when_it_is_taken() -> None:
    def fetch(*_: object) -> requests.Response:
        raise ZeroDivisionError

    ahead = looking_ahead(fetch)
    with pytest.raises(ZeroDivisionError):
        ahead.take(next(ahead.windows()), 1)


def test_asking_for_a_first_page_again_reads_the_window_anew() -> None:
    server = Server()
    ahead = looking_ahead(server.fetch)
    windows = ahead.windows()
    window = next(windows)
    for page in (1, 2, 1, 2, 3):
        ahead.take(window, page)
    assert server.asked.count((window, 1)) == 2
    assert next(windows) > window
    ahead.close()


def test_no_thread_outlives_a_close() -> None:
    server = Server()
    ahead = looking_ahead(server.fetch)
    ahead.take(next(ahead.windows()), 1)
    ahead.close()
    assert not running()


def test_a_call_that_the_network_holds_does_not_hold_a_close(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lookahead, "FAREWELL_SECONDS", 0.1)
    server, stopping = Server(), threading.Event()
    ahead = looking_ahead(server.fetch, stopping)
    windows = ahead.windows()
    window = next(windows)
    ahead.take(window, 1)
    server.go.clear()
    ahead.take(window, 2)
    assert eventually(lambda: server.running > 0)
    begun = time.monotonic()
    ahead.close()
    assert time.monotonic() - begun < 2
    assert stopping.is_set()
    assert all(thread.daemon for thread in running()), "the process may end"
    server.go.set()
    assert eventually(lambda: not running())
