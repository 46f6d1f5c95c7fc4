"""Nothing private is said, whatever Calltouch answers: the token, numbers, texts."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from integration_tests.commands import Output, run
from integration_tests.test_failures import ENDS
from integration_tests.test_faults import SURVIVED
from sandbox.process import Sandbox, running

NUMBER = "70005550199"
MASK = "+7 (000) 555-01-99"
TEXT = "Тайна \U0001f600 вклада"
FAULTS = [*SURVIVED, *({"kind": kind, "location": "https://elsewhere.example/"} for kind in ENDS)]


@pytest.fixture(scope="module")
def calltouch() -> Iterator[Sandbox]:
    """Run a sandbox with marked SMS on three pages."""
    sms = {
        "phoneNumber": NUMBER,
        "dateSent": None,
        "smsStatus": "delivered",
        "smsStatusDetail": "Доставлено",
    }
    with running("--sms", "30", "--page-size", "10") as sandbox:
        sandbox.add_sms([{**sms, "smsMessage": f"{TEXT} {n}"} for n in range(25)])
        yield sandbox


def forms(secret: str) -> set[bytes]:
    """Return a secret in plain, escaped once and twice, and as bytes are shown."""
    escaped = json.dumps(secret)[1:-1]
    texts = {secret, escaped, json.dumps(escaped)[1:-1], repr(secret.encode())[2:-1]}
    return {text.encode() for text in texts | {text.replace("\\", "\\\\") for text in texts}}


def said(output: Output) -> bytes:
    """Return all that a command wrote but the records, whose place the data is."""
    lines = output.written.splitlines(keepends=True)
    return b"".join(line for line in lines if not line.startswith(b'{"type":"RECORD"'))


@pytest.mark.parametrize("command", ["check", "read"])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f["kind"] + ("-date" * ("date" in f)))
def test_no_fault_makes_a_command_say_what_is_private(
    sandbox: Sandbox, tmp_path: Path, fault: dict[str, Any], command: str
) -> None:
    lasting = fault["kind"] in ENDS
    sandbox.set_faults([{**fault, "from": 1} if lasting else {**fault, "at": 1}])
    output = run(tmp_path, command, sandbox.config(phone_numbers=[MASK]))
    assert sandbox.stats()["faulted"] > 0
    if command == "read" and not lasting:
        texts = [record["smsMessage"] for record in output.records]
        assert sum(text.startswith(TEXT) for text in texts) == 25, "what is marked was read"
    for secret in (sandbox.token, NUMBER, MASK, TEXT):
        for form in forms(secret):
            assert form not in said(output)


def test_debug_shows_bodies_and_never_the_token(sandbox: Sandbox, tmp_path: Path) -> None:
    output = run(tmp_path, "read", sandbox.config(), None, "incremental", "--debug")
    assert b"smsDetails" in output.written
    for form in forms(sandbox.token):
        assert form not in output.written
