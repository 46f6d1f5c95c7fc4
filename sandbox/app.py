"""The method over HTTP, and the control calls."""

import asyncio
import contextlib
import gzip
import json
import random
import time
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass, field

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import (
    HTMLResponse,
    JSONResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Route

from sandbox import faults
from sandbox.account import Account, Clock, Row
from sandbox.options import DATE_FORMATS, Making, Options
from sandbox.rules import (
    FORMS,
    NO_RIGHT,
    OUT_OF_POINTS,
    STATUSES,
    Question,
    RefusedError,
    check_page,
    invalid_credentials,
    message,
    read_question,
)
from sandbox.times import DAY, wall_text
from sandbox.wire import Wire

_PATHS = (
    "/lead-service/v1/api/sms-to-clients/result",
    "/lead-service/v1/api/calltouch-leads/sms-to-clients/result",
)
PATHS = {"documented": _PATHS[:1], "under-access": _PATHS[1:], "both": _PATHS}
TOKEN = "sandbox-token-5f0c1d7e9a3b"
SITE_ID = "10777"
COST = 2  # points for a successful call, whatever it returns
PARTY_NAME = "ООО Песочница"
DUMPED_AT_ONCE = 5_000
MIXED_FORMATS = 3  # of DATE_FORMATS, the first ones
# From the range that is asked for, the range that is searched.
ENDS: dict[str, Callable[[int, int], tuple[int, int]]] = {
    "included": lambda since, until: (since, until),
    "from-excluded": lambda since, until: (since + 1, until),
    "to-excluded": lambda since, until: (since, until - 1),
    "excluded": lambda since, until: (since + 1, until - 1),
    "whole-minutes": lambda since, until: (since // 60 * 60, until // 60 * 60),
}


@dataclass
class Stats:
    """What happened to the calls since the start or the last reset."""

    served: int = 0
    limited: int = 0
    refused: int = 0
    faulted: int = 0
    points: int = 0
    bodies: deque[str] = field(default_factory=lambda: deque(maxlen=200))
    # Seconds since `begun` at which each of the last calls came, and its HTTP status; 0: none.
    calls: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=5_000))
    begun: float = field(default_factory=time.monotonic)


class Limiter:
    """Lets in at most `rate` calls from one address in any second, by their time of arrival."""

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self.arrivals: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=rate))

    def lets_in(self, address: str) -> bool:
        """Tell whether a call that arrives now is let in; calls that are not do not count."""
        arrivals, now = self.arrivals[address], time.monotonic()
        if self.rate and len(arrivals) == self.rate and now - arrivals[0] < 1:
            return False
        arrivals.append(now)
        return True


class Calltouch:
    """The service: one account, one method."""

    def __init__(self, making: Making, options: Options, plan: faults.Plan) -> None:
        self.options = options
        self.plan = plan
        self.statuses = {**STATUSES, **{reason: status for reason, status, _ in options.refusals}}
        self.forms = {reason: form for reason, _, form in options.refusals if form}
        self.clock = Clock()
        self.wire = Wire(options.unescaped_unicode, options.raw_breaks)
        self.account = Account(making, self.wire, self.clock)
        self.limiter = Limiter(options.rate)
        self.stats = Stats()

    def app(self) -> Starlette:
        """Return the ASGI application."""
        return Starlette(
            routes=[
                *(Route(path, self.method, methods=["POST"]) for path in PATHS[self.options.url]),
                Route("/_sandbox/stats", self.get_stats),
                Route("/_sandbox/reset-stats", self.reset_stats, methods=["POST"]),
                Route("/_sandbox/clock", self.forward_clock, methods=["POST"]),
                Route("/_sandbox/faults", self.set_faults, methods=["POST"]),
                Route("/_sandbox/sms", self.get_sms),
                Route("/_sandbox/sms", self.add_sms, methods=["POST"]),
                Route("/_sandbox/sms", self.delete_sms, methods=["DELETE"]),
            ],
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
        stats, came = self.stats, time.monotonic()
        response = await self.attended(request)
        stats.calls.append((round(came - stats.begun, 3), response.status_code))
        return response

    async def attended(self, request: Request) -> Response:
        """Answer a call: with 429 over the rate limit, by a fault, or as documented."""
        options = self.options
        if not self.limiter.lets_in(request.client.host if request.client else ""):
            self.stats.limited += 1
            response = faults.status_page(429)
            if options.retry_after is not None:
                response.headers["Retry-After"] = str(options.retry_after)
            return response
        raw = await request.body()
        self.stats.bodies.append(raw.decode(errors="replace"))
        rule = self.plan.next()
        if options.arriving:
            now = self.account.now()
            self.account.add([self.late_row("0000000000", now - self.account.changes % 60)])
        if options.latency:
            await asyncio.sleep(options.latency * (1 + options.jitter * random.uniform(-1, 1)))
        if rule is None:
            return await self.answer(request, raw, options.page_size)
        self.stats.faulted += 1
        call = faults.Call(
            rule,
            self.wire,
            lambda size: self.answer(request, raw, size or options.page_size, counted=False),
            lambda rows: self.add_late_rows(raw, rows),
            lambda rows: self.delete_rows(raw, rows),
        )
        return await call.answer()

    async def answer(
        self, request: Request, raw: bytes, size: int, *, counted: bool = True
    ) -> Response:
        """Answer as documented, with pages of that size."""
        try:
            self.authorize(request)
            question = self.question(raw)
            longest = self.options.longest_days
            if longest is not None and question.until - question.since > longest * DAY:
                await asyncio.sleep(self.options.too_long_seconds)
                self.stats.faulted += counted
                return faults.status_page(504)
            body = self.page(question, size)
        except RefusedError as refused:
            self.stats.limited += counted and refused.reason == "points"
            self.stats.refused += counted and refused.reason != "points"
            return self.refusal(refused)
        self.stats.points += COST
        self.stats.served += counted
        headers = {}
        if counted and self.options.gzip and "gzip" in request.headers.get("Accept-Encoding", ""):
            body, headers = gzip.compress(body, 1), {"Content-Encoding": "gzip"}
        return Response(body, headers=headers, media_type="application/json")

    def refusal(self, refused: RefusedError) -> Response:
        """Answer a refused call, as documented or as the options say."""
        status, form = self.statuses[refused.reason], self.forms.get(refused.reason)
        if form == "html":
            return HTMLResponse(faults.page("Calltouch"), status)
        body = self.wire.encode(FORMS[form] if form else refused.body)
        return Response(body, status, media_type="application/json")

    def authorize(self, request: Request) -> None:
        """Refuse a call without a valid token, the right or the points."""
        token, site = request.headers.get("Access-Token"), request.headers.get("SiteId")
        if (token, site) != (TOKEN, SITE_ID):
            raise RefusedError("token" if token != TOKEN else "site", invalid_credentials())
        if self.options.no_right:
            raise RefusedError("right", message(NO_RIGHT.format(party_name=PARTY_NAME)))
        if self.options.points is not None and self.stats.points + COST > self.options.points:
            # The documentation says that points are limited, not how the API answers without any.
            raise RefusedError("points", message(OUT_OF_POINTS))

    def page(self, question: Question, size: int) -> bytes:
        """Return the page that is asked for."""
        options = self.options
        since, until = ENDS[options.ends](question.since, question.until)
        found = self.account.find(since, until, question.numbers, options.order)[: options.cap]
        page, last = question.page, max(1, -(-len(found) // size))
        if options.ignore_page:
            page = 1
        elif options.beyond_last == "refused":
            check_page(page, last)
        elif options.beyond_last == "repeated":
            page = min(page, last)
        if not found and options.empty_as_list:
            return self.wire.encode({"meta": [], "data": []})
        form = options.date_format
        if form == "mixed":
            form = list(DATE_FORMATS)[self.plan.calls % MIXED_FORMATS]
        rows = self.account.written(
            found,
            (page - 1) * size,
            page * size,
            DATE_FORMATS[form],
            shuffled=options.order == "ties",
        )
        total = f'"{len(found)}"' if options.total_as_text else len(found)
        return (
            f'{{"meta":[],"data":{{"totalCountSms":{total},"pageOfResult":{question.page},'
            f'"smsDetails":[{",".join(rows)}]}}}}'
        ).encode()

    def question(self, raw: bytes) -> Question:
        """Read a body."""
        return read_question(raw, self.account.now() // DAY, self.options)

    def add_late_rows(self, raw: bytes, count: int) -> None:
        """Add SMS inside the requested range, to a requested phone number."""
        with contextlib.suppress(RefusedError):
            question = self.question(raw)
            number = min(question.numbers or {"0000000000"})
            since, until = question.since, min(question.until, self.account.now())
            for k in range(count):
                late = since + max(0, until - since) * k // count
                self.account.add([self.late_row(number, late)])

    def late_row(self, number: str, wall: int) -> Row:
        """Return an SMS that appears later than others, to the number with these ten digits."""
        return {
            "phoneNumber": "7" + number,
            "dateSent": wall_text(wall),
            "smsStatus": "sent",
            "smsStatusDetail": "Передано оператору",
            "smsMessage": f"Это SMS появилось позже других: {self.account.changes}",
        }

    def delete_rows(self, raw: bytes, count: int) -> None:
        """Delete some of the requested SMS, spread evenly over time."""
        with contextlib.suppress(RefusedError):
            question = self.question(raw)
            found = self.account.find(question.since, question.until, question.numbers)
            places = {len(found) * k // count for k in range(count if found else 0)}
            self.account.remove([found[place] for place in places])

    async def get_stats(self, request: Request) -> Response:
        """Return the counts, the last bodies (parsed if they are JSON) and the last calls."""
        stats = asdict(self.stats)
        del stats["begun"]
        stats["bodies"] = [_read(body) for body in self.stats.bodies]
        stats["calls"] = sorted(self.stats.calls)
        return JSONResponse(stats)

    async def reset_stats(self, request: Request) -> Response:
        """Set all counts back to 0."""
        self.stats = Stats()
        return JSONResponse({})

    async def forward_clock(self, request: Request) -> Response:
        """Move the clock."""
        self.clock.offset += float((await request.json())["forward_seconds"])
        return JSONResponse({})

    async def set_faults(self, request: Request) -> Response:
        """Replace the plan of faults."""
        try:
            self.plan = faults.read_plan(await request.json())
        except ValueError as error:
            return _wrong(str(error))
        return JSONResponse({})

    async def get_sms(self, request: Request) -> Response:
        """Return the account as JSON lines."""

        async def lines() -> AsyncIterator[str]:
            everything = self.account.everything()
            for start in range(0, len(everything), DUMPED_AT_ONCE):
                stop = start + DUMPED_AT_ONCE
                rows = self.account.written(everything, start, stop, form="truth")
                yield "\n".join(rows) + "\n"
                await asyncio.sleep(0)  # other calls go in between

        return StreamingResponse(lines(), media_type="application/x-ndjson")

    async def add_sms(self, request: Request) -> Response:
        """Add rows as they are given."""
        self.account.add(await request.json())
        return JSONResponse({})

    async def delete_sms(self, request: Request) -> Response:
        """For each given row delete one SMS with its phone number, second and text."""
        for row in await request.json():
            sms = self.account.like(row)
            if sms is None:
                return _wrong(f"no such SMS: {row}")
            self.account.remove([sms])
        return JSONResponse({})


def _read(body: str) -> object:
    try:
        return json.loads(body)
    except ValueError:
        return body


def _wrong(text: str) -> Response:
    return JSONResponse({"error": text}, 400)
