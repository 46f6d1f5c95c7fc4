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
from source_calltouch_sms.answers import RefusedError, explain
from source_calltouch_sms.config import Config
from source_calltouch_sms.cursor import Plan
from source_calltouch_sms.errors import transient_error
from source_calltouch_sms.lookahead import Ask, Fetch, Lookahead
from source_calltouch_sms.pace import Pace
from source_calltouch_sms.records import RecordMaker
from source_calltouch_sms.windows import (
    MAX_WINDOW_SMS,
    Reading,
    Window,
    cut,
    cut_by_times,
)

IDLE_PASSES: Final = 6
"""After how many passes without progress a window counts as incomplete."""
MOST_READINGS: Final = 3
"""So many windows may wait for their proof; each of them holds the keys of its SMS."""
PAUSE_SECONDS: Final = 2
"""Between two passes over the same window."""
WAKE_SECONDS: Final = 0.5
"""How long the reader waits for an answer before it sees to something else."""
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
        self._maker = RecordMaker(config.site_id, config.zone)
        self._windows = [plan.window]
        """Those still to be read, oldest first."""
        self._readings: list[Reading] = []
        """Of windows read that are not proved yet, or behind one that is not; oldest first."""
        self._emitted: dict[Window, dict[str, int]] = {}
        """By window still to be read: what readings that failed have emitted of it."""
        self._paged = True
        """Whether pages have fitted together so far."""
        self._fits = api.PAGE_SIZE
        """How many SMS one answer holds."""
        self._longest_answered = 0
        """Seconds of the longest window that Calltouch could answer."""
        self._started, self._proved, self._sms, self._undated = time.monotonic(), 0, 0, 0
        """For the summary: when it began, windows proved, their SMS, those of them without date."""

    @property
    def unproved(self) -> list[Window]:
        """The windows that are not proved whole yet, in no order."""
        return [*(reading.window for reading in self._readings), *self._windows]

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
            while self.unproved:
                self._plan_requests()
                if self._proof_is_due:
                    reading = self._readings.pop(0)
                    yield from self._read_twins(reading)
                    if reading.whole:
                        self._proved += 1
                        self._sms += reading.distinct
                        self._undated += reading.sent.count(None)
                        self._stream.logger.info(
                            f"{reading.window}: {reading.total} SMS on {reading.pages} pages"
                        )
                        return reading
                    parts = self._cut_unpaged(reading) or [reading.window]
                else:
                    window = self._windows.pop(0)
                    reading = Reading(window, self._most, self._emitted.pop(window, {}))
                    parts = yield from self._read_window(reading)
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
            if not self.unproved:
                self.close()
                self._log_summary()
        return None

    def records(self, page: api.Page) -> Iterable[dict[str, Any]]:
        """Return the page's records that are new in the window that `_read_window` reads."""
        batches = self._maker.records(page.rows)
        return chain.from_iterable(self._reading.add(page.total, len(page.rows), batches))

    @property
    def next_page(self) -> int | None:
        """The number of the next page, as long as the pages so far fit together."""
        return self._reading.pages + 1 if self._reading.goes_on else None

    @property
    def _most(self) -> int:
        """How many SMS a window may hold that is not to be cut."""
        return MAX_WINDOW_SMS if self._paged else self._fits

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
        windows = [*being_read, *self._windows]
        self._ahead.plan(windows, self._most, twins, paged=self._paged)

    def _read_window(self, reading: Reading) -> Generator[AirbyteMessage, None, list[Window]]:
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
                yield from self._read_pass(reading)
            except RequestWindowSplitRequiredException:
                return window.parts(self._shorter(window))
            if reading.too_much:
                return cut(window, reading.total, reading.most)
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
        self._tell_incomplete(reading)
        return []

    def _cut_unpaged(self, reading: Reading) -> list[Window]:
        """Return parts that fit one answer, if pages do not fit together and it can be cut.

        From then on no window is read in pages.
        """
        if reading.pages > 1 or reading.spoiled:
            self._paged = False
            self._fits = reading.full_page if reading.pages > 1 else self._fits
            if reading.window.seconds > 1 and reading.total > self._fits:
                return cut_by_times(reading.window, reading.times, self._fits)
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
            token = self._stream.next_page_token(response)
            del response  # up to 60 MB, while its records are emitted
            yield from self._emit(records)
            if ask.page == 1:
                self._longest_answered = max(self._longest_answered, window.seconds)

    def _read_twins(self, reading: Reading) -> Messages:
        """Yield the twins among rows that came on two pages.

        An answer of their phone numbers alone tells them, if all of it fits one page; where it does
        not, fewer numbers are asked for at once.
        """
        asks = _twins_asks(reading)
        while asks:
            ask = asks.pop(0)
            at_once = len(ask.numbers)
            try:
                page = api.read_page((yield from self.take(ask)).content)
            except (RefusedError, RequestWindowSplitRequiredException, api.ErrorBody):
                return
            if len(page.rows) == page.total:
                rows = chain.from_iterable(self._maker.records(page.rows))
                yield from self._emit(reading.add_twins(list(rows)))
            else:
                asks.insert(0, ask)
                at_once //= 2
            left = [number for each in asks for number in each.numbers]
            asks = _numbers_asks(reading, left, at_once)

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
        fault += f"returned {reading.distinct} distinct SMS, after several attempts."
        if not self._config.require_complete_windows:
            self._stream.logger.warning(f"{fault} Continuing, as set.")
            reading.accepted = True
            return
        raise transient_error(
            f"{fault} Nothing is lost: the next sync begins before this window. If it persists, "
            "report it to Calltouch, or switch off the setting Fail on incomplete data "
            "(require_complete_windows)."
        )

    def _log_summary(self) -> None:
        pace, seconds = self._pace, time.monotonic() - self._started
        if self._undated:
            self._stream.logger.warning(
                f"{self._undated} SMS have an unreadable dateSent; set to null."
            )
        self._stream.logger.info(
            f"{self._kind}: {self._sms} SMS in {self._proved} windows; "
            f"{pace.requests} API requests, {pace.limited} of them answered 429, "
            f"{self._ahead.served * api.POINTS_PER_CALL} API points; "
            f"{seconds:.1f} s, {self._sms / seconds:.0f} SMS/s"
        )


def _twins_asks(reading: Reading) -> list[Ask]:
    """Ask for all that may be twins, by as many phone numbers at once as should fit one page."""
    at_once = min(reading.full_page // 2, api.MAX_NUMBERS)
    return _numbers_asks(reading, sorted(reading.doubtful_numbers), at_once)


def _numbers_asks(reading: Reading, numbers: list[str], at_once: int) -> list[Ask]:
    """Ask for some phone numbers, so many at once.

    Not at all, where nothing is gained, or to read the window again costs less.
    """
    if reading.whole or not at_once or not reading.gains_by(numbers):
        return []
    starts = range(0, len(numbers), at_once)
    asks = [Ask(reading.window, numbers=tuple(numbers[n : n + at_once])) for n in starts]
    return asks if len(asks) <= 2 * reading.pages else []
