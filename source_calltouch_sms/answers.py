"""What an answer means: accept it, retry, ask for a shorter range, or stop and say why.

The CDK's HTTP client calls this after each try of a request, in the request's own thread.
"""

import json
import logging
import random
import re
import threading
from datetime import timedelta
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

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
from requests import exceptions

from source_calltouch_sms import api
from source_calltouch_sms.errors import config_error, system_error, transient_error
from source_calltouch_sms.pace import LIMITED, PATIENCE_SECONDS, Pace

logger = logging.getLogger("airbyte.calltouch")

CONNECT_SECONDS: Final = 10
READ_SECONDS: Final = 120
CHECK_PATIENCE_SECONDS: Final = 10
"""The `PATIENCE_SECONDS` of `check`, for which a person is waiting."""

FIRST_WAIT_SECONDS: Final = 0.5
LONGEST_WAIT_SECONDS: Final = 30
WAIT_GROWTH: Final = 1.5
NO_WAIT_SECONDS: Final = 0.001
"""After a 429 the gate does the waiting. Not 0, which the CDK would replace by its own wait."""

TRIES_AT_LENGTH: Final = 3
"""After how many failures a range counts as too long for Calltouch to answer."""
SHORTEST_SPLIT: Final = timedelta(days=1)

LATER: Final = "Try again later. Nothing is lost: a sync goes on from its last saved state."
REPORT: Final = "Please report this to the connector's developers."
UNLIMITED: Final = 10**9
"""Retries end by `patience` alone, not by the CDK's count or its time on the wall clock."""

ADVICE: Final = {
    "phoneNumbers": "Check the setting Phone numbers (phone_numbers).",
    "date": "Check the settings Start date (start_date), End date (end_date) and Time zone "
    "(timezone): if this zone is ahead of the project's, or this machine's clock is ahead, the "
    "request asks for a day that has not begun in Calltouch.",
}
"""Which settings the fields of a request body come from."""

_NUMBER: Final = re.compile(r"\+?\d(\D{0,9}\d){9,}")
"""What counts as a phone number in `spec.json`."""
_SYSTEM_WORDS: Final = re.compile(r"(?:Errno\s\d+\]\s|Error\(\d+,\s')([\w\s]+)")
"""In the text of a `requests` exception, what the operating system or OpenSSL said."""


class RefusedError(AirbyteTracedException):
    """Calltouch refused a field of the request («Ошибка в содержимом параметров»)."""


class PassingError(Exception):
    """A failure that may pass: its reason, as the beginning of a sentence."""


class RangeTooLongError(PassingError):
    """One that a request for a shorter range might avoid."""


Failure = PassingError | AirbyteTracedException


class CalltouchErrorHandler(ErrorHandler):
    """The CDK's hook that reads every answer: the table of `docs/troubleshooting.md`, as code."""

    max_retries = UNLIMITED
    max_time = UNLIMITED

    def __init__(self, pace: Pace) -> None:
        self.patience: float = PATIENCE_SECONDS
        self._pace = pace
        self._decoding = threading.Lock()

    def interpret_response(self, response: requests.Response | Exception | None) -> ErrorResolution:
        """Accept a page, retry what may pass, or have the window split.

        The CDK's FAIL is not used, as it logs bodies, which hold numbers and texts.

        Raises:
            AirbyteTracedException: retrying would not help, or has not helped.
        """
        try:
            self._check(response)
        except PassingError as failure:
            return self._try_again(failure, response)
        return SUCCESS_RESOLUTION

    def _check(self, response: requests.Response | Exception | None) -> None:
        if not isinstance(response, requests.Response):
            request, *_ = self._pace.tried()
            raise _no_answer(response, urlsplit(request.url).hostname)
        if not api.seems_page(response.content):
            try:
                with self._decoding:  # a page takes ten times its bytes while it is decoded
                    api.read_page(response.content, response.headers.get("Content-Type", ""))
            except api.ErrorBody as body:
                raise _failure(body, response) from None
        if _is_limited(response):
            raise _failure(api.ErrorBody(), response)

    def _try_again(self, failure: PassingError, response: object) -> ErrorResolution:
        request, tries, seconds = self._pace.tried()
        is_long = isinstance(failure, RangeTooLongError) and _asks_for_days(request)
        if is_long and tries >= TRIES_AT_LENGTH:
            return ErrorResolution(ResponseAction.SPLIT_REQUEST_WINDOW, FailureType.transient_error)
        limited = _is_limited(response)
        if seconds + self._pace.closed_seconds > self.patience:
            times = "once" if tries == 1 else f"{tries} times"
            advice = LIMITED if limited else LATER
            raise transient_error(f"{failure}. Tried {times} within {seconds:.0f} s. {advice}")
        if not limited:  # `Pace` logs a 429, at most every 15 seconds
            logger.warning("%s. Trying again.", failure)
        return ErrorResolution(ResponseAction.RETRY, FailureType.transient_error, str(failure))


class CalltouchBackoffStrategy(BackoffStrategy):
    """The CDK's hook for waits, growing from under half a second to 30; it adds a second to each.

    Longer ones, as `Retry-After` asks for, are those of the gate.
    """

    def backoff_time(self, response_or_exception: object, attempt_count: int) -> float:
        """Return how many seconds to wait after the `attempt_count`-th try, from 1."""
        if _is_limited(response_or_exception):
            return NO_WAIT_SECONDS
        grown = FIRST_WAIT_SECONDS * WAIT_GROWTH ** min(attempt_count - 1, 99)
        return min(grown, LONGEST_WAIT_SECONDS) * random.uniform(0.5, 1)  # noqa: S311 - no secret


def explain(body: api.ErrorBody, response: requests.Response) -> AirbyteTracedException:
    """Return the error for a body that is not a page, when it is too late to retry."""
    failure = _failure(body, response)
    return transient_error(f"{failure}. {LATER}") if isinstance(failure, PassingError) else failure


def _failure(body: api.ErrorBody, response: requests.Response) -> Failure:
    """Return the error for a body that is not a page; what the user can fix, under any status."""
    said = _quote(str(body))
    if _is_limited(response):
        return PassingError(f"Calltouch allows no more API requests for now (HTTP 429){said}")
    match body:
        case api.InvalidCredentials():
            return config_error(
                f"Calltouch does not accept the API token{said}. Check the settings API token "
                "(access_token) and Site ID (site_id): find both in Calltouch under "
                "Интеграции → API и Webhooks."
            )
        case api.NoAccess():
            return config_error(
                f"The token's user has no right to this method{said}. In Calltouch, grant the "
                "right «API-методы для управления SMS рассылками по базе клиентов» with read "
                "access («на чтение»), or use the API token (access_token) of another user."
            )
        case api.ValidationError():
            advice = " ".join(text for field, text in ADVICE.items() if field in str(body))
            sentence = f"Calltouch refused the request{said}. {advice or 'Check the settings.'}"
            return RefusedError(sentence, sentence, FailureType.config_error)
        case api.MissingField() | api.UnreadableRequest():
            return system_error(f"Calltouch could not use the connector's request{said}. {REPORT}")
    return _failure_by_status(body, response, said)


def _failure_by_status(body: api.ErrorBody, response: requests.Response, said: str) -> Failure:
    status = response.status_code
    error: Failure
    if (
        isinstance(body, api.ApiError)
        or status == HTTPStatus.REQUEST_TIMEOUT
        or status >= HTTPStatus.INTERNAL_SERVER_ERROR
    ):
        error = RangeTooLongError(f"Calltouch failed (HTTP {status}){said}")
    elif status == HTTPStatus.NOT_FOUND:
        error = config_error(
            f"There is no method at {response.url} (HTTP 404). Calltouch's documentation gives two "
            f"addresses for it, {api.URL} and {api.URL_UNDER_ACCESS}: set API URL (api_url) to the "
            "other one."
        )
    elif status == HTTPStatus.FORBIDDEN and isinstance(body, api.NotJson):
        error = PassingError("A firewall in front of Calltouch refused the request (HTTP 403)")
    elif status >= HTTPStatus.BAD_REQUEST:
        error = config_error(
            f"Calltouch refused the request (HTTP {status}){said}. Check the settings, and in "
            "Calltouch whether API points are left for today."
        )
    elif status >= HTTPStatus.MULTIPLE_CHOICES:
        elsewhere = _quote(response.headers.get("Location", ""))
        error = config_error(
            f"The server redirects (HTTP {status}) to another address{elsewhere}; not followed, to "
            "protect the token. Set API URL (api_url) to the method's own address."
        )
    elif isinstance(body, api.OtherMessage):
        error = PassingError(f"Calltouch sent a message instead of SMS (HTTP {status}){said}")
    elif isinstance(body, api.NotJson):
        error = PassingError(f"Calltouch's answer (HTTP {status}) is not JSON or is cut off")
    else:
        error = system_error(
            f"Calltouch's answer (HTTP {status}) matches no format in Calltouch's API "
            f"documentation{said}. {REPORT}"
        )
    return error


def _no_answer(error: Exception | None, host: str) -> Failure:
    """Return the error for a request without a whole answer."""
    match error:
        case exceptions.SSLError() if "CERTIFICATE_VERIFY_FAILED" in str(error):
            return config_error(
                f"The certificate of {host} cannot be verified. Check API URL (api_url); behind a "
                "TLS-inspecting proxy, set REQUESTS_CA_BUNDLE to its CA certificate."
            )
        case exceptions.ProxyError() | exceptions.InvalidProxyURL():
            reason = f"The proxy in front of {host} does not let the request through"
        case _ if isinstance(error, exceptions.ReadTimeout) or "ReadTimeoutError" in repr(error):
            return RangeTooLongError(
                f"{host} took the request, but sent nothing, or no more, within {READ_SECONDS} s"
            )
        case exceptions.ConnectTimeout():
            reason = f"No connection to {host} within {CONNECT_SECONDS} s"
        case exceptions.ChunkedEncodingError() | exceptions.ContentDecodingError():
            reason = f"The answer of {host} was cut off on its way"
        case _ if "NameResolutionError" in repr(error):
            reason = f"There is no host named {host}, or the name server cannot be reached"
        case _:
            words = _SYSTEM_WORDS.search(str(error))
            cause = words[1] if words else type(error).__name__
            reason = f"The connection to {host} failed ({cause})"
    return PassingError(reason)


def _quote(words: str) -> str:
    """Return Calltouch's words, quoted, for the end of a sentence; empty if there are none."""
    words = _NUMBER.sub("…", words).strip().removesuffix(".")
    return f": «{words[:500]}»" if words else ""


def _is_limited(response: object) -> bool:
    return getattr(response, "status_code", None) == HTTPStatus.TOO_MANY_REQUESTS


def _asks_for_days(request: requests.PreparedRequest) -> bool:
    """Tell whether the range that is asked for is long enough to be split."""
    body = json.loads(request.body or "")
    start, end = (api.read_wire_time(body[bound]) for bound in ("dateFrom", "dateTo"))
    return end - start >= SHORTEST_SPLIT
