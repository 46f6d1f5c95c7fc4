"""Faults: what can go wrong with an answer, on the calls that a plan names.

A plan is a list of rules; the first that fits a call applies. Calls are counted from 1 since the
plan was set, but only those that the rate limit let in. A rule says which calls it applies to by
one of ``"at": n`` (the n-th), ``"every": n`` (each n-th), ``"from": n`` (the n-th and all later
ones) and ``"after": seconds`` (those that come so long after the plan was set, with ``"for":
seconds`` only for that long). With ``"times": m`` it applies to m calls at most.

``"kind"`` says what happens: a key of `ANSWERS`, which come in place of the right answer, of
`CHANGES` or `BODIES`, which change the right page or its bytes, of `BESIDE`, or of `DEEDS`, which
do all else. Any answer of `ANSWERS` can have another HTTP ``"status"`` and other ``"words"``.
"""

import argparse
import asyncio
import gzip
import json
import re
import socket
import struct
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from email.utils import formatdate
from http import HTTPStatus
from typing import Any

from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from sandbox.rules import api_error, message

Rule = dict[str, Any]
Right = Callable[[], Response]
"""Makes the right answer."""


class Plan:
    """The rules, and how many calls have come since they were set."""

    def __init__(self, rules: list[Rule]) -> None:
        """Check the rules.

        Raises:
            ValueError: one is wrong; the message says why.
        """
        for rule in rules:
            if rule.get("kind") not in KINDS:
                raise ValueError(f"kind is one of: {', '.join(KINDS)}")
            if len(rule.keys() & {"at", "every", "from", "after"}) != 1:
                raise ValueError("a rule has one of at, every, from and after")
            if unknown := rule.keys() - NAMES:
                raise ValueError(f"unknown in a rule: {', '.join(sorted(unknown))}")
        self.rules = rules
        self.taken: Counter[int] = Counter()  # by a rule's place
        self.calls = 0
        self.begun = time.monotonic()

    def next(self) -> Rule:
        """Count a call and return the rule that applies to it; {} if there is none."""
        self.calls += 1
        for place, rule in enumerate(self.rules):
            if self.taken[place] < rule.get("times", float("inf")) and self._fits(rule):
                self.taken[place] += 1
                return rule
        return {}

    def _fits(self, rule: Rule) -> bool:
        if "after" in rule:
            seconds = time.monotonic() - self.begun - rule["after"]
            return bool(0 <= seconds < rule.get("for", float("inf")))
        if "every" in rule:
            return bool(self.calls % rule["every"] == 0)
        return bool(rule["from"] <= self.calls if "from" in rule else rule["at"] == self.calls)


def answer(rule: Rule, right: Right, options: argparse.Namespace) -> Response:
    """Answer as the rule says, beside what the app does about it."""
    kind = rule["kind"]
    if kind in BESIDE:
        return right()
    if kind in DEEDS:
        return DEEDS[kind](rule, right)
    if kind in ANSWERS:
        status, words, form = ANSWERS[kind]
        return respond(form(rule.get("words", words)), rule.get("status", status), options)
    response = right()
    body = bytes(response.body)
    if kind in BODIES:
        return respond(BODIES[kind](body, len(body) // 2), response.status_code, options)
    content = json.loads(body, strict=False)
    if response.status_code == HTTPStatus.OK and isinstance(content["data"], dict):
        CHANGES[kind](content["data"], rule.get("rows", 3))
    return respond(content, response.status_code, options)


def respond(body: object, status: int, options: argparse.Namespace) -> Response:
    """Answer with a body: text is HTML, bytes are JSON, all else becomes JSON as PHP writes it."""
    if isinstance(body, str):
        return HTMLResponse(body, status)
    if not isinstance(body, bytes):
        written = json.dumps(
            body, ensure_ascii=not options.unescaped_unicode, separators=(",", ":")
        ).replace("/", r"\/")
        if options.raw_breaks:  # as in the page's own example, which strict JSON forbids
            for escaped, raw in ((r"\\", "\0"), (r"\n", "\n"), (r"\r", "\r"), ("\0", r"\\")):
                written = written.replace(escaped, raw)
        body = written.encode()
    return Response(body, status, media_type="application/json")


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
    "other-words": (200, "Отчет формируется, повторите запрос позже", message),
    "token-revoked": (200, "Invalid credentials.", lambda words: {"message": words}),
    "api-error": (200, "Внутренняя ошибка сервера", lambda words: api_error(500, words)),
    "permanent": (400, "Нет активного виджета", lambda words: api_error(10003, words)),
    # JSON that is no page.
    "unknown-json": (200, "ok", lambda words: {"result": words, "items": [1, 2]}),
    "null-data": (200, "", lambda _: {"meta": [], "data": None}),
    "empty-data": (200, "", lambda _: {"meta": [], "data": {}}),
}


# What is wrong with the data of an otherwise right page; the number is the rule's ``"rows"`` (3).
CHANGES: dict[str, Callable[[dict[str, Any], int], None]] = {
    # It lacks so many SMS, its total counts them; 10000 empty it.
    "short-page": lambda data, rows: data.update(smsDetails=data["smsDetails"][:-rows]),
    "null-total": lambda data, _: data.update(totalCountSms=None),
    "rows-as-object": lambda data, _: data.update(smsDetails=dict(enumerate(data["smsDetails"]))),
}


# What happens to the bytes of a right answer, whose Content-Length fits.
BODIES: dict[str, Callable[[bytes, int], bytes]] = {
    "half-json": lambda body, half: body[:half],
    "damaged": lambda body, half: body[:half] + b'",,"' + body[half + 4 :],
}


def _cut(_rule: Rule, right: Right) -> Response:
    body = bytes(right().body)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return Raw(head % len(body) + body[: len(body) // 2], "close")


def _in_charset(rule: Rule, right: Right) -> Response:
    charset = rule.get("charset", "windows-1251")
    text = json.dumps(json.loads(bytes(right().body), strict=False))
    text = re.sub(r"\\u04\w\w", lambda letter: json.loads(f'"{letter[0]}"'), text)  # Cyrillic
    declared = f"application/json; charset={rule.get('declared', charset)}"
    return Response(text.encode(charset), media_type=declared)


def _with_cookie(_rule: Rule, right: Right) -> Response:
    response = right()
    response.set_cookie("session", "of-the-sandbox")
    return response


def _under_status(rule: Rule, right: Right) -> Response:
    response = right()
    response.status_code = rule.get("status", 500)
    return response


def _retry_after(rule: Rule, _right: Right) -> Response:
    seconds = rule.get("seconds", 1)
    date = formatdate(time.time() + seconds, usegmt=True)
    response = status_page(int(rule["kind"][:3]))
    response.headers["Retry-After"] = date if rule.get("date") else f"{seconds:g}"
    return response


def _blanks(rule: Rule, _right: Right) -> Response:
    dripping = rule["kind"] == "drip"

    async def blanks() -> AsyncIterator[bytes]:
        while True:
            yield b" " * (1 if dripping else 65_536)
            await asyncio.sleep(rule.get("seconds", 1) if dripping else 0)

    return StreamingResponse(blanks(), media_type="application/json")


def _bomb(_rule: Rule, _right: Right) -> Response:
    headers = {"Content-Encoding": "gzip"}
    body = gzip.compress(b" " * 2**28, 1)
    return Response(body, headers=headers, media_type="application/json")


DEEDS: dict[str, Callable[[Rule, Right], Response]] = {
    # What happens to a right answer on its way.
    "cut": _cut,  # the connection ends after half of the body that Content-Length announces
    "charset": _in_charset,  # in ``"charset"`` (windows-1251), which ``"declared"`` may belie
    "cookie": _with_cookie,
    "page-under-status": _under_status,  # HTTP status ``"status"`` (500)
    # What comes in place of an answer.
    "429-retry-after": _retry_after,  # after ``"seconds"`` (1), with ``"date": true`` as HTTP date
    "503-retry-after": _retry_after,
    "redirect": lambda _, __: RedirectResponse("https://calltouch.invalid/", 302),
    "drip": _blanks,  # 200, then a space every ``"seconds"`` (1)
    "endless": _blanks,  # 200, then spaces as fast as they are taken
    "bomb": _bomb,  # 256 MB of spaces, compressed to one
    "silent": lambda rule, _: Raw(b"", rule["kind"]),  # the request is taken and nothing is said
    "reset": lambda rule, _: Raw(b"", rule["kind"]),
}
# What happens before an answer that is right.
BESIDE = (
    "page-size",  # pages hold ``"rows"`` (3)
    "gone-rows",  # so many of the requested SMS are deleted
    "late-rows",  # so many SMS appear in the requested range
    "slow",  # ``"seconds"`` (3) pass
)
KINDS = [*ANSWERS, *CHANGES, *BODIES, *DEEDS, *BESIDE]
NAMES = {
    *("kind", "at", "every", "from", "after", "for", "times", "rows", "seconds"),
    *("status", "words", "date", "charset", "declared"),
}


class Raw(Response):
    """Bytes below HTTP, after which the connection is closed, reset or left silent."""

    def __init__(self, sent: bytes, end: str) -> None:
        super().__init__(status_code=200 if sent else 0)
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
