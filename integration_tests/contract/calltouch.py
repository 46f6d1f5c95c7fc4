"""Sends the suite's requests, within a number of points, and puts what came into words.

What the service sends is shown by this file's own words, never by its own: they may hold a token, a
number or a text.
"""

import json
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import requests

from source_calltouch_sms import api

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
# Where the whole range is too much for the service, the newest days of it.
FEWER_DAYS = (365, 90, 30, 1)
TIMEOUT_SECONDS = 60
TRIES_OVER_THE_RATE = 5
TRIES_AFTER_A_FAULT = 2
OK = 200
TOO_MANY_REQUESTS = 429

# The forms of the documented error bodies, as the sandbox's `--refusal` names them.
FORMS: dict[type[api.ErrorBody], tuple[str, str]] = {
    api.InvalidCredentials: ("credentials", "the documented body of a wrong token"),
    api.NoAccess: ("right", "the documented body of a missing right"),
    api.MissingField: ("message", "the documented body of a missing field"),
    api.OtherMessage: ("message", "a message in words that are not documented"),
    api.ValidationError: ("violations", "the documented list of violations"),
    api.RefusedRange: ("violations", "a refusal of the dates in words that are not documented"),
    api.RefusedPage: ("violations", "a refusal of the page alone"),
    api.UnreadableRequest: ("error", "the documented apiError body"),
    api.ApiError: ("error", "an apiError body of a code that is not documented"),
    api.NotJson: ("html", "a body that is not JSON"),
    api.NoData: ("message", "JSON with nothing in it"),
    api.Undocumented: ("html", "JSON that matches nothing documented"),
}

Identity = tuple[str, str, str]
Range = tuple[datetime, datetime]


@dataclass(frozen=True, repr=False)  # it holds what is private
class Reply:
    """What came for one request; `status` is 0 where nothing did."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float

    @cached_property
    def page(self) -> api.Page | None:
        """The page, if the connector can read the body as one."""
        return self._read[0]

    @cached_property
    def answer(self) -> api.ErrorBody | None:
        """What the body is, if it is no page."""
        return self._read[1]

    @cached_property
    def _read(self) -> tuple[api.Page | None, api.ErrorBody | None]:
        try:
            return api.read_page(self.body), None
        except api.ErrorBody as answer:
            return None, answer

    @property
    def form(self) -> str:
        """The form of the error body, as the sandbox names it."""
        return FORMS[type(self.answer)][0] if self.answer else ""

    @property
    def words(self) -> str:
        """The status, and what the body is."""
        if not self.status:
            return "no response"
        if self.page:
            return f"HTTP {self.status} with SMS" if self.rows else f"HTTP {self.status}, no SMS"
        return f"HTTP {self.status}, {FORMS[type(self.answer)][1] if self.answer else ''}"

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The page's SMS."""
        return self.page.rows if self.page else []

    @property
    def total(self) -> int:
        """`totalCountSms`."""
        return self.page.total if self.page else 0


def identity(row: Mapping[str, Any]) -> Identity:
    """Return what does not change of an SMS."""
    number, sent, text = (str(row.get(k)) for k in ("phoneNumber", "dateSent", "smsMessage"))
    wall = sent_at(row)
    return number, str(wall or sent), text


def sent_at(row: Mapping[str, Any]) -> datetime | None:
    """Return the SMS's wall time, or None where the connector cannot read it."""
    try:
        return api.read_wire_time(str(row.get("dateSent")))
    except ValueError:
        return None


@dataclass(frozen=True)
class Attempt:
    """One request for a range, at one of the two URLs."""

    url: str
    asked: Range
    reply: Reply


class Calltouch:
    """The service, asked for one account's SMS."""

    def __init__(self, path: Path, points: int, pace: float) -> None:
        config = json.loads(path.read_bytes())
        self.url: str = config.get("api_url") or api.URL
        self.zone = ZoneInfo(config.get("timezone") or "Europe/Moscow")
        self.points, self.pace = points, pace
        self.requests = self.spent = 0
        self._headers = {"Access-Token": config["access_token"], "SiteId": config["site_id"]}
        # A minute back: clocks differ, and the newest SMS are still coming.
        self.now = datetime.now(self.zone).replace(tzinfo=None, microsecond=0) - MINUTE
        self._start = min(datetime.fromisoformat(config["start_date"]), self.now)
        self._sent_at = 0.0

    # Requests.

    def post(self, body: object, url: str = "", **headers: str) -> Reply:
        """Send a body, as JSON unless it is bytes.

        A request over the rate is sent again, and one that met a fault of the network or the server
        is, once.
        """
        limited = faults = 0
        while True:
            if self.spent + api.POINTS_PER_CALL > self.points:
                pytest.skip(f"no points were left: {self.points} were allowed")
            time.sleep(max(0, self._sent_at + self.pace - time.monotonic()))
            self._sent_at = time.monotonic()
            reply = self._send(body, url, headers)
            limited += reply.status == TOO_MANY_REQUESTS
            faults += reply.status == 0 or reply.status >= 500
            if reply.status == TOO_MANY_REQUESTS and limited < TRIES_OVER_THE_RATE:
                time.sleep(_seconds(reply.headers.get("Retry-After")))
            elif faults in {0, TRIES_AFTER_A_FAULT} or reply.status not in {0, *range(500, 600)}:
                return reply

    def _send(self, body: object, url: str, headers: Mapping[str, str]) -> Reply:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.requests += 1
        begun = time.monotonic()
        try:
            response = requests.post(
                url or self.url,
                data=content,
                headers={"Content-Type": "application/json", **self._headers, **headers},
                timeout=TIMEOUT_SECONDS,
                allow_redirects=False,
            )
        except requests.RequestException:
            self.spent += api.POINTS_PER_CALL  # it may have succeeded there
            return Reply(0, {}, b"", time.monotonic() - begun)
        # The documentation charges successful requests; what else came under 200 may count as one.
        self.spent += api.POINTS_PER_CALL if response.status_code == OK else 0
        return Reply(
            response.status_code, response.headers, response.content, time.monotonic() - begun
        )

    def ask(self, since: datetime, until: datetime, url: str = "", **fields: object) -> Reply:
        """Ask for a range."""
        return self.post(
            {"dateFrom": api.wire_time(since), "dateTo": api.wire_time(until), **fields}, url
        )

    def get(self, since: datetime, until: datetime, **fields: object) -> Reply:
        """Ask for a range that must be answered with a page; a fault leaves the question open."""
        reply = self.ask(since, until, "", **fields)
        if reply.page is None:
            if reply.status == 0 or reply.status >= 500 or reply.status == TOO_MANY_REQUESTS:
                pytest.skip(f"the request met a fault: {reply.words}")
            pytest.fail(f"a request that is as documented is refused: {reply.words}", pytrace=False)
        return reply

    def at_once(self, count: int) -> list[Reply]:
        """Send the same request several times at once."""
        body = dict(zip(("dateFrom", "dateTo"), map(api.wire_time, self.second), strict=True))
        time.sleep(1.5)  # the requests before are no longer in the same second
        with ThreadPoolExecutor(count) as threads:
            return list(threads.map(lambda _: self._send(body, "", {}), range(count)))

    # What several questions look at.

    @property
    def other_url(self) -> str:
        """The documentation's other URL, on the same host."""
        used, other = (url.partition("/api/")[2] for url in (api.URL, api.URL_UNDER_ACCESS))
        if self.url.endswith(f"/{other}"):
            used, other = other, used
        return self.url.removesuffix(used) + other if self.url.endswith(f"/{used}") else ""

    @property
    def is_under_access(self) -> bool:
        """Whether the URL in use is the one that the documentation names under access."""
        return self.url.endswith(api.URL_UNDER_ACCESS.partition("/api/")[2])

    @cached_property
    def attempts(self) -> list[Attempt]:
        """Requests for the whole range, then for less or at the other URL, until a page came."""
        starts = {self._start, *(self.now - timedelta(days=days) for days in FEWER_DAYS)}
        attempts: list[Attempt] = []
        for start in sorted(start for start in starts if start >= self._start):
            reply = self.ask(start, self.now)
            attempts.append(Attempt(self.url, (start, self.now), reply))
            if reply.page or 0 < reply.status < 500:
                break
        if not attempts[-1].reply.page and self.other_url:
            reply = self.ask(*attempts[-1].asked, url=self.other_url)
            attempts.append(Attempt(self.other_url, attempts[-1].asked, reply))
            if reply.page:
                self.url = self.other_url
        return attempts

    @property
    def range(self) -> Range:
        """The range that was answered."""
        return self.attempts[-1].asked

    @property
    def first(self) -> Reply:
        """The first page of that range."""
        reply = self.attempts[-1].reply
        if not reply.page:
            pytest.skip("no SMS were got, see the first question")
        return reply

    @property
    def rows(self) -> list[dict[str, Any]]:
        """That page's SMS, of which there are some."""
        rows = self.first.rows
        if not rows:
            pytest.skip("the range has no SMS" + (" on its first page" * (self.first.total > 0)))
        return rows

    @property
    def pages(self) -> int:
        """How many pages there are."""
        return -(-self.first.total // len(self.rows))

    @property
    def times(self) -> list[datetime]:
        """The readable times of that page's SMS."""
        times = [wall for wall in map(sent_at, self.rows) if wall]
        if not times:
            pytest.skip("no date could be read")
        return times

    @cached_property
    def second(self) -> Range:
        """A second of few SMS, if possible not a minute's first, in the middle of that page's."""
        counts = Counter(self.times)
        ordered = sorted(counts)
        places = {wall: abs(place - len(ordered) // 2) for place, wall in enumerate(ordered)}
        best = min(ordered, key=lambda wall: (wall.second in {0, 59}, counts[wall], places[wall]))
        return best, best

    @cached_property
    def from_second_to_itself(self) -> Reply:
        """What comes where both ends of the range are that second."""
        return self.get(*self.second)

    @property
    def in_second(self) -> Reply:
        """The SMS of that second, of which there are some."""
        if not self.from_second_to_itself.rows:
            pytest.skip("a range of one second brings no SMS, see above")
        return self.from_second_to_itself

    @cached_property
    def again(self) -> Reply:
        """The first page, asked for once more."""
        self.first  # noqa: B018 - skips where there is none
        return self.get(*self.range)


def _seconds(retry_after: str | None) -> int:
    return min(5, int(retry_after)) if retry_after and retry_after.isdecimal() else 1
