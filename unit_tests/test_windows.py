"""Ranges of time, and the proof that one was read whole: `source_calltouch_sms.windows`."""

from collections import Counter
from datetime import datetime, timedelta
from itertools import chain, pairwise
from typing import Any

import pendulum
import pytest
from hypothesis import given
from hypothesis import strategies as st

from source_calltouch_sms.records import RecordMaker
from source_calltouch_sms.windows import (
    MOST_PARTS,
    PART_SHARE,
    SECOND,
    Reading,
    Window,
    cut,
    cut_by_times,
)
from unit_tests.account import row

START = datetime(2024, 4, 1)
DAY = Window(START, datetime(2024, 4, 1, 23, 59, 59))
ONE_SECOND = Window(START, START)

moments = st.datetimes(datetime(2000, 1, 1), datetime(2030, 1, 1)).map(
    lambda moment: moment.replace(microsecond=0)
)


def cover(parts: list[Window], whole: Window) -> bool:
    """Tell whether the parts hold each second of a window once, in order."""
    return (
        parts[0].start == whole.start
        and parts[-1].end == whole.end
        and all(part.start <= part.end for part in parts)
        and all(later.start == part.end + SECOND for part, later in pairwise(parts))
    )


def windows_of(seconds: st.SearchStrategy[int]) -> st.SearchStrategy[Window]:
    return st.builds(lambda start, n: Window(start, start + (n - 1) * SECOND), moments, seconds)


def test_a_windows_text_is_its_range() -> None:
    window = Window(START, START + timedelta(hours=1))
    assert str(window) == "2024-04-01 00:00:00 to 2024-04-01 01:00:00"
    assert window.seconds == 3601


@given(windows_of(st.integers(1, 5_000)), st.integers(-1, 6_000))
def test_parts_cover_their_window_and_only_the_last_is_shorter(
    window: Window, seconds: int
) -> None:
    parts = window.parts(seconds)
    assert cover(parts, window)
    assert {part.seconds for part in parts[:-1]} <= {max(1, seconds)}
    assert parts[-1].seconds <= max(1, seconds)


@given(windows_of(st.integers(2, 5_000)), st.integers(2, 10_000_000), st.data())
def test_a_cut_makes_parts_that_hold_no_more_than_asked_where_sms_lie_evenly(
    window: Window, total: int, data: st.DataObject
) -> None:
    most = data.draw(st.integers(1, total - 1))
    parts = cut(window, total, most)
    assert cover(parts, window)
    assert len(parts) > 1, "cutting must end"
    seconds = max(PART_SHARE * most * window.seconds / total, 1, window.seconds // MOST_PARTS)
    assert all(part.seconds <= seconds for part in parts)


def times_in(window: Window, counts: dict[int, int]) -> dict[str, int]:
    return {(window.start + n * SECOND).isoformat(): count for n, count in counts.items()}


@given(
    windows_of(st.integers(2, 500)),
    # Also times outside of the window, which an account in another zone may give.
    st.dictionaries(st.integers(-50, 550), st.integers(1, 30), max_size=40),
    st.integers(1, 60),
)
def test_a_cut_by_times_covers_its_window_and_makes_more_than_one_part(
    window: Window, counts: dict[int, int], sms: int
) -> None:
    parts = cut_by_times(window, times_in(window, counts), sms)
    assert cover(parts, window)
    assert len(parts) > 1


@given(
    windows_of(st.just(500)),
    st.dictionaries(st.integers(0, 499), st.integers(1, 30), max_size=40),
    st.integers(1, 60),
)
def test_parts_by_times_hold_no_more_than_asked_but_for_full_seconds(
    window: Window, counts: dict[int, int], most: int
) -> None:
    times, sms = times_in(window, counts), PART_SHARE * most
    parts = cut_by_times(window, times, most)
    for part in parts:
        held = [c for t, c in times.items() if part.start <= datetime.fromisoformat(t) <= part.end]
        assert sum(held) <= sms or len(held) == 1
    if sum(counts.values()) > sms and len(counts) > 1:
        for part, later in pairwise(parts):
            first = times.get(later.start.isoformat(), 0)
            bounds = (part.start, part.end)
            held = [
                c for t, c in times.items() if bounds[0] <= datetime.fromisoformat(t) <= bounds[1]
            ]
            assert sum(held) + first > sms, "a part ends where it is full"


def test_where_times_make_no_cut_a_window_is_halved() -> None:
    halves = [
        Window(START, datetime(2024, 4, 1, 11, 59, 59)),
        Window(datetime(2024, 4, 1, 12), DAY.end),
    ]
    assert cut_by_times(DAY, {}, 10) == halves
    assert cut_by_times(DAY, {"2024-04-01T15:00:00": 9}, 10) == halves


def test_a_second_that_is_too_full_is_a_part_of_its_own() -> None:
    second = datetime(2024, 4, 1, 15)
    assert cut_by_times(DAY, {"2024-04-01T15:00:00": 99}, 10) == [
        Window(START, second - SECOND),
        Window(second, second),
        Window(second + SECOND, DAY.end),
    ]


def sms(texts: str, number: str = "70000000001") -> list[dict[str, Any]]:
    """Return the records of one answer with an SMS a letter, all of them of one second."""
    rows = [row(START, number, text) for text in texts]
    maker = RecordMaker("1", pendulum.timezone("Europe/Moscow"))
    return list(maker.records(rows, *DAY))


def add(
    reading: Reading, total: int, records: list[dict[str, Any]], batch: int = 2
) -> list[dict[str, Any]]:
    """Add a page in batches of so many records; return those that are new."""
    batches = (records[n : n + batch] for n in range(0, len(records), batch))
    return list(chain.from_iterable(reading.add(total, len(records), batches)))


def texts(records: list[dict[str, Any]]) -> str:
    return "".join(record["smsMessage"] for record in records)


def reading(
    window: Window = DAY, most: int = 100, emitted: dict[str, int] | None = None
) -> Reading:
    return Reading(window, most, {} if emitted is None else emitted)


def test_one_answer_is_a_snapshot() -> None:
    day = reading()
    assert texts(add(day, 4, sms("abca"))) == "abca", "equal rows of one answer are two SMS"
    assert day.whole
    assert not day.goes_on


def test_no_sms_is_a_whole_window() -> None:
    day = reading()
    assert add(day, 0, []) == []
    assert day.whole
    assert not day.goes_on


def test_pages_are_whole_when_they_hold_as_many_distinct_sms_as_reported() -> None:
    day = reading()
    assert texts(add(day, 5, sms("aa"))) == "aa"
    assert day.goes_on
    assert not day.whole
    assert texts(add(day, 5, sms("bc"))) == "bc"
    assert day.goes_on
    assert texts(add(day, 5, sms("d"))) == "d"
    assert day.whole
    assert not day.goes_on
    assert (day.full_page, day.rows, day.pages) == (2, 5, 3)


def test_equal_rows_on_two_pages_count_once() -> None:
    day = reading()
    add(day, 4, sms("ab"))
    assert texts(add(day, 4, sms("ac"))) == "c"
    assert not day.whole
    assert not day.goes_on


@pytest.mark.parametrize("window", [DAY, ONE_SECOND])
def test_an_answer_of_phone_numbers_tells_which_equal_rows_are_sms_of_their_own(
    window: Window,
) -> None:
    either = reading(window)
    add(either, 4, sms("ab"))
    add(either, 4, sms("ac"))
    assert texts(either.add_numbers(sms("aabc"))) == "a"
    assert either.whole


def test_of_an_answer_of_phone_numbers_no_more_count_than_came_on_pages() -> None:
    day = reading()
    add(day, 6, sms("abe"))
    add(day, 6, sms("acb"))
    assert texts(day.add_numbers(sms("aaabbcde"))) == "b", "others came since, or did not come"
    assert not day.whole


def test_doubtful_are_rows_that_came_on_two_pages_and_all_of_a_second() -> None:
    day, second = reading(), reading(ONE_SECOND)
    for each in (day, second):
        add(each, 4, sms("ab"))
        add(each, 4, sms("ac"))
    assert [text for _, _, text in day.doubtful] == ["a"]
    assert sorted(text for _, _, text in second.doubtful) == ["a", "b", "c"]


def test_a_further_pass_of_a_second_adds_what_the_ones_before_it_lacked() -> None:
    second = reading(ONE_SECOND)
    add(second, 4, sms("ab"))
    add(second, 4, sms("bc"))
    assert not second.whole
    second.start_pass()
    assert add(second, 4, sms("ba")) == []
    assert texts(add(second, 4, sms("cd"))) == "d"
    assert second.whole


def test_a_further_pass_of_a_longer_window_begins_anew() -> None:
    day = reading()
    add(day, 4, sms("ab"))
    add(day, 4, sms("bc"))
    day.start_pass()
    assert not day.keys
    assert add(day, 4, sms("ab")) == []
    assert texts(add(day, 4, sms("bd"))) == "d"
    assert not day.whole


def test_a_total_that_changed_between_passes_restarts_the_count() -> None:
    emitted: dict[str, int] = {}
    second = reading(ONE_SECOND, emitted=emitted)
    add(second, 4, sms("ab"))
    add(second, 4, sms("bc"))
    second.start_pass()
    assert texts(add(second, 3, sms("ad"))) == "d", "a is not new though it is counted anew"
    assert len(second.keys) == 2
    assert not second.whole
    assert add(second, 3, sms("b")) == []
    assert second.whole
    assert {record["smsKey"] for record in sms("abc")} <= {*emitted, *second.keys}


def test_of_twins_that_differ_in_status_each_comes_once() -> None:
    def twins(*statuses: str) -> list[dict[str, Any]]:
        records = sms("a" * len(statuses))
        for record, status in zip(records, statuses, strict=True):
            record["smsStatus"] = status
        return records

    day = reading()
    came = add(day, 3, twins("delivered", "error"))
    assert not add(day, 3, twins("delivered"))
    day.start_pass()
    # In one answer they come in another order, so that the third key is on an error's row.
    came += add(day, 3, twins("delivered", "delivered", "error"))
    assert sorted(record["smsStatus"] for record in came) == ["delivered", "delivered", "error"]
    assert len({record["smsKey"] for record in came}) == 3
    assert day.whole


def test_of_twins_in_two_batches_the_one_that_was_not_emitted_comes() -> None:
    first, second = sms("aa")
    first["smsStatus"], second["smsStatus"] = "error", "waiting"
    (earlier,) = sms("a")
    earlier["smsStatus"] = "waiting"
    day = reading()
    assert add(day, 1, [earlier]) == [earlier]
    day.start_pass()
    assert [record["smsStatus"] for record in add(day, 2, [first, second], batch=1)] == ["error"]


def test_what_was_emitted_before_is_not_new_but_counts() -> None:
    day = reading(emitted={record["smsKey"]: 0 for record in sms("ab")})
    assert texts(add(day, 3, sms("ab"))) == ""
    assert texts(add(day, 3, sms("c"))) == "c"
    assert day.whole


def test_what_was_emitted_before_is_not_new_in_one_answer_either() -> None:
    day = reading(emitted={record["smsKey"]: 0 for record in sms("a")})
    assert texts(add(day, 3, sms("aab"))) == "ab"
    assert day.whole


@pytest.mark.parametrize(
    "pages",
    [
        [(5, "ab"), (6, "cd")],
        [(5, "ab"), (4, "cd")],
        [(5, "ab"), (5, "c")],
        [(5, "ab"), (5, "cde")],
        [(5, "ab"), (5, "")],
        [(5, "ab"), (5, "cd"), (5, "")],
        [(5, "ab"), (5, "cd"), (5, "ef")],
    ],
)
def test_a_changed_total_or_an_odd_page_spoils_a_pass(pages: list[tuple[int, str]]) -> None:
    day = reading()
    for total, letters in pages:
        assert not day.spoiled
        add(day, total, sms(letters))
    assert day.spoiled
    assert not day.whole
    assert not day.goes_on


def test_a_new_pass_is_not_spoiled_by_the_one_before() -> None:
    day = reading()
    add(day, 3, sms("ab"))
    add(day, 3, [])
    day.start_pass()
    add(day, 3, sms("ab"))
    add(day, 3, sms("c"))
    assert day.whole


@pytest.mark.parametrize(("total", "letters"), [(5, ""), (3, "abcde")])
def test_a_first_page_that_does_not_fit_its_total_proves_nothing(total: int, letters: str) -> None:
    day = reading()
    add(day, total, sms(letters))
    assert not day.whole
    assert not day.goes_on


def test_nothing_is_taken_of_a_window_that_holds_too_much() -> None:
    day = reading(most=4)
    assert add(day, 5, sms("ab")) == []
    assert day.too_much
    assert not day.goes_on
    assert not day.whole
    assert not day.keys


def test_a_window_that_holds_too_much_but_came_in_one_answer_is_whole() -> None:
    day = reading(most=4)
    assert texts(add(day, 5, sms("abcde"))) == "abcde"
    assert not day.too_much
    assert day.whole


def test_a_second_is_read_by_pages_whatever_it_holds() -> None:
    second = reading(ONE_SECOND, most=2)
    assert texts(add(second, 3, sms("ab"))) == "ab"
    assert not second.too_much
    assert second.goes_on
    assert texts(add(second, 3, sms("c"))) == "c"
    assert second.whole


def test_times_are_those_of_the_last_pass_and_of_readable_dates() -> None:
    day = reading()
    add(day, 3, sms("ab"))
    day.start_pass()
    add(day, 3, [*sms("aa"), {**sms("a")[0], "dateSent": None}])
    assert day.times == {"2024-04-01T00:00:00": 2}


@given(st.text("abc", min_size=1, max_size=12), st.integers(1, 5), st.data())
def test_whatever_the_order_of_each_answer_a_window_said_to_be_whole_is(
    account: str, size: int, data: st.DataObject
) -> None:
    second, emitted = reading(ONE_SECOND), list[dict[str, Any]]()
    for _ in range(4):
        second.start_pass()
        while second.pages == 0 or second.goes_on:
            order = "".join(data.draw(st.permutations(account)))
            first = second.pages * size
            emitted += add(second, len(account), sms(order[first : first + size]))
        if second.whole:
            assert Counter(texts(emitted)) == Counter(account)
            return
    assert not Counter(texts(emitted)) - Counter(account), "nothing comes twice"


def test_a_page_that_reported_another_total_counts_for_no_later_pass() -> None:
    second = reading(ONE_SECOND)
    add(second, 4, sms("ab"))
    add(second, 5, sms("ce"))
    second.start_pass()
    add(second, 4, sms("ab"))
    add(second, 4, sms("ca"))
    assert not second.whole
