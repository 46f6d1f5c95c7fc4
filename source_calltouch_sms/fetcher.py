"""Page requests under way, a thread each, and their answers, received within limits.

What is requested, and when, `prefetcher.py` decides.
"""

import threading
import time
import zlib
from collections.abc import Callable
from concurrent.futures import Future, wait
from functools import partial
from io import BytesIO
from typing import Any, Final

import requests
from airbyte_cdk.sources.http_config import MAX_CONNECTION_POOL_SIZE
from requests.adapters import HTTPAdapter
from requests.exceptions import ChunkedEncodingError, InvalidURL, ReadTimeout
from urllib3.exceptions import HTTPError, LocationValueError

from source_calltouch_sms.errors import AnswerTooLargeError, CancelledError
from source_calltouch_sms.rate_limiter import RETRY_SECONDS, Attempt, RateLimiter
from source_calltouch_sms.windows import PageRequest

MAX_ANSWER_BYTES: Final = 200_000_000
"""Of one answer, decoded."""
MAX_ERROR_BYTES: Final = 1_000_000
"""Of one under a status of 400 or above."""
MAX_BYTES: Final = 200_000_000
"""Of all answers that are held or on their way. The one that is due is received in any case."""
CHUNK_BYTES: Final = 65_536
"""Read at once: compressed, it may unpack to a thousand times as much."""
CLOSE_SECONDS: Final = 3


class Transport(HTTPAdapter):
    """Receives answers: none too large or too slow, and all together within `max_bytes`.

    An http address is on this machine (`spec.json` sees to it), so no proxy is used for it.
    """

    def __init__(self, answer_seconds: float, max_bytes: int = MAX_BYTES) -> None:
        super().__init__(pool_maxsize=MAX_CONNECTION_POOL_SIZE)
        self._max_bytes = max_bytes
        self._answer_seconds = answer_seconds
        self._bytes = 0
        self._room = threading.Condition()

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> Any:
        """Send a request and receive its whole answer.

        Raises:
            requests.RequestException: there is none, or it is too large or too slow.
            CancelledError: it is no longer wanted.
        """
        if str(request.url).startswith("http:"):
            kwargs["proxies"] = None
        response: requests.Response | None = None
        try:
            response = super().send(request, *args, **kwargs)
            with response:
                body = self._receive(response)
        except requests.RequestException as error:
            # `requests` leaves them out where the body fails.
            error.request, error.response = request, response
            raise
        except LocationValueError as error:
            raise InvalidURL(error, request=request) from error
        # A negative chunk size, and the like.
        except (HTTPError, ValueError, TypeError, zlib.error) as error:
            raise ChunkedEncodingError(error, request=request, response=response) from error
        response.raw = _Body(body)
        return response

    def _receive(self, response: requests.Response) -> bytes:
        attempt = Attempt.current()
        self.release(attempt)  # what came of an earlier try
        limit = MAX_ANSWER_BYTES if response.ok else MAX_ERROR_BYTES
        deadline = time.monotonic() + self._answer_seconds
        # `iter_content` would wait for a whole chunk, however slowly its bytes come.
        chunks = iter(partial(response.raw.read1, CHUNK_BYTES, decode_content=True), b"")
        with BytesIO() as body:  # an error's traceback would keep its bytes
            for chunk in chunks:
                if body.tell() + len(chunk) > limit:
                    raise AnswerTooLargeError(limit)
                deadline += self._wait_for_room(attempt, len(chunk))
                if time.monotonic() > deadline:
                    raise ReadTimeout
                body.write(chunk)
            return body.getvalue()

    def _wait_for_room(self, attempt: Attempt, size: int) -> float:
        """Take room for so many bytes; return for how many seconds there was none."""
        since, full = time.monotonic(), self._max_bytes - size
        with self._room:
            while self._bytes > full and not (attempt.is_due or attempt.is_cancelled):
                self._room.wait()
            if attempt.is_cancelled:
                raise CancelledError
            self._bytes += size
            attempt.bytes += size
        return time.monotonic() - since

    def release(self, attempt: Attempt) -> None:
        """Give back the room that an answer has taken."""
        with self._room:
            self._bytes -= attempt.bytes
            attempt.bytes = 0
            self._room.notify_all()


class _Body(BytesIO):
    """A whole body, in the form that `requests` reads without copying it."""

    def stream(self, *_: Any, **__: Any) -> Any:
        yield self.getvalue()


class Fetch(Future[requests.Response]):
    """One page request under way."""

    def __init__(self, request: PageRequest, *, is_due: bool = False) -> None:
        super().__init__()
        self.request = request
        self.attempt = Attempt(is_due=is_due)


class Fetcher:
    """Makes page requests side by side, each through `fetch`, with the CDK's tries and waits."""

    def __init__(
        self,
        fetch: Callable[[PageRequest], requests.Response],
        transport: Transport,
        rate_limiter: RateLimiter,
        max_seconds: float = 2 * RETRY_SECONDS,
    ) -> None:
        self.max_seconds = max_seconds
        """For how long a try may take: the timeouts do not hold for endless headers."""
        self.rate_limiter = rate_limiter
        self._fetch = fetch
        self._transport = transport

    def start(self, request: PageRequest, *, is_due: bool = False) -> Fetch:
        """Make a request in a thread of its own.

        No executor: it would join its threads when the process ends, so a server that takes a
        request and says nothing would hold up a Ctrl-C for two minutes.
        """
        fetch = Fetch(request, is_due=is_due)
        name = f"calltouch {request.window} page {request.page}"
        threading.Thread(target=self._run, args=(fetch,), name=name, daemon=True).start()
        return fetch

    def expedite(self, fetch: Fetch) -> None:
        """Let a request go first, and receive its answer even if there is no room for it."""
        if not fetch.attempt.is_due:
            fetch.attempt.is_due = True
            self.rate_limiter.wake()
            self._transport.release(Attempt())  # wakes it

    def release(self, fetch: Fetch) -> None:
        """Let go of an answer, and of a request that is still under way."""
        fetch.attempt.is_cancelled = True
        self.rate_limiter.wake()
        self._transport.release(fetch.attempt)

    def close(self, fetches: list[Fetch]) -> None:
        """Let go of requests; those under way may take a few seconds to notice."""
        for fetch in fetches:
            self.release(fetch)
        wait(fetches, CLOSE_SECONDS)

    def _run(self, fetch: Fetch) -> None:
        fetch.attempt.begin()
        try:
            fetch.set_result(self._fetch(fetch.request))
        except BaseException as error:  # noqa: BLE001 - it is raised where the answer is due
            self._transport.release(fetch.attempt)
            fetch.set_exception(error)
