"""A model of a Calltouch account: what the connector must reproduce."""

import json
import random
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from io import BytesIO
from typing import Any

import pendulum
import requests
from airbyte_cdk.sources.streams.http.request_window_split_exception import (
    RequestWindowSplitRequiredException,
)
from hypothesis import strategies as st

from source_calltouch_sms import api
from source_calltouch_sms.completeness import Answer
from source_calltouch_sms.errors import RefusedError, config_error, transient_error
from source_calltouch_sms.records import RecordMaker
from source_calltouch_sms.windows import PageRequest

Row = dict[str, Any]
Identity = tuple[Any, Any, Any]

HALF = "half of the answer"
FAULTS = {
    "429": (429, ""),
    "500": (500, "<html>"),
    "503": (503, '{"message": "Авария"}'),
    "408": (408, ""),
    "half": (200, HALF),
    "html": (200, "<html>"),
    "empty": (200, ""),
    "api-error": (400, '{"data": {"apiErrorData": {"errorCode": 5, "errorMessage": "Сбой"}}}'),
    "revoked": (200, '{"message": "Invalid credentials."}'),
    "refused": (200, '{"data": {"validationErrorData": {"violations": [{"message": "Сбой"}]}}}'),
}

TOKEN = "model-token"
SITE_ID = "4242"
MAKER = RecordMaker(SITE_ID, pendulum.timezone("Europe/Moscow"))
START = datetime(2024, 4, 1)
SECONDS = 6_523_200
"""From the settings' start date to their now."""


def row(
    sent: datetime | str, number: str = "70000000001", text: str = "Привет", **more: Any
) -> Row:
    """Return an SMS as the API gives it; `sent` is a wall time."""
    return {
        "phoneNumber": number,
        "dateSent": sent if isinstance(sent, str) else api.wire_time(sent),
        "smsStatus": "delivered",
        "smsStatusDetail": "Доставлено",
        "smsMessage": text,
        **more,
    }


rows_of_an_account = st.lists(
    st.builds(
        lambda second, number, text: row(
            START + timedelta(seconds=second), f"7000000000{number}", text
        ),
        # Bursts in a second, the borders of the range, of months and of summer time.
        st.sampled_from([0, 1, 2_591_999, 2_592_000, 3_000_000, 3_000_000, SECONDS])
        | st.integers(0, SECONDS),
        st.integers(0, 2),
        st.sampled_from(["", "a", "b"]),
    ),
    max_size=60,
)


def most_at_once(rows: Iterable[Row]) -> int:
    """Count the most SMS of one number in one second: a page of Calltouch's holds far more."""
    return max(Counter((r["phoneNumber"], r["dateSent"]) for r in rows).values(), default=1)


@dataclass
class Account:
    """Rows, and how they are served. The hooks take the number of a call, from 1."""

    rows: list[Row]
    page_size: int = api.PAGE_SIZE
    order: Callable[[Row], Any] = lambda _: 0
    before_answer: Callable[[int], object] = lambda _: None
    """May change the account as a call comes in, whose body is the last of `bodies`."""
    spoil: Callable[[int, dict[str, Any]], object] = lambda *_: None
    """May change a page."""
    faults: dict[int, str] = field(default_factory=dict)
    """What happens to the call of that number, by its name in `FAULTS`."""
    longest: timedelta | None = None
    """A longer range is answered with 504."""
    shuffle: random.Random | None = None
    """Rows that `order` does not tell apart come in another order at every call."""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, request: Any, context: Any) -> str:
        """Answer a call, as the API's page says."""
        with self._lock:
            status, text = self._answer(request.json())
        context.status_code = status
        return text

    def fetch(self, request: PageRequest) -> requests.Response:
        """Answer without HTTP, as the CDK's client does after its last try."""
        bounds = map(api.wire_time, request.window)
        body: dict[str, Any] = dict(zip(("dateFrom", "dateTo"), bounds, strict=True))
        if request.phone_numbers:
            body["phoneNumbers"] = list(request.phone_numbers)
        if request.page > 1:
            body["pageOfResult"] = request.page
        asked = dict(body)
        with self._lock:
            status, text = self._answer(body)
        if status >= 500 and request.window.seconds > 86_400:
            raise RequestWindowSplitRequiredException
        if status >= 400:
            raise transient_error(f"Calltouch failed (HTTP {status})")
        try:
            api.read_page(text.encode())
        except api.ValidationError as words:
            raise RefusedError(str(words)) from None
        except api.InvalidCredentials as words:
            raise config_error(f"Calltouch does not accept the API token: {words}") from None
        except api.ErrorBody:
            pass  # a large answer is decoded when it is due
        return response(text, asked=asked)

    def _answer(self, body: dict[str, Any]) -> tuple[int, str]:
        self.bodies.append(body)
        call = len(self.bodies)
        self.before_answer(call)
        start, end = (api.read_wire_time(body[bound]) for bound in ("dateFrom", "dateTo"))
        assert start <= end
        assert set(body) <= {"dateFrom", "dateTo", "phoneNumbers", "pageOfResult"}
        if self.longest and end - start > self.longest:
            return 504, "<html>"
        if self.shuffle:
            self.shuffle.shuffle(self.rows)
        document = self._document(body, start, end)
        if "totalCountSms" in document["data"]:
            self.spoil(call, document["data"])
        answer = json.dumps(document)
        status, text = FAULTS.get(self.faults.get(call, ""), (200, answer))
        return status, answer[: len(answer) // 2] if text == HALF else text

    def _document(self, body: dict[str, Any], start: datetime, end: datetime) -> dict[str, Any]:
        selection = [r for r in self.rows if start <= sent(r) <= end]
        if "phoneNumbers" in body:
            assert 1 <= len(body["phoneNumbers"]) <= api.MAX_NUMBERS
            wanted = {last_digits(number) for number in body["phoneNumbers"]}
            selection = [r for r in selection if last_digits(r["phoneNumber"]) in wanted]
        selection.sort(key=self.order)
        page = body.get("pageOfResult", 1)
        assert "pageOfResult" not in body or page > 1
        first = (page - 1) * self.page_size
        if page > 1 and first >= len(selection):
            violations = [{"fieldPath": "pageOfResult", "message": "Слишком большое значение"}]
            return {"meta": [], "data": {"validationErrorData": {"violations": violations}}}
        return {
            "meta": [],
            "data": {
                "totalCountSms": len(selection),
                "pageOfResult": page,
                "smsDetails": selection[first : first + self.page_size],
            },
        }

    def identities(self) -> Counter[Identity]:
        """Count the SMS that are there."""
        return identities(self.rows)


def sent(sms: Row) -> datetime:
    """Read an SMS's wall time; one without a readable time stands where its `_at` says."""
    return api.read_wire_time(sms.get("_at") or sms["dateSent"])


def last_digits(number: str) -> str:
    """Return what tells a number from others, whatever its mask."""
    return re.sub(r"\D", "", number)[-10:]


def identity(sms: Row) -> Identity:
    """Return number, text and wall time of a row or of a record."""
    wall = sms["dateSent"]
    if isinstance(wall, str) and "T" in wall:
        wall = api.wire_time(datetime.fromisoformat(wall).replace(tzinfo=None))
    return sms["phoneNumber"], wall, sms["smsMessage"]


def identities(records: Iterable[Row]) -> Counter[Identity]:
    """Count rows or records by what does not change of them."""
    return Counter(identity(record) for record in records)


def response(
    body: bytes | str = b"", status: int = 200, asked: Any = None, **headers: str
) -> requests.Response:
    """Return an answer as requests gives it; `asked` is the body of the request."""
    answer = requests.Response()
    answer.status_code = status
    answer.url = api.URL
    answer.raw = BytesIO(body.encode() if isinstance(body, str) else body)
    answer.headers.update({name.replace("_", "-"): value for name, value in headers.items()})
    answer.request = requests.Request("POST", api.URL, json=asked).prepare()
    return answer


def parse(answer: requests.Response) -> Answer:
    """Read a page that `Account.fetch` has given."""
    asked = json.loads(answer.request.body or b"")
    try:
        page = api.read_page(answer.content)
    except api.ErrorBody as error:
        raise transient_error(f"Calltouch's answer is cut off: {error}") from None
    bounds = (api.read_wire_time(asked[bound]) for bound in ("dateFrom", "dateTo"))
    return Answer(page.total, list(MAKER.records(page.rows, *bounds)))
