"""How a sync ends, by itself or by a signal: soon, between two lines, and without a file."""

import json
import os
import resource
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration_tests.commands import COMMAND, TIMEOUT, start, up_to
from sandbox.process import Sandbox, running


@pytest.fixture(scope="module")
def calltouch() -> Iterator[Sandbox]:
    """Run a sandbox whose pages are more than a pipe and the CDK's buffer take, and come slowly."""
    with running("--sms", "25000", "--latency", "0.5") as sandbox:
        yield sandbox


@pytest.fixture
def stops() -> Iterator[list[signal.Signals]]:
    """Set these signals for children, and afterwards as they were."""
    stops = [signal.SIGHUP, signal.SIGINT]
    before = [signal.getsignal(stop) for stop in stops]
    yield stops
    for stop, handler in zip(stops, before, strict=True):
        signal.signal(stop, handler)


def until_requested(sandbox: Sandbox, count: int, process: "subprocess.Popen[bytes]") -> None:
    """Wait until so many requests have come, or the process has ended."""
    while len(sandbox.stats()["bodies"]) < count and process.poll() is None:
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("service", "destination", "stop", "code"),
    [
        ("answers", "reads on", "", 0),
        ("answers", "reads on", "SIGTERM", -15),
        ("answers", "reads on", "SIGKILL", -9),
        ("answers", "blocks", "SIGTERM", -15),
        ("answers", "blocks", "SIGINT", -2),
        ("answers process 1", "reads on", "SIGTERM", 143),
        ("is silent", "reads on", "SIGHUP", -1),
        ("is silent and revokes the token", "reads on", "", 1),
    ],
)
def test_an_end_is_soon_and_between_two_lines_and_leaves_no_file(
    sandbox: Sandbox,
    tmp_path: Path,
    stops: list[signal.Signals],
    service: str,
    destination: str,
    stop: str,
    code: int,
) -> None:
    for each in stops:  # a shell that runs the tests behind itself has them ignored
        signal.signal(each, signal.default_int_handler)
    namespace: list[str] = []
    if service == "answers process 1":
        namespace = ["unshare", *([] if os.getuid() == 0 else ["--user", "--map-root-user"])]
        namespace += ["--pid", "--fork", "--kill-child"]
        if subprocess.run([*namespace, "true"], capture_output=True, check=False).returncode:
            pytest.skip("no process 1 can be made here")
    plan = [{"kind": "silent", "at": 3}] if "silent" in service else []
    plan += [{"kind": "token-revoked", "at": 2}] if "revokes" in service else []
    sandbox.set_faults(plan)
    files = tmp_path / "temporary"
    files.mkdir()
    program = [*namespace, *COMMAND]
    with start(tmp_path, "read", sandbox.config(), program=program, TMPDIR=str(files)) as process:
        assert process.stdout
        assert process.stderr
        if plan:
            written = b""
            until_requested(sandbox, 3, process)
        else:
            written = up_to(process, b'"RECORD"')
        assert list(files.iterdir()) == []
        if stop:
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            pid = int(children[0]) if children else process.pid
            assert resource.prlimit(pid, resource.RLIMIT_CORE) == (0, 0), "a crash dumps no memory"
            os.kill(pid, getattr(signal, stop))
        if destination == "blocks":
            process.wait(TIMEOUT)
        written += process.stdout.read()
        assert process.stderr.read() == b""
        process.wait(TIMEOUT)
    assert process.returncode == code
    assert list(files.iterdir()) == []
    whole, _, rest = written.rpartition(b"\n")
    assert not rest or destination == "blocks" or stop == "SIGKILL"
    records = [line for line in whole.splitlines() if json.loads(line)["type"] == "RECORD"]
    assert len(set(records)) == len(records)


def test_signals_that_were_ignored_before_stay_so(
    sandbox: Sandbox, tmp_path: Path, stops: list[signal.Signals]
) -> None:
    for stop in stops:
        signal.signal(stop, signal.SIG_IGN)
    sandbox.set_faults([{"kind": "slow", "seconds": 2, "from": 1}])
    with start(tmp_path, "read", sandbox.config()) as process:
        until_requested(sandbox, 1, process)
        for stop in stops:
            process.send_signal(stop)
        process.communicate()
    assert process.returncode == 0
