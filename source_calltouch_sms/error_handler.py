"""What an answer means: accept it, retry, ask for a shorter range, or stop and say why.

The CDK's HTTP client calls this after each try of a request, in the request's own thread.
"""

import json
import logging
import random
import threading
import time
from collections.abc import Iterable
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Final

import requests
from airbyte_cdk.models import FailureType
from airbyte_cdk.sources.streams.http.error_handlers import (
    BackoffStrategy,
    ErrorHandler,
    ErrorResolution,
    ResponseAction,
)
from airbyte_cdk.sources.streams.http.error_handlers.response_models import SUCCESS_RESOLUTION
from airbyte_cdk.utils.traced_exception import AirbyteTracedException

from source_calltouch_sms import api, failures
from source_calltouch_sms.errors import CancelledError
from source_calltouch_sms.failures import UNLIMITED, Failure
from source_calltouch_sms.rate_limiter import RETRY_SECONDS, Attempt, retry_after
from source_calltouch_sms.redaction import Redactor

logger = logging.getLogger("airbyte.calltouch")

TRIES_AT_LENGTH: Final = 3
"""After how many failures a range counts as too long for Calltouch to answer."""

HOUR: Final = timedelta(hours=1)

NO_WAIT_SECONDS: Final = 0.001
"""After a 429 the rate limiter does the waiting. Not 0, which the CDK would replace by its own."""


class CalltouchErrorHandler(ErrorHandler):
    """The CDK's hook that reads every answer, and decides what to do about a `Failure`.

    The service's words are quoted without `secrets`. A request is retried for `retry_timeout`
    seconds. `now` is the account's wall time up to which a sync reads.
    """

    max_retries = UNLIMITED
    max_time = UNLIMITED

    def __init__(
        self,
        secrets: Iterable[str] = (),
        retry_timeout: float = RETRY_SECONDS,
        now: datetime = datetime.min,  # noqa: DTZ901 - a wall time
    ) -> None:
        self.retry_timeout = retry_timeout
        self._redactor = Redactor(secrets)
        self._now = now
        self._has_answered = False
        self._decoding = threading.Lock()

    def interpret_response(
        self, response_or_exception: requests.Response | Exception | None
    ) -> ErrorResolution:
        """Accept a page, retry what may pass, or have the window split.

        The CDK's FAIL is not used, as it logs bodies, which hold numbers and texts.

        Raises:
            AirbyteTracedException: retrying would not help, or has not helped.
            CancelledError: nobody waits for the answer yet, and retrying may help.
        """
        answer = response_or_exception
        failure = self._failure(answer)
        if not failure:
            self._has_answered = True
            return SUCCESS_RESOLUTION
        attempt, wait = Attempt.current(), retry_after(getattr(answer, "headers", {}))
        if failure.retry_seconds and not attempt.is_due and not _is_throttled(answer):
            raise CancelledError  # it is tried again when it is due
        seconds = time.monotonic() - attempt.since
        seconds_left = min(failure.retry_seconds, self.retry_timeout) - seconds
        is_over = not failure.retry_seconds or wait > seconds_left
        start, end = _requested_range(answer)
        action = ResponseAction.RETRY
        is_long = {
            "days": start.date() < end.date(),
            "hours": end - start >= HOUR,
            "seconds": start < end,
            "": False,
        }
        is_tried = is_over or attempt.tries >= TRIES_AT_LENGTH
        # No length helps where Calltouch says to wait for so long.
        if is_tried and is_long[failure.splits_into] and wait <= self.retry_timeout:
            action = ResponseAction.SPLIT_REQUEST_WINDOW
        elif is_over:
            times = "once" if attempt.tries <= 1 else f"{attempt.tries} times"
            tried = f" Tried {times} within {seconds:.0f} s."
            asked = f" Calltouch says to wait {wait:.0f} s before the next API request."
            more = f"{tried if failure.retry_seconds else ''}{asked if wait else ''}"
            raise failure.error(failure.message(more))
        elif not _is_throttled(answer):  # the rate limiter reports those
            logger.warning("%s. Trying again.%s", failure.reason, failure.said)
        return ErrorResolution(
            action, FailureType.transient_error, f"{failure.reason}{failure.said}"
        )

    def explain(self, error: api.ErrorBody, response: requests.Response) -> AirbyteTracedException:
        """Return the error for a body that turned out, too late to retry, to be no page."""
        failure = self._no_page(error, response)
        return failure.error(failure.message())

    def _failure(self, answer: requests.Response | Exception | None) -> Failure | None:
        if not isinstance(answer, requests.Response):
            return failures.of_exception(answer, self._redactor)
        is_refused = answer.status_code in {HTTPStatus.UNAUTHORIZED, HTTPStatus.TOO_MANY_REQUESTS}
        if not is_refused and api.seems_page(answer.content):
            return None
        try:
            with self._decoding:  # a page takes ten times its bytes while it is decoded
                page = api.read_page(answer.content, answer.headers.get("Content-Type", ""))
        except api.ErrorBody as body:
            return self._no_page(body, answer)
        # A failure with an empty page does not say that there are no SMS.
        is_failure = is_refused or not (page.total or answer.ok)
        return self._no_page(api.NoData(), answer) if is_failure else None

    def _no_page(self, body: api.ErrorBody, response: requests.Response) -> Failure:
        _, end = _requested_range(response)
        return failures.of_response(
            body,
            response,
            self._redactor,
            reaches_today=end.date() >= self._now.date(),
            has_answered=self._has_answered,
        )


class CalltouchBackoffStrategy(BackoffStrategy):
    """The CDK's hook for waits, growing from under half a second to 30; it adds a second to each.

    Longer ones, as `Retry-After` asks for, are those of the rate limiter.
    """

    def backoff_time(self, response_or_exception: object, attempt_count: int) -> float:
        """Return how many seconds to wait after the `attempt_count`-th try, from 1."""
        if _is_throttled(response_or_exception):
            return NO_WAIT_SECONDS
        grown = 0.5 * 1.5 ** (attempt_count - 1)
        return min(grown, 30) * random.uniform(0.5, 1)  # noqa: S311 - no secret


def is_no_retry_line(record: logging.LogRecord) -> bool:
    """Tell whether to log a line: not the CDK's own of a retry, which always says "Rate limit"."""
    return not record.getMessage().startswith("UserDefinedBackoffException:")


def _is_throttled(answer: object) -> bool:
    return getattr(answer, "status_code", None) == HTTPStatus.TOO_MANY_REQUESTS


def _requested_range(answer: object) -> tuple[datetime, datetime]:
    """Return which range was asked for; an empty one if that is not known."""
    try:
        body = json.loads(answer.request.body)  # type: ignore[attr-defined]
        return api.read_wire_time(body["dateFrom"]), api.read_wire_time(body["dateTo"])
    except (AttributeError, KeyError, TypeError, ValueError):
        return datetime.min, datetime.min  # noqa: DTZ901 - wall times
