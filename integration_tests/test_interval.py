"""Statuses updated once in a while, `lookback_interval_hours`: as processes, and over days."""

import copy
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from airbyte_cdk.models import (
    AirbyteStateMessage,
    ConfiguredAirbyteCatalog,
    ConfiguredAirbyteStream,
    DestinationSyncMode,
    SyncMode,
)
from airbyte_cdk.sources.streams import Stream

from integration_tests.commands import identities, killed, run
from sandbox.process import Sandbox, running
from source_calltouch_sms import SourceCalltouchSms, api
from source_calltouch_sms.config import Config
from source_calltouch_sms.streams import SmsMessages

State = list[dict[str, Any]]
LATE = {
    "phoneNumber": "70000000001",
    "smsStatus": "sent",
    "smsStatusDetail": "Передано оператору",
    "smsMessage": "Поздно",
}


@pytest.fixture
def calltouch() -> Iterator[Sandbox]:
    """Run a sandbox for each test, since they move its clock."""
    with running("--sms", "8000") as sandbox:
        yield sandbox


def hours_ago(state: State, hours: int) -> State:
    """Return a state as it was if the last days had been read again so many hours ago."""
    state = copy.deepcopy(state)
    read_at = datetime.now(timezone.utc) - timedelta(hours=hours)
    state[-1]["stream"]["stream_state"]["statusesReadAt"] = f"{read_at:%Y-%m-%dT%H:%M:%SZ}"
    return state


def moment(state: State, name: str, sandbox: Sandbox) -> datetime:
    """Return a moment of a state as a wall time of the account."""
    value: str = state[-1]["stream"]["stream_state"][name]
    zone = ZoneInfo(sandbox.timezone)
    return (
        datetime.fromisoformat(value.replace("Z", "+00:00")).astimezone(zone).replace(tzinfo=None)
    )


def date_from(sandbox: Sandbox) -> str:
    """Return where the one request since the last reset began."""
    (body,) = sandbox.stats()["bodies"]
    sandbox.reset_stats()
    return str(body["dateFrom"])


def statuses(account: Iterable[Mapping[str, Any]]) -> Counter[Any]:
    return Counter((s["phoneNumber"], s["smsMessage"], s["smsStatusDetail"]) for s in account)


def test_late_statuses_and_late_sms_come_when_the_interval_has_passed(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    config = sandbox.config(lookback_interval_hours=24)
    first = run(tmp_path, "read", config)
    assert "All SMS: 8000 SMS in 1 windows; 1 API requests, 0 of them answered 429, 2 API po" in (
        first.logs
    )
    sandbox.forward_clock(4 * 86_400)  # by then every status has settled
    cursor = moment(first.states, "dateSent", sandbox)
    late = api.wire_time(cursor - timedelta(days=1))
    sandbox.add_sms([{"dateSent": late, **LATE}])
    sandbox.reset_stats()

    between = run(tmp_path, "read", config, hours_ago(first.states[-1:], 23))
    assert date_from(sandbox) == api.wire_time(cursor)
    assert f"New SMS only: {len(between.records)} SMS in 1 windows; 1 API requests" in between.logs
    assert LATE["smsMessage"] not in {record["smsMessage"] for record in between.records}

    before = hours_ago(between.states[-1:], 25)
    reading = run(tmp_path, "read", config, before)
    back = moment(before, "statusesReadAt", sandbox) - timedelta(days=3)
    assert date_from(sandbox) == api.wire_time(back)
    assert "New SMS and status updates: " in reading.logs
    table = {r["smsKey"]: r for o in (first, between, reading) for r in o.records}
    assert identities(table.values()) == identities(sandbox.sms())
    assert statuses(table.values()) == statuses(sandbox.sms())

    after = run(tmp_path, "read", config, reading.states[-1:])
    assert date_from(sandbox) == api.wire_time(cursor), "the reading counts as one"
    assert after.states[-1]["stream"] == reading.states[-1]["stream"]


def test_a_killed_sync_reads_the_last_days_again(sandbox: Sandbox, tmp_path: Path) -> None:
    config = sandbox.config(lookback_interval_hours=24, lookback_window_days=365)
    first = run(tmp_path, "read", config)
    due = hours_ago(first.states[-1:], 25)
    _, states = killed(tmp_path, config, 7_000, due)
    state = states[-1:] or due
    assert state == due, "what is not through leaves no trace"
    again = run(tmp_path, "read", config, state)
    assert identities(again.records) == identities(sandbox.sms())
    assert moment(again.states, "statusesReadAt", sandbox) > moment(
        first.states, "statusesReadAt", sandbox
    )


class SourceAt(SourceCalltouchSms):
    """The source at another time."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def streams(self, config: Mapping[str, Any]) -> list[Stream]:
        return [SmsMessages(Config.parse(config, self.now), self.now)]


def read_at(
    now: datetime, config: dict[str, Any], state: list[AirbyteStateMessage]
) -> tuple[list[dict[str, Any]], list[AirbyteStateMessage]]:
    """Read at that time; return the records and the new state."""
    source, logger = SourceAt(now), logging.getLogger("airbyte")
    (stream,) = source.discover(logger, config).streams
    configured = ConfiguredAirbyteStream(stream, SyncMode.incremental, DestinationSyncMode.append)
    messages = list(source.read(logger, config, ConfiguredAirbyteCatalog([configured]), state))
    states = [message.state for message in messages if message.state]
    return [message.record.data for message in messages if message.record], states[-1:] or state


def test_over_days_the_table_equals_the_account_at_the_price_of_new_sms() -> None:
    state: list[AirbyteStateMessage] = []
    table: dict[str, Any] = {}
    settled, step = Counter[Any](), timedelta(hours=4)
    with running("--sms", "4000", "--days", "4", "--ahead", "4", "--rate", "0") as sandbox:
        now, config = datetime.now(timezone.utc) - step, sandbox.config(lookback_interval_hours=24)
        for number in range(19):
            sandbox.forward_clock(step.total_seconds() if number else 0)
            if number % 6 == 0 and number:  # statuses are read again now: here they are oldest
                account, found = sandbox.sms(), identities(table.values())
                synced = now.astimezone(ZoneInfo(sandbox.timezone)).replace(tzinfo=None)
                until = synced - timedelta(minutes=2)
                sent = [s for s in account if api.read_wire_time(s["dateSent"]) <= until]
                assert not identities(sent) - found, "missing"
                assert not found - identities(account), "not in the account, or twice"
                assert not settled - statuses(table.values()), "older than a day"
                settled = statuses(s for s in account if s["smsStatus"] not in {"waiting", "sent"})
                assert settled.total() > 1_000
            now += step
            records, state = read_at(now, config, state)
            table |= {record["smsKey"]: record for record in records}
        assert sandbox.stats()["points"] == 2 * 19
