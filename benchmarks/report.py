"""The findings as tables and sentences: for the terminal, and for `docs/performance.md`."""

import os
import platform
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

from benchmarks.commands import (
    CONNECTORS,
    FLOOR,
    IMAGE_ENV,
    MANIFEST,
    OURS,
    PAGE_SIZE,
    TUTORIAL,
    Connector,
)
from benchmarks.hard_servers import FULL_RATE, IN_A_ROW
from benchmarks.hard_servers import ROUNDS as SLOW_ROUNDS
from benchmarks.measurements import CEILING, ROUNDS, Findings, Result
from benchmarks.targets import MEGABYTE, targets

ORDERS = {"ascending": "by time", "mixed": "none"}
PAGE = """# Performance

{machine}

{tables}
![SMS a second by latency]({plot})

## What limits each

{limits}

## How it is measured

`make bench` runs all of it and writes this page. The server is the sandbox, a process of its own \
on the same machine: at a latency it lets in 5 requests a second, as the API does, and without one \
any number. Pages that it has rendered it serves again, {sandbox:.0f} a second to a client that \
does nothing with them.

Times are without the start-up, which is the same command on an empty range: {startup:.1f} s, most \
of it for loading the CDK. CPU is user and system time of the process with its threads, and memory \
the most that this process held at once, as the operating system counts them. Numbers side by side \
without latency are the best of {rounds} runs. The allocator is set as in the image: {allocator}.

Behind slow answers the latency varies by a third, and texts have 70 letters; seconds are from the \
first request to the end of the process, and the ideal is full pages at 5 a second, plus two \
latencies, of the first page and of the last one. Where SMS come in no order of time, equal ones \
come on two pages, and for each window the connector asks once more to tell how many they are, so \
the ideal has a third one. Each is the median of {slow_rounds} runs, whose latencies are drawn anew.

For memory, each text has so many Russian letters, escaped as PHP does it (`\\u0441`), so that a \
page has about 5, 12 and 55 MB; each number is a process of its own. The blocked destination takes \
nothing from the middle of the sync until the connector asks for nothing more.

A storm begins 5 s after the sync, whose pages are of 1,000 SMS. The full rate is back with the \
first of {in_a_row} requests in a row at {full_rate} a second or more.

- **{ours}** is the installed `source-calltouch-sms`.
- **{tutorial}** is `benchmarks/tutorial.py`: the CDK's `HttpStream`, a page at a time, without \
keys, time zones and completeness.
- **{manifest}** is `benchmarks/manifest.yaml`, run by `source-declarative-manifest`: as the \
Connector Builder makes it, incremental by `dateSent`, its records the same but for the key's hash.
- **{floor}** is `benchmarks/floor.py`: records of the same size that are ready, in the CDK.
"""


def tables(findings: Findings) -> str:
    """Return all tables, ratios first."""
    fast = findings.side_by_side[0.0]
    sections = {
        "Beside the others": _ratios(findings),
        f"Side by side: {fast[OURS].records:,} SMS": _side_by_side(findings),
        "Alone": _alone(findings),
        f"Behind slow answers: {findings.slow[0].records:,} SMS": _slow(findings),
        "Memory by the length of texts": _memory(findings),
        "Through a storm of 429": _storms(findings),
        "Promises": table(
            ("", "measured", ""),
            ((t.promise, t.number, "met" if t.met else "missed") for t in targets(findings)),
        ),
    }
    return "\n".join(f"## {title}\n\n{table}" for title, table in sections.items())


def page(findings: Findings, plot: str) -> str:
    """Return `docs/performance.md`."""
    return PAGE.format(
        machine=_machine(),
        tables=tables(findings),
        plot=plot,
        limits=_limits(findings),
        sandbox=findings.sandbox_rate,
        startup=findings.startup[OURS].seconds,
        rounds=ROUNDS,
        slow_rounds=SLOW_ROUNDS,
        allocator=", ".join(f"`{name}={value}`" for name, value in IMAGE_ENV.items()),
        in_a_row=IN_A_ROW,
        full_rate=FULL_RATE,
        ours=OURS.name,
        tutorial=TUTORIAL.name,
        manifest=MANIFEST.name,
        floor=FLOOR.name,
    )


def _ratios(findings: Findings) -> str:
    def row(connector: Connector) -> Sequence[str]:
        cells = [connector.name]
        fast = findings.side_by_side[0.0]
        cells.append(f"{fast[OURS].cpu_per_record / fast[connector].cpu_per_record:.2f}")
        for results in findings.side_by_side.values():
            theirs = results.get(connector)
            cells.append(f"{results[OURS].rate / theirs.rate:.1f}" if theirs else "")
        cells.append(f"{fast[OURS].memory / fast[connector].memory:.2f}")
        return cells

    titles = [f"SMS/s at {latency:g} s" for latency in findings.side_by_side]
    others = (TUTORIAL, MANIFEST, FLOOR)
    return table((f"{OURS.name} ÷", "CPU per SMS", *titles, "memory"), map(row, others))


def _side_by_side(findings: Findings) -> str:
    def row(connector: Connector) -> Sequence[str]:
        fast = findings.side_by_side[0.0][connector]
        results = [r.get(connector) for r in findings.side_by_side.values()]
        return [
            connector.name,
            f"{fast.cpu_per_record:.1f} µs",
            *(f"{result.rate:,.0f}" if result else "" for result in results),
            str(fast.requests),
            str(fast.points),
            str(sum(result.limited for result in results if result)),
            f"{fast.memory / MEGABYTE:.0f} MB",
        ]

    titles = [f"SMS/s at {latency:g} s" for latency in findings.side_by_side]
    return table(
        ("", "CPU per SMS", *titles, "requests", "points", "429s", "peak memory"),
        map(row, CONNECTORS),
    )


def _alone(findings: Findings) -> str:
    def row(what: str, result: Result) -> Sequence[str]:
        return [
            what,
            f"{result.records:,}",
            f"{result.seconds:.1f}",
            f"{result.rate:,.0f}",
            str(result.requests),
            str(result.points),
            str(result.limited),
            f"{result.memory / MEGABYTE:.0f} MB",
        ]

    together = findings.together
    return table(
        ("", "SMS", "seconds", "SMS/s", "requests", "points", "429s", "peak memory"),
        [
            row("without latency", findings.less),
            row("without latency", findings.more),
            row("three years, spread evenly", findings.even),
            row("three years, nine tenths in one month", findings.late),
            row("three years, few", findings.uncut),
            [
                "two syncs at once, 0.3 s latency, 5 requests a second",
                f"{together.records:,}",
                f"{together.seconds:.1f}, of which the limit {together.ideal_seconds:.1f}",
                f"{together.records / together.seconds:,.0f}",
                str(together.requests),
                str(2 * together.requests),
                str(together.limited),
                "",
            ],
        ],
    )


def _slow(findings: Findings) -> str:
    titles = ("latency", "order of SMS", "seconds", "ideal", "speed of the ideal", "requests")
    return table(
        (*titles, "429s"),
        (
            [
                f"{slow.latency:g} s",
                ORDERS[slow.order],
                f"{slow.seconds:.1f}",
                f"{slow.ideal_seconds:.1f}",
                f"{slow.share:.0%}",
                str(slow.requests),
                str(slow.limited),
            ]
            for slow in findings.slow
        ),
    )


def _memory(findings: Findings) -> str:
    return table(
        ("letters", "answers", "without latency", "6 s latency", "blocked destination"),
        (
            [
                f"{m.text_length:,}",
                "compressed" if m.compressed else "plain",
                *(f"{b / MEGABYTE:.0f} MB" for b in (m.at_once, m.behind_latency, m.blocked)),
            ]
            for m in findings.memory
        ),
    )


def _storms(findings: Findings) -> str:
    titles = ("lasts", "requests while it lasts", "first page after it", "full rate after it")
    return table(
        titles,
        (
            [f"{s.seconds} s", str(s.requests), f"{s.goes_on:.1f} s", f"{s.full_rate:.1f} s"]
            for s in findings.storms
        ),
    )


def _limits(findings: Findings) -> str:
    """Say what bounds each, from its numbers alone."""
    fast = findings.side_by_side[0.0]

    def core(connector: Connector) -> float:
        return 1_000_000 / fast[connector].cpu_per_record

    def at_a_second(connector: Connector) -> str:
        # A page's latency and the work on it follow one another.
        rate = PAGE_SIZE / (1 + PAGE_SIZE / core(connector))
        return (
            f"One core does {core(connector):,.0f} SMS/s, and nothing while a request is under "
            f"way: at 1 s latency that makes {rate:,.0f} SMS/s."
        )

    limit = "the API's limit" if core(OURS) >= CEILING else "the CPU"
    lines = {
        OURS: f"One core does {core(OURS):,.0f} SMS/s while requests are under way, and the API "
        f"lets {CEILING:,} SMS/s in: a long sync is bound by {limit}, a short one also by the "
        "latency of its first and last requests. The floor takes "
        f"{fast[FLOOR].cpu_per_record / fast[OURS].cpu_per_record:.0%} of the CPU that it does.",
        TUTORIAL: at_a_second(TUTORIAL),
        MANIFEST: at_a_second(MANIFEST),
        FLOOR: f"The CPU: {core(FLOOR):,.0f} SMS/s a core, for the CDK's loops and the output.",
    }
    return "\n".join(f"- **{connector.name}**: {text}" for connector, text in lines.items())


def _machine() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1000**3
    return (
        f"Measured on {datetime.now(tz=timezone.utc):%Y-%m-%d}: "
        f"{models[0] if models else platform.machine()}, {os.cpu_count()} cores, "
        f"{memory:.0f} GB of memory; Python {platform.python_version()}, "
        f"airbyte-cdk {version('airbyte-cdk')}."
    )


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table, its columns as wide as their cells."""
    cells = [titles, *rows]
    widths = [max(3, *map(len, column)) for column in zip(*cells, strict=True)]

    def line(row: Sequence[str]) -> str:
        first, *rest = (
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        return f"| {' | '.join([first, *rest])} |\n"

    ruler = [
        "-" * width if not column else "-" * (width - 1) + ":"
        for column, width in enumerate(widths)
    ]
    return "".join(map(line, [titles, ruler, *cells[1:]]))
