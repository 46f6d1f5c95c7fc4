"""A row made a record: `source_calltouch_sms.records`."""

import json
import random
from datetime import datetime, timedelta
from typing import Any

import jsonschema
import pendulum
import pytest
from airbyte_cdk.models import FailureType
from airbyte_cdk.utils.traced_exception import AirbyteTracedException
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
START, END = datetime(2024, 4, 1), datetime(2024, 4, 30, 23, 59, 59)
APRIL = (START, END)
SCHEMA = SmsMessages.get_json_schema(stream())


def make(
    *rows: dict[str, Any], zone: str = "Europe/Moscow", site_id: str = "1"
) -> list[dict[str, Any]]:
    """Return the records of an answer that holds just these rows."""
    maker = RecordMaker(site_id, pendulum.timezone(zone))
    return list(maker.records([dict(r) for r in rows], *APRIL))


def dates(
    *sent: Any, period: tuple[datetime, datetime] = APRIL, zone: str = "Europe/Moscow"
) -> list[str | None]:
    """Return the `dateSent` of records, of an answer for that period."""
    maker = RecordMaker("1", pendulum.timezone(zone))
    return [record["dateSent"] for record in maker.records([row(s) for s in sent], *period)]


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
    (first,), (second,) = (maker.records([dict(sms)], *APRIL) for _ in range(2))
    assert first["smsKey"] == second["smsKey"]
    twins = [r["smsKey"] for r in maker.records([dict(sms), dict(sms), dict(sms)], *APRIL)]
    assert twins[0] == first["smsKey"]
    assert len(set(twins)) == 3


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
        "01/04/2024 15:05:32",
        "04/01/2024 15:05:32",
        "04-01-2024 15:05:32",
        "2024-04-01T15:05:32",
        "2024-04-01T15:05:32.000+03:00",
        "2024-04-01T12:05:32Z",
    ],
)
def test_a_record_does_not_hang_on_how_its_date_is_written(sent: str) -> None:
    assert make(row(sent)) == make(row("01-04-2024 15:05:32"))
    assert make(*[row(sent)] * 3) == make(*[row("01-04-2024 15:05:32")] * 3)


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
    expected = [wall.replace(tzinfo=pendulum.timezone(zone)).isoformat() for wall in walls]
    sent, period = map(wire_time, walls), (min(walls), max(walls))
    assert dates(*sent, period=period, zone=zone) == expected


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


def test_a_value_that_is_nested_deep_is_written_too() -> None:
    nested = "[" * 500 + "]" * 500
    _, record = make(row(START), {**row(START), "smsMessage": json.loads(nested)})
    assert record["smsMessage"] == nested


def test_a_row_with_missing_fields_is_emitted_with_nulls() -> None:
    (record,) = make({"dateSent": "01-04-2024 15:05:32"})
    assert record["phoneNumber"] is record["smsMessage"] is record["smsStatus"] is None
    assert record["dateSent"] == "2024-04-01T15:05:32+03:00"


def test_a_number_given_as_an_integer_has_the_key_of_the_same_as_text() -> None:
    first = make(row("01-04-2024 15:05:32"))[0]
    assert make({**row("01-04-2024 15:05:32"), "phoneNumber": 70000000001})[0] == first


def test_sms_with_unreadable_dates_are_told_apart_by_what_was_sent() -> None:
    good, *odd = make(
        row("01-04-2024 15:05:32"), row("yesterday"), row("99-99-9999 99:99:99"), row("yesterday")
    )
    assert good["dateSent"]
    assert [record["dateSent"] for record in odd] == [None] * 3
    assert len({record["smsKey"] for record in odd}) == 3


YEAR = (datetime(2024, 1, 1), datetime(2024, 12, 31, 23, 59, 59))


def test_the_requested_range_tells_the_day_from_the_month() -> None:
    april = ["2024-04-01T15:05:32+03:00"]
    assert dates("01/04/2024 15:05:32") == dates("04/01/2024 15:05:32") == april
    # A second is enough, and a zone that is set wrong does not matter.
    second = (datetime(2024, 4, 2), datetime(2024, 4, 2))
    assert dates("04/01/2024 15:05:32", period=second) == april
    # In a year, one of the dates tells.
    assert dates("04/01/2024 15:05:32", "04/13/2024 00:00:00", period=YEAR)[:1] == april
    assert dates("01/04/2024 15:05:32", "13/04/2024 00:00:00", period=YEAR)[:1] == april


def test_where_nothing_tells_the_day_from_the_month_only_the_documented_order_is_read() -> None:
    assert dates("01-04-2024 15:05:32", period=YEAR) == ["2024-04-01T15:05:32+03:00"]
    assert dates("04/04/2024 15:05:32", period=YEAR) == ["2024-04-04T15:05:32+03:00"]
    with pytest.raises(AirbyteTracedException) as raised:
        dates("01/04/2024 15:05:32", "04/04/2024 15:05:32", period=YEAR)
    assert "«99/99/9999 99:99:99»" in str(raised.value)


def test_an_answer_that_tells_the_day_from_the_month_does_so_for_the_next_ones() -> None:
    maker, open_question = RecordMaker("1", MOSCOW), row("04/01/2024 15:05:32")
    next(maker.records([row("04/13/2024 00:00:00"), row("01/12/2024 00:00:00")], *YEAR))
    (record,) = maker.records([open_question], *YEAR)
    assert record["dateSent"] == "2024-04-01T15:05:32+03:00"


@pytest.mark.parametrize("month_first", [False, True])
@given(
    period=st.tuples(
        st.datetimes(datetime(2000, 1, 1), datetime(2030, 1, 1)), st.integers(0, 40_000_000)
    ),
    seconds=st.lists(st.floats(0, 1), min_size=1, max_size=5),
)
def test_no_date_is_read_with_day_and_month_exchanged(
    month_first: bool,  # noqa: FBT001
    period: tuple[datetime, int],
    seconds: list[float],
) -> None:
    start, length = period[0].replace(microsecond=0), period[1]
    walls = [start + timedelta(seconds=int(part * length)) for part in seconds]
    form = "%m/%d/%Y %H:%M:%S" if month_first else "%d/%m/%Y %H:%M:%S"
    try:
        read = dates(
            *(wall.strftime(form) for wall in walls),
            period=(start, start + timedelta(seconds=length)),
            zone="UTC",
        )
    except AirbyteTracedException:
        assert length > 86_400 * 20, "in a short range it is certain"
    else:
        assert read == [f"{wall.isoformat()}+00:00" for wall in walls]


@pytest.mark.parametrize(
    ("sent", "iso"),
    [
        ("2024-10-27T00:30:00Z", "2024-10-27T02:30:00+02:00"),
        ("2024-10-27T01:30:00Z", "2024-10-27T02:30:00+01:00"),
    ],
)
def test_an_offset_tells_apart_the_hour_that_comes_twice(sent: str, iso: str) -> None:
    october = (datetime(2024, 10, 1), datetime(2024, 11, 1))
    assert dates(sent, period=october, zone="Europe/Berlin") == [iso]


@pytest.mark.parametrize(
    ("sent", "form"),
    [
        ("99/99/2024 12.30", "«99/99/9999 99.99»"),
        ("1711973132", "«9999999999»"),
        (1711973132, "«9999999999»"),
        ("Apr 1, 2024 3 PM", "«xxx 9, 9999 9 xx»"),
        ("7 (000) 123-45-67, Иван Петров", "«9 (999) 999-99-99, xxxx xxxxxx»"),
        ("1" * 100, f"«{'9' * 40}»"),
        (None, "«null»"),
        ("", "«null»"),
    ],
)
def test_an_answer_of_which_no_date_can_be_read_is_an_error_that_shows_the_form(
    sent: Any, form: str
) -> None:
    maker = RecordMaker("1", MOSCOW)
    rows = [{**row(""), "dateSent": sent} for _ in range(300)]
    with pytest.raises(AirbyteTracedException) as raised:
        list(maker.records(rows, *APRIL))
    assert raised.value.failure_type == FailureType.system_error
    assert form in str(raised.value)


def test_no_rows_are_no_error() -> None:
    maker = RecordMaker("1", MOSCOW)
    assert list(maker.records([], *APRIL)) == []


@pytest.mark.parametrize("year", [1, 9999])
def test_the_first_and_last_year_there_are_can_be_read(year: int) -> None:
    sent, iso = f"31-12-{year:04} 23:59:59", f"{year:04}-12-31T23:59:59"
    assert (dates(sent)[0] or "").startswith(iso)
    assert dates(f"{iso}Z", f"{iso}-12:00", START)[2] == "2024-04-01T00:00:00+03:00"
    assert dates(sent, period=(datetime(1, 1, 1), datetime(9999, 12, 31)))[0]


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
