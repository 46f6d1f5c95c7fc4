"""The state, and what a sync reads by it: `source_calltouch_sms.cursor`."""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import pendulum
import pytest
from airbyte_cdk.models import FailureType, SyncMode
from airbyte_cdk.utils.traced_exception import AirbyteTracedException
from hypothesis import given
from hypothesis import strategies as st

from source_calltouch_sms.config import SCHEMA, Config
from source_calltouch_sms.cursor import EARLY, NEW_SMS_ONLY, Plan, plan_sync
from source_calltouch_sms.records import wall_time, zoned
from source_calltouch_sms.streams import LAG
from source_calltouch_sms.windows import Window
from unit_tests.account import START, Account, identity, row
from unit_tests.conftest import END, NOW, Serve, read, spread, stream
from unit_tests.conftest import settings as form

DAILY: dict[str, Any] = {"lookback_interval_hours": 24}
CURSOR = "2024-06-15T10:00:00+03:00"
ONLY_NEW = datetime(2024, 6, 15, 10)
LAST_DAYS = datetime(2024, 6, 12, 10)
MOMENT = NOW - LAG
"""What a sync that starts at `NOW` takes as now: 09:00 in UTC."""
NOW_READ = {"statusesReadAt": "2024-06-15T09:00:00Z"}


def utc(moment: datetime) -> str:
    return f"{moment.astimezone(pendulum.UTC):%Y-%m-%dT%H:%M:%SZ}"


def plan(
    state: Mapping[str, Any],
    sync_mode: SyncMode = SyncMode.incremental,
    now: datetime = MOMENT,
    **changes: Any,
) -> Plan:
    """Return what a sync reads, where it reads anything."""
    found = plan_sync(Config.parse(form(**changes), now), state, now, sync_mode)
    assert found
    return found


@pytest.mark.parametrize(
    ("state", "changes", "window"),
    [
        ({}, {}, (START, END)),
        ({"dateSent": None}, {}, (START, END)),
        ({}, {"end_date": "2024-04-30"}, (START, datetime(2024, 4, 30, 23, 59, 59))),
        ({}, {"end_date": "2030-01-01"}, (START, END)),
        ({}, {"timezone": "Asia/Vladivostok"}, (START, datetime(2024, 6, 15, 19))),
        ({"dateSent": CURSOR}, {}, (LAST_DAYS, END)),
        ({"dateSent": CURSOR}, {"lookback_window_days": 0}, (ONLY_NEW, END)),
        # Calltouch gave 10:00, which is 12:00 in Yekaterinburg, and 09:00 in Kaliningrad.
        (
            {"dateSent": CURSOR},
            {"timezone": "Asia/Yekaterinburg"},
            (LAST_DAYS, datetime(2024, 6, 15, 14)),
        ),
        (
            {"dateSent": CURSOR},
            {"timezone": "Europe/Kaliningrad"},
            (datetime(2024, 6, 12, 9), datetime(2024, 6, 15, 11)),
        ),
        ({"dateSent": "2024-06-15T17:00:00+10:00"}, {}, (LAST_DAYS, END)),
        ({"dateSent": "2024-06-15T10:00:00", "a": 1}, {}, (LAST_DAYS, END)),
        ({"dateSent": "2024-04-02T00:00:00+03:00"}, {}, (START, END)),
    ],
)
def test_state_and_settings_say_what_is_read(
    state: Mapping[str, Any], changes: dict[str, Any], window: tuple[datetime, datetime]
) -> None:
    kind = "New SMS and status updates" if state.get("dateSent") else "All SMS"
    assert plan(state, **changes) == (Window(*window), kind, {})


@pytest.mark.parametrize(
    ("read_at", "start"),
    [
        (None, LAST_DAYS),
        (utc(MOMENT), ONLY_NEW),
        (utc(MOMENT - timedelta(hours=23)), ONLY_NEW),
        (utc(MOMENT - timedelta(hours=24) + EARLY + timedelta(seconds=1)), ONLY_NEW),
        (utc(MOMENT - timedelta(hours=24) + EARLY), datetime(2024, 6, 11, 12, 5)),
        (utc(MOMENT - timedelta(hours=30)), datetime(2024, 6, 11, 6)),
        ("2024-06-14T12:00:00+03:00", datetime(2024, 6, 11, 12)),
        ("2024-06-14T09:00:00", datetime(2024, 6, 11, 12)),
        # Clocks were set back; a sync failed while it read the last days after a long pause.
        (utc(MOMENT + timedelta(seconds=1)), LAST_DAYS),
        ("2099-01-01T00:00:00Z", LAST_DAYS),
        ("2024-06-07T07:00:01Z", datetime(2024, 6, 4, 10, 0, 1)),
        ("2024-06-07T07:00:00Z", LAST_DAYS),
    ],
)
def test_the_last_days_are_read_again_when_the_interval_has_passed(
    read_at: str | None, start: datetime
) -> None:
    window, kind, adds = plan({"dateSent": CURSOR, "statusesReadAt": read_at}, **DAILY)
    assert window == (start, END)
    is_new = start == ONLY_NEW
    assert kind == ("New SMS only" if is_new else "New SMS and status updates")
    assert adds == ({} if is_new else NOW_READ)


def test_an_interval_begins_and_is_taken_back_without_a_gap() -> None:
    window, _, adds = plan({"dateSent": CURSOR}, **DAILY)
    assert (window.start, adds) == (LAST_DAYS, NOW_READ)
    read_at = {"statusesReadAt": utc(MOMENT - timedelta(hours=20))}
    window, _, adds = plan({"dateSent": CURSOR, **read_at})
    assert (window.start, adds) == (datetime(2024, 6, 11, 16), NOW_READ), "no old moment stays"
    assert plan(read_at, **DAILY) == ((START, END), "All SMS", NOW_READ), "without a cursor, all"


def test_an_interval_does_not_begin_where_the_end_date_cuts_the_last_days_short() -> None:
    state = {"dateSent": CURSOR, **NOW_READ}
    assert plan({"dateSent": CURSOR}, end_date="2024-06-14", **DAILY)[2] == {}
    assert plan({"dateSent": CURSOR}, end_date="2024-06-15", **DAILY)[2] == NOW_READ
    assert plan(state, end_date="2024-06-14", lookback_interval_hours=0)[2] == {}


def test_a_full_refresh_neither_minds_the_interval_nor_keeps_it() -> None:
    assert plan({}, SyncMode.full_refresh, **DAILY) == ((START, END), "All SMS", {})
    state = {"dateSent": CURSOR, "statusesReadAt": utc(MOMENT)}
    window = (ONLY_NEW + timedelta(seconds=1), END)
    assert plan(state, SyncMode.full_refresh, **DAILY) == (window, "All SMS", {})


@pytest.mark.parametrize("name", ["dateSent", "statusesReadAt"])
@pytest.mark.parametrize(
    "value",
    [
        "10:00",
        "2024-04",
        "2024-W01-1",
        "20240401T100000",
        "2024-04-01T10",
        "2024-02-30T10:00:00+03:00",
        "2024-04-01T25:00:00+03:00",
        "2024-04-01T10:00:00+99:00",
        "2024-04-01T10:00:00 Europe/Moscow",
        5,
        ["2024"],
        pytest.param("1" * 10**7, id="10 MB"),
        pytest.param({"1" * 10**7: ["1" * 10**7]}, id="20 MB"),
    ],
)
def test_what_is_no_date_and_time_in_iso_form_is_an_error_that_names_it(
    name: str, value: Any
) -> None:
    with pytest.raises(AirbyteTracedException) as raised:
        plan({"dateSent": CURSOR, name: value})
    assert raised.value.failure_type == FailureType.config_error
    words = str(raised.value)
    assert words.startswith(f"The saved state cannot be used: its {name}, {repr(value)[:10]}")
    assert len(words) < 500


@pytest.mark.parametrize(
    ("saved", "is_past"),
    [
        ("0001-01-01T00:00:00+02:30:17", True),
        ("0001-01-01T00:00:00Z", True),
        ("1900-01-01T00:00:00+02:30:17", True),
        ("9999-12-31T23:59:59-12:00", False),
        ("9999-12-31T23:59:59+03:00", False),
    ],
)
@pytest.mark.parametrize("lookback", [0, 365])
def test_no_year_stops_the_next_sync(saved: str, lookback: int, *, is_past: bool) -> None:
    config = Config.parse(form(lookback_window_days=lookback, **DAILY), MOMENT)
    found = plan_sync(config, {"dateSent": saved}, MOMENT, SyncMode.incremental)
    assert (found and found.window.start) == (START if is_past else None)
    assert plan_sync(
        config, {"dateSent": CURSOR, "statusesReadAt": saved}, MOMENT, SyncMode.incremental
    )


@given(
    st.datetimes(datetime(2023, 1, 1), datetime(2024, 6, 10)),
    *[st.sampled_from(sorted({*pendulum.timezones()} - {"localtime", "Factory"}))] * 2,
)
def test_when_a_time_zone_is_corrected_no_sms_falls_between_two_syncs(
    wall: datetime, wrong: str, right: str
) -> None:
    wall = wall.replace(microsecond=0)
    state = {"dateSent": zoned(wall, pendulum.timezone(wrong))}
    begin = plan(
        state, timezone=right, start_date="2020-01-01", lookback_window_days=0
    ).window.start
    assert wall - timedelta(days=2) < begin <= wall


@given(
    st.sampled_from(
        [
            ("Europe/Berlin", "2024-10-27T01:00Z"),
            ("Europe/Berlin", "2024-03-31T01:00Z"),
            ("America/New_York", "2023-11-05T06:00Z"),
            ("Australia/Lord_Howe", "2024-04-06T15:00Z"),
            ("Antarctica/Troll", "2024-10-27T01:00Z"),
        ]
    ),
    st.integers(-200, 200),
    st.integers(0, 400),
)
def test_clocks_that_are_set_hide_no_sms_between_two_syncs(
    change: tuple[str, str], latest: int, later: int
) -> None:
    name, changed = change
    zone, moment = pendulum.timezone(name), datetime.fromisoformat(changed.replace("Z", "+00:00"))
    first, second = (
        wall_time(moment + timedelta(minutes=minutes), zone) for minutes in (latest, latest + later)
    )
    changes = {"start_date": "2020-01-01", "lookback_window_days": 0}
    state, now = {"dateSent": zoned(first, zone)}, MOMENT.add(years=1)
    begin = plan(state, now=now, timezone=name, **changes).window.start
    assert first - timedelta(hours=3) <= begin <= second


def test_the_moment_is_saved_with_the_last_window_and_not_before(serve: Serve) -> None:
    serve(Account(spread(2_000), page_size=3))
    old = {"dateSent": CURSOR, "statusesReadAt": "2024-06-14T08:00:00Z"}
    sync = read(stream(**DAILY), old)
    *meanwhile, last = [state["statusesReadAt"] for state in sync.states]
    assert len(meanwhile) > 2
    assert set(meanwhile) == {"2024-06-14T08:00:00Z"}
    assert last == "2024-06-15T09:00:00Z"


def test_late_statuses_and_late_sms_come_when_the_interval_has_passed(serve: Serve) -> None:
    account = serve(Account(spread(300)))
    sync = read(stream(**DAILY))
    table = sync.table
    late = row(END - timedelta(days=1), text="late")
    account.rows += [late, *(row(END + n * timedelta(hours=1), text="new") for n in range(24))]
    for sms in account.rows[-35:]:
        sms["smsStatus"] = "settled"
    for hours, texts in ((23, {"new"}), (25, {"late", "new"}), (26, {"new"})):
        sync = read(stream(NOW.add(hours=hours), **DAILY), sync.state)
        assert {record["smsMessage"] for record in sync.records} & {"late", "new"} == texts
        table |= sync.table
    statuses = Counter((identity(sms), sms["smsStatus"]) for sms in table.values())
    assert statuses == Counter((identity(sms), sms["smsStatus"]) for sms in account.rows)


def test_no_interval_is_longer_than_what_a_failed_sync_goes_back() -> None:
    hours = SCHEMA["properties"]["lookback_interval_hours"]["maximum"]
    assert timedelta(hours=hours) + timedelta(hours=3) < NEW_SMS_ONLY
