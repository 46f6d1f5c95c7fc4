"""The kinds of failures: why an answer is no page, what to do about it, and what to say.

No decision is made here: that takes the tries and the time, which `error_handler.py` knows.
"""

import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import requests
from airbyte_cdk.utils.traced_exception import AirbyteTracedException
from requests import exceptions
from urllib3.exceptions import LocationValueError

from source_calltouch_sms import api
from source_calltouch_sms.errors import (
    LATER,
    REPORT,
    AnswerTooLargeError,
    DrippingAnswerError,
    RefusedError,
    RefusedPageError,
    config_error,
    system_error,
    transient_error,
)
from source_calltouch_sms.rate_limiter import THROTTLED
from source_calltouch_sms.redaction import Redactor

WRONG_ADDRESS_SECONDS: Final = 30
"""For how long a wrong address is retried: it can be a guard, or a deployment in passing."""
UNLIMITED: Final = 10**9
DAY_SECONDS: Final = 86_400

ADDRESSES: Final = (
    "Calltouch's documentation gives two addresses for this method, "
    f"{api.URL} and {api.URL_UNDER_ACCESS}: set API URL (api_url) to the one that works."
)
CLOCKS: Final = (
    "Check the settings Start date (start_date), End date (end_date) and Time zone (timezone): if "
    "this zone is ahead of the project's, or this machine's clock is ahead, the request asks for a "
    "day that has not begun in Calltouch."
)
LONG_PAST: Final = (
    "Calltouch refuses days so long past, even one at a time: set Start date (start_date) to a "
    "later day."
)
DATES: Final = "Check the settings Start date (start_date) and End date (end_date)."
TOO_LARGE: Final = (
    "The connector reads no larger one, to spare memory, and cannot ask for less. If this "
    "persists, report it to Calltouch."
)

NO_METHOD: Final = (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.GONE)
"""With these a web server says that nothing, or something else, is at an address."""
BLANKS: Final = b" \t\r\n\0\xef\xbb\xbf\xff\xfe"
"""Spaces and byte order marks."""

_SYSTEM_WORDS: Final = re.compile(r"(?:Errno\s\d+\]\s|Error\(\d+,\s')([\w\s]+)")
"""In the text of a `requests` exception, what the operating system or OpenSSL said."""


class Failure(NamedTuple):
    """What to do about an answer that is no page, and what to say if that does not help."""

    reason: str
    """The beginning of a sentence."""
    advice: str = LATER
    error: Callable[[str], AirbyteTracedException] = transient_error
    retry_seconds: float = UNLIMITED
    """0: trying again would not help."""
    splits_above: float = UNLIMITED
    """Of how many seconds a range must be more, so that parts of it may be answered."""


def of_response(
    body: api.ErrorBody, response: requests.Response, redactor: Redactor, *, reaches_today: bool
) -> Failure:
    """Return what an answer means that is no page, from what is most certain to what is least."""
    status, said = response.status_code, redactor.quote(str(body))
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return Failure(f"Calltouch allows no more API requests for now (HTTP 429){said}", THROTTLED)
    return (
        _known_words(body, status, said, reaches_today=reaches_today)
        or _wrong_address(body, response, redactor)
        or _refused(body, status, said)
        or _faulty(body if response.content.strip(BLANKS) else api.NoData(), status, said)
    )


def of_exception(error: Exception | None, redactor: Redactor) -> Failure:
    """Return what it means that there is no answer, or not all of it."""
    request = getattr(error, "request", None)
    host = urlsplit(getattr(request, "url", None) or "").hostname or "Calltouch"
    cause = redactor.clean(_cause(error))[:100]
    return _never_sent(error, host, cause) or _no_answer(error, host, cause)


def _known_words(
    body: api.ErrorBody, status: int, said: str, *, reaches_today: bool
) -> Failure | None:
    """Return what words mean that are known, under whatever status."""
    failure = None
    match body:
        case _ if status == HTTPStatus.UNAUTHORIZED or isinstance(body, api.InvalidCredentials):
            failure = _final(
                f"Calltouch does not accept the API token{said}",
                "Check the settings API token (access_token) and Site ID (site_id): find both in "
                "Calltouch under Интеграции → API и Webhooks. The method takes a standard token, "
                "not a multi-token.",
            )
        case api.NoAccess():
            failure = _final(
                f"The token's user has no right to this method{said}",
                "In Calltouch, grant the right «API-методы для управления SMS рассылками по базе "
                "клиентов» with read access («на чтение»), or use the API token (access_token) of "
                "another user.",
            )
        case api.MissingField() | api.UnreadableRequest() | api.RefusedPage():
            error = RefusedPageError if isinstance(body, api.RefusedPage) else system_error
            reason = f"Calltouch could not use the connector's request{said}"
            failure = Failure(reason, REPORT, error, retry_seconds=0)
        case api.RefusedRange() | api.OtherMessage() if _is_range_refused(body, status):
            failure = Failure(
                f"Calltouch refused the dates requested{said}",
                CLOCKS if reaches_today else LONG_PAST,
                config_error,
                retry_seconds=0,
                splits_above=DAY_SECONDS,
            )
        case api.ValidationError():
            advice = "Check the settings."
            if "phoneNumbers" in str(body):
                advice = "Check the setting Phone numbers (phone_numbers)."
            elif "date" in str(body):
                advice = CLOCKS if reaches_today else DATES
            reason = f"Calltouch refused the request{said}"
            failure = Failure(reason, advice, RefusedError, retry_seconds=0)
    return failure


def _wrong_address(
    body: api.ErrorBody, response: requests.Response, redactor: Redactor
) -> Failure | None:
    """Return how it shows that something else than the method is at the address, if it does."""
    status, url = response.status_code, redactor.clean(response.url)
    elsewhere = redactor.quote(response.headers.get("Location", ""))
    reason = ""
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        reason = (
            f"The server redirects (HTTP {status}) to another address{elsewhere}; not followed, to "
            "protect the token"
        )
    elif isinstance(body, api.NotJson) and status in NO_METHOD:
        reason = f"There is no method at {url} (HTTP {status})"
    elif status < HTTPStatus.BAD_REQUEST and response.content.lstrip(BLANKS)[:1] == b"<":
        reason = f"A web page is at {url} (HTTP {status}), not the method"
    return Failure(reason, ADDRESSES, config_error, WRONG_ADDRESS_SECONDS) if reason else None


def _refused(body: api.ErrorBody, status: int, said: str) -> Failure | None:
    """Return what a status means that refuses the request, if it does."""
    if not _is_permanent(status):
        return None
    if status == HTTPStatus.FORBIDDEN and isinstance(body, api.NotJson):
        return Failure("A firewall in front of Calltouch refused the request (HTTP 403)")
    advice = "Check the settings, and in Calltouch whether API points are left for today."
    if status in NO_METHOD:
        advice = "Check the settings Site ID (site_id) and API URL (api_url)."
    return _final(f"Calltouch refused the request (HTTP {status}){said}", advice)


def _faulty(body: api.ErrorBody, status: int, said: str) -> Failure:
    """Return what an answer means that is neither a page nor a refusal."""
    match body:
        case _ if status >= HTTPStatus.BAD_REQUEST or isinstance(body, api.ApiError):
            return Failure(f"Calltouch failed (HTTP {status}){said}", splits_above=DAY_SECONDS)
        case api.OtherMessage():
            return Failure(f"Calltouch sent a message instead of SMS (HTTP {status}){said}")
        case api.NoData():
            return Failure(f"Calltouch's answer (HTTP {status}) holds no data")
        case api.Undecodable():
            return Failure(f"Calltouch's answer (HTTP {status}) is not text in its charset{said}")
        case api.NotJson():
            return Failure(f"Calltouch's answer (HTTP {status}) is not JSON or is cut off")
    reason = (
        f"Calltouch's answer (HTTP {status}) matches no format in Calltouch's API documentation"
        f"{said}"
    )
    return Failure(reason, REPORT, system_error, retry_seconds=0)


def _never_sent(error: Exception | None, host: str, cause: str) -> Failure | None:
    """Return why a request cannot be made at all, if that is so."""
    match error:
        case exceptions.SSLError() if "CERTIFICATE_VERIFY_FAILED" in str(error):
            return _final(
                f"The certificate of {host} cannot be verified",
                "Check API URL (api_url); behind a TLS-inspecting proxy, set REQUESTS_CA_BUNDLE "
                "to its CA certificate.",
            )
        case (
            exceptions.InvalidURL()
            | exceptions.InvalidSchema()
            | exceptions.MissingSchema()
            | LocationValueError()
        ):
            return _final(
                f"A request to {host} cannot be made ({cause})",
                "Check the proxy's URL in HTTPS_PROXY, and API URL (api_url): neither a host nor "
                "http:// or https:// may be missing.",
            )
    return None


def _no_answer(error: Exception | None, host: str, cause: str) -> Failure:
    """Return what came instead of a whole answer."""
    failure = Failure(f"The connection to {host} failed ({cause})")
    match error:
        case AnswerTooLargeError(limit=limit, response=response):
            reason = f"The answer of {host} is larger than {limit / 10**6:.0f} MB"
            failure = Failure(reason, TOO_LARGE, retry_seconds=0, splits_above=1)
            if response is not None and response.status_code >= HTTPStatus.BAD_REQUEST:
                failure = Failure(reason, splits_above=DAY_SECONDS)
        case DrippingAnswerError(limit=limit):
            reason = f"{host} did not send its whole answer within {limit:.0f} s"
            failure = Failure(reason, splits_above=DAY_SECONDS)
        case _ if isinstance(error, exceptions.ReadTimeout) or "ReadTimeoutError" in repr(error):
            reason = f"{host} took the request, but sent nothing, or no more, for too long"
            failure = Failure(reason, splits_above=DAY_SECONDS)
        case exceptions.ProxyError():
            failure = Failure(f"The proxy in front of {host} does not let the request through")
        case exceptions.ConnectTimeout():
            failure = Failure(f"{host} does not accept a connection")
        case exceptions.ChunkedEncodingError() | exceptions.ContentDecodingError() | ValueError():
            failure = Failure(f"The answer of {host} was cut off on its way, or is not HTTP")
        case _ if "NameResolutionError" in repr(error):
            failure = Failure(
                f"There is no host named {host}, or the name server cannot be reached"
            )
    return failure


def _final(reason: str, advice: str) -> Failure:
    return Failure(reason, advice, config_error, retry_seconds=0)


def _is_permanent(status: int) -> bool:
    passing = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)
    return HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR and (
        status not in passing
    )


def _is_range_refused(body: api.ErrorBody, status: int) -> bool:
    return isinstance(body, api.RefusedRange) or (
        _is_permanent(status) and bool(api.RANGE.search(str(body)))
    )


def _cause(error: BaseException | None) -> str:
    """Return what the operating system or OpenSSL said, else the name of the innermost error."""
    words = _SYSTEM_WORDS.search(str(error))
    if words:
        return words[1]
    inner = [part for part in getattr(error, "args", ()) if isinstance(part, Exception)]
    return _cause(inner[0]) if inner else type(error).__name__
