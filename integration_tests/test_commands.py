"""`spec`, `check`, `discover` and `read`, as processes against the sandbox."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pendulum
import pytest

from integration_tests.commands import COMMAND, ROOT, assert_whole, run, start, up_to
from integration_tests.platform_rules import judged
from sandbox.process import Sandbox, running


@pytest.fixture(scope="module")
def calltouch() -> Iterator[Sandbox]:
    """Run a sandbox with the page's own number of SMS."""
    with running("--sms", "25352", "--raw-breaks") as sandbox:
        yield sandbox


# Tells of each file that is opened to be written.
WATCHED = """
import os, sys, tempfile
tempfile.tempdir = os.environ["TMPDIR"]  # or the library tries a file there first

def watch(event, arguments):
    if event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_ACCMODE:
        os.write(2, f"writes {arguments[0]!r}\\n".encode())

sys.addaudithook(watch)
"""
WITHOUT_SIGNALS = """
import signal
del signal.pthread_sigmask, signal.sigwait
sys.modules["resource"] = None
"""
RUN = """
from source_calltouch_sms.run import run
run()
"""


def script(*parts: str) -> dict[str, Any]:
    """Return how the connector is started by a script."""
    return {"program": [sys.executable, "-B", "-c", "".join(parts)], "PYTHONPATH": str(ROOT)}


def test_each_command_speaks_utf_8_writes_no_file_and_needs_no_posix_signals(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    windows = script(WATCHED, WITHOUT_SIGNALS, RUN) | {"PYTHONIOENCODING": "utf-16"}
    how = windows | {"TMPDIR": str(folder)}
    recent = sandbox.config(start_date=pendulum.yesterday("Europe/Moscow").to_date_string())
    spec = run(tmp_path, "spec", **how)
    check = run(tmp_path, "check", sandbox.config(access_token="wrong"), **how)
    sandbox.reset_stats()
    discover = run(tmp_path, "discover", recent, **how)
    assert sandbox.stats()["calls"] == []
    read = run(tmp_path, "read", recent, **how)
    for output in (spec, check, discover, read):
        assert (output.code, output.err) == (0, b"")
        assert re.search("[а-я]", output.out.decode())
    assert list(folder.iterdir()) == []
    (stream,) = discover.of("CATALOG")[0]["streams"]
    validator = jsonschema.Draft7Validator(stream["json_schema"])
    assert read.records
    for record in read.records:
        validator.validate(record)


@pytest.mark.parametrize(
    "locale",
    [
        {"PYTHONIOENCODING": "cp1251"},
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    ],
    ids=["cp1251", "ASCII"],
)
def test_messages_are_utf_8_in_any_locale(tmp_path: Path, locale: dict[str, Any]) -> None:
    assert re.search("[а-я]", run(tmp_path, "spec", **locale).out.decode())


def test_a_full_refresh_brings_each_sms_once_and_says_so(sandbox: Sandbox, tmp_path: Path) -> None:
    output = run(tmp_path, "read", sandbox.config(), catalog="full_refresh_catalog.json")
    assert_whole(output, sandbox.sms())
    stats = sandbox.stats()
    # Two more than pages: identical SMS on two pages are asked for, then the total once more.
    assert (stats["served"], stats["points"], stats["limited"]) == (5, 10, 0)
    pages = [body.get("pageOfResult") for body in stats["bodies"] if "phoneNumbers" not in body]
    assert pages[0] is None
    assert sorted(pages[1:]) == [2, 3, 3]
    assert ": 25352 SMS emitted" in output.logs
    assert "25352 SMS in 1 windows; 5 API requests, 0 of them answered 429, 10 API" in output.logs


def test_two_syncs_behind_one_address_share_its_limit(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folders = [tmp_path_factory.mktemp("sync") for _ in range(2)]
    with running("--sms", "5000", "--page-size", "500") as sandbox:
        syncs = [start(folder, "read", sandbox.config()) for folder in folders]
        written = [sync.communicate()[0] for sync in syncs]
        assert [sync.returncode for sync in syncs] == [0, 0]
        assert [out.count(b'{"type":"RECORD"') for out in written] == [5_000, 5_000]
        # 10 pages each; of such small ones twins cost as many.
        assert sandbox.stats()["served"] <= 50


def test_a_wait_because_of_429_is_told_once_and_before_it_is_over(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    sandbox.set_faults([{"kind": "429", "from": 2}])
    with start(tmp_path, "read", sandbox.config()) as process:
        assert process.stdout
        written = up_to(process, b"RATE_LIMITED")
        sandbox.set_faults([{"kind": "429", "from": 1, "times": 3}])
        written += process.stdout.read()
    output = judged("read", written, b"", process.returncode, sandbox.config())
    assert_whole(output, sandbox.sms())
    assert output.out.count(b"RATE_LIMITED") == 1
    assert output.logs.count("Slowing down") >= 1
    limited = [status for _, status in sandbox.stats()["calls"] if status == 429]
    assert f"{len(limited)} of them answered 429" in output.logs
    assert len(limited) > 3


SET = """
import itertools, time
clock, steps = time.time, itertools.cycle([0, -3600, 86400])
time.time = lambda: clock() + next(steps)
"""


def test_a_clock_that_is_set_in_mid_sync_changes_nothing(sandbox: Sandbox, tmp_path: Path) -> None:
    date = {"kind": "503-retry-after", "seconds": 1, "date": True, "at": 2}
    sandbox.set_faults([date, {"kind": "503", "at": 4}])
    assert_whole(run(tmp_path, "read", sandbox.config(), **script(SET, RUN)), sandbox.sms())


def test_a_failing_stdout_is_told_on_stderr_in_one_line_that_repeats_no_message() -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([*COMMAND, "spec"], stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.stderr == b"Messages cannot be written to stdout: No space left on device.\n"
    assert done.returncode > 0
