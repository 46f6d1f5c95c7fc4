"""Nothing private is said at any level, whatever Calltouch answers: the token, numbers, texts."""

import gzip
import json
import os
import resource
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pendulum
import pytest

from integration_tests import commands
from integration_tests.commands import Output, lines, run, start
from integration_tests.platform_rules import forms
from integration_tests.test_failures import ENDS
from integration_tests.test_faults import SURVIVED
from sandbox.process import Sandbox, running
from source_calltouch_sms import api

NUMBER = "70005550199"
MASK = "+7 (000) 555-01-99"
TEXT = "Тайна \U0001f600 вклада"
TOKEN = "token-of-the-private-5f0c1d7e"
SMS = {
    "phoneNumber": NUMBER,
    "dateSent": api.wire_time(pendulum.yesterday("Europe/Moscow")),
    "smsStatus": "delivered",
    "smsStatusDetail": "Доставлено",
    "smsMessage": TEXT,
}
CONFIG = {"access_token": TOKEN, "site_id": "10777", "start_date": "2024-04-01"}
GZIP = b"\x1f\x8b"  # how it begins
MARKED = 30  # on as many pages as there are faults that pass
LASTING = [{"kind": kind, "location": "https://elsewhere.example/", "from": 1} for kind in ENDS]


@pytest.fixture(scope="module")
def calltouch() -> Iterator[Sandbox]:
    """Run a sandbox with marked SMS on many pages."""
    with running("--sms", "30", "--page-size", "2", "--rate", "0") as sandbox:
        sandbox.add_sms([{**SMS, "smsMessage": f"{TEXT} {n}"} for n in range(MARKED)])
        yield sandbox


@pytest.fixture(scope="module")
def plain() -> Iterator[Sandbox]:
    """Run a sandbox of which all can be read."""
    with running("--sms", "1250", "--page-size", "500") as sandbox:
        yield sandbox


@pytest.mark.parametrize("first", range(5))
def test_no_fault_that_passes_makes_a_check_say_what_is_private(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: int
) -> None:
    plan = [{**fault, "at": n} for n, fault in enumerate(SURVIVED[first::5], 1)]
    assert_private_under(plan, "check", sandbox, tmp_path, monkeypatch)


@pytest.mark.parametrize("fault", LASTING, ids=lambda f: f["kind"])
def test_no_fault_that_ends_a_check_makes_it_say_what_is_private(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: dict[str, Any]
) -> None:
    assert_private_under([fault], "check", sandbox, tmp_path, monkeypatch)


@pytest.mark.parametrize("fault", LASTING, ids=lambda f: f["kind"])
def test_no_fault_that_ends_a_read_makes_it_say_what_is_private(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: dict[str, Any]
) -> None:
    assert_private_under([fault], "read", sandbox, tmp_path, monkeypatch)


def test_no_fault_that_passes_makes_a_read_say_what_is_private(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = [{**fault, "at": 2 * n + 1} for n, fault in enumerate(SURVIVED)]
    output = assert_private_under(plan, "read", sandbox, tmp_path, monkeypatch)
    assert sandbox.stats()["faulted"] == len(plan)
    texts = [record["smsMessage"] for record in output.records]
    assert sum(text.startswith(TEXT) for text in texts) == MARKED, "what is marked was read"


def assert_private_under(
    plan: list[dict[str, Any]],
    command: str,
    sandbox: Sandbox,
    folder: Path,
    environment: pytest.MonkeyPatch,
) -> Output:
    """Run a command while Calltouch has these faults, and let it say nothing private."""
    environment.setenv("LOG_LEVEL", "debug")  # as the platform may set it
    sandbox.set_faults(plan)
    output = run(folder, command, sandbox.config(phone_numbers=[MASK]))
    assert sandbox.stats()["faulted"] >= len(plan)
    assert_private(output, sandbox.token)
    return output


def assert_private(output: Output, token: str) -> None:
    assert b"Debug logs enabled" in output.written
    for secret in (token, NUMBER, MASK, TEXT):
        for form in forms(secret):
            assert form not in output.unasked


def body(data: object) -> bytes:
    return json.dumps({"meta": [], "data": data}, ensure_ascii=False).encode()


def violation(words: str) -> bytes:
    violations = [{"fieldPath": "phoneNumbers[0]", "message": words}]
    return body(
        {"type": "validationError", "validationErrorData": {"violations": violations}},
    )


PAGE = body({"totalCountSms": 1, "pageOfResult": 1, "smsDetails": [SMS]})
HTML = f"<html><title>500</title><p>{NUMBER} {MASK} {TEXT} {TOKEN}</p></html>".encode()
# Those that pass, then those that end a command.
ANSWERS = {
    "html-500": (500, HTML),
    "html-403": (403, HTML),
    "429": (429, body({"message": f"Лимит для {NUMBER} ({MASK}), токен {TOKEN}"})),
    "page-cut": (200, PAGE[:-9]),
    "row-of-texts": (200, body({"totalCountSms": 1, "smsDetails": [NUMBER, TEXT]})),
    "echo": (400, body({"echo": {"phoneNumbers": [MASK], NUMBER: TEXT}})),
    "page-400": (400, PAGE),
    "page-500": (500, PAGE),
    "violation": (422, violation(f"Номер {MASK} ({NUMBER}) для {TOKEN}")),
}


@contextmanager
def answering(
    answers: list[tuple[int, bytes]], asked: list[Mapping[str, str]] | None = None
) -> Iterator[str]:
    """Serve each answer once with a cookie, and to later requests that there are no SMS.

    The headers of requests are added to `asked`.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            if asked is not None:
                asked.append(dict(self.headers))
            code, sent = answers.pop(0) if answers else (200, body([]))
            self.send_response(code)
            self.send_header("Content-Length", str(len(sent)))
            self.send_header("Set-Cookie", "visitor=5; Path=/")
            if sent.startswith(GZIP):
                self.send_header("Content-Encoding", "gzip")
            self.end_headers()
            self.wfile.write(sent)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/x"
        server.shutdown()
    assert not answers, "each was asked for"


@pytest.mark.parametrize("command", ["check", "read"])
@pytest.mark.parametrize("first", range(5))
def test_no_answer_is_shown_at_debug_level(tmp_path: Path, first: int, command: str) -> None:
    with answering(list(ANSWERS.values())[first::5]) as url:
        config = {**CONFIG, "phone_numbers": [MASK], "api_url": url}
        output = run(tmp_path, command, config, None, "incremental", "--debug")
    assert_private(output, TOKEN)


# On its way.


@contextmanager
def refusing_proxy(heard: list[str]) -> Iterator[list[str]]:
    """Refuse as a proxy what it is asked for, and add that to `heard`; yield how it is set."""

    class Handler(BaseHTTPRequestHandler):
        def do_CONNECT(self) -> None:
            heard.append(f"{self.requestline}\n{self.headers}")
            self.send_error(403)

        def do_POST(self) -> None:
            self.do_CONNECT()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
        yield ["env", *(f"{form}={url}" for name in names for form in (name, name.lower()))]
        server.shutdown()


def test_this_machine_is_asked_by_no_proxy(
    plain: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []
    with refusing_proxy(heard) as environment:
        monkeypatch.setattr(commands, "COMMAND", [*environment, *commands.COMMAND])
        assert run(tmp_path, "check", plain.config()).status == ("SUCCEEDED", None)
    assert heard == []


def test_a_proxy_learns_the_host_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[str] = []
    with refusing_proxy(heard) as environment:
        monkeypatch.setattr(commands, "COMMAND", [*environment, *commands.COMMAND])
        (error, *_) = run(tmp_path, "check", CONFIG).errors
    assert error["message"].startswith("The proxy in front of api.calltouch.ru does not let")
    assert heard
    assert all(request.startswith("CONNECT api.calltouch.ru:443 ") for request in heard)
    assert TOKEN not in "".join(heard)


def test_requests_carry_no_cookie_and_no_login_of_a_netrc(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("NETRC", raising=False)
    asked: list[Mapping[str, str]] = []
    with answering([(503, b"")], asked) as url:
        output = run(tmp_path, "check", {**CONFIG, "api_url": url})
    assert output.status == ("SUCCEEDED", None)
    assert [headers["Access-Token"] for headers in asked] == [TOKEN] * 2
    for headers in asked:
        assert not {"Cookie", "Authorization"} & {name.title() for name in headers}


@pytest.mark.parametrize(("code", "said"), [(200, b"larger than 200 MB"), (500, b"SUCCEEDED")])
def test_an_answer_that_unpacks_to_gigabytes_is_not_unpacked(
    tmp_path: Path, code: int, said: bytes
) -> None:
    bomb = gzip.compress(bytes(50_000_000)) * 80
    with (
        answering([(code, bomb)]) as url,
        start(tmp_path, "check", {**CONFIG, "api_url": url}) as process,
    ):
        assert process.stdout
        out = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert said in out, "a page can be asked for in parts, a failure once more"
    assert usage.ru_maxrss < 500_000  # KB


# Nothing stays behind.


WATCHED = """
import os, sys, tempfile
tempfile.tempdir = os.environ["TMPDIR"]  # or the library tries a file there first

def watch(event, arguments):
    if event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_ACCMODE:
        os.write(2, f"writes {arguments[0]!r}\\n".encode())

sys.addaudithook(watch)
from source_calltouch_sms.run import run
run()
"""


@pytest.mark.parametrize("command", ["spec", "check", "discover", "read"])
def test_no_command_writes_a_file(
    plain: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(commands, "COMMAND", [sys.executable, "-B", "-c", WATCHED])
    monkeypatch.setenv("PYTHONPATH", str(commands.ROOT))
    monkeypatch.setenv("TMPDIR", str(folder))
    output = run(tmp_path, command, plain.config() if command != "spec" else None)
    assert (output.code, output.err) == (0, b"")
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("stop", ["", "SIGTERM", "SIGHUP", "SIGINT", "SIGKILL"])
@pytest.mark.usefixtures("heeded_signals")
def test_no_file_is_there_while_a_sync_runs_and_none_stays_however_it_ends(
    plain: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: str
) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    with start(tmp_path, "read", plain.config()) as process:
        next(message for message in lines(process) if message["type"] == "RECORD")
        assert list(folder.iterdir()) == []
        if stop:
            process.send_signal(getattr(signal, stop))
        process.communicate(timeout=60)
    assert process.returncode == (-getattr(signal, stop) if stop else 0)
    assert list(folder.iterdir()) == []


def test_a_crash_dumps_no_memory(plain: Sandbox, tmp_path: Path) -> None:
    with start(tmp_path, "read", plain.config()) as process:
        next(lines(process))
        assert resource.prlimit(process.pid, resource.RLIMIT_CORE) == (0, 0)
        process.communicate(timeout=60)
