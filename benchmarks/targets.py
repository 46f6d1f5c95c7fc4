"""What the connector promises, held against what was measured."""

from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.commands import MANIFEST, OURS, PAGE_SIZE, TUTORIAL
from benchmarks.hard_servers import Slow, Storm
from benchmarks.measurements import Findings, Result

MEGABYTE = 1_000_000
LEAST_SHARES = {1.0: 0.75, 3.0: 0.75, 6.0: 0.65}
"""Of the ideal speed, by latency."""
MOST_MEGABYTES = {70: 220, 200: 280, 1_000: 450}
"""Without latency, by the length of the texts."""
MOST_MEGABYTES_EVER = 500


@dataclass(frozen=True)
class Target:
    """A promise, the number that keeps or breaks it, and whether it is kept."""

    promise: str
    number: str
    met: bool


def targets(findings: Findings) -> list[Target]:
    """Hold every promise against its number."""
    return [
        *_side_by_side(findings),
        *(_share(slow) for slow in findings.slow),
        *_memory(findings),
        *(target for storm in findings.storms for target in _storm(storm)),
        *_requests(findings),
    ]


def _side_by_side(findings: Findings) -> Iterator[Target]:
    fast = findings.side_by_side[0.0]
    cpu = fast[OURS].cpu_per_record
    headroom = findings.sandbox_rate / max(r.requests / r.seconds for r in fast.values())
    yield _most("CPU per SMS, times the tutorial's", cpu / fast[TUTORIAL].cpu_per_record, 1.05)
    yield _most("CPU per SMS, times the manifest's", cpu / fast[MANIFEST].cpu_per_record, 0.2)
    yield _least("Pages the sandbox serves, times what the fastest takes", headroom, 2)


def _share(slow: Slow) -> Target:
    order = "" if slow.order == "ascending" else ", SMS in no order of time"
    promise = f"Speed at {slow.latency:g} s latency{order}, of the ideal"
    return _least(promise, slow.share, LEAST_SHARES[slow.latency])


def _memory(findings: Findings) -> Iterator[Target]:
    memory = findings.memory
    for length, megabytes in MOST_MEGABYTES.items():
        most = max(m.at_once for m in memory if m.text_length == length)
        yield _most(f"Memory with texts of {length:,} letters, MB", most / MEGABYTE, megabytes)
    latency = max(m.behind_latency for m in memory)
    yield _most("Memory at 6 s latency, MB", latency / MEGABYTE, MOST_MEGABYTES_EVER)
    blocked = max(m.blocked for m in memory)
    yield _most("Memory before a blocked destination, MB", blocked / MEGABYTE, MOST_MEGABYTES_EVER)
    less, more = findings.less, findings.more
    promise = f"Memory for {more.records:,} SMS, times that for {less.records:,}"
    yield _most(promise, more.memory / less.memory, 1.1)


def _storm(storm: Storm) -> Iterator[Target]:
    after = f"Seconds after {storm.seconds} s of 429"
    yield _most(f"{after} to the first page", storm.goes_on, 15)
    yield _most(f"{after} to the full rate", storm.full_rate, 30)


def _requests(findings: Findings) -> Iterator[Target]:
    even, late, uncut = findings.even, findings.late, findings.uncut
    yield _most(f"Requests for {even.records:,} SMS spread evenly", even.requests, 30)
    yield _most("Requests with nine tenths in one month", late.requests, 45)
    pages = -(-uncut.records // PAGE_SIZE)
    promise = f"Requests for {uncut.records:,} SMS, equal ones on two pages among them"
    yield _most(promise, uncut.requests, pages + 1)
    yield _most("Requests of `check`", findings.check_requests, 1)
    slow = [results[OURS] for latency, results in findings.side_by_side.items() if latency]
    alone: list[Slow | Result] = [*findings.slow, *slow]
    requests = sum(result.requests for result in alone)
    limited = sum(result.limited for result in alone)
    yield _most(f"Answers 429 to one sync, of {requests} requests", limited, requests / 1000)
    together = findings.together.seconds / findings.together.ideal_seconds
    yield _most("Two syncs at once, times the limit's ideal time", together, 2)


def _most(promise: str, number: float, limit: float) -> Target:
    return Target(f"{promise}: at most {limit:g}", _short(number), number <= limit)


def _least(promise: str, number: float, limit: float) -> Target:
    return Target(f"{promise}: at least {limit:g}", _short(number), number >= limit)


def _short(number: float) -> str:
    return f"{number:.0f}" if number == int(number) or number >= 100 else f"{number:.2f}"
