"""Requests under way and the bounds of answers: `source_calltouch_sms.fetcher`, without network."""

import gzip
import threading
import time
import traceback
import zlib
from collections.abc import Callable
from concurrent.futures import wait
from io import BytesIO
from typing import Any

import pytest
import requests
from requests import exceptions
from requests.adapters import HTTPAdapter
from urllib3 import HTTPResponse
from urllib3.exceptions import LocationValueError, ProtocolError

from source_calltouch_sms import api
from source_calltouch_sms.errors import AnswerTooLargeError, CancelledError
from source_calltouch_sms.fetcher import (
    CLOSE_SECONDS,
    MAX_ANSWER_BYTES,
    MAX_ERROR_BYTES,
    Fetcher,
    Transport,
)
from source_calltouch_sms.rate_limiter import Attempt, RateLimiter
from source_calltouch_sms.windows import PageRequest, Window
from unit_tests.account import START, response

REQUEST = PageRequest(Window(START, START), 2)
SECONDS = 30
"""For longer nothing here takes."""


class Wire(HTTPAdapter):
    """Sends nothing, and answers with what is set."""

    status = 200
    body: Any = b"{}"
    headers: dict[str, str] = {}  # noqa: RUF012 - a test sets its own

    def send(self, request: requests.PreparedRequest, *_: Any, **options: Any) -> Any:
        self.options = options
        body = BytesIO(self.body) if isinstance(self.body, bytes) else self.body
        raw = HTTPResponse(body, self.headers, self.status, preload_content=False)
        return self.build_response(request, raw)


class Offline(Transport, Wire):
    """The transport over such a wire."""


def receive(transport: Transport, url: str = api.URL) -> requests.Response:
    with requests.Session() as session:
        session.mount("https://", transport)
        session.mount("http://", transport)
        return session.post(url)


@pytest.fixture(autouse=True)
def attempt() -> Attempt:
    attempt = Attempt()
    attempt.begin()
    return attempt


@pytest.fixture
def limiter() -> RateLimiter:
    return RateLimiter(1e6)


@pytest.fixture
def transport() -> Offline:
    return Offline(300)


class Body:
    """A body of so many bytes, which come in chunks: `read` waits for all that it is asked for."""

    def __init__(
        self, size: int, chunk: int = 2**16, before_chunk: Callable[[], object] = lambda: None
    ) -> None:
        self.size, self.left, self.chunk, self.before_chunk = size, size, chunk, before_chunk
        self.closed = False

    def read1(self, size: int = -1, **_: Any) -> bytes:
        self.before_chunk()
        came = min(self.left, self.chunk, size if size >= 0 else self.left)
        self.left -= came
        return b" " * came

    def read(self, size: int = -1, **_: Any) -> bytes:
        end = max(0, self.left - size) if size >= 0 else 0
        return b"".join(iter(lambda: self.read1(self.left - end), b""))

    def close(self) -> None:
        self.closed = True


# One answer.


def test_an_answer_is_received_in_full(transport: Offline) -> None:
    transport.status, transport.headers = 503, {"Retry-After": "7"}
    transport.body = "Авария".encode()
    answer = receive(transport)
    assert (answer.status_code, answer.text, answer.url) == (503, "Авария", api.URL)
    assert answer.headers["Retry-After"] == "7"


def test_a_page_may_be_larger_than_a_failure_and_is_decoded(transport: Offline) -> None:
    transport.headers = {"Content-Encoding": "gzip"}
    transport.body = gzip.compress(bytes(2 * MAX_ERROR_BYTES))
    assert receive(transport).content == bytes(2 * MAX_ERROR_BYTES)


@pytest.mark.parametrize(("status", "limit"), [(200, MAX_ANSWER_BYTES), (400, MAX_ERROR_BYTES)])
def test_an_endless_answer_is_given_up(
    attempt: Attempt, transport: Offline, status: int, limit: int
) -> None:
    attempt.is_due = True
    transport.status, transport.body = status, Body(10**12)
    with pytest.raises(AnswerTooLargeError) as raised:
        receive(transport)
    assert raised.value.args == (limit,)
    assert raised.value.request
    assert transport.body.size - transport.body.left < limit + 2**20
    assert transport.body.closed
    frames = [frame for frame, _ in traceback.walk_tb(raised.value.__traceback__)]
    bodies = [value for f in frames for value in f.f_locals.values() if isinstance(value, BytesIO)]
    assert bodies
    assert all(body.closed for body in bodies), "an error that waits holds no bytes"


def test_an_answer_that_drips_is_given_up() -> None:
    transport = Offline(answer_seconds=0.05)
    transport.body = Body(100, 1, lambda: threading.Event().wait(0.03))
    with pytest.raises(exceptions.ReadTimeout):
        receive(transport)
    assert transport.body.left
    assert transport.body.closed


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (LocationValueError("no host"), exceptions.InvalidURL),
        (ValueError("a negative chunk"), exceptions.ChunkedEncodingError),
        (ProtocolError("cut off"), exceptions.ChunkedEncodingError),
        (zlib.error("bytes after the end"), exceptions.ChunkedEncodingError),
    ],
)
def test_whatever_fails_is_an_error_of_requests_that_knows_its_request(
    transport: Offline, failure: Exception, error: type[requests.RequestException]
) -> None:
    def fail() -> None:
        raise failure

    transport.body = Body(10, 10, fail)
    with pytest.raises(error) as raised:
        receive(transport)
    assert raised.value.request
    assert raised.value.request.url == api.URL


def test_an_address_of_this_machine_is_asked_without_a_proxy(
    transport: Offline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example")
    receive(transport, "http://127.0.0.1:8080/")
    assert not transport.options["proxies"]
    receive(transport)
    assert transport.options["proxies"]["https"] == "http://proxy.example"


# All answers together.


@pytest.mark.parametrize("event", ["room", "due", "unwanted"])
def test_an_answer_waits_until_there_is_room_or_it_is_due_or_unwanted(
    attempt: Attempt, limiter: RateLimiter, event: str
) -> None:
    transport = Offline(answer_seconds=1, max_bytes=150)
    transport.body = b" " * 100
    for _ in range(5):  # another try takes the room of the one before
        receive(transport)
    assert attempt.bytes == 100
    fetcher = Fetcher(lambda _: receive(transport), transport, limiter)
    fetch = fetcher.start(REQUEST)
    # Such a wait is none for the answer, which may take a second.
    assert wait([fetch], 1.1).not_done
    if event == "room":
        transport.release(attempt)
        assert attempt.bytes == 0
    elif event == "due":
        fetcher.expedite(fetch)
    else:
        fetcher.release(fetch)
    error = CancelledError if event == "unwanted" else type(None)
    assert isinstance(fetch.exception(SECONDS), error)
    assert fetch.attempt.bytes == (0 if event == "unwanted" else 100)


def test_an_answer_that_fails_takes_no_room(transport: Offline, limiter: RateLimiter) -> None:
    def fail(_: PageRequest) -> requests.Response:
        receive(transport)
        raise ZeroDivisionError

    fetch = Fetcher(fail, transport, limiter).start(REQUEST)
    assert isinstance(fetch.exception(SECONDS), ZeroDivisionError)
    assert fetch.attempt.bytes == 0


# Requests, a thread each.


def test_a_request_is_made_in_a_thread_that_does_not_hold_the_process(
    limiter: RateLimiter, transport: Offline
) -> None:
    threads = list[threading.Thread]()

    def fetch(request: PageRequest) -> requests.Response:
        threads.append(threading.current_thread())
        limiter.acquire_call(None)
        if request != REQUEST:
            raise ZeroDivisionError
        return response("{}")

    fetcher = Fetcher(fetch, transport, limiter)
    made, failed = fetcher.start(REQUEST), fetcher.start(REQUEST._replace(page=3))
    assert made.result(SECONDS).text == "{}"
    assert made.attempt.tries == 1
    assert isinstance(failed.exception(SECONDS), ZeroDivisionError), "raised where it is taken"
    assert [fetcher.start(REQUEST, is_due=d).attempt.is_due for d in (True, False)] == [True, False]
    assert all(t.daemon and str(REQUEST.window) in t.name for t in threads)


def test_a_close_lets_go_of_requests_and_waits_for_none_that_the_network_holds(
    limiter: RateLimiter, transport: Offline
) -> None:
    sent, going = threading.Event(), threading.Event()

    def fetch(_: PageRequest) -> requests.Response:
        limiter.acquire_call(None)
        sent.set()
        going.wait(SECONDS)
        limiter.acquire_call(None)  # as the CDK tries again
        return response("{}")

    fetcher = Fetcher(fetch, transport, limiter)
    held = fetcher.start(REQUEST)
    assert sent.wait(SECONDS)
    limiter.update_from_response(None, response("", 429, Retry_After="500"))
    waiting = fetcher.start(REQUEST)
    fetcher.close([held, waiting])
    assert not held.done()
    assert time.monotonic() - held.attempt.since >= CLOSE_SECONDS
    going.set()
    for fetch_ in (held, waiting):
        assert isinstance(fetch_.exception(SECONDS), CancelledError)
    assert limiter.requests == 1
