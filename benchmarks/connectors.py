"""The connectors that are measured, the sandbox they read, and what a sync takes."""

import json
import math
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox.process import Sandbox, running

RATE = 5
ROOT = Path(__file__).resolve().parents[1]
_SCRIPTS = sysconfig.get_path("scripts")
_ALLOCATOR = dict(re.findall(r"(MALLOC_\w+)=(\S+)", (ROOT / "Dockerfile").read_text("utf-8")))
_RECORD = b'{"type":"RECORD"'
_PIPE_BYTES = 1 << 16
_STALL_SECONDS = 20


@dataclass(frozen=True)
class Connector:
    """A way to read the SMS: its name in the tables, its command, and how it is synced."""

    name: str
    command: str
    sync_mode: str = "full_refresh"


OURS = Connector("this connector", f"{_SCRIPTS}/source-calltouch-sms read", "incremental")
TUTORIAL = Connector("minimal CDK source", f"{sys.executable} -m benchmarks.tutorial read")
_MANIFEST = f"{_SCRIPTS}/source-declarative-manifest read --manifest-path benchmarks/manifest.yaml"
MANIFEST = Connector("low-code manifest", _MANIFEST, "incremental")


@dataclass(frozen=True)
class Usage:
    """What a sync wrote, and what it took, as the operating system counts it."""

    records: int
    cpu_seconds: float
    megabytes: int  # the most at once


@contextmanager
def account(sms: float, latency: float = 0, options: str = "") -> Iterator[Sandbox]:
    """Run a sandbox: with a latency as strict as the API, without one as fast as it can."""
    options = f"--sms {sms:.0f} --latency {latency} --rate {RATE if latency else 0} {options}"
    print(f"{time.strftime('%H:%M:%S')} {options}", file=sys.stderr)
    with running(*options.split()) as sandbox:
        yield sandbox


def timed(
    sandbox: Sandbox, connector: Connector = OURS, times: int = 1, state: Any = (), **config: Any
) -> tuple[list[Usage], float, dict[str, Any]]:
    """Sync so many times at once; return usages, seconds since the first request, and stats."""
    sandbox.reset_stats()
    began = time.perf_counter()
    with ThreadPoolExecutor() as pool:
        runs = [pool.submit(sync, connector, sandbox.config(**config), state) for _ in range(times)]
        usages = [each.result() for each in runs]
    seconds, stats = time.perf_counter() - began, sandbox.stats()
    return usages, seconds - stats["calls"][0][0], stats


def sync(
    connector: Connector, config: dict[str, Any], state: Any = (), stall_after: float = math.inf
) -> Usage:
    """Run a sync, from which nothing is taken for a while after so many records.

    Raises:
        RuntimeError: it failed.
    """
    mode = connector.sync_mode
    stream = {"name": "sms_messages", "json_schema": {}, "supported_sync_modes": [mode]}
    configured = {"stream": stream, "sync_mode": mode, "destination_sync_mode": "append"}
    files = {"config": config, "catalog": {"streams": [configured]}, "state": state}
    command, env = connector.command.split(), {**os.environ, **_ALLOCATOR}
    with tempfile.TemporaryDirectory() as directory:
        for name, content in files.items():
            path = Path(directory, f"{name}.json")
            path.write_text(json.dumps(content), encoding="utf-8")
            command += [f"--{name}", str(path)]
        with subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE) as process:
            assert process.stdout
            records, tail = 0, b""
            # Small pieces: a process begins with the peak memory of the one that starts it.
            while piece := os.read(process.stdout.fileno(), _PIPE_BYTES):
                # A record's beginning may lie across two pieces.
                records += (tail[1 - len(_RECORD) :] + piece).count(_RECORD)
                tail = piece
                if records > stall_after:
                    time.sleep(_STALL_SECONDS)
                    stall_after = math.inf
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{connector.name} failed: {tail[-4000:].decode(errors='replace')}")
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return Usage(records, usage.ru_utime + usage.ru_stime, round(peak / 1_000_000))
