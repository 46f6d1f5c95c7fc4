"""The method over HTTP, the page that shows the account, and the control calls."""

import asyncio
import json
import time
from collections import OrderedDict, defaultdict, deque
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, field
from functools import lru_cache

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from sandbox import faults
from sandbox.account import (
    Account,
    Clock,
    Making,
    Selection,
    Writer,
    wall_text,
)
from sandbox.home import home_page
from sandbox.rules import (
    NO_RIGHT,
    OUT_OF_POINTS,
    Question,
    RefusedError,
    check_page,
    invalid_credentials,
    message,
    read_question,
)
from sandbox.wire import Wire

PATH = "/lead-service/v1/api/sms-to-clients/result"
TOKEN = "sandbox-token-5f0c1d7e9a3b"
SITE_ID = "10777"
COST = 2  # points for a successful call, whatever it returns
PARTY_NAME = "ООО Песочница"
CACHED_BYTES = 256 * 1024 * 1024
BODIES = 200
DUMPED_AT_ONCE = 5_000


@dataclass(frozen=True)
class Options:
    """How the sandbox behaves. The defaults are as the method's page says."""

    page_size: int = 10_000
    rate: int = 5  # calls in any second from one address; 0: no limit
    points: int | None = None  # of the day; None: no limit
    latency: float = 0.0  # seconds
    order: str = "mixed"
    no_right: bool = False
    empty_as_list: bool = False
    unescaped_unicode: bool = False
    raw_breaks: bool = False


@dataclass
class Stats:
    """What came of the calls since the start or the last reset."""

    served: int = 0
    limited: int = 0
    refused: int = 0
    faulted: int = 0
    points: int = 0
    bodies: deque[str] = field(default_factory=lambda: deque(maxlen=BODIES))


class Limiter:
    """Lets in at most `rate` calls of one address in any second, by their time of arrival."""

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self.arrivals: defaultdict[str, deque[float]] = defaultdict(deque)

    def lets_in(self, address: str) -> bool:
        """Tell whether a call that arrives now is let in; only then it counts."""
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
    """Pages as they went out, until a status changes: the least used go when there are too many."""

    def __init__(self, limit: int = CACHED_BYTES) -> None:
        self.limit = limit
        self.size = 0
        self.pages: OrderedDict[object, tuple[bytes, float]] = OrderedDict()

    def get(self, key: object, now: float) -> bytes | None:
        """Return the page, if it is there and its statuses are still so."""
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
        self.clock = Clock()
        self.account = Account(making, self.clock)
        self.wire = Wire(options.unescaped_unicode, options.raw_breaks)
        self.writer = Writer(self.account, self.wire)
        self.truth = Writer(self.account, Wire(unescaped_unicode=True))
        self.limiter = Limiter(options.rate)
        self.stats = Stats()
        self.cache = PageCache()
        # One selection is asked for page by page. `added_ever` is in the key: it is a new one then.
        self.select = lru_cache(8)(self._select)

    def app(self) -> Starlette:
        """Return the ASGI application."""
        return Starlette(
            routes=[
                Route(PATH, self.method, methods=["POST"]),
                Route("/", self.home),
                Route("/_sandbox/stats", self.get_stats),
                Route("/_sandbox/reset-stats", self.reset_stats, methods=["POST"]),
                Route("/_sandbox/clock", self.forward_clock, methods=["POST"]),
                Route("/_sandbox/faults", self.set_faults, methods=["POST"]),
                Route("/_sandbox/sms", self.get_sms),
                Route("/_sandbox/sms", self.add_sms, methods=["POST"]),
            ],
            exception_handlers={404: _not_found},
        )

    async def method(self, request: Request) -> Response:
        """Answer a call of the method."""
        if not self.limiter.lets_in(request.client.host if request.client else ""):
            self.stats.limited += 1
            return faults.status_page(429, faults.STATUSES["429"])
        raw = await request.body()
        self.stats.bodies.append(raw.decode(errors="replace"))
        rule = self.plan.next()
        if self.options.latency:
            await asyncio.sleep(self.options.latency)
        if rule is None:
            return self.answer(request, raw)
        self.stats.faulted += 1
        fault = faults.Fault(
            rule,
            self.wire,
            lambda less: self.answer(request, raw, less=less, counted=False),
            lambda rows: self.add_late_rows(raw, rows),
        )
        return await fault.answer()

    def answer(
        self, request: Request, raw: bytes, *, less: int = 0, counted: bool = True
    ) -> Response:
        """Answer as the page says, its rows short of `less`."""
        status = 200
        try:
            self.authorize(request)
            body = self.page_body(read_question(raw, self.account.today()), less)
            self.stats.points += COST
        except RefusedError as refused:
            status, body = refused.status, self.wire.encode(refused.body)
        if counted:
            self.stats.served += status == 200
            self.stats.limited += status == 429
            self.stats.refused += status not in {200, 429}
        return Response(body, status, media_type="application/json")

    def authorize(self, request: Request) -> None:
        """Refuse a call that may not be made."""
        headers = request.headers
        if (headers.get("Access-Token"), headers.get("SiteId")) != (TOKEN, SITE_ID):
            raise invalid_credentials()
        if self.options.no_right:
            raise message(403, NO_RIGHT.format(party_name=PARTY_NAME))
        if self.options.points is not None and self.stats.points + COST > self.options.points:
            # The page says that there is a daily number of points, not how its end is answered.
            raise message(429, OUT_OF_POINTS)

    def page_body(self, question: Question, less: int) -> bytes:
        """Return the page that is asked for."""
        key = (question, self.account.added_ever, less)
        page = self.cache.get(key, self.clock.now())
        if page is None:
            page, valid_until = self.written_page(question, less)
            self.cache.put(key, page, valid_until)
        return page

    def written_page(self, question: Question, less: int) -> tuple[bytes, float]:
        """Write a page; return it with the instant until which it stays so."""
        selection, size = self._current(question), self.options.page_size
        check_page(question.page, -(-selection.total // size))
        if selection.total == 0 and self.options.empty_as_list:
            return self.wire.encode({"meta": [], "data": []}), float("inf")
        start = (question.page - 1) * size
        rows = self.account.page(selection, self.options.order, start, start + size)
        written, valid_until = self.writer.rows(rows[: max(0, len(rows) - less)], ",")
        body = (
            f'{{"meta":[],"data":{{"totalCountSms":{selection.total},'
            f'"pageOfResult":{question.page},"smsDetails":[{written}]}}}}'
        )
        return body.encode(), valid_until

    def _current(self, question: Question) -> Selection:
        added = self.account.added_ever
        return self.select(question.since, question.until, question.numbers, added)

    def _select(
        self, since: int, until: int, numbers: frozenset[str] | None, _added_ever: int
    ) -> Selection:
        return self.account.select(since, until, numbers)

    def add_late_rows(self, raw: bytes, count: int) -> None:
        """Add SMS inside the range that a body asks for, to a number that it asks for."""
        try:
            question = read_question(raw, self.account.today())
        except RefusedError:
            return
        number = "7" + min(question.numbers or {"0000000000"})
        until = max(question.since, min(question.until, self.account.wall_of(time.time())))
        self.account.add(
            [
                {
                    "phoneNumber": number,
                    "dateSent": wall_text(question.since + (until - question.since) * k // count),
                    "smsStatus": "sent",
                    "smsStatusDetail": "Передано оператору",
                    "smsMessage": f"Это SMS появилось позже других: {self.account.added_ever + k}",
                }
                for k in range(count)
            ]
        )

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
        url = str(request.url.replace(path=PATH, query=""))
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

    async def get_stats(self, request: Request) -> Response:
        """Return the numbers and the last bodies, read where they are JSON."""
        stats = asdict(self.stats)
        stats["bodies"] = [_read(body) for body in self.stats.bodies]
        return JSONResponse(stats)

    async def reset_stats(self, request: Request) -> Response:
        """Set all numbers back."""
        self.stats = Stats()
        return JSONResponse({})

    async def forward_clock(self, request: Request) -> Response:
        """Move the clock of the statuses."""
        body = _read(await request.body())
        seconds = body.get("forward_seconds") if isinstance(body, dict) else None
        if not isinstance(seconds, int | float) or seconds < 0:
            return _wrong("forward_seconds is a number from 0")
        self.clock.offset += seconds
        return JSONResponse({"offset_seconds": self.clock.offset})

    async def set_faults(self, request: Request) -> Response:
        """Replace the plan."""
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


def _read(body: str | bytes) -> object:
    try:
        return json.loads(body)
    except ValueError:
        return body if isinstance(body, str) else None


def _wrong(text: str) -> Response:
    return JSONResponse({"error": text}, 400)


async def _not_found(_request: Request, _error: Exception) -> Response:
    return faults.status_page(404, "Not Found")
