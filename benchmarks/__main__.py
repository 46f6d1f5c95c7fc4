"""The command: `python -m benchmarks [TABLE ...]` measures, prints JSON, and saves it."""

import argparse
import json
import os
import platform
import re
import sys
import time
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import tables
from benchmarks.page import RESULTS, TABLES, connector_version, git, outdated


def main() -> None:
    """Measure the tables that are named or, if none is, those older than the connector."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=main.__doc__)
    parser.add_argument("tables", nargs="*", metavar="TABLE", choices=[[], *TABLES])
    about = "a twentieth of the SMS, to see that it works: the result is printed, not saved"
    parser.add_argument("--small", action="store_true", help=about)
    arguments = parser.parse_args()
    for table in arguments.tables or outdated():
        print(f"{table} …", file=sys.stderr)
        result = json.dumps(measured(table, 0.05 if arguments.small else 1), indent=1)
        print(result, flush=True)
        if not arguments.small:
            (RESULTS / f"{table}.json").write_text(f"{result}\n", encoding="utf-8")


def measured(table: str, size: float) -> dict[str, Any]:
    """Measure a table; say when, on what, and how long it took."""
    cpuinfo = Path("/proc/cpuinfo")
    cpu = re.search(r"model name\s*: (.*)", cpuinfo.read_text() if cpuinfo.exists() else "")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1000**3
    connector = connector_version()
    about = {
        "measured": f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC",
        "commit": git("rev-parse", "--short", "HEAD") + ("" if connector else " with changes"),
        "connector": connector,
        "machine": f"{cpu[1] if cpu else platform.machine()}, {os.cpu_count()} cores, "
        f"{memory:.0f} GB; Python {platform.python_version()}, "
        f"airbyte-cdk {version('airbyte-cdk')}",
    }
    began = time.monotonic()
    rows = getattr(tables, table)(size)
    return {**about, "seconds": round(time.monotonic() - began), "rows": rows}


if __name__ == "__main__":
    main()
