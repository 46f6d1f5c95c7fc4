"""Requests under way: answers are fetched before they are due, within a limit of bytes.

Threads: the reader (the CDK's main thread) says which windows are to be read, takes the answers one
by one and decodes them. Each request is a thread of its own, from the gate of `pace.py` through the
CDK's tries to its answer or error. One new request at a time waits at the gate, and the next is
chosen when it has passed, so that requests are made in order of need. `_changed` guards all state.
"""

import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Final, NamedTuple

import requests
from airbyte_cdk.sources.http_config import MAX_CONNECTION_POOL_SIZE

from source_calltouch_sms import api
from source_calltouch_sms.errors import transient_error
from source_calltouch_sms.pace import Pace
from source_calltouch_sms.windows import Window, cut

SPARE: Final = 3
"""Requests beyond those that the latency needs, so that the reader rarely waits."""
MOST_REQUESTS: Final = MAX_CONNECTION_POOL_SIZE - 1
"""Under way, however slow the answers are; the one that is due may come on top of them."""
MOST_BYTES: Final = 250_000_000
"""Of all answers at once, by the largest seen: held, on their way, and being decoded."""
DECODING: Final = 2
"""How much memory decoding takes in addition, in answers."""
ANSWER_SECONDS: Final = 300
"""From when a request is sent, for its whole answer: one sent byte by byte never times out."""
CLOSE_SECONDS: Final = 5
"""For how long a close waits for the requests under way."""
NEWS: Final = 0.2
"""The weight of the newest answer in the mean latency."""


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

    def __init__(self, ask: Ask, fetch: Callable[["_Request"], None]) -> None:
        name = f"calltouch {ask.window} page {ask.page}"
        super().__init__(target=fetch, args=(self,), name=name, daemon=True)
        self.ask = ask
        self.sent_at = math.inf
        """When its last try passed the gate; infinity as long as one waits there."""
        self.ended_at = math.inf
        self.response: requests.Response | None = None
        self.error: BaseException | None = None


class Lookahead:
    """Fetches the pages of windows, several at a time, and hands them out one by one."""

    def __init__(self, fetch: Fetch, pace: Pace) -> None:
        self.served = 0
        """How many answers came, each of which has cost points."""
        self._fetch = fetch
        self._pace = pace
        pace.on_wait = lambda: self._note(math.inf)
        pace.on_pass = lambda: self._note(time.monotonic())
        self._changed = threading.Condition()
        self._windows: list[Window] = []
        self._most = 0
        self._due: Ask | None = None
        self._due_since = 0.0
        self._requests: dict[Ask, _Request] = {}
        """Those made for answers not yet taken."""
        self._known: dict[Window, tuple[int, range]] = {}
        """Of a window whose first page has come: how many SMS it holds, 0 if that page has all of
        them, and its pages that are not taken yet."""
        self._largest_bytes = 1
        self._seconds = 0.0

    def plan(self, windows: Iterable[Window], most: int) -> None:
        """Say which windows to read, in order; one of more than `most` SMS will be cut."""
        with self._changed:
            self._windows, self._most = list(windows), most
            asks = set(self._asks(self._windows))
            self._requests = {a: request for a, request in self._requests.items() if a in asks}
            kept = {*self._windows, *(ask.window for ask in asks)}
            self._known = {w: known for w, known in self._known.items() if w in kept}
            self._start()

    def take(self, ask: Ask, seconds: float) -> requests.Response | None:
        """Return an answer, once; taking it again requests it again. None: it is not there yet.

        Raises:
            Exception: why there is no answer.
        """
        with self._changed:
            if ask != self._due:
                self._due, self._due_since = ask, time.monotonic()
            self._start()
            self._changed.wait_for(lambda: self._is_there(ask), seconds)
            if not self._is_there(ask):
                return None
            request = self._requests.pop(ask)
            began = min(request.sent_at, request.ended_at)
            if request.response is None and began < self._due_since:
                return None  # nobody waited for it when it was sent, and it may succeed now
            self._due = None
            if request.error:
                raise request.error
            if request.response is None:
                raise transient_error(
                    f"Calltouch did not send a whole answer within {ANSWER_SECONDS} s. "
                    "Try again later."
                )
            if not ask.numbers and ask.window in self._known:
                total, pages = self._known[ask.window]
                self._known[ask.window] = total, range(ask.page + 1, pages.stop)
            self._start()
            return request.response

    def close(self) -> None:
        """Stop; after a few seconds, requests still under way are left to their timeouts."""
        self._pace.leave()
        with self._changed:
            self._windows, self._due = [], None
            running = list(self._requests.values())
        deadline = time.monotonic() + CLOSE_SECONDS
        for request in running:
            request.join(max(0.0, deadline - time.monotonic()))

    def _run(self, request: _Request) -> None:
        """Make a request, in its own thread."""
        try:
            request.response = self._fetch(request.ask)
        except BaseException as error:  # noqa: BLE001 - it is raised where the answer is due
            request.error = error
        with self._changed:
            request.ended_at = time.monotonic()
            if request.response is not None:  # a response with 400 or above is false
                self._learn(request, request.response)
            self._start()
            self._changed.notify_all()

    def _note(self, sent_at: float) -> None:
        """Note that this thread's request waits at the gate or has passed; choose the next."""
        request = threading.current_thread()
        if isinstance(request, _Request):
            with self._changed:
                request.sent_at = sent_at
                self._start()

    def _learn(self, request: _Request, response: requests.Response) -> None:
        self.served += 1
        ask, latency = request.ask, request.ended_at - request.sent_at
        self._largest_bytes = max(self._largest_bytes, len(response.content))
        # Up at once and down slowly: answers wait for the slowest one, which is due before them.
        self._seconds = max(latency, self._seconds + NEWS * (latency - self._seconds))
        # One given up may end after the pages were taken that its successor told of.
        if ask.page == 1 and not ask.numbers and self._requests.get(ask) is request:
            total, rows = api.seen_counts(response.content)
            pages = max(math.ceil(total / max(rows, 1)), 1)
            self._known[ask.window] = total if pages > 1 else 0, range(1, 1 + pages)

    def _is_there(self, ask: Ask) -> bool:
        """Tell whether a request for it has ended, or has taken too long and is left to itself."""
        request = self._requests.get(ask)
        return request is not None and (
            request.ended_at < math.inf or time.monotonic() - request.sent_at > ANSWER_SECONDS
        )

    def _start(self) -> None:
        """Make the request that is needed most, if any is and none waits at the gate."""
        under_way = [r.sent_at for r in self._requests.values() if r.ended_at == math.inf]
        if math.inf in under_way:
            return
        ask = self._next(under_way)
        if ask:
            request = _Request(ask, self._run)
            request.start()
            self._requests[ask] = request

    def _next(self, under_way: list[float]) -> Ask | None:
        if self._due and self._due not in self._requests:
            return self._due
        longest = time.monotonic() - min(under_way, default=math.inf)
        needed = SPARE + math.ceil(self._pace.rate * max(self._seconds, longest))
        needed = min(needed, MOST_REQUESTS)
        room = MOST_BYTES / self._largest_bytes - DECODING
        if len(under_way) >= needed or len(self._requests) + 1 > room:
            return None
        # As many again may have come, and wait for one that is late.
        places = int(min(2 * needed, room))
        asks = islice(self._asks(self._windows), places)
        new = (ask for ask in asks if ask not in self._requests)
        # First pages tell what else there is to ask for. They may fill half of the places, so that
        # the pages they tell of, which are due before the next window, find room.
        if (
            self._most > api.PAGE_SIZE
            and sum(ask.page == 1 for ask in self._requests) >= places / 2
        ):
            new = (ask for ask in new if ask.page > 1)
        return next(new, None)

    def _asks(self, windows: Iterable[Window]) -> Iterator[Ask]:
        """Yield what is to be asked for about windows, in order, as far as it is known."""
        for window in windows:
            total, pages = self._known.get(window, (0, range(1, 2)))
            too_many = total > self._most and window.seconds > 1
            if too_many:
                pages = range(pages.start, 2)  # the first one, if it is not taken
            yield from (Ask(window, page) for page in pages)
            if too_many:  # the reader will cut it into the same parts
                yield from self._asks(cut(window, total, self._most))
