"""What an answer means: `source_calltouch_sms.error_handler`."""

import json
import logging
import threading
import time
from datetime import datetime
from typing import Any

import pytest
import requests
from airbyte_cdk.models import FailureType
from airbyte_cdk.sources.streams.http.error_handlers import ErrorResolution, ResponseAction
from airbyte_cdk.utils.traced_exception import AirbyteTracedException
from requests import exceptions
from urllib3.exceptions import ReadTimeoutError

from source_calltouch_sms import api
from source_calltouch_sms.error_handler import (
    FIRST_WAIT_SECONDS,
    CalltouchBackoffStrategy,
    CalltouchErrorHandler,
    RetryLineFilter,
)
from source_calltouch_sms.errors import AnswerTooLargeError, RefusedError
from source_calltouch_sms.rate_limiter import RETRY_SECONDS, Attempt, RateLimiter
from unit_tests.account import response

PAGE = json.dumps({"meta": [], "data": {"totalCountSms": 0, "pageOfResult": 1, "smsDetails": []}})
TOKEN_WRONG = '{"message": "Invalid credentials."}'
NO_RIGHT = json.dumps({"meta": [], "data": {"message": "Пользователь X не имеет доступа к…"}})
MISSING = json.dumps({"meta": [], "data": {"message": "В запросе не указано обязательное поле"}})
UNREADABLE = "Синтаксическая ошибка JSON в запросе или запрос пустой"
HTML = "\ufeff <!DOCTYPE html><p>Справка</p>"
TOO_LONG = "Период не может быть больше 90 дней"
IN_FUTURE = "Значение не может быть больше текущего дня"

NOW = datetime(2024, 4, 2, 12)
TWO_DAYS = {"dateFrom": "01-04-2024 00:00:00", "dateTo": "02-04-2024 23:59:59"}
A_DAY_AND_A_SECOND = {"dateFrom": "01-04-2024 00:00:00", "dateTo": "02-04-2024 00:00:00"}
A_DAY = {"dateFrom": "01-04-2024 00:00:00", "dateTo": "01-04-2024 23:59:59"}
TODAY = {"dateFrom": "02-04-2024 00:00:00", "dateTo": "02-04-2024 11:59:59"}
A_SECOND = {"dateFrom": "01-04-2024 00:00:00", "dateTo": "01-04-2024 00:00:00"}

config, system, transient = (
    FailureType.config_error,
    FailureType.system_error,
    FailureType.transient_error,
)
Answer = requests.Response | Exception


def api_error(code: int, message: str = "Сбой") -> str:
    error = {"errorCode": code, "errorMessage": message, "errorDescription": None}
    data = {"type": "apiError", "apiErrorData": error, "validationErrorData": None}
    return json.dumps({"meta": [], "data": data})


def violation(field: str, message: str = "Плохо", *more: tuple[str, str]) -> str:
    violations = [{"fieldPath": f, "message": m} for f, m in ((field, message), *more)]
    data = {"type": "validationError", "apiErrorData": None}
    return json.dumps(
        {"meta": [], "data": {**data, "validationErrorData": {"violations": violations}}}
    )


def failed(error: exceptions.RequestException, asked: Any = TWO_DAYS) -> Exception:
    """Return an error of the transport, as of a request for this range."""
    error.request = requests.Request("POST", api.URL, json=asked).prepare()
    return error


class Tried(RateLimiter):
    """A rate limiter that tells how often and for how long a request was tried."""

    def __init__(self, tries: int, seconds: float) -> None:
        super().__init__()
        self.tried = tries, seconds

    def attempt(self) -> Attempt:
        tries, seconds = self.tried
        return Attempt(time.monotonic() - seconds, tries)


def judge(
    answer: Answer | None, *, tries: int = 1, seconds: float = 0, **changes: Any
) -> ErrorResolution | AirbyteTracedException:
    """Return what the handler resolves, or raises; it never resolves to fail."""
    handler = CalltouchErrorHandler(Tried(tries, seconds), **{"now": NOW, **changes})
    try:
        resolution = handler.interpret_response(answer)
    except AirbyteTracedException as error:
        return error
    assert resolution.response_action != ResponseAction.FAIL, "the CDK would log the body"
    return resolution


def action(answer: Answer | None, tries: int = 1, **changes: Any) -> ResponseAction | None:
    resolution = judge(answer, tries=tries, **changes)
    assert isinstance(resolution, ErrorResolution), resolution
    return resolution.response_action


def retried(answer: Answer | None) -> str:
    """Return the reason for which an answer is tried again."""
    resolution = judge(answer)
    assert isinstance(resolution, ErrorResolution), resolution
    assert resolution.response_action == ResponseAction.RETRY
    return resolution.error_message or ""


def raised(answer: Answer | None, **changes: Any) -> AirbyteTracedException:
    error = judge(answer, **changes)
    assert isinstance(error, AirbyteTracedException), error
    return error


@pytest.mark.parametrize("status", [200, 201, 302, 400, 403, 404, 408, 500, 503])
@pytest.mark.parametrize("body", [PAGE, '{"meta": [], "data": []}'])
def test_a_page_passes_under_any_status(body: str, status: int) -> None:
    assert action(response(body, status)) == ResponseAction.SUCCESS


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        ("", 429, "Calltouch allows no more API requests for now (HTTP 429)"),
        (PAGE, 429, "Calltouch allows no more API requests for now (HTTP 429)"),
        (
            '{"message": "Баллы кончились"}',
            429,
            "answer: «Баллы кончились».",
        ),
        ("", 408, "Calltouch failed (HTTP 408)"),
        (HTML, 500, "Calltouch failed (HTTP 500)"),
        (
            '{"message": "Авария"}',
            503,
            "answer: «Авария».",
        ),
        ('{"odd": 1}', 502, "Calltouch failed (HTTP 502)"),
        (HTML, 403, "A firewall in front of Calltouch refused the request (HTTP 403)"),
        (
            '{"data": {"message": "Лимит"}}',
            200,
            "Calltouch's answer: «Лимит».",
        ),
        (PAGE[:30], 200, "(HTTP 200) is not JSON or is cut off"),
        ("[" * 100_000, 200, "(HTTP 200) is not JSON or is cut off"),
        ('{"data": "\n", "n": ' + "9" * 5000 + "}", 200, "(HTTP 200) is not JSON or is cut off"),
        *((body, 200, "(HTTP 200) holds no data") for body in ("", " \n", "null", "{}", "[]")),
        ('{"meta": [], "data": null}', 200, "(HTTP 200) holds no data"),
        ('{"meta": [], "data": {}}', 200, "(HTTP 200) holds no data"),
        ('{"data": {"totalCountSms": null, "smsDetails": [{}]}}', 200, "(HTTP 200) holds no data"),
        (HTML, 200, f"A web page is at {api.URL} (HTTP 200), not the method"),
        ("", 302, "The server redirects (HTTP 302) to another address; not followed"),
        (HTML, 404, f"There is no method at {api.URL} (HTTP 404)"),
        ("", 405, f"There is no method at {api.URL} (HTTP 405)"),
        *(
            (api_error(7), s, f"failed (HTTP {s}) Calltouch's answer: «errorCode")
            for s in (200, 408, 500)
        ),
        (
            '{"errorMessage": "Сбой"}',
            200,
            "failed (HTTP 200) Calltouch's answer: «errorMes",
        ),
    ],
)
def test_what_may_pass_is_tried_again(body: str, status: int, reason: str) -> None:
    assert reason in retried(response(body, status))


@pytest.mark.parametrize(
    ("body", "status", "failure_type", "said"),
    [
        *((TOKEN_WRONG, s, config, "(access_token)") for s in (200, 401, 403, 500)),
        ('{"message": "invalid CREDENTIALS"}', 403, config, "answer: «invalid CREDENTIALS»."),
        ('{"data": {"message": "Invalid credentials"}}', 403, config, "(site_id)"),
        ('{"errorMessage": "Invalid credentials"}', 200, config, "standard token, not a multi-"),
        *((body, 401, config, "(access_token)") for body in ("", HTML, "{}", PAGE, '{"odd": 1}')),
        (api_error(3, "Отозван"), 401, config, "errorMessage: Отозван»."),
        *((NO_RIGHT, s, config, "answer: «Пользователь X") for s in (200, 403)),
        *((violation("phoneNumbers[3]"), s, config, "(phone_numbers)") for s in (200, 400, 422)),
        (violation("newField"), 422, config, "answer: «newField: Плохо»."),
        (MISSING, 200, system, "answer: «В запросе не указано"),
        *(
            (api_error(1, UNREADABLE), s, system, "answer: «errorCode: 1; errorMe")
            for s in (200, 500)
        ),
        (api_error(10003), 400, config, "answer: «errorCode: 10003; errorMessage: Сбой»"),
        (api_error(10003), 422, config, "API points"),
        (
            '{"message": "Проект не найден"}',
            404,
            config,
            "Calltouch refused the request (HTTP 404). Check the settings, Site ID (site_id)",
        ),
        ('{"data": {"errorMessage": "Нет такого"}}', 404, config, "Нет такого»"),
        (HTML, 400, config, "refused the request (HTTP 400)"),
        ('{"message": "Нет"}', 403, config, "answer: «Нет»."),
        ('{"message": "Нет"}', 418, config, "answer: «Нет»."),
        ('{"a": {"b": "secret"}}', 200, system, "answer: «{a: {b: str}}»."),
    ],
)
def test_what_does_not_pass_is_said_at_once(
    body: str, status: int, failure_type: FailureType, said: str
) -> None:
    error = raised(response(body, status, TWO_DAYS))
    assert error.failure_type == failure_type
    assert said in str(error)
    assert "secret" not in str(error)
    assert "Tried" not in str(error)


@pytest.mark.parametrize("field", ["pageOfResult", "phoneNumbers", "newField"])
def test_a_refused_field_can_be_told_from_other_refusals(field: str) -> None:
    assert isinstance(raised(response(violation(field))), RefusedError)
    assert not isinstance(raised(response(TOKEN_WRONG)), RefusedError)


REFUSED_RANGES = [
    response(violation("dateFrom", TOO_LONG), 422, TWO_DAYS),
    response(violation("dateTo", "Слишком давно", ("dateFrom", TOO_LONG)), 200, TWO_DAYS),
    response(violation("", TOO_LONG), 400, TWO_DAYS),
    response(json.dumps({"message": TOO_LONG}), 400, TWO_DAYS),
]


@pytest.mark.parametrize("answer", REFUSED_RANGES, ids=lambda answer: answer.text[:60])
def test_a_range_refused_by_words_is_asked_for_in_parts_at_once(answer: requests.Response) -> None:
    assert action(answer) == ResponseAction.SPLIT_REQUEST_WINDOW


def test_what_is_no_refusal_of_a_range_is_not_split() -> None:
    body = violation("dateTo", IN_FUTURE, ("dateFrom", TOO_LONG))
    assert raised(response(body, 422, TWO_DAYS)).failure_type == config
    assert raised(response(api_error(10003, "Нет виджета"), 400, TWO_DAYS))
    assert (
        action(response(json.dumps({"message": TOO_LONG}), 200, TWO_DAYS)) == ResponseAction.RETRY
    )


@pytest.mark.parametrize("asked", [A_DAY, A_SECOND])
def test_a_day_long_past_that_is_refused_is_a_matter_of_the_start_date(asked: Any) -> None:
    error = raised(response(violation("dateFrom", TOO_LONG), 422, asked))
    assert error.failure_type == config
    assert "Calltouch refuses days so long past" in str(error)
    assert str(error).endswith(f" Calltouch's answer: «dateFrom: {TOO_LONG}».")
    assert "(start_date)" in str(error)
    assert "(timezone)" not in str(error)


def test_clocks_are_spoken_of_only_where_the_range_reaches_today() -> None:
    for message in (TOO_LONG, IN_FUTURE):
        body = violation("dateTo", message)
        assert "(timezone)" in str(raised(response(body, 422, TODAY)))
        assert "(timezone)" not in str(raised(response(body, 422, A_DAY)))


def large_page() -> bytes:
    rows = [{"smsMessage": "Привет" * 20}] * 1000
    data = {"totalCountSms": 1000, "pageOfResult": 1, "smsDetails": rows}
    return json.dumps({"meta": [], "data": data}).encode()


@pytest.mark.parametrize("after", [b"", b"\n", b"\r\n"])
def test_a_large_page_passes_without_being_decoded(after: bytes) -> None:
    damaged = large_page().replace(b"[", b"", 2)
    assert action(response(damaged + after)) == ResponseAction.SUCCESS


@pytest.mark.parametrize("share", [0.5, 0.9, 0.999])
def test_a_part_of_a_large_page_is_tried_again(share: float) -> None:
    body = large_page()
    assert "is cut off" in retried(response(body[: int(len(body) * share)]))


def test_a_large_error_is_no_page() -> None:
    more = [(f"phoneNumbers[{n}]", "Плохо") for n in range(5000)]
    assert "(phone_numbers)" in str(raised(response(violation(*more[0], *more))))


def explain(body: bytes | str) -> AirbyteTracedException:
    answer = response(body)
    with pytest.raises(api.ErrorBody) as found:
        api.read_page(answer.content)
    return CalltouchErrorHandler(RateLimiter()).explain(found.value, answer)


def test_a_page_found_damaged_when_it_is_due_is_transient() -> None:
    error = explain(large_page().replace(b"[", b"", 2))
    assert error.failure_type == transient
    assert "is not JSON or is cut off. Try again later." in str(error)


def test_an_error_found_when_a_page_is_due_keeps_its_kind() -> None:
    assert explain(TOKEN_WRONG).failure_type == config


@pytest.mark.parametrize(
    "answer",
    [response(HTML), response(HTML, 404), response("", 302, Location="https://a.example/")],
    ids=["html", "404", "302"],
)
def test_a_wrong_address_is_tried_for_half_a_minute(answer: requests.Response) -> None:
    assert isinstance(judge(answer, tries=9, seconds=29), ErrorResolution)
    error = raised(answer, tries=9, seconds=31)
    assert error.failure_type == config
    for words in ("Tried 9 times within 31 s", "(api_url)", api.URL, api.URL_UNDER_ACCESS):
        assert words in str(error)
    assert raised(answer, tries=2, seconds=11, retry_timeout=10).failure_type == config


def test_a_redirect_names_the_address_it_leads_to() -> None:
    answer = response("", 301, Location="https://elsewhere.example/x?to=70000000001")
    assert "address: «https://elsewhere.example/x?to=…»; not followed" in retried(answer)


REFUSED = "Max retries exceeded with url: /x (Caused by …: [Errno 111] Connection refused'))"
RESET = "('Connection aborted.', ConnectionResetError(104, 'Connection reset by peer'))"
CLOSED = "('…', RemoteDisconnected('Remote end closed connection without response'))"
STALLED = exceptions.ConnectionError(ReadTimeoutError(None, "", "Read timed out."))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (exceptions.ConnectTimeout(), "api.calltouch.ru does not accept a connection"),
        (exceptions.ReadTimeout(), "took the request, but did not answer it in full in time"),
        (STALLED, "took the request, but did not answer it in full in time"),
        (exceptions.ProxyError(), "The proxy in front of api.calltouch.ru"),
        (exceptions.ChunkedEncodingError(), "was cut off on its way"),
        (exceptions.ContentDecodingError(), "was cut off on its way"),
        (exceptions.InvalidHeader("Content-Length"), "or is not HTTP"),
        (exceptions.ConnectionError(REFUSED), "failed (Connection refused)"),
        (exceptions.ConnectionError("NameResolutionError"), "There is no host named"),
        (exceptions.ConnectionError(RESET), "failed (Connection reset by peer)"),
        (exceptions.ConnectionError("odd"), "failed (ConnectionError)"),
        (exceptions.ConnectionError(CLOSED), "failed (Remote end closed connection without r"),
        (exceptions.SSLError("handshake"), "failed (SSLError)"),
        (AnswerTooLargeError(10**6, response=response("", 500)), "is larger than 1 MB"),
    ],
    ids=repr,
)
def test_a_request_without_answer_is_tried_again(
    error: exceptions.RequestException, reason: str
) -> None:
    assert reason in retried(failed(error))


@pytest.mark.parametrize("error", [None, ValueError("read length"), OSError(), RecursionError()])
def test_any_error_of_any_library_is_tried_again_in_words(error: Exception | None) -> None:
    assert "Calltouch" in retried(error)


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (exceptions.SSLError("[SSL: CERTIFICATE_VERIFY_FAILED]"), "REQUESTS_CA_BUNDLE"),
        (exceptions.InvalidProxyURL("http://user:secret@"), "HTTPS_PROXY"),
        (exceptions.InvalidURL("http://user:secret@"), "(api_url)"),
        (exceptions.InvalidSchema("Missing dependencies for SOCKS"), "HTTPS_PROXY"),
        (exceptions.MissingSchema("secret"), "HTTPS_PROXY"),
    ],
    ids=repr,
)
def test_a_request_that_cannot_be_made_is_said_at_once(error: Exception, advice: str) -> None:
    raised_error = raised(error)
    assert raised_error.failure_type == config
    assert advice in str(raised_error)
    assert "secret" not in str(raised_error)


def test_a_refused_token_is_explained_however_large_its_answer_is() -> None:
    error = raised(failed(AnswerTooLargeError(10**6, response=response("", 401))))
    assert error.failure_type == config
    assert "access_token" in str(error)


def test_a_page_too_large_is_asked_for_in_parts_down_to_a_second() -> None:
    for asked in (TWO_DAYS, A_DAY, {**A_SECOND, "dateTo": "01-04-2024 00:00:01"}):
        answer = failed(AnswerTooLargeError(200 * 10**6), asked)
        assert action(answer) == ResponseAction.SPLIT_REQUEST_WINDOW
    error = raised(failed(AnswerTooLargeError(200 * 10**6), A_SECOND))
    assert error.failure_type == transient
    assert "larger than 200 MB" in str(error)


OF_LENGTH: list[Answer] = [
    *(response("", status, TWO_DAYS) for status in (408, 504)),
    response(api_error(500), 200, TWO_DAYS),
    failed(exceptions.ReadTimeout()),
]


@pytest.mark.parametrize("answer", OF_LENGTH, ids=repr)
def test_a_long_range_that_fails_thrice_is_asked_for_in_parts(answer: Answer) -> None:
    assert action(answer, 2) == ResponseAction.RETRY
    assert action(answer, 3) == ResponseAction.SPLIT_REQUEST_WINDOW
    assert action(answer, 2, seconds=601) == ResponseAction.SPLIT_REQUEST_WINDOW, "its time is up"


def test_the_shortest_range_split_for_its_length_is_longer_than_a_day() -> None:
    split, kept = response("", 504, A_DAY_AND_A_SECOND), response("", 504, A_DAY)
    assert action(split, 3) == ResponseAction.SPLIT_REQUEST_WINDOW
    assert action(kept, 3) == ResponseAction.RETRY


@pytest.mark.parametrize("asked", [None, {}, [], {"dateFrom": 1}, {**TWO_DAYS, "dateTo": "odd"}])
def test_a_range_that_is_not_known_is_not_split(asked: Any) -> None:
    assert action(response("", 504, asked), 3) == ResponseAction.RETRY


@pytest.mark.parametrize(
    "answer",
    [
        response("", 429, TWO_DAYS),
        response(HTML, 403, TWO_DAYS),
        response("", 200, TWO_DAYS),
        failed(exceptions.ConnectTimeout()),
    ],
    ids=repr,
)
def test_less_is_not_asked_for_where_the_length_is_not_to_blame(answer: Answer) -> None:
    assert action(answer, 3) == ResponseAction.RETRY


@pytest.mark.parametrize(
    ("status", "advice"), [(503, "Try again later."), (429, "daily API points")]
)
def test_failing_for_good_says_what_happened_and_how_often_it_was_tried(
    status: int, advice: str
) -> None:
    answer = response("", status)
    within = judge(answer, tries=2, seconds=RETRY_SECONDS - 1)
    assert isinstance(within, ErrorResolution)
    error = raised(answer, tries=2, seconds=RETRY_SECONDS + 1)
    assert error.failure_type == transient
    assert str(error).startswith(f"{retried(answer)}. Tried 2 times within 601 s. ")
    assert advice in str(error)


def test_how_long_a_request_is_tried_can_be_set() -> None:
    assert raised(response("", 503), seconds=11, retry_timeout=10).failure_type == transient


@pytest.mark.parametrize("status", [429, 503])
def test_a_wait_beyond_the_timeout_is_not_begun_but_told(status: int) -> None:
    error = raised(response("", status, TWO_DAYS, Retry_After="3600"))
    assert error.failure_type == transient
    assert "Tried once within 0 s. Calltouch asks to wait 3600 s before the next" in str(error)
    assert ("5 requests a second" in str(error)) == (status == 429)
    assert action(response("", status, Retry_After="60")) == ResponseAction.RETRY


def test_each_try_again_is_told_but_those_after_a_429(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("airbyte"), "propagate", True)
    with caplog.at_level(logging.WARNING):
        judge(response("", 503))
        judge(response("", 429))
    assert [r.getMessage() for r in caplog.records] == [
        "Calltouch failed (HTTP 503). Trying again."
    ]


def test_the_cdks_line_about_a_rate_limit_is_dropped() -> None:
    def is_logged(text: str) -> bool:
        return RetryLineFilter().filter(logging.makeLogRecord({"msg": text}))

    line = "UserDefinedBackoffException: Rate limit exceeded (HTTP 503). Retrying in 1.5 seconds."
    assert not is_logged(line)
    assert is_logged("Calltouch failed (HTTP 503). Trying again.")


def test_an_answer_can_be_read_twice_and_in_any_thread() -> None:
    handler = CalltouchErrorHandler(RateLimiter())
    found: list[ResponseAction | None] = []
    answers = [response(PAGE), response()] * 2

    def read() -> None:
        found.extend(handler.interpret_response(answer).response_action for answer in answers)

    thread = threading.Thread(target=read)
    thread.start()
    thread.join()
    assert found == [ResponseAction.SUCCESS, ResponseAction.RETRY] * 2


def test_words_are_quoted_without_token_and_numbers() -> None:
    words = {"message": "Токен a/b+c отозван, +7 000 000-00-01 нет"}
    error = raised(response(json.dumps(words), 403), secrets=["a/b+c"])
    assert "«Токен … отозван, … нет»" in str(error)
    error = raised(response('{"a/b": {"abcdef": 1}}'), secrets=["abcdef"])
    assert "«{…: {…: int}}»" in str(error)


def test_waits_grow_from_under_a_second_to_half_a_minute() -> None:
    waits = [CalltouchBackoffStrategy().backoff_time(None, n) for n in range(1, 200)]
    assert waits[0] <= FIRST_WAIT_SECONDS
    assert all(0 < wait <= 30 for wait in waits)
    assert waits[-1] >= 15
    assert sum(waits[:12]) < RETRY_SECONDS, "twelve failures in a row are survived"


@pytest.mark.parametrize("headers", [{}, {"Retry_After": "7"}], ids=str)
def test_after_a_429_only_the_rate_limiter_waits(headers: dict[str, str]) -> None:
    wait = CalltouchBackoffStrategy().backoff_time(response("", 429, **headers), 9)
    assert 0 < wait < 0.01, "the CDK takes a wait of its own for 0"
