"""The state, and what a sync reads by it: `source_calltouch_sms.cursor`."""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import pendulum
import pytest
import requests_mock
from airbyte_cdk.models import FailureType, SyncMode
from airbyte_cdk.utils.traced_exception import AirbyteTracedException
from hypothesis import given, settings
from hypothesis import strategies as st

from source_calltouch_sms import api
from source_calltouch_sms.config import SCHEMA, Config
from source_calltouch_sms.cursor import EARLY, NEW_SMS_ONLY, plan_sync
from source_calltouch_sms.records import wall_time, zoned
from source_calltouch_sms.streams import LAG, SmsMessages
from unit_tests.account import Account, Row, row
from unit_tests.conftest import NOW, messages, read, read_some, spread, stream
from unit_tests.conftest import settings as form

Serve = Callable[[Account], Account]
DAILY: dict[str, Any] = {"lookback_interval_hours": 24}
CURSOR = "2024-06-15T10:00:00+03:00"
ONLY_NEW = "15-06-2024 10:00:00"
LAST_DAYS = "12-06-2024 10:00:00"
MOMENT = NOW - LAG
"""What a sync that starts at `NOW` takes as now: 09:00 in UTC."""


def utc(moment: datetime) -> str:
    return f"{moment.astimezone(pendulum.UTC):%Y-%m-%dT%H:%M:%SZ}"


@pytest.mark.parametrize(
    ("read_at", "date_from"),
    [
        (None, LAST_DAYS),
        (utc(MOMENT), ONLY_NEW),
        (utc(MOMENT - timedelta(hours=23)), ONLY_NEW),
        (utc(MOMENT - timedelta(hours=24) + EARLY + timedelta(seconds=1)), ONLY_NEW),
        (utc(MOMENT - timedelta(hours=24) + EARLY), "11-06-2024 12:05:00"),
        (utc(MOMENT - timedelta(hours=24)), "11-06-2024 12:00:00"),
        (utc(MOMENT - timedelta(hours=30)), "11-06-2024 06:00:00"),
        ("2024-06-14T12:00:00+03:00", "11-06-2024 12:00:00"),
        ("2024-06-14T09:00:00", "11-06-2024 12:00:00"),
        (utc(MOMENT + timedelta(seconds=1)), LAST_DAYS),
        ("2099-01-01T00:00:00Z", LAST_DAYS),
        ("2024-06-01T00:00:00Z", LAST_DAYS),
    ],
)
def test_the_last_days_are_read_again_when_the_interval_has_passed(
    serve: Serve, read_at: str | None, date_from: str
) -> None:
    account = serve(Account([]))
    sync = read(stream(**DAILY), {"dateSent": CURSOR, "statusesReadAt": read_at})
    assert not sync.error
    assert [body["dateFrom"] for body in account.bodies] == [date_from]
    kept = {"dateSent": CURSOR, "statusesReadAt": read_at}
    moved = {"dateSent": CURSOR, "statusesReadAt": "2024-06-15T09:00:00Z"}
    assert sync.state == (kept if date_from == ONLY_NEW else moved)


def begins(state: Mapping[str, Any], **changes: Any) -> datetime | None:
    """Return from where a sync reads."""
    plan = plan_sync(Config.parse(form(**changes), NOW), state, MOMENT, SyncMode.incremental)
    return plan.window.start if plan else None


@pytest.mark.parametrize(
    "dates",
    [
        "10:00",
        "10:00:00+03:00",
        "2024",
        "2024-04",
        "2024-092",
        "2024-W01-1",
        "20240401T100000",
        "2024-04-01T10",
        "2024-04-01/2024-05-01",
        "01-04-2024 10:00:00",
        "2024-02-30T10:00:00+03:00",
        "2024-04-01T25:00:00+03:00",
        "2024-04-01T10:00:00+99:00",
        "2024-04-01T10:00:00 Europe/Moscow",
        "P1D",
        "now",
    ],
)
def test_what_is_no_date_and_time_in_iso_form_is_no_state(dates: str) -> None:
    with pytest.raises(AirbyteTracedException) as raised:
        begins({"dateSent": dates})
    assert raised.value.failure_type == FailureType.config_error
    assert "its dateSent, '" in str(raised.value)


def test_a_state_of_ten_megabytes_is_quoted_in_few_characters() -> None:
    for value in ("1" * 10**7, ["1" * 10**7] * 3, {"1" * 10**7: 1}):
        with pytest.raises(AirbyteTracedException) as raised:
            begins({"dateSent": value})
        assert len(str(raised.value)) < 500


@pytest.mark.parametrize(
    ("saved", "start"),
    [
        ("0001-01-01T00:00:00+02:30:17", datetime(2024, 4, 1)),
        ("0001-01-01T00:00:00Z", datetime(2024, 4, 1)),
        ("1900-01-01T00:00:00+02:30:17", datetime(2024, 4, 1)),
        ("9999-12-31T23:59:59-12:00", None),
        ("9999-12-31T23:59:59+03:00", None),
    ],
)
@pytest.mark.parametrize("lookback", [0, 365])
def test_no_year_stops_the_next_sync(saved: str, start: datetime | None, lookback: int) -> None:
    assert begins({"dateSent": saved}, lookback_window_days=lookback) == start
    begins({"dateSent": CURSOR, "statusesReadAt": saved}, lookback_window_days=lookback, **DAILY)


@pytest.mark.parametrize(
    ("zone", "start"),
    [
        ("Europe/Moscow", datetime(2024, 6, 14, 10)),
        # Calltouch gave 10:00, which is 12:00 there, and 09:00 here.
        ("Asia/Yekaterinburg", datetime(2024, 6, 14, 10)),
        ("Europe/Kaliningrad", datetime(2024, 6, 14, 9)),
        ("America/New_York", datetime(2024, 6, 14, 3)),
    ],
)
@pytest.mark.parametrize("lookback", [0, 3])
def test_a_sync_in_another_time_zone_reads_again_as_much_as_the_zones_differ(
    zone: str, start: datetime, lookback: int
) -> None:
    state = {"dateSent": "2024-06-14T10:00:00+03:00"}
    begin = begins(state, timezone=zone, lookback_window_days=lookback)
    assert begin == start - timedelta(days=lookback)
    state["statusesReadAt"] = utc(MOMENT - timedelta(hours=1))
    assert begins(state, timezone=zone, **DAILY) == start


@given(
    st.datetimes(datetime(2023, 1, 1), datetime(2024, 6, 10)),
    *[st.sampled_from(sorted({*pendulum.timezones()} - {"localtime", "Factory"}))] * 2,
)
def test_when_a_time_zone_is_corrected_no_sms_falls_between_two_syncs(
    wall: datetime, wrong: str, right: str
) -> None:
    wall = wall.replace(microsecond=0)
    state = {"dateSent": zoned(wall, pendulum.timezone(wrong))}
    begin = begins(state, timezone=right, start_date="2020-01-01", lookback_window_days=0)
    assert begin
    assert wall - timedelta(days=2) < begin <= wall


def test_an_old_state_reads_the_last_days_and_gets_the_moment(serve: Serve) -> None:
    account = serve(Account(spread(100)))
    sync = read(stream(**DAILY), {"dateSent": CURSOR})
    assert [body["dateFrom"] for body in account.bodies] == [LAST_DAYS]
    assert sync.state["statusesReadAt"] == "2024-06-15T09:00:00Z"


@pytest.mark.parametrize("hours", [0, 24])
@pytest.mark.parametrize("moment", ["yesterday", "", 5, ["2024"], "10:00", {}])
def test_a_malformed_moment_is_an_error_that_names_it(
    serve: Serve, hours: int, moment: Any
) -> None:
    account = serve(Account(spread(10)))
    state = {"dateSent": CURSOR, "statusesReadAt": moment}
    sync = read(stream(lookback_interval_hours=hours), state)
    assert (account.bodies, sync.records) == ([], [])
    assert f"The saved state cannot be used: its statusesReadAt, {moment!r}," in sync.logs[0]
    assert isinstance(sync.error, AirbyteTracedException)
    assert sync.error.failure_type == FailureType.config_error


def test_without_an_interval_the_state_is_the_cursor_alone(serve: Serve) -> None:
    account = serve(Account(spread(100)))
    first = read(stream())
    second = read(stream(), first.state)
    assert list(second.state) == ["dateSent"]
    assert len(account.bodies) == 2


def test_an_interval_that_is_taken_back_leaves_no_old_moment(serve: Serve) -> None:
    account = serve(Account([]))
    read_at = utc(MOMENT - timedelta(hours=20))
    sync = read(stream(), {"dateSent": CURSOR, "statusesReadAt": read_at})
    assert [body["dateFrom"] for body in account.bodies] == ["11-06-2024 16:00:00"]
    assert sync.state["statusesReadAt"] == "2024-06-15T09:00:00Z"
    read(stream(**DAILY), {"statusesReadAt": read_at})
    assert account.bodies[1]["dateFrom"] == "01-04-2024 00:00:00", "without a cursor, all"


def test_a_full_refresh_neither_minds_the_interval_nor_keeps_it(serve: Serve) -> None:
    account = serve(Account(spread(100)))
    state = {"dateSent": CURSOR}
    full = read(stream(**DAILY), None, SyncMode.full_refresh)
    assert len(full.records) == 100
    assert "statusesReadAt" not in full.state
    read(stream(**DAILY), {**state, "statusesReadAt": utc(MOMENT)}, SyncMode.full_refresh)
    assert account.bodies[-1]["dateFrom"] == "15-06-2024 10:00:01"


def test_the_moment_is_saved_with_the_last_window_and_not_before(serve: Serve) -> None:
    serve(Account(spread(2_000), page_size=3))
    old = {"dateSent": "2024-06-15T10:00:00+03:00", "statusesReadAt": "2024-06-14T08:00:00Z"}
    sync = read(stream(**DAILY), old)
    *meanwhile, last = [state["statusesReadAt"] for state in sync.states]
    assert len(meanwhile) > 2
    assert set(meanwhile) == {"2024-06-14T08:00:00Z"}
    assert last == "2024-06-15T09:00:00Z"


@pytest.mark.parametrize("failure", ["killed", "revoked"])
def test_a_sync_that_fails_reads_the_last_days_again(serve: Serve, failure: str) -> None:
    account = serve(Account(spread(2_000), page_size=3))
    old = {"dateSent": "2024-06-15T10:00:00+03:00", "statusesReadAt": "2024-06-14T08:00:00Z"}
    if failure == "killed":
        state: Any = read_some(stream(**DAILY), dict(old), 70, {})
    else:
        account.faults = dict.fromkeys(range(30, 200), "revoked")
        failed = read(stream(**DAILY), old)
        assert failed.error
        state, account.faults = failed.state or old, {}
    assert state == old
    account.bodies.clear()
    again = read(stream(NOW.add(hours=1), **DAILY), state)
    assert account.bodies[0]["dateFrom"] == "11-06-2024 11:00:00"
    assert again.state["statusesReadAt"] == "2024-06-15T10:00:00Z"


def test_after_a_long_pause_a_sync_that_fails_goes_on_where_it_was(serve: Serve) -> None:
    account = serve(Account(spread(1_000), page_size=3))
    old = {"dateSent": "2024-04-10T10:00:00+03:00", "statusesReadAt": "2024-04-10T07:00:00Z"}
    state = read_some(stream(**DAILY), dict(old), 600, {})
    assert state["statusesReadAt"] == "2024-04-10T07:00:00Z"
    account.bodies.clear()
    read(stream(**DAILY), state)
    cursor = datetime.fromisoformat(state["dateSent"]).replace(tzinfo=None)
    assert cursor > datetime(2024, 5, 10)
    assert account.bodies[0]["dateFrom"] == api.wire_time(cursor - timedelta(days=3))


def test_no_interval_is_longer_than_what_a_failed_sync_goes_back() -> None:
    hours = SCHEMA["properties"]["lookback_interval_hours"]["maximum"]
    assert timedelta(hours=hours) + timedelta(hours=3) < NEW_SMS_ONLY


BERLIN: dict[str, Any] = {"timezone": "Europe/Berlin", "start_date": "2024-10-01", **DAILY}


def test_the_hour_that_comes_twice_loses_nothing_between_readings(serve: Serve) -> None:
    account = serve(Account([row("27-10-2024 02:54:00", text="first pass")]))
    summer = pendulum.datetime(2024, 10, 27, 0, 55, tz="UTC")
    first = read(stream(summer, **BERLIN))
    account.rows.append(row("27-10-2024 02:10:00", text="second pass"))
    second = read(stream(summer.add(hours=2), **BERLIN), first.state)
    assert account.bodies[-1]["dateFrom"] == "27-10-2024 01:54:00"
    assert {record["smsMessage"] for record in second.records} == {"first pass", "second pass"}
    assert second.state == {
        "dateSent": "2024-10-27T02:54:00+02:00",
        "statusesReadAt": "2024-10-27T00:54:00Z",
    }


ZONE = pendulum.timezone("Europe/Moscow")
BEGIN = pendulum.datetime(2024, 6, 1, tz=ZONE)
LOOKBACK_MINUTES = 3 * 1440


class Sms(NamedTuple):
    """When it is sent, when registered, when it has its last status, in minutes from `BEGIN`."""

    sent: int
    registered: int
    settled: int


minutes_later = st.integers(0, LOOKBACK_MINUTES)
sms_of_ten_days = st.lists(
    st.builds(
        lambda sent, late, settling: Sms(sent, sent + late, sent + settling),
        st.integers(0, 14_400),
        st.just(0) | minutes_later,
        minutes_later,
    ),
    max_size=25,
)


@settings(max_examples=150, deadline=None)
@given(
    account=sms_of_ten_days,
    gaps=st.lists(
        st.sampled_from([15, 55, 60, 61, 180, 1440, 1444]) | st.integers(1, 3000),
        min_size=2,
        max_size=15,
    ),
    hours=st.lists(st.sampled_from([0, 1, 24, 24, 24, 168]), min_size=1, max_size=15),
    stops=st.dictionaries(st.integers(0, 14), st.integers(1, 20), max_size=4),
    page_size=st.integers(1, 3),
)
def test_each_reading_of_the_last_days_brings_all_that_settled_or_came_late(
    account: list[Sms], gaps: list[int], hours: list[int], stops: dict[int, int], page_size: int
) -> None:
    state: dict[str, Any] = {}
    table: dict[str, Row] = {}
    elapsed = 0
    for number, gap in enumerate(gaps):
        elapsed += gap
        now, interval = BEGIN.add(minutes=elapsed), hours[number % len(hours)]
        before, is_due = state, due(state, interval, now)
        with requests_mock.Mocker() as mock:
            there = Account(list(rows_at(account, elapsed)), page_size=page_size)
            there.serve(mock)
            sync = stream(now + LAG, start_date="2024-06-01", lookback_interval_hours=interval)
            state, is_through = read_up_to(stops.get(number, 0), sync, state, table)
        statuses = {record["smsMessage"]: record["smsStatus"] for record in table.values()}
        keeps_moment = bool(interval or "statusesReadAt" in before)
        if is_through and is_due and keeps_moment:
            assert state["statusesReadAt"] == utc(now)
        else:
            assert state.get("statusesReadAt") == before.get("statusesReadAt")
        if is_through and is_due:
            assert statuses == {sms["smsMessage"]: sms["smsStatus"] for sms in there.rows}
        if is_through:
            new = [n for n, s in enumerate(account) if s.registered == s.sent <= elapsed]
            assert {f"{n}" for n in new} <= set(statuses)
        assert len(table) == len(statuses), "each SMS has one key"


def rows_at(account: list[Sms], elapsed: int) -> Iterator[Row]:
    """Return the account as it is so many minutes after `BEGIN`."""
    for n, sms in enumerate(account):
        if sms.registered <= elapsed:
            sent = wall_time(BEGIN.add(minutes=sms.sent), ZONE)
            status = "delivered" if sms.settled <= elapsed else "waiting"
            yield row(sent, text=f"{n}", smsStatus=status)


def due(state: Mapping[str, Any], interval: int, now: datetime) -> bool:
    """Tell by the setting's words whether a sync is to read the last days."""
    if "dateSent" not in state or "statusesReadAt" not in state:
        return True
    since = now - datetime.fromisoformat(state["statusesReadAt"].replace("Z", "+00:00"))
    return since >= timedelta(hours=interval) - EARLY


def read_up_to(
    stop: int, sms_messages: SmsMessages, state: dict[str, Any], table: dict[str, Row]
) -> tuple[dict[str, Any], bool]:
    """Read into a table, `stop` records at the most; return the last state, and whether all was."""
    reading = messages(sms_messages, state)
    for message in reading:
        if message.record:
            table[message.record.data["smsKey"]] = message.record.data
            stop -= 1
            if not stop:
                reading.close()  # type: ignore[attr-defined]
                return state, False
        if message.state and message.state.stream and message.state.stream.stream_state:
            state = dict(message.state.stream.stream_state.__dict__)
    return state, True
