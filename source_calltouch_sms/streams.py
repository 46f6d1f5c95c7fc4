"""The stream `sms_messages`: the request, the pages, the cursor, in the CDK's words."""

import threading
import time
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from datetime import datetime, timedelta
from typing import Any, Final

import pendulum
import requests
from airbyte_cdk.models import (
    AirbyteEstimateTraceMessage,
    AirbyteMessage,
    AirbyteRecordMessage,
    AirbyteTraceMessage,
    EstimateType,
    SyncMode,
    TraceType,
    Type,
)
from airbyte_cdk.sources.streams.core import StreamData
from airbyte_cdk.sources.streams.http import HttpStream

from source_calltouch_sms import api
from source_calltouch_sms.config import Config
from source_calltouch_sms.errors import config_error, transient_error
from source_calltouch_sms.lookahead import Lookahead
from source_calltouch_sms.policy import (
    CHECK_PATIENCE_SECONDS,
    CONNECT_SECONDS,
    PATIENCE_SECONDS,
    READ_SECONDS,
    CallBudget,
    CalltouchErrorHandler,
    retrying,
)
from source_calltouch_sms.records import Ranks, RecordMaker, earliest, overlap_after, wall_time
from source_calltouch_sms.windows import SECOND, Reading, Window

PASSES: Final = 3
"""How often a window is read before it is taken as incomplete."""
PAUSE_SECONDS: Final = 2
MAX_BACK_DAYS: Final = 400


class SmsMessages(HttpStream):
    """The SMS sent to a client base, one record each.

    A slice is a window of time, asked for by `dateFrom` and `dateTo`; the state is the latest
    `dateSent` of the windows that were read whole.
    """

    primary_key = "smsKey"
    cursor_field = "dateSent"
    http_method = "POST"

    def __init__(self, config: Config, now: datetime | None = None) -> None:
        self._config = config
        self._now = wall_time(now or pendulum.now(), config.zone)
        self._stopping = threading.Event()
        self._budget = CallBudget(self._stopping)
        super().__init__(api_budget=self._budget)
        self._maker = RecordMaker(config.site_id, config.zone)
        self._state: MutableMapping[str, Any] = {}
        self._cursor: datetime | None = None

    # The request, as on the API's page.

    @property
    def url_base(self) -> str:
        """The method's full address; `path` adds nothing."""
        return self._config.api_url

    def path(self, **_: Any) -> str:
        """Nothing: the setting `api_url` is the whole address."""
        return ""

    def request_headers(self, *_: Any, **__: Any) -> Mapping[str, Any]:
        """Token and site; the CDK adds the content type."""
        return {"Access-Token": self._config.access_token, "SiteId": self._config.site_id}

    def request_body_json(
        self,
        stream_state: Mapping[str, Any] | None,
        stream_slice: Mapping[str, Any] | None = None,
        next_page_token: Mapping[str, Any] | None = None,
    ) -> Mapping[str, Any]:
        """The range; the numbers, if some are set; the page, from the second one on."""
        body = {**(stream_slice or {}), **(next_page_token or {})}
        if self._config.phone_numbers:
            body["phoneNumbers"] = list(self._config.phone_numbers)
        return body

    def request_kwargs(self, *_: Any, **__: Any) -> Mapping[str, Any]:
        """Timeouts, for the CDK sets none; no redirects, for they would carry the token along."""
        return {"timeout": (CONNECT_SECONDS, READ_SECONDS), "allow_redirects": False}

    def get_error_handler(self) -> CalltouchErrorHandler:
        """What to do about an answer: see `policy.py`."""
        return CalltouchErrorHandler(self._config.phone_numbers)

    # The answer.

    def parse_response(
        self,
        response: requests.Response,
        *,
        stream_state: Mapping[str, Any] | None = None,
        stream_slice: Mapping[str, Any] | None = None,
        next_page_token: Mapping[str, Any] | None = None,
    ) -> Iterable[dict[str, Any]]:
        """Yield the page's records.

        Raises:
            AirbyteTracedException: the body is no page, though it seemed one when it came.
        """
        try:
            page = api.read_page(response.content)
        except api.Answer as answer:
            raise self.get_error_handler().explain(answer, response) from None
        # Responses are parts of reference cycles and stay long after: without their bodies.
        response._content = b""  # noqa: SLF001
        self._reading.add(page)
        self._emitted_at = time.time_ns() // 1_000_000
        return self._maker.records(page.rows, self._ranks)

    def next_page_token(self, response: requests.Response) -> Mapping[str, Any] | None:
        """The number of the next page, as long as this pass over the window can be whole."""
        page = self._reading.next_page
        return {"pageOfResult": page} if page else None

    # The cursor.

    @property
    def state(self) -> MutableMapping[str, Any]:
        """`{"dateSent": …}`, or what was set as long as no window was read."""
        return self._state

    @state.setter
    def state(self, value: MutableMapping[str, Any]) -> None:
        self._state = value
        self._cursor = _read_cursor(value.get(self.cursor_field), self._config.zone)

    def stream_slices(
        self,
        *,
        sync_mode: SyncMode,
        cursor_field: list[str] | None = None,
        stream_state: Mapping[str, Any] | None = None,
    ) -> Iterable[Mapping[str, Any]]:
        """Yield the windows, oldest first, each as soon as its first page tells that it is one."""
        whole_range = self._whole_range(sync_mode)
        if not whole_range:
            self.logger.info("There is nothing to read: the range ends before it begins.")
            return
        self._stopping.clear()
        self._left_off = False
        lookahead = self._lookahead = Lookahead(self._fetch, whole_range, self._stopping)
        self._budget.let_through = lookahead.let_through
        self._started, self._windows, self._records = time.monotonic(), 0, 0
        try:
            for window in lookahead.windows():
                yield _slice(window)
                if self._left_off:  # the CDK's record limit leaves a window, yet asks for the next
                    return
        finally:
            lookahead.close()
            self._log_summary()

    def _whole_range(self, sync_mode: SyncMode) -> Window | None:
        """From the start date, or the cursor less the lookback, to now or the end date."""
        start, end = self._config.start, min(self._config.end or self._now, self._now)
        if self._cursor:
            if self._cursor > self._now:
                return None
            # A full refresh has a state only in its second attempt, which goes on after the first.
            back = -SECOND if sync_mode == SyncMode.full_refresh else self._config.lookback
            back += overlap_after(self._cursor, self._config.zone)
            start = max(start, self._cursor - back)
        return Window(start, end) if start <= end else None

    def read_records(
        self,
        sync_mode: SyncMode,
        cursor_field: list[str] | None = None,
        stream_slice: Mapping[str, Any] | None = None,
        stream_state: Mapping[str, Any] | None = None,
    ) -> Iterator[StreamData]:
        """Yield a window's records: read it until a pass over its pages is whole.

        Raises:
            AirbyteTracedException: a call failed for good, or no pass was whole.
        """
        window, started = _window(stream_slice or {}), time.monotonic()
        self._stopping.clear()
        self._left_off = True
        self._ranks = Ranks()
        try:
            if not self._windows and self._lookahead.total:
                yield self._estimate()
            for attempt in range(1, PASSES + 1):
                if attempt > 1:
                    self._stopping.wait(PAUSE_SECONDS)
                    self._ranks.start_pass()
                self._reading = Reading(thorough=attempt == PASSES)
                records = super().read_records(sync_mode, cursor_field, stream_slice, stream_state)
                yield from map(self._message, records)
                if self._reading.whole:
                    break
                self._tell_incomplete(window, last=attempt == PASSES)
            yield from map(self._message, self._ranks.equals)
        except BaseException:  # also when the reader just leaves
            self._lookahead.close()
            raise
        self._left_off = False
        self._windows += 1
        self._records += self._reading.rows
        self._move_cursor(window)
        self.logger.info(
            f"{window}: {self._reading.rows} SMS on {self._reading.pages} pages, "
            f"{time.monotonic() - started:.1f} s"
        )

    def _message(self, record: Any) -> AirbyteMessage:
        # The CDK makes it of a record too, but copies that and looks for a transformation.
        message = AirbyteRecordMessage(self.name, record, self._emitted_at)
        return AirbyteMessage(Type.RECORD, record=message)

    def check(self) -> None:
        """Make one call, over one second.

        Raises:
            AirbyteTracedException: why Calltouch does not answer it with a page.
        """
        first_second = Window(self._config.start, self._config.start)
        retrying(self._budget, CHECK_PATIENCE_SECONDS)(self._call, first_second, 1)

    def _fetch_next_page(
        self,
        stream_slice: Mapping[str, Any] | None = None,
        stream_state: Mapping[str, Any] | None = None,
        next_page_token: Mapping[str, Any] | None = None,
    ) -> tuple[requests.PreparedRequest, requests.Response]:
        """Hand the CDK's loop over pages what was fetched ahead."""
        page = next_page_token["pageOfResult"] if next_page_token else 1
        response = self._lookahead.take(_window(stream_slice or {}), page)
        return response.request, response

    def _fetch(self, window: Window, page: int) -> requests.Response:
        response = retrying(self._budget, PATIENCE_SECONDS)(self._call, window, page)
        self._budget.spend(api.POINTS_PER_CALL)
        return response

    def _call(self, window: Window, page: int) -> requests.Response:
        token = {"pageOfResult": page} if page > 1 else None
        return super()._fetch_next_page(_slice(window), next_page_token=token)[1]

    def _tell_incomplete(self, window: Window, *, last: bool) -> None:
        told, came = self._reading.total, self._reading.rows
        fault = f"{window}: Calltouch told {told} SMS and returned {came}"
        if not last:
            self.logger.warning(f"{fault}, or its pages told different totals. Reading it again.")
        elif not self._config.require_complete_windows:
            self.logger.warning(f"{fault}, {PASSES} times over. Going on, as set.")
        else:
            raise transient_error(
                f"{fault}, {PASSES} times over. Nothing is lost: the next sync begins before this "
                "range. If it stays so, report it to Calltouch, or switch off the setting Stop "
                "when SMS are missing (require_complete_windows)."
            )

    def _move_cursor(self, window: Window) -> None:
        if not self._ranks.latest:
            return
        latest = min(datetime.fromisoformat(self._ranks.latest), window.end)
        state = {self.cursor_field: earliest(latest, self._config.zone)}
        cursor = _read_cursor(state[self.cursor_field], self._config.zone)
        if cursor and (self._cursor is None or cursor > self._cursor):
            self.state = state

    def _estimate(self) -> AirbyteMessage:
        estimate = AirbyteEstimateTraceMessage(
            name=self.name, type=EstimateType.STREAM, row_estimate=self._lookahead.total
        )
        trace = AirbyteTraceMessage(
            type=TraceType.ESTIMATE, emitted_at=time.time() * 1000, estimate=estimate
        )
        return AirbyteMessage(type=Type.TRACE, trace=trace)

    def _log_summary(self) -> None:
        budget, seconds = self._budget, time.monotonic() - self._started
        if self._maker.unreadable_dates:
            self.logger.warning(
                f"{self._maker.unreadable_dates} SMS bear a dateSent that is no date; they were "
                "emitted with dateSent null."
            )
        self.logger.info(
            f"{self._records} SMS in {self._windows} windows; {budget.calls} calls, "
            f"{budget.points} API points, {budget.limited} answered 429, {budget.retries} tried "
            f"again; {seconds:.1f} s, {self._records / seconds:.0f} SMS/s"
        )


def _slice(window: Window) -> dict[str, str]:
    return {"dateFrom": api.wire_time(window.start), "dateTo": api.wire_time(window.end)}


def _window(stream_slice: Mapping[str, Any]) -> Window:
    return Window(*(api.read_wire_time(stream_slice[end]) for end in ("dateFrom", "dateTo")))


def _read_cursor(value: object, zone: pendulum.Timezone) -> datetime | None:
    """Read a state's `dateSent`; a moment without an offset is taken as the account's.

    Raises:
        AirbyteTracedException: it is no moment.
    """
    if value is None:
        return None
    try:
        moment = pendulum.parse(value, tz=zone) if isinstance(value, str) else None
        if isinstance(moment, datetime):
            cursor = wall_time(moment, zone)
            cursor - timedelta(days=MAX_BACK_DAYS)  # a year 1 would fail later, without its name
            return cursor
    except (ValueError, OverflowError):
        pass
    raise config_error(
        f"The saved state cannot be used: its dateSent, {value!r}, is no date and time. Clear the "
        "stream's data in Airbyte (or leave the state out) to read from the start date again."
    )
