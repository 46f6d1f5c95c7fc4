"""Runs the connector's commands as processes, and reads what they say."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from integration_tests.platform_rules import Output, judged
from unit_tests.account import Identity, Row, identities

ROOT = Path(__file__).resolve().parents[1]
COMMAND = [sys.executable, str(ROOT / "main.py")]
TIMEOUT = 240  # seconds

Plan = list[dict[str, Any]]  # of faults, as the sandbox takes it


def start(
    folder: Path,
    command: str,
    config: Mapping[str, Any] | None = None,
    state: list[dict[str, Any]] | None = None,
    *options: str,
    catalog: str = "configured_catalog.json",
    program: Sequence[str] = COMMAND,
    **environment: str,
) -> "subprocess.Popen[bytes]":
    """Start a command, its files in a folder."""
    arguments = [command, *options]
    if command == "read":
        arguments += ["--catalog", str(ROOT / "integration_tests" / catalog)]
    for name, content in (("config", config), ("state", state)):
        if content:
            path = folder / f"{name}.json"
            path.write_text(json.dumps(content))
            arguments += [f"--{name}", str(path)]
    inherited = {k: v for k, v in os.environ.items() if "proxy" not in k.lower()}
    return subprocess.Popen(
        [*program, *arguments],
        cwd=folder,
        env=inherited | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def run(
    folder: Path, command: str, config: Mapping[str, Any] | None = None, *args: Any, **kwargs: Any
) -> Output:
    """Run a command to its end; what it says must keep to the platform's rules."""
    with start(folder, command, config, *args, **kwargs) as process:
        out, err = process.communicate(timeout=TIMEOUT)
    return judged(command, out, err, process.returncode, config or {})


def out(*command: str | Path, folder: Path | None = None) -> str:
    """Return what a command of any kind prints; a failure tells what it said."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command} exited {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def up_to(process: "subprocess.Popen[bytes]", words: bytes) -> bytes:
    """Return what a running command writes, up to a line with these words."""
    written = b""
    for line in process.stdout or ():
        written += line
        if words in line:
            break
    return written


def killed(
    folder: Path, config: Mapping[str, Any], count: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Kill a sync after so many records; return their data, and the states that came with them."""
    records: list[dict[str, Any]] = []
    states: list[dict[str, Any]] = []
    with start(folder, "read", config) as process:
        while len(records) < count and (line := process.stdout and process.stdout.readline()):
            message = json.loads(line)
            if message["type"] == "RECORD":
                records.append(message["record"]["data"])
            elif message["type"] == "STATE":
                states.append(message["state"])
        process.kill()
    assert len(records) == count
    return records, states


def assert_account(before: Counter[Identity], after: Iterable[Row], records: Iterable[Row]) -> None:
    """Assert that a table by key holds what was there all the time, and nothing that never was."""
    stays = identities(after)
    found = identities({record["smsKey"]: record for record in records}.values())
    assert before & stays <= found <= before | stays


def assert_whole(output: Output, account: Iterable[Row]) -> None:
    """Assert that a read succeeded, and brought each SMS of the account once, with its own key."""
    assert output.code == 0, output.logs
    assert identities(output.records) == identities(account)
    assert len({record["smsKey"] for record in output.records}) == len(output.records)
