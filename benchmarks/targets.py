"""What the connector promises, held against what was measured."""

from dataclasses import dataclass

from benchmarks.commands import MANIFEST, OURS, TUTORIAL
from benchmarks.measurements import CEILING, Findings

MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Target:
    """A promise, the number that keeps or breaks it, and whether it is kept."""

    promise: str
    number: str
    met: bool


def targets(findings: Findings) -> list[Target]:
    """Hold every promise against its number."""
    fast = findings.side_by_side[0.0]
    cpu = fast[OURS].cpu_per_record
    to_tutorial = cpu / fast[TUTORIAL].cpu_per_record
    to_manifest = cpu / fast[MANIFEST].cpu_per_record
    growth = findings.more.memory / findings.less.memory
    at_the_limit = findings.at_the_limit.rate / CEILING
    alone = [findings.at_the_limit, *(r[OURS] for x, r in findings.side_by_side.items() if x)]
    limited, calls = sum(r.limited for r in alone), sum(r.calls for r in alone)
    pages = -(-findings.uncut.records // 10_000)
    together = findings.together.seconds / findings.together.ideal_seconds
    headroom = findings.sandbox_rate / max(r.calls / r.seconds for r in fast.values())
    return [
        _most("CPU per SMS, times the tutorial's", to_tutorial, 1.2),
        _most("CPU per SMS, times the manifest's", to_manifest, 0.2),
        _least("Rate at 1 s latency, of the ceiling", at_the_limit, 0.9),
        _most(
            f"Memory for {findings.more.records:,} SMS, times that for {findings.less.records:,}",
            growth,
            1.1,
        ),
        _most("Memory, MB", findings.more.memory / MEGABYTE, 250),
        _most(f"Calls for {findings.even.records:,} SMS spread evenly", findings.even.calls, 30),
        _most("Calls with nine tenths in one month", findings.late.calls, 45),
        _most(f"Calls for {findings.uncut.records:,} SMS", findings.uncut.calls, pages),
        _most("Calls of `check`", findings.check_calls, 1),
        _most(f"Answers 429 to one sync, of {calls} calls", limited, calls / 1000),
        _most("Two syncs at once, times the limit's ideal time", together, 2),
        _least("Pages the sandbox serves, times what the fastest takes", headroom, 2),
    ]


def _most(promise: str, number: float, limit: float) -> Target:
    return Target(f"{promise}: at most {limit:g}", _short(number), number <= limit)


def _least(promise: str, number: float, limit: float) -> Target:
    return Target(f"{promise}: at least {limit:g}", _short(number), number >= limit)


def _short(number: float) -> str:
    return f"{number:.0f}" if number == int(number) or number >= 100 else f"{number:.2f}"
