"""A row made a record: `source_calltouch_sms.records`."""

import json
import random
from datetime import datetime, timedelta
from itertools import chain
from typing import Any

import jsonschema
import pendulum
import pytest
from hypothesis import given
from hypothesis import strategies as st

from source_calltouch_sms.api import wire_time
from source_calltouch_sms.records import (
    RecordMaker,
    clock_change,
    wall_time,
    zoned,
)
from source_calltouch_sms.streams import SmsMessages
from unit_tests.account import row
from unit_tests.conftest import stream

MOSCOW = pendulum.timezone("Europe/Moscow")
SCHEMA = SmsMessages.get_json_schema(stream())


def make(
    *rows: dict[str, Any], zone: str = "Europe/Moscow", site_id: str = "1"
) -> list[dict[str, Any]]:
    """Return the records of an answer that holds just these rows."""
    maker = RecordMaker(site_id, pendulum.timezone(zone))
    return list(chain.from_iterable(maker.records([dict(r) for r in rows])))


def test_a_record_is_the_row_with_site_key_and_zone() -> None:
    (record,) = make(row("01-04-2024 15:05:32", number="70000000001", text="Привет"))
    assert record.pop("smsKey").isalnum()
    assert record == {
        "siteId": "1",
        "phoneNumber": "70000000001",
        "dateSent": "2024-04-01T15:05:32+03:00",
        "smsStatus": "delivered",
        "smsStatusDetail": "Доставлено",
        "smsMessage": "Привет",
    }


def test_a_key_is_the_same_in_every_release() -> None:
    (record,) = make(row("01-04-2024 15:05:32", number="70000000001", text="Привет"))
    assert record["smsKey"] == "6288f9254f14cbdd81f810ca6225ba67"


@pytest.mark.parametrize(
    "change",
    [
        {"phoneNumber": "70000000002"},
        {"dateSent": "01-04-2024 15:05:33"},
        {"smsMessage": "Пока"},
        {"smsMessage": None},
    ],
)
def test_sms_that_differ_in_number_time_or_text_have_two_keys(change: dict[str, Any]) -> None:
    first, second = make(row("01-04-2024 15:05:32"), {**row("01-04-2024 15:05:32"), **change})
    assert first["smsKey"] != second["smsKey"]


def test_a_key_does_not_hang_on_status_or_zone() -> None:
    sms = row("01-04-2024 15:05:32")
    waiting = {**sms, "smsStatus": "waiting", "smsStatusDetail": "Статус еще не получен"}
    keys = {make(sms)[0]["smsKey"], make(waiting, zone="Asia/Tokyo")[0]["smsKey"]}
    assert len(keys) == 1


def test_the_same_sms_of_two_sites_has_two_keys() -> None:
    sms = row("01-04-2024 15:05:32")
    assert make(sms)[0]["smsKey"] != make(sms, site_id="2")[0]["smsKey"]


few_rows = st.lists(
    st.builds(
        row,
        st.sampled_from(["01-04-2024 15:05:32", "01-04-2024 15:05:33", "30-04-2024 23:59:59"]),
        number=st.sampled_from(["70000000001", "70000000002"]),
        text=st.sampled_from(["Привет", "Пока", ""]),
    ),
    max_size=30,
)


@given(few_rows, st.randoms(use_true_random=False))
def test_keys_are_distinct_and_do_not_hang_on_the_order_of_rows(
    rows: list[dict[str, Any]], chance: random.Random
) -> None:
    keys = [record["smsKey"] for record in make(*rows)]
    assert len(set(keys)) == len(rows)
    chance.shuffle(rows)
    assert {record["smsKey"] for record in make(*rows)} == set(keys)


def test_equal_rows_of_one_answer_are_told_apart_by_rank_and_of_two_are_not() -> None:
    sms = row("01-04-2024 15:05:32")
    maker = RecordMaker("1", MOSCOW)
    (first,), (second,) = (next(maker.records([dict(sms)])) for _ in range(2))
    assert first["smsKey"] == second["smsKey"]
    twins = [r["smsKey"] for r in next(maker.records([dict(sms), dict(sms), dict(sms)]))]
    assert twins[0] == first["smsKey"]
    assert len(set(twins)) == 3


def test_batches_of_an_answer_count_its_equal_rows_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = [row("01-04-2024 15:05:32", text=text) for text in "abacba"]
    whole = make(*rows)
    monkeypatch.setattr("source_calltouch_sms.records.BATCH_ROWS", 2)
    batches = list(RecordMaker("1", MOSCOW).records([dict(r) for r in rows]))
    assert [len(batch) for batch in batches] == [2, 2, 2]
    assert list(chain.from_iterable(batches)) == whole


def test_a_rank_does_not_hang_on_status() -> None:
    sms = row("01-04-2024 15:05:32")
    waiting = {**sms, "smsStatus": "waiting"}
    assert [r["smsKey"] for r in make(sms, waiting)] == [r["smsKey"] for r in make(waiting, sms)]


@pytest.mark.parametrize(
    "sent",
    [
        "01.04.2024 15:05:32",
        "2024-04-01 15:05:32",
        "2024.04.01 15:05:32",
    ],
)
def test_a_record_does_not_hang_on_how_its_date_is_written(sent: str) -> None:
    assert make(row(sent)) == make(row("01-04-2024 15:05:32"))
    # Beside others of the day, of which the offset is remembered, and as equals.
    mixed = make(row(sent), row("01-04-2024 15:05:32"), row(sent), row("01-04-2024 15:05:32"))
    assert mixed == make(*[row("01-04-2024 15:05:32")] * 4)


@pytest.mark.parametrize(
    ("zone", "wall", "iso"),
    [
        ("Asia/Yekaterinburg", "01-04-2024 15:05:32", "2024-04-01T15:05:32+05:00"),
        ("Europe/Kaliningrad", "01-04-2024 15:05:32", "2024-04-01T15:05:32+02:00"),
        ("Europe/Berlin", "31-03-2024 01:59:59", "2024-03-31T01:59:59+01:00"),
        # This hour does not exist: the digits stay.
        ("Europe/Berlin", "31-03-2024 02:30:00", "2024-03-31T02:30:00+01:00"),
        ("Europe/Berlin", "31-03-2024 03:00:00", "2024-03-31T03:00:00+02:00"),
        # This hour comes twice: the first is meant.
        ("Europe/Berlin", "27-10-2024 02:30:00", "2024-10-27T02:30:00+02:00"),
        ("Europe/Berlin", "27-10-2024 03:00:00", "2024-10-27T03:00:00+01:00"),
        # Offsets that change within an hour.
        ("Pacific/Chatham", "29-09-2024 03:44:59", "2024-09-29T03:44:59+12:45"),
        ("Pacific/Chatham", "29-09-2024 03:45:00", "2024-09-29T03:45:00+13:45"),
        ("UTC", "29-02-2024 00:00:00", "2024-02-29T00:00:00+00:00"),
        ("Europe/Moscow", "01.04.2024 15:05:32", "2024-04-01T15:05:32+03:00"),
    ],
)
def test_times_bear_the_zones_offset_at_that_moment(zone: str, wall: str, iso: str) -> None:
    # Thrice, for what is remembered of a day must not change the next time in it.
    assert [record["dateSent"] for record in make(*[row(wall, text=t) for t in "abc"], zone=zone)][
        2
    ] == iso


@given(
    st.datetimes(datetime(2000, 1, 1), datetime(2035, 1, 1)),
    st.sampled_from(sorted(pendulum.timezones())),
    st.lists(st.integers(0, 100_000), min_size=1, max_size=5),
)
def test_every_time_in_every_zone_is_as_the_time_zone_database_says(
    start: datetime, zone: str, steps: list[int]
) -> None:
    walls = [start.replace(microsecond=0) + timedelta(seconds=step) for step in steps]
    records = make(*(row(wall, text=str(n)) for n, wall in enumerate(walls)), zone=zone)
    expected = [wall.replace(tzinfo=pendulum.timezone(zone)).isoformat() for wall in walls]
    assert [record["dateSent"] for record in records] == expected


ODD = [
    {"phoneNumber": None, "smsStatus": None, "smsStatusDetail": None, "smsMessage": None},
    {"phoneNumber": 70000000001, "smsMessage": 14111},
    {"smsStatus": "teleported", "smsStatusDetail": "Неизвестно что"},
    {"smsMessage": ""},
    {"smsMessage": "\U0001f600" * 3},
    {"smsMessage": "Ж" * 100_000},
    {"smsMessage": ["a", {"b": 1}]},
    {"newField": {"nested": [1, None]}, "anotherField": 5},
    {"dateSent": "yesterday"},
    {"dateSent": "31-02-2024 00:00:00"},
    {"dateSent": "01-04-2024 15:05:99"},
    {"dateSent": "01-04-2024 24:05:32"},
    {"dateSent": "01-04-2024"},
    {"dateSent": None},
    {"dateSent": 1711973132},
    {"dateSent": ""},
]


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: json.dumps(odd)[:40])
def test_odd_rows_are_emitted_and_fit_the_schema(odd: dict[str, Any]) -> None:
    # After one of the same day, of which the offset is remembered then.
    _, record = make(row("01-04-2024 00:00:00"), {**row("01-04-2024 15:05:32"), **odd})
    jsonschema.validate(record, SCHEMA)
    for name, value in odd.items():
        if name == "dateSent":
            assert record["dateSent"] is None
        elif value is None or isinstance(value, str) or name.endswith("Field"):
            assert record[name] == value
        else:
            assert json.loads(record[name]) == value


def test_a_row_with_missing_fields_is_emitted_with_nulls() -> None:
    (record,) = make({"dateSent": "01-04-2024 15:05:32"})
    assert record["phoneNumber"] is record["smsMessage"] is record["smsStatus"] is None
    assert record["dateSent"] == "2024-04-01T15:05:32+03:00"


def test_a_number_given_as_an_integer_has_the_key_of_the_same_as_text() -> None:
    first = make(row("01-04-2024 15:05:32"))[0]
    assert make({**row("01-04-2024 15:05:32"), "phoneNumber": 70000000001})[0] == first


def test_sms_with_unreadable_dates_are_told_apart_by_what_was_sent() -> None:
    records = make(row("yesterday"), row("99-99-9999 99:99:99"), row("yesterday"))
    assert [record["dateSent"] for record in records] == [None] * 3
    assert len({record["smsKey"] for record in records}) == 3


def test_wall_time_is_what_clocks_in_the_zone_show() -> None:
    moment = pendulum.datetime(2024, 4, 1, 21, 30, 15, 999, tz="UTC")
    assert wall_time(moment, MOSCOW) == datetime(2024, 4, 2, 0, 30, 15)
    assert type(wall_time(moment, MOSCOW)) is datetime


@pytest.mark.parametrize(
    ("wall", "hours"),
    [
        (datetime(2024, 10, 27, 2, 30), 1),
        (datetime(2024, 10, 26, 12), 1),
        (datetime(2024, 10, 28, 2), 1),
        (datetime(2024, 10, 28, 3), 0),
        (datetime(2024, 3, 30, 1, 59), 0),
        (datetime(2024, 3, 31, 3, 30), 1),
        (datetime(2024, 6, 1), 0),
    ],
)
def test_clocks_that_are_set_within_a_day_are_seen(wall: datetime, hours: int) -> None:
    assert clock_change(wall, pendulum.timezone("Europe/Berlin")) == timedelta(hours=hours)


@given(st.datetimes(datetime(2000, 1, 1), datetime(2035, 1, 1)))
def test_a_zoned_time_reads_back_as_the_same_wall_time(wall: datetime) -> None:
    wall = wall.replace(microsecond=0)
    read_back = wall_time(datetime.fromisoformat(zoned(wall, MOSCOW)), MOSCOW)
    # Moscow's clocks were set forward until 2011: an hour that does not exist reads as the next.
    assert read_back - wall in (timedelta(), timedelta(hours=1))
    assert wire_time(wall)
