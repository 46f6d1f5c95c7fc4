"""Sends the requests, within a number of points, and puts into words what came.

Of what came only Calltouch's own sentences are quoted, without what may be private.
"""

import json
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, NamedTuple

import requests
from airbyte_cdk.utils.traced_exception import AirbyteTracedException

from source_calltouch_sms import api
from source_calltouch_sms.config import Config
from source_calltouch_sms.records import RecordMaker
from source_calltouch_sms.redaction import Redactor

SECOND = timedelta(seconds=1)
FEWER_DAYS = (365, 90, 30, 1)  # where the whole range is too much for the service
PATHS = [url.partition("/api/")[2] for url in (api.URL, api.URL_UNDER_ACCESS)]
# Whose text is not quoted: it names the user, or is none of Calltouch's sentences.
UNQUOTED = (api.NoAccess, api.NotJson, api.Undocumented)

Range = tuple[datetime, datetime]


class UnansweredError(Exception):
    """Why a question stays open."""


class LostError(Exception):
    """By what SMS would be lost unnoticed, and the sandbox's options that play it."""


class Reply(NamedTuple):
    """What came for one request."""

    words: str
    status: int = 0  # where no HTTP came
    headers: Mapping[str, str] = {}
    body: bytes = b""
    page: api.Page = api.Page(0, [])
    error: api.ErrorBody | None = None  # None where the connector reads a page
    seconds: float = 0.0

    @property
    def is_page(self) -> bool:
        return self.status > 0 and self.error is None

    @property
    def is_passing(self) -> bool:
        """Whether the rate was too high, or the network or the server failed."""
        return self.status in {0, 429} or self.status >= 500


class Calltouch:
    """The service, asked for one account's SMS."""

    def __init__(self, config: Config, points: int, pace: float, *, rate: bool) -> None:
        self.url, self.zone = config.api_url, config.zone
        self.points, self.pace, self.rate = points, pace, rate
        self.requests = self.spent = 0
        self._headers = {"Access-Token": config.access_token, "SiteId": config.site_id}
        self._redactor = Redactor(self._headers.values())
        self._reader = RecordMaker(config.site_id, config.zone)
        self._session = requests.Session()
        self._session.auth = lambda request: request  # else requests looks into ~/.netrc
        # An http address is one of this machine (`spec.json`): no proxy gets what is for it.
        self._session.trust_env = self.url.startswith("https:")
        # A minute back: clocks differ, and the newest SMS are still coming.
        self.now = datetime.now(self.zone).replace(tzinfo=None, microsecond=0) - 60 * SECOND
        self._start = min(config.start, self.now)

    def post(self, body: object, url: str = "", **headers: str) -> Reply:
        """Send a body, as JSON unless it is bytes; once more after a failure that may pass."""
        for wait in (self.pace, 2):
            if self.spent + api.POINTS_PER_CALL > self.points:
                raise UnansweredError(f"no points were left: {self.points} were allowed")
            time.sleep(wait)
            reply = self._send(body, url, headers)
            if not reply.is_passing:
                break
        return reply

    def _send(self, body: object, url: str, headers: Mapping[str, str]) -> Reply:
        self.requests += 1
        begun = time.monotonic()
        try:
            response = self._session.post(
                url or self.url,
                data=body if isinstance(body, bytes) else json.dumps(body),
                headers={"Content-Type": "application/json", **self._headers, **headers},
                timeout=60,
                allow_redirects=False,
            )
        except requests.RequestException:
            self.spent += api.POINTS_PER_CALL  # it may have succeeded there
            return Reply("no response")
        # The documentation charges successful requests; what else came under 200 may count as one.
        self.spent += api.POINTS_PER_CALL * (response.status_code == requests.codes.ok)
        status, took = response.status_code, time.monotonic() - begun
        told = f"HTTP {status}{' with a redirect' * response.is_redirect}, "
        came = status, response.headers, response.content
        try:
            page = api.read_page(response.content, response.headers.get("Content-Type", ""))
        except api.ErrorBody as error:
            words = str(type(error).__doc__).removesuffix(".")  # what such a body is
            if not isinstance(error, UNQUOTED):
                words += self._redactor.quote(str(error))
            return Reply(told + words, *came, api.Page(0, []), error, took)
        return Reply(told + ("with SMS" if page.rows else "no SMS"), *came, page, None, took)

    def ask(self, since: datetime, until: datetime, url: str = "", **fields: Any) -> Reply:
        ends = {"dateFrom": api.wire_time(since), "dateTo": api.wire_time(until)}
        return self.post(ends | fields, url)

    def get(self, since: datetime, until: datetime, **fields: Any) -> Reply:
        """Ask for a range that must be answered with a page."""
        reply = self.ask(since, until, **fields)
        if not reply.is_page and reply.is_passing:
            raise UnansweredError(f"the request met a fault: {reply.words}")
        if not reply.is_page:
            raise LostError(f"a request that is as documented is refused: {reply.words}")
        return reply

    def at_once(self, number: int) -> list[Reply]:
        body = self.body()
        time.sleep(1.5)  # the requests before are no longer in the same second
        with ThreadPoolExecutor(number) as threads:
            return list(threads.map(lambda _: self._send(body, "", {}), range(number)))

    @property
    def other_url(self) -> str:
        """The documentation's other URL, on the same host; "" if the URL is none of the two."""
        root, _, path = self.url.partition("/api/")
        return f"{root}/api/{PATHS[1 - PATHS.index(path)]}" if path in PATHS else ""

    @cached_property
    def attempts(self) -> list[tuple[str, Range, Reply]]:
        """Requests for the whole range, then for less or at the other URL, until a page came."""
        starts = {self._start, *(self.now - timedelta(days=days) for days in FEWER_DAYS)}
        attempts = []
        for start in sorted(start for start in starts if start >= self._start):
            asked = start, self.now
            reply = self.ask(*asked)
            attempts.append((self.url, asked, reply))
            if reply.is_page or isinstance(reply.error, (api.InvalidCredentials, api.NoAccess)):
                break
        if not reply.is_page and self.other_url:
            reply = self.ask(*asked, self.other_url)
            attempts.append((self.other_url, asked, reply))
            self.url = self.other_url if reply.is_page else self.url
        return attempts

    @property
    def range(self) -> Range:
        """The range that was answered."""
        return self.attempts[-1][1]

    @property
    def first(self) -> Reply:
        """The first page of that range."""
        if not self.attempts[-1][2].is_page:
            raise UnansweredError("no SMS were got, see the first question")
        return self.attempts[-1][2]

    @property
    def rows(self) -> list[dict[str, object]]:
        """That page's SMS, of which there are some."""
        if not self.first.page.rows:
            raise UnansweredError("the range has no SMS, or none on its first page")
        return self.first.page.rows

    @property
    def pages(self) -> int:
        """How many pages there are: several."""
        pages = -(-self.first.page.total // len(self.rows))
        if pages < 2:
            raise UnansweredError("the range has one page")
        return pages

    @cached_property
    def second(self) -> datetime:
        """A second of few SMS, if possible not a minute's first, in the middle of that page's."""
        counts = Counter(wall for _, wall in self.sms(self.first) if wall)
        if not counts:
            raise UnansweredError("the range has no SMS, or none whose date can be read")
        middle = sorted(counts)[len(counts) // 2]
        far = {wall: abs(wall - middle) for wall in counts}
        return min(counts, key=lambda wall: (wall.second in {0, 59}, counts[wall], far[wall]))

    @cached_property
    def in_second(self) -> Reply:
        return self.get(self.second, self.second)

    @cached_property
    def parts(self) -> list[Reply]:
        """That second, and the range before and after it."""
        since, until = self.range
        others = [(since, self.second - SECOND), (self.second + SECOND, until)]
        return [self.in_second, *(self.get(*ends) for ends in others if ends[0] <= ends[1])]

    def body(self, **fields: object) -> dict[str, object]:
        """Return a body for a range that is cheap to answer."""
        ends = (self.second, self.second) if self.first.page.rows else self.range
        return {"dateFrom": api.wire_time(ends[0]), "dateTo": api.wire_time(ends[1]), **fields}

    def sms(self, reply: Reply) -> list[tuple[int, datetime | None]]:
        """Return the page's SMS as the connector reads them: identities and wall times."""
        rows = [dict(row) for row in reply.page.rows]
        try:
            records = list(self._reader.records(rows, *self.range))
        except AirbyteTracedException:  # it can read no date
            return [(hash(json.dumps(row)), None) for row in rows]
        return [
            (
                hash((sms["phoneNumber"], sms["dateSent"], sms["smsMessage"])),
                datetime.fromisoformat(sms["dateSent"][:19]) if sms["dateSent"] else None,
            )
            for sms in records
        ]

    def count(self, *replies: Reply) -> Counter[int]:
        return Counter(identity for reply in replies for identity, _ in self.sms(reply))
