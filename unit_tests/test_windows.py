"""Ranges of time and passes over their pages: `source_calltouch_sms.windows`."""

from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from source_calltouch_sms.api import Page
from source_calltouch_sms.windows import MAX_WINDOW_SMS, SECOND, Reading, Window, cut

moments = st.datetimes(datetime(2000, 1, 1), datetime(2030, 1, 1)).map(
    lambda moment: moment.replace(microsecond=0)
)


def page(total: int, rows: int, number: int | None = None) -> Page:
    return Page(total, number, [{}] * rows)


@given(moments, st.integers(1, 200_000_000), st.integers(0, 50_000_000))
def test_parts_cover_their_range_to_the_second_without_gap_or_overlap(
    start: datetime, seconds: int, total: int
) -> None:
    whole = Window(start, start + (seconds - 1) * SECOND)
    # Only the heads of a long list are compared: a second each would make millions of parts.
    parts = cut(whole, min(total, seconds * 1_000))
    assert parts[0].start == whole.start
    assert parts[-1].end == whole.end
    for part, following in pairwise(parts):
        assert part.start <= part.end
        assert following.start == part.end + SECOND
    assert sum(part.seconds for part in parts) == whole.seconds


@given(moments, st.integers(2, 200_000_000), st.integers(MAX_WINDOW_SMS + 1, 10_000_000))
def test_a_cut_makes_every_part_shorter_so_that_cutting_ends(
    start: datetime, seconds: int, total: int
) -> None:
    whole = Window(start, start + (seconds - 1) * SECOND)
    assert all(part.seconds < whole.seconds for part in cut(whole, total))


def test_a_range_of_up_to_a_window_is_not_cut() -> None:
    whole = Window(datetime(2021, 1, 1), datetime(2024, 1, 1))
    assert cut(whole, 100_000) == [whole]


def test_a_second_is_never_cut() -> None:
    second = Window(datetime(2024, 1, 1), datetime(2024, 1, 1))
    assert cut(second, 10**9) == [second]


def test_evenly_filled_parts_fit_ten_pages() -> None:
    whole = Window(datetime(2024, 1, 1), datetime(2024, 12, 31, 23, 59, 59))
    parts = cut(whole, 1_000_000)
    assert len(parts) == 11
    assert parts[0].seconds / whole.seconds == pytest.approx(0.099, rel=1e-4)


def run(reading: Reading, *pages: Page) -> list[int | None]:
    asked = []
    for each in pages:
        reading.add(each)
        asked.append(reading.next_page)
    return asked


def test_a_whole_pass_asks_for_each_page_once() -> None:
    reading = Reading()
    assert run(reading, page(25, 10, 1), page(25, 10, 2), page(25, 5, 3)) == [2, 3, None]
    assert reading.whole


def test_the_size_of_pages_is_the_first_ones() -> None:
    reading = Reading()
    assert run(reading, page(7, 3), page(7, 3), page(7, 1)) == [2, 3, None]
    assert reading.whole


@pytest.mark.parametrize("number", [None, 0, 1])
def test_a_first_page_may_be_called_0_or_1_or_nothing(number: int | None) -> None:
    reading = Reading()
    run(reading, page(3, 3, number))
    assert reading.whole


@pytest.mark.parametrize(
    "pages",
    [
        [page(25, 10), page(26, 10)],
        [page(25, 10), page(25, 9)],
        [page(25, 10), page(25, 11)],
        [page(25, 10), page(25, 10, 1)],
        [page(25, 10), page(25, 10), page(25, 4)],
        [page(25, 10), page(25, 10), page(25, 6)],
        [page(25, 0)],
        [page(3, 5)],
    ],
)
def test_a_pass_that_does_not_fit_ends_at_once_and_is_not_whole(pages: list[Page]) -> None:
    reading = Reading()
    assert run(reading, *pages)[-1] is None
    assert not reading.whole


def test_a_thorough_pass_goes_on_to_the_last_page() -> None:
    reading = Reading(thorough=True)
    pages = [page(25, 1), page(25, 10), page(26, 10), page(26, 5)]
    assert run(reading, *pages)[:2] == [2, 3]
    assert not reading.whole
    assert reading.total == 26


def test_a_windows_text_is_its_range() -> None:
    window = Window(datetime(2024, 4, 1), datetime(2024, 4, 1) + timedelta(hours=1))
    assert str(window) == "2024-04-01 00:00:00 to 2024-04-01 01:00:00"
