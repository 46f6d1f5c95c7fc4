"""What an answer means: `source_calltouch_sms.answers`."""

import json
import logging

import pytest
import requests
from airbyte_cdk.models import FailureType
from airbyte_cdk.sources.streams.http.error_handlers import ErrorResolution, ResponseAction
from airbyte_cdk.utils.traced_exception import AirbyteTracedException

from source_calltouch_sms import answers, api
from source_calltouch_sms.answers import (
    CalltouchBackoffStrategy,
    CalltouchErrorHandler,
    RefusedError,
    explain,
)
from source_calltouch_sms.pace import PATIENCE_SECONDS, Pace
from unit_tests.account import response

PAGE = json.dumps({"meta": [], "data": {"totalCountSms": 0, "pageOfResult": 1, "smsDetails": []}})
TOKEN_WRONG = '{"message": "Invalid credentials."}'
NO_RIGHT = json.dumps({"meta": [], "data": {"message": "Пользователь X не имеет доступа к…"}})
MISSING = json.dumps({"meta": [], "data": {"message": "В запросе не указано обязательное поле"}})
TWO_DAYS = {"dateFrom": "01-04-2024 00:00:00", "dateTo": "02-04-2024 23:59:59"}
A_DAY = {"dateFrom": "01-04-2024 00:00:00", "dateTo": "02-04-2024 00:00:00"}
LESS_THAN_A_DAY = {"dateFrom": "01-04-2024 00:00:00", "dateTo": "01-04-2024 23:59:59"}


def api_error(code: int) -> str:
    error = {"errorCode": code, "errorMessage": "Сбой", "errorDescription": None}
    data = {"type": "apiError", "apiErrorData": error, "validationErrorData": None}
    return json.dumps({"meta": [], "data": data})


def violation(field: str, message: str = "Плохо") -> str:
    violations = [{"fieldPath": field, "message": message}]
    data = {"type": "validationError", "apiErrorData": None}
    return json.dumps(
        {"meta": [], "data": {**data, "validationErrorData": {"violations": violations}}}
    )


class Tried(Pace):
    """A pace that tells which request was tried, how often and for how long, and the next wait."""

    def __init__(
        self, body: dict[str, str], tries: int = 1, seconds: float = 0, closed: float = 0
    ) -> None:
        super().__init__()
        self._tried = requests.Request("POST", api.URL, json=body).prepare(), tries, seconds
        self._closed = closed

    @property
    def closed_seconds(self) -> float:
        return self._closed

    def tried(self) -> tuple[requests.PreparedRequest, int, float]:
        return self._tried


def judge(
    answer: requests.Response | requests.RequestException,
    *,
    tries: int = 1,
    seconds: float = 0,
    closed: float = 0,
    body: dict[str, str] = TWO_DAYS,
) -> ErrorResolution | AirbyteTracedException:
    """Return what the handler resolves, or raises; it never resolves to fail."""
    handler = CalltouchErrorHandler(Tried(body, tries, seconds, closed))
    try:
        resolution = handler.interpret_response(answer)
    except AirbyteTracedException as error:
        return error
    assert resolution.response_action != ResponseAction.FAIL, "the CDK would log the body"
    return resolution


def retried(answer: requests.Response | requests.RequestException) -> str:
    """Return the reason for which an answer is tried again."""
    resolution = judge(answer)
    assert isinstance(resolution, ErrorResolution), resolution
    assert resolution.response_action == ResponseAction.RETRY
    assert resolution.failure_type == FailureType.transient_error
    return resolution.error_message or ""


def passes(answer: requests.Response) -> bool:
    resolution = judge(answer)
    return getattr(resolution, "response_action", None) == ResponseAction.SUCCESS


@pytest.mark.parametrize("status", [200, 201, 302, 400, 403, 404, 408, 500, 503])
@pytest.mark.parametrize("body", [PAGE, '{"meta": [], "data": []}'])
def test_a_page_passes_under_any_status(body: str, status: int) -> None:
    assert passes(response(body, status))


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        ("", 429, "Calltouch allows no more API requests for now (HTTP 429)"),
        (PAGE, 429, "Calltouch allows no more API requests for now (HTTP 429)"),
        ('{"message": "Баллы кончились"}', 429, "(HTTP 429): «Баллы кончились»"),
        ("", 408, "Calltouch failed (HTTP 408)"),
        ("<html>", 500, "Calltouch failed (HTTP 500)"),
        ('{"message": "Авария"}', 503, "Calltouch failed (HTTP 503): «Авария»"),
        ('{"odd": 1}', 502, "Calltouch failed (HTTP 502)"),
        ("<html>", 403, "A firewall in front of Calltouch refused the request (HTTP 403)"),
        ('{"data": {"message": "Лимит"}}', 200, "instead of SMS (HTTP 200): «Лимит»"),
        ("", 200, "(HTTP 200) is not JSON or is cut off"),
        ("<html>", 200, "(HTTP 200) is not JSON or is cut off"),
        (PAGE[:30], 200, "(HTTP 200) is not JSON or is cut off"),
        (api_error(500), 200, "Calltouch failed (HTTP 200): «errorCode: 500; errorMessage: Сбой»"),
        (api_error(7), 400, "Calltouch failed (HTTP 400): «errorCode: 7; errorMessage: Сбой»"),
    ],
)
def test_what_time_may_mend_is_tried_again(body: str, status: int, reason: str) -> None:
    assert reason in retried(response(body, status))


config, system = FailureType.config_error, FailureType.system_error


@pytest.mark.parametrize(
    ("body", "status", "failure_type", "said"),
    [
        *((TOKEN_WRONG, s, config, "(access_token)") for s in (200, 401, 403, 500)),
        *((NO_RIGHT, s, config, "no right to this method: «Пользователь X") for s in (200, 403)),
        *((violation("phoneNumbers[3]"), s, config, "(phone_numbers)") for s in (200, 400, 422)),
        (violation("dateFrom", "Раньше"), 200, config, "(start_date)"),
        (violation("dateTo"), 422, config, "(timezone)"),
        (violation("newField"), 422, config, "newField: Плохо». Check the settings."),
        (MISSING, 200, system, "could not use the connector's request: «В запросе не указано"),
        (api_error(1), 200, system, "could not use the connector's request: «errorCode: 1; err"),
        (api_error(1), 500, system, "errorMessage: Сбой»"),
        ("<html>", 404, config, api.URL_UNDER_ACCESS),
        ("<html>", 400, config, "refused the request (HTTP 400)"),
        ('{"message": "Нет"}', 403, config, "(HTTP 403): «Нет»"),
        ('{"message": "Нет"}', 418, config, "(HTTP 418): «Нет»"),
        ("", 302, config, "redirects (HTTP 302) to another address"),
        ('{"a": {"b": "secret"}}', 200, system, "documentation: «{a: {b: str}}»"),
    ],
)
def test_what_time_does_not_mend_is_said_at_once(
    body: str, status: int, failure_type: FailureType, said: str
) -> None:
    error = judge(response(body, status))
    assert isinstance(error, AirbyteTracedException)
    assert error.failure_type == failure_type
    assert said in str(error)
    assert "secret" not in str(error)


def test_a_refused_field_can_be_told_from_other_errors() -> None:
    assert isinstance(judge(response(violation("pageOfResult"))), RefusedError)
    assert not isinstance(judge(response(TOKEN_WRONG)), RefusedError)


def large_page() -> bytes:
    rows = [{"smsMessage": "Привет" * 20}] * 1000
    data = {"totalCountSms": 1000, "pageOfResult": 1, "smsDetails": rows}
    return json.dumps({"meta": [], "data": data}).encode()


@pytest.mark.parametrize("after", [b"", b"\n", b"\r\n"])
def test_a_large_page_passes_without_being_decoded(
    after: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "read_page", lambda _: pytest.fail("decoded"))
    assert passes(response(large_page() + after))


@pytest.mark.parametrize("share", [0.5, 0.9, 0.999])
def test_a_part_of_a_large_page_is_tried_again(share: float) -> None:
    body = large_page()
    assert "is cut off" in retried(response(body[: int(len(body) * share)]))


def test_a_large_error_is_no_page() -> None:
    violations = [{"fieldPath": f"phoneNumbers[{n}]", "message": "Плохо"} for n in range(5000)]
    data = {"type": "validationError", "validationErrorData": {"violations": violations}}
    error = judge(response(json.dumps({"meta": [], "data": data})))
    assert isinstance(error, AirbyteTracedException)
    assert "phone_numbers" in str(error)


def test_a_page_found_damaged_when_it_is_due_is_transient() -> None:
    body = large_page().replace(b"[", b"", 2)
    assert passes(response(body)), "it seems one"
    with pytest.raises(api.NotJson) as damage:
        api.read_page(body)
    error = explain(damage.value, response(body))
    assert error.failure_type == FailureType.transient_error
    assert "is not JSON or is cut off" in str(error)
    assert "Nothing is lost" in str(error)


def test_an_error_found_when_a_page_is_due_keeps_its_kind() -> None:
    with pytest.raises(api.InvalidCredentials) as answer:
        api.read_page(TOKEN_WRONG.encode())
    error = explain(answer.value, response(TOKEN_WRONG))
    assert error.failure_type == config


def test_a_redirect_names_the_address_it_leads_to() -> None:
    error = judge(response("", 301, Location="https://elsewhere.example/x?to=70000000001"))
    assert "address: «https://elsewhere.example/x?to=…»; not followed" in str(error)
    assert "to another address; not followed" in str(judge(response("", 304)))


def test_a_wrong_address_is_shown_beside_the_two_documented_ones() -> None:
    answer = response("", 404)
    answer.url = "https://proxy.example/calltouch"
    for address in (answer.url, api.URL, api.URL_UNDER_ACCESS):
        assert address in str(judge(answer))


# As `requests` words them.
REFUSED = "Max retries exceeded with url: /x (Caused by …: [Errno 111] Connection refused'))"
STALLED = "ReadTimeoutError(…): Read timed out."
RESET = "('Connection aborted.', ConnectionResetError(104, 'Connection reset by peer'))"


@pytest.mark.parametrize(
    ("kind", "text", "reason"),
    [
        (requests.exceptions.ConnectTimeout, "", "No connection to api.calltouch.ru within 10 s"),
        (requests.exceptions.ReadTimeout, "", "sent nothing, or no more, within 120 s"),
        (requests.exceptions.ConnectionError, STALLED, "sent nothing, or no more, within 120 s"),
        (requests.exceptions.ProxyError, "", "The proxy in front of api.calltouch.ru"),
        (requests.exceptions.InvalidProxyURL, "", "The proxy in front of api.calltouch.ru"),
        (requests.exceptions.ChunkedEncodingError, "", "was cut off on its way"),
        (requests.exceptions.ContentDecodingError, "", "was cut off on its way"),
        (requests.exceptions.ConnectionError, REFUSED, "failed (Connection refused)"),
        (requests.exceptions.ConnectionError, "NameResolutionError", "There is no host named"),
        (requests.exceptions.ConnectionError, RESET, "failed (Connection reset by peer)"),
        (requests.exceptions.ConnectionError, "odd", "failed (ConnectionError)"),
        (requests.exceptions.SSLError, "handshake", "failed (SSLError)"),
    ],
)
def test_a_request_without_answer_is_tried_again(
    kind: type[requests.RequestException], text: str, reason: str
) -> None:
    assert reason in retried(kind(text))


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (requests.exceptions.SSLError, "[SSL: CERTIFICATE_VERIFY_FAILED]"),
    ],
)
def test_a_certificate_or_an_address_is_the_users_to_mend(
    kind: type[requests.RequestException], text: str
) -> None:
    error = judge(kind(text))
    assert isinstance(error, AirbyteTracedException)
    assert error.failure_type == config
    assert "(api_url)" in str(error)


@pytest.mark.parametrize(
    "number", ["+7 000 123-45-67", "70009998877", "8(000)1234567", "7.000.123.45.67"]
)
def test_numbers_in_calltouchs_words_are_masked_however_they_are_written(number: str) -> None:
    said = str(judge(response(violation("phoneNumbers", f"Номер {number} не найден"))))
    assert "phoneNumbers: Номер … не найден»" in said
    said = str(judge(response(violation("phoneNumbers", f"{number} и {number}"))))
    assert "phoneNumbers: …»" in said


def test_other_numbers_in_calltouchs_words_are_shown() -> None:
    said = str(judge(response(violation("phoneNumbers[12]", "Не больше 10 000 в 2024 году"))))
    assert "«phoneNumbers[12]: Не больше 10 000 в 2024 году»" in said


OF_LENGTH = [response("", 408), response("", 504), response(api_error(500))]
OTHERS = [response("", 429), response("<html>", 403), response("", 200)]


def action(
    answer: requests.Response | requests.RequestException, tries: int, body: dict[str, str]
) -> ResponseAction | None:
    resolution = judge(answer, tries=tries, body=body)
    assert isinstance(resolution, ErrorResolution)
    return resolution.response_action


@pytest.mark.parametrize("body", [TWO_DAYS, A_DAY])
@pytest.mark.parametrize(
    "answer",
    [
        *OF_LENGTH,
        requests.exceptions.ReadTimeout(),
        requests.exceptions.ConnectionError(STALLED),
    ],
    ids=repr,
)
def test_a_long_range_that_fails_thrice_is_asked_for_in_parts(
    answer: requests.Response | requests.RequestException, body: dict[str, str]
) -> None:
    assert action(answer, 2, body) == ResponseAction.RETRY
    assert action(answer, 3, body) == ResponseAction.SPLIT_REQUEST_WINDOW


def test_a_short_range_is_not_asked_for_in_parts() -> None:
    assert action(OF_LENGTH[0], 3, LESS_THAN_A_DAY) == ResponseAction.RETRY


@pytest.mark.parametrize("answer", [*OTHERS, requests.exceptions.ConnectTimeout()], ids=repr)
def test_less_is_not_asked_for_where_the_length_is_not_to_blame(
    answer: requests.Response | requests.RequestException,
) -> None:
    assert action(answer, 3, TWO_DAYS) == ResponseAction.RETRY


@pytest.mark.parametrize(
    ("answer", "advice"),
    [
        (response("", 503), "goes on from its last saved state"),
        (response("", 429), "daily API points"),
    ],
    ids=["503", "429"],
)
def test_failing_for_good_says_what_happened_and_how_often_it_was_tried(
    answer: requests.Response, advice: str
) -> None:
    reason = retried(answer)
    last = judge(answer, tries=2, seconds=PATIENCE_SECONDS)
    assert isinstance(last, ErrorResolution), "just within the patience"
    error = judge(answer, tries=2, seconds=PATIENCE_SECONDS + 1)
    assert isinstance(error, AirbyteTracedException)
    assert error.failure_type == FailureType.transient_error
    assert str(error).startswith(f"{reason}. Tried 2 times within 601 s. ")
    assert advice in str(error)


@pytest.mark.parametrize("status", [429, 503])
def test_a_wait_beyond_the_patience_is_not_begun(status: int) -> None:
    error = judge(response("", status), closed=PATIENCE_SECONDS + 1)
    assert isinstance(error, AirbyteTracedException)
    assert "Tried once within 0 s" in str(error)


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


def test_waits_grow_from_under_a_second_to_half_a_minute() -> None:
    waits = [CalltouchBackoffStrategy().backoff_time(None, n) for n in range(1, 200)]
    assert waits[0] <= answers.FIRST_WAIT_SECONDS
    assert all(0 < wait <= 30 for wait in waits)
    assert waits[-1] >= 15
    assert sum(waits[:12]) < PATIENCE_SECONDS, "twelve failures in a row are survived"


@pytest.mark.parametrize("headers", [{}, {"Retry_After": "7"}], ids=str)
def test_after_a_429_only_the_gate_waits(headers: dict[str, str]) -> None:
    wait = CalltouchBackoffStrategy().backoff_time(response("", 429, **headers), 9)
    assert 0 < wait < 0.01, "the CDK takes a wait of its own for 0"
