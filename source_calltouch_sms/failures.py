"""The table of failures: why an answer is no page, what to do about it, and what to say.

It is the one in `docs/troubleshooting.md`, as code. No decision is made here: that takes the tries
and the time, which `error_handler.py` knows.
"""

import re
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Final, Literal, NamedTuple
from urllib.parse import urlsplit

import requests
from airbyte_cdk.models import FailureType
from airbyte_cdk.utils.traced_exception import AirbyteTracedException
from requests import exceptions

from source_calltouch_sms import api, errors
from source_calltouch_sms.errors import config_error
from source_calltouch_sms.rate_limiter import THROTTLED
from source_calltouch_sms.redaction import Redactor

WRONG_ADDRESS_SECONDS: Final = 30
"""For how long a wrong address is retried: it can be a guard, or a deployment in passing."""
UNLIMITED: Final = 10**9

CREDENTIALS: Final = (
    "Check the settings API token (access_token) and Site ID (site_id): find both in Calltouch "
    "under Интеграции → API и Webhooks. The method takes a standard token, not a multi-token."
)
RIGHT: Final = (
    "In Calltouch, grant the right «API-методы для управления SMS рассылками по базе клиентов» "
    "with read access («на чтение»), or use the API token (access_token) of another user."
)
CLOCKS: Final = (
    "Check the settings Start date (start_date), End date (end_date) and Time zone (timezone): if "
    "this zone is ahead of the project's, or this machine's clock is ahead, the request asks for a "
    "day that has not begun in Calltouch."
)
LONG_PAST: Final = (
    "Calltouch refuses days this long ago, even one at a time: set Start date (start_date) to a "
    "later day."
)
FIELDS: Final = (
    "Check the setting that the field comes from: phoneNumbers is Phone numbers (phone_numbers), "
    "SiteId is Site ID (site_id)."
)
ADDRESSES: Final = (
    "Calltouch's documentation gives two addresses for this method, "
    f"{api.URL} and {api.URL_UNDER_ACCESS}: set API URL (api_url) to the one that works."
)
POINTS: Final = (
    "Check the settings, Site ID (site_id) and API URL (api_url) first, and in Calltouch whether "
    "API points are left for today."
)
FIREWALL: Final = (
    "Try again later. If it persists, check the settings API token (access_token) and Site ID "
    "(site_id), and ask your network's administrators."
)
NOT_NOW: Final = "Try again later or, if the project's API points are used up, tomorrow."
CERTIFICATE: Final = (
    "Check API URL (api_url); behind a TLS-inspecting proxy, set REQUESTS_CA_BUNDLE to its CA "
    "certificate."
)
PROXY: Final = "Check HTTPS_PROXY and API URL (api_url): both need http:// or https://, and a host."
TOO_LARGE: Final = "Larger ones are not read, to save memory. If it persists, tell Calltouch."

OK: Final = range(200, 300)
REDIRECTS: Final = range(300, 400)
REFUSALS: Final = frozenset(range(400, 500)) - {HTTPStatus.REQUEST_TIMEOUT}
NO_METHOD: Final = (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.GONE)
"""With these a web server says that nothing, or something else, is at an address."""

_SYSTEM_WORDS: Final = re.compile(
    r"(?:Errno\s-?\d+\]\s|Error\(\d+,\s'|RemoteDisconnected\(')([\w\s]+)"
)
"""In the text of a `requests` exception, what the operating system, OpenSSL or Python said."""


class Failure(NamedTuple):
    """What to do about an answer that is no page, and what to say if that does not help."""

    reason: str
    """The beginning of a sentence."""
    advice: str = errors.LATER
    error: Callable[[str], AirbyteTracedException] = errors.transient_error
    retry_seconds: float = UNLIMITED
    """0: trying again would not help."""
    splits_into: Literal["", "days", "hours", "seconds"] = ""
    """The smallest parts of the range that may be answered; empty if it is not split."""
    said: str = ""
    """What Calltouch said, a sentence."""

    def message(self, more: str = "") -> str:
        """Return the text; what Calltouch said comes last, since the form cuts long texts."""
        return f"{self.reason}.{more} {self.advice}{self.said}"


def _refused(
    reason: str, advice: str, error: Callable[[str], AirbyteTracedException] = config_error
) -> Failure:
    return Failure(reason, advice, error, retry_seconds=0)


def _unknown(reason: str) -> Failure:
    return _refused(reason, errors.REPORT, errors.system_error)


def _wrong_address(reason: str) -> Failure:
    return Failure(reason, ADDRESSES, config_error, WRONG_ADDRESS_SECONDS)


def of_response(  # noqa: C901, PLR0912 - a table: the first case that fits counts
    body: api.ErrorBody,
    response: requests.Response,
    redactor: Redactor,
    *,
    reaches_today: bool,
    has_answered: bool,
) -> Failure:
    """Return what an answer that is no page means; the most certain cases come first.

    `reaches_today`: the request asked for today. `has_answered`: this address has sent a page.
    """
    status, url = response.status_code, redactor.clean(response.url)
    said = redactor.quote(str(body))
    is_refusal = status in REFUSALS
    match body:
        case _ if status == HTTPStatus.TOO_MANY_REQUESTS:
            reason = "Calltouch allows no more API requests for now (HTTP 429)"
            failure = Failure(reason, THROTTLED)
        case api.NotJson() | api.NoData() if status == HTTPStatus.FORBIDDEN or (
            status == HTTPStatus.UNAUTHORIZED and isinstance(body, api.Html)
        ):
            reason = f"A firewall in front of Calltouch refused the request (HTTP {status})"
            failure = Failure(reason, FIREWALL)

        # Words that are known, under whatever status.
        case _ if status == HTTPStatus.UNAUTHORIZED or isinstance(body, api.InvalidCredentials):
            failure = _refused("Calltouch does not accept the API token", CREDENTIALS)
        case api.NoAccess():
            failure = _refused("The token's user has no right to this method", RIGHT)
        case api.UnusableRequest():
            failure = _unknown("Calltouch could not use the connector's request")
        case api.ValidationError() | api.NotBegun():
            advice = CLOCKS if isinstance(body, api.NotBegun) and reaches_today else FIELDS
            failure = _refused("Calltouch refused the request", advice, errors.RefusedError)

        # What passes, by its words.
        case api.NotNow() if is_refusal or status in OK:
            failure = Failure(f"Calltouch does not answer for now (HTTP {status})", NOT_NOW)

        # Its dates.
        case api.RefusedRange() if is_refusal or status in OK:
            reason = "Calltouch refused the dates requested"
            advice = CLOCKS if reaches_today else LONG_PAST
            failure = Failure(reason, advice, config_error, retry_seconds=0, splits_into="days")

        # Another address than the method's.
        case _ if status in REDIRECTS:
            elsewhere = redactor.quote(response.headers.get("Location", ""))
            failure = _wrong_address(
                f"The server redirects (HTTP {status}) to another address{elsewhere}; not "
                "followed, to protect the token"
            )
        case api.NotJson() | api.NoData() if status in NO_METHOD:
            failure = _wrong_address(f"There is no API method at {url} (HTTP {status})")
        case api.Html() if status in OK:
            failure = _wrong_address(f"There is a web page at {url} (HTTP {status}), not the API")

        # All else, by its status.
        case _ if is_refusal:
            # It may refuse one page alone: «Result window is too large». Once it has answered, the
            # settings are not to blame.
            kind = FailureType.transient_error if has_answered else FailureType.config_error
            error = partial(errors.RefusedError, failure_type=kind)
            reason = f"Calltouch refused the request (HTTP {status})"
            failure = _refused(reason, NOT_NOW if has_answered else POINTS, error)
        case _ if status not in OK or isinstance(body, api.ApiError):
            failure = Failure(f"Calltouch failed (HTTP {status})", splits_into="hours")
        case api.OtherMessage():
            failure = Failure(f"Calltouch sent a message instead of SMS (HTTP {status})")
        case api.NoData():
            failure = Failure(f"Calltouch's answer (HTTP {status}) holds no data")
        case api.NotJson():
            failure = Failure(f"Calltouch's answer (HTTP {status}) is not JSON or is cut off")
        case _:
            failure = _unknown(
                f"Calltouch's answer (HTTP {status}) matches no format in Calltouch's API "
                "documentation"
            )
    if has_answered and failure.retry_seconds == WRONG_ADDRESS_SECONDS:  # it is maintenance
        failure = Failure(failure.reason)
    return failure._replace(said=f" Calltouch's answer{said}." if said else "")


def of_exception(  # noqa: C901 - a table, too
    error: Exception | None, redactor: Redactor
) -> Failure:
    """Return what it means that there is no answer, or not all of it."""
    request = getattr(error, "request", None)
    host = urlsplit(getattr(request, "url", None) or "").hostname or "Calltouch"
    words = _SYSTEM_WORDS.search(str(error))
    cause = redactor.clean(words[1] if words else type(error).__name__)
    match error:
        case exceptions.SSLError() if "CERTIFICATE_VERIFY_FAILED" in str(error):
            failure = _refused(f"The certificate of {host} cannot be verified", CERTIFICATE)
        case exceptions.InvalidURL() | exceptions.InvalidSchema() | exceptions.MissingSchema():
            failure = _refused(f"A request to {host} cannot be made ({cause})", PROXY)
        case requests.RequestException(response=requests.Response(status_code=401)):
            failure = _refused("Calltouch does not accept the API token", CREDENTIALS)
        case errors.AnswerTooLargeError(args=[limit]):
            reason = f"The answer from {host} is larger than {limit / 10**6:.0f} MB"
            failure = Failure(reason, splits_into="hours")
            if error.response is None or error.response.ok:
                failure = failure._replace(advice=TOO_LARGE, retry_seconds=0, splits_into="seconds")
        case _ if "ReadTimeout" in repr(error):
            reason = f"{host} took the request, but did not answer it in full in time"
            failure = Failure(reason, splits_into="hours")
        case exceptions.ProxyError():
            failure = Failure(f"The proxy in front of {host} does not let the request through")
        case exceptions.ConnectTimeout():
            failure = Failure(f"{host} does not accept a connection")
        case exceptions.ChunkedEncodingError() | exceptions.ContentDecodingError() | ValueError():
            failure = Failure(f"The answer from {host} was cut off on its way, or is not HTTP")
        case _ if "NameResolutionError" in repr(error):
            failure = Failure(f"There is no host named {host}, or no name server can be reached")
        case _:
            failure = Failure(f"The connection to {host} failed ({cause})")
    return failure
