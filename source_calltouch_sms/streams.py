"""The stream `sms_messages` in the CDK's words: the request, the answer, the cursor.

The hooks are pure: each can be called by itself. In which order windows are read, and what proves
one, `reader.py` and `completeness.py` say.
"""

import json
import logging
import time
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from datetime import datetime, timedelta
from functools import partial
from http.cookiejar import DefaultCookiePolicy
from typing import Any, Final, NamedTuple

import pendulum
import requests
from airbyte_cdk.models import SyncMode
from airbyte_cdk.sources.streams.call_rate import LimiterSession
from airbyte_cdk.sources.streams.core import StreamData
from airbyte_cdk.sources.streams.http import HttpClient, HttpStream

from source_calltouch_sms import api
from source_calltouch_sms.completeness import Answer
from source_calltouch_sms.config import Config
from source_calltouch_sms.cursor import Plan, plan_sync, read_cursor
from source_calltouch_sms.error_handler import CalltouchBackoffStrategy, CalltouchErrorHandler
from source_calltouch_sms.fetcher import Fetcher, Transport
from source_calltouch_sms.messages import print_rate_limited, record_messages
from source_calltouch_sms.prefetcher import Prefetcher
from source_calltouch_sms.rate_limiter import RETRY_SECONDS, RateLimiter
from source_calltouch_sms.reader import Reader, WindowEnd
from source_calltouch_sms.records import RecordMaker, wall_time, zoned
from source_calltouch_sms.windows import SECOND, PageRequest, Window

LAG: Final = timedelta(minutes=1)
"""How far back "now" is: clocks differ, and the newest seconds are still being written."""


class Timeouts(NamedTuple):
    """For how many seconds to wait."""

    connect: float
    read: float
    """For an answer's beginning, and for more of it."""
    answer: float
    """For a whole answer: one that is sent byte by byte never times out."""
    retry: float
    """For a request to succeed, with all its tries."""


SYNC: Final = Timeouts(connect=10, read=120, answer=300, retry=RETRY_SECONDS)
CHECK: Final = Timeouts(connect=10, read=15, answer=15, retry=10)
"""A person waits for a check: half a minute at the most."""


class SmsMessages(HttpStream):
    """The SMS sent to a client base, one record each.

    A slice is what is not read yet, from its `dateFrom` to its `dateTo`. Of it, `read_records`
    reads the oldest window; then comes a checkpoint. The state is the latest `dateSent` of the
    windows read, and what `cursor.py` keeps beside it.
    """

    primary_key = "smsKey"
    cursor_field = "dateSent"
    http_method = "POST"
    url_base = ""
    """The setting `api_url` is the whole address: see `path`."""

    def __init__(
        self,
        config: Config,
        now: datetime | None = None,
        *,
        timeouts: Timeouts = SYNC,
        rate_limiter: RateLimiter | None = None,
    ) -> None:
        self._config = config
        self._now = (now or pendulum.now()) - LAG
        self._timeouts = timeouts
        self._rate_limiter = rate_limiter or RateLimiter()
        transport, max_seconds = Transport(timeouts.answer), timeouts.retry + timeouts.read
        self._fetcher = Fetcher(self._fetch, transport, self._rate_limiter, max_seconds)
        self._record_maker = RecordMaker(config.site_id, config.zone)
        self._sync: Sync | None = None
        self._error_handler = CalltouchErrorHandler(
            secrets=(config.access_token,),
            retry_timeout=timeouts.retry,
            now=wall_time(self._now, config.zone),
        )
        super().__init__(api_budget=self._rate_limiter)
        # At debug the CDK's HTTP client logs bodies, which hold numbers and texts.
        self.logger.setLevel(logging.INFO)
        self._state: MutableMapping[str, Any] = {}
        self._http_client = HttpClient(
            name=self.name,
            logger=self.logger,
            error_handler=self._error_handler,
            backoff_strategy=self.get_backoff_strategy(),
            session=_Session(transport, self._rate_limiter),
        )

    # The request, as in Calltouch's documentation.

    def path(self, **_: Any) -> str:
        """The method's full address."""
        return self._config.api_url

    def request_headers(self, *_: Any, **__: Any) -> Mapping[str, Any]:
        """Token and Site ID; the CDK adds the content type."""
        return {"Access-Token": self._config.access_token, "SiteId": self._config.site_id}

    def request_body_json(
        self, stream_state: Any, stream_slice: Any = None, next_page_token: Any = None
    ) -> Mapping[str, Any]:
        """The range; phone numbers, if any are set; the page, from the second one on."""
        numbers = list(self._config.phone_numbers)
        body = {"phoneNumbers": numbers} if numbers else {}
        return {**body, **(stream_slice or {}), **(next_page_token or {})}

    def request_kwargs(self, *_: Any, **__: Any) -> Mapping[str, Any]:
        """Timeouts, since the CDK sets none; no redirects, which would take the token along."""
        timeout = (self._timeouts.connect, self._timeouts.read)
        return {"timeout": timeout, "allow_redirects": False}

    def get_error_handler(self) -> CalltouchErrorHandler:
        """What an answer means: see `error_handler.py`."""
        return self._error_handler

    def get_backoff_strategy(self) -> CalltouchBackoffStrategy:
        """How long to wait before the next try."""
        return CalltouchBackoffStrategy()

    # The answer.

    def parse_response(self, response: requests.Response, **_: Any) -> Iterable[Mapping[str, Any]]:
        """Return the page's records.

        Raises:
            AirbyteTracedException: the body is no page, or none of its dates can be read.
        """
        return self._parse(response).records

    def next_page_token(self, response: requests.Response) -> Mapping[str, Any] | None:
        """Return the next page's number, until `totalCountSms` is reached.

        The CDK's own loop would page by it; the reader asks for several pages at once.
        """
        page = _body(response).get("pageOfResult", 1)
        answer = self._parse(response)
        is_last = (page - 1) * api.PAGE_SIZE + len(answer.records) >= answer.total
        return None if is_last or not answer.records else {"pageOfResult": page + 1}

    def _parse(self, response: requests.Response) -> Answer:
        try:
            page = api.read_page(response.content, response.headers.get("Content-Type", ""))
        except api.ErrorBody as body:
            raise self._error_handler.explain(body, response) from None
        window = _window(_body(response))
        return Answer(page.total, list(self._record_maker.records(page.rows, *window)))

    # The cursor.

    def stream_slices(
        self, *, sync_mode: SyncMode, stream_state: Mapping[str, Any] | None = None, **_: Any
    ) -> Iterable[Mapping[str, Any]]:
        """Yield what is not read yet, as long as there is something and somebody reads it."""
        if stream_state is not None:
            self.state = dict(stream_state)
        plan = plan_sync(self._config, self.state, self._now, sync_mode)
        if not plan:
            self.logger.info("There is nothing to read: the period to read ends before it begins.")
            return
        for sync in self._steps(plan):
            yield _slice(Window(sync.reader.windows[0].start, plan.window.end))

    def read_records(
        self,
        sync_mode: SyncMode,
        cursor_field: list[str] | None = None,
        stream_slice: Mapping[str, Any] | None = None,
        stream_state: Mapping[str, Any] | None = None,
    ) -> Iterator[StreamData]:
        """Yield the records of the slice's oldest window; outside of a sync, those of all of it.

        Raises:
            AirbyteTracedException: a request failed for good, or a window is incomplete.
        """
        if self._sync:
            yield from self._read_window(self._sync)
        elif stream_slice:
            for sync in self._steps(Plan(_window(stream_slice), "Slice", {})):
                yield from self._read_window(sync)

    def _read_window(self, sync: "Sync") -> Iterator[StreamData]:
        try:
            for step in sync.reader.read_next_window():
                if isinstance(step, WindowEnd):
                    self._move_cursor(step)
                else:
                    yield from record_messages(self.name, step)
        except BaseException:  # also where the CDK just stops reading
            self._end()
            raise
        if sync.reader.error:
            before = zoned(sync.plan.window.start - SECOND, self._config.zone)
            self.state = sync.state or {self.cursor_field: before}
        elif not sync.reader.windows:
            self.state = {**self.state, **sync.plan.state}

    def _move_cursor(self, end: WindowEnd) -> None:
        """Move the cursor to a window's latest SMS; never beyond the window, and never back."""
        if end.latest:
            latest = min(datetime.fromisoformat(end.latest[:19]), end.window.end)
            before = read_cursor(self.state, self._config.zone)
            if before is None or latest > before:
                self.state = {**self.state, self.cursor_field: zoned(latest, self._config.zone)}

    def _steps(self, plan: Plan) -> Iterator["Sync"]:
        """Begin a sync and yield it before each window, as long as somebody reads it; end it.

        Raises:
            AirbyteTracedException: all windows were read, but together they lack SMS.
        """
        report = partial(print_rate_limited, self.name)
        prefetcher = Prefetcher(self._fetcher, self._parse, plan.window, report)
        reader = Reader(prefetcher, require_complete_windows=self._config.require_complete_windows)
        sync = self._sync = Sync(plan, reader, dict(self.state), time.monotonic())
        try:
            before = -1
            while reader.windows and reader.read > before:
                before = reader.read
                yield sync
            if reader.error:
                raise reader.error
        finally:
            self._end()

    def _end(self) -> None:
        """Make no further request; log what the sync did."""
        sync, self._sync = self._sync, None
        if not sync:
            return
        reader, limiter = sync.reader, self._rate_limiter
        reader.close()
        seconds = time.monotonic() - sync.started
        self.logger.info(
            f"{sync.plan.kind}: {reader.sms} SMS in {reader.read} windows; "
            f"{limiter.requests} API requests, {limiter.limited} of them answered 429, "
            f"{limiter.answered * api.POINTS_PER_CALL} API points; "
            f"{seconds:.1f} s, {reader.sms / seconds:.0f} SMS/s"
        )

    # One request.

    def check(self) -> None:
        """Make one request, for one second.

        Raises:
            AirbyteTracedException: why Calltouch does not answer it with a page.
        """
        second = min(self._config.start, wall_time(self._now, self._config.zone))
        window = Window(second, second)
        Prefetcher(self._fetcher, self._parse, window, lambda _: None).take(PageRequest(window))

    def _fetch(self, request: PageRequest) -> requests.Response:
        """Make a request through the CDK, with its retries and waits."""
        token = {"pageOfResult": request.page} if request.page > 1 else None
        window = _slice(request.window, request.phone_numbers)
        _, response = self._fetch_next_page(window, None, token)
        return response


class _Session(LimiterSession):
    """The CDK's, but it sends no login and no cookies, and follows no redirect."""

    def __init__(self, transport: Transport, rate_limiter: RateLimiter) -> None:
        super().__init__(api_budget=rate_limiter)
        self.mount("https://", transport)
        self.mount("http://", transport)
        self.auth = lambda request: request  # instead of what ~/.netrc may hold
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))

    def get_redirect_target(self, _: requests.Response) -> None:
        """Look at no redirect's target, not even whether it is an address."""


class Sync(NamedTuple):
    """A sync under way: what it reads, what reads it, the state before it, and since when."""

    plan: Plan
    reader: Reader
    state: MutableMapping[str, Any]
    started: float


def _slice(window: Window, phone_numbers: tuple[str, ...] = ()) -> dict[str, Any]:
    bounds = {"dateFrom": api.wire_time(window.start), "dateTo": api.wire_time(window.end)}
    return {**bounds, "phoneNumbers": list(phone_numbers)} if phone_numbers else bounds


def _window(bounds: Mapping[str, Any]) -> Window:
    return Window(*(api.read_wire_time(bounds[name]) for name in ("dateFrom", "dateTo")))


def _body(response: requests.Response) -> dict[str, Any]:
    """Return the body of the request that a response answers."""
    return dict(json.loads(response.request.body or b""))
