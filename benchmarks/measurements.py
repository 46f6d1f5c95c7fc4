"""What is measured, against which server, in which order."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

import requests

from benchmarks import hard_servers
from benchmarks.commands import (
    CONNECTORS,
    OURS,
    PAGE_SIZE,
    RATE,
    TUTORIAL,
    Connector,
    Usage,
    check,
    read,
    server,
)
from benchmarks.hard_servers import Memory, Slow, Storm
from sandbox.process import Sandbox

CEILING = RATE * PAGE_SIZE
LATENCIES = (1.0,)
TOGETHER_LATENCY = 0.3
ROUNDS = 5
THREE_YEARS = ("--days", "1095")

Startup = dict[Connector, Usage]


@dataclass(frozen=True)
class Sizes:
    """How many SMS the accounts hold."""

    side_by_side: int
    less: int
    more: int
    cut: int
    uncut: int
    together: int
    slow: int
    memory: dict[int, int]
    """By the length of the texts."""
    storm: int


FULL = Sizes(
    side_by_side=200_000,  # in both ways to cut the range, the pages fit the sandbox's cache
    less=300_000,
    more=1_500_000,
    cut=250_000,
    uncut=100_000,
    together=300_000,
    slow=500_000,
    memory={70: 400_000, 200: 200_000, 1_000: 100_000},
    storm=200_000,
)
QUICK = Sizes(
    side_by_side=20_000,
    less=20_000,
    more=150_000,
    cut=120_000,
    uncut=20_000,
    together=20_000,
    slow=50_000,
    memory={70: 30_000, 200: 30_000, 1_000: 20_000},
    storm=60_000,
)


@dataclass(frozen=True)
class Result:
    """One sync. Times are without the start-up: what an empty range takes."""

    records: int
    seconds: float
    cpu: float
    memory: int
    requests: int
    points: int
    limited: int

    @property
    def rate(self) -> float:
        """SMS a second."""
        return self.records / self.seconds

    @property
    def cpu_per_record(self) -> float:
        """Microseconds."""
        return self.cpu / self.records * 1_000_000


@dataclass(frozen=True)
class Together:
    """Two syncs at once, taken as one."""

    records: int
    seconds: float
    """Until both were done, without a start-up."""
    requests: int
    limited: int

    @property
    def ideal_seconds(self) -> float:
        """How long the limit takes to let these requests in."""
        return self.requests / RATE


@dataclass(frozen=True)
class Findings:
    """All that was measured."""

    startup: dict[Connector, Usage]
    check_requests: int
    side_by_side: dict[float, dict[Connector, Result]]
    """By latency."""
    sandbox_rate: float
    """Pages a second that the sandbox serves to a client that does nothing with them."""
    less: Result
    more: Result
    even: Result
    late: Result
    uncut: Result
    together: Together
    slow: list[Slow]
    memory: list[Memory]
    storms: list[Storm]


def measure(sizes: Sizes) -> Findings:
    """Measure everything, one after the other."""
    startup = _startup()
    fast, sandbox_rate = _side_by_side(sizes.side_by_side, 0.0, startup)
    slow = {x: _side_by_side(sizes.side_by_side, x, startup)[0] for x in LATENCIES}
    return Findings(
        startup=startup,
        check_requests=_check_requests(),
        side_by_side={0.0: fast, **slow},
        sandbox_rate=sandbox_rate,
        less=_alone(startup, sizes.less),
        more=_alone(startup, sizes.more),
        even=_alone(startup, sizes.cut, 0.0, *THREE_YEARS),
        late=_alone(startup, sizes.cut, 0.0, *THREE_YEARS, "--shape", "late"),
        uncut=_alone(startup, sizes.uncut, 0.0, *THREE_YEARS),
        together=_together(startup, sizes.together),
        slow=hard_servers.slow(sizes.slow),
        memory=hard_servers.memory(sizes.memory),
        storms=hard_servers.storms(sizes.storm),
    )


def _startup() -> Startup:
    """Return what a sync of nothing takes, which is one request."""
    startup = {}
    with server(0) as sandbox:
        config = sandbox.config(end_date=sandbox.start_date)
        for connector in CONNECTORS:
            usages = [read(connector, config) for _ in range(ROUNDS)]
            startup[connector] = Usage(
                records=0,
                seconds=min(usage.seconds for usage in usages),
                cpu=min(usage.cpu for usage in usages),
                memory=max(usage.memory for usage in usages),
            )
    return startup


def _check_requests() -> int:
    with server(0) as sandbox:
        check(OURS, sandbox.config())
        served: int = sandbox.stats()["served"]
        return served


def _side_by_side(
    sms: int, latency: float, startup: Startup
) -> tuple[dict[Connector, Result], float]:
    """Let each read the same range; return with it the pages a second that the sandbox serves."""
    # Until yesterday, so that the range is the same in every sync and its pages are rendered once.
    end_date = str(datetime.now(tz=timezone.utc).date() - timedelta(days=1))
    # At a latency, little is left to chance, and the floor has no requests.
    rounds, connectors = (1, CONNECTORS[:-1]) if latency else (ROUNDS, CONNECTORS)
    with server(sms, latency) as sandbox:
        config = sandbox.config(end_date=end_date)
        if not latency:  # the manifest asks for the same pages as the tutorial's
            for connector in (TUTORIAL, OURS):
                _sync(sandbox, connector, config, startup)
        sandbox_rate = 0.0 if latency else _pages_per_second(sandbox)
        results = [
            {connector: _sync(sandbox, connector, config, startup) for connector in connectors}
            for _ in range(rounds)
        ]
    return {c: _best([result[c] for result in results]) for c in connectors}, sandbox_rate


def _alone(startup: Startup, sms: int, latency: float = 0.0, *options: str) -> Result:
    """Let ours read a whole account."""
    with server(sms, latency, *options) as sandbox:
        return _sync(sandbox, OURS, sandbox.config(), startup)


def _together(startup: Startup, sms: int) -> Together:
    """Let two of ours read a whole account at once."""
    with server(sms, TOGETHER_LATENCY) as sandbox, ThreadPoolExecutor() as pool:
        started = time.perf_counter()
        syncs = [pool.submit(read, OURS, sandbox.config()) for _ in range(2)]
        records = sum(sync.result().records for sync in syncs)
        seconds = time.perf_counter() - started - startup[OURS].seconds
        stats = sandbox.stats()
    return Together(records, seconds, stats["served"], stats["limited"])


def _sync(
    sandbox: Sandbox, connector: Connector, config: dict[str, Any], startup: Startup
) -> Result:
    sandbox.reset_stats()
    usage, stats = read(connector, config), sandbox.stats()
    return Result(
        records=usage.records,
        seconds=usage.seconds - startup[connector].seconds,
        cpu=usage.cpu - startup[connector].cpu,
        memory=usage.memory,
        requests=stats["served"],
        points=stats["points"],
        limited=stats["limited"],
    )


def _best(results: list[Result]) -> Result:
    """Return the least time that any of equal syncs took, and the most of all else."""
    return Result(
        records=results[0].records,
        seconds=min(result.seconds for result in results),
        cpu=min(result.cpu for result in results),
        memory=max(result.memory for result in results),
        requests=max(result.requests for result in results),
        points=max(result.points for result in results),
        limited=max(result.limited for result in results),
    )


def _pages_per_second(sandbox: Sandbox) -> float:
    """Ask again for what the last sync asked for."""
    bodies = sandbox.stats()["bodies"]
    headers = {"Access-Token": sandbox.token, "SiteId": sandbox.site_id}
    started = time.perf_counter()
    with requests.Session() as session:
        for body in bodies:
            session.post(sandbox.url, json=body, headers=headers, timeout=60).raise_for_status()
    return len(bodies) / (time.perf_counter() - started)
