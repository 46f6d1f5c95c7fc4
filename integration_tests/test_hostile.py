"""A Calltouch that gives cause for doubt: the account all the same, by key, and at a low price."""

import os
import struct
import zoneinfo
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from integration_tests.commands import Plan, assert_account, identities, run
from sandbox.process import running

# Options of the sandbox, a plan of faults, and how many requests may be made.
DEAR: dict[str, tuple[str, Plan, int]] = {
    "mailings": ("--order ties --mailings --sms 60000", [], 20),
    "more mailings": ("--order ties --mailings --sms 180000", [], 50),
    "one second": ("--order ties --shape burst --sms 31000", [], 120),
    "some disappear": ("--sms 45000", [{"kind": "gone-rows", "at": 3}], 20),
}


@pytest.mark.parametrize("case", DEAR)
def test_doubt_costs_few_requests_and_emits_nothing_twice(tmp_path: Path, case: str) -> None:
    options, plan, most = DEAR[case]
    with running(*options.split(), "--rate", "0") as sandbox:
        before = identities(sandbox.sms())
        sandbox.set_faults(plan)
        output = run(tmp_path, "read", sandbox.config(), None, "full_refresh")
        assert len({record["smsKey"] for record in output.records}) == len(output.records)
        assert_account(before, sandbox.sms(), output.records)
        assert len(sandbox.stats()["bodies"]) <= most
    assert output.code == 0, output.logs


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
