"""Windows of time, and how they are split: `source_calltouch_sms.windows`."""

from datetime import datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from source_calltouch_sms.windows import (
    MAX_PARTS,
    PART_SHARE,
    SECOND,
    Window,
    second,
    split,
    split_by_times,
)

START = datetime(2024, 4, 1)
NOON = datetime(2024, 4, 1, 12)
DAY = Window(START, datetime(2024, 4, 1, 23, 59, 59))

moments = st.datetimes(datetime(2000, 1, 1), datetime(2030, 1, 1)).map(
    lambda moment: moment.replace(microsecond=0)
)


def covers(parts: list[Window], whole: Window) -> bool:
    """Tell whether the parts hold each second of a window once, in order."""
    return (
        parts[0].start == whole.start
        and parts[-1].end == whole.end
        and all(part.start <= part.end for part in parts)
        and all(later.start == part.end + SECOND for part, later in pairwise(parts))
    )


def windows_of(seconds: st.SearchStrategy[int]) -> st.SearchStrategy[Window]:
    return st.builds(lambda start, n: Window(start, start + (n - 1) * SECOND), moments, seconds)


def times_in(window: Window, counts: dict[int, int]) -> dict[str, int]:
    return {(window.start + n * SECOND).isoformat(): count for n, count in counts.items()}


def test_a_windows_text_is_its_range() -> None:
    window = Window(START, START + timedelta(hours=1))
    assert str(window) == "2024-04-01 00:00:00 to 2024-04-01 01:00:00"
    assert window.seconds == 3601


def test_a_second_is_a_window_of_one() -> None:
    window = second("2024-04-01T12:00:00")
    assert window == Window(NOON, NOON)
    assert window.seconds == 1


@given(windows_of(st.integers(1, 5_000)), st.integers(-1, 6_000))
def test_parts_cover_their_window_and_only_the_last_is_shorter(
    window: Window, seconds: int
) -> None:
    parts = window.parts(seconds)
    assert covers(parts, window)
    assert {part.seconds for part in parts[:-1]} <= {max(1, seconds)}
    assert parts[-1].seconds <= max(1, seconds)


@given(windows_of(st.integers(2, 5_000)))
def test_halves_are_two(window: Window) -> None:
    halves = window.halves()
    assert covers(halves, window)
    assert len(halves) == 2
    assert halves[0].seconds - halves[1].seconds in {0, 1}


@given(windows_of(st.integers(2, 5_000)), st.integers(2, 10**12), st.data())
def test_a_split_makes_parts_that_hold_no_more_than_asked_where_sms_lie_evenly(
    window: Window, total: int, data: st.DataObject
) -> None:
    max_sms = data.draw(st.integers(1, total - 1))
    parts = split(window, total, max_sms)
    assert covers(parts, window)
    assert 1 < len(parts) <= MAX_PARTS, "splitting ends, and a false total makes few of them"
    seconds = max(PART_SHARE * max_sms * window.seconds / total, 1, -(-window.seconds // MAX_PARTS))
    assert all(part.seconds <= seconds for part in parts)


@given(
    windows_of(st.integers(2, 500)),
    # Also times outside of the window, which an account in another zone may give.
    st.dictionaries(st.integers(-50, 550), st.integers(1, 30), max_size=40),
    st.integers(1, 60),
)
def test_a_split_by_times_covers_its_window_and_makes_more_than_one_part(
    window: Window, counts: dict[int, int], max_sms: int
) -> None:
    parts = split_by_times(window, times_in(window, counts), max_sms)
    assert covers(parts, window)
    assert len(parts) > 1


@given(
    windows_of(st.just(500)),
    st.dictionaries(st.integers(0, 499), st.integers(1, 30), max_size=40),
    st.integers(1, 60),
)
def test_parts_by_times_are_full_but_for_seconds_that_hold_too_much(
    window: Window, counts: dict[int, int], max_sms: int
) -> None:
    times, limit = times_in(window, counts), PART_SHARE * max_sms
    parts = split_by_times(window, times, max_sms)
    held = [
        [c for t, c in times.items() if part.start <= datetime.fromisoformat(t) <= part.end]
        for part in parts
    ]
    assert all(sum(counted) <= limit or len(counted) == 1 for counted in held)
    if sum(counts.values()) > limit and len(counts) > 1:
        for counted, later in zip(held, parts[1:], strict=False):
            first = times.get(later.start.isoformat(), 0)
            assert sum(counted) + first > limit, "a part ends where it is full"


def test_where_times_make_no_split_a_window_is_halved() -> None:
    halves = [Window(START, NOON - SECOND), Window(NOON, DAY.end)]
    assert split_by_times(DAY, {}, 10) == halves
    assert split_by_times(DAY, {"2024-04-01T15:00:00": 9}, 10) == halves


def test_a_second_that_holds_too_much_is_a_part_of_its_own() -> None:
    assert split_by_times(DAY, {"2024-04-01T12:00:00": 99}, 10) == [
        Window(START, NOON - SECOND),
        Window(NOON, NOON),
        Window(NOON + SECOND, DAY.end),
    ]
