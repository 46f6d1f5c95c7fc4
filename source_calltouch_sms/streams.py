"""The stream `sms_messages`: the request, the answer, the cursor.

In which order windows are read, and when one is done, `retriever.py` says.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from datetime import datetime, timedelta
from typing import Any, Final

import pendulum
import requests
from airbyte_cdk.models import SyncMode
from airbyte_cdk.sources.streams.core import StreamData
from airbyte_cdk.sources.streams.http import HttpStream

from source_calltouch_sms import api
from source_calltouch_sms.config import Config
from source_calltouch_sms.cursor import Plan, plan_sync, read_cursor
from source_calltouch_sms.error_handler import (
    CHECK_SECONDS,
    CalltouchBackoffStrategy,
    CalltouchErrorHandler,
)
from source_calltouch_sms.failures import CONNECT_SECONDS, READ_SECONDS
from source_calltouch_sms.lookahead import Ask
from source_calltouch_sms.pace import Pace
from source_calltouch_sms.records import wall_time, zoned
from source_calltouch_sms.retriever import Retriever
from source_calltouch_sms.windows import Reading, Window

LAG: Final = timedelta(minutes=1)
"""How far back "now" is: clocks differ, and the newest seconds are still being written."""


class SmsMessages(HttpStream):
    """The SMS sent to a client base, one record each.

    A slice is what is not proved yet, from its `dateFrom` to its `dateTo`. Of it, `read_records`
    reads as much as proves the oldest window, as the retriever knows it; then comes a checkpoint.
    The state is the latest `dateSent` of the windows proved, and what `cursor.py` keeps beside it.
    """

    primary_key = "smsKey"
    cursor_field = "dateSent"
    http_method = "POST"

    def __init__(self, config: Config, now: datetime | None = None) -> None:
        self._config = config
        self._now = (now or pendulum.now()) - LAG
        self._pace = Pace()
        self._error_handler = CalltouchErrorHandler(
            self._pace, [config.access_token], now=wall_time(self._now, config.zone)
        )
        super().__init__(api_budget=self._pace)
        # At debug the CDK's HTTP client logs bodies, which hold numbers and texts.
        self.logger.setLevel(logging.INFO)
        self._state: MutableMapping[str, Any] = {}

    # The request, as in Calltouch's documentation.

    @property
    def url_base(self) -> str:
        """The method's full address; `path` adds nothing."""
        return self._config.api_url

    def path(self, **_: Any) -> str:
        """Nothing: the setting `api_url` is the whole address."""
        return ""

    def request_headers(self, *_: Any, **__: Any) -> Mapping[str, Any]:
        """Token and Site ID; the CDK adds the content type."""
        return {"Access-Token": self._config.access_token, "SiteId": self._config.site_id}

    def request_body_json(
        self,
        stream_state: Mapping[str, Any] | None,
        stream_slice: Mapping[str, Any] | None = None,
        next_page_token: Mapping[str, Any] | None = None,
    ) -> Mapping[str, Any]:
        """The range; phone numbers, if any are set; the page, from the second one on."""
        body = dict(stream_slice or {})
        if self._config.phone_numbers:
            body.setdefault("phoneNumbers", list(self._config.phone_numbers))
        return {**body, **(next_page_token or {})}

    def request_kwargs(self, *_: Any, **__: Any) -> Mapping[str, Any]:
        """Timeouts, since the CDK sets none; no redirects, which would take the token along."""
        return {"timeout": (CONNECT_SECONDS, READ_SECONDS), "allow_redirects": False}

    def get_error_handler(self) -> CalltouchErrorHandler:
        """What an answer means: see `error_handler.py`."""
        return self._error_handler

    def get_backoff_strategy(self) -> CalltouchBackoffStrategy:
        """How long to wait before the next try."""
        return CalltouchBackoffStrategy()

    # The answer.

    def parse_response(self, response: requests.Response, **_: Any) -> Iterable[Mapping[str, Any]]:
        """Return the page's records that are new in the window being read.

        Raises:
            ErrorBody: the body is no page, though it seemed one when it came.
        """
        content_type = response.headers.get("Content-Type", "")
        return self._retriever.records(api.read_page(response.content, content_type))

    def next_page_token(self, response: requests.Response) -> Mapping[str, Any] | None:
        """Return the next page's number, until `totalCountSms` is reached or pages do not fit."""
        page = self._retriever.next_page
        return {"pageOfResult": page} if page else None

    # The cursor.

    def stream_slices(self, *, sync_mode: SyncMode, **_: Any) -> Iterable[Mapping[str, Any]]:
        """Yield what is not proved yet, as long as there is something."""
        plan = plan_sync(self._config, self._state, self._now, sync_mode)
        if not plan:
            self.logger.info("There is nothing to read: the period to read ends before it begins.")
            return
        self._plan = plan
        self._retriever = self._new_retriever(plan)
        try:
            while windows := self._retriever.windows:
                yield _slice(Window(windows[0].start, plan.window.end))
        finally:
            self._retriever.close()

    def read_records(self, *_: Any, **__: Any) -> Iterator[StreamData]:
        """Yield records, until the oldest window is proved whole.

        Raises:
            AirbyteTracedException: a request failed for good, or a window is not whole.
        """
        proved = yield from self._retriever.read()
        if proved:
            self._move_cursor(proved)

    def _move_cursor(self, reading: Reading) -> None:
        zone, latest = self._config.zone, max(filter(None, reading.sent), default="")[:19]
        if latest:
            sent = min(datetime.fromisoformat(latest), reading.window.end)
            state = {**self._state, self.cursor_field: zoned(sent, zone)}
            before, cursor = read_cursor(self._state, zone), read_cursor(state, zone)
            if cursor and (before is None or cursor > before):
                self.state = state
        if not self._retriever.windows:
            self.state = {**self._state, **self._plan.state}

    # One request.

    def check(self) -> None:
        """Make one request, for one second.

        Raises:
            AirbyteTracedException: why Calltouch does not answer it with a page.
        """
        self._error_handler.retry_timeout = CHECK_SECONDS
        second = min(self._config.start, wall_time(self._now, self._config.zone))
        retriever = self._new_retriever(Plan(Window(second, second), "Check", {}))
        for _ in retriever.take(Ask(Window(second, second))):
            pass  # a check has no status to tell

    def _new_retriever(self, plan: Plan) -> Retriever:
        """Hand it this stream, whose hooks `parse_response` and `next_page_token` it reads with."""
        return Retriever(self, self._fetch, self._pace, self._config, plan)

    def _fetch(self, ask: Ask) -> requests.Response:
        """Make a request through the CDK, with its retries and waits."""
        token = {"pageOfResult": ask.page} if ask.page > 1 else None
        return self._fetch_next_page(_slice(ask.window, ask.numbers), None, token)[1]


def _slice(window: Window, numbers: tuple[str, ...] = ()) -> dict[str, Any]:
    bounds = {"dateFrom": api.wire_time(window.start), "dateTo": api.wire_time(window.end)}
    return {**bounds, "phoneNumbers": list(numbers)} if numbers else bounds
