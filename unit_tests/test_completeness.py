"""What answers prove: `source_calltouch_sms.completeness`, against a small model of a service."""

import random
from collections import Counter
from datetime import datetime
from typing import Any

import pendulum
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from source_calltouch_sms.api import MAX_NUMBERS
from source_calltouch_sms.completeness import (
    Ambiguous,
    Answer,
    Complete,
    Gathered,
    Inconsistent,
    check_pages,
    fits,
    phone_number_of,
    replace,
    second_of,
    times,
)
from source_calltouch_sms.records import RecordMaker
from unit_tests.account import Row, identities, row

START = datetime(2024, 4, 1)
MAKER = RecordMaker("1", pendulum.timezone("Europe/Moscow"))


def sms(text: str, number: int = 1, second: int = 0) -> Row:
    return row(START.replace(second=second), f"7000000000{number}", text)


def records(rows: list[Row]) -> list[Row]:
    """Return the records of one answer."""
    return list(MAKER.records([dict(r) for r in rows], START, START.replace(hour=1)))


def answer(rows: list[Row], total: int | None = None) -> Answer:
    return Answer(len(rows) if total is None else total, records(rows))


def pages_of(letters: str, total: int) -> list[Answer]:
    """Return pages, divided by spaces, of SMS of one second, each a letter."""
    return [answer([sms(letter) for letter in page], total) for page in letters.split(" ")]


accounts = st.lists(
    st.builds(sms, st.sampled_from("ab"), st.integers(0, 2), st.integers(0, 3)),
    min_size=1,
    max_size=14,
)


class Service:
    """Pages of an account in no order, in one that ties break, or in a stable one."""

    def __init__(self, rows: list[Row], order: str, size: int, chance: random.Random) -> None:
        self.rows, self._order, self._size, self._chance = list(rows), order, size, chance
        if order == "stable":
            chance.shuffle(self.rows)

    def page(self, number: int) -> Answer:
        rows = list(self.rows)
        if self._order != "stable":
            self._chance.shuffle(rows)
        if self._order == "ties":
            rows.sort(key=lambda r: str(r["dateSent"]))
        return answer(rows[number * self._size :][: self._size], len(rows))

    def about(self, of: Any, parts: tuple[str, ...]) -> Answer:
        found = [r for r in records(self.rows) if of(r) in parts]
        return Answer(len(found), found)

    def change(self, come: list[Row], go: int) -> None:
        """Let SMS arrive, or some be deleted."""
        self.rows[:0] = come
        del self.rows[:go]


services = st.builds(
    Service,
    accounts,
    st.sampled_from(["stable", "ties", "none"]),
    st.integers(1, 6),
    st.randoms(use_true_random=False),
)
changes: st.SearchStrategy[tuple[list[Row], int]] = st.one_of(
    st.tuples(st.just([]), st.just(0)),
    st.tuples(accounts.map(lambda rows: rows[:2]), st.just(0)),
    st.tuples(st.just([]), st.integers(1, 2)),
)


def paged(service: Service, at: int, change: tuple[list[Row], int]) -> list[Answer]:
    """Read an account's pages as the reader does; it changes before one of them."""
    pages: list[Answer] = []
    while not pages or (fits(pages) and sum(len(p.records) for p in pages) < pages[0].total):
        if len(pages) == at:
            service.change(*change)
        pages.append(service.page(len(pages)))
    return pages


def held(verdict: Complete) -> Counter[Any]:
    return identities(verdict.records)


@settings(max_examples=400)
@given(services, st.integers(0, 4), changes, st.integers(0, 3), changes)
def test_what_is_complete_is_what_the_account_held_at_one_moment(
    service: Service, at: int, change: Any, asked_at: int, later_change: Any
) -> None:
    accounts = [identities(service.rows)]
    pages = paged(service, at, change)
    accounts.append(identities(service.rows))
    verdict = check_pages(pages)
    if (change[0] and later_change[1]) or (change[1] and later_change[0]):
        return  # SMS that come and go between two totals leave no trace in any
    for of in (second_of, phone_number_of):
        if isinstance(verdict, Ambiguous):
            parts = verdict.seconds if of is second_of else verdict.phone_numbers
            answers = []
            for number, part in enumerate(parts):
                if number == asked_at:
                    service.change(*later_change)
                    accounts.append(identities(service.rows))
                answers.append(((part,), service.about(of, (part,))))
            replaced = replace(pages, of, answers, len(service.rows))
            if isinstance(replaced, Complete):
                assert held(replaced) in accounts
    if isinstance(verdict, Complete):
        assert held(verdict) in accounts


def prefixes(pages: list[Answer]) -> list[list[Answer]]:
    return [pages[: n + 1] for n in range(len(pages))]


@settings(max_examples=200)
@given(services)
def test_a_stable_account_is_always_proved(service: Service) -> None:
    service = Service(service.rows, "stable", 4, random.Random(1))
    pages = paged(service, -1, ([], 0))
    assert all(map(fits, prefixes(pages)))
    verdict = check_pages(pages)
    if isinstance(verdict, Ambiguous):
        for of, parts in ((second_of, verdict.seconds), (phone_number_of, verdict.phone_numbers)):
            assert parts
            replaced = replace(pages, of, [(parts, service.about(of, parts))], len(service.rows))
            assert isinstance(replaced, Complete)
            assert held(replaced) == identities(service.rows)
    else:
        assert isinstance(verdict, Complete)
        assert held(verdict) == identities(service.rows)


@pytest.mark.parametrize(
    ("rows", "total", "is_complete"),
    [("", 0, True), ("abca", 4, True), ("ab", 3, False), ("ab", 1, False)],
)
def test_one_answer_with_as_many_sms_as_it_reports_is_complete(
    rows: str, total: int, *, is_complete: bool
) -> None:
    assert answer([sms(letter) for letter in rows], total).is_complete == is_complete


@pytest.mark.parametrize("pages", ["ab", "ab cd", "ab cd e"])
def test_pages_fit_that_agree_and_are_equally_full(pages: str) -> None:
    assert fits(pages_of(pages, 5))


@pytest.mark.parametrize("pages", ["", "ab c", "ab cde", "ab cd ", "ab cd ef"])
def test_pages_do_not_fit_of_which_one_is_empty_or_of_another_size(pages: str) -> None:
    assert not fits(pages_of(pages, 5))


@pytest.mark.parametrize("total", [4, 6, -1])
def test_pages_do_not_fit_that_report_another_total(total: int) -> None:
    assert not fits([*pages_of("ab", 5), *pages_of("cd", total)])


def test_pages_that_do_not_add_up_or_report_another_total_prove_nothing() -> None:
    assert check_pages(pages_of("ab cd", 5)) == Inconsistent()
    assert check_pages([*pages_of("ab", 4), *pages_of("cd", 5)]) == Inconsistent()


def test_ambiguous_are_seconds_and_numbers_of_sms_on_two_pages() -> None:
    first, second = [sms("a"), sms("b", 2, 5), sms("c")], [sms("b", 2, 5), sms("d", 2), sms("a")]
    verdict = check_pages([answer(first, 6), answer(second, 6)])
    assert verdict == Ambiguous(
        ("2024-04-01T00:00:00", "2024-04-01T00:00:05"), ("70000000001", "70000000002")
    )


@pytest.mark.parametrize("change", [{"dateSent": "вчера"}, {"phoneNumber": None}])
def test_what_cannot_be_asked_for_alone_proves_nothing(change: dict[str, Any]) -> None:
    odd = {**sms("a"), **change}
    assert check_pages([answer([odd, sms("b")], 4), answer([odd, sms("c")], 4)]) == Inconsistent()


def test_more_numbers_than_one_request_takes_prove_nothing() -> None:
    rows = [row(START, str(70_000_000_000 + n)) for n in range(MAX_NUMBERS + 1)]
    page = answer(rows, 2 * len(rows))
    assert check_pages([page, page]) == Inconsistent()


@pytest.mark.parametrize(
    ("rows", "total", "total_now"),
    [("aa", 2, 5), ("aa", 2, 3), ("aab", 3, 4), ("a", 1, 4), ("a", 2, 4), ("aa", 3, 4)],
)
def test_an_answer_about_a_part_proves_nothing_if_a_number_differs(
    rows: str, total: int, total_now: int
) -> None:
    pages = [answer([sms("a"), sms("b", 2)], 4), answer([sms("a"), sms("c", 3)], 4)]
    part = answer([sms(letter) for letter in rows], total)
    right = answer([sms("a"), sms("a")])
    assert replace(pages, phone_number_of, [(("70000000001",), part)], total_now) == Inconsistent()
    assert isinstance(replace(pages, phone_number_of, [(("70000000001",), right)], 4), Complete)


@settings(max_examples=200)
@given(accounts, st.integers(1, 6), st.randoms(use_true_random=False), st.integers(1, 6))
def test_a_union_never_holds_what_the_account_does_not(
    rows: list[Row], size: int, chance: random.Random, passes: int
) -> None:
    service, gathered = Service(rows, "none", size, chance), Gathered()
    for _ in range(passes):
        before = len(gathered.all())
        has_new = gathered.add(paged(service, -1, ([], 0)))
        assert has_new == (len(gathered.all()) > before)
        assert identities(gathered.all()) <= identities(rows)
        if gathered.is_complete:
            assert identities(gathered.all()) == identities(rows)
    gathered.add_records(records(rows))
    assert gathered.is_complete
    assert identities(gathered.all()) == identities(rows)
    groups = gathered.phone_numbers(size)
    assert sorted(n for group in groups for n in group) == sorted({r["phoneNumber"] for r in rows})
    counts = Counter(r["phoneNumber"] for r in rows)
    assert all(len(g) == 1 or sum(counts[n] for n in g) <= size for g in groups)


def test_a_union_begins_anew_where_another_total_is_reported() -> None:
    gathered = Gathered()
    assert gathered.add(pages_of("ab bc", 4))
    assert gathered.add(pages_of("ad", 3)), "all of it is new"
    assert gathered.total == 3
    assert sorted(record["smsMessage"] for record in gathered.all()) == ["a", "d"]
    assert not gathered.add(pages_of("da", 3))
    gathered.add(pages_of("b", 3))
    assert gathered.is_complete


def test_sms_without_a_readable_time_or_number_are_not_counted_by_it() -> None:
    odd = [{**sms("a"), "dateSent": "вчера"}, {**sms("b"), "phoneNumber": None}]
    assert times([answer([*odd, sms("c")])]) == {"2024-04-01T00:00:00": 2}
    gathered = Gathered()
    gathered.add_records(records([*odd, sms("c")]))
    assert gathered.phone_numbers(9) == [("70000000001",)]
