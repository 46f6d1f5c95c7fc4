"""A model of a Calltouch account, behind requests-mock: what the connector must reproduce."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import requests
import requests_mock

from source_calltouch_sms import api

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
    "unknown": (200, '{"result": []}'),
}

TOKEN = "model-token"
SITE_ID = "4242"


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


@dataclass
class Account:
    """Rows, and how they are served. `before_answer` may change the rows as a call comes in."""

    rows: list[Row]
    page_size: int = api.PAGE_SIZE
    order: Callable[[Row], Any] = lambda _: 0
    before_answer: Callable[[int], None] = lambda _: None
    spoil: Callable[[int, dict[str, Any]], None] = lambda *_: None
    """Changes the answer to the call of that number, from 1."""
    faults: dict[int, str] = field(default_factory=dict)
    """What happens to the call of that number, by its name in `FAULTS`."""
    bodies: list[dict[str, Any]] = field(default_factory=list)

    def answer(self, request: Any, context: Any) -> str:
        """Answer a call, as the API's page says."""
        body = request.json()
        self.bodies.append(body)
        self.before_answer(len(self.bodies))
        start, end = (api.read_wire_time(body[bound]) for bound in ("dateFrom", "dateTo"))
        assert start <= end
        assert set(body) <= {"dateFrom", "dateTo", "phoneNumbers", "pageOfResult"}
        selection = [r for r in self.rows if start <= sent(r) <= end]
        if "phoneNumbers" in body:
            wanted = {last_digits(number) for number in body["phoneNumbers"]}
            selection = [r for r in selection if last_digits(r["phoneNumber"]) in wanted]
        selection.sort(key=self.order)
        page = body.get("pageOfResult", 1)
        assert "pageOfResult" not in body or page > 1
        first = (page - 1) * self.page_size
        document = {
            "meta": [],
            "data": {
                "totalCountSms": len(selection),
                "pageOfResult": page,
                "smsDetails": selection[first : first + self.page_size],
            },
        }
        self.spoil(len(self.bodies), document)
        answer = json.dumps(document)
        status, text = FAULTS.get(self.faults.get(len(self.bodies), ""), (200, None))
        context.status_code = status
        return answer[: len(answer) // 2] if text == HALF else answer if text is None else text

    def serve(self, mock: requests_mock.Mocker) -> None:
        """Answer at the documented address."""
        mock.post(api.URL, text=self.answer)

    def identities(self) -> Counter[Identity]:
        """Count the SMS by what does not change of them."""
        return Counter(identity(r) for r in self.rows)


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
    """Count records as `Account.identities` counts rows."""
    return Counter(identity(record) for record in records)


def response(body: bytes | str, status: int = 200, **headers: str) -> requests.Response:
    """Return an answer as requests gives it."""
    answer = requests.Response()
    answer.status_code = status
    answer.url = api.URL
    answer._content = body.encode() if isinstance(body, str) else body  # noqa: SLF001
    answer.headers.update({name.replace("_", "-"): value for name, value in headers.items()})
    return answer
