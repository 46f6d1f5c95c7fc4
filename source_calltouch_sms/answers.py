"""What an answer means: take it, try again later, read less at once, or stop and say why.

The CDK's HTTP client asks here, in the thread of each request, after each try of it.
"""

import json
import logging
import random
import re
import threading
from datetime import timedelta
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

from source_calltouch_sms import api
from source_calltouch_sms.errors import config_error, system_error, transient_error
from source_calltouch_sms.pace import TOO_MANY_REQUESTS, Pace, retry_after

logger = logging.getLogger("airbyte.calltouch")

CONNECT_SECONDS: Final = 10
READ_SECONDS: Final = 120
PATIENCE_SECONDS: Final = 600
"""For how long one request is tried before it has failed for good."""
CHECK_PATIENCE_SECONDS: Final = 10
"""The same for `check`, in front of which a person sits."""

FIRST_WAIT_SECONDS: Final = 0.5
LONGEST_WAIT_SECONDS: Final = 30
WAIT_GROWTH: Final = 1.5
NO_WAIT_SECONDS: Final = 0.001
"""After a 429: the gate does the waiting. Not 0, for which the CDK would take a wait of its own."""

TRIES_AT_LENGTH: Final = 3
"""After how many failures a range is taken as one that Calltouch cannot answer at once."""
SHORTEST_SPLIT: Final = timedelta(days=1)

LATER: Final = "Try again later. Nothing is lost: a sync goes on from its last saved state."
REPORT: Final = "Please report this to the connector's developers."
LIMITED: Final = (
    "Other programs behind the same IP address may be using up the 5 requests a second, or the "
    "project's daily API points are used up: look in Calltouch, or wait for tomorrow."
)
UNLIMITED: Final = 10**9
"""Neither the CDK's number of tries nor its time, which goes by the wall clock, is to end them."""

MULTIPLE_CHOICES: Final = 300
BAD_REQUEST: Final = 400
FORBIDDEN: Final = 403
NOT_FOUND: Final = 404
REQUEST_TIMEOUT: Final = 408
INTERNAL_SERVER_ERROR: Final = 500


class RefusedError(AirbyteTracedException):
    """Calltouch refused a field of the request («Ошибка в содержимом параметров»)."""


class PassingError(Exception):
    """A failure that time may mend: its reason, as the beginning of a sentence."""

    def __init__(self, reason: str, *, of_length: bool = False) -> None:
        super().__init__(reason)
        self.of_length = of_length
        """Whether a shorter range might have been answered."""


class CalltouchErrorHandler(ErrorHandler):
    """The CDK's hook that reads every answer: the table of `docs/troubleshooting.md`, as code."""

    max_retries = UNLIMITED
    max_time = UNLIMITED

    def __init__(self, pace: Pace, private: tuple[str, ...] = ()) -> None:
        self.patience: float = PATIENCE_SECONDS
        self._pace = pace
        self._private = private
        """What is masked in Calltouch's words: the numbers that were sent to it."""
        self._decoding = threading.Lock()

    def interpret_response(self, response: requests.Response | Exception | None) -> ErrorResolution:
        """Let a page pass, have what time may mend tried again, or have less asked for at once.

        The CDK's FAIL is not used, as it logs bodies, which hold numbers and texts.

        Raises:
            AirbyteTracedException: what trying again does not mend, or has not mended.
        """
        try:
            self._read(response)
        except PassingError as failure:
            return self._again(failure, response)
        return SUCCESS_RESOLUTION

    def _again(
        self, failure: PassingError, response: requests.Response | Exception | None
    ) -> ErrorResolution:
        request: requests.PreparedRequest | None = getattr(response, "request", None)
        tries, seconds = self._pace.tried()
        if failure.of_length and tries >= TRIES_AT_LENGTH and _asks_for_days(request):
            action = ResponseAction.SPLIT_REQUEST_WINDOW
            return ErrorResolution(action, FailureType.transient_error, str(failure))
        limited = _is_limited(response)
        wait = retry_after(getattr(response, "headers", {})) or 0
        if seconds + wait > self.patience:
            times = "once" if tries == 1 else f"{tries} times"
            advice = LIMITED if limited else LATER
            raise transient_error(f"{failure}. Tried {times} within {seconds:.0f} s. {advice}")
        if not limited:  # of a 429 the pace tells, now and then
            logger.warning("%s. Trying again.", failure)
        return ErrorResolution(ResponseAction.RETRY, FailureType.transient_error, str(failure))

    def _read(self, response: requests.Response | Exception | None) -> None:
        if not isinstance(response, requests.Response):
            raise _no_answer(response)
        if _is_limited(response):
            said = self._quote(_words(response.content))
            raise PassingError(f"Calltouch allows no more API requests for now (HTTP 429){said}")
        if api.seems_page(response.content):
            return
        try:
            with self._decoding:  # a page takes ten times its bytes while it is decoded
                api.read_page(response.content)
        except api.Answer as answer:
            raise self._judge(answer, response) from None

    def explain(self, answer: api.Answer, response: requests.Response) -> AirbyteTracedException:
        """Return the error for a body that is no page, where it is too late to try again."""
        failure = self._judge(answer, response)
        if isinstance(failure, PassingError):
            return transient_error(f"{failure}. {LATER}")
        return failure

    def _judge(
        self, answer: api.Answer, response: requests.Response
    ) -> PassingError | AirbyteTracedException:
        """Say what a body means that is no page: documented ones alike under every status."""
        return self._documented(answer) or self._by_status(answer, response)

    def _documented(self, answer: api.Answer) -> PassingError | AirbyteTracedException | None:
        said = self._quote(answer.words)
        error: PassingError | AirbyteTracedException | None = None
        match answer:
            case api.InvalidCredentials():
                error = config_error(
                    f"Calltouch does not accept the API token{said}. Check the settings API token "
                    "(access_token) and Site ID (site_id): find both in Calltouch under "
                    "Интеграции → API и Webhooks."
                )
            case api.NoAccess():
                error = config_error(
                    f"The token's user has no right to this method{said}. In Calltouch, grant the "
                    "right «API-методы для управления SMS рассылками по базе клиентов» with read "
                    "access («на чтение»), or use the API token (access_token) of another user."
                )
            case api.ValidationError():
                sentence = f"Calltouch refused the request{said}. {_settings_of(answer.fields)}"
                error = RefusedError(sentence, sentence, FailureType.config_error)
            case api.MissingField():
                error = system_error(
                    f"The connector left out a field that Calltouch needs{said}. {REPORT}"
                )
            case api.ApiError(code=api.SYNTAX_ERROR_CODE):
                error = system_error(
                    f"Calltouch could not read the connector's request{said}. {REPORT}"
                )
            case api.ApiError():
                reason = f"Calltouch failed (API error {answer.code}){said}"
                error = PassingError(reason, of_length=True)
        return error

    def _by_status(
        self, answer: api.Answer, response: requests.Response
    ) -> PassingError | AirbyteTracedException:
        status = response.status_code
        told = self._quote(answer.words) if isinstance(answer, api.OtherMessage) else ""
        error: PassingError | AirbyteTracedException
        if status == REQUEST_TIMEOUT or status >= INTERNAL_SERVER_ERROR:
            error = PassingError(f"Calltouch failed (HTTP {status}){told}", of_length=True)
        elif status == NOT_FOUND:
            error = config_error(_not_found(response.url))
        elif status == FORBIDDEN and isinstance(answer, api.NotJson):
            error = PassingError("A firewall in front of Calltouch refused the request (HTTP 403)")
        elif status >= BAD_REQUEST:
            error = config_error(
                f"Calltouch refused the request (HTTP {status}){told}. Check the settings, and in "
                "Calltouch whether API points are left for today."
            )
        elif status >= MULTIPLE_CHOICES:
            elsewhere = _host(response.headers.get("Location", "")) or "another address"
            error = config_error(
                f"The server redirects (HTTP {status}) to {elsewhere}; not followed, to protect "
                "the token. Set API URL (api_url) to the method's own address."
            )
        elif told:
            error = PassingError(f"Calltouch sent a message instead of SMS (HTTP {status}){told}")
        elif isinstance(answer, api.NotJson):
            error = PassingError(f"Calltouch's answer (HTTP {status}) is not JSON or is cut off")
        else:
            error = system_error(
                f"Calltouch's answer (HTTP {status}) matches no format in Calltouch's API "
                f"documentation: {answer.words}. {REPORT}"
            )
        return error

    def _quote(self, words: str) -> str:
        """Return Calltouch's words for the end of a sentence, or nothing where there are none."""
        for number in self._private:
            words = words.replace(number, "…")
        words = re.sub(r"\+?\d{10,}", "…", words).strip().removesuffix(".")
        return f": «{words[:500]}»" if words else ""


class CalltouchBackoffStrategy(BackoffStrategy):
    """The CDK's hook for waits: as Calltouch told, else from under half a second to 30.

    The CDK adds a second to each.
    """

    def backoff_time(
        self,
        response_or_exception: requests.Response | requests.RequestException | None,
        attempt_count: int,
    ) -> float:
        """Return how many seconds to wait after the `attempt_count`-th try, from 1."""
        if _is_limited(response_or_exception):
            return NO_WAIT_SECONDS
        if isinstance(response_or_exception, requests.Response):
            told = retry_after(response_or_exception.headers)
            if told:
                return told
        grown = FIRST_WAIT_SECONDS * WAIT_GROWTH ** min(attempt_count - 1, 99)
        return min(grown, LONGEST_WAIT_SECONDS) * random.uniform(0.5, 1)  # noqa: S311 - no secret


def _is_limited(response: requests.Response | Exception | None) -> bool:
    return isinstance(response, requests.Response) and response.status_code == TOO_MANY_REQUESTS


def _asks_for_days(request: requests.PreparedRequest | None) -> bool:
    """Tell whether the range that a request asks for is long enough to ask for less."""
    body = json.loads(request.body) if request and request.body else {}
    ends = [api.read_wire_time(body[end]) for end in ("dateFrom", "dateTo") if end in body]
    return len(ends) == 2 and ends[1] - ends[0] >= SHORTEST_SPLIT  # noqa: PLR2004 - both ends


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
            "(timezone): if this zone is ahead of the account's, or this machine's clock is ahead, "
            "the request asks for a day that has not begun in Calltouch."
        )
    return " ".join(advice) or "Check the settings."


def _not_found(url: str) -> str:
    other = api.URL_UNDER_ACCESS if url == api.URL else api.URL
    return (
        f"There is no method at {url} (HTTP 404). Calltouch's documentation gives two addresses "
        f"for it: set API URL (api_url) to the other one, {other}"
    )


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _no_answer(error: Exception | None) -> Exception:
    """Say in words why a request got no answer."""
    host = _host(getattr(getattr(error, "request", None), "url", None) or "") or "Calltouch"
    match error:
        case requests.exceptions.SSLError() if "CERTIFICATE_VERIFY_FAILED" in str(error):
            return config_error(
                f"The certificate of {host} cannot be verified. Check API URL (api_url); behind a "
                "TLS-inspecting proxy, set REQUESTS_CA_BUNDLE to its CA certificate."
            )
        case requests.exceptions.InvalidURL() | requests.exceptions.InvalidSchema():
            return config_error(f"The address of {host} cannot be used. Check API URL (api_url).")
        case requests.exceptions.ProxyError():
            reason = f"The proxy in front of {host} does not let the request through"
        case requests.exceptions.ConnectTimeout():
            reason = f"No connection to {host} within {CONNECT_SECONDS} s"
        case requests.exceptions.ReadTimeout():
            return PassingError(
                f"{host} accepted the request but sent no response within {READ_SECONDS} s",
                of_length=True,
            )
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
    return PassingError(reason)
