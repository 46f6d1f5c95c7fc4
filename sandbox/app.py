"""The method over HTTP, the web page that shows the account, and the control calls."""

import asyncio
import gzip
import json
import random
import time
from collections import OrderedDict, defaultdict, deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache, partial

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
from sandbox.account import (
    DAY,
    DAY_FORMAT,
    Account,
    Clock,
    Making,
    Row,
    Selection,
    Writer,
    wall_seconds,
    wall_text,
)
from sandbox.home import home_page
from sandbox.rules import (
    FORMS,
    NO_RIGHT,
    OUT_OF_POINTS,
    STATUSES,
    Question,
    Reading,
    RefusedError,
    check_page,
    invalid_credentials,
    message,
    read_question,
)
from sandbox.wire import Wire

PATH = "/lead-service/v1/api/sms-to-clients/result"
PATH_UNDER_ACCESS = "/lead-service/v1/api/calltouch-leads/sms-to-clients/result"
PATHS = {
    "documented": (PATH,),
    "under-access": (PATH_UNDER_ACCESS,),
    "both": (PATH, PATH_UNDER_ACCESS),
}
TOKEN = "sandbox-token-5f0c1d7e9a3b"
SITE_ID = "10777"
COST = 2  # points for a successful call, whatever it returns
PARTY_NAME = "ООО Песочница"
CACHED_BYTES = 256 * 1024 * 1024
BODIES = 200
CALLS = 5_000
DUMPED_AT_ONCE = 5_000
IDENTITY = ("phoneNumber", "dateSent", "smsMessage")


@dataclass(frozen=True)
class Options:
    """How the sandbox behaves. The defaults are what Calltouch's documentation says."""

    url: str = "documented"  # a key of PATHS
    page_size: int = 10_000
    rate: int = 5  # calls in any second from one address; 0: no limit
    retry_after: int | None = None  # seconds, for the calls over that rate; None: no such header
    points: int | None = None  # for the day; None: no limit
    latency: float = 0.0  # seconds
    jitter: float = 0.0  # by what share of itself the latency varies
    max_days: int | None = None  # a longer range is a violation; None: no range is
    kept_days: int | None = None  # older days are a violation; None: no day is too old
    cap: int | None = None  # no more SMS of a range are counted or found; None: all
    longest_days: int | None = None  # a longer range gets 504; None: no range is too long
    too_long_seconds: float = 0.0
    order: str = "mixed"
    arriving: bool = False
    date_format: str = "dd-mm-yyyy"
    gzip: bool = False
    total_as_text: bool = False
    no_right: bool = False
    empty_as_list: bool = False
    unescaped_unicode: bool = False
    raw_breaks: bool = False
    allow: Sequence[str] = ()  # of rules.ALLOWANCES
    refuse: Sequence[str] = ()  # of rules.REFUSALS
    refusals: Sequence[tuple[str, int, str]] = ()  # reason, HTTP status, form or "" for its own
    ends: str = "included"  # of ENDS
    beyond_last: str = "refused"  # refused, empty or repeated
    ignore_page: bool = False
    elsewhere: str = "404"  # what other addresses answer: 404, help or redirect


DATE_FORMATS = {
    "dd-mm-yyyy": DAY_FORMAT,
    "dd.mm.yyyy": "%d.%m.%Y",
    "yyyy-mm-dd": "%Y-%m-%d",
    "mm/dd/yyyy": "%m/%d/%Y",
}
MIXED_FORMATS = 3  # of them, the first ones
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
    bodies: deque[str] = field(default_factory=lambda: deque(maxlen=BODIES))
    # Seconds since `begun` at which each of the last calls came, and its HTTP status; 0: none.
    calls: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=CALLS))
    begun: float = field(default_factory=time.monotonic)


class Limiter:
    """Lets in at most `rate` calls from one address in any second, by their time of arrival."""

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self.arrivals: defaultdict[str, deque[float]] = defaultdict(deque)

    def lets_in(self, address: str) -> bool:
        """Tell whether a call that arrives now is let in; calls that are not do not count."""
        if self.rate == 0:
            return True
        arrivals, now = self.arrivals[address], time.monotonic()
        while arrivals and now - arrivals[0] >= 1:
            arrivals.popleft()
        if len(arrivals) >= self.rate:
            return False
        arrivals.append(now)
        return True


class PageCache:
    """Written pages, valid until a status changes; the least recently used make room for others."""

    def __init__(self, limit: int = CACHED_BYTES) -> None:
        self.limit = limit
        self.size = 0
        self.pages: OrderedDict[object, tuple[bytes, float]] = OrderedDict()

    def get(self, key: object, now: float) -> bytes | None:
        """Return the page if it is cached and its statuses still hold."""
        page, valid_until = self.pages.get(key, (None, 0.0))
        if page is None or now >= valid_until:
            return None
        self.pages.move_to_end(key)
        return page

    def put(self, key: object, page: bytes, valid_until: float) -> None:
        """Keep a page."""
        self.size += len(page) - len(self.pages.pop(key, (b"", 0.0))[0])
        self.pages[key] = page, valid_until
        while self.size > self.limit:
            _, (dropped, _) = self.pages.popitem(last=False)
            self.size -= len(dropped)


class Calltouch:
    """The service: one account, one method."""

    def __init__(self, making: Making, options: Options, plan: faults.Plan) -> None:
        self.making = making
        self.options = options
        self.plan = plan
        self.reading = Reading(
            options.allow,
            options.refuse,
            {**STATUSES, **{reason: status for reason, status, _ in options.refusals}},
            {reason: form for reason, _, form in options.refusals if form},
            options.max_days,
            options.kept_days,
        )
        self.clock = Clock()
        self.account = Account(making, self.clock)
        self.wire = Wire(options.unescaped_unicode, options.raw_breaks)
        self.writer = Writer(self.account, self.wire)
        self.truth = Writer(self.account, Wire(unescaped_unicode=True))
        self.limiter = Limiter(options.rate)
        self.stats = Stats()
        self.cache = PageCache()
        # The pages of one selection are asked for one by one. `changes` is part of the key, since a
        # change of the account makes it another selection.
        self.select = lru_cache(8)(self._select)

    def app(self) -> Starlette:
        """Return the ASGI application."""
        return Starlette(
            routes=[
                *(Route(path, self.method, methods=["POST"]) for path in PATHS[self.options.url]),
                Route("/", self.home),
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

    async def method(self, request: Request) -> Response:
        """Answer a call of the method; note when it came and which status it got."""
        stats, came = self.stats, time.monotonic()
        response = await self.attended(request)
        stats.calls.append((round(came - stats.begun, 3), response.status_code))
        return response

    async def attended(self, request: Request) -> Response:
        """Answer a call: with 429 over the rate limit, by a fault, or as documented."""
        if not self.limiter.lets_in(request.client.host if request.client else ""):
            self.stats.limited += 1
            response = faults.status_page(429)
            if self.options.retry_after is not None:
                response.headers["Retry-After"] = str(self.options.retry_after)
            return response
        raw = await request.body()
        self.stats.bodies.append(raw.decode(errors="replace"))
        rule = self.plan.next()
        if self.options.arriving:
            now = self.account.now()
            self.account.add([self.late_row("0000000000", now - self.account.changes % 60)])
        if self.options.latency:
            await asyncio.sleep(self.latency())
        if rule is None:
            return await self.answer(request, raw, self.options.page_size)
        self.stats.faulted += 1
        call = faults.Call(
            rule,
            self.wire,
            lambda size: self.answer(request, raw, size or self.options.page_size, counted=False),
            lambda rows: self.add_late_rows(raw, rows),
            lambda rows: self.delete_rows(raw, rows),
        )
        return await call.answer()

    def latency(self) -> float:
        """Return the seconds before the next answer."""
        return self.options.latency * (1 + self.options.jitter * random.uniform(-1, 1))

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
            gzipped = counted and self.options.gzip and _takes_gzip(request)
            body = self.page_body(question, size, gzipped=gzipped)
        except RefusedError as refused:
            self.stats.limited += counted and refused.reason == "points"
            self.stats.refused += counted and refused.reason != "points"
            return self.refusal(refused)
        self.stats.points += COST
        self.stats.served += counted
        headers = {"Content-Encoding": "gzip"} if gzipped else {}
        return Response(body, headers=headers, media_type="application/json")

    def refusal(self, refused: RefusedError) -> Response:
        """Answer a refused call, as documented or as the reading says."""
        status = self.reading.statuses[refused.reason]
        form = self.reading.forms.get(refused.reason)
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

    def page_body(self, question: Question, size: int, *, gzipped: bool) -> bytes:
        """Return the page that is asked for."""
        since, until = ENDS[self.options.ends](question.since, question.until)
        question = replace(question, since=since, until=self.account.shown(until))
        day_format = DATE_FORMATS[self.date_format()]
        if self.options.order == "ties":  # no page is the same twice
            body, _ = self.written_page(question, size, day_format)
            return gzip.compress(body, 1) if gzipped else body
        key = (question, self.account.changes, size, day_format, gzipped)
        page = self.cache.get(key, self.clock.now())
        if page is None:
            page, valid_until = self.written_page(question, size, day_format)
            page = gzip.compress(page, 1) if gzipped else page
            self.cache.put(key, page, valid_until)
        return page

    def date_format(self) -> str:
        """Return how this answer writes dates."""
        if self.options.date_format == "mixed":
            return list(DATE_FORMATS)[self.plan.calls % MIXED_FORMATS]
        return self.options.date_format

    def written_page(self, question: Question, size: int, day_format: str) -> tuple[bytes, float]:
        """Write a page; return it with the instant until which it holds."""
        selection = self._current(question)
        if self.options.cap is not None:
            selection = Selection(selection.made[: self.options.cap], [])
        page, last = question.page, max(1, -(-selection.total // size))
        if self.options.ignore_page:
            page = 1
        elif self.options.beyond_last == "refused":
            check_page(page, last)
        elif self.options.beyond_last == "repeated":
            page = min(page, last)
        if selection.total == 0 and self.options.empty_as_list:
            return self.wire.encode({"meta": [], "data": []}), float("inf")
        start = (page - 1) * size
        rows = self.account.page(selection, self.options.order, start, start + size)
        written, valid_until = self.writer.rows(rows, ",", day_format)
        body = (
            f'{{"meta":[],"data":{{"totalCountSms":{self.total_text(selection.total)},'
            f'"pageOfResult":{question.page},"smsDetails":[{written}]}}}}'
        )
        return body.encode(), valid_until

    def total_text(self, total: int) -> str:
        """Return `totalCountSms` as JSON."""
        return f'"{total}"' if self.options.total_as_text else str(total)

    def _current(self, question: Question) -> Selection:
        changes = self.account.changes
        return self.select(question.since, question.until, question.numbers, changes)

    def _select(
        self, since: int, until: int, numbers: frozenset[str] | None, _changes: int
    ) -> Selection:
        return self.account.select(since, until, numbers)

    def add_late_rows(self, raw: bytes, count: int) -> None:
        """Add SMS inside the requested range, to a requested phone number."""
        try:
            question = self.question(raw)
        except RefusedError:
            return
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
        try:
            question = self.question(raw)
        except RefusedError:
            return
        selection = self._current(question)
        places = {selection.total * k // count for k in range(count if selection.total else 0)}
        pick = partial(self.account.page, selection, "ascending")
        self.account.remove([row for place in places for row in pick(place, place + 1)])

    def question(self, raw: bytes) -> Question:
        """Read a body."""
        return read_question(raw, self.account.now() // DAY, self.reading)

    def config(self, url: str) -> dict[str, object]:
        """Return a config.json for the connector."""
        day, month, year = wall_text(self.account.first_wall)[:10].split("-")
        return {
            "access_token": TOKEN,
            "site_id": SITE_ID,
            "start_date": f"{year}-{month}-{day}",
            "timezone": self.making.zone,
            "api_url": url,
        }

    async def home(self, request: Request) -> Response:
        """Show what this is."""
        url = str(request.url.replace(path=PATHS[self.options.url][0], query=""))
        facts = {
            "URL": url,
            "Access token": TOKEN,
            "Site id": SITE_ID,
            "Time zone": self.making.zone,
            "SMS in the account": f"{len(self.account):,}",
        }
        stats = self.stats
        counts = {
            "Calls served": stats.served,
            "Calls over the limit (429)": stats.limited,
            "Calls refused": stats.refused,
            "Calls answered by a fault": stats.faulted,
            "Points spent": stats.points,
        }
        return HTMLResponse(home_page(facts, counts, json.dumps(self.config(url), indent=2)))

    async def elsewhere(self, _request: Request, _error: Exception) -> Response:
        """Answer at an address that is not the method's."""
        if self.options.elsewhere == "redirect":
            return RedirectResponse("https://calltouch.invalid/help", 302)
        if self.options.elsewhere == "help":
            return HTMLResponse(faults.page("Помощь Calltouch"))
        return faults.status_page(404)

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
        body = _read(await request.body())
        seconds = body.get("forward_seconds") if isinstance(body, dict) else None
        if not isinstance(seconds, int | float) or seconds < 0:
            return _wrong("forward_seconds is a number from 0")
        self.clock.offset += seconds
        return JSONResponse({"offset_seconds": self.clock.offset})

    async def set_faults(self, request: Request) -> Response:
        """Replace the plan of faults."""
        try:
            self.plan = faults.read_plan(_read(await request.body()))
        except ValueError as error:
            return _wrong(str(error))
        return JSONResponse({"rules": len(self.plan.rules)})

    async def get_sms(self, request: Request) -> Response:
        """Return the account as JSON lines."""

        async def lines() -> AsyncIterator[str]:
            everything = self.account.everything()
            for start in range(0, everything.total, DUMPED_AT_ONCE):
                stop = start + DUMPED_AT_ONCE
                rows = self.account.page(everything, "ascending", start, stop)
                yield self.truth.rows(rows, "\n")[0] + "\n"
                await asyncio.sleep(0)  # other calls go in between

        return StreamingResponse(lines(), media_type="application/x-ndjson")

    async def add_sms(self, request: Request) -> Response:
        """Add rows as they are given."""
        rows = _read(await request.body())
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            return _wrong("the body is a list of objects")
        self.account.add(rows)
        return JSONResponse({"added": len(rows)})

    async def delete_sms(self, request: Request) -> Response:
        """For each given row delete one SMS with its phone number, second and text."""
        given = _read(await request.body())
        if not isinstance(given, list) or not all(isinstance(row, dict) for row in given):
            return _wrong("the body is a list of objects")
        for row in given:
            wall = wall_seconds(str(row.get("dateSent")))
            same = self.account.select(wall, wall) if wall is not None else Selection([], [])
            for sms in self.account.page(same, "ascending", 0, same.total):
                written = json.loads(self.truth.rows([sms], "")[0])
                if all(written.get(name) == row.get(name) for name in IDENTITY):
                    self.account.remove([sms])
                    break
            else:
                return _wrong(f"no such SMS: {row}")
        return JSONResponse({"deleted": len(given)})


def _takes_gzip(request: Request) -> bool:
    return "gzip" in request.headers.get("Accept-Encoding", "")


def _read(body: str | bytes) -> object:
    try:
        return json.loads(body)
    except ValueError:
        return body if isinstance(body, str) else None


def _wrong(text: str) -> Response:
    return JSONResponse({"error": text}, 400)
