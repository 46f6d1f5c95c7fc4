"""What is done about an answer, and how fast calls are made: `source_calltouch_sms.policy`."""

import itertools
import json
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Any

import pytest
import requests
from airbyte_cdk.models import FailureType
from airbyte_cdk.sources.streams.call_rate import MovingWindowCallRatePolicy, Rate
from airbyte_cdk.sources.streams.http.error_handlers import ResponseAction
from airbyte_cdk.utils.traced_exception import AirbyteTracedException
from hypothesis import given
from hypothesis import strategies as st

from source_calltouch_sms import api, policy
from source_calltouch_sms.policy import (
    CallBudget,
    CallsStopped,
    CalltouchBackoffStrategy,
    CalltouchErrorHandler,
    TryAgain,
    retry_after,
    retrying,
)
from unit_tests.account import response

PAGE = json.dumps({"meta": [], "data": {"totalCountSms": 0, "pageOfResult": 1, "smsDetails": []}})
TOKEN_WRONG = '{"message": "Invalid credentials."}'
NO_RIGHT = json.dumps({"meta": [], "data": {"message": "Пользователь X не имеет доступа к…"}})
MISSING = json.dumps({"meta": [], "data": {"message": "В запросе не указано обязательное поле"}})


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


def judge(answer: requests.Response | Exception) -> Exception | None:
    """Return what the handler raises; None where it lets a page pass."""
    try:
        resolution = CalltouchErrorHandler(("+7 000 123-45-67",)).interpret_response(answer)
    except (TryAgain, AirbyteTracedException) as error:
        return error
    assert resolution.response_action == ResponseAction.SUCCESS
    return None


@pytest.mark.parametrize("status", [200, 201, 500])
def test_a_page_passes_under_any_status(status: int) -> None:
    assert judge(response(PAGE, status)) is None


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        ("", 429, "Calltouch allows no more calls for now (HTTP 429)"),
        (PAGE, 429, "Calltouch allows no more calls for now (HTTP 429)"),
        ('{"message": "Баллы кончились"}', 429, "(HTTP 429): «Баллы кончились»"),
        ("", 408, "Calltouch failed (HTTP 408)"),
        ("<html>", 500, "Calltouch failed (HTTP 500)"),
        ('{"message": "Авария"}', 503, "Calltouch failed (HTTP 503): «Авария»"),
        ('{"odd": 1}', 502, "Calltouch failed (HTTP 502)"),
        ("", 200, "is not JSON, or only a part of it"),
        ("<html>", 200, "is not JSON, or only a part of it"),
        (PAGE[:30], 200, "is not JSON, or only a part of it"),
        (api_error(500), 200, "Calltouch failed (API error 500): «Сбой»"),
        (api_error(7), 400, "Calltouch failed (API error 7): «Сбой»"),
    ],
)
def test_what_time_may_mend_is_tried_again(body: str, status: int, reason: str) -> None:
    error = judge(response(body, status))
    assert isinstance(error, TryAgain)
    assert reason in error.reason


config, system = FailureType.config_error, FailureType.system_error


@pytest.mark.parametrize(
    ("body", "status", "failure_type", "said"),
    [
        *((TOKEN_WRONG, s, config, "(access_token)") for s in (200, 401, 403, 500)),
        *((NO_RIGHT, s, config, "no right to this method: «Пользователь X") for s in (200, 403)),
        *((violation("phoneNumbers[3]"), s, config, "(phone_numbers)") for s in (200, 400, 422)),
        (violation("dateFrom", "Раньше"), 200, config, "(start_date)"),
        (violation("dateTo"), 422, config, "(timezone)"),
        (violation("newField"), 422, config, "newField: Плохо"),
        (MISSING, 200, system, "left out a field that Calltouch needs: «В запросе не указано"),
        (api_error(1), 200, system, "could not read the connector's request: «Сбой»"),
        (api_error(1), 500, system, "could not read the connector's request"),
        ("<html>", 404, config, api.URL_UNDER_ACCESS),
        ("<html>", 400, config, "refused the call (HTTP 400)"),
        ('{"message": "Нет"}', 418, config, "(HTTP 418): «Нет»"),
        ('{"data": {"message": "Лимит"}}', 200, config, "(HTTP 200): «Лимит»"),
        ("", 302, config, "leads elsewhere (HTTP 302), to another address"),
        ('{"a": {"b": "secret"}}', 200, system, "{a: {b: str}}"),
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


def large_page() -> bytes:
    rows = [{"smsMessage": "Привет" * 20}] * 1000
    data = {"totalCountSms": 1000, "pageOfResult": 1, "smsDetails": rows}
    return json.dumps({"meta": [], "data": data}).encode()


def test_a_large_page_passes_without_being_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "read_page", lambda _: pytest.fail("decoded"))
    assert judge(response(large_page())) is None


@pytest.mark.parametrize("share", [0.5, 0.9, 0.999])
def test_a_part_of_a_large_page_is_tried_again(share: float) -> None:
    body = large_page()
    assert isinstance(judge(response(body[: int(len(body) * share)])), TryAgain)


def test_a_large_error_is_no_page() -> None:
    violations = [{"fieldPath": f"phoneNumbers[{n}]", "message": "Плохо"} for n in range(5000)]
    data = {"type": "validationError", "validationErrorData": {"violations": violations}}
    error = judge(response(json.dumps({"meta": [], "data": data})))
    assert isinstance(error, AirbyteTracedException)
    assert "phone_numbers" in str(error)


def test_a_page_found_damaged_when_it_is_due_is_transient() -> None:
    body = large_page().replace(b"[", b"", 2)
    assert judge(response(body)) is None, "it seems one"
    with pytest.raises(api.NotJson) as damage:
        api.read_page(body)
    error = CalltouchErrorHandler().explain(damage.value, response(body))
    assert error.failure_type == FailureType.transient_error
    assert "not JSON, or only a part of it" in str(error)
    assert "Nothing is lost" in str(error)


def test_a_redirect_names_the_host_it_leads_to() -> None:
    error = judge(response("", 301, Location="https://elsewhere.example/x?y=z"))
    assert "to elsewhere.example." in str(error)


def test_the_other_documented_address_is_named_for_either() -> None:
    answer = response("", 404)
    answer.url = api.URL_UNDER_ACCESS
    assert str(judge(answer)).endswith(api.URL)


def no_answer(kind: type[requests.RequestException], text: str = "") -> Exception | None:
    request = requests.Request("POST", api.URL).prepare()
    return judge(kind(text, request=request))


@pytest.mark.parametrize(
    ("kind", "text", "reason"),
    [
        (requests.exceptions.ConnectTimeout, "", "No connection to api.calltouch.ru within 10 s"),
        (requests.exceptions.ReadTimeout, "", "did not answer within 120 s"),
        (requests.exceptions.ProxyError, "", "The proxy in front of api.calltouch.ru"),
        (requests.exceptions.ChunkedEncodingError, "", "was cut off on its way"),
        (requests.exceptions.ContentDecodingError, "", "was cut off on its way"),
        (requests.exceptions.ConnectionError, "Connection refused", "refuses connections"),
        (requests.exceptions.ConnectionError, "NameResolutionError", "There is no host named"),
        (requests.exceptions.ConnectionError, "Connection reset by peer", "reset the connection"),
        (requests.exceptions.ConnectionError, "odd", "broke (ConnectionError)"),
        (requests.exceptions.SSLError, "handshake", "broke (SSLError)"),
    ],
)
def test_a_call_without_answer_is_tried_again(
    kind: type[requests.RequestException], text: str, reason: str
) -> None:
    error = no_answer(kind, text)
    assert isinstance(error, TryAgain)
    assert reason in error.reason


def test_an_unverified_certificate_is_the_users_to_mend() -> None:
    error = no_answer(requests.exceptions.SSLError, "[SSL: CERTIFICATE_VERIFY_FAILED]")
    assert isinstance(error, AirbyteTracedException)
    assert error.failure_type == config


def test_numbers_in_calltouchs_words_are_masked() -> None:
    said = str(judge(response(violation("phoneNumbers", "+7 000 123-45-67 и 70009998877"))))
    assert "phoneNumbers: … и …" in said


@pytest.mark.parametrize(
    ("told", "seconds"),
    [("7", 7), ("0", 0), ("", None), ("soon", None), ("-5", None), ("1.5", None), ("٣", None)],
)
def test_retry_after_is_read_as_seconds(told: str, seconds: float | None) -> None:
    assert retry_after({"Retry-After": told}) == seconds


def test_retry_after_is_read_as_a_date() -> None:
    moment = datetime.now(timezone.utc) + timedelta(seconds=100)
    assert 98 < (retry_after({"Retry-After": format_datetime(moment)}) or 0) <= 100
    assert retry_after({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0
    assert retry_after({"Retry-After": "Wed, 21 Oct 2015 07:28:00 -0000"}) == 0


@given(st.text())
def test_no_retry_after_breaks_the_reader(told: str) -> None:
    seconds = retry_after({"Retry-After": told})
    assert seconds is None or seconds >= 0


def test_waits_grow_from_under_a_second_to_half_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "FIRST_WAIT_SECONDS", 0.5)
    waits = [CalltouchBackoffStrategy().backoff_time(None, n) for n in range(1, 30)]
    assert waits[0] < 1
    assert all(wait <= 30 for wait in waits)
    assert waits[-1] >= 15
    assert sum(waits[:12]) < policy.PATIENCE_SECONDS, "twelve failures in a row are survived"


def test_a_told_wait_is_kept() -> None:
    answer = response("", 429, Retry_After="7")
    assert 7 <= CalltouchBackoffStrategy().backoff_time(answer, 1) < 8


def test_a_call_is_tried_until_it_succeeds() -> None:
    budget, tries = CallBudget(threading.Event()), itertools.count(1)

    def call() -> int:
        number = next(tries)
        if number < 13:
            raise TryAgain("Not yet")
        return number

    assert retrying(budget, 600)(call) == 13
    assert budget.retries == 12


@pytest.mark.parametrize(
    ("failure", "advice"),
    [
        (TryAgain("Broken"), "goes on from its last checkpoint"),
        (TryAgain("Limited", response("", 429)), "daily API points"),
    ],
)
def test_failing_for_good_says_what_happened_and_how_often_it_was_tried(
    failure: TryAgain, advice: str
) -> None:
    def call() -> None:
        raise failure

    with pytest.raises(AirbyteTracedException) as raised:
        retrying(CallBudget(threading.Event()), 0.05)(call)
    assert raised.value.failure_type == FailureType.transient_error
    assert str(raised.value).startswith(f"{failure.reason}. Tried ")
    assert advice in str(raised.value)


def test_a_wait_beyond_the_patience_is_not_begun() -> None:
    begun = time.monotonic()

    def call() -> None:
        raise TryAgain("Limited", response("", 429, Retry_After="3600"))

    with pytest.raises(AirbyteTracedException, match="Tried once"):
        retrying(CallBudget(threading.Event()), 600)(call)
    assert time.monotonic() - begun < 5


def test_an_error_is_not_tried_again() -> None:
    tries = []

    def call() -> None:
        tries.append(1)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        retrying(CallBudget(threading.Event()), 600)(call)
    assert len(tries) == 1


def in_thread(action: Callable[[], Any]) -> list[BaseException]:
    """Run an action that will be stopped, and return what it raised."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            action()
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(5)
    assert not thread.is_alive()
    return raised


def test_a_wait_ends_when_the_reader_leaves() -> None:
    stopping = threading.Event()
    budget = CallBudget(stopping)

    def call() -> None:
        threading.Timer(0.1, stopping.set).start()
        raise TryAgain("Limited", response("", 429, Retry_After="300"))

    (error,) = in_thread(lambda: retrying(budget, 600)(call))
    assert isinstance(error, CallsStopped)


def test_no_call_is_made_after_the_reader_left() -> None:
    stopping = threading.Event()
    budget = CallBudget(stopping)
    stopping.set()
    (error,) = in_thread(lambda: budget.acquire_call(requests.Request("POST", api.URL).prepare()))
    assert isinstance(error, CallsStopped)
    assert budget.calls == 0


def test_no_more_than_five_calls_are_made_in_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    window = MovingWindowCallRatePolicy([Rate(5, timedelta(milliseconds=310))], matchers=[])
    monkeypatch.setattr(policy, "_moving_window", lambda: window)
    budget, request = CallBudget(threading.Event()), requests.Request("POST", api.URL).prepare()
    made = []
    for _ in range(16):
        budget.acquire_call(request)
        made.append(time.monotonic())
    assert all(later - earlier >= 0.3 for earlier, later in zip(made, made[5:], strict=False))
    assert budget.calls == 16


def test_calls_are_spread_evenly_over_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "PACE", 100)
    budget, request = CallBudget(threading.Event()), requests.Request("POST", api.URL).prepare()
    begun = time.monotonic()
    for calls in range(10):
        budget.acquire_call(request)
        assert time.monotonic() - begun >= calls / 100


def test_a_429_slows_calls_down_and_answers_speed_them_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "PACE", 20)
    monkeypatch.setattr(policy, "RATE_STEP", 10)
    budget, request = CallBudget(threading.Event()), requests.Request("POST", api.URL).prepare()

    def seconds_for_three() -> float:
        begun = time.monotonic()
        for _ in range(3):
            budget.acquire_call(request)
        return time.monotonic() - begun

    assert seconds_for_three() < 0.2
    budget.update_from_response(request, response("", 429))
    budget.update_from_response(request, response("", 429))
    assert budget.limited == 2
    slowed = seconds_for_three()
    assert slowed > 3 / 20 / 0.75, "the third part of the rate at least is gone"
    for _ in range(4):
        budget.update_from_response(request, response("", 200))
    time.sleep(0.1)
    assert seconds_for_three() < slowed
