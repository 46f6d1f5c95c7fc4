"""API points a day: the connector over a simulated week, against the sandbox with its clock moved.

`python -m benchmarks.week` takes some ten minutes and writes its section of `docs/performance.md`.
"""

import logging
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

import pendulum
from airbyte_cdk.models import (
    AirbyteStateMessage,
    ConfiguredAirbyteCatalog,
    ConfiguredAirbyteStream,
    DestinationSyncMode,
    SyncMode,
)
from airbyte_cdk.sources.streams import Stream

from benchmarks.commands import ROOT
from benchmarks.report import table
from sandbox.process import Sandbox, running
from sandbox.texts import PASSED_ON, QUEUED, UNANSWERED
from source_calltouch_sms import SourceCalltouchSms, api
from source_calltouch_sms.config import Config
from source_calltouch_sms.records import wall_time
from source_calltouch_sms.streams import LAG, SmsMessages

DAY = timedelta(days=1)
HISTORY_DAYS = 4
"""Of SMS from before the week: one more than the status update period."""
VOLUMES = (1_000, 10_000, 30_000, 100_000)
SCHEDULES = {"daily": DAY, "hourly": DAY / 24, "every 15 minutes": DAY / 96}
INTERVALS = (0, 24)
ALIKE = 10
"""With 0, all syncs do the same: so many are run, and stand for the rest of the week's."""
GOAL = (30_000, DAY / 24, 24)
MOST_POINTS = 75
AT_ONCE = 4
"""Weeks; the connector waits at its gate, and for the sandbox, most of the time."""
SECTION = "\n## API points a day\n"

Sms = tuple[str, ...]
Case = tuple[int, timedelta, int]
"""SMS a day, the time from sync to sync, and `lookback_interval_hours`."""

PAGE = """{heading}
By SMS a day, how often the connector syncs, and the setting **Hours between status updates** \
(`lookback_interval_hours`), 0 or 24; the status update period is 3 days.

{volumes}
30,000 SMS a day, a sync each hour, 24 hours between status updates; the table beside the account \
at the end of each day, just before the last days are read again:

{days}
At most {most} points a day are promised, no SMS missing, and no status older than a day.

`python -m benchmarks.week` runs it and writes this section: the clocks of the connector and of \
the sandbox are moved from sync to sync, through the week after the first sync. Points are what \
the sandbox counts, 2 for an answer. With 24 all syncs of the week are run; with 0 each does the \
same work, so the first {alike} are, and the day's points are computed from them.
"""


@dataclass
class Day:
    """What a day's syncs cost, and the table beside the account just before the last of them."""

    syncs: int
    points: int = 0
    account: int = 0
    missing: int = 0
    """How many SMS that were sent before the latest sync are not in the table just once."""
    settled: int = 0
    """How many SMS of the account had their last status a day before."""
    stale: int = 0
    """How many of these have another status in the table."""


class _SourceAt(SourceCalltouchSms):
    """The source, at a moment of the week."""

    def __init__(self, now: datetime) -> None:
        self._now = now

    def streams(self, config: Mapping[str, Any]) -> list[Stream]:
        return [SmsMessages(Config.parse(config, self._now), self._now)]


class _Connection:
    """The connector, the account that it reads, and the table that its records make."""

    def __init__(self, sandbox: Sandbox, interval: int) -> None:
        self.sandbox = sandbox
        self.config = sandbox.config(lookback_interval_hours=interval)
        self.now = datetime.now(timezone.utc)
        self.ahead = timedelta()
        """Of the machine's clock."""
        (stream,) = SourceCalltouchSms().discover(logging.getLogger(), self.config).streams
        mode, destination_mode = SyncMode.incremental, DestinationSyncMode.append_dedup
        configured = ConfiguredAirbyteStream(stream, mode, destination_mode)
        self.catalog = ConfiguredAirbyteCatalog([configured])
        self.state: list[AirbyteStateMessage] = []
        self.table: dict[str, Sms] = {}
        self.settled = Counter[Sms]()

    def move(self, step: timedelta) -> None:
        """Let time pass, for the account and for the connector."""
        self.now += step
        forward = self.now - datetime.now(timezone.utc) - self.ahead
        self.ahead += forward
        self.sandbox.forward_clock(forward.total_seconds())

    def sync(self, *, into_table: bool) -> None:
        """Read what the state leaves to be read."""
        source, logger = _SourceAt(self.now), logging.getLogger(__name__)
        for message in source.read(logger, self.config, self.catalog, self.state):
            if message.record and into_table:
                self.table[message.record.data["smsKey"]] = _sms(message.record.data)
            if message.state:
                self.state = [message.state]

    def compare(self, day: Day, synced: datetime) -> None:
        """Compare the table with the account; `synced` is when the latest sync began."""
        rows = [_sms(row) for row in self.sandbox.sms()]
        until = wall_time(synced - LAG, pendulum.timezone(self.sandbox.timezone))
        sent = Counter(s[:3] for s in rows if api.read_wire_time(s[1]) <= until)
        found = Counter(s[:3] for s in self.table.values())
        day.account, day.settled = len(rows), self.settled.total()
        day.missing = (sent - found).total() + (found - sent).total()
        day.stale = (self.settled - Counter(self.table.values())).total()
        self.settled = Counter(s for s in rows if s[3:] not in (QUEUED, UNANSWERED, PASSED_ON))


def _sms(row: Mapping[str, Any]) -> Sms:
    sent = row["dateSent"]
    if "T" in sent:
        sent = api.wire_time(datetime.fromisoformat(sent).replace(tzinfo=None))
    return row["phoneNumber"], sent, row["smsMessage"], row["smsStatus"], row["smsStatusDetail"]


def run(
    sms_a_day: int, step: timedelta, interval: int, syncs: Sequence[int], *, compare: bool = False
) -> Iterator[Day]:
    """Yield days of so many syncs each, one sync every `step`; before them all there is a first.

    The last days are read again by each day's last sync, and the table is compared just before it,
    when its statuses are oldest.
    """
    ahead = -(-sum(syncs) * step // DAY) + 1
    sms = sms_a_day * (HISTORY_DAYS + ahead)
    options = ("--sms", sms, "--days", HISTORY_DAYS, "--ahead", ahead, "--rate", 0)
    with running(*map(str, options)) as sandbox:
        connection = _Connection(sandbox, interval)
        if compare:
            connection.compare(Day(0), connection.now)
        connection.sync(into_table=compare)
        for count in syncs:
            day = Day(count)
            sandbox.reset_stats()
            for number in range(1, count + 1):
                connection.move(step)
                if compare and number == count:
                    connection.compare(day, connection.now - step)
                connection.sync(into_table=compare)
            day.points = sandbox.stats()["points"]
            yield day


def points_a_day(case: Case) -> float:
    """Return the mean of a week."""
    sms_a_day, step, interval = case
    a_day = DAY // step
    syncs = [a_day] * 7 if interval else [min(ALIKE, 7 * a_day)]
    total = sum(day.points for day in run(sms_a_day, step, interval, syncs))
    points = total / sum(syncs) * a_day
    print(f"… {sms_a_day:,} SMS a day, each {step}, {interval}: {points:.1f}", file=sys.stderr)
    return points


def section(points: Mapping[Case, float], goal: Sequence[Day]) -> str:
    """Return the section of `docs/performance.md`."""
    titles = [f"{name}, {i}" for name in SCHEDULES for i in INTERVALS]
    volumes = (
        [
            f"{sms:,}",
            *(f"{points[sms, s, i]:,.0f}" for s in SCHEDULES.values() for i in INTERVALS),
        ]
        for sms in VOLUMES
    )
    days = (
        [str(number), *(f"{n:,}" for n in (d.points, d.account, d.missing, d.settled, d.stale))]
        for number, d in enumerate(goal, 1)
    )
    heads = ("day", "points", "SMS", "missing", "settled a day before", "of these stale")
    return PAGE.format(
        heading=SECTION,
        volumes=table(("SMS a day", *titles), volumes),
        days=table(heads, days),
        most=MOST_POINTS,
        alike=ALIKE,
    )


def section_of(page: str) -> str:
    """Return what this command wrote into the page, to be kept when the rest is written anew."""
    return page[page.find(SECTION) :] if SECTION in page else ""


def main() -> int:
    """Run the weeks, several at a time, and write the section; return 1 if the goal is missed."""
    # The longest first.
    cases = [(v, s, i) for v in VOLUMES[::-1] for s in SCHEDULES.values() for i in INTERVALS]
    with ProcessPoolExecutor(
        AT_ONCE, initializer=logging.disable, initargs=(logging.WARNING,)
    ) as pool:
        goal = pool.submit(goal_week)
        points = dict(zip(cases, pool.map(points_a_day, cases), strict=True))
        days = goal.result()
    page = ROOT / "docs" / "performance.md"
    text, written = page.read_text(encoding="utf-8"), section(points, days)
    page.write_text(text.removesuffix(section_of(text)) + written, encoding="utf-8")
    print(written)
    return int(any(d.points > MOST_POINTS or d.missing or d.stale for d in days))


def goal_week() -> list[Day]:
    """Run the week of `GOAL`."""
    sms_a_day, step, interval = GOAL
    return list(run(sms_a_day, step, interval, [DAY // step] * 7, compare=True))


if __name__ == "__main__":
    sys.exit(main())
