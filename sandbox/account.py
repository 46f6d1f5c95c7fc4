"""The account: made-up SMS by time, and how they are found, ordered and shown."""

import argparse
import random
import re
import time
from bisect import bisect_left, bisect_right, insort
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from operator import attrgetter
from typing import NamedTuple

from sandbox import shapes
from sandbox.options import DATE_FORMATS, DAY_FIRST
from sandbox.texts import PASSED_ON, QUEUED, UNANSWERED, UNDELIVERED

Row = Mapping[str, object]

SLOWEST = 3 * 86_400  # seconds; no status settles later than this after the SMS was sent
# No area or operator code of the +7 zone begins with 0: the digit is reserved for the trunk prefix.
# So +7 000 xxx-xx-xx looks like a phone number and can be nobody's.
NOBODY = "0000000000"


class Sms(NamedTuple):
    """One SMS. Times in one zone are compared by wall clock, which is all that the method knows."""

    sent: datetime
    place: float  # in the mixed order
    number: str  # the last ten digits
    row: Row  # with its last status
    settles: int = 0  # seconds after it was sent


class Account:
    """The SMS of one Calltouch account. Equal options in one minute make equal ones."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.zone = options.zone
        self.forward = 0.0  # seconds by which the clock was moved
        self.changes = 0  # how many SMS were added so far
        # Not the newest minute, which a client may leave out as still being written.
        self.made_until = self.now().replace(second=0) - timedelta(minutes=2)
        self.start = self.made_until - timedelta(options.days)
        self.sms = sorted(self._make(options), key=attrgetter("sent"))

    def _make(self, options: argparse.Namespace) -> list[Sms]:
        """Return the made-up SMS; some agree in number, second and text."""
        dice = random.Random(1)
        sent = shapes.sent(options, self.start.timestamp(), self.made_until.timestamp(), dice)
        clients, group = max(1, len(sent) // 5), max(30, len(sent) // 200)
        made: list[Sms] = []
        for at, (instant, text, final) in enumerate(sent):
            number = f"000{dice.randint(1, clients):07}"
            settles = dice.randrange(*((3600, SLOWEST) if dice.random() < 0.25 else (20, 600)))
            words = text.replace("#", str(dice.randrange(1_000, 10_000)))
            wall, place = datetime.fromtimestamp(instant, self.zone), dice.random()
            row = {"phoneNumber": f"7{number}", "dateSent": f"{wall:{DAY_FIRST}}"}
            row |= {**shown(final), "smsMessage": words}
            sms = Sms(wall, place, number, row, settles)
            turn, rest = divmod(at, group)
            if rest == group - 2 or (rest == group - 1 and turn % 3 == 0):
                twin = made[-1]._replace(place=place)
                failed = {**twin.row, **shown(dice.choice(UNDELIVERED))}
                other = twin._replace(row=failed, settles=settles)
                sms = twin if turn % 2 else other
            made.append(sms)
        return made

    def now(self) -> datetime:
        """Return what the account's clock shows now, to the second."""
        return datetime.fromtimestamp(int(time.time() + self.forward), self.zone)

    def wall_time(self, text: str) -> datetime | None:
        """Read `01-04-2024 09:00:00` or `01.04.2024 09:00:00`; None if it is not such a date."""
        for form in (DAY_FIRST, DATE_FORMATS["dd.mm.yyyy"]):
            with suppress(ValueError):
                wall = datetime.strptime(text, form).replace(tzinfo=self.zone)
                if f"{wall:{form}}" == text:  # strptime takes single digits, too
                    return wall
        return None

    def add(self, rows: Sequence[Row]) -> None:
        """Add rows as they are; one without a date stands where the made SMS end."""
        for row in rows:
            self.changes += 1
            at = self.wall_time(str(row.get("dateSent"))) or self.made_until
            number = last_digits(row.get("phoneNumber"))
            insort(self.sms, Sms(at, -self.changes, number, row), key=attrgetter("sent"))

    def add_late(self, at: datetime, number: str = NOBODY) -> None:
        """Add an SMS that appears later than others, to the number with these ten digits."""
        row = {"phoneNumber": f"7{number}", "dateSent": f"{at:{DAY_FIRST}}", **shown(PASSED_ON)}
        self.add([row | {"smsMessage": f"Это SMS появилось позже других: {self.changes}"}])

    def remove(self, gone: Sequence[Sms]) -> None:
        """Delete SMS."""
        ids = set(map(id, gone))
        self.sms = [sms for sms in self.sms if id(sms) not in ids]

    def find(
        self,
        since: datetime,
        until: datetime,
        numbers: frozenset[str] | None = None,
        order: str = "ascending",
    ) -> list[Sms]:
        """Return the SMS of `since`..`until`, both included; `numbers` are last ten digits.

        In `ties`, by time, those of one second stand in a new order at every call. `mixed` is the
        same at every call and not by time: what was added last comes first.
        """
        first = bisect_left(self.sms, since, key=attrgetter("sent"))
        last = bisect_right(self.sms, min(until, self.now()), key=attrgetter("sent"))
        found = self.sms[first:last]
        if numbers is not None:
            found = [sms for sms in found if sms.number in numbers]
        if order == "mixed":
            found.sort(key=attrgetter("place"))
        elif order == "ties":
            found.sort(key=lambda sms: (sms.sent, random.random()))
        return found[::-1] if order == "descending" else found

    def everything(self) -> list[Sms]:
        """Return all SMS, by time."""
        return self.find(datetime.min.replace(tzinfo=self.zone), self.now())

    def rows(self, found: Sequence[Sms], form: str = DAY_FIRST) -> list[Row]:
        """Return SMS as they are now, their dates in that form."""
        now = self.now()
        return [self._row(sms, now, form) for sms in found]

    def _row(self, sms: Sms, now: datetime, form: str) -> Row:
        age, row = (now - sms.sent).total_seconds(), sms.row
        if age < sms.settles:
            share = age / sms.settles
            status = PASSED_ON if share >= 0.4 else UNANSWERED if share >= 0.1 else QUEUED
            row = {**row, **shown(status)}
        # A date that was given in another form stays as it is.
        if form != DAY_FIRST and row.get("dateSent") == f"{sms.sent:{DAY_FIRST}}":
            row = {**row, "dateSent": f"{sms.sent:{form}}"}
        return row


def shown(status: tuple[str, str]) -> dict[str, str]:
    """Return the fields of a status."""
    return {"smsStatus": status[0], "smsStatusDetail": status[1]}


def last_digits(number: object) -> str:
    """Return a phone number's last ten digits, in whatever format it is, or as many as it has."""
    return re.sub(r"\D", "", str(number), flags=re.ASCII)[-10:]
