"""Calls in flight: answers fetched before they are due, in order of need."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import takewhile
from typing import Final

import requests

from source_calltouch_sms import api
from source_calltouch_sms.windows import Window, cut

PAGES_AHEAD: Final = 12
"""Answers fetched or on their way and not yet taken; each holds 2 to 5 MB, undecoded."""
FIRST_PAGES_AHEAD: Final = 5
"""First pages asked for where no other page is known: enough to fly together, and not in the way
of the pages that they tell of."""
PAGES_KNOWN: Final = 8
"""Pages known and not yet asked for, with which the next window's first page goes before them: it
tells what to ask for after them."""
FAREWELL_SECONDS: Final = 5
THREAD_NAME: Final = "calltouch-call"

Fetch = Callable[[Window, int], requests.Response]


@dataclass(eq=False)
class _Call:
    window: Window
    page: int
    may_be_cut: bool = True
    planned: bool = False
    """Whether what its first page tells has become calls."""
    answer: "Future[requests.Response] | None" = None


class Lookahead:
    """Fetches the pages of windows, several at a time, and hands them out one by one.

    A range of time is asked for its first page; the total in it says whether the range is one
    window, whose other pages are then fetched, or is cut into parts that are asked the same way.
    One new call at a time stands at the budget, and the next is chosen when it is let through, so
    that calls are made in order of need. An error surfaces where its page is due.
    """

    def __init__(self, fetch: Fetch, whole_range: Window, stopping: threading.Event) -> None:
        self.total = 0
        """How many SMS the range holds, once its first page has come."""
        self._fetch = fetch
        self._stopping = stopping
        self._calls = [_Call(whole_range, 1)]
        self._lock = threading.RLock()
        self._came = threading.Event()
        self._threads: list[threading.Thread] = []
        self._at_the_budget: threading.Thread | None = None

    def windows(self) -> Iterator[Window]:
        """Yield the windows of the range, oldest first, as far as it takes to know the next."""
        current: Window | None = None
        while True:
            self._calls = [c for c in self._calls if c.window != current]
            if not self._calls or self._stopping.is_set():
                return
            self._await_first()
            current = self._calls[0].window
            yield current

    def take(self, window: Window, page: int) -> requests.Response:
        """Return the answer for a page; for page 1 again, the window is asked anew.

        Raises:
            Exception: what the call for this page raised.
        """
        if not self._calls or (self._calls[0].window, self._calls[0].page) != (window, page):
            rest = [call for call in self._calls if call.window != window]
            self._calls = [_Call(window, page, may_be_cut=False), *rest]
        answer = self._await_first()
        self._calls = self._calls[1:]
        self._start()
        return answer.result()

    def let_through(self) -> None:
        """Choose the next call; told in the thread of a call that the budget has let through."""
        with self._lock:
            if threading.current_thread() is self._at_the_budget:
                self._at_the_budget = None
                self._start()

    def close(self) -> None:
        """Stop all calls; one that the network holds is left to its timeout after a few seconds."""
        self._stopping.set()
        with self._lock:
            self._calls = []
        deadline = time.monotonic() + FAREWELL_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _await_first(self) -> "Future[requests.Response]":
        while True:
            self._came.clear()
            self._calls = [planned for call in self._calls for planned in self._plan(call)]
            self._start()
            first = self._calls[0]
            if first.answer and first.answer.done() and (first.planned or first.page > 1):
                return first.answer
            self._came.wait()

    def _plan(self, call: _Call) -> list[_Call]:
        """Return what a first page makes of its call: the calls for all pages, or for all parts."""
        if call.page > 1 or call.planned or not call.answer or not call.answer.done():
            return [call]
        call.planned = True
        if call.answer.exception():
            return [call]
        try:
            page = api.read_page(call.answer.result().content)
        except api.Answer:
            return [call]
        self.total = self.total or page.total
        parts = cut(call.window, page.total) if call.may_be_cut else []
        if len(parts) > 1:
            return [_Call(part, 1) for part in parts]
        last = api.page_count(page.total, len(page.rows))
        return [call, *(_Call(call.window, number) for number in range(2, last + 1))]

    def _start(self) -> None:
        with self._lock:
            call = None if self._at_the_budget else self._next()
            if call is None:
                return
            answer: Future[requests.Response] = Future()
            # No executor: it joins its threads when the process ends, so that a server that takes
            # a call and says nothing would hold a Ctrl-C for two minutes.
            thread = threading.Thread(
                target=self._run, args=(call, answer), name=THREAD_NAME, daemon=True
            )
            thread.start()
            call.answer = answer
            self._at_the_budget = thread
            self._threads = [*(t for t in self._threads if t.is_alive()), thread]

    def _next(self) -> _Call | None:
        """Return the call that is needed most; None where all are made, or enough is held."""
        calls = self._calls
        asked = [call for call in calls if call.answer]
        unasked = [call for call in calls if not call.answer]
        if not unasked or unasked[0] is calls[0]:
            return unasked[0] if unasked else None
        if len(asked) >= PAGES_AHEAD:
            return None
        if unasked[0].page == 1:
            firsts_before = sum(call.page == 1 for call in takewhile(lambda c: c.answer, calls))
            return unasked[0] if firsts_before < FIRST_PAGES_AHEAD else None
        firsts = [call for call in asked if call.page == 1]
        if len(firsts) < FIRST_PAGES_AHEAD and all(call.planned for call in firsts):
            soon = unasked[: PAGES_KNOWN + 1]
            return next((call for call in soon if call.page == 1), unasked[0])
        return unasked[0]

    def _run(self, call: _Call, answer: "Future[requests.Response]") -> None:
        try:
            answer.set_result(self._fetch(call.window, call.page))
        except BaseException as error:  # noqa: BLE001 - it is raised where the page is due
            answer.set_exception(error)
        self._came.set()
        self.let_through()  # where it failed before it was
