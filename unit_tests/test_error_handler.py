"""What an answer means: `source_calltouch_sms.error_handler`, `source_calltouch_sms.failures`."""

import json
import time
from datetime import datetime
from functools import partial
from typing import Any, TypeAlias

import pytest
import requests
from airbyte_cdk.models import FailureType
from airbyte_cdk.sources.streams.http.error_handlers import ResponseAction
from airbyte_cdk.utils.traced_exception import AirbyteTracedException
from requests import exceptions
from urllib3.exceptions import ReadTimeoutError

from source_calltouch_sms import api, failures
from source_calltouch_sms.error_handler import CalltouchBackoffStrategy, CalltouchErrorHandler
from source_calltouch_sms.errors import AnswerTooLargeError, CancelledError, RefusedError
from source_calltouch_sms.rate_limiter import RETRY_SECONDS, Attempt
from unit_tests.account import response

PAGE = json.dumps({"meta": [], "data": {"totalCountSms": 1, "pageOfResult": 1, "smsDetails": [{}]}})
EMPTY = PAGE.replace('1, "p', '0, "p').replace("{}", ""), '{"meta": [], "data": []}'
TOKEN_WRONG = '{"message": "Invalid credentials."}'
NO_RIGHT = '{"message": "Пользователь X не имеет доступа к…"}'
MISSING = '{"message": "В запросе не указано обязательное поле"}'
API_ERROR = '{"errorCode": 7, "errorMessage": "Сбой"}'
SPENT = '{"message": "Превышен суточный лимит API-баллов за период"}'
HTML = "\ufeff <!DOCTYPE html><p>Справка</p>"
TOO_LONG = "Период не может быть больше 90 дней"
FAR, AHEAD = ("dateFrom", TOO_LONG), ("dateTo", "Значение не может быть больше текущего дня")
RANGE_MESSAGE = f'{{"message": "{TOO_LONG}"}}'

NOW = datetime(2024, 4, 2, 12)
FIRST = "01-04-2024 00:00:00"
TWO_DAYS = {"dateFrom": FIRST, "dateTo": "02-04-2024 23:59:59"}
A_DAY_AND_A_SECOND = {"dateFrom": FIRST, "dateTo": "02-04-2024 00:00:00"}
A_DAY = {"dateFrom": FIRST, "dateTo": "01-04-2024 23:59:59"}
AN_HOUR = {"dateFrom": FIRST, "dateTo": "01-04-2024 01:00:00"}
UNDER_AN_HOUR = {"dateFrom": FIRST, "dateTo": "01-04-2024 00:59:59"}
OVER_MIDNIGHT = {"dateFrom": "01-04-2024 23:59:59", "dateTo": "02-04-2024 00:00:00"}
TWO_SECONDS = {"dateFrom": FIRST, "dateTo": "01-04-2024 00:00:01"}
A_SECOND = {"dateFrom": FIRST, "dateTo": FIRST}
TODAY = {"dateFrom": "02-04-2024 00:00:00", "dateTo": "02-04-2024 11:59:59"}
UNKNOWN: list[Any] = [None, {}, [], {"dateFrom": 1}, {**A_DAY, "dateTo": "odd"}]

Answer: TypeAlias = requests.Response | Exception | None
Meaning: TypeAlias = ResponseAction | FailureType | None
PASS, RETRY = ResponseAction.SUCCESS, ResponseAction.RETRY
SPLIT = ResponseAction.SPLIT_REQUEST_WINDOW
CONFIG, TRANSIENT = FailureType.config_error, FailureType.transient_error
SYSTEM = FailureType.system_error


@pytest.fixture(autouse=True)
def _first_try() -> None:
    """Let no test go on with another one's attempt, which is its thread's."""
    Attempt(tries=1).begin()


def violation(*faults: tuple[str, str]) -> str:
    violations = [{"fieldPath": field, "message": message} for field, message in faults]
    return json.dumps({"data": {"validationErrorData": {"violations": violations}}})


got = partial(response, asked=TWO_DAYS)


def failed(error: exceptions.RequestException, asked: Any = TWO_DAYS) -> Exception:
    """Return an error of the transport, as of a request for this range."""
    error.request = requests.Request("POST", api.URL, json=asked).prepare()
    return error


def judge(
    answer: Answer, *, tries: int = 1, seconds: float = 0, **changes: Any
) -> tuple[Meaning, str]:
    """Return what the handler does, or the kind of the error that it raises, and the words."""
    Attempt(time.monotonic() - seconds, tries).begin()
    handler = CalltouchErrorHandler(**{"now": NOW, **changes})
    try:
        resolution = handler.interpret_response(answer)
    except AirbyteTracedException as error:
        return error.failure_type, str(error)
    assert resolution.response_action != ResponseAction.FAIL, "the CDK would log the body"
    return resolution.response_action, resolution.error_message or ""


SCARCE = "Calltouch allows no more API requests for now (HTTP 429)"
REFUSED = "Max retries exceeded with url: /x (Caused by …: [Errno 111] Connection refused'))"
RESET = "('Connection aborted.', ConnectionResetError(104, 'Connection reset by peer'))"
CLOSED = "('…', RemoteDisconnected('Remote end closed connection without response'))"
STALLED = exceptions.ConnectionError(ReadTimeoutError(None, "", "Read timed out."))  # type: ignore[arg-type]
LARGE_PAGE = json.dumps({"data": {"smsDetails": [{"smsMessage": "x" * 99}] * 999}}).encode()
DAMAGED = LARGE_PAGE.replace(b"[", b"")


@pytest.mark.parametrize(
    ("answer", "meaning", "said"),
    [
        # A page, under any status but 401 and 429.
        *((got(PAGE, s), PASS, "") for s in (200, 201, 302, 400, 403, 404, 408, 500, 503)),
        # One without SMS only where nothing failed.
        *((got(body), PASS, "") for body in EMPTY),
        *((got(body, 500), RETRY, "failed (HTTP 500)") for body in EMPTY),
        *((got(body, 400), CONFIG, "refused the request (HTTP 400)") for body in EMPTY),
        # A large page, without decoding it; but not its part, nor a large refusal.
        *((got(DAMAGED + end), PASS, "") for end in (b"", b"\n", b"\r\n")),
        *((got(LARGE_PAGE[:-cut]), RETRY, "is cut off") for cut in (1, 500, 90_000)),
        (got(violation(*[("phoneNumbers[9]", "Плохо")] * 5000)), CONFIG, "(phone_numbers)"),
        # What may pass.
        *((got(body, 429), RETRY, SCARCE) for body in ("", PAGE)),
        (got('{"message": "Баллы кончились"}', 429), RETRY, "answer: «Баллы кончились»."),
        (got("", 408), RETRY, "Calltouch failed (HTTP 408)"),
        (got(HTML, 500), RETRY, "Calltouch failed (HTTP 500)"),
        (got('{"odd": 1}', 502), RETRY, "Calltouch failed (HTTP 502)"),
        (got('{"message": "Авария"}', 503), RETRY, "answer: «Авария»."),
        *((got(body, 403), RETRY, "A firewall in front of Calltouch") for body in (HTML, "")),
        (got(HTML, 401), RETRY, "A firewall in front of Calltouch refused the request (HTTP 401)"),
        *((got(SPENT, s), RETRY, "does not answer for now (HTTP") for s in (200, 400, 402, 403)),
        (got(SPENT, 503), RETRY, "Calltouch failed (HTTP 503)"),
        (got('{"data": {"message": "Лимит"}}'), RETRY, "sent a message instead of SMS"),
        (got(PAGE[:30]), RETRY, "(HTTP 200) is not JSON or is cut off"),
        (got("{}"), RETRY, "(HTTP 200) holds no data"),
        *((got(HTML, s), RETRY, f"There is a web page at {api.URL}") for s in (200, 299)),
        *((got("", s), RETRY, "to another address; not followed") for s in (300, 302, 399)),
        (got("", 301, Location="http://a.b/?to=70000000001"), RETRY, "«http://a.b/?to=…»; not fol"),
        *((got(HTML, s), RETRY, f"There is no API method at {api.URL}") for s in (404, 405, 410)),
        (got("", 404), RETRY, f"There is no API method at {api.URL}"),
        *((got(API_ERROR, s), RETRY, "failed (HTTP") for s in (200, 408, 500)),
        # What does not pass.
        *((got(TOKEN_WRONG, s), CONFIG, "(access_token)") for s in (200, 401, 403, 500)),
        *((got(body, 401), CONFIG, "(site_id)") for body in ("", "{}", PAGE)),
        (got(LARGE_PAGE, 401), CONFIG, "(site_id)"),
        (got('{"message": "Отозван"}', 401), CONFIG, "not a multi-token. Calltouch's answer: «От"),
        *((got(NO_RIGHT, s), CONFIG, "grant the right") for s in (200, 403)),
        *(
            (got(violation(("x[3]", "Плохо")), s), CONFIG, "(phone_numbers)")
            for s in (200, 400, 422)
        ),
        (got(violation(("newField", "Плохо")), 422), CONFIG, "answer: «newField: Плохо»."),
        *((got(MISSING, s), SYSTEM, "report this") for s in (200, 422, 500)),
        (got(API_ERROR, 400), CONFIG, "answer: «errorCode: 7; errorMessage: Сбой»."),
        (got('{"message": "Проект не найден"}', 404), CONFIG, "Site ID (site_id)"),
        (got(HTML, 400), CONFIG, "refused the request (HTTP 400)"),
        (got('{"message": "Нет"}', 403), CONFIG, "API points"),
        (got('{"message": "Нет"}', 499), CONFIG, "answer: «Нет»."),
        (got('{"a": {"b": "secret"}}'), SYSTEM, "answer: «{a: {b: str}}»."),
        # What is refused because of its dates.
        (got(violation(FAR), 422), SPLIT, ""),
        (got(violation(("dateTo", "Нет"), FAR), 200), SPLIT, ""),
        (got(violation(("", TOO_LONG)), 400), SPLIT, ""),
        *((got(RANGE_MESSAGE, s), SPLIT, "") for s in (200, 400)),
        *((got(body, 500), RETRY, "") for body in (RANGE_MESSAGE, violation(FAR))),
        (response(RANGE_MESSAGE, 400, OVER_MIDNIGHT), SPLIT, ""),
        (got(violation(AHEAD, ("x", TOO_LONG)), 422), CONFIG, ""),
        # Clocks are to blame only where the range reaches today.
        (response(violation(FAR), 422, TODAY), CONFIG, f"dates requested. {failures.CLOCKS}"),
        (response(violation(FAR), 422, A_DAY), CONFIG, f"dates requested. {failures.LONG_PAST}"),
        (response(violation(FAR), 422, A_SECOND), CONFIG, "Calltouch's answer: «dateFrom: Период"),
        (response(violation(AHEAD), 422, TODAY), CONFIG, failures.CLOCKS),
        (response(violation(AHEAD), 422, A_DAY), CONFIG, failures.FIELDS),
        # No answer, or not all of it.
        (failed(exceptions.ConnectTimeout()), RETRY, "ltouch.ru does not accept a connection"),
        (failed(exceptions.ReadTimeout()), RETRY, "did not answer it in full in time"),
        (failed(STALLED), RETRY, "took the request, but did not answer it in full in time"),
        (failed(exceptions.ProxyError()), RETRY, "The proxy in front of api.calltouch.ru"),
        (failed(exceptions.ChunkedEncodingError()), RETRY, "was cut off on its way"),
        (failed(exceptions.ContentDecodingError()), RETRY, "was cut off on its way"),
        (failed(exceptions.InvalidHeader("Content-Length")), RETRY, "or is not HTTP"),
        (failed(exceptions.ConnectionError(REFUSED)), RETRY, "failed (Connection refused)"),
        (failed(exceptions.ConnectionError("NameResolutionError")), RETRY, "There is no host"),
        (failed(exceptions.ConnectionError(RESET)), RETRY, "failed (Connection reset by peer)"),
        (failed(exceptions.ConnectionError(CLOSED)), RETRY, "failed (Remote end closed con"),
        (failed(exceptions.ConnectionError("odd")), RETRY, "failed (ConnectionError)"),
        (failed(exceptions.SSLError("handshake")), RETRY, "failed (SSLError)"),
        *((error, RETRY, "Calltouch") for error in (None, ValueError("read"), RecursionError())),
        # What cannot be sent.
        (exceptions.SSLError("CERTIFICATE_VERIFY_FAILED"), CONFIG, "REQUESTS_CA_BUNDLE"),
        (exceptions.InvalidProxyURL("http://user:secret@"), CONFIG, "HTTPS_PROXY"),
        (exceptions.InvalidURL("http://user:secret@"), CONFIG, "(api_url)"),
        (exceptions.InvalidSchema("Missing dependencies for SOCKS"), CONFIG, "HTTPS_PROXY"),
        (exceptions.MissingSchema("secret"), CONFIG, "HTTPS_PROXY"),
        # What is too large: of a page, a shorter range is asked for, down to a second.
        *((failed(AnswerTooLargeError(0), r), SPLIT, "") for r in (TWO_DAYS, A_DAY, TWO_SECONDS)),
        (failed(AnswerTooLargeError(0, response=response())), SPLIT, ""),
        (failed(AnswerTooLargeError(2 * 10**8), A_SECOND), TRANSIENT, "larger than 200 MB"),
        (failed(AnswerTooLargeError(10**6, response=response("", 500))), RETRY, "than 1 MB"),
        *(
            (failed(kind(0, response=response("", 401))), CONFIG, "(access_token)")
            for kind in (AnswerTooLargeError, exceptions.ChunkedEncodingError)
        ),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_a_first_answer_is_taken_tried_again_split_or_explained(
    answer: Answer, meaning: Meaning, said: str
) -> None:
    found, words = judge(answer)
    assert found == meaning
    assert said in words
    assert "secret" not in words
    assert "Tried" not in words


@pytest.mark.parametrize(
    ("body", "is_of_this_request"),
    [
        (violation(("newField", "Плохо")), True),
        ('{"message": "Result window is too large"}', True),
        (API_ERROR, True),
        (HTML, True),
        (TOKEN_WRONG, False),
    ],
)
def test_a_refusal_of_one_request_can_be_told_from_others(
    body: str,
    is_of_this_request: bool,  # noqa: FBT001
) -> None:
    with pytest.raises(AirbyteTracedException) as raised:
        CalltouchErrorHandler().interpret_response(response(body, 400))
    assert isinstance(raised.value, RefusedError) == is_of_this_request


def test_a_body_that_is_found_to_be_no_page_when_it_is_due_is_explained() -> None:
    handler = CalltouchErrorHandler()
    error = handler.explain(api.NotJson(), response(DAMAGED))
    assert error.failure_type == TRANSIENT
    assert "is cut off. Try again later." in str(error)
    assert handler.explain(api.InvalidCredentials(), response()).failure_type == CONFIG


# Tries and time.


@pytest.mark.parametrize(
    ("answer", "third"),
    [
        *((response("", status, TWO_DAYS), SPLIT) for status in (408, 504)),
        (response(API_ERROR, 200, TWO_DAYS), SPLIT),
        (failed(exceptions.ReadTimeout()), SPLIT),
        (response("", 504, A_DAY_AND_A_SECOND), SPLIT),
        *((response("", 504, asked), SPLIT) for asked in (A_DAY, AN_HOUR)),
        (response("", 504, UNDER_AN_HOUR), RETRY),
        # It is not known what was asked for.
        *((response("", 504, asked), RETRY) for asked in UNKNOWN),
        # The length is not to blame.
        (response("", 429, TWO_DAYS), RETRY),
        (response(HTML, 403, TWO_DAYS), RETRY),
        (response("", 200, TWO_DAYS), RETRY),
        (response(SPENT, 400, TWO_DAYS), RETRY),
        (failed(exceptions.ConnectTimeout()), RETRY),
    ],
    ids=repr,
)
def test_a_long_range_that_fails_thrice_is_asked_for_in_parts(
    answer: Answer, third: ResponseAction
) -> None:
    assert judge(answer, tries=2)[0] == RETRY
    assert judge(answer, tries=3)[0] == third
    if third == SPLIT:
        assert judge(answer, tries=2, seconds=RETRY_SECONDS + 1)[0] == SPLIT, "its time is up"


@pytest.mark.parametrize(
    ("answer", "limit", "meaning", "advice"),
    [
        (response("", 503), RETRY_SECONDS, TRANSIENT, ["Try again later."]),
        (response("", 429), RETRY_SECONDS, TRANSIENT, ["daily API points"]),
        *(
            (wrong, 30, CONFIG, ["(api_url)", api.URL, api.URL_UNDER_ACCESS])
            for wrong in (response(HTML), response(HTML, 404), response("", 302))
        ),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_a_failure_that_stays_ends_with_how_often_it_was_tried_and_advice(
    answer: Answer, limit: int, meaning: FailureType, advice: list[str]
) -> None:
    still, reason = judge(answer, tries=2, seconds=limit - 1)
    found, words = judge(answer, tries=2, seconds=limit + 1)
    assert (still, found) == (RETRY, meaning)
    assert words.startswith(f"{reason}. Tried 2 times within {limit + 1} s. ")
    assert all(word in words for word in advice)
    assert judge(answer, seconds=11, retry_timeout=10)[0] == meaning, "how long can be set"


def test_what_nobody_waits_for_yet_is_not_tried_again_but_slows_down() -> None:
    Attempt(tries=3, is_due=False).begin()
    handler = CalltouchErrorHandler()
    with pytest.raises(CancelledError):
        handler.interpret_response(got("", 502))
    assert handler.interpret_response(got("", 429)).response_action == RETRY
    with pytest.raises(AirbyteTracedException, match="access_token"):
        handler.interpret_response(got(TOKEN_WRONG))


@pytest.mark.parametrize("wrong", [response(HTML), response(HTML, 404), response("", 302)])
def test_an_address_that_has_sent_a_page_is_not_called_wrong(wrong: requests.Response) -> None:
    attempt = Attempt(time.monotonic() - RETRY_SECONDS + 1, tries=2)
    attempt.begin()
    handler = CalltouchErrorHandler()
    assert handler.interpret_response(response(PAGE)).response_action == PASS
    assert handler.interpret_response(wrong).response_action == RETRY
    attempt.since -= 2
    with pytest.raises(AirbyteTracedException, match=r"2 times.* Try again later") as raised:
        handler.interpret_response(wrong)
    assert raised.value.failure_type == TRANSIENT


def test_settings_that_have_brought_a_page_are_not_blamed_for_a_refusal() -> None:
    handler = CalltouchErrorHandler()
    handler.interpret_response(response(PAGE))
    with pytest.raises(RefusedError, match="tomorrow") as raised:
        handler.interpret_response(response('{"message": "Нет"}', 402))
    assert raised.value.failure_type == TRANSIENT
    with pytest.raises(AirbyteTracedException, match="API token") as revoked:
        handler.interpret_response(response(TOKEN_WRONG, 403))
    assert revoked.value.failure_type == CONFIG


@pytest.mark.parametrize("status", [429, 503])
def test_a_wait_beyond_the_timeout_is_not_begun_but_told(status: int) -> None:
    meaning, words = judge(response("", status, TWO_DAYS, Retry_After="3600"))
    assert meaning == TRANSIENT
    assert "Tried once within 0 s. Calltouch says to wait 3600 s before the next" in words
    assert ("5 requests a second" in words) == (status == 429)
    assert judge(response("", status, Retry_After="60"))[0] == RETRY


def test_waits_grow_to_half_a_minute_but_after_a_429_only_the_rate_limiter_waits() -> None:
    wait = CalltouchBackoffStrategy().backoff_time
    waits = [wait(None, n) for n in range(1, 200)]
    assert waits[0] <= 0.5
    assert all(0 < seconds <= 30 for seconds in waits)
    assert waits[-1] >= 15
    assert sum(waits[:12]) < RETRY_SECONDS, "twelve failures in a row are survived"
    throttled = response("", 429, Retry_After="7")
    assert 0 < wait(throttled, 9) < 0.01, "the CDK takes a wait of its own for 0"


# What is said.


def test_each_try_again_is_told_but_those_after_a_429(logs: pytest.LogCaptureFixture) -> None:
    judge(response("", 503))
    judge(response("", 429))
    assert logs.messages == ["Calltouch failed (HTTP 503). Trying again."]


def test_words_are_quoted_without_token_and_numbers() -> None:
    words = {"message": "Токен a/b+c отозван, +7 000 000-00-01 нет"}
    _, said = judge(response(json.dumps(words), 403), secrets=["a/b+c"])
    assert "«Токен … отозван, … нет»" in said
    _, said = judge(response('{"a/b": {"abcdef": 1}}'), secrets=["abcdef"])
    assert "«{…: {…: int}}»" in said


@pytest.mark.parametrize("kind", [*api.ErrorBody.__subclasses__(), api.Html])
def test_each_kind_of_body_has_a_sentence_of_its_own(kind: type[api.ErrorBody]) -> None:
    words = str(CalltouchErrorHandler().explain(kind("Сбой"), got("", 200)))
    assert ("matches no format" in words) == (kind is api.Undocumented)
