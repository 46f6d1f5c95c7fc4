"""Windows of time, and how they are split: `source_calltouch_sms.windows`."""

from datetime import datetime
from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from source_calltouch_sms.windows import MAX_PARTS, PART_SHARE, SECOND, Window

START = datetime(2024, 4, 1)
NOON = datetime(2024, 4, 1, 12)
DAY = Window(START, datetime(2024, 4, 1, 23, 59, 59))

windows = st.builds(
    lambda start, n: Window(
        start.replace(microsecond=0), start.replace(microsecond=0) + n * SECOND
    ),
    st.datetimes(datetime(2000, 1, 1), datetime(2030, 1, 1)),
    st.integers(1, 5_000),
)


def assert_covered(window: Window, parts: list[Window]) -> None:
    """See that parts hold each second of a window once, in order."""
    assert (parts[0].start, parts[-1].end) == window
    assert all(part.start <= part.end for part in parts)
    assert all(later.start == part.end + SECOND for part, later in pairwise(parts))


def test_a_windows_text_is_its_range_and_both_ends_are_inside() -> None:
    assert str(DAY) == "2024-04-01 00:00:00 to 2024-04-01 23:59:59"
    assert DAY.seconds == 86_400


@given(windows, st.integers(-1, 6_000))
def test_parts_cover_their_window_and_only_the_last_is_shorter(
    window: Window, seconds: int
) -> None:
    parts, halves = window.parts(seconds), window.halves()
    assert_covered(window, parts)
    assert {part.seconds for part in parts[:-1]} <= {max(1, seconds)}
    assert parts[-1].seconds <= max(1, seconds)
    assert_covered(window, halves)
    assert [half.seconds for half in halves] == [-(-window.seconds // 2), window.seconds // 2]


@given(windows, st.integers(1, 400))
def test_days_begin_at_midnight_but_the_first(window: Window, count: int) -> None:
    parts = window.days(count)
    assert_covered(window, parts)
    assert {str(part.start.time()) for part in parts[1:]} <= {"00:00:00"}
    assert all((part.end.date() - part.start.date()).days < count for part in parts)


@given(windows, st.integers(2, 10**12), st.data())
def test_a_split_makes_parts_that_hold_no_more_than_asked_where_sms_lie_evenly(
    window: Window, total: int, data: st.DataObject
) -> None:
    max_sms = data.draw(st.integers(1, total - 1))
    parts = window.split(total, max_sms)
    assert_covered(window, parts)
    assert 1 < len(parts) <= MAX_PARTS, "splitting ends, and a false total makes few of them"
    seconds = max(PART_SHARE * max_sms * window.seconds / total, 1, -(-window.seconds // MAX_PARTS))
    assert all(part.seconds <= seconds for part in parts)


@example(DAY, {0: 4, 1: 5, 2: 1}, 10)  # just full
@given(
    windows,
    # Also times outside of the window, which an account in another zone may give.
    st.dictionaries(st.integers(-50, 550), st.integers(1, 30), max_size=40),
    st.integers(1, 60),
)
def test_a_split_by_time_makes_full_parts_but_for_seconds_that_hold_too_much(
    window: Window, counts: dict[int, int], max_sms: int
) -> None:
    inside = {n: count for n, count in counts.items() if 0 <= n < window.seconds}
    limit = PART_SHARE * max_sms
    for seen in (counts, inside):
        times = {(window.start + n * SECOND).isoformat(): count for n, count in seen.items()}
        parts = window.split_by_time(times, max_sms)
        assert_covered(window, parts)
        assert len(parts) > 1
    held = [
        [c for t, c in times.items() if part.start <= datetime.fromisoformat(t) <= part.end]
        for part in parts
    ]
    assert all(sum(counted) <= limit or len(counted) == 1 for counted in held)
    if sum(inside.values()) > limit and len(inside) > 1:
        for counted, later in zip(held, parts[1:], strict=False):
            first = times.get(later.start.isoformat(), 0)
            assert sum(counted) + first > limit, "a part ends where it is full"
