"""What answers prove: `source_calltouch_sms.completeness`; `test_reader.py` has the statement."""

from collections import Counter
from datetime import timedelta
from itertools import chain, repeat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from source_calltouch_sms.api import MAX_NUMBERS
from source_calltouch_sms.completeness import (
    MIN_IN_ORDER,
    Ambiguous,
    Answer,
    Gathered,
    check_pages,
    divide,
    fits,
    left_behind,
    phone_number_of,
    replace,
    times,
)
from source_calltouch_sms.windows import SECOND, Window
from unit_tests.account import MAKER, START, Row, row, rows_of_an_account


def sms(text: str, number: int = 1, seconds: int = 0) -> Row:
    return row(START + timedelta(seconds=seconds), f"7000000000{number}", text)


def answer(rows: list[Row], total: int | None = None) -> Answer:
    records = list(MAKER.records([dict(r) for r in rows], START, START))
    return Answer(len(rows) if total is None else total, records)


def pages_of(letters: str, *totals: int) -> list[Answer]:
    """Return pages, divided by spaces, of SMS of one second, each a letter."""
    pages = zip(letters.split(" "), chain(totals, repeat(totals[-1])), strict=False)
    return [answer([sms(letter) for letter in page], total) for page, total in pages]


@pytest.mark.parametrize(
    ("rows", "total", "is_complete"),
    [("", 0, True), ("abca", 4, True), ("ab", 3, False), ("ab", 1, False)],
)
def test_one_answer_with_as_many_sms_as_it_reports_is_complete(
    rows: str, total: int, *, is_complete: bool
) -> None:
    (page,) = pages_of(rows, total)
    assert page.is_complete == is_complete


@pytest.mark.parametrize(
    ("pages", "totals", "is_fit"),
    [
        ("ab", [5], True),
        ("ab cd", [5], True),
        ("ab cd e", [5], True),
        ("", [5], False),
        ("ab c", [5], False),
        ("ab cde", [5], False),
        ("ab cd ", [5], False),
        ("ab cd ef", [5], False),
        ("ab cd", [5, 4], False),
        ("ab cd", [5, 6], False),
        ("ab cd", [5, -1], False),
    ],
)
def test_pages_fit_that_report_one_total_and_are_equally_full(
    pages: str, totals: list[int], *, is_fit: bool
) -> None:
    assert fits(pages_of(pages, *totals)) == is_fit


TOO_MANY = [row(START, str(70_000_000_000 + n)) for n in range(MAX_NUMBERS + 1)]


@pytest.mark.parametrize(
    "pages",
    [
        pages_of("ab cd", 5),
        pages_of("ab cd", 4, 5),
        # What is on two pages cannot be asked for alone.
        [answer([{**sms("a"), "phoneNumber": None}, sms("b")], 4)] * 2,
        [answer(TOO_MANY, 2 * len(TOO_MANY))] * 2,
    ],
)
def test_pages_that_contradict_each_other_prove_nothing(pages: list[Answer]) -> None:
    assert check_pages(pages) is None


def test_ambiguous_are_the_phone_numbers_of_sms_on_two_pages() -> None:
    first, later = [sms("a"), sms("b", 2, 5), sms("c", 3)], [sms("b", 2, 5), sms("d", 4), sms("a")]
    ambiguous = Ambiguous(("70000000001", "70000000002"))
    assert check_pages([answer(first, 6), answer(later, 6)]) == ambiguous


def test_an_answer_about_a_number_takes_the_place_of_as_many_sms_of_that_number_alone() -> None:
    other, numberless = sms("o", 2), {**sms("u"), "phoneNumber": None}
    pages, asked = [answer([sms("x"), other], 3), answer([sms("x")], 3)], ["70000000001"]
    for rows in ([sms("x"), other], [sms("x"), numberless], [sms("x")], [sms("x")] * 3):
        assert replace(pages, asked, answer(rows), 3) is None
    assert replace(pages, asked, answer([sms("x")], 2), 3) is None
    right = answer([sms("x"), sms("y")])
    assert replace(pages, asked, right, 4) is None
    replaced = replace(pages, asked, right, 3)
    assert replaced
    assert [record["smsMessage"] for record in replaced.records] == ["o", "x", "y"]


HOUR = Window(START, START + timedelta(hours=1))
MANY = [sms(str(n), seconds=n + 1) for n in range(MIN_IN_ORDER)]
LAST = START + timedelta(seconds=MIN_IN_ORDER)


@pytest.mark.parametrize(
    ("rows", "window", "parts"),
    [
        (MANY, HOUR, [Window(START, LAST - SECOND), Window(LAST, HOUR.end)]),
        (MANY[::-1], HOUR, [Window(START + 2 * SECOND, HOUR.end), Window(START, START + SECOND)]),
        # In no order, too few, or no way on.
        ([*MANY, MANY[1]], HOUR, None),
        (MANY[1:], HOUR, None),
        ([{**sms("a"), "dateSent": "вчера"}, *MANY], HOUR, None),
        (MANY[:1] * MIN_IN_ORDER, HOUR, None),
        ([], HOUR, None),
        # Of another zone than the window, it seems.
        (MANY, Window(START, LAST - SECOND), None),
        (MANY[::-1], Window(START + 2 * SECOND, HOUR.end), None),
        (MANY[::-1], Window(START, START + SECOND), None),
    ],
)
def test_a_window_is_divided_where_an_answer_in_order_of_time_ends(
    rows: list[Row], window: Window, parts: list[Window] | None
) -> None:
    assert divide(window, answer(rows, 999)) == (tuple(parts) if parts else None)


@pytest.mark.parametrize(
    ("begin", "total", "is_proved"),
    [(99, 7, True), (99, 6, False), (99, 8, False), (98, 7, False), (100, 7, False)],
)
def test_an_answer_in_order_of_time_leaves_behind_what_the_totals_differ_by(
    begin: int, total: int, *, is_proved: bool
) -> None:
    page, rest = answer([*MANY, *MANY[-1:]], MIN_IN_ORDER + 6), answer(MANY[begin:], total)
    expected = Answer(MIN_IN_ORDER - 1, page.records[: MIN_IN_ORDER - 1])
    assert left_behind(page, rest) == (expected if is_proved else None)


@given(rows_of_an_account, st.integers(1, 6))
def test_phone_numbers_come_in_groups_that_one_answer_holds(rows: list[Row], size: int) -> None:
    groups = Gathered([answer(rows)]).phone_numbers(size)
    counts = Counter(map(phone_number_of, rows))
    assert sorted(chain(*groups)) == sorted(counts)
    assert all(len(g) == 1 or sum(counts[n] for n in g) <= size for g in groups)


def test_a_group_is_no_larger_than_one_request_takes() -> None:
    groups = Gathered([answer(TOO_MANY)]).phone_numbers(len(TOO_MANY))
    assert [len(group) for group in groups] == [MAX_NUMBERS, 1]


def test_a_union_holds_as_many_identical_sms_as_one_answer_had() -> None:
    records = Gathered(pages_of("aab ab cd", 5, 5, 2)).answer().records  # not of another total
    assert sorted(record["smsMessage"] for record in records) == ["a", "a", "b"]


def test_a_union_keeps_the_status_of_each_of_identical_sms() -> None:
    failed, delivered = {**sms("a"), "smsStatus": "error"}, sms("a")
    both, others = answer([failed, delivered, sms("b")], 4), answer([failed, sms("c")], 4)
    for pages in ([both, others], [others, both]):
        statuses = [record["smsStatus"] for record in Gathered(pages).answer().records]
        assert sorted(statuses) == ["delivered", "delivered", "delivered", "error"]
    (latest,) = Gathered([answer([sms("a")], 2), answer([failed], 2)]).answer().records
    assert latest["smsStatus"] == "error"


def test_a_union_begins_anew_where_another_total_is_reported() -> None:
    gathered = Gathered()
    assert gathered.add(pages_of("ab bc", 4))
    assert gathered.add(pages_of("ad", 3)), "all of it is new"
    assert sorted(record["smsMessage"] for record in gathered.answer().records) == ["a", "d"]
    assert not gathered.add(pages_of("da", 3))
    gathered.add(pages_of("b", 3))
    assert gathered.answer().is_complete
    gathered.add(pages_of("ef", 3))  # now they are too many
    gathered.add(pages_of("efg", 3))
    assert gathered.answer().is_complete


def test_sms_without_a_readable_time_or_number_are_not_counted_by_it() -> None:
    page = answer([{**sms("a"), "dateSent": "вчера"}, {**sms("b"), "phoneNumber": None}, sms("c")])
    assert times([page]) == {"2024-04-01T00:00:00": 2}
    assert Gathered([page]).phone_numbers(9) == [("70000000001",)]
