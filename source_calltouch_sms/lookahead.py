"""Requests in flight: answers fetched before they are due, in order of need, bounded in bytes.

Threads: the reader (the CDK's main thread) says which windows are to be read, takes the answers one
by one and decodes them. Each request is a thread of its own, from the gate of `pace.py` through the
CDK's tries to its answer or error. One new request at a time stands at the gate, and the next is
chosen when it has passed, so that requests are made in order of need. `_changed` guards all state.
"""

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

import requests

from source_calltouch_sms import api
from source_calltouch_sms.errors import transient_error
from source_calltouch_sms.pace import Pace
from source_calltouch_sms.windows import WINDOW_SMS, Window

SPARE: Final = 3
"""Answers asked for beyond those that the latency needs, so that the reader never waits for one."""
MOST_REQUESTS: Final = 40
"""However slow the answers are."""
MOST_BYTES: Final = 250_000_000
"""Of all answers at once, by the mean size seen: held, on their way, and being decoded."""
DECODING: Final = 2
"""The memory that decoding takes beside the answers held, in answers."""
ANSWER_SECONDS: Final = 300
"""From when a request is made, for its whole answer: a server that drips never times out."""
FAREWELL_SECONDS: Final = 5
NEWS: Final = 0.2
"""The weight of the newest answer in means of size, latency and pages."""


class Ask(NamedTuple):
    """What one request asks for: a page of a window, of certain phone numbers if some are named."""

    window: Window
    page: int = 1
    numbers: tuple[str, ...] = ()


Fetch = Callable[[Ask], requests.Response]


class _Request(threading.Thread):
    """One request. No executor: it joins its threads when the process ends, so that a server that
    takes a request and says nothing would hold a Ctrl-C for two minutes.
    """  # noqa: D205

    def __init__(self, ask: Ask, ahead: "Lookahead") -> None:
        super().__init__(name=f"calltouch {ask.window} page {ask.page}", daemon=True)
        self.ask = ask
        self.made_at = self.ended_at = math.inf
        self.response: requests.Response | None = None
        self.error: BaseException | None = None
        self._ahead = ahead

    def run(self) -> None:
        self._ahead.fetch(self)

    @property
    def has_ended(self) -> bool:
        return self.ended_at < math.inf


class Lookahead:
    """Fetches the pages of windows, several at a time, and hands them out one by one."""

    def __init__(self, fetch: Fetch, pace: Pace) -> None:
        self.served = 0
        """How many answers came, each of which has cost points."""
        self._fetch = fetch
        self._pace = pace
        pace.on_pass = self._passed
        self._changed = threading.Condition()
        self._windows: list[Window] = []
        self._most = 0
        self._due: Ask | None = None
        self._taken: Ask | None = None
        self._due_since = 0.0
        self._too_slow: set[Ask] = set()
        self._requests: dict[Ask, _Request] = {}
        """Those made for answers not yet taken."""
        self._pages: dict[Window, int] = {}
        self._at_gate: _Request | None = None
        self._mean_bytes = self._seconds = 0.0
        self._mean_pages = WINDOW_SMS / api.PAGE_SIZE
        self._left = False

    def plan(self, windows: Sequence[Window], most: int) -> None:
        """Say what is to be read, first things first; a window of over `most` SMS is not paged."""
        with self._changed:
            self._windows, self._most = list(windows), most
            kept = set(windows)
            self._requests = {a: r for a, r in self._requests.items() if a.window in kept}
            self._pages = {w: n if most else 1 for w, n in self._pages.items() if w in kept}
            self._mean_pages = self._mean_pages if most else 1.0
            self._start()

    def take(self, ask: Ask, seconds: float) -> requests.Response | None:
        """Return an answer, once: who takes it again has it asked for anew. None: not yet there.

        Raises:
            Exception: why there is none.
        """
        with self._changed:
            if ask != self._due:
                self._due, self._due_since = ask, time.monotonic()
            self._start()
            self._changed.wait_for(lambda: self._is_there(ask), seconds)
            if not self._is_there(ask):
                self._give_up_if_slow(ask)
                return None
            request = self._requests.pop(ask)
            if request.error:
                if request.ended_at < self._due_since:
                    return None  # it failed while nobody waited for it, and may succeed now
                raise request.error
            self._due = None
            self._too_slow.discard(ask)
            if not ask.numbers:
                self._taken = ask
            # What failed before this answer came may succeed after it.
            self._requests = {a: r for a, r in self._requests.items() if not r.error}
            self._start()
            return request.response

    def close(self) -> None:
        """Stop; a request that the network holds is left to its timeout after a few seconds."""
        self._pace.leave()
        with self._changed:
            self._left = True
            self._windows, running = [], list(self._requests.values())
        deadline = time.monotonic() + FAREWELL_SECONDS
        for request in running:
            request.join(max(0.0, deadline - time.monotonic()))

    def fetch(self, request: _Request) -> None:
        """Make a request, in its own thread."""
        try:
            request.response = self._fetch(request.ask)
        except BaseException as error:  # noqa: BLE001 - it is raised where the answer is due
            request.error = error
        with self._changed:
            request.ended_at = time.monotonic()
            if request.response is not None:  # one under 400 and above is false
                self._learn(request, request.response)
            if request is self._at_gate:  # it failed before it had passed
                self._at_gate = None
            self._start()
            self._changed.notify_all()

    def _passed(self) -> None:
        """Choose the next request; told in the thread of one that has passed the gate."""
        request = threading.current_thread()
        if isinstance(request, _Request):
            with self._changed:
                request.made_at = time.monotonic()
                if request is self._at_gate:
                    self._at_gate = None
                    self._start()

    def _learn(self, request: _Request, response: requests.Response) -> None:
        self.served += 1
        ask, size = request.ask, len(response.content)
        self._mean_bytes += NEWS * (size - self._mean_bytes) if self._mean_bytes else size
        latency = request.ended_at - request.made_at
        # Up at once and down slowly: answers wait for the slowest one, which is due before them.
        self._seconds = max(latency, self._seconds + NEWS * (latency - self._seconds))
        if ask.page == 1 and not ask.numbers:
            pages = self._pages[ask.window] = api.seen_pages(response.content, self._most)
            if pages:
                self._mean_pages += NEWS * (pages - self._mean_pages)

    def _is_there(self, ask: Ask) -> bool:
        return ask in self._requests and self._requests[ask].has_ended

    def _give_up_if_slow(self, ask: Ask) -> None:
        """Leave a request to itself whose answer takes too long, and have it made once more."""
        request = self._requests.get(ask)
        if request and time.monotonic() - request.made_at > ANSWER_SECONDS:
            del self._requests[ask]
            if ask in self._too_slow:
                raise transient_error(
                    "Calltouch did not send a whole answer within "
                    f"{ANSWER_SECONDS} s, twice in a row. Try again later."
                )
            self._too_slow.add(ask)

    def _start(self) -> None:
        """Make the request that is needed most, if one is and none stands at the gate."""
        if self._left or self._at_gate:
            return
        ask = self._next()
        if ask:
            request = self._requests[ask] = self._at_gate = _Request(ask, self)
            request.start()

    def _next(self) -> Ask | None:
        if self._due and self._due not in self._requests:
            return self._due
        flying = [r.made_at for r in self._requests.values() if not r.has_ended]
        longest = time.monotonic() - min(flying, default=math.inf)
        needed = SPARE + math.ceil(self._pace.rate * max(self._seconds, longest))
        needed = min(needed, MOST_REQUESTS)
        held = len(self._requests)
        if held >= needed or (held + 1 + DECODING) * self._mean_bytes > MOST_BYTES:
            return None
        pages = self._unasked_pages()
        known = [ask for _, ask in zip(range(needed), pages, strict=False)]
        first = next((Ask(w) for w in self._windows if not self._is_known(w)), None)
        # First pages go early, for they tell what to ask for; each promises as many as others had.
        promised = sum(w not in self._pages and Ask(w) in self._requests for w in self._windows)
        if first and len(known) + promised * self._mean_pages < needed:
            return first
        return known[0] if known else None

    def _is_known(self, window: Window) -> bool:
        return window in self._pages or Ask(window) in self._requests

    def _unasked_pages(self) -> Iterator[Ask]:
        for window in self._windows:
            taken = self._taken.page if self._taken and self._taken.window == window else 1
            for page in range(taken + 1, self._pages.get(window, 1) + 1):
                if Ask(window, page) not in self._requests:
                    yield Ask(window, page)
