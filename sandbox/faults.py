"""Faults: what can go wrong with an answer, on the calls that a plan names.

A plan is a list of rules; the first that fits a call applies. Calls are counted from 1 since the
plan was set, but only those that the rate limit let in. A rule says which calls it applies to by
one of ``"at": n`` (the n-th), ``"every": n`` (each n-th), ``"from": n`` (the n-th and all later
ones) and ``"after": seconds`` (those that come so long after the plan was set, with ``"for":
seconds`` only for that long). With ``"times": m`` it applies to m calls at most.

``"kind"`` says what happens: a key of `ANSWERS`, which come in place of the right answer, of
`CHANGES` or `BODIES`, which change the right page or its bytes, or of `DEEDS`, which do all else.
Any answer of `ANSWERS` can have another HTTP ``"status"`` and other ``"words"``.
"""

import asyncio
import codecs
import gzip
import json
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from typing import Any

from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from sandbox.rules import BROKEN_JSON, api_error, message, validation_error
from sandbox.wire import Wire


@dataclass
class Rule:
    """One rule of a plan, as it was given, and how many calls it was applied to."""

    given: Mapping[str, Any]
    taken: int = 0

    def fits(self, call: int, seconds: float) -> bool:
        """Tell whether the rule applies to this call, which came so many seconds after the plan."""
        given = self.given
        if self.taken >= given.get("times", float("inf")):
            return False
        if "after" in given:
            return 0 <= seconds - float(given["after"]) < float(given.get("for", "inf"))
        if "every" in given:
            return call % int(given["every"]) == 0
        return call == int(given["at"]) if "at" in given else call >= int(given["from"])


@dataclass
class Plan:
    """The rules, and how many calls have come since they were set."""

    rules: list[Rule] = field(default_factory=list)
    calls: int = 0
    begun: float = field(default_factory=time.monotonic)

    def next(self) -> Mapping[str, Any] | None:
        """Count a call and return the rule that applies to it, as it was given."""
        self.calls += 1
        seconds = time.monotonic() - self.begun
        for rule in self.rules:
            if rule.fits(self.calls, seconds):
                rule.taken += 1
                return rule.given
        return None


def read_plan(plan: object) -> Plan:
    """Read a plan from JSON.

    Raises:
        ValueError: it is not a plan; the message says why.
    """
    if not isinstance(plan, list) or not all(isinstance(rule, dict) for rule in plan):
        raise ValueError("a plan is a list of objects")
    for rule in plan:
        _check(rule)
    return Plan([Rule(rule) for rule in plan])


def _check(rule: Mapping[str, Any]) -> None:
    if unknown := rule.keys() - {"kind", *_WHOLE, *_SECONDS, *_OTHERS}:
        raise ValueError(f"unknown in a rule: {', '.join(sorted(unknown))}")
    if rule.get("kind") not in KINDS:
        raise ValueError(f"kind is one of: {', '.join(KINDS)}")
    if len(rule.keys() & {"at", "every", "from", "after"}) != 1:
        raise ValueError("a rule has one of at, every, from and after")
    if "for" in rule and "after" not in rule:
        raise ValueError("for goes with after")
    for name in _WHOLE & rule.keys():
        signed = (name, rule["kind"]) == ("rows", "wrong-total")
        if type(rule[name]) is not int or (rule[name] < 1 and not signed):
            raise ValueError(f"{name} is a whole number from 1")
    for name in _SECONDS & rule.keys():
        if type(rule[name]) not in {int, float} or rule[name] < 0:
            raise ValueError(f"{name} is a number from 0")


@dataclass(frozen=True)
class Call:
    """A call that a rule applies to, and what the account can do about it."""

    rule: Mapping[str, Any]
    wire: Wire
    right: Callable[[int | None], Awaitable[Response]]  # the right answer, with pages of that size
    add_rows: Callable[[int], None]
    delete_rows: Callable[[int], None]

    async def answer(self) -> Response:
        """Answer as the rule says."""
        kind = self.rule["kind"]
        if kind in DEEDS:
            return await DEEDS[kind](self)
        if kind in ANSWERS:
            status, words, form = ANSWERS[kind]
            body = form(self.rule.get("words", words))
            return self.respond(body, self.rule.get("status", status))
        right = await self.right(None)
        if kind in BODIES:
            return BODIES[kind](self, right)
        content = json.loads(bytes(right.body), strict=False)
        if right.status_code == 200 and isinstance(content["data"], dict):
            CHANGES[kind](content["data"], self.rule.get("rows", 3))
        return self.respond(content, right.status_code)

    def respond(self, body: object, status: int) -> Response:
        """Answer with a body: text is HTML, bytes and all else are JSON."""
        if isinstance(body, str):
            return HTMLResponse(body, status)
        content = body if isinstance(body, bytes) else self.wire.encode(body)
        return Response(content, status, media_type="application/json")


def page(title: str) -> str:
    """Return the small HTML page with which a web server in front of the method answers."""
    return f"<!DOCTYPE html>\n<title>{title}</title>\n<h1>{title}</h1>\n"


def status_page(status: int) -> Response:
    """Answer with that page."""
    return HTMLResponse(page(f"{status} {HTTPStatus(status).phrase}"), status)


# Answers that come in place of the right one: HTTP status, words, and the body made of them.
ANSWERS: dict[str, tuple[int, str, Callable[[str], object]]] = {
    **{
        str(status): (status, f"{status} {HTTPStatus(status).phrase}", page)
        for status in (404, 408, 429, 500, 502, 503, 504)
    },
    "firewall": (403, "403 Forbidden", page),
    "html": (200, "Помощь Calltouch", page),
    "empty": (200, "", str.encode),
    # Words at each level at which they were met.
    "message": (404, "Проект не найден", lambda words: {"message": words}),
    "error-message": (400, "Проект не найден", lambda words: {"errorMessage": words}),
    "data-message": (400, "Проект не найден", message),
    "data-error-message": (
        400,
        "Проект не найден",
        lambda words: {"data": {"errorMessage": words}},
    ),
    "violation": (
        422,
        "Период не может быть больше 90 дней",
        lambda words: validation_error([("dateFrom", words)]),
    ),
    "other-words": (200, "Отчет формируется, повторите запрос позже", message),
    "token-revoked": (200, "Invalid credentials.", lambda words: {"message": words}),
    "token-refused": (403, "Invalid credentials", lambda words: {"message": words}),
    "api-error": (200, "Внутренняя ошибка сервера", lambda words: api_error(500, words)),
    "syntax-error": (200, BROKEN_JSON, lambda words: api_error(1, words)),
    "permanent": (400, "Нет активного виджета", lambda words: api_error(10003, words)),
    # JSON that is no page.
    "unknown-json": (200, "ok", lambda words: {"result": words, "items": [1, 2]}),
    "null-data": (200, "", lambda _: {"meta": [], "data": None}),
    "empty-data": (200, "", lambda _: {"meta": [], "data": {}}),
    "nested": (200, "", lambda _: b'{"data":' + b"[" * 500_000),
    "huge-integer": (
        200,
        "9" * 5000,
        lambda words: f'{{"data":{{"totalCountSms":{words}}}}}'.encode(),
    ),
}


def _short(data: dict[str, Any], rows: int) -> None:
    data["smsDetails"] = data["smsDetails"][: max(0, len(data["smsDetails"]) - rows)]


def _miscounted(data: dict[str, Any], rows: int) -> None:
    total = data["totalCountSms"]
    data["totalCountSms"] = type(total)(max(0, int(total) + rows))


# What is wrong with the data of an otherwise right page; the number is the rule's ``"rows"`` (3).
CHANGES: dict[str, Callable[[dict[str, Any], int], None]] = {
    "short-page": _short,  # it lacks so many SMS, its total counts them; 10000 empty it
    "wrong-total": _miscounted,  # its total is too high by so much, which may be negative
    "null-total": lambda data, _: data.update(totalCountSms=None),
    "rows-as-object": lambda data, _: data.update(
        smsDetails={str(place): row for place, row in enumerate(data["smsDetails"])}
    ),
}


def _half(call: Call, right: Response) -> Response:
    return call.respond(bytes(right.body)[: len(right.body) // 2], right.status_code)


def _damaged(call: Call, right: Response) -> Response:
    body, middle = bytes(right.body), len(right.body) // 2
    return call.respond(body[:middle] + b'",,"' + body[middle + 4 :], right.status_code)


def _cut(call: Call, right: Response) -> Response:
    half = bytes(right.body)[: len(right.body) // 2]
    return Raw(_head(f"Content-Length: {len(right.body)}") + half, "close", right.status_code)


def _in_charset(call: Call, right: Response) -> Response:
    charset = call.rule.get("charset", "windows-1251")
    text = json.dumps(json.loads(bytes(right.body), strict=False), ensure_ascii=False)
    declared = f"application/json; charset={call.rule.get('declared', charset)}"
    return Response(text.encode(charset, "json-escape"), right.status_code, media_type=declared)


def _with_cookie(call: Call, right: Response) -> Response:
    right.set_cookie("session", "of-the-sandbox")
    return right


def _under_status(call: Call, right: Response) -> Response:
    right.status_code = call.rule.get("status", 500)
    return right


# What happens to a right answer on its way.
BODIES: dict[str, Callable[[Call, Response], Response]] = {
    "half-json": _half,  # half of the body, complete by its Content-Length
    "damaged": _damaged,  # broken as JSON by a few bytes in its middle
    "cut": _cut,  # the connection ends after half of the body that Content-Length announces
    "charset": _in_charset,  # in ``"charset"`` (windows-1251), which ``"declared"`` may belie
    "cookie": _with_cookie,
    "page-under-status": _under_status,  # HTTP status ``"status"`` (500)
}


async def _retry_after(call: Call) -> Response:
    """After `seconds` (1), as an HTTP date with `"date": true`."""
    seconds = call.rule.get("seconds", 1)
    response = status_page(int(call.rule["kind"][:3]))
    response.headers["Retry-After"] = (
        formatdate(time.time() + seconds, usegmt=True) if call.rule.get("date") else f"{seconds:g}"
    )
    return response


async def _page_size(call: Call) -> Response:
    """The right answer of a service whose pages hold `rows` SMS."""
    return await call.right(call.rule.get("rows", 3))


async def _gone_rows(call: Call) -> Response:
    """`rows` (3) requested SMS are deleted, then the right answer."""
    call.delete_rows(call.rule.get("rows", 3))
    return await call.right(None)


async def _late_rows(call: Call) -> Response:
    """`rows` (3) SMS appear in the requested range, then the right answer."""
    call.add_rows(call.rule.get("rows", 3))
    return await call.right(None)


async def _slow(call: Call) -> Response:
    """The right answer after `seconds` (3)."""
    await asyncio.sleep(call.rule.get("seconds", 3))
    return await call.right(None)


async def _redirect(call: Call) -> Response:
    """302 to `location`."""
    return RedirectResponse(call.rule.get("location", "https://calltouch.invalid/"), 302)


async def _blanks(call: Call) -> Response:
    """200, then a space every `seconds` (1), or many in chunks as fast as they are taken."""
    dripping = call.rule["kind"] == "drip"

    async def blanks() -> AsyncIterator[bytes]:
        while True:
            yield b" " * (1 if dripping else 65_536)
            await asyncio.sleep(call.rule.get("seconds", 1) if dripping else 0)

    return StreamingResponse(blanks(), media_type="application/json")


async def _bomb(call: Call) -> Response:
    """256 MB of spaces, compressed to one."""
    headers = {"Content-Encoding": "gzip"}
    body = gzip.compress(b" " * 2**28, 1)
    return Response(body, headers=headers, media_type="application/json")


async def _no_answer(call: Call) -> Response:
    """The request is taken and nothing is said, or the connection is reset."""
    return Raw(b"", call.rule["kind"])


async def _negative_chunk(call: Call) -> Response:
    """A chunk whose size is below zero."""
    return Raw(_head("Transfer-Encoding: chunked") + b"-5\r\n{}\r\n0\r\n\r\n", "close", 200)


DEEDS: dict[str, Callable[[Call], Awaitable[Response]]] = {
    "429-retry-after": _retry_after,
    "503-retry-after": _retry_after,
    "page-size": _page_size,
    "gone-rows": _gone_rows,
    "late-rows": _late_rows,
    "slow": _slow,
    "redirect": _redirect,
    "drip": _blanks,
    "endless": _blanks,
    "bomb": _bomb,
    "silent": _no_answer,
    "reset": _no_answer,
    "negative-chunk": _negative_chunk,
}
KINDS = [*ANSWERS, *CHANGES, *BODIES, *DEEDS]
_WHOLE = {"at", "every", "from", "times", "rows", "status"}
_SECONDS = {"after", "for", "seconds"}
_OTHERS = {"date", "location", "words", "charset", "declared"}


class Raw(Response):
    """Bytes below HTTP, after which the connection is closed, reset or left silent."""

    def __init__(self, sent: bytes, end: str, status_code: int = 0) -> None:
        super().__init__(status_code=status_code)
        self.sent = sent
        self.end = end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as an ASGI application."""
        transport = scope["extensions"]["transport"]
        if self.end == "reset":
            # With a linger time of zero a socket closes by RST, not by FIN.
            linger = struct.pack("ii", 1, 0)
            connection = transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            transport.abort()
        elif self.end == "close":
            transport.write(self.sent)
            transport.close()
        try:
            while (await receive())["type"] != "http.disconnect":
                pass
        finally:
            transport.abort()


def _head(header: str) -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{header}\r\n\r\n".encode()


def _json_escape(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end


codecs.register_error("json-escape", _json_escape)
