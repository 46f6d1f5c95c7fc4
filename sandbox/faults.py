"""Faults: what can go wrong with an answer, on the calls that a plan names.

A plan is a list of rules; the first that fits a call applies. Calls are counted from 1 since the
plan was set, but only those that the rate limit let in. A rule says what happens by ``"kind"``, one
of `KINDS`, each explained in its docstring, and to which calls by one of ``"at": n`` (the n-th),
``"every": n`` (each n-th), ``"from": n`` (the n-th and all later ones) and ``"after": seconds``
(those that come so long after the plan was set, with ``"for": seconds`` only for that long). With
``"times": m`` it applies to m calls at most.
"""

import asyncio
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from email.utils import formatdate

from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from sandbox.rules import BROKEN_JSON, api_error, invalid_credentials, message
from sandbox.wire import Wire

STATUSES = {
    "429": "Too Many Requests",
    "500": "Internal Server Error",
    "502": "Bad Gateway",
    "503": "Service Temporarily Unavailable",
    "504": "Gateway Time-out",
    "408": "Request Time-out",
}


@dataclass
class Rule:
    """One rule of a plan: what happens, and to which calls."""

    kind: str
    at: int | None = None
    every: int | None = None
    start: int | None = None  # "from" in a plan
    after: float | None = None  # seconds
    lasting: float = float("inf")  # "for" in a plan
    times: int | None = None
    seconds: float | None = None
    date: bool = False
    location: str = "https://calltouch.invalid/"
    rows: int = 3
    status: int = 500
    taken: int = 0

    def fits(self, call: int, seconds: float) -> bool:
        """Tell whether the rule applies to this call, which came so many seconds after the plan."""
        if self.times is not None and self.taken >= self.times:
            return False
        if self.after is not None:
            return 0 <= seconds - self.after < self.lasting
        if self.every is not None:
            return call % self.every == 0
        return call == self.at if self.start is None else call >= self.start


@dataclass
class Plan:
    """The rules, and how many calls have come since they were set."""

    rules: list[Rule] = field(default_factory=list)
    calls: int = 0
    begun: float = field(default_factory=time.monotonic)

    def next(self) -> Rule | None:
        """Count a call and return the rule that applies to it."""
        self.calls += 1
        seconds = time.monotonic() - self.begun
        for rule in self.rules:
            if rule.fits(self.calls, seconds):
                rule.taken += 1
                return rule
        return None


def read_plan(plan: object) -> Plan:
    """Read a plan from JSON.

    Raises:
        ValueError: it is not a plan; the message says why.
    """
    if not isinstance(plan, list):
        raise ValueError("a plan is a list of rules")  # noqa: TRY004 - JSON of a caller
    return Plan([_read_rule(rule) for rule in plan])


def _read_rule(given: object) -> Rule:
    if not isinstance(given, dict):
        raise ValueError("a rule is an object")  # noqa: TRY004 - JSON of a caller
    if unknown := given.keys() - _FIELDS:
        raise ValueError(f"unknown in a rule: {', '.join(sorted(unknown))}")
    if given.get("kind") not in KINDS:
        raise ValueError(f"kind is one of: {', '.join(KINDS)}")
    if len(given.keys() & {"at", "every", "from", "after"}) != 1:
        raise ValueError("a rule has one of at, every, from and after")
    if "for" in given and "after" not in given:
        raise ValueError("for goes with after")
    for name in ("at", "every", "from", "times", "rows", "status"):
        value = given.get(name, 1)
        if type(value) is not int or (value < 1 and (name, given["kind"]) != _SIGNED):
            raise ValueError(f"{name} is a whole number from 1")
    for name in ("seconds", "after", "for"):
        value = given.get(name, 0)
        if type(value) not in {int, float} or value < 0:
            raise ValueError(f"{name} is a number from 0")
    return Rule(**{_RENAMED.get(str(name), str(name)): value for name, value in given.items()})


@dataclass(frozen=True)
class Twist:
    """What is wrong with an otherwise correct page."""

    less: int = 0  # how many SMS are left out, with the total unchanged
    off: int = 0  # by how much the reported total is too high
    size: int | None = None  # SMS on a page


@dataclass(frozen=True)
class Fault:
    """One call that a rule applies to, and what the rule can do."""

    rule: Rule
    wire: Wire
    right: Callable[[Twist], Awaitable[Response]]  # the correct answer, but for the twist
    add_rows: Callable[[int], None]
    delete_rows: Callable[[int], None]

    async def answer(self) -> Response:
        """Answer as the rule says."""
        return await KINDS[self.rule.kind](self)

    def json(self, body: object) -> Response:
        """Answer with this body and 200."""
        return Response(self.wire.encode(body), media_type="application/json")

    async def status(self) -> Response:
        """`429`, `500`, `502`, `503`, `504`, `408`: that HTTP status with a small HTML page."""
        return status_page(int(self.rule.kind), STATUSES[self.rule.kind])

    async def retry_after(self) -> Response:
        """`429-retry-after`: after `seconds` (1), as an HTTP date with `"date": true`."""
        seconds = 1 if self.rule.seconds is None else self.rule.seconds
        response = status_page(429, STATUSES["429"])
        response.headers["Retry-After"] = (
            formatdate(time.time() + seconds, usegmt=True) if self.rule.date else f"{seconds:g}"
        )
        return response

    async def reset(self) -> Response:
        """`reset`: the connection is reset without an answer."""
        return Reset(status_code=0)

    async def cut(self) -> Response:
        """`cut`: the connection ends after half of the body that Content-Length announces."""
        right = await self.right(Twist())
        return Cut(right.body, right.status_code, media_type="application/json")

    async def half_json(self) -> Response:
        """`half-json`: half of the correct body, complete by its Content-Length."""
        right = await self.right(Twist())
        half = bytes(right.body)[: len(right.body) // 2]
        return Response(half, right.status_code, media_type="application/json")

    async def damaged(self) -> Response:
        """`damaged`: the correct body, broken as JSON by a few bytes in its middle."""
        right = await self.right(Twist())
        body, middle = bytes(right.body), len(right.body) // 2
        damaged = body[:middle] + b'",,"' + body[middle + 4 :]
        return Response(damaged, right.status_code, media_type="application/json")

    async def drip(self) -> Response:
        """`drip`: 200, then a space every `seconds` (1), forever."""
        seconds = 1 if self.rule.seconds is None else self.rule.seconds

        async def blanks() -> AsyncIterator[bytes]:
            while True:
                yield b" "
                await asyncio.sleep(seconds)

        return StreamingResponse(blanks(), media_type="application/json")

    async def firewall(self) -> Response:
        """`firewall`: 403 with an HTML page."""
        return status_page(403, "Forbidden")

    async def page_under_status(self) -> Response:
        """`page-under-status`: the correct answer with the HTTP status `status` (500)."""
        right = await self.right(Twist())
        right.status_code = self.rule.status
        return right

    async def html(self) -> Response:
        """`html`: 200 with an HTML page."""
        return HTMLResponse("<!DOCTYPE html>\n<title>Calltouch</title>\n<p>Ведутся работы.</p>\n")

    async def empty(self) -> Response:
        """`empty`: 200 without a body."""
        return Response(b"", media_type="application/json")

    async def api_error(self) -> Response:
        """`api-error`: 200 with the documented apiError body, errorCode 500."""
        return self.json(api_error(500, "Внутренняя ошибка сервера"))

    async def syntax_error(self) -> Response:
        """`syntax-error`: 200 with the documented body for broken JSON, errorCode 1."""
        return self.json(api_error(1, BROKEN_JSON))

    async def token_revoked(self) -> Response:
        """`token-revoked`: 200 with the documented body for a wrong token."""
        return self.json(invalid_credentials())

    async def unknown_json(self) -> Response:
        """`unknown-json`: 200 with JSON that matches no documented answer."""
        return self.json({"result": "ok", "items": [1, 2]})

    async def other_words(self) -> Response:
        """`other-words`: 200 with a message of the documented form, but not a documented text."""
        return self.json(message("Отчет формируется, повторите запрос позже"))

    async def short_page(self) -> Response:
        """`short-page`: the correct page less `rows` SMS (3; 10000 empties it), total unchanged."""
        return await self.right(Twist(less=self.rule.rows))

    async def wrong_total(self) -> Response:
        """`wrong-total`: the correct page, its total too high by `rows` (3); may be negative."""
        return await self.right(Twist(off=self.rule.rows))

    async def page_size(self) -> Response:
        """`page-size`: the correct answer of a service whose pages hold `rows` SMS."""
        return await self.right(Twist(size=self.rule.rows))

    async def gone_rows(self) -> Response:
        """`gone-rows`: `rows` (3) requested SMS are deleted, then the correct answer."""
        self.delete_rows(self.rule.rows)
        return await self.right(Twist())

    async def late_rows(self) -> Response:
        """`late-rows`: `rows` (3) SMS appear in the requested range, then the correct answer."""
        self.add_rows(self.rule.rows)
        return await self.right(Twist())

    async def slow(self) -> Response:
        """`slow`: the correct answer after `seconds` (3)."""
        await asyncio.sleep(3 if self.rule.seconds is None else self.rule.seconds)
        return await self.right(Twist())

    async def silent(self) -> Response:
        """`silent`: no answer until the client disconnects."""
        return Hanging(status_code=0)

    async def redirect(self) -> Response:
        """`redirect`: 302 to `location`."""
        return RedirectResponse(self.rule.location, 302)


KINDS: dict[str, Callable[[Fault], Awaitable[Response]]] = {
    **dict.fromkeys(STATUSES, Fault.status),
    "429-retry-after": Fault.retry_after,
    "reset": Fault.reset,
    "cut": Fault.cut,
    "half-json": Fault.half_json,
    "damaged": Fault.damaged,
    "drip": Fault.drip,
    "firewall": Fault.firewall,
    "page-under-status": Fault.page_under_status,
    "html": Fault.html,
    "empty": Fault.empty,
    "api-error": Fault.api_error,
    "syntax-error": Fault.syntax_error,
    "token-revoked": Fault.token_revoked,
    "unknown-json": Fault.unknown_json,
    "other-words": Fault.other_words,
    "short-page": Fault.short_page,
    "wrong-total": Fault.wrong_total,
    "page-size": Fault.page_size,
    "late-rows": Fault.late_rows,
    "gone-rows": Fault.gone_rows,
    "slow": Fault.slow,
    "silent": Fault.silent,
    "redirect": Fault.redirect,
}
_RENAMED = {"from": "start", "for": "lasting"}  # Python's own words
_FIELDS = {
    *("kind", "at", "every", "from", "after", "for", "times"),
    *("seconds", "date", "location", "rows", "status"),
}
_SIGNED = ("rows", "wrong-total")


def status_page(status: int, phrase: str) -> Response:
    """Return the small HTML page with which a web server in front of the method answers."""
    title = f"{status} {phrase}"
    page = f"<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>\n"
    return HTMLResponse(page, status_code=status)


class Hanging(Response):
    """No answer: waits until the client disconnects, and closes the connection at shutdown."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as an ASGI application."""
        try:
            await _left(receive)
        finally:
            _transport(scope).abort()


class Reset(Response):
    """A connection that is reset."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as an ASGI application."""
        transport = _transport(scope)
        # With a linger time of zero a socket closes by RST, not by FIN.
        linger = struct.pack("ii", 1, 0)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        transport.abort()
        await _left(receive)


class Cut(Response):
    """Half of the body, then the connection is closed normally."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as an ASGI application."""
        headers = self.raw_headers
        await send({"type": "http.response.start", "status": self.status_code, "headers": headers})
        half = bytes(self.body)[: len(self.body) // 2]
        await send({"type": "http.response.body", "body": half, "more_body": True})
        _transport(scope).close()
        await _left(receive)


def _transport(scope: Scope) -> asyncio.Transport:
    transport = scope["extensions"]["transport"]
    assert isinstance(transport, asyncio.Transport)
    return transport


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
