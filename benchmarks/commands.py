"""The connectors and their server as commands, and what one run of a connector takes."""

import json
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox.process import Sandbox, running

RATE = 5
PAGE_SIZE = 10_000
ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = Path(sysconfig.get_path("scripts"))
SCHEMA = ROOT / "source_calltouch_sms" / "schemas" / "sms_messages.json"
IMAGE_ENV = dict(re.findall(r"(MALLOC_\w+)=(\S+)", (ROOT / "Dockerfile").read_text("utf-8")))
"""What the image sets for the allocator; here for every connector."""
RECORD = b'{"type":"RECORD"'
CHUNK_BYTES = 1 << 16
"""What a pipe holds. Larger ones would make this process grow, and with it all that it starts."""
TAIL_BYTES = 1 << 12
MAXRSS_BYTES = 1 if sys.platform == "darwin" else 1024


@dataclass(frozen=True)
class Connector:
    """A way to read the SMS: its name in the tables, its command, and how it is synced."""

    name: str
    command: tuple[str, ...]
    options: tuple[str, ...] = ()
    sync_mode: str = "full_refresh"


OURS = Connector(
    "this connector", (str(SCRIPTS / "source-calltouch-sms"),), sync_mode="incremental"
)
TUTORIAL = Connector("tutorial's connector", (sys.executable, "-m", "benchmarks.tutorial"))
MANIFEST = Connector(
    "low-code manifest",
    (str(SCRIPTS / "source-declarative-manifest"),),
    ("--manifest-path", str(ROOT / "benchmarks" / "manifest.yaml")),
    sync_mode="incremental",
)
FLOOR = Connector("framework's floor", (sys.executable, "-m", "benchmarks.floor"))
CONNECTORS = (OURS, TUTORIAL, MANIFEST, FLOOR)


@dataclass(frozen=True)
class Usage:
    """What a process wrote, and what it took, as the operating system counts it."""

    records: int
    seconds: float
    cpu: float
    """Seconds of user and system time, of all threads."""
    memory: int
    """The most bytes it held at once."""


@contextmanager
def server(sms: int, latency: float = 0.0, *options: str) -> Iterator[Sandbox]:
    """Run a sandbox: with a latency as strict as the API, without one as fast as it can."""
    rate = RATE if latency else 0
    print(f"{time.strftime('%H:%M:%S')} {sms:,} SMS, {latency:g} s latency", *options, flush=True)
    with running(
        "--sms", str(sms), "--latency", str(latency), "--rate", str(rate), *options
    ) as sandbox:
        yield sandbox


def check(connector: Connector, config: dict[str, Any]) -> Usage:
    """Run `check`."""
    return _run(connector, "check", {"config": config})


def read(
    connector: Connector,
    config: dict[str, Any],
    block: Callable[[], None] | None = None,
    block_after: int = 0,
) -> Usage:
    """Run `read`; after `block_after` records nothing is taken from it until `block` returns."""
    stream = {
        "name": "sms_messages",
        "json_schema": json.loads(SCHEMA.read_bytes()),
        "supported_sync_modes": ["full_refresh", "incremental"],
    }
    configured = {
        "stream": stream,
        "sync_mode": connector.sync_mode,
        "destination_sync_mode": "append",
    }
    files = {"config": config, "catalog": {"streams": [configured]}}
    return _run(connector, "read", files, block, block_after)


def _run(
    connector: Connector,
    verb: str,
    files: dict[str, Any],
    block: Callable[[], None] | None = None,
    block_after: int = 0,
) -> Usage:
    command = [*connector.command, verb, *connector.options]
    with tempfile.TemporaryDirectory() as directory:
        for name, content in files.items():
            path = Path(directory, f"{name}.json")
            path.write_text(json.dumps(content), encoding="utf-8")
            command += [f"--{name}", str(path)]
        started = time.perf_counter()
        with subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **IMAGE_ENV}, stdout=subprocess.PIPE
        ) as process:
            try:
                records, tail = _count_records(process, block, block_after)
                _, status, usage = os.wait4(process.pid, 0)
            except BaseException:
                process.kill()
                raise
            process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - started
    if process.returncode:
        raise RuntimeError(f"{connector.name} failed: {tail.decode(errors='replace')}")
    return Usage(
        records=records,
        seconds=seconds,
        cpu=usage.ru_utime + usage.ru_stime,
        memory=usage.ru_maxrss * MAXRSS_BYTES,
    )


def _count_records(
    process: "subprocess.Popen[bytes]", block: Callable[[], None] | None, block_after: int
) -> tuple[int, bytes]:
    """Read all that the process writes; return how many records it was, and its end."""
    assert process.stdout is not None
    records, tail = 0, b""
    while chunk := os.read(process.stdout.fileno(), CHUNK_BYTES):
        # The mark may lie across two chunks: the last one's end comes along, too short to hold it.
        records += (tail[-(len(RECORD) - 1) :] + chunk).count(RECORD)
        tail = chunk[-TAIL_BYTES:]
        if block and records > block_after:
            block()
            block = None
    return records, tail
