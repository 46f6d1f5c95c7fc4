"""The method over HTTP, and the control calls."""

import argparse
import asyncio
import json
import random
import time
from collections import Counter, defaultdict, deque
from contextlib import suppress
from datetime import timedelta
from operator import itemgetter

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from sandbox import faults
from sandbox.account import NOBODY, Account
from sandbox.options import DATE_FORMATS
from sandbox.rules import (
    ABOVE_LAST_PAGE,
    NO_RIGHT,
    OUT_OF_POINTS,
    Question,
    RefusedError,
    message,
    read_question,
    validation_error,
)

_PATHS = (
    "/lead-service/v1/api/sms-to-clients/result",
    "/lead-service/v1/api/calltouch-leads/sms-to-clients/result",
)
PATHS = {"documented": _PATHS[:1], "under-access": _PATHS[1:], "both": _PATHS}
TOKEN = "sandbox-token-5f0c1d7e9a3b"
SITE_ID = "10777"
COST = 2  # points for a successful call, whatever it returns
PARTY_NAME = "ООО Песочница"
SECOND = timedelta(seconds=1)


class Limiter:
    """Lets in at most `rate` calls from one address in any second, by their time of arrival."""

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self.arrivals: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=rate))

    def lets_in(self, address: str, now: float) -> bool:
        """Tell whether a call that arrives now is let in; calls that are not do not count."""
        arrivals = self.arrivals[address]
        if self.rate and len(arrivals) == self.rate and now - arrivals[0] < 1:
            return False
        arrivals.append(now)
        return True


class Calltouch:
    """The service: one account, one method."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.account = Account(options)
        self.limiter = Limiter(options.rate)
        self.plan = faults.Plan([])
        self.begin()

    def begin(self) -> None:
        """Set all numbers to 0."""
        self.counts = Counter(served=0, limited=0, refused=0, faulted=0, points=0)
        self.bodies: deque[object] = deque(maxlen=200)
        # Seconds since `begun` at which each of the last calls came, and its HTTP status; 0: none.
        self.calls: deque[tuple[float, int]] = deque(maxlen=5_000)
        self.begun = time.monotonic()

    def app(self) -> Starlette:
        """Return the ASGI application."""
        paths = PATHS[self.options.url]
        return Starlette(
            routes=[
                *(Route(path, self.method, methods=["POST"]) for path in paths),
                Route("/_sandbox/stats", self.get_stats),
                Route("/_sandbox/reset-stats", self.reset_stats, methods=["POST"]),
                Route("/_sandbox/clock", self.forward_clock, methods=["POST"]),
                Route("/_sandbox/faults", self.set_faults, methods=["POST"]),
                Route("/_sandbox/sms", self.get_sms),
                Route("/_sandbox/sms", self.add_sms, methods=["POST"]),
            ],
            middleware=[Middleware(GZipMiddleware, compresslevel=1)] * self.options.gzip,
            exception_handlers={404: self.elsewhere},
        )

    async def elsewhere(self, _request: Request, _error: Exception) -> Response:
        """Answer at an address that is not the method's."""
        if self.options.elsewhere == "redirect":
            return RedirectResponse("https://calltouch.invalid/help", 302)
        if self.options.elsewhere == "help":
            return HTMLResponse(faults.page("Помощь Calltouch"))
        return faults.status_page(404)

    async def method(self, request: Request) -> Response:
        """Answer a call of the method; note when it came and which status it got."""
        came = time.monotonic()
        response = await self.attended(request, came)
        self.calls.append((round(came - self.begun, 3), response.status_code))
        return response

    async def attended(self, request: Request, came: float) -> Response:
        """Answer a call: with 429 over the rate limit, by a fault, or as documented."""
        options = self.options
        if not self.limiter.lets_in(request.client.host if request.client else "", came):
            self.counts["limited"] += 1
            return faults.status_page(429)
        raw = await request.body()
        try:
            self.bodies.append(json.loads(raw))
        except ValueError:
            self.bodies.append(raw.decode(errors="replace"))
        rule = self.plan.next()
        if options.arriving:
            self.account.add_late(self.account.now() - SECOND * (self.account.changes % 60))
        if options.latency:
            await asyncio.sleep(options.latency * (1 + options.jitter * random.uniform(-1, 1)))
        if not rule:
            return self.answer(request, raw, options.page_size)
        self.counts["faulted"] += 1
        kind, rows = rule["kind"], rule.get("rows", 3)
        if kind == "slow":
            await asyncio.sleep(rule.get("seconds", 3))
        elif kind in {"late-rows", "gone-rows"}:
            self.change(kind, raw, rows)
        size = rows if kind == "page-size" else options.page_size
        return faults.answer(rule, lambda: self.answer(request, raw, size, counted=False), options)

    def answer(self, request: Request, raw: bytes, size: int, *, counted: bool = True) -> Response:
        """Answer as documented, with pages of that size."""
        options = self.options
        try:
            self.authorize(request)
            question = read_question(raw, self.account, options)
            longest = options.longest_days
            if longest is not None and question.until - question.since > timedelta(longest):
                self.counts["faulted"] += counted
                return faults.status_page(504)
            body = self.page(question, size)
        except RefusedError as refused:
            reason = refused.reason
            self.counts["limited" if reason == "points" else "refused"] += counted
            return faults.respond(refused.body, getattr(options, f"{reason}_status"), options)
        self.counts["points"] += COST
        self.counts["served"] += counted
        return faults.respond(body, 200, options)

    def authorize(self, request: Request) -> None:
        """Refuse a call without a valid token, the right or the points."""
        token, site = request.headers.get("Access-Token"), request.headers.get("SiteId")
        if (token, site) != (TOKEN, SITE_ID):
            body = {"message": "Invalid credentials."}
            raise RefusedError("token" if token != TOKEN else "site", body)
        if self.options.no_right:
            raise RefusedError("right", message(NO_RIGHT.format(party_name=PARTY_NAME)))
        if self.options.points is not None and self.counts["points"] + COST > self.options.points:
            # The documentation says that points are limited, not how the API answers without any.
            raise RefusedError("points", message(OUT_OF_POINTS))

    def page(self, question: Question, size: int) -> object:
        """Return the page that is asked for."""
        options = self.options
        since = question.since + SECOND * options.from_excluded
        until = question.until - SECOND * options.to_excluded
        found = self.account.find(since, until, question.numbers, options.order)[: options.cap]
        last = max(1, -(-len(found) // size))
        page = 1 if options.ignore_page else question.page
        if page > last and options.beyond_last == "refused":
            words = ABOVE_LAST_PAGE.format(last=last)
            raise RefusedError("value", validation_error([("pageOfResult", words)]))
        if options.beyond_last == "repeated":
            page = min(page, last)
        if not found and options.empty_as_list:
            return {"meta": [], "data": []}
        data = {
            "totalCountSms": str(len(found)) if options.total_as_text else len(found),
            "pageOfResult": question.page,
            "smsDetails": self.account.rows(
                found[(page - 1) * size : page * size], DATE_FORMATS[options.date_format]
            ),
        }
        return {"meta": [], "data": data}

    def change(self, kind: str, raw: bytes, count: int) -> None:
        """Add SMS inside the requested range, to a requested number, or delete some of it."""
        with suppress(RefusedError):
            question = read_question(raw, self.account, self.options)
            if kind == "late-rows":
                number = min(question.numbers or {NOBODY})
                seconds = min(question.until, self.account.now()) - question.since
                for k in range(count):
                    at = question.since + max(timedelta(), seconds) * k // count
                    self.account.add_late(at.replace(microsecond=0), number)
            else:
                found = self.account.find(question.since, question.until, question.numbers)
                self.account.remove(found[:: max(1, len(found) // count)][:count])

    # The control calls, see `sandbox/__init__.py`.

    async def get_stats(self, request: Request) -> Response:
        """Return the numbers."""
        listed = {"bodies": list(self.bodies), "calls": sorted(self.calls, key=itemgetter(0))}
        return JSONResponse({**self.counts, **listed})

    async def reset_stats(self, request: Request) -> Response:
        """Set all numbers back to 0."""
        self.begin()
        return JSONResponse({})

    async def forward_clock(self, request: Request) -> Response:
        """Move the clock."""
        self.account.forward += (await request.json())["forward_seconds"]
        return JSONResponse({})

    async def set_faults(self, request: Request) -> Response:
        """Replace the plan of faults."""
        try:
            self.plan = faults.Plan(await request.json())
        except ValueError as error:
            return JSONResponse({"error": str(error)}, 400)
        return JSONResponse({})

    async def get_sms(self, request: Request) -> Response:
        """Return the account."""
        return JSONResponse(self.account.rows(self.account.everything()))

    async def add_sms(self, request: Request) -> Response:
        """Add rows as they are given."""
        self.account.add(await request.json())
        return JSONResponse({})
