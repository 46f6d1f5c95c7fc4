"""What is measured: a function a table; `size` 1 is what the page shows, less is to try it out.

A row is a dictionary by column; a number with a promise is `{"value": 27, "at_most": 30}`.
"""

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from benchmarks.connectors import MANIFEST, OURS, RATE, TUTORIAL, account, sync, timed

Row = dict[str, Any]

PAGE_SIZE = 10_000
VARYING = "--jitter 0.333"
STORM_BEGINS, FULL_RATE, IN_A_ROW = 5, 4.5, 10


def speed(size: float) -> list[Row]:
    """CPU an SMS and memory, without latency, beside the others."""
    rows: list[Row] = []
    with account(150_000 * size, 0, "--order ascending") as sandbox:
        day, all_days = (sandbox.config(end_date=end) for end in (sandbox.start_date, _yesterday()))
        for connector in (OURS, TUTORIAL, MANIFEST):
            rounds = range(1 if connector is MANIFEST else 3)
            short, long = ([sync(connector, c) for _ in rounds] for c in (day, all_days))
            # What a day takes is subtracted: nearly all of it is the start of the process.
            little, much = (min(usage.cpu_seconds for usage in usages) for usages in (short, long))
            cpu = (much - little) / (long[0].records - short[0].records) * 1_000_000
            megabytes = min(usage.megabytes for usage in long)
            rows.append(
                {"": connector.name, "CPU an SMS, µs": round(cpu, 1), "memory, MB": megabytes}
            )
    ours, tutorial, manifest = (row["CPU an SMS, µs"] for row in rows)
    rows[1]["ours, times that"] = {"value": round(ours / tutorial, 2), "at_most": 1.15}
    rows[2]["ours, times that"] = {"value": round(ours / manifest, 2), "at_most": 0.2}
    return rows


def latency(size: float) -> list[Row]:
    """SMS a second by the latency of a request, beside the others."""
    rows = []
    for delay in (0.2, 1, 3):
        row: Row = {"latency, s": delay}
        with account(100_000 * size, delay, "--order ascending") as sandbox:
            for connector in (OURS, TUTORIAL, MANIFEST):
                (usage,), seconds, _ = timed(sandbox, connector, end_date=_yesterday())
                row[connector.name] = round(usage.records / seconds)
        rows.append(row)
    return rows


def throughput(size: float) -> list[Row]:
    """Long syncs behind slow answers, beside what the API's limit allows."""
    cases = [  # syncs at once, SMS, their order, latency, how many of these are ideal, promise
        (1, 500_000, "ascending", 1, 2, 75),
        (1, 500_000, "ascending", 3, 2, 70),
        (1, 500_000, "ascending", 6, 2, 65),
        (1, 1_000_000, "ascending", 1, 0, 83),
        (2, 200_000, "mixed", 0.3, 2, 50),
    ]
    rows = []
    for times, sms, order, delay, delays, promise in cases:
        with account(sms * size, delay, f"{VARYING} --text-length 70 --order {order}") as sandbox:
            usages, seconds, stats = timed(sandbox, times=times)
        records = sum(usage.records for usage in usages)
        ideal = math.ceil(records / PAGE_SIZE) / RATE + delays * delay
        rows.append(
            {
                "syncs at once": times,
                "SMS": records,
                "order": "by time" if order == "ascending" else "none",
                "latency, s": delay,
                "seconds": round(seconds, 1),
                "ideal": round(ideal, 1),
                "% of ideal": {"value": round(100 * ideal / seconds), "at_least": promise},
                "requests": stats["served"],
                "429s": stats["limited"],
                "memory, MB": max(usage.megabytes for usage in usages),
            }
        )
    return rows


def memory(size: float) -> list[Row]:
    """The most megabytes that a process holds, by the length of texts."""
    hows = ("no latency", "6 s latency", "6 s, compressed", "destination stalls")
    texts = [  # name, SMS, letters, SMS of 1,000 letters in the last days, promise
        ("70 letters", 300_000, 70, 0, 220),
        ("200 letters", 200_000, 200, 0, 280),
        ("1,000 letters", 100_000, 1_000, 0, 450),
        ("70, at last 1,000", 100_000, 70, 40_000, 450),
    ]

    def megabytes(how: str, _: str, sms: int, letters: int, late: int, __: int) -> int:
        options = f"--text-length {letters} {VARYING} {'--gzip' if 'compressed' in how else ''}"
        stall_after = sms * size / 2 if "stalls" in how else math.inf
        with account(sms * size, 6 if "6 s" in how else 0, options) as sandbox:
            for rows in _long_texts(round(late * size)):
                sandbox.add_sms(rows)
            return sync(OURS, sandbox.config(), stall_after=stall_after).megabytes

    rows: list[Row] = [{"texts": name} for name, *_ in texts]
    for how in hows:
        # What waits for nothing has the cores for itself, as the promise is for one sync.
        with ThreadPoolExecutor(1 if how == hows[0] else len(texts)) as pool:
            values = pool.map(partial(megabytes, how), *zip(*texts, strict=True))
        for row, text, value in zip(rows, texts, values, strict=True):
            row[how] = {"value": value, "at_most": text[-1] if how == hows[0] else 500}
    return rows


def requests(size: float) -> list[Row]:
    """API requests by how the SMS lie in time."""
    mailings, burst = "--mailings 3000 --order ties", "--shape burst --order"
    years = "--days 1095 --order ascending"
    none, equal, border = slice(0), slice(0, 30_000, 1_000), slice(9_999, 10_000)
    cases = [  # name, SMS, options, which SMS are there twice, promise
        ("three years, evenly", 250_000, years, none, 30),
        ("three years, nine tenths in one month", 250_000, f"{years} --shape late", none, 40),
        ("mailings of 3,000 a second, in a new order each time", 60_000, mailings, none, 20),
        ("mailings of 3,000 a second, in a new order each time", 180_000, mailings, none, 55),
        ("one second, 30 SMS twice, on different pages", 31_000, f"{burst} ascending", equal, 40),
        ("one second, in a new order each time", 31_000, f"{burst} ties", none, 120),
        ("by time, identical SMS on two pages", 99_999, years, border, 13),
        ("in no order, identical SMS on two pages", 100_000, f"{years} --order mixed", none, 24),
    ]

    def row(name: str, sms: int, options: str, twice: slice, promise: int) -> Row:
        with account(sms * size, 0, options) as sandbox:
            if twice.stop:
                sandbox.add_sms(sandbox.sms()[twice])
            (usage,), _, stats = timed(sandbox)
        requests = {"value": stats["served"], "at_most": promise}
        return {"account": name, "SMS": usage.records, "requests": requests}

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(row, *zip(*cases, strict=True)))


def storms(size: float) -> list[Row]:
    """What comes of a sync that gets nothing but 429 for a while."""

    def row(lasts: int) -> Row:
        with account(150_000 * size, 0, f"--rate {RATE} --page-size {1_000 * size:.0f}") as sandbox:
            sandbox.set_faults([{"kind": "429", "after": STORM_BEGINS, "for": lasts}])
            calls = timed(sandbox)[2]["calls"]
        end = STORM_BEGINS + lasts
        served = [at - end for at, status in calls if at >= end and status == 200]
        tens = zip(served, served[IN_A_ROW:], strict=False)
        full = (first for first, last in tens if IN_A_ROW / (last - first) >= FULL_RATE)
        return {
            "429 for, s": lasts,
            "requests meanwhile": sum(STORM_BEGINS <= at < end for at, _ in calls),
            "then to the first page, s": {"value": round(min(served), 1), "at_most": 15},
            "to the full rate, s": {"value": round(next(full), 1), "at_most": 30},
        }

    with ThreadPoolExecutor() as pool:
        return list(pool.map(row, (30, 60)))


def points(size: float) -> list[Row]:
    """API points a day, by SMS a day, how often it syncs, and hours between status updates."""

    def row(sms_a_day: int) -> Row:
        cells: Row = {"SMS a day": sms_a_day}
        with account(sms_a_day * size * 6, 0, "--days 6 --order ascending") as sandbox:

            def cost(hours: int, last: timedelta, last_update: timedelta) -> int:
                now = datetime.now(ZoneInfo(sandbox.timezone)).replace(microsecond=0)
                ago = {"dateSent": last, "statusesReadAt": last_update}
                state = {name: (now - each).isoformat() for name, each in ago.items()}
                stream = {"stream_descriptor": {"name": "sms_messages"}, "stream_state": state}
                states = [{"type": "STREAM", "stream": stream}]
                return int(timed(sandbox, state=states, lookback_interval_hours=hours)[2]["points"])

            update = cost(24, timedelta(hours=1), timedelta(1))  # which reads four days
            for schedule, syncs in (("daily", 1), ("hourly", 24), ("every 15 minutes", 96)):
                last = timedelta(1) / syncs
                cells[f"{schedule}, 0"] = syncs * cost(0, last, last)
                new_only = cost(24, last, last) if syncs > 1 else 0
                cells[f"{schedule}, 24"] = update + (syncs - 1) * new_only
        return cells

    with ThreadPoolExecutor(2) as pool:
        rows = list(pool.map(row, (1_000, 10_000, 30_000, 100_000)))
    rows[2]["hourly, 24"] = {"value": rows[2]["hourly, 24"], "at_most": 75}
    return rows


def _yesterday() -> str:
    return str(datetime.now(timezone.utc).date() - timedelta(days=1))


def _long_texts(count: int) -> Iterator[list[Row]]:
    """Yield SMS of the last ten days, few at a time: a sync begins with this process's memory."""
    since = datetime.now(timezone.utc) - timedelta(days=11)
    rest = {"smsStatus": "delivered", "smsStatusDetail": "Доставлено", "smsMessage": "Ж" * 1_000}
    sms = [(f"7000{i:07}", since + timedelta(days=10) * i / count) for i in range(count)]
    for first in range(0, count, 500):
        yield [
            {"phoneNumber": number, "dateSent": f"{at:%d-%m-%Y %H:%M:%S}", **rest}
            for number, at in sms[first : first + 500]
        ]
