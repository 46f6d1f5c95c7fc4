"""What to do about an answer: take it, try again later, or stop and say why; and how fast to call.

The CDK's own retries stay unused, because their waits cannot be interrupted, last a second longer
than told, call every cause a rate limit in the log, and end in a message that names no cause.
"""

import logging
import random
import re
import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any, Final
from urllib.parse import urlsplit

import requests
from airbyte_cdk.sources.streams.call_rate import (
    HttpAPIBudget,
    MovingWindowCallRatePolicy,
    Rate,
)
from airbyte_cdk.sources.streams.http.error_handlers import (
    BackoffStrategy,
    ErrorHandler,
    ErrorResolution,
)
from airbyte_cdk.sources.streams.http.error_handlers.response_models import SUCCESS_RESOLUTION
from airbyte_cdk.utils.traced_exception import AirbyteTracedException
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_before_delay,
)

from source_calltouch_sms import api
from source_calltouch_sms.errors import config_error, system_error, transient_error

logger = logging.getLogger("airbyte.calltouch")

CONNECT_SECONDS: Final = 10
READ_SECONDS: Final = 120
PATIENCE_SECONDS: Final = 600
"""How long one call is tried again before it has failed for good."""
CHECK_PATIENCE_SECONDS: Final = 10
"""The same for `check`, in front of which a person sits."""

FIRST_WAIT_SECONDS: Final = 0.5
LONGEST_WAIT_SECONDS: Final = 30
WAIT_GROWTH: Final = 1.5
PACE: Final = api.CALLS_PER_SECOND / 1.03
"""Calls a second: a little under the limit, for a call may take longer on its way than others."""
PERIOD: Final = timedelta(milliseconds=1010)
"""In which no more than `CALLS_PER_SECOND` calls are made, even where two streams share a process.
"""
RATE_STEP: Final = 0.1

LATER: Final = "Try again later. Nothing is lost: a sync goes on from its last checkpoint."
REPORT: Final = "Please report this to the connector's developers."

MULTIPLE_CHOICES: Final = 300
BAD_REQUEST: Final = 400
NOT_FOUND: Final = 404
REQUEST_TIMEOUT: Final = 408
TOO_MANY_REQUESTS: Final = 429
INTERNAL_SERVER_ERROR: Final = 500


class CallsStopped(Exception):  # noqa: N818 - no error, and never seen by a user
    """The reader has left; the call is not worth making."""


class TryAgain(Exception):  # noqa: N818 - what to do, not what went wrong
    """A call that failed in a way that time may mend: why, and the answer if one came."""

    def __init__(self, reason: str, response: requests.Response | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.response = response

    @property
    def limited(self) -> bool:
        """Whether the answer was 429."""
        return self.response is not None and self.response.status_code == TOO_MANY_REQUESTS


class CalltouchErrorHandler(ErrorHandler):
    """The CDK's hook that reads every answer: the table of `docs/troubleshooting.md`, as code."""

    max_retries = 0
    max_time = PATIENCE_SECONDS

    def __init__(self, private: tuple[str, ...] = ()) -> None:
        self._private = private
        """What is masked in Calltouch's words: the numbers that were sent to it."""
        self._decoding = threading.Lock()

    def interpret_response(self, response: requests.Response | Exception | None) -> ErrorResolution:
        """Let a page pass.

        Raises:
            TryAgain: what time may mend.
            AirbyteTracedException: what it does not, as `config_error` or `system_error`.
        """
        if not isinstance(response, requests.Response):
            raise _no_answer(response)
        status = response.status_code
        if status == TOO_MANY_REQUESTS:
            said = self._quote(_words(response.content))
            raise TryAgain(f"Calltouch allows no more calls for now (HTTP 429){said}", response)
        if api.seems_page(response.content):
            return SUCCESS_RESOLUTION
        try:
            with self._decoding:  # a page takes ten times its bytes while it is decoded
                api.read_page(response.content)
        except api.Answer as answer:
            raise self._judge(answer, response) from None
        return SUCCESS_RESOLUTION

    def explain(self, answer: api.Answer, response: requests.Response) -> AirbyteTracedException:
        """Return the error for a body that is no page, where it is too late to try again."""
        failure = self._judge(answer, response)
        return (
            transient_error(f"{failure.reason}. {LATER}")
            if isinstance(failure, TryAgain)
            else failure
        )

    def _judge(  # noqa: C901, PLR0911 - a table, one return a row
        self, answer: api.Answer, response: requests.Response
    ) -> TryAgain | AirbyteTracedException:
        status, said = response.status_code, self._quote(answer.words)
        told = said if isinstance(answer, api.OtherMessage) else ""
        match answer:
            case api.InvalidCredentials():
                return config_error(
                    f"Calltouch does not accept the API token{said}. Check the settings API token "
                    "(access_token) and Site ID (site_id): both stand in Calltouch under "
                    "Интеграции → API и Webhooks."
                )
            case api.NoAccess():
                return config_error(
                    f"The token's user has no right to this method{said}. In Calltouch, grant the "
                    "right «API-методы для управления SMS рассылками по базе клиентов», reading, "
                    "or use the API token (access_token) of a user who has it."
                )
            case api.ValidationError():
                return config_error(
                    f"Calltouch refused the request{said}. {_settings_of(answer.fields)}"
                )
            case api.MissingField():
                return system_error(
                    f"The connector left out a field that Calltouch needs{said}. {REPORT}"
                )
            case api.ApiError(code=api.SYNTAX_ERROR_CODE):
                return system_error(
                    f"Calltouch could not read the connector's request{said}. {REPORT}"
                )
            case api.ApiError():
                return TryAgain(f"Calltouch failed (API error {answer.code}){said}", response)
        if status == REQUEST_TIMEOUT or status >= INTERNAL_SERVER_ERROR:
            return TryAgain(f"Calltouch failed (HTTP {status}){told}", response)
        if status == NOT_FOUND:
            return config_error(_not_found(response.url))
        if status >= BAD_REQUEST or told:
            return config_error(
                f"Calltouch refused the call (HTTP {status}){told}. Check the settings, and in "
                "Calltouch whether API points are left for today."
            )
        if status >= MULTIPLE_CHOICES:
            return config_error(
                f"The address leads elsewhere (HTTP {status}), to "
                f"{_host(response.headers.get('Location', '')) or 'another address'}. The token is "
                "not sent there: set API URL (api_url) to the method's own address."
            )
        if isinstance(answer, api.NotJson):
            return TryAgain(
                f"Calltouch's answer (HTTP {status}) is not JSON, or only a part of it", response
            )
        return system_error(
            f"Calltouch's answer (HTTP {status}) is of a form that its page does not know: "
            f"{answer.words}. {REPORT}"
        )

    def _quote(self, words: str) -> str:
        """Return Calltouch's words for the end of a sentence, or nothing where there are none."""
        for number in self._private:
            words = words.replace(number, "…")
        words = re.sub(r"\+?\d{10,}", "…", words).strip().removesuffix(".")
        return f": «{words[:500]}»" if words else ""


class CalltouchBackoffStrategy(BackoffStrategy):
    """The CDK's hook for waits: as Calltouch told, else from under half a second to 30."""

    def backoff_time(
        self,
        response_or_exception: requests.Response | requests.RequestException | None,
        attempt_count: int,
    ) -> float:
        """Return how many seconds to wait after the `attempt_count`-th try, from 1."""
        if isinstance(response_or_exception, requests.Response):
            told = retry_after(response_or_exception.headers)
            if told:
                return told + random.uniform(0, FIRST_WAIT_SECONDS)  # noqa: S311 - no secret
        grown = FIRST_WAIT_SECONDS * WAIT_GROWTH ** min(attempt_count - 1, 99)
        return min(grown, LONGEST_WAIT_SECONDS) * random.uniform(0.5, 1)  # noqa: S311 - no secret


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that `Retry-After` tells, as a number or a date; None if it does not."""
    told = headers.get("Retry-After", "").strip()
    if told.isascii() and told.isdigit():
        return float(told[:9])
    try:
        moment = parsedate_to_datetime(told)
    except (TypeError, ValueError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return max(0.0, (moment - datetime.now(timezone.utc)).total_seconds())


class CallBudget(HttpAPIBudget):
    """The CDK's hook for the rate: nearly 5 calls a second, fewer for a while after each 429.

    Calls are spread evenly, since servers that are given five at once answer, and count, some of
    them late. Others may call from the same IP address. So the rate falls by a third at a 429 and
    grows by a tenth of a call a second with each answer, which shares the limit between all who do
    the same.
    """

    def __init__(self, stopping: threading.Event) -> None:
        super().__init__(policies=[_moving_window()])
        self.calls = self.limited = self.retries = self.points = 0
        self.stopping = stopping
        """Set when the reader leaves: no wait lasts longer, no call is made."""
        self.let_through: Callable[[], None] = lambda: None
        """Told in the caller's thread that its call may be made now."""
        self._lock = threading.Lock()
        self._rate = PACE
        self._free_at = self._slowed_at = 0.0

    def acquire_call(
        self,
        request: Any,
        block: bool = True,  # noqa: FBT001, FBT002 - the CDK's signature
        timeout: float | None = None,
    ) -> None:
        """Wait until a call may be made.

        Raises:
            CallsStopped: the reader has left.
        """
        with self._lock:
            now = time.monotonic()
            slot = max(self._free_at, now)
            self._free_at = slot + 1 / self._rate
        self.stopping.wait(slot - now)
        super().acquire_call(request, block, timeout)
        if self.stopping.is_set():
            raise CallsStopped
        with self._lock:
            self.calls += 1
        self.let_through()

    def spend(self, points: int) -> None:
        """Count the points of a call that was served."""
        with self._lock:
            self.points += points

    def update_from_response(self, request: Any, response: requests.Response) -> None:
        """Slow down at a 429, else speed up."""
        with self._lock:
            if response.status_code != TOO_MANY_REQUESTS:
                self._rate = min(self._rate + RATE_STEP, PACE)
                return
            self.limited += 1
            now = time.monotonic()
            if now - self._slowed_at > 1:  # the 429s of one second have one cause
                self._slowed_at = now
                self._rate *= random.uniform(0.6, 0.75)  # noqa: S311 - no secret
                self._free_at = max(self._free_at, now + 1 / self._rate)


@cache
def _moving_window() -> MovingWindowCallRatePolicy:
    # One for the process, which has one IP address; each would keep a thread of its own, too.
    return MovingWindowCallRatePolicy([Rate(api.CALLS_PER_SECOND, PERIOD)], matchers=[])


def retrying(budget: CallBudget, patience: float) -> Retrying:
    """Return what makes a call again and again until it succeeds or `patience` seconds are over.

    Calling it raises what the call raises, and `transient_error` in the place of `TryAgain`.
    """
    backoff = CalltouchBackoffStrategy()

    def wait(state: RetryCallState) -> float:
        return backoff.backoff_time(_failure(state).response, state.attempt_number)

    def tell(state: RetryCallState) -> None:
        budget.retries += 1
        logger.warning("%s. Trying again in %.1f s.", _failure(state).reason, state.upcoming_sleep)

    def sleep(seconds: float) -> None:
        if budget.stopping.wait(seconds):
            raise CallsStopped

    def give_up(state: RetryCallState) -> None:
        raise _for_good(_failure(state), state.attempt_number, state.seconds_since_start) from None

    return Retrying(
        retry=retry_if_exception_type(TryAgain),
        wait=wait,
        stop=stop_before_delay(patience),
        sleep=sleep,
        before_sleep=tell,
        retry_error_callback=give_up,
    )


def _failure(state: RetryCallState) -> TryAgain:
    failure = state.outcome.exception() if state.outcome else None
    if not isinstance(failure, TryAgain):
        raise TypeError(failure)
    return failure


def _for_good(failure: TryAgain, tries: int, seconds: float | None) -> AirbyteTracedException:
    advice = (
        "Other programs behind the same IP address may be using up the 5 calls a second, or the "
        "project's daily API points are used up: look in Calltouch, or wait for tomorrow."
        if failure.limited
        else LATER
    )
    times = "once" if tries == 1 else f"{tries} times"
    return transient_error(f"{failure.reason}. Tried {times} within {seconds or 0:.0f} s. {advice}")


def _words(body: bytes) -> str:
    try:
        api.read_page(body)
    except api.Undocumented:
        return ""
    except api.Answer as answer:
        return answer.words
    return ""


def _settings_of(fields: list[str]) -> str:
    """Say which settings the fields of a request come from."""
    advice = []
    if any(field.startswith("phoneNumbers") for field in fields):
        advice.append("Check the setting Phone numbers (phone_numbers).")
    if any(field.startswith(("dateFrom", "dateTo")) for field in fields):
        advice.append(
            "Check the settings Start date (start_date), End date (end_date) and Time zone "
            "(timezone): if the zone is ahead of the account's, Calltouch takes today for tomorrow "
            "and refuses it."
        )
    return " ".join(advice) or "Check the settings."


def _not_found(url: str) -> str:
    other = api.URL_UNDER_ACCESS if url == api.URL else api.URL
    return (
        f"There is no method at {url} (HTTP 404). Calltouch's page names two addresses for it: set "
        f"API URL (api_url) to the other one, {other}"
    )


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _no_answer(error: Exception | None) -> Exception:
    """Say in words why a call got no answer."""
    host = _host(getattr(getattr(error, "request", None), "url", None) or "") or "Calltouch"
    match error:
        case requests.exceptions.SSLError() if "CERTIFICATE_VERIFY_FAILED" in str(error):
            return config_error(
                f"The certificate of {host} cannot be verified. Check API URL (api_url); behind a "
                "proxy that opens TLS, REQUESTS_CA_BUNDLE must name its certificate."
            )
        case requests.exceptions.InvalidURL() | requests.exceptions.InvalidSchema():
            return config_error(f"The address of {host} cannot be called. Check API URL (api_url).")
        case requests.exceptions.ProxyError():
            reason = f"The proxy in front of {host} does not let the call through"
        case requests.exceptions.ConnectTimeout():
            reason = f"No connection to {host} within {CONNECT_SECONDS} s"
        case requests.exceptions.ReadTimeout():
            reason = f"{host} took the call and did not answer within {READ_SECONDS} s"
        case (
            requests.exceptions.ChunkedEncodingError() | requests.exceptions.ContentDecodingError()
        ):
            reason = f"The answer of {host} was cut off on its way"
        case _ if "NameResolutionError" in repr(error):
            reason = f"There is no host named {host}, or the name server cannot be reached"
        case _ if "reset" in str(error):
            reason = f"{host} reset the connection"
        case _ if "refused" in str(error):
            reason = f"{host} refuses connections"
        case _:
            reason = f"The connection to {host} broke ({type(error).__name__})"
    return TryAgain(reason)
