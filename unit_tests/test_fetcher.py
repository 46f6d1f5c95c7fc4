"""Requests under way and the bounds of answers: `source_calltouch_sms.fetcher`, without network."""

import gzip
import threading
import zlib
from collections.abc import Callable
from datetime import datetime
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
    Fetch,
    Fetched,
    Fetcher,
    Transport,
)
from source_calltouch_sms.rate_limiter import Attempt, RateLimiter
from source_calltouch_sms.windows import PageRequest, Window
from unit_tests.account import response

WINDOW = Window(datetime(2024, 4, 1), datetime(2024, 4, 1))
REQUEST = PageRequest(WINDOW, 2)
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


@pytest.fixture
def limiter() -> RateLimiter:
    limiter = RateLimiter(1e6)
    limiter.begin(Attempt())
    return limiter


@pytest.fixture
def transport(limiter: RateLimiter) -> Offline:
    return Offline(limiter, 300)


class Body:
    """A body of so many bytes, of which one chunk after another is read."""

    def __init__(self, size: int, before_chunk: Callable[[], object] = lambda: None) -> None:
        self.left, self.read_bytes, self.before_chunk = size, 0, before_chunk
        self.closed = False

    def read(self, size: int = -1, **_: Any) -> bytes:
        self.before_chunk()
        chunk = min(self.left, size if size >= 0 else self.left)
        self.left -= chunk
        self.read_bytes += chunk
        return b" " * chunk

    read1 = read

    def close(self) -> None:
        self.closed = True


class Drip(Body):
    """A body that comes byte by byte: `read` waits for all that it is asked for."""

    def read(self, size: int = -1, **_: Any) -> bytes:
        return b"".join(self.read1(1) for _ in range(min(size, self.left)))

    def read1(self, size: int = -1, **_: Any) -> bytes:
        return super().read(min(size, 1))


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


def test_of_a_failure_no_more_is_read_than_a_failure_needs(transport: Offline) -> None:
    transport.status, transport.body = 500, Body(10**9)
    with pytest.raises(AnswerTooLargeError) as raised:
        receive(transport)
    assert raised.value.args == (MAX_ERROR_BYTES,)
    assert raised.value.request
    assert transport.body.read_bytes < 2 * MAX_ERROR_BYTES
    assert transport.body.closed


def test_of_a_compressed_bomb_no_more_is_decoded(transport: Offline) -> None:
    transport.status, transport.headers = 400, {"Content-Encoding": "gzip"}
    bomb = Bomb(gzip.compress(bytes(100_000_000)))
    transport.body = bomb
    with pytest.raises(AnswerTooLargeError):
        receive(transport)
    assert bomb.tell() < len(bomb.getvalue())


class Bomb(BytesIO):
    """A compressed body that is not closed, so that it shows how far it was read."""

    def close(self) -> None:
        pass


def test_an_endless_page_is_given_up(limiter: RateLimiter, transport: Offline) -> None:
    limiter.attempt().is_due = True
    transport.body = Body(10**12)
    with pytest.raises(AnswerTooLargeError) as raised:
        receive(transport)
    assert raised.value.args == (MAX_ANSWER_BYTES,)
    assert transport.body.read_bytes < 1.01 * MAX_ANSWER_BYTES


def test_an_answer_that_drips_is_given_up(limiter: RateLimiter) -> None:
    transport = Offline(limiter, answer_seconds=0.05)
    transport.body = Drip(100, lambda: threading.Event().wait(0.03))
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

    transport.body = Body(10, fail)
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


class Receiving(threading.Thread):
    """Receives an answer in its own thread."""

    def __init__(self, limiter: RateLimiter, transport: Transport) -> None:
        super().__init__(daemon=True)
        self.limiter, self.transport, self.attempt = limiter, transport, Attempt()
        self.answer: requests.Response | None = None
        self.error: Exception | None = None
        self.start()

    def run(self) -> None:
        self.limiter.begin(self.attempt)
        try:
            self.answer = receive(self.transport)
        except CancelledError as error:
            self.error = error

    def waits(self) -> bool:
        self.join(0.1)
        return self.is_alive()

    def end(self) -> None:
        self.join(SECONDS)
        assert not self.is_alive()


@pytest.fixture
def full(limiter: RateLimiter) -> Offline:
    """A transport that has room for one answer and holds one, of this thread's attempt."""
    transport = Offline(limiter, 300, max_bytes=150)
    transport.body = b" " * 100
    receive(transport)
    assert limiter.attempt().bytes == 100
    return transport


def test_an_answer_waits_for_room_until_another_is_let_go(
    limiter: RateLimiter, full: Offline
) -> None:
    waiting = Receiving(limiter, full)
    assert waiting.waits()
    full.release(limiter.attempt())
    waiting.end()
    assert waiting.answer
    assert (limiter.attempt().bytes, waiting.attempt.bytes) == (0, 100)


def test_the_answer_that_is_due_comes_without_room(limiter: RateLimiter, full: Offline) -> None:
    waiting, fetcher = Receiving(limiter, full), Fetcher(lambda _: fetched(), limiter, full)
    assert waiting.waits()
    due = Fetch(REQUEST)
    due.attempt = waiting.attempt
    fetcher.expedite(due)
    waiting.end()
    assert waiting.answer


def test_an_answer_that_is_no_longer_wanted_stops_waiting_and_takes_no_room(
    limiter: RateLimiter, full: Offline
) -> None:
    waiting, fetcher = Receiving(limiter, full), Fetcher(lambda _: fetched(), limiter, full)
    assert waiting.waits()
    unwanted = Fetch(REQUEST)
    unwanted.attempt = waiting.attempt
    fetcher.release(unwanted)
    waiting.end()
    assert isinstance(waiting.error, CancelledError)
    assert waiting.attempt.bytes == 0


def test_the_wait_for_room_does_not_count_as_dripping(limiter: RateLimiter) -> None:
    transport = Offline(limiter, max_bytes=150, answer_seconds=0.05)
    transport.body = b" " * 100
    receive(transport)
    waiting = Receiving(limiter, transport)
    assert waiting.waits()
    transport.release(limiter.attempt())
    waiting.end()
    assert waiting.answer


def test_another_try_takes_the_room_of_the_one_before(limiter: RateLimiter) -> None:
    transport = Offline(limiter, 300, max_bytes=150)
    transport.body = b" " * 100
    for _ in range(5):
        receive(transport)
    assert limiter.attempt().bytes == 100


# Requests, a thread each.


def fetched() -> Fetched:
    return Fetched(response("{}"), 0, 0)


def test_a_request_is_made_in_a_thread_that_does_not_hold_the_process(
    limiter: RateLimiter, transport: Offline
) -> None:
    threads = list[threading.Thread]()

    def fetch(request: PageRequest) -> Fetched:
        threads.append(threading.current_thread())
        limiter.acquire_call(None)
        assert request == REQUEST
        return fetched()

    fetch_ = Fetcher(fetch, limiter, transport).start(REQUEST)
    assert fetch_.result(SECONDS).total == 0
    assert fetch_.attempt.tries == 1
    assert 0 <= fetch_.seconds <= fetch_.attempt.seconds
    assert threads[0].daemon
    assert str(WINDOW) in threads[0].name


def test_what_a_request_fails_with_is_raised_where_its_answer_is_taken(
    limiter: RateLimiter, transport: Offline
) -> None:
    def fetch(_: PageRequest) -> Fetched:
        raise ZeroDivisionError

    assert isinstance(
        Fetcher(fetch, limiter, transport).start(REQUEST).exception(SECONDS), ZeroDivisionError
    )


def test_requests_that_are_let_go_pass_no_gate_and_are_not_retried(
    limiter: RateLimiter, transport: Offline
) -> None:
    going, tried = threading.Event(), threading.Event()

    def fetch(_: PageRequest) -> Fetched:
        limiter.acquire_call(None)
        tried.set()
        going.wait(SECONDS)
        limiter.acquire_call(None)  # as the CDK tries again
        return fetched()

    fetcher = Fetcher(fetch, limiter, transport)
    sent = fetcher.start(REQUEST)
    assert tried.wait(SECONDS)
    limiter.update_from_response(None, response("", 429, Retry_After="500"))
    waiting = fetcher.start(REQUEST)
    fetcher.release(sent)
    fetcher.release(waiting)
    going.set()
    for fetch_ in (sent, waiting):
        assert isinstance(fetch_.exception(SECONDS), CancelledError)
    assert limiter.requests == 1


def test_a_close_waits_for_no_request_that_the_network_holds(
    limiter: RateLimiter, transport: Offline
) -> None:
    going = threading.Event()

    def fetch(_: PageRequest) -> Fetched:
        going.wait(SECONDS)
        return fetched()

    fetcher = Fetcher(fetch, limiter, transport)
    held = fetcher.start(REQUEST)
    fetcher.close([held])
    assert not held.done()
    assert held.attempt.is_cancelled
    assert held.attempt.seconds >= CLOSE_SECONDS
    going.set()
    held.result(SECONDS)
