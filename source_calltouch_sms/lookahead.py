"""Calls in flight: answers fetched before they are due, in order of need."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from typing import Final

import requests

from source_calltouch_sms import api
from source_calltouch_sms.windows import Window, cut

PAGES_AHEAD: Final = 8
"""Answers fetched or on their way and not yet taken; each holds 2 to 5 MB, undecoded."""
FIRST_PAGES_RUNNING: Final = 3
"""Calls on their way up to which a later window is asked for its first page: it can wait longer."""
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
    An error surfaces where its page is due.
    """

    def __init__(self, fetch: Fetch, whole_range: Window, stopping: threading.Event) -> None:
        self.total = 0
        """How many SMS the range holds, once its first page has come."""
        self._fetch = fetch
        self._stopping = stopping
        self._calls = [_Call(whole_range, 1)]
        self._running: dict[Future[requests.Response], threading.Thread] = {}

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
        self._calls.pop(0)
        self._start()
        return answer.result()

    def close(self) -> None:
        """Stop all calls; one that the network holds is left to its timeout after a few seconds."""
        self._stopping.set()
        self._calls = []
        deadline = time.monotonic() + FAREWELL_SECONDS
        for thread in self._running.values():
            thread.join(max(0.0, deadline - time.monotonic()))

    def _await_first(self) -> "Future[requests.Response]":
        while True:
            self._calls = [planned for call in self._calls for planned in self._plan(call)]
            self._start()
            first = self._calls[0]
            if first.answer and first.answer.done() and (first.planned or first.page > 1):
                return first.answer
            wait(self._running, return_when=FIRST_COMPLETED)

    def _plan(self, call: _Call) -> list[_Call]:
        """Return what a first page makes of its call: the calls for all pages, or for all parts."""
        if call.page > 1 or call.planned or not call.answer or not call.answer.done():
            return [call]
        call.planned = True
        if call.answer.exception():
            return [call]
        page = api.read_page(call.answer.result().content)
        self.total = self.total or page.total
        parts = cut(call.window, page.total) if call.may_be_cut else []
        if len(parts) > 1:
            return [_Call(part, 1) for part in parts]
        last = api.page_count(page.total, len(page.rows))
        return [call, *(_Call(call.window, number) for number in range(2, last + 1))]

    def _start(self) -> None:
        self._running = {a: thread for a, thread in self._running.items() if not a.done()}
        ahead = sum(call.answer is not None for call in self._calls)
        for call in self._calls:
            if call.answer:
                continue
            can_wait = call.page == 1 and len(self._running) >= FIRST_PAGES_RUNNING
            if call is not self._calls[0] and (ahead >= PAGES_AHEAD or can_wait):
                return
            ahead += 1
            answer: Future[requests.Response] = Future()
            call.answer = answer
            # No executor: it joins its threads when the process ends, so that a server that takes
            # a call and says nothing would hold a Ctrl-C for two minutes.
            thread = threading.Thread(
                target=self._run, args=(call, answer), name=THREAD_NAME, daemon=True
            )
            self._running[answer] = thread
            thread.start()

    def _run(self, call: _Call, answer: "Future[requests.Response]") -> None:
        try:
            answer.set_result(self._fetch(call.window, call.page))
        except BaseException as error:  # noqa: BLE001 - it is raised where the page is due
            answer.set_exception(error)
