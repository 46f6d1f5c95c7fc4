"""What Airbyte's platform is told, in good times and bad; and that its rules are held."""

import copy
import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from integration_tests import platform_rules as rules
from integration_tests.commands import Output, identities, run, start
from integration_tests.platform_rules import Message, judge
from sandbox.process import Sandbox

CONFIG_ERROR, TRANSIENT_ERROR, SYSTEM_ERROR = "config_error", "transient_error", "system_error"

# `run` judges each of these by the rules; what is asserted beside is what the case is about.


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"start_date": "2024-02-31"}, "The setting Start date (start_date): the value is not"),
        ({"timezone": "UTC+3"}, "The setting Time zone (timezone): the value does not fit"),
        ({"phone_numbers": ["5550001"]}, "The setting Phone numbers (phone_numbers): entry 1 does"),
        ({"api_url": "https://u:sesame-open@h/x"}, "The setting API URL (api_url): the value does"),
        ({"access_token": "wrong-token"}, "Calltouch does not accept the API token"),
    ],
)
def test_what_the_user_can_fix_fails_a_check_and_a_sync(
    sandbox: Sandbox, tmp_path: Path, changes: dict[str, Any], sentence: str
) -> None:
    config = sandbox.config(**changes)
    check = run(tmp_path, "check", config)
    status, message = check.status
    assert (check.code, status) == (0, "FAILED")
    assert str(message).startswith(sentence)
    read = run(tmp_path, "read", config)
    assert_failed(read, CONFIG_ERROR, str(message))
    assert b"sesame" not in check.written + read.written
    assert b"Traceback" not in check.written


def test_an_emptied_list_of_numbers_is_no_filter(sandbox: Sandbox, tmp_path: Path) -> None:
    config = sandbox.config(phone_numbers=[], end_date=None)
    assert run(tmp_path, "check", config).status == ("SUCCEEDED", None)
    assert all("phoneNumbers" not in body for body in sandbox.stats()["bodies"])


@pytest.mark.parametrize(
    ("fault", "failure_type", "sentence"),
    [
        ("503", TRANSIENT_ERROR, "Calltouch failed (HTTP 503)"),
        ("unknown-json", SYSTEM_ERROR, "result: str"),
    ],
)
def test_what_the_user_cannot_fix_leaves_a_check_as_an_error(
    sandbox: Sandbox, tmp_path: Path, fault: str, failure_type: str, sentence: str
) -> None:
    sandbox.set_faults([{"kind": fault, "from": 1}])
    check = run(tmp_path, "check", sandbox.config())
    assert_failed(check, failure_type, sentence)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/x", "https://no-such-host.invalid/x"])
def test_an_address_where_nothing_answers_leaves_a_check_as_a_transient_error(
    sandbox: Sandbox, tmp_path: Path, url: str
) -> None:
    check = run(tmp_path, "check", sandbox.config(api_url=url))
    assert_failed(check, TRANSIENT_ERROR, url.split("/")[2].partition(":")[0])


@pytest.mark.parametrize(
    ("fault", "failure_type"),
    [
        ("token-revoked", CONFIG_ERROR),
        ("short-page", TRANSIENT_ERROR),
        ("unknown-json", SYSTEM_ERROR),
    ],
)
def test_a_failed_sync_is_of_its_causes_kind(
    sandbox: Sandbox, tmp_path: Path, fault: str, failure_type: str
) -> None:
    sandbox.set_faults([{"kind": fault, "from": 1}])
    read = run(tmp_path, "read", sandbox.config())
    assert_failed(read, failure_type, "")
    assert read.statuses[-1] == "INCOMPLETE"


def assert_failed(output: Output, failure_type: str, sentence: str) -> None:
    assert output.code == 1
    assert {error["failure_type"] for error in output.errors} == {failure_type}
    assert all(sentence in error["message"] for error in output.errors)


@pytest.mark.parametrize("place", [1, 2])
def test_a_wait_for_calltouch_is_told_before_it_is_over(
    sandbox: Sandbox, tmp_path: Path, place: int
) -> None:
    sandbox.set_faults([{"kind": "429-retry-after", "seconds": 3, "from": place, "times": 3}])
    out = b""
    with start(tmp_path, "read", sandbox.config()) as process:
        assert process.stdout
        assert process.stderr
        for line in process.stdout:
            out += line
            stream_status = json.loads(line).get("trace", {}).get("stream_status") or {}
            for reason in stream_status.get("reasons") or []:
                assert reason["rate_limited"]["quota_reset"] > time.time() * 1000
        err = process.stderr.read()
    output = Output("read", out, err, process.returncode, sandbox.config())
    judge(output)
    assert b"RATE_LIMITED" in out
    assert identities(output.records) == identities(sandbox.sms())


# The rules themselves: a sync that keeps to them, and what is done to it.

NAME = {"name": "sms_messages"}
NOW = 1_800_000_000_000
CONFIG = {"access_token": "token-5f0c1d7e", "phone_numbers": ["+7 (000) 555-01-99"]}


def trace(kind: str, content: Message) -> Message:
    return {"type": "TRACE", "trace": {"type": kind, "emitted_at": NOW, kind.lower(): content}}


def status(name: str, *reasons: Message) -> Message:
    content = {"stream_descriptor": NAME, "status": name, "reasons": list(reasons)}
    return trace("STREAM_STATUS", content)


def limited(reset: int = NOW + 2_000) -> Message:
    reason = {"type": "RATE_LIMITED", "rate_limited": {"quota_reset": reset}}
    return status("RUNNING", reason)


def record(**changes: Any) -> Message:
    data = {"smsKey": "0", "phoneNumber": "70005550198", "smsMessage": "Тайна вклада"}
    content = {"stream": NAME["name"], "emitted_at": NOW, "data": data, **changes}
    return {"type": "RECORD", "record": content}


def state(count: float) -> Message:
    content = {"type": "STREAM", "stream": {"stream_descriptor": NAME}}
    return {"type": "STATE", "state": {**content, "sourceStats": {"recordCount": count}}}


def log(text: str) -> Message:
    return {"type": "LOG", "log": {"level": "INFO", "message": text}}


def error(failure_type: str = TRANSIENT_ERROR) -> Message:
    return trace("ERROR", {"message": f"A {failure_type}.", "failure_type": failure_type})


def answer(found: str, message: str | None = None) -> Message:
    content = {"status": found, "message": message}
    return {"type": "CONNECTION_STATUS", "connectionStatus": content}


SYNC = [
    status("STARTED"),
    limited(),
    status("RUNNING"),
    record(),
    record(),
    state(2.0),
    limited(),
    record(),
    log("windows"),
    state(1.0),
    status("COMPLETE"),
]
FAILED = [*SYNC[:-1], status("INCOMPLETE"), error()]


def said(command: str, messages: list[Message], code: int = 0, err: str = "") -> Output:
    out = b"".join(json.dumps(m, separators=(",", ":")).encode() + b"\n" for m in messages)
    return Output(command, out, err.encode(), code, CONFIG)


def test_the_rules_take_what_the_platform_takes() -> None:
    judge(said("read", SYNC))
    judge(said("read", FAILED, 1))
    judge(said("read", [error(CONFIG_ERROR)], 1))
    judge(said("check", [answer("SUCCEEDED")]))
    judge(said("check", [answer("FAILED", "A sentence.")]))
    judge(said("check", [error(), error()], 1))


def changed(place: int, *messages: Message) -> Output:
    """Return the sync with a message replaced."""
    sync: list[Message] = copy.deepcopy(SYNC)
    sync[place : place + 1] = messages
    return said("read", sync)


@pytest.mark.parametrize(
    ("rule", "make"),
    [
        (rules.lines_are_messages, lambda: changed(8, {"type": "NOTE", "note": {}})),
        (rules.lines_are_messages, lambda: changed(8, log("x" * rules.LONGEST_LINE))),
        (rules.a_command_gives_its_one_answer, lambda: changed(8, answer("SUCCEEDED"))),
        (rules.a_command_gives_its_one_answer, lambda: said("check", [])),
        (rules.a_command_gives_its_one_answer, lambda: said("check", [answer("SUCCEEDED")] * 2)),
        (rules.a_command_gives_its_one_answer, lambda: said("check", [answer("FAILED")], 1)),
        (rules.a_command_gives_its_one_answer, lambda: said("spec", [record()])),
        (rules.the_exit_code_tells_of_an_error, lambda: said("read", SYNC, 1)),
        (rules.the_exit_code_tells_of_an_error, lambda: said("read", FAILED)),
        (rules.a_check_fails_by_a_setting_only, lambda: said("check", [error(CONFIG_ERROR)], 1)),
        (rules.a_check_fails_by_a_setting_only, lambda: said("check", [answer("FAILED")])),
        (
            rules.failures_are_of_the_causes_kind,
            lambda: said("check", [error(), error(SYSTEM_ERROR)], 1),
        ),
        (
            rules.failures_are_of_the_causes_kind,
            lambda: said("read", [*FAILED, error(CONFIG_ERROR)], 1),
        ),
        (rules.failures_are_of_the_causes_kind, lambda: said("read", [*FAILED, error()], 1)),
        (
            rules.estimates_have_both_counts,
            lambda: changed(8, trace("ESTIMATE", {"type": "STREAM", "row_estimate": 3})),
        ),
        (rules.statuses_come_in_order, lambda: changed(0)),
        (rules.statuses_come_in_order, lambda: changed(1, record(), state(1.0))),
        (rules.statuses_come_in_order, lambda: changed(10)),
        (rules.statuses_come_in_order, lambda: changed(10, status("INCOMPLETE"))),
        (rules.statuses_come_in_order, lambda: changed(10, status("COMPLETE"), record())),
        (rules.a_wait_is_told_once, lambda: changed(6, limited(), limited())),
        (rules.a_wait_is_told_once, lambda: changed(6, limited(NOW // 1_000 + 2))),
        (rules.a_wait_is_told_once, lambda: changed(6, limited(NOW))),
        (
            rules.a_wait_is_told_once,
            lambda: changed(6, status("RUNNING", {"type": "RATE_LIMITED"})),
        ),
        (rules.states_count_the_records_before_them, lambda: changed(5, state(1.0))),
        (rules.states_count_the_records_before_them, lambda: changed(9)),
        (
            rules.states_count_the_records_before_them,
            lambda: changed(5, {"type": "STATE", "state": {"type": "GLOBAL"}}),
        ),
        (rules.records_are_of_the_stream, lambda: changed(3, record(namespace="public"))),
        (rules.records_are_of_the_stream, lambda: changed(3, record(emitted_at=NOW // 1_000))),
        (rules.records_are_of_the_stream, lambda: changed(3, record(data={"smsKey": None}))),
        (rules.nothing_private_is_said, lambda: changed(8, log("with token-5f0c1d7e"))),
        (rules.nothing_private_is_said, lambda: changed(8, log('[\\"+7 (000) 555-01-99\\"]'))),
        (rules.nothing_private_is_said, lambda: changed(8, log("to 70005550198"))),
        (rules.nothing_private_is_said, lambda: changed(8, log(repr("Тайна вклада".encode())))),
        (rules.nothing_private_is_said, lambda: said("read", SYNC, err="Тайна вклада")),
    ],
)
def test_the_rules_refuse_what_the_platform_misreads(
    rule: Callable[[Output], Iterable[str]], make: Callable[[], Output]
) -> None:
    assert list(rule(make()))
