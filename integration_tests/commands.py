"""Runs the connector's commands as processes, and reads what they say."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
COMMAND = [sys.executable, str(ROOT / "main.py")]
TIMEOUT = 240  # seconds

Sms = Mapping[str, Any]


def catalog(sync_mode: str) -> dict[str, Any]:
    """Return the configured catalog of `integration_tests` for a sync mode."""
    name = "configured_catalog.json" if sync_mode == "incremental" else "full_refresh_catalog.json"
    configured: dict[str, Any] = json.loads((ROOT / "integration_tests" / name).read_text())
    return configured


@dataclass(frozen=True)
class Output:
    """What a command left: its messages, its exit code, and all it wrote, for the search."""

    messages: list[dict[str, Any]]
    code: int
    written: bytes

    @property
    def records(self) -> list[dict[str, Any]]:
        """The records' data."""
        return [m["record"]["data"] for m in self.messages if m["type"] == "RECORD"]

    @property
    def states(self) -> list[dict[str, Any]]:
        """The states, as a state file holds them."""
        return [m["state"] for m in self.messages if m["type"] == "STATE"]

    @property
    def cursors(self) -> list[str | None]:
        """The states' `dateSent`."""
        return [s["stream"].get("stream_state", {}).get("dateSent") for s in self.states]

    @property
    def errors(self) -> list[dict[str, Any]]:
        """The TRACE errors of the stream."""
        traces = [m["trace"] for m in self.messages if m["type"] == "TRACE"]
        errors = [t["error"] for t in traces if t["type"] == "ERROR"]
        return [e for e in errors if not e["message"].startswith("During the sync")]

    @property
    def statuses(self) -> list[str]:
        """The stream's statuses."""
        traces = [m["trace"] for m in self.messages if m["type"] == "TRACE"]
        return [t["stream_status"]["status"] for t in traces if t["type"] == "STREAM_STATUS"]

    @property
    def logs(self) -> str:
        """The log, a message a line."""
        return "\n".join(m["log"]["message"] for m in self.messages if m["type"] == "LOG")

    @property
    def status(self) -> tuple[str, str | None]:
        """What `check` found, and its sentence."""
        (found,) = [
            m["connectionStatus"] for m in self.messages if m["type"] == "CONNECTION_STATUS"
        ]
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


def run(folder: Path, command: str, *args: Any, **kwargs: Any) -> Output:
    """Run a command to its end; on stdout must stand messages alone."""
    with start(folder, command, *args, **kwargs) as process:
        out, err = process.communicate(timeout=TIMEOUT)
    messages = [json.loads(line) for line in out.splitlines()]
    assert all("type" in message for message in messages)
    return Output(messages, process.returncode, out + err)


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


def identities(account: Iterable[Sms]) -> Counter[tuple[Any, ...]]:
    """Count SMS, rows or records, by all that the API says of them but the status."""
    return Counter(
        (sms["phoneNumber"], _wall(sms["dateSent"]), sms["smsMessage"]) for sms in account
    )


def _wall(moment: str) -> str:
    if "T" not in moment:
        return moment
    return datetime.fromisoformat(moment).strftime("%d-%m-%Y %H:%M:%S")
