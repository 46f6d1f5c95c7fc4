"""When the SMS of an account were sent, with which text, and what became of them."""

import random
from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from datetime import time as clock
from typing import NamedTuple
from zoneinfo import ZoneInfo

from sandbox.options import Making
from sandbox.texts import BAD, FINAL, RECENT, SERVICE, SETTLED, TEMPLATES
from sandbox.times import DAY

HOUR = 3600
LATE_DAYS = 30
BURST = 31_000
HOLIDAYS = {*((1, day) for day in range(1, 9)), (2, 23), (3, 8), (5, 1), (5, 9), (6, 12), (11, 4)}
BAD_BEFORE = 40  # days before the end
WEEK = (20, 20, 20, 20, 20, 12, 8)  # codes and orders, Monday to Sunday

Statuses = Sequence[tuple[str, str]]


class Sent(NamedTuple):
    """An SMS: the instant at which it was sent, the number of its text, and its final status."""

    instant: int
    text: int
    final: tuple[str, str]


class _Span(NamedTuple):
    """A part of the SMS, by weight, spread evenly between two instants."""

    start: float
    stop: float
    weight: float
    texts: Sequence[int]
    finals: Statuses


def sent(making: Making, until: int, dice: random.Random) -> list[Sent]:
    """Return the account's SMS by time, up to `ahead` days later than `until`."""
    since, until = until - making.days * DAY, until + making.ahead * DAY
    also = [status for status in making.also_statuses for _ in range(16)]
    sms: list[Sent] = []
    spans = list(_spans(making, since, until, dice))
    weight, passed = sum(span.weight for span in spans), 0.0
    for start, stop, part, texts, finals in spans:
        passed += part
        count = round(making.sms * passed / weight) - len(sms)
        step = (stop - start) / max(1, count)
        outcomes = [*also, *finals]
        sms += [
            Sent(int(start + (i + dice.random()) * step), dice.choice(texts), dice.choice(outcomes))
            for i in range(count)
        ]
    sms.sort(key=lambda each: each.instant)
    if making.mailings:
        sms = [
            each._replace(instant=sms[place - place % making.mailings].instant)
            for place, each in enumerate(sms)
        ]
    return sms


def _spans(making: Making, since: int, until: int, dice: random.Random) -> Iterator[_Span]:
    texts = range(len(TEMPLATES))
    if making.shape == "business":
        yield from _business(making, since, until, dice)
    elif making.shape == "late":
        border = max(since, until - LATE_DAYS * DAY)
        yield _Span(since, border, making.sms // 10 if border > since else 0, texts, FINAL)
        yield _Span(border, until, making.sms - making.sms // 10, texts, FINAL)
    elif making.shape == "burst":
        together, moment = min(BURST, making.sms), until - making.days * DAY // 3
        yield _Span(moment, moment, together, texts, FINAL)
        yield _Span(since, until, making.sms - together, texts, FINAL)
    elif making.shape == "even":
        yield _Span(since, until, 1, texts, FINAL)


def _business(making: Making, since: int, until: int, dice: random.Random) -> Iterator[_Span]:
    """Yield codes and orders of each day, and mailings on weekdays; one of them is a bad one.

    Statuses that never settle are found among the last SMS alone, as in an account whose carriers
    give up after some weeks.
    """
    zone = ZoneInfo(making.zone)
    first, last = (datetime.fromtimestamp(end, zone).date() for end in (since, until))
    services, mailings = range(len(SERVICE)), range(len(SERVICE), len(TEMPLATES))
    bad = _weekday(last - timedelta(min(BAD_BEFORE, making.days // 2)))
    for number in range((last - first).days + 1):
        day = first + timedelta(number)
        midnight = datetime.combine(day, clock(), zone).timestamp()
        quiet = (day.month, day.day) in HOLIDAYS
        finals = RECENT if (last - day).days < LATE_DAYS else SETTLED
        weight = WEEK[day.weekday()] * dice.uniform(0.8, 1.2) * (0.2 if quiet else 1)
        parts = [_Span(midnight + 9 * HOUR, midnight + 21 * HOUR, weight, services, finals)]
        if day == bad or (day.weekday() in {1, 3} and not quiet):
            weight, outcomes = (300, BAD) if day == bad else (dice.uniform(30, 120), finals)
            start = midnight + 11 * HOUR
            parts.append(_Span(start, start + 900, weight, [dice.choice(mailings)], outcomes))
        for part in parts:
            start, stop = max(since, part.start), min(until, part.stop)
            if start < stop:
                yield part._replace(start=start, stop=stop)


def _weekday(day: date) -> date:
    return day - timedelta(max(0, day.weekday() - 4))
