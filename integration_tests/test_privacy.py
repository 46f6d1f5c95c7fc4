"""Nothing private is said at debug level, whatever Calltouch answers: the token, numbers, texts."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from integration_tests.commands import run
from integration_tests.platform_rules import forms
from unit_tests.account import row

NUMBER = "70005550199"
MASK = "+7 (000) 555-01-99"
TEXT = "Тайна \U0001f600 вклада"
TOKEN = "token-of-the-private-5f0c1d7e"
SMS = row(datetime(2024, 4, 1), NUMBER, TEXT)
CONFIG = {"access_token": TOKEN, "site_id": "10777", "start_date": "2024-04-01"}


def body(data: object) -> bytes:
    return json.dumps({"meta": [], "data": data}, ensure_ascii=False).encode()


VIOLATION = {"fieldPath": "phoneNumbers[0]", "message": f"Номер {MASK} ({NUMBER}) для {TOKEN}"}
REFUSAL = {"type": "validationError", "validationErrorData": {"violations": [VIOLATION]}}
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
    "violation": (422, body(REFUSAL)),
}


@contextmanager
def answering(answers: list[tuple[int, bytes]], asked: list[str]) -> Iterator[str]:
    """Serve each answer once, with a cookie; refuse, as a proxy, to connect; note requests."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            asked.append(f"{self.requestline}\n{self.headers}")
            code, sent = answers[len(asked) - 1]
            self.send_response(code)
            self.send_header("Content-Length", str(len(sent)))
            self.send_header("Set-Cookie", "visitor=5; Path=/")
            self.end_headers()
            self.wfile.write(sent)

        def do_CONNECT(self) -> None:
            asked.append(f"{self.requestline}\n{self.headers}")
            self.send_error(403)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.mark.parametrize(
    ("command", "names"),
    [
        ("read", "html-500 html-403 429 page-cut echo"),
        ("read", "page-400"),
        ("read", "violation"),
        ("check", "html-403 row-of-texts"),
        ("check", "page-cut page-500"),
        ("check", "429 violation"),
    ],
)
def test_no_answer_is_shown_at_debug_level_and_no_cookie_or_login_is_sent(
    tmp_path: Path, command: str, names: str
) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else\n")
    answers, asked = [ANSWERS[name] for name in names.split()], list[str]()
    with answering(answers, asked) as url:
        config = {**CONFIG, "phone_numbers": [MASK], "api_url": url}
        output = run(tmp_path, command, config, None, "--debug", NETRC=str(netrc))
    assert len(asked) == len(answers)
    assert all(f"\nAccess-Token: {TOKEN}\n" in request for request in asked)
    assert not any("\nCookie: " in each or "\nAuthorization: " in each for each in asked)
    assert b"Debug logs enabled" in output.out
    for secret in (TOKEN, NUMBER, MASK, TEXT):
        for form in forms(secret):
            assert form not in output.unasked


def test_a_proxy_learns_the_host_alone(tmp_path: Path) -> None:
    asked: list[str] = []
    with answering([], asked) as url:
        output = run(tmp_path, "check", CONFIG, HTTPS_PROXY=url, ALL_PROXY=url)
    failure_type, message = output.failure
    assert failure_type == "transient_error"
    assert message.startswith("The proxy in front of api.calltouch.ru does not let")
    assert asked
    assert all(request.startswith("CONNECT api.calltouch.ru:443 ") for request in asked)
    assert TOKEN not in "".join(asked)
