"""What slows a sync down, holds it up or ends it: 429, neighbours, clocks, SIGTERM."""

import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from integration_tests import commands
from integration_tests.commands import Output, assert_whole, identities, out, run, start
from integration_tests.platform_rules import judge
from sandbox.process import Sandbox, running

STORM_SECONDS = float(os.environ.get("STORM_SECONDS", "9"))
"""Long enough for the rate to fall to the slowest; minutes are to show the same."""
NEIGHBOUR_SECONDS = 8
SLEEP = str(Path(__file__).with_name("faketime"))
NEAR_FULL_RATE = 13
"""Requests in three seconds, of the 14 that the connector makes at most."""


@pytest.fixture(scope="module")
def calltouch() -> Iterator[Sandbox]:
    """Run a sandbox whose pages are more than a pipe and the CDK's buffer take."""
    with running("--sms", "25000") as sandbox:
        yield sandbox


def until_record(process: "subprocess.Popen[bytes]") -> bytes:
    """Return what a sync writes up to its first record."""
    written = b""
    for line in process.stdout or ():
        written += line
        if line.startswith(b'{"type":"RECORD"'):
            break
    return written


def rest_of(process: "subprocess.Popen[bytes]", written: bytes, sandbox: Sandbox) -> Output:
    """Read a sync to its end."""
    assert process.stdout
    assert process.stderr
    written += process.stdout.read()
    output = Output("read", written, process.stderr.read(), process.wait(), sandbox.config())
    judge(output)
    return output


@pytest.mark.timeout(STORM_SECONDS + 240)
def test_after_a_storm_of_429_the_sync_goes_on_and_is_soon_as_fast_as_before(
    tmp_path: Path,
) -> None:
    with running("--sms", "7500", "--page-size", "100", "--rate", "0") as sandbox:
        with start(tmp_path, "read", sandbox.config()) as process:
            written = until_record(process)
            sandbox.reset_stats()
            sandbox.set_faults([{"kind": "429", "after": 0, "for": STORM_SECONDS}])
            output = rest_of(process, written, sandbox)
        assert_whole(output, sandbox.sms())
        calls = sandbox.stats()["calls"]
    limited = [moment for moment, status in calls if status == 429]
    after = [moment for moment, status in calls if status == 200 and moment > limited[0]]
    assert STORM_SECONDS * 0.35 <= len(limited) <= STORM_SECONDS * 0.5 + 10
    assert after[0] < STORM_SECONDS + 15
    fast = [m for m in after if len([n for n in after if m <= n < m + 3]) >= NEAR_FULL_RATE]
    assert fast
    assert fast[0] < STORM_SECONDS + 30
    assert 1 <= output.logs.count("Slowing down") <= STORM_SECONDS / 15 + 1
    assert output.out.count(b"RATE_LIMITED") == 1


def test_a_wait_longer_than_a_request_is_tried_for_is_not_begun(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    sandbox.set_faults([{"kind": "429-retry-after", "seconds": 3600, "from": 2}])
    (error,) = run(tmp_path, "read", sandbox.config()).errors
    assert error["failure_type"] == "transient_error"
    assert "daily API points are used up" in error["message"]


@pytest.mark.parametrize("told", ["seconds", "a date, by a clock an hour ahead"])
def test_retry_after_is_kept_by_all_requests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: str
) -> None:
    limited = {"kind": "429-retry-after", "seconds": 3, "date": told != "seconds", "at": 4}
    if limited["date"]:
        fake_clock(monkeypatch, FAKETIME="+3600")
    with running("--sms", "400", "--page-size", "100", "--rate", "0") as sandbox:
        monkeypatch.undo()
        sandbox.set_faults([limited, {"kind": "slow", "seconds": 1, "from": 1}])
        assert_whole(run(tmp_path, "read", sandbox.config()), sandbox.sms())
        calls = sandbox.stats()["calls"]
    (refused,) = [moment for moment, status in calls if status == 429]
    assert [m for m, _ in calls if refused - 1 < m < refused], "others were under way"
    # One may have passed the gate while the 429 was on its way. A date has whole seconds.
    later = [moment for moment, _ in calls if moment > refused + 0.3]
    assert refused + 1.9 < later[0] < refused + 5


def test_beside_a_neighbour_of_20_requests_a_second_neither_starves(tmp_path: Path) -> None:
    began = time.monotonic()
    with running("--sms", "100") as sandbox, neighbour(sandbox) as statuses:
        assert_whole(run(tmp_path, "read", sandbox.config()), sandbox.sms())
    assert time.monotonic() - began < NEIGHBOUR_SECONDS + 15 + 5
    assert statuses.count(429) > statuses.count(200) > len(statuses) / 20 * 5 * 0.7


@contextmanager
def neighbour(sandbox: Sandbox) -> Iterator[list[int]]:
    """Have another program behind the same address send 20 requests a second, whatever it gets.

    For a while: from so greedy a one a request gets through every quarter of a minute or so.
    """
    statuses: list[int] = []
    stop = threading.Event()

    def send() -> None:
        body = {"dateFrom": "01-01-2024 00:00:00", "dateTo": "01-01-2024 00:00:00"}
        headers = {"Access-Token": sandbox.token, "SiteId": sandbox.site_id}
        with requests.Session() as session:
            while not stop.wait(1 / 20) and len(statuses) < 20 * NEIGHBOUR_SECONDS:
                answer = session.post(sandbox.url, json=body, headers=headers, timeout=10)
                statuses.append(answer.status_code)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield statuses
    finally:
        stop.set()
        thread.join()


def test_a_clock_that_is_set_in_mid_sync_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = tmp_path / "clock"
    clock.write_text("+0")
    steps = {100: "-3600", 400: "+86400"}
    with running("--sms", "700", "--page-size", "100", "--rate", "0") as sandbox:
        plan = [{"kind": kind, "at": call} for call, kind in ((3, "429"), (4, "503"), (8, "503"))]
        sandbox.set_faults(plan)
        fake_clock(monkeypatch, FAKETIME_TIMESTAMP_FILE=str(clock))
        written, records = b"", 0
        with start(tmp_path, "read", sandbox.config()) as process:
            assert process.stdout
            for line in process.stdout:
                written += line
                records += line.startswith(b'{"type":"RECORD"')
                if records in steps:
                    clock.write_text(steps.pop(records))
        monkeypatch.undo()
        assert_whole(Output("read", written, b"", process.returncode), sandbox.sms())
        moments = [moment for moment, _ in sandbox.stats()["calls"]]
    assert not steps
    seconds = moments[-1] - moments[0]
    assert (len(moments) - 1) / 5 < seconds < (len(moments) - 1) / 5 + 15


def fake_clock(monkeypatch: pytest.MonkeyPatch, **faketime: str) -> None:
    """Give the processes to come another wall clock; the monotonic one stays."""
    if not shutil.which("faketime"):
        pytest.skip("faketime, a package of Debian, is not installed")
    library = out("faketime", "-m", "-f", "+0", "printenv", "LD_PRELOAD").strip()
    settings = {"FAKETIME_DONT_FAKE_MONOTONIC": "1", "FAKETIME_NO_CACHE": "1", **faketime}
    for name, value in {"LD_PRELOAD": library, "PYTHONPATH": SLEEP, **settings}.items():
        monkeypatch.setenv(name, value)


def test_what_failed_or_came_damaged_while_the_destination_blocked_is_asked_for_again(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    plan = [{"kind": "damaged", "at": 2}, {"kind": "token-revoked", "at": 3}]
    assert_whole(read_late(sandbox, tmp_path, plan), sandbox.sms())


def test_a_page_that_was_outdated_when_the_destination_read_on_loses_nothing(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    output = read_late(sandbox, tmp_path, [{"kind": "gone-rows", "at": 3}])
    assert output.code == 0
    assert identities(output.records) >= identities(sandbox.sms())
    assert len({record["smsKey"] for record in output.records}) == len(output.records)


def read_late(sandbox: Sandbox, folder: Path, plan: list[dict[str, Any]]) -> Output:
    """Sync into a destination that reads on only when all faults of the plan have happened."""
    sandbox.set_faults(plan)
    with start(folder, "read", sandbox.config()) as process:
        written = until_record(process)
        while sandbox.stats()["faulted"] < len(plan):
            time.sleep(0.05)
        return rest_of(process, written, sandbox)


@pytest.mark.parametrize(
    ("place", "destination", "stop", "code"),
    [
        ("a process", "reads on", "SIGTERM", -15),
        ("a process", "reads on", "SIGHUP", -1),
        ("a process", "blocks", "SIGTERM", -15),
        ("a process", "blocks", "SIGINT", -2),
        ("process 1", "reads on", "SIGTERM", 143),
    ],
)
@pytest.mark.usefixtures("heeded_signals")
def test_a_signal_ends_a_sync_in_seconds_and_between_two_lines(
    sandbox: Sandbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    destination: str,
    stop: str,
    code: int,
) -> None:
    if place == "process 1":
        namespace = ["unshare", *([] if os.getuid() == 0 else ["--user", "--map-root-user"])]
        namespace += ["--pid", "--fork", "--kill-child"]
        if subprocess.run([*namespace, "true"], capture_output=True, check=False).returncode:
            pytest.skip("no process 1 can be made here")
        monkeypatch.setattr(commands, "COMMAND", [*namespace, *commands.COMMAND])
    with start(tmp_path, "read", sandbox.config()) as process:
        assert process.stdout
        written = until_record(process)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(children[0]) if children else process.pid, getattr(signal, stop))
        if destination == "blocks":
            process.wait(timeout=20)
        written += process.stdout.read()
        process.wait(timeout=20)
    assert process.returncode == code
    whole, _, rest = written.rpartition(b"\n")
    assert not rest or destination == "blocks"
    records = [line for line in whole.splitlines() if json.loads(line)["type"] == "RECORD"]
    assert len(set(records)) == len(records)


def test_a_firewall_and_words_that_are_not_documented_pass_and_no_page_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOG_LEVEL", "debug")
    kinds = ["firewall", "other-words", "page-under-status"]
    plan = [{"kind": kind, "at": call} for call, kind in enumerate(kinds, 1)]
    with running("--sms", "1250", "--page-size", "500", "--raw-breaks") as sandbox:
        sandbox.set_faults(plan)
        output = run(tmp_path, "read", sandbox.config())  # which looks for texts in the log
        assert_whole(output, sandbox.sms())
        assert sandbox.stats()["faulted"] == len(plan)
    assert "A firewall in front of Calltouch refused the request (HTTP 403). Try" in output.logs
    assert (
        "(HTTP 200). Trying again. Calltouch's answer: «Отчет формируется, повторите запрос позже»"
        in output.logs
    )
