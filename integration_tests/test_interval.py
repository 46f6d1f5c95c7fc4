"""Statuses updated once in a while, `lookback_interval_hours`, from one process to the next."""

import copy
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from integration_tests.commands import run
from sandbox.process import Sandbox, running
from source_calltouch_sms import api
from unit_tests.account import identities, row

State = list[dict[str, Any]]


def hours_ago(state: State, hours: int) -> State:
    """Return a state as it was if the last days had been read again so many hours ago."""
    state = copy.deepcopy(state)
    read_at = datetime.now(timezone.utc) - timedelta(hours=hours)
    state[-1]["stream"]["stream_state"]["statusesReadAt"] = f"{read_at:%Y-%m-%dT%H:%M:%SZ}"
    return state


def moment(state: State, name: str, sandbox: Sandbox) -> datetime:
    """Return a moment of a state as a wall time of the account."""
    value: str = state[-1]["stream"]["stream_state"][name]
    there = datetime.fromisoformat(value.replace("Z", "+00:00"))
    return there.astimezone(ZoneInfo(sandbox.timezone)).replace(tzinfo=None)


def date_from(sandbox: Sandbox) -> str:
    """Return where the one request since the last reset began."""
    (body,) = sandbox.stats()["bodies"]
    sandbox.reset_stats()
    return str(body["dateFrom"])


def statuses(account: Iterable[Mapping[str, Any]]) -> Counter[Any]:
    return Counter((s["phoneNumber"], s["smsMessage"], s["smsStatusDetail"]) for s in account)


def test_late_statuses_and_late_sms_come_when_the_interval_has_passed(tmp_path: Path) -> None:
    with running("--sms", "8000") as sandbox:
        config = sandbox.config(lookback_interval_hours=24)
        first = run(tmp_path, "read", config)
        assert "All SMS: 8000 SMS in 1 windows; 1 API requests, 0 of them ans" in first.logs
        sandbox.forward_clock(4 * 86_400)  # by then every status has settled
        cursor = moment(first.states, "dateSent", sandbox)
        late = row(cursor - timedelta(days=1), text="Поздно", smsStatusDetail="Передано оператору")
        sandbox.add_sms([late])
        sandbox.reset_stats()

        between = run(tmp_path, "read", config, hours_ago(first.states[-1:], 23))
        assert date_from(sandbox) == api.wire_time(cursor)
        assert f"New SMS only: {len(between.records)} SMS in 1 windows" in between.logs
        assert late["smsMessage"] not in {record["smsMessage"] for record in between.records}

        before = hours_ago(between.states[-1:], 25)
        reading = run(tmp_path, "read", config, before)
        back = moment(before, "statusesReadAt", sandbox) - timedelta(days=3)
        assert date_from(sandbox) == api.wire_time(back)
        assert "New SMS and status updates: " in reading.logs
        assert len(reading.records) < 1_000, "nothing older than the last days"
        table = {r["smsKey"]: r for o in (first, between, reading) for r in o.records}
        assert identities(table.values()) == identities(sandbox.sms())
        assert statuses(table.values()) == statuses(sandbox.sms())
        assert statuses(first.records) != statuses(table.values())

        after = run(tmp_path, "read", config, reading.states[-1:])
        assert date_from(sandbox) == api.wire_time(cursor), "the reading counts as one"
        assert after.states[-1]["stream"] == reading.states[-1]["stream"]
