"""The stream `sms_messages`: the request, the answer, the cursor, and how windows are read."""

import logging
import time
from collections.abc import Generator, Iterable, Iterator, Mapping, MutableMapping
from datetime import datetime, timedelta
from itertools import chain
from typing import Any, Final

import pendulum
import requests
from airbyte_cdk.models import (
    AirbyteMessage,
    AirbyteRecordMessage,
    AirbyteStreamStatus,
    AirbyteStreamStatusReason,
    AirbyteStreamStatusReasonType,
    StreamDescriptor,
    SyncMode,
    Type,
)
from airbyte_cdk.sources.streams.core import StreamData
from airbyte_cdk.sources.streams.http import HttpStream
from airbyte_cdk.sources.streams.http.request_window_split_exception import (
    RequestWindowSplitRequiredException,
)
from airbyte_cdk.utils.stream_status_utils import as_airbyte_message
from airbyte_protocol_dataclasses.models import AirbyteStreamStatusRateLimitedReason

from source_calltouch_sms import api
from source_calltouch_sms.answers import (
    CHECK_PATIENCE_SECONDS,
    CONNECT_SECONDS,
    READ_SECONDS,
    CalltouchBackoffStrategy,
    CalltouchErrorHandler,
    RefusedError,
    explain,
)
from source_calltouch_sms.config import Config
from source_calltouch_sms.cursor import plan_sync, read_cursor
from source_calltouch_sms.errors import transient_error
from source_calltouch_sms.lookahead import Ask, Lookahead
from source_calltouch_sms.pace import Pace
from source_calltouch_sms.records import RecordMaker, earliest, wall_time
from source_calltouch_sms.windows import (
    MAX_WINDOW_SMS,
    PART_SHARE,
    Reading,
    Window,
    cut,
    cut_by_times,
)

LAG: Final = timedelta(minutes=1)
"""How far back "now" is: clocks differ, and the newest seconds are still being written."""
IDLE_PASSES: Final = 6
"""After how many passes without progress a window counts as incomplete."""
MOST_READINGS: Final = 3
"""So many windows may wait for their proof; each of them holds the keys of its SMS."""
PAUSE_SECONDS: Final = 2
"""Between two passes over the same window."""
WAKE_SECONDS: Final = 0.5
"""How long the reader waits for an answer before it sees to something else."""

Messages = Generator[AirbyteMessage, None, None]


class SmsMessages(HttpStream):
    """The SMS sent to a client base, one record each.

    A slice is what is not proved yet, from its `dateFrom` to its `dateTo`. One window of it is
    proved before the next checkpoint. The state is the latest `dateSent` of the windows proved.
    """

    primary_key = "smsKey"
    cursor_field = "dateSent"
    http_method = "POST"

    def __init__(self, config: Config, now: datetime | None = None) -> None:
        self._config = config
        self._now = (now or pendulum.now()) - LAG
        self._pace = Pace()
        self._error_handler = CalltouchErrorHandler(self._pace)
        super().__init__(api_budget=self._pace)
        # At debug the CDK's HTTP client logs bodies, which hold numbers and texts.
        self.logger.setLevel(logging.INFO)
        self._maker = RecordMaker(config.site_id, config.zone)
        self._state: MutableMapping[str, Any] = {}
        self._windows: list[Window] = []
        """Those still to be read, oldest first."""
        self._readings: list[Reading] = []
        """Of windows read that are not proved yet, or behind one that is not; oldest first."""

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
        """What an answer means: see `answers.py`."""
        return self._error_handler

    def get_backoff_strategy(self) -> CalltouchBackoffStrategy:
        """How long to wait before the next try."""
        return CalltouchBackoffStrategy()

    # The answer.

    def parse_response(
        self,
        response: requests.Response,
        *,
        stream_state: Mapping[str, Any] | None = None,
        stream_slice: Mapping[str, Any] | None = None,
        next_page_token: Mapping[str, Any] | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Return the page's records that are new in the window.

        Raises:
            ErrorBody: the body is no page, though it seemed one when it came.
        """
        page = api.read_page(response.content)
        batches = self._maker.records(page.rows)
        return chain.from_iterable(self._reading.add(page.total, len(page.rows), batches))

    def next_page_token(self, *_: Any, **__: Any) -> Mapping[str, Any] | None:
        """Return the next page's number, as long as the pages so far fit together."""
        return {"pageOfResult": self._reading.pages + 1} if self._reading.goes_on else None

    # The cursor.

    @property
    def state(self) -> MutableMapping[str, Any]:
        """The latest `dateSent`, and what `cursor.py` keeps beside it; see there."""
        return self._state

    @state.setter
    def state(self, value: MutableMapping[str, Any]) -> None:
        self._state = value

    def stream_slices(
        self,
        *,
        sync_mode: SyncMode,
        cursor_field: list[str] | None = None,
        stream_state: Mapping[str, Any] | None = None,
    ) -> Iterable[Mapping[str, Any]]:
        """Yield what is not proved yet, as long as there is something."""
        plan = plan_sync(self._config, self._state, self._now, sync_mode)
        if not plan:
            self.logger.info("There is nothing to read: the period to read ends before it begins.")
            return
        self._plan, whole_range = plan, plan.window
        self._windows = [whole_range]
        self._ahead = Lookahead(self._fetch, self._pace)
        self._paged, self._fits, self._longest_answered = True, api.PAGE_SIZE, 0
        self._emitted: dict[Window, dict[str, int]] = {}
        """By window still to be read: what readings that failed have emitted of it."""
        self._started, self._windows_read, self._records, self._undated = time.monotonic(), 0, 0, 0
        try:
            while unproved := [*(r.window for r in self._readings), *self._windows]:
                yield _slice(Window(min(unproved).start, whole_range.end))
        finally:
            self._ahead.close()

    def read_records(
        self,
        sync_mode: SyncMode,
        cursor_field: list[str] | None = None,
        stream_slice: Mapping[str, Any] | None = None,
        stream_state: Mapping[str, Any] | None = None,
    ) -> Iterator[StreamData]:
        """Yield records, until the oldest window is proved whole.

        Raises:
            AirbyteTracedException: a request failed for good, or a window is not whole.
        """
        try:
            while self._windows or self._readings:
                self._plan_requests()
                if self._proof_is_due:
                    reading = self._readings.pop(0)
                    yield from self._read_twins(reading)
                    if reading.whole:
                        self._move_cursor(reading)
                        self._windows_read += 1
                        self._records += reading.distinct
                        self._undated += reading.sent.count(None)
                        self.logger.info(
                            f"{reading.window}: {reading.total} SMS on {reading.pages} pages"
                        )
                        return
                    parts = self._cut_unpaged(reading) or [reading.window]
                else:
                    window = self._windows.pop(0)
                    most = MAX_WINDOW_SMS if self._paged else self._fits
                    reading = Reading(window, most, self._emitted.pop(window, {}))
                    parts = yield from self._read(reading)
                    if not parts:
                        self._readings.append(reading)
                        self._readings.sort(key=lambda reading: reading.window)
                self._windows[:0] = parts
                if parts:  # what came of it is not emitted again
                    emitted = {**reading.emitted, **reading.keys}
                    self._emitted.update(dict.fromkeys(parts, emitted))
        except BaseException:  # also when the reader just leaves
            self._windows, self._readings = [], []
            raise
        finally:
            if not (self._windows or self._readings):
                self._ahead.close()
                self._log_summary()

    @property
    def _proof_is_due(self) -> bool:
        """Whether to prove the oldest window, rather than to read on while that has to wait."""
        if not self._windows:
            return True
        if not self._readings or self._windows[0] < self._readings[0].window:
            return False
        if len(self._readings) == MOST_READINGS:
            return True
        asks = _twins_asks(self._readings[0])[:1]
        return all(self._ahead.has(ask, WAKE_SECONDS) for ask in asks)

    def _plan_requests(self, *being_read: Window) -> None:
        twins = [ask for reading in self._readings for ask in _twins_asks(reading)[:1]]
        most = MAX_WINDOW_SMS if self._paged else 0
        self._ahead.plan([*being_read, *self._windows], most, twins)

    def _read(self, reading: Reading) -> Generator[AirbyteMessage, None, list[Window]]:
        """Yield a window's records; return the windows to read in its place.

        There are none where it is whole, or lacks no more than an answer about twins.
        It is replaced for three reasons: it holds too many SMS, Calltouch cannot answer so long a
        range, or its pages do not fit together. What proves it whole: see `Reading`.
        """
        window = reading.window
        self._reading = reading
        idle_passes = 0
        while idle_passes < IDLE_PASSES:
            total, count = reading.total, reading.distinct
            try:
                yield from self._read_pass(window)
            except RequestWindowSplitRequiredException:
                return window.parts(self._shorter(window))
            if reading.too_much:
                return cut(window, reading.total, PART_SHARE * reading.most)
            idle = reading.total != total or not count < reading.distinct <= total
            idle_passes += idle
            if idle and reading.is_doubtful:
                if self._paged:
                    return []  # others are read while the answer about its twins is under way
                yield from self._read_twins(reading)
            if reading.whole:
                return []
            parts = self._cut_unpaged(reading)
            if parts:
                return parts
            self._plan_requests(window)
            time.sleep(PAUSE_SECONDS)
        self._tell_incomplete()
        return []

    def _cut_unpaged(self, reading: Reading) -> list[Window]:
        """Return parts that fit one answer, if pages do not fit together and it can be cut."""
        if reading.pages > 1 or reading.spoiled:
            self._paged = False
            self._fits = reading.full_page if reading.pages > 1 else self._fits
            if reading.window.seconds > 1 and reading.total > self._fits:
                return cut_by_times(reading.window, reading.times, PART_SHARE * self._fits)
        return []

    def _read_pass(self, window: Window) -> Messages:
        """Yield what is new on a window's pages, from the first one on."""
        reading, damaged = self._reading, False
        token: Mapping[str, Any] | None = {}
        reading.start_pass()
        while token is not None:
            ask = Ask(window, reading.pages + 1)
            try:
                response = yield from self._await(ask)
                records = self.parse_response(response, stream_slice=_slice(window))
            except RefusedError:
                if ask.page == 1:
                    raise
                reading.spoiled = True  # the page is gone: SMS were deleted
                return
            except api.ErrorBody as body:
                if damaged:
                    raise explain(body, response) from None
                damaged = True  # requested once more
                continue
            del response  # up to 60 MB, while its records are emitted
            yield from self._emit(records)
            token = self.next_page_token()
            if ask.page == 1:
                self._longest_answered = max(self._longest_answered, window.seconds)

    def _read_twins(self, reading: Reading) -> Messages:
        """Yield the twins among rows that came on two pages.

        An answer of their phone numbers alone tells them, if all of it fits one page; where it does
        not, fewer numbers are asked for at once.
        """
        asks = _twins_asks(reading)
        while asks and not reading.whole:
            ask = asks.pop(0)
            try:
                page = api.read_page((yield from self._await(ask)).content)
            except (RefusedError, RequestWindowSplitRequiredException, api.ErrorBody):
                return
            if len(page.rows) == page.total:
                rows = chain.from_iterable(self._maker.records(page.rows))
                yield from self._emit(reading.add_twins(list(rows)))
            else:
                left = [number for each in (ask, *asks) for number in each.numbers]
                asks = _numbers_asks(reading, left, len(ask.numbers) // 2)

    def _await(self, ask: Ask) -> Generator[AirbyteMessage, None, requests.Response]:
        """Wait for an answer; report once, while it lasts, that 429 delays it."""
        is_reported = False
        while (response := self._ahead.take(ask, WAKE_SECONDS)) is None:
            if self._pace.holds_up and not is_reported:
                is_reported = True
                yield self._limited_message()
        return response

    def _emit(self, records: Iterable[dict[str, Any]]) -> Messages:
        """Yield records as messages, since plain records the CDK copies and inspects."""
        now, name = time.time_ns() // 1_000_000, self.name
        for record in records:
            yield AirbyteMessage(Type.RECORD, record=AirbyteRecordMessage(name, record, now))

    def _limited_message(self) -> AirbyteMessage:
        """The status that Airbyte's platform shows while a source waits because of 429."""
        reset = time.time() + max(self._pace.closed_seconds, LAG.total_seconds())
        reason = AirbyteStreamStatusReason(
            type=AirbyteStreamStatusReasonType.RATE_LIMITED,
            rate_limited=AirbyteStreamStatusRateLimitedReason(quota_reset=int(reset * 1000)),
        )
        stream = StreamDescriptor(name=self.name)
        return as_airbyte_message(stream, AirbyteStreamStatus.RUNNING, [reason])

    def _shorter(self, window: Window) -> int:
        """Return how many seconds to ask for at once, since Calltouch cannot answer this window."""
        proved = self._longest_answered
        seconds = proved if 0 < proved < window.seconds else -(-window.seconds // 2)
        self.logger.warning(
            f"{window}: Calltouch does not answer. Asking for {seconds / 86_400:.1f} days at once."
        )
        return seconds

    def _tell_incomplete(self) -> None:
        reading = self._reading
        fault = f"{reading.window}: Calltouch reported {reading.total} SMS but "
        fault += f"returned {reading.distinct} distinct SMS, after several attempts."
        if not self._config.require_complete_windows:
            self.logger.warning(f"{fault} Continuing, as set.")
            reading.accepted = True
            return
        raise transient_error(
            f"{fault} Nothing is lost: the next sync begins before this window. If it persists, "
            "report it to Calltouch, or switch off the setting Fail on incomplete data "
            "(require_complete_windows)."
        )

    def _move_cursor(self, reading: Reading) -> None:
        zone, latest = self._config.zone, max(filter(None, reading.sent), default="")[:19]
        if latest:
            sent = min(datetime.fromisoformat(latest), reading.window.end)
            state = {**self._state, self.cursor_field: earliest(sent, zone)}
            before, cursor = read_cursor(self._state, zone), read_cursor(state, zone)
            if cursor and (before is None or cursor > before):
                self.state = state
        if not (self._windows or self._readings):
            self.state = {**self._state, **self._plan.state}

    # One request.

    def check(self) -> None:
        """Make one request, for one second.

        Raises:
            AirbyteTracedException: why Calltouch does not answer it with a page.
        """
        self._error_handler.patience = CHECK_PATIENCE_SECONDS
        second = min(self._config.start, wall_time(self._now, self._config.zone))
        self._ahead = Lookahead(self._fetch, self._pace)
        for _ in self._await(Ask(Window(second, second))):
            pass  # a check has no status to tell

    def _fetch(self, ask: Ask) -> requests.Response:
        """Make a request through the CDK, with its retries and waits."""
        token = {"pageOfResult": ask.page} if ask.page > 1 else None
        return self._fetch_next_page(_slice(ask.window, ask.numbers), None, token)[1]

    def _log_summary(self) -> None:
        pace, seconds = self._pace, time.monotonic() - self._started
        if self._undated:
            self.logger.warning(f"{self._undated} SMS have an unreadable dateSent; set to null.")
        self.logger.info(
            f"{self._plan.kind}: {self._records} SMS in {self._windows_read} windows; "
            f"{pace.requests} API requests, {pace.limited} of them answered 429, "
            f"{self._ahead.served * api.POINTS_PER_CALL} API points; "
            f"{seconds:.1f} s, {self._records / seconds:.0f} SMS/s"
        )


def _slice(window: Window, numbers: tuple[str, ...] = ()) -> dict[str, Any]:
    bounds = {"dateFrom": api.wire_time(window.start), "dateTo": api.wire_time(window.end)}
    return {**bounds, "phoneNumbers": list(numbers)} if numbers else bounds


def _twins_asks(reading: Reading) -> list[Ask]:
    """Ask for all that may be twins, by as many phone numbers at once as should fit one page."""
    numbers = [] if reading.whole else sorted(reading.doubtful_numbers)
    return _numbers_asks(reading, numbers, min(reading.full_page // 2, api.MAX_NUMBERS))


def _numbers_asks(reading: Reading, numbers: list[str], at_once: int) -> list[Ask]:
    """Ask for some phone numbers; not at all, where to read the window again costs less."""
    starts = range(0, len(numbers), at_once) if at_once else range(0)
    asks = [Ask(reading.window, numbers=tuple(numbers[n : n + at_once])) for n in starts]
    return asks if len(asks) <= 2 * reading.pages else []
