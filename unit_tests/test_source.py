"""The source and its entry point: `source_calltouch_sms.source`, `source_calltouch_sms.run`."""

import copy
import logging
import signal
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import orjson
import pytest
import requests_mock
from airbyte_cdk.models import FailureType, Status, StreamDescriptor, SyncMode
from airbyte_cdk.utils.traced_exception import AirbyteTracedException

from source_calltouch_sms import SourceCalltouchSms, api
from source_calltouch_sms.run import run
from source_calltouch_sms.source import CATALOG_FORM, SETTINGS_FORM, STATE_FORM
from source_calltouch_sms.streams import SmsMessages
from unit_tests.conftest import settings

LOGGER = logging.getLogger("airbyte")
CATALOG = Path(__file__).resolve().parents[1] / "integration_tests/configured_catalog.json"


# Check and discover.


def check(**changes: Any) -> tuple[Status, str]:
    status = SourceCalltouchSms().check(LOGGER, settings(**changes))
    return status.status, status.message or ""


def test_a_check_is_one_call_over_one_second_once_the_settings_are_right(
    requests_mock: requests_mock.Mocker,
) -> None:
    requests_mock.post(api.URL, json={"meta": [], "data": []})
    fault = "The setting End date (end_date): 2024-01-01 is before the start date, 2024-04-01."
    assert check(end_date="2024-01-01") == (Status.FAILED, fault)
    assert check() == (Status.SUCCEEDED, "")
    second = "01-04-2024 00:00:00"
    (request,) = requests_mock.request_history
    assert request.json() == {"dateFrom": second, "dateTo": second}


def test_a_failed_check_ends_with_calltouchs_words_without_the_token(
    requests_mock: requests_mock.Mocker,
) -> None:
    requests_mock.post(api.URL, json={"message": "Invalid credentials: model-token."})
    status, message = check()
    assert status == Status.FAILED
    assert message.startswith("Calltouch does not accept the API token. Check the settings")
    assert message.endswith(" Calltouch's answer: «Invalid credentials: …».")
    assert requests_mock.call_count == 1


def test_what_the_user_cannot_fix_leaves_a_check_as_an_error(
    requests_mock: requests_mock.Mocker,
) -> None:
    requests_mock.post(api.URL, json={"unheard": "of"})
    with pytest.raises(AirbyteTracedException, match="unheard: str") as raised:
        check()
    assert raised.value.failure_type == FailureType.system_error


def test_discover_names_one_stream_without_network(requests_mock: requests_mock.Mocker) -> None:
    (stream,) = SourceCalltouchSms().discover(LOGGER, settings()).streams
    assert (stream.name, stream.source_defined_primary_key) == ("sms_messages", [["smsKey"]])
    assert (stream.source_defined_cursor, stream.default_cursor_field) == (True, ["dateSent"])
    assert stream.supported_sync_modes == [SyncMode.full_refresh, SyncMode.incremental]
    properties = stream.json_schema["properties"]
    assert all(field["description"] for field in properties.values())
    assert properties["dateSent"]["format"] == "date-time"
    assert properties["dateSent"]["airbyte_type"] == "timestamp_with_timezone"
    assert not requests_mock.called


# Read.


def refusal(names: Iterable[str] = ("sms_messages",), **changes: Any) -> str:
    """Return what a read of streams of these names is refused with."""
    catalog = SourceCalltouchSms.read_catalog(str(CATALOG))
    (configured,) = catalog.streams
    catalog.streams = [copy.deepcopy(configured) for _ in names]
    for each, name in zip(catalog.streams, names, strict=True):
        each.stream.name = name
    with pytest.raises(AirbyteTracedException) as raised:
        list(SourceCalltouchSms().read(LOGGER, settings(**changes), catalog))
    assert raised.value.failure_type == FailureType.config_error
    return str(raised.value)


@pytest.mark.parametrize("names", [["sms_messages", "calls"], ["calls"], ["sms_messages"] * 2])
def test_a_read_names_what_is_wrong_in_its_catalog_and_settings(names: list[str]) -> None:
    assert f"names the streams {names}; there is only ['sms_messages']" in refusal(names)
    assert "API URL (api_url)" in refusal(api_url="https://a..b")


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_a_variable_that_names_no_file_of_certificates_is_named(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "/absent.pem")
    for message in (check()[1], refusal()):
        assert f"variable {variable} names no file: '/absent.pem'" in message


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["source-calltouch-sms", *arguments])
    mask, interrupt = signal.pthread_sigmask(signal.SIG_BLOCK, ()), signal.getsignal(signal.SIGINT)
    try:
        run()
    finally:  # later tests and their processes would end by no signal, or without a word
        signal.signal(signal.SIGINT, interrupt)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@pytest.mark.parametrize(
    ("error", "sentence", "failure_type"),
    [
        *(
            (AirbyteTracedException("inside", "A sentence.", kind), "A sentence.", kind)
            for kind in FailureType
        ),
        (KeyError("a fault of ours"), "Something went wrong", FailureType.system_error),
    ],
    ids=str,
)
def test_a_failed_read_ends_by_its_cause_told_once(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    error: Exception,
    sentence: str,
    failure_type: FailureType,
) -> None:
    def records(sms: SmsMessages, *_: Any, stream_slice: Any, **__: Any) -> Iterable[Any]:
        yield {"day": stream_slice["day"]}
        if stream_slice["day"] == 2:
            raise error
        sms.state = {"dateSent": "2024-04-01T00:00:00+03:00"}

    monkeypatch.setattr(SmsMessages, "stream_slices", lambda *_, **__: [{"day": 1}, {"day": 2}])
    monkeypatch.setattr(SmsMessages, "read_records", records)
    path = tmp_path / "config.json"
    path.write_bytes(orjson.dumps(settings()))
    with pytest.raises(AirbyteTracedException) as raised:
        command(monkeypatch, "read", "--config", str(path), "--catalog", str(CATALOG))
    told = [orjson.loads(line) for line in capsys.readouterr().out.splitlines()]
    traces = [m["trace"] for m in told if m["type"] == "TRACE"]
    statuses = [t["stream_status"]["status"] for t in traces if t["type"] == "STREAM_STATUS"]
    assert statuses == ["STARTED", "RUNNING", "INCOMPLETE"]
    assert [m["record"]["data"]["day"] for m in told if m["type"] == "RECORD"] == [1, 2]
    assert "STATE" in [m["type"] for m in told], "what was saved before the failure stays"
    assert "ERROR" not in [t["type"] for t in traces]
    # Raised, it ends the process with code 1, and the CDK writes it as the last message.
    trace = raised.value.as_airbyte_message().trace
    assert trace
    assert trace.error
    assert trace.error.failure_type == failure_type
    assert trace.error.message.startswith(sentence)
    assert trace.error.stream_descriptor == StreamDescriptor("sms_messages")


# Files.

READERS: dict[str, tuple[Callable[[str], object], str]] = {
    "settings": (SourceCalltouchSms.read_config, SETTINGS_FORM),
    "catalog": (SourceCalltouchSms.read_catalog, CATALOG_FORM),
    "state": (SourceCalltouchSms.read_state, STATE_FORM),
}
STATE: dict[str, Any] = orjson.loads(STATE_FORM)[0]


def fault(kind: str, path: Path) -> str:
    """Return what is said of a file that cannot be read."""
    with pytest.raises(AirbyteTracedException) as raised:
        READERS[kind][0](str(path))
    assert raised.value.failure_type == FailureType.config_error
    assert f"The {kind} file '{path}'" in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("kind", READERS)
def test_a_file_in_the_form_that_errors_show_is_read_with_a_byte_order_mark_too(
    tmp_path: Path, kind: str
) -> None:
    read, form = READERS[kind]
    path = tmp_path / "file"
    path.write_text(form, encoding="utf-8")
    plain = read(str(path))
    path.write_text(form, encoding="utf-8-sig")
    assert read(str(path)) == plain


@pytest.mark.parametrize("nothing", ["[]", "{}", "null"])
def test_a_state_of_nothing_is_no_state(tmp_path: Path, nothing: str) -> None:
    (tmp_path / "file").write_text(nothing)
    assert SourceCalltouchSms.read_state(str(tmp_path / "file")) == []


@pytest.mark.parametrize(
    ("kind", "written"),
    [
        *((kind, b"") for kind in ("state", "catalog")),
        ("state", orjson.dumps(STATE)),
        ("state", orjson.dumps(STATE) + b"\n" + orjson.dumps(STATE)),
        ("state", orjson.dumps([{"type": "STATE", "state": STATE}])),
        ("state", STATE_FORM.replace("_d", "D").replace("m_s", "mS").encode()),
        ("state", b'[{"streamDescriptor": {"name": "sms_messages"}, "streamState": {}}]'),
        ("state", orjson.dumps([{"stream": STATE["stream"]}])),
        ("state", b'{"sms_messages": {"dateSent": "2024-04-01"}}'),
        ("state", b'[{"type": "LEGACY", "data": {"sms_messages": {}}}]'),
        ("state", b'[{"type": "STREAM"}]'),
        ("state", b"5"),
        ("state", STATE_FORM.encode("utf-16")),
        ("state", STATE_FORM.encode("utf-16-le")),
        ("catalog", b'{"streams": [{"name": "sms_messages"}]}'),
        ("catalog", b"[]"),
        ("settings", b"access_token: abc"),
        ("settings", b"[" * 100_000),
        ("settings", b'["access_token"]'),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_a_file_in_another_form_is_named_and_the_form_is_shown(
    tmp_path: Path, kind: str, written: bytes
) -> None:
    (tmp_path / "file").write_bytes(written)
    assert fault(kind, tmp_path / "file").endswith(READERS[kind][1])


@pytest.mark.parametrize("kind", READERS)
def test_a_file_that_is_not_there_is_named(tmp_path: Path, kind: str) -> None:
    assert "cannot be read: No such file" in fault(kind, tmp_path / "absent")


def test_a_file_that_is_no_json_is_named_with_the_place(tmp_path: Path) -> None:
    (tmp_path / "file").write_text('{"a": 1, b}')
    assert "line 1 column 10 (char 9)): {" in fault("settings", tmp_path / "file")


@pytest.mark.parametrize("kind", READERS)
def test_content_that_stands_where_a_path_should_is_not_quoted(kind: str) -> None:
    for content in ('{"access_token": "private"}', '[{"private": "/"}]' * 9999):
        with pytest.raises(AirbyteTracedException, match=f"The {kind} file cannot be") as raised:
            READERS[kind][0](content)
        assert "private" not in repr(vars(raised.value))


def test_of_json_in_another_form_nothing_is_quoted(tmp_path: Path) -> None:
    (tmp_path / "file").write_text('["private"]')
    assert "expected form: {" in fault("settings", tmp_path / "file")
