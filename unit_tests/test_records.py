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
from source_calltouch_sms.records import RecordMaker, clock_change, wall_time
from source_calltouch_sms.streams import SmsMessages
from unit_tests.account import Row, row
from unit_tests.conftest import stream

MOSCOW = pendulum.timezone("Europe/Moscow")
Period = tuple[datetime, datetime]
APRIL = (datetime(2024, 4, 1), datetime(2024, 4, 30, 23, 59, 59))
YEAR = (datetime(2024, 1, 1), datetime(2024, 12, 31, 23, 59, 59))
SENT = "01-04-2024 15:05:32"
SCHEMA = SmsMessages.get_json_schema(stream())


def make(
    *rows: Row, period: Period = APRIL, zone: str = "Europe/Moscow", site_id: str = "1"
) -> list[Row]:
    """Return the records of an answer for that period that holds just these rows."""
    maker = RecordMaker(site_id, pendulum.timezone(zone))
    return list(maker.records([dict(r) for r in rows], *period))


def dates(*sent: str, **more: Any) -> list[str | None]:
    """Return the `dateSent` of the records of an answer."""
    return [record["dateSent"] for record in make(*map(row, sent), **more)]


def keys(*rows: Row, **more: Any) -> list[str]:
    """Return the keys of the records of an answer."""
    return [record["smsKey"] for record in make(*rows, **more)]


def test_a_record_is_the_row_with_site_zone_and_a_key_that_is_the_same_in_every_release() -> None:
    sms = row(SENT, number="70000000001", text="Привет")
    added = {"siteId": "1", "dateSent": "2024-04-01T15:05:32+03:00"}
    assert make(sms) == [{**sms, **added, "smsKey": "6288f9254f14cbdd81f810ca6225ba67"}]
    assert [key[:8] for key in keys(sms, sms, sms)] == ["6288f925", "d3b03886", "a340c121"]


# Keys.


def test_a_key_hangs_on_site_number_time_and_text_alone() -> None:
    sms = row(SENT)
    differing = [
        sms,
        {**sms, "phoneNumber": "70000000002"},
        {**sms, "dateSent": "01-04-2024 15:05:33"},
        {**sms, "smsMessage": "Пока"},
        {**sms, "smsMessage": None},
        # Dates that cannot be read, by what was sent.
        *(row("yesterday"), row("99-99-9999 99:99:99"), row("yesterday")),
    ]
    assert len({*keys(*differing), *keys(sms, site_id="2")}) == 9
    assert keys(sms, row("yesterday"))[1] != keys(sms, row("today"))[1]
    waiting = {**sms, "smsStatus": "waiting", "smsStatusDetail": "Статус еще не получен"}
    assert keys(waiting, zone="Asia/Tokyo") == keys(sms)
    assert keys({**sms, "phoneNumber": int(sms["phoneNumber"])}) == keys(sms)


@given(
    st.lists(
        st.builds(
            row,
            st.sampled_from([SENT, "01-04-2024 15:05:33", "30-04-2024 23:59:59"]),
            number=st.sampled_from(["70000000001", "70000000002"]),
            text=st.sampled_from(["Привет", "Пока", ""]),
        ),
        max_size=30,
    ),
    st.randoms(use_true_random=False),
)
def test_keys_are_distinct_and_do_not_hang_on_the_order_of_rows(
    rows: list[Row], chance: random.Random
) -> None:
    before = keys(*rows)
    assert len(set(before)) == len(rows)
    chance.shuffle(rows)
    assert set(keys(*rows)) == set(before)


def test_a_rank_among_equal_rows_hangs_on_the_answer_alone_and_on_no_status() -> None:
    sms, maker = row(SENT), RecordMaker("1", MOSCOW)
    waiting = {**sms, "smsStatus": "waiting"}
    for rows in ([sms], [sms, waiting], [waiting, sms]):
        records = maker.records([dict(r) for r in rows], *APRIL)
        assert [r["smsKey"] for r in records] == keys(sms, sms)[: len(rows)]


# Times.


@pytest.mark.parametrize(
    "sent",
    [
        *("01.04.2024 15:05:32", "2024-04-01 15:05:32", "2024-04-01T15:05:32"),
        *("01/04/2024 15:05:32", "04/01/2024 15:05:32", "04-01-2024 15:05:32"),
        *("2024-04-01T15:05:32.000+03:00", "2024-04-01T12:05:32Z"),
    ],
)
def test_a_record_does_not_hang_on_how_its_date_is_written(sent: str) -> None:
    assert make(*[row(sent)] * 3) == make(*[row(SENT)] * 3)


@pytest.mark.parametrize(
    ("zone", "sent", "iso"),
    [
        ("Europe/Berlin", "31-03-2024 01:59:59", "2024-03-31T01:59:59+01:00"),
        # This hour does not exist: the digits stay.
        ("Europe/Berlin", "31-03-2024 02:30:00", "2024-03-31T02:30:00+01:00"),
        ("Europe/Berlin", "31-03-2024 03:00:00", "2024-03-31T03:00:00+02:00"),
        # This hour comes twice: the first is meant, if no offset tells.
        ("Europe/Berlin", "27-10-2024 02:30:00", "2024-10-27T02:30:00+02:00"),
        ("Europe/Berlin", "2024-10-27T00:30:00Z", "2024-10-27T02:30:00+02:00"),
        ("Europe/Berlin", "2024-10-27T01:30:00Z", "2024-10-27T02:30:00+01:00"),
        # Offsets that change within an hour.
        ("Pacific/Chatham", "29-09-2024 03:44:59", "2024-09-29T03:44:59+12:45"),
        ("Pacific/Chatham", "29-09-2024 03:45:00", "2024-09-29T03:45:00+13:45"),
    ],
)
def test_times_bear_the_zones_offset_at_that_moment(zone: str, sent: str, iso: str) -> None:
    # Thrice, for what is remembered of a day must not change the next time in it.
    assert dates(sent, sent, sent, zone=zone) == [iso] * 3


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
    assert dates(*map(wire_time, walls), period=(min(walls), max(walls)), zone=zone) == expected


@pytest.mark.parametrize("year", [1, 9999])
def test_the_first_and_last_year_there_are_can_be_read(year: int) -> None:
    sent, iso = f"31-12-{year:04} 23:59:59", f"{year:04}-12-31T23:59:59"
    assert (dates(sent)[0] or "").startswith(iso)
    assert dates(f"{iso}Z", f"{iso}-12:00", SENT)[2] == "2024-04-01T15:05:32+03:00"
    assert dates(sent, period=(datetime(1, 1, 1), datetime(9999, 12, 31)))[0]


def test_wall_time_is_what_clocks_in_the_zone_show() -> None:
    moment = pendulum.datetime(2024, 4, 1, 21, 30, 15, 999, tz="UTC")
    assert wall_time(moment, MOSCOW) == datetime(2024, 4, 2, 0, 30, 15)
    assert type(wall_time(moment, MOSCOW)) is datetime


def test_clocks_that_are_set_within_a_day_are_seen() -> None:
    hours = {
        datetime(2024, 10, 26, 12): 1,
        datetime(2024, 10, 28, 2): 1,
        datetime(2024, 10, 28, 3): 0,
        datetime(2024, 3, 30, 1, 59): 0,
        datetime(2024, 3, 31, 3, 30): 1,
    }
    seen = {wall: clock_change(wall, pendulum.timezone("Europe/Berlin")) for wall in hours}
    assert seen == {wall: timedelta(hours=n) for wall, n in hours.items()}


# Day or month.


def test_the_requested_range_tells_the_day_from_the_month() -> None:
    april = ["2024-04-01T15:05:32+03:00"]
    assert dates("01/04/2024 15:05:32") == dates("04/01/2024 15:05:32") == april
    # A second is enough, and a zone that is set wrong does not matter.
    for day in (datetime(2024, 3, 31), datetime(2024, 4, 2)):
        assert dates("04/01/2024 15:05:32", period=(day, day)) == april
    # In a year, one of the dates tells.
    assert dates("04/01/2024 15:05:32", "04/13/2024 00:00:00", period=YEAR)[:1] == april
    assert dates("01/04/2024 15:05:32", "13/04/2024 00:00:00", period=YEAR)[:1] == april


def test_where_nothing_tells_the_day_from_the_month_only_the_documented_order_is_read() -> None:
    assert dates(SENT, period=YEAR) == ["2024-04-01T15:05:32+03:00"]
    assert dates("04/04/2024 15:05:32", period=YEAR) == ["2024-04-04T15:05:32+03:00"]
    with pytest.raises(AirbyteTracedException, match="«99/99/9999 99:99:99»"):
        dates("01/04/2024 15:05:32", "04/04/2024 15:05:32", period=YEAR)


def test_an_answer_that_tells_the_day_from_the_month_does_so_for_the_next_ones() -> None:
    maker = RecordMaker("1", MOSCOW)
    for telling, date in ((SENT, "2024-04-01"), ("04-13-2024 00:00:00", "2024-01-04")):
        next(maker.records([row(telling), row("01-12-2024 00:00:00")], *YEAR))
        _, record = maker.records([row("04-04-2024 00:00:00"), row(SENT)], *YEAR)
        assert record["dateSent"] == f"{date}T15:05:32+03:00"
    maker = RecordMaker("1", MOSCOW)
    next(maker.records([row("13/04/2024 00:00:00")], *YEAR))
    (record,) = maker.records([row("01/04/2024 15:05:32")], *YEAR)
    assert record["dateSent"] == "2024-04-01T15:05:32+03:00"


@given(
    form=st.sampled_from(["%m/%d/%Y %H:%M:%S", "%d/%m/%Y %H:%M:%S"]),
    start=st.datetimes(datetime(2000, 1, 1), datetime(2030, 1, 1)),
    length=st.integers(0, 40_000_000),
    parts=st.lists(st.floats(0, 1), min_size=1, max_size=5),
)
def test_no_date_is_read_with_day_and_month_exchanged(
    form: str, start: datetime, length: int, parts: list[float]
) -> None:
    start = start.replace(microsecond=0)
    walls = [start + timedelta(seconds=int(part * length)) for part in parts]
    period = (start, start + timedelta(seconds=length))
    try:
        read = dates(*(wall.strftime(form) for wall in walls), period=period, zone="UTC")
    except AirbyteTracedException:
        assert length > 86_400 * 20, "in a short range it is certain"
    else:
        assert read == [f"{wall.isoformat()}+00:00" for wall in walls]


# Odd rows.

NESTED = "[" * 500 + "]" * 500
NO_DATES = [
    *("yesterday", "31-02-2024 00:00:00", "01-04-2024 15:05:60", "01-04-2024 24:05:32"),
    *("01-04-2024 15:60:32", "01-04-2024", "", None, 1711973132),
]


@pytest.mark.parametrize(
    ("field", "value", "emitted"),
    [
        *((field, None, None) for field in ("phoneNumber", "smsStatus", "smsStatusDetail")),
        *(("smsMessage", text, text) for text in (None, "", "\U0001f600" * 3, "Ж" * 100_000)),
        ("phoneNumber", 70000000001, "70000000001"),
        ("smsMessage", 14111, "14111"),
        ("smsMessage", ["a", {"b": 1}], '["a", {"b": 1}]'),
        ("smsMessage", json.loads(NESTED), NESTED),
        ("smsStatus", "teleported", "teleported"),
        ("newField", {"nested": [1, None]}, {"nested": [1, None]}),
        *(("dateSent", sent, None) for sent in NO_DATES),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_odd_rows_are_emitted_and_fit_the_schema(field: str, value: Any, emitted: Any) -> None:
    # After one of the same day, of which the offset is remembered then.
    _, record = make(row("01-04-2024 00:00:00"), {**row(SENT), field: value})
    jsonschema.validate(record, SCHEMA)
    assert record[field] == emitted


def test_no_time_is_made_of_what_follows_a_short_date() -> None:
    assert dates("1/4/2024 9:00:05", "1/4/2024 9:00:05:30")[1] is None


def test_a_row_with_missing_fields_is_emitted_with_nulls() -> None:
    (record,) = make({"dateSent": SENT})
    assert {record[name] for name in row(SENT) if name != "dateSent"} == {None}
    assert record["dateSent"] == "2024-04-01T15:05:32+03:00"


@pytest.mark.parametrize(
    ("sent", "form"),
    [
        ("99/99/2024 12.30", "«99/99/9999 99.99»"),
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
    with pytest.raises(AirbyteTracedException) as raised:
        make(*[{**row(""), "dateSent": sent}] * 300)
    assert raised.value.failure_type == FailureType.system_error
    assert form in str(raised.value)
