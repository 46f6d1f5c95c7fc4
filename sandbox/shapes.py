"""When the SMS of an account were sent, with which text, and what became of them."""

import argparse
import random
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from datetime import time as clock
from typing import NamedTuple

from sandbox.texts import BAD, FINAL, MAILINGS, RECENT, SERVICE, SETTLED, TEMPLATES

DAY, HOUR = 86_400, 3_600
LATE_DAYS = 30
BURST = 31_000
HOLIDAYS = {*((1, day) for day in range(1, 9)), (2, 23), (3, 8), (5, 1), (5, 9), (6, 12), (11, 4)}
BAD_BEFORE = 40  # days before the end
WEEK = (20, 20, 20, 20, 20, 12, 8)  # codes and orders, Monday to Sunday

Sent = tuple[int, str, tuple[str, str]]
"""The instant at which an SMS was sent, its text, and its final status."""


class _Span(NamedTuple):
    """A part of the SMS, by weight, spread evenly between two instants."""

    start: float
    stop: float
    weight: float
    texts: Sequence[str] = TEMPLATES
    finals: Sequence[tuple[str, str]] = FINAL


def sent(
    options: argparse.Namespace, since: float, until: float, dice: random.Random
) -> list[Sent]:
    """Return the account's SMS by time."""
    spans = list(_spans(options, since, until, dice))
    texts = {text: _of_length(text, options.text_length) for text in TEMPLATES}
    weight, passed = sum(span.weight for span in spans) or 1, 0.0
    sms: list[Sent] = []
    for span in spans:
        passed += span.weight
        count = round(options.sms * passed / weight) - len(sms)
        step = (span.stop - span.start) / max(1, count)
        sms += [
            (
                int(span.start + (i + dice.random()) * step),
                texts[dice.choice(span.texts)],
                dice.choice(span.finals),
            )
            for i in range(count)
        ]
    sms.sort()
    together = options.mailings
    return [(sms[at - at % together][0], *each[1:]) for at, each in enumerate(sms)]


def _of_length(text: str, length: int) -> str:
    return (text.replace("#", "") * length)[: length - 5] + " #" if length else text


def _spans(
    options: argparse.Namespace, since: float, until: float, dice: random.Random
) -> Iterator[_Span]:
    if options.shape == "business":
        yield from _business(options, since, until, dice)
    elif options.shape == "late":
        border = max(since, until - LATE_DAYS * DAY)
        yield _Span(since, border, 1 if border > since else 0)
        yield _Span(border, until, 9)
    elif options.shape == "burst":
        together, moment = min(BURST, options.sms), until - options.days * DAY // 3
        yield _Span(moment, moment, together)
        yield _Span(since, until, options.sms - together)
    elif options.shape == "even":
        yield _Span(since, until, 1)


def _business(
    options: argparse.Namespace, since: float, until: float, dice: random.Random
) -> Iterator[_Span]:
    """Yield codes and orders of each day, and mailings on weekdays; one of them is a bad one.

    Statuses that never settle are found among the last SMS alone, as in an account whose carriers
    give up after some weeks.
    """
    first, last = (datetime.fromtimestamp(end, options.zone).date() for end in (since, until))
    bad = last - timedelta(min(BAD_BEFORE, options.days // 2))
    bad -= timedelta(max(0, bad.weekday() - 4))  # on a weekday
    for number in range((last - first).days + 1):
        day = first + timedelta(number)
        midnight = datetime.combine(day, clock(), options.zone).timestamp()
        quiet = (day.month, day.day) in HOLIDAYS
        finals = RECENT if (last - day).days < LATE_DAYS else SETTLED
        weight = WEEK[day.weekday()] * dice.uniform(0.8, 1.2) * (0.2 if quiet else 1)
        parts = [_Span(midnight + 9 * HOUR, midnight + 21 * HOUR, weight, SERVICE, finals)]
        if day == bad or (day.weekday() in {1, 3} and not quiet):
            weight, outcomes = (300, BAD) if day == bad else (dice.uniform(30, 120), finals)
            start = midnight + 11 * HOUR
            parts.append(_Span(start, start + 900, weight, [dice.choice(MAILINGS)], outcomes))
        for part in parts:
            start, stop = max(since, part.start), min(until, part.stop)
            if start < stop:
                yield part._replace(start=start, stop=stop)
