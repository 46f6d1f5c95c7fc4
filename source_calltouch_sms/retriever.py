"""How a sync reads its windows: page by page, again where pages do not fit, until each is proved.

The stream's hooks say what to request and what an answer holds; this says in which order, and when
a window is done. All of it runs in the reader, the CDK's main thread.
"""

import time
from collections.abc import Generator, Iterable, Mapping
from itertools import chain
from typing import Any, Final

import requests
from airbyte_cdk.models import (
    AirbyteMessage,
    AirbyteRecordMessage,
    AirbyteStreamStatus,
    AirbyteStreamStatusReason,
    AirbyteStreamStatusReasonType,
    StreamDescriptor,
    Type,
)
from airbyte_cdk.sources.streams.http import HttpStream
from airbyte_cdk.sources.streams.http.request_window_split_exception import (
    RequestWindowSplitRequiredException,
)
from airbyte_cdk.utils.stream_status_utils import as_airbyte_message
from airbyte_protocol_dataclasses.models import AirbyteStreamStatusRateLimitedReason

from source_calltouch_sms import api
from source_calltouch_sms.config import Config
from source_calltouch_sms.cursor import Plan
from source_calltouch_sms.error_handler import CalltouchErrorHandler
from source_calltouch_sms.errors import RefusedError, RefusedPageError, transient_error
from source_calltouch_sms.lookahead import Ask, Fetch, Lookahead
from source_calltouch_sms.pace import Pace
from source_calltouch_sms.records import RecordMaker
from source_calltouch_sms.windows import MAX_WINDOW_SMS, Reading, Window, cut, cut_by_times

IDLE_PASSES: Final = 6
"""After how many passes without progress a window counts as incomplete."""
PAUSE_SECONDS: Final = 2
"""Between two passes over the same window."""
WAKE_SECONDS: Final = 0.5
"""How long the reader waits for an answer before it sees whether a 429 holds it up."""
LIMITED_SECONDS: Final = 60
"""For at least so long, as told to the platform, a 429 holds the sync up."""

Messages = Generator[AirbyteMessage, None, None]


class Retriever:
    """Reads the windows of one sync, for one stream."""

    def __init__(
        self, stream: HttpStream, fetch: Fetch, pace: Pace, config: Config, plan: Plan
    ) -> None:
        self._stream = stream
        self._pace = pace
        self._config = config
        self._kind = plan.kind
        self._ahead = Lookahead(fetch, pace)
        self._explain = CalltouchErrorHandler(pace, [config.access_token]).explain
        self._maker = RecordMaker(config.site_id, config.zone)
        self.windows = [plan.window]
        """Those still to be read, oldest first."""
        self._emitted: dict[Window, dict[str, int]] = {}
        """By window still to be read: what readings that failed have emitted of it."""
        self._most = MAX_WINDOW_SMS
        """How many SMS a window may hold that is not to be cut: fewer, once pages have failed."""
        self._longest_answered = 0
        """Seconds of the longest window that Calltouch could answer."""
        self._started, self._proved, self._sms = time.monotonic(), 0, 0
        """For the summary: when it began, windows proved, their SMS."""

    def close(self) -> None:
        """Make no further request."""
        self._ahead.close()

    def read(self) -> Generator[AirbyteMessage, None, Reading | None]:
        """Yield records, until the oldest window is proved whole; return its reading.

        None: no window is left, since the CDK stopped reading early (its record limit).

        Raises:
            AirbyteTracedException: a request failed for good, or a window is not whole.
        """
        try:
            while self.windows:
                self._ahead.plan(self.windows, self._most)
                window = self.windows[0]
                reading = Reading(window, self._most, self._emitted.pop(window, {}))
                parts = yield from self._read_window(reading)
                self.windows[:1] = parts
                if not parts:
                    self._proved += 1
                    self._sms += len(reading.keys)
                    self._stream.logger.info(
                        f"{window}: {reading.total} SMS on {reading.pages} pages"
                    )
                    return reading
                # What came of it is not emitted again.
                emitted = {**reading.emitted, **reading.keys}
                self._emitted.update(dict.fromkeys(parts, emitted))
        except BaseException:  # also when the reader just leaves
            self.windows = []
            raise
        finally:
            if not self.windows:
                self.close()
                self._log_summary()
        return None

    def records(self, page: api.Page) -> Iterable[dict[str, Any]]:
        """Return the page's records that are new in the window that `_read_window` reads."""
        batch = list(self._maker.records(page.rows, *self._reading.window))
        return chain.from_iterable(self._reading.add(page.total, len(page.rows), [batch]))

    @property
    def next_page(self) -> int | None:
        """The number of the next page, as long as the pages so far fit together."""
        return self._reading.pages + 1 if self._reading.goes_on else None

    def _read_window(self, reading: Reading) -> Generator[AirbyteMessage, None, list[Window]]:
        """Yield a window's records; return the windows to read in its place, none if it is whole.

        It is replaced for three reasons: it holds too many SMS, Calltouch cannot answer so long a
        range, or its pages do not fit together. What proves it whole: see `Reading`.
        """
        window = reading.window
        self._reading = reading
        idle_passes = 0
        while idle_passes < IDLE_PASSES:
            total, distinct = reading.total, len(reading.keys)
            try:
                yield from self._read_pass(reading)
            except RequestWindowSplitRequiredException:
                return window.parts(self._shorter(window))
            if reading.too_much:
                return cut(window, reading.total, reading.most)
            idle = reading.total != total or not distinct < len(reading.keys) <= total
            idle_passes += idle
            if idle and not (reading.spoiled or reading.whole):
                yield from self._read_numbers(reading)
            if reading.whole:
                return []
            parts = self._cut_unpaged(reading)
            if parts:
                return parts
            time.sleep(PAUSE_SECONDS)
        self._tell_incomplete(reading)
        return []

    def _cut_unpaged(self, reading: Reading) -> list[Window]:
        """Return parts that fit one answer, if pages do not fit together and it can be cut.

        From then on no window is read in pages.
        """
        if reading.pages > 1 or reading.spoiled:
            self._most = reading.full_page if reading.pages > 1 else min(self._most, api.PAGE_SIZE)
            if reading.window.seconds > 1 and reading.total > self._most:
                return cut_by_times(reading.window, reading.times, self._most)
        return []

    def _read_pass(self, reading: Reading) -> Messages:
        """Yield what is new on a window's pages, from the first one on."""
        window, damaged = reading.window, False
        token: Mapping[str, Any] | None = {}
        reading.start_pass()
        while token is not None:
            ask = Ask(window, token.get("pageOfResult", 1))
            try:
                response = yield from self.take(ask)
                records = self._stream.parse_response(response, stream_state={})
            except RefusedPageError:
                if ask.page == 1:
                    raise
                reading.spoiled = True  # the page is gone: SMS were deleted
                return
            except api.ErrorBody as body:
                if damaged:
                    raise self._explain(body, response) from None
                damaged = True  # requested once more
                continue
            token = self._stream.next_page_token(response)
            del response  # up to 60 MB, while its records are emitted
            yield from self._emit(records)
            if ask.page == 1:
                self._longest_answered = max(self._longest_answered, window.seconds)

    def _read_numbers(self, reading: Reading) -> Messages:
        """Yield those of the doubtful rows that are SMS of their own.

        An answer of their phone numbers tells, if it is whole. Where it is not, a window that can
        be cut will be, as that costs less; of a second, fewer are asked for at once.
        """
        numbers = sorted({number for number, *_ in reading.doubtful if number})
        at_once = min(reading.full_page // 2, api.MAX_NUMBERS)
        while numbers and at_once:
            ask = Ask(reading.window, numbers=tuple(numbers[:at_once]))
            try:
                response = yield from self.take(ask)
                page = api.read_page(response.content, response.headers.get("Content-Type", ""))
            except (RefusedError, RequestWindowSplitRequiredException, api.ErrorBody):
                return
            if len(page.rows) == page.total:
                del numbers[:at_once]
                records = list(self._maker.records(page.rows, *reading.window))
                yield from self._emit(reading.add_numbers(records))
            elif reading.window.seconds > 1:
                return
            else:
                at_once //= 2

    def take(self, ask: Ask) -> Generator[AirbyteMessage, None, requests.Response]:
        """Wait for an answer; report once, while it lasts, that 429 delays it."""
        is_reported = False
        while (response := self._ahead.take(ask, WAKE_SECONDS)) is None:
            if self._pace.holds_up and not is_reported:
                is_reported = True
                yield self._limited_message()
        return response

    def _emit(self, records: Iterable[Any]) -> Messages:
        """Yield records as messages, since plain records the CDK copies and inspects."""
        now, name = time.time_ns() // 1_000_000, self._stream.name
        for record in records:
            yield AirbyteMessage(Type.RECORD, record=AirbyteRecordMessage(name, record, now))

    def _limited_message(self) -> AirbyteMessage:
        """The status that Airbyte's platform shows while a source waits because of 429."""
        reset = time.time() + max(self._pace.closed_seconds, LIMITED_SECONDS)
        reason = AirbyteStreamStatusReason(
            type=AirbyteStreamStatusReasonType.RATE_LIMITED,
            rate_limited=AirbyteStreamStatusRateLimitedReason(quota_reset=int(reset * 1000)),
        )
        stream = StreamDescriptor(name=self._stream.name)
        return as_airbyte_message(stream, AirbyteStreamStatus.RUNNING, [reason])

    def _shorter(self, window: Window) -> int:
        """Return how many seconds to ask for at once, since Calltouch cannot answer this window."""
        proved = self._longest_answered
        seconds = proved if 0 < proved < window.seconds else -(-window.seconds // 2)
        self._stream.logger.warning(
            f"{window}: Calltouch does not answer. Asking for {seconds / 86_400:.1f} days at once."
        )
        return seconds

    def _tell_incomplete(self, reading: Reading) -> None:
        fault = f"{reading.window}: Calltouch reported {reading.total} SMS but "
        fault += f"returned {len(reading.keys)} distinct SMS, after several attempts."
        if not self._config.require_complete_windows:
            self._stream.logger.warning(f"{fault} Continuing, as set.")
            return
        raise transient_error(
            f"{fault} Nothing is lost: the next sync begins before this window. If it persists, "
            "report it to Calltouch, or switch off the setting Fail on incomplete data "
            "(require_complete_windows)."
        )

    def _log_summary(self) -> None:
        pace, seconds = self._pace, time.monotonic() - self._started
        for warning in self._maker.warnings():
            self._stream.logger.warning(warning)
        self._stream.logger.info(
            f"{self._kind}: {self._sms} SMS in {self._proved} windows; "
            f"{pace.requests} API requests, {pace.limited} of them answered 429, "
            f"{self._ahead.served * api.POINTS_PER_CALL} API points; "
            f"{seconds:.1f} s, {self._sms / seconds:.0f} SMS/s"
        )
