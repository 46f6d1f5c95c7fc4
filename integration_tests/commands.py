"""Runs the connector's commands as processes, and reads what they say."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from integration_tests.platform_rules import Said, judge

ROOT = Path(__file__).resolve().parents[1]
COMMAND = [sys.executable, str(ROOT / "main.py")]
TIMEOUT = 240  # seconds

Sms = Mapping[str, Any]
Plan = list[dict[str, Any]]  # of faults, as the sandbox takes it


def catalog(sync_mode: str) -> dict[str, Any]:
    """Return the configured catalog of `integration_tests` for a sync mode."""
    name = "configured_catalog.json" if sync_mode == "incremental" else "full_refresh_catalog.json"
    configured: dict[str, Any] = json.loads((ROOT / "integration_tests" / name).read_text())
    return configured


class Output(Said):
    """What a command said, as tests ask for it."""

    @property
    def written(self) -> bytes:
        """All that it wrote, for the search."""
        return self.out + self.err

    @property
    def records(self) -> list[dict[str, Any]]:
        """The records' data."""
        return [record["data"] for record in self.of("RECORD")]

    @property
    def states(self) -> list[dict[str, Any]]:
        """The states, as a state file holds them."""
        return self.of("STATE")

    @property
    def cursors(self) -> list[str | None]:
        """The states' `dateSent`."""
        return [s["stream"].get("stream_state", {}).get("dateSent") for s in self.states]

    @property
    def errors(self) -> list[dict[str, Any]]:
        """The TRACE errors."""
        return self.traces("ERROR")

    @property
    def statuses(self) -> list[str]:
        """The stream's statuses."""
        return [status["status"] for status in self.traces("STREAM_STATUS")]

    @property
    def logs(self) -> str:
        """The log, a message a line."""
        return "\n".join(log["message"] for log in self.of("LOG"))

    @property
    def status(self) -> tuple[str, str | None]:
        """What `check` found, and its sentence."""
        (found,) = self.of("CONNECTION_STATUS")
        return found["status"], found.get("message")


def start(
    folder: Path,
    command: str,
    config: Mapping[str, Any] | None = None,
    state: list[dict[str, Any]] | None = None,
    sync_mode: str = "incremental",
    *options: str,
) -> "subprocess.Popen[bytes]":
    """Start a command, its files in a folder."""
    files = {"config": config, "state": state}
    files["catalog"] = catalog(sync_mode) if command == "read" else None
    arguments = [command, *options]
    for name, content in files.items():
        if content is not None:
            path = folder / f"{name}.json"
            path.write_text(json.dumps(content))
            arguments += [f"--{name}", str(path)]
    environment = {k: v for k, v in os.environ.items() if "proxy" not in k.lower()}
    return subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def run(
    folder: Path, command: str, config: Mapping[str, Any] | None = None, *args: Any, **kwargs: Any
) -> Output:
    """Run a command to its end; what it says must keep to the platform's rules."""
    with start(folder, command, config, *args, **kwargs) as process:
        out, err = process.communicate(timeout=TIMEOUT)
    output = Output(command, out, err, process.returncode, config or {})
    judge(output)
    return output


def out(*command: str | Path, folder: Path | None = None) -> str:
    """Return what a command of any kind prints; a failure tells what it said."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command} exited {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def lines(process: "subprocess.Popen[bytes]") -> Iterator[dict[str, Any]]:
    """Yield a running command's messages as they come; a line that was cut off is none."""
    assert process.stdout
    for line in process.stdout:
        if line.endswith(b"\n"):
            yield json.loads(line)


def killed(
    folder: Path, config: Mapping[str, Any], count: int, state: list[dict[str, Any]] | None = None
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Kill a sync after so many records; return their data, and the states that came with them."""
    records: list[dict[str, Any]] = []
    states: list[dict[str, Any]] = []
    with start(folder, "read", config, state) as process:
        for message in lines(process):
            if message["type"] == "RECORD":
                records.append(message["record"]["data"])
            elif message["type"] == "STATE":
                states.append(message["state"])
            if len(records) == count:
                break
        process.kill()
    assert len(records) == count
    return records, states


def identities(account: Iterable[Sms]) -> Counter[tuple[Any, ...]]:
    """Count SMS, rows or records, by all that the API says of them but the status."""
    return Counter(
        (sms["phoneNumber"], _wall(sms["dateSent"]), sms["smsMessage"]) for sms in account
    )


def assert_account(
    before: Counter[tuple[Any, ...]], after: Iterable[Sms], records: Iterable[Sms]
) -> None:
    """Assert that a table by key holds what was there all the time, and nothing that never was."""
    stays = identities(after)
    found = identities({record["smsKey"]: record for record in records}.values())
    assert before & stays <= found <= before | stays


def assert_whole(output: Output, account: Iterable[Sms]) -> None:
    """Assert that a read succeeded, and brought each SMS of the account once, with its own key."""
    assert output.code == 0, output.logs
    assert identities(output.records) == identities(account)
    assert len({record["smsKey"] for record in output.records}) == len(output.records)


def _wall(moment: str) -> str:
    if "T" not in moment:
        return moment
    return datetime.fromisoformat(moment).strftime("%d-%m-%Y %H:%M:%S")
