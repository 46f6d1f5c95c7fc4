"""A Calltouch that gives cause for doubt: the account all the same, by key, and at a low price."""

import os
import struct
import zoneinfo
from collections import Counter
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from integration_tests.commands import identities, killed, run
from sandbox.process import Sandbox, running

Plan = list[dict[str, Any]]

# Options of the sandbox, a plan of faults, and how many requests may be made.
DEAR: dict[str, tuple[str, Plan, int]] = {
    "mailings": ("--order ties --mailings --sms 60000", [], 20),
    "more mailings": ("--order ties --mailings --sms 180000", [], 50),
    "one second": ("--order ties --shape burst --sms 31000", [], 120),
    "some disappear": ("--sms 45000", [{"kind": "gone-rows", "at": 3}], 20),
}
# The same of accounts of 2,001 SMS, and after how many records the first sync is killed.
SMALL: dict[str, tuple[str, Plan, int]] = {
    "mailings": ("--order ties --mailings 150 --page-size 500", [], 501),
    "one second": ("--order ties --mailings 2001 --page-size 1500", [], 1_700),
    "the last page goes": ("--page-size 1000", [{"kind": "gone-rows", "at": 3}], 1_001),
    "one arrives in each range": ("--arriving", [{"kind": "late-rows", "every": 1, "rows": 1}], 1),
    "an empty first page": ("", [{"kind": "short-page", "rows": 10_000, "at": 1}], 2_000),
    "smaller pages": ("--page-size 1000", [{"kind": "page-size", "rows": 300, "from": 2}], 1_200),
    "larger pages": ("--page-size 300", [{"kind": "page-size", "rows": 1000, "from": 2}], 500),
    "a total as text": ("--total-as-text --page-size 1000", [], 1_999),
    "no long ranges": ("--longest-days 40 --days 100", [], 300),
}


@pytest.mark.parametrize("case", DEAR)
def test_doubt_costs_few_requests_and_emits_nothing_twice(tmp_path: Path, case: str) -> None:
    options, plan, most = DEAR[case]
    with running(*options.split(), "--rate", "0") as sandbox:
        before = identities(sandbox.sms())
        sandbox.set_faults(plan)
        output = run(tmp_path, "read", sandbox.config(), None, "full_refresh")
        assert len({record["smsKey"] for record in output.records}) == len(output.records)
        assert_account(sandbox, before, output.records)
        assert len(sandbox.stats()["bodies"]) <= most
    assert output.code == 0, output.logs


@pytest.mark.parametrize("case", SMALL)
def test_a_sync_that_was_killed_is_made_whole_by_the_next(tmp_path: Path, case: str) -> None:
    options, plan, kill_after = SMALL[case]
    with running("--sms", "2001", *options.split()) as sandbox:
        before = identities(sandbox.sms())
        sandbox.set_faults(plan)
        records, states = killed(tmp_path, sandbox.config(), kill_after)
        sandbox.set_faults(plan)
        output = run(tmp_path, "read", sandbox.config(), states[-1:])
        assert output.code == 0, output.logs
        assert len({record["smsKey"] for record in output.records}) == len(output.records)
        assert_account(sandbox, before, [*records, *output.records])


def assert_account(
    sandbox: Sandbox, before: Counter[tuple[Any, ...]], records: list[dict[str, Any]]
) -> None:
    """Assert that a table by key holds what was there all the time, and nothing that never was."""
    after = identities(sandbox.sms())
    found = identities({record["smsKey"]: record for record in records}.values())
    assert before & after <= found <= before | after


def zone_file(offset: timedelta) -> bytes:
    """Return a zone of that offset from UTC, as RFC 8536 has it."""
    header = struct.pack(">4sc15x6l", b"TZif", b"2", 0, 0, 0, 0, 1, 4)
    return (
        2 * (header + struct.pack(">lBB4s", int(offset.total_seconds()), 0, 0, b"HERE")) + b"\n\n"
    )


def test_a_clock_that_is_ahead_breaks_nothing_just_after_midnight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Zones do what a clock would: it is midnight here, and in Calltouch half a minute to it.
    now = datetime.now(timezone.utc)
    (tmp_path / "Clock").mkdir()
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    for name, ahead in (("Here", timedelta(seconds=2)), ("Calltouch", timedelta(seconds=-28))):
        (tmp_path / "Clock" / name).write_bytes(zone_file(today - now + ahead))
    monkeypatch.setenv("PYTHONTZPATH", os.pathsep.join([str(tmp_path), *zoneinfo.TZPATH]))
    with running("--shape", "empty", "--days", "3", "--zone", "Clock/Calltouch") as sandbox:
        output = run(tmp_path, "read", sandbox.config(timezone="Clock/Here"))
        assert output.code == 0, output.logs
        assert (sandbox.stats()["served"], sandbox.stats()["refused"]) == (1, 0)


def test_a_clock_that_is_hours_ahead_is_named_as_a_cause(tmp_path: Path) -> None:
    with running("--sms", "100", "--zone", "Etc/GMT+12") as sandbox:
        output = run(tmp_path, "read", sandbox.config(timezone="Pacific/Kiritimati"))
    (error,) = output.errors
    assert output.code == 1
    assert "Time zone (timezone)" in error["message"]
    assert "this machine's clock is ahead" in error["message"]
