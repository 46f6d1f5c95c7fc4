"""The connector alone, on servers that are slow, send long texts, or refuse for a while."""

import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from benchmarks.commands import OURS, PAGE_SIZE, RATE, read, server
from sandbox.process import Sandbox

LATENCIES = (1.0, 3.0, 6.0)
VARYING = ("--jitter", "0.333")
ROUNDS = 3
"""Of each slow sync, whose latencies are drawn anew."""
TEXT_LENGTHS = (70, 200, 1_000)
STORMS = (30, 60)

QUIET_SECONDS = 3
STORM_BEGINS = 5
STORM_PAGE_SIZE = 1_000
"""Requests are what counts in a storm, not SMS."""
FULL_RATE = 4.5
"""Requests a second; a little under 5, as the connector and the network leave room."""
IN_A_ROW = 10


@dataclass(frozen=True)
class Slow:
    """A sync at a latency that varies by a third."""

    latency: float
    order: str
    """`ascending`, by time, or `mixed`: then equal SMS come on two pages, and are asked for."""
    records: int
    seconds: float
    """From the first request to the end of the process."""
    requests: int
    limited: int

    @property
    def ideal_seconds(self) -> float:
        """Full pages at the API's limit, and the latencies that must follow one another.

        Of the first page, of the last one, and of the answer about equal SMS on two pages.
        """
        latencies = 2 if self.order == "ascending" else 3
        return math.ceil(self.records / PAGE_SIZE) / RATE + latencies * self.latency

    @property
    def share(self) -> float:
        """What part of the ideal speed it has."""
        return self.ideal_seconds / self.seconds


@dataclass(frozen=True)
class Memory:
    """The most bytes that syncs of texts of one length held, each in a process of its own."""

    text_length: int
    compressed: bool
    blocked: int
    """Without latency, before a destination that takes nothing for a while."""
    at_once: int
    """Without latency."""
    behind_latency: int
    """At the longest latency."""


@dataclass(frozen=True)
class Storm:
    """What came of a sync that got nothing but 429 for so many seconds."""

    seconds: int
    requests: int
    """Made while it lasted."""
    goes_on: float
    """Seconds from its end to the first page."""
    full_rate: float
    """Seconds from its end until the rate was back."""


def slow(sms: int) -> list[Slow]:
    """Read an account at each latency; return of each the run with the median time."""
    cases = [*((latency, "ascending") for latency in LATENCIES), (LATENCIES[1], "mixed")]
    return [_median([_slow(sms, *case) for _ in range(ROUNDS)]) for case in cases]


def _median(runs: list[Slow]) -> Slow:
    median = sorted(runs, key=lambda run: run.seconds)[len(runs) // 2]
    return replace(median, limited=max(run.limited for run in runs))


def _slow(sms: int, latency: float, order: str) -> Slow:
    options = (*VARYING, "--text-length", str(TEXT_LENGTHS[0]), "--order", order)
    with server(sms, latency, *options) as sandbox:
        sandbox.reset_stats()
        began = time.perf_counter()
        records = read(OURS, sandbox.config()).records
        seconds, stats = time.perf_counter() - began, sandbox.stats()
    seconds -= stats["calls"][0][0]
    return Slow(latency, order, records, seconds, stats["served"], stats["limited"])


def memory(sms: dict[int, int]) -> list[Memory]:
    """Read accounts of so many SMS, by the length of their texts, plain and compressed."""
    cases = [(length, compressed) for length in TEXT_LENGTHS for compressed in (False, True)]
    with ThreadPoolExecutor() as pool:  # there is little to do but to wait
        slow = list(pool.map(lambda case: _behind_latency(sms[case[0]], *case), cases))
    return [
        Memory(*case, *_without_latency(sms[case[0]], *case), behind_latency)
        for case, behind_latency in zip(cases, slow, strict=True)
    ]


def _behind_latency(sms: int, text_length: int, compressed: bool) -> int:  # noqa: FBT001
    with server(sms, LATENCIES[-1], *VARYING, *_texts(text_length, compressed)) as sandbox:
        return read(OURS, sandbox.config()).memory


def _without_latency(sms: int, text_length: int, compressed: bool) -> tuple[int, int]:  # noqa: FBT001
    with server(sms, 0.0, *_texts(text_length, compressed)) as sandbox:
        # First the one that waits anyway: the sandbox renders and compresses what it serves again.
        blocked = read(OURS, sandbox.config(), _until_quiet(sandbox), sms // 2).memory
        return blocked, read(OURS, sandbox.config()).memory


def _texts(length: int, compressed: bool) -> list[str]:  # noqa: FBT001
    return ["--text-length", str(length), *(["--gzip"] if compressed else [])]


def _until_quiet(sandbox: Sandbox) -> Callable[[], None]:
    """Return what waits until the connector asks for nothing more."""

    def wait() -> None:
        served, since = -1, time.monotonic()
        while time.monotonic() - since < QUIET_SECONDS:
            now_served = sandbox.stats()["served"]
            if now_served != served:
                served, since = now_served, time.monotonic()
            time.sleep(0.2)

    return wait


def storms(sms: int) -> list[Storm]:
    """Read an account through each storm; at once, for there is little to do but to wait."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda seconds: _storm(sms, seconds), STORMS))


def _storm(sms: int, seconds: int) -> Storm:
    options = ("--rate", str(RATE), "--page-size", str(STORM_PAGE_SIZE))
    with server(sms, 0.0, *options) as sandbox:
        sandbox.set_faults([{"kind": "429", "after": STORM_BEGINS, "for": seconds}])
        sandbox.reset_stats()
        read(OURS, sandbox.config())
        calls: list[tuple[float, int]] = sandbox.stats()["calls"]
    end = STORM_BEGINS + seconds
    served = [at - end for at, status in calls if at >= end and status == 200]
    back = (
        first
        for first, last in zip(served, served[IN_A_ROW:], strict=False)
        if IN_A_ROW / (last - first) >= FULL_RATE
    )
    return Storm(
        seconds,
        requests=sum(STORM_BEGINS <= at < end for at, _ in calls),
        goes_on=min(served, default=math.inf),
        full_rate=next(back, math.inf),
    )
