"""The SMS-statistics method as Calltouch documents it: address, limits, request, page, errors.

Source of every fact: calltouch.ru/support/api-metod-polucheniya-statistiki-sms-po-baze
"""

import json
import math
import re
from datetime import datetime
from typing import Any, Final, NamedTuple

import orjson

URL: Final = "https://api.calltouch.ru/lead-service/v1/api/sms-to-clients/result"
URL_UNDER_ACCESS: Final = (
    "https://api.calltouch.ru/lead-service/v1/api/calltouch-leads/sms-to-clients/result"
)
"""What the page names where it speaks of access and cost; of calls, it names `URL`."""

CALLS_PER_SECOND: Final = 5
POINTS_PER_CALL: Final = 2
PAGE_SIZE: Final = 10_000

INVALID_CREDENTIALS: Final = "Invalid credentials."
NO_ACCESS: Final = "не имеет доступа"
MISSING_FIELD: Final = "не указано обязательное поле"
SYNTAX_ERROR_CODE: Final = 1

MAX_NUMBERS: Final = 10_000
"""How many `phoneNumbers` one request takes."""

LARGE: Final = 100_000
"""Larger bodies, in bytes, are not decoded just to classify them."""
LONGEST_NAME: Final = 40

_TOTAL: Final = re.compile(rb'"totalCountSms"\s*:\s*"?(\d{1,12})')
_DAY_FIRST: Final = re.compile(r"(\d\d)[-.](\d\d)[-.](\d{4}) (\d\d:\d\d:\d\d)", re.ASCII)
_YEAR_FIRST: Final = re.compile(r"(\d{4})[-.](\d\d)[-.](\d\d) (\d\d:\d\d:\d\d)", re.ASCII)


class Page(NamedTuple):
    """One page: `totalCountSms` of the whole selection, and the page's SMS."""

    total: int
    rows: list[dict[str, Any]]


class Answer(Exception):  # noqa: N818 - named as the page names them
    """A body that is no page. `words` are Calltouch's own, where it gave any."""

    def __init__(self, words: str = "") -> None:
        super().__init__(words)
        self.words = words


class InvalidCredentials(Answer):
    """«Ошибка авторизации»."""


class NoAccess(Answer):
    """«Отсутствие доступа к методу»."""


class MissingField(Answer):
    """«Отсутствие обязательного поля»."""


class OtherMessage(Answer):
    """A message of the documented form, with words that the page does not list."""


class ValidationError(Answer):
    """«Ошибка в содержимом параметров»; `fields` are the `fieldPath`s of its violations."""

    def __init__(self, violations: list[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{field}: {message}" for field, message in violations))
        self.fields = [field for field, _ in violations]


class ApiError(Answer):
    """«apiError»; `code` is its `errorCode`, 1 for a body that Calltouch could not read."""

    def __init__(self, code: object, words: str) -> None:
        super().__init__(words)
        self.code = code


class NotJson(Answer):
    """No JSON document: cut off, HTML, or nothing."""


class Undocumented(Answer):
    """JSON that fits nothing on the page. `words` are its keys and types, never its values."""


def wire_time(wall: datetime) -> str:
    """A wall time of the account as `dateFrom` and `dateTo` take it: `01-04-2024 09:00:00`."""
    return f"{wall:%d-%m-}{wall.year:04}{wall: %H:%M:%S}"


def read_wire_time(text: str) -> datetime:
    """Read a wall time in any documented format: `-` or `.` between the parts, a space after them.

    Raises:
        ValueError: it is none.
    """
    if parts := _DAY_FIRST.fullmatch(text):
        day, month, year, clock = parts.groups()
    elif parts := _YEAR_FIRST.fullmatch(text):
        year, month, day, clock = parts.groups()
    else:
        raise ValueError(text)
    return datetime.fromisoformat(f"{year}-{month}-{day} {clock}")


def seems_page(body: bytes) -> bool:
    """Tell without decoding whether a large body is a page: it holds SMS, and its end is there."""
    return len(body) > LARGE and b'"smsDetails"' in body[:LARGE] and body.endswith(b"}}")


def seen_pages(body: bytes, most: int) -> int:
    """Tell without decoding how many pages the selection of a first page has.

    It is 0 where there are more than `most` SMS, and 1 where the body does not tell.
    """
    found = _TOTAL.search(body[:LARGE]) or _TOTAL.search(body[-LARGE:])
    total, rows = int(found[1]) if found else 0, body.count(b'"dateSent"')
    if total > max(most, rows):
        return 0
    return math.ceil(total / rows) if total and rows else 1


def read_page(body: bytes) -> Page:
    """Read an answer's body, under whatever HTTP status it came.

    Raises:
        Answer: the one of its subclasses that says what the body is instead of a page.
    """
    document = _decode(body)
    data = document.get("data") if isinstance(document, dict) else None
    if data == [] and isinstance(data, list):
        return Page(0, [])
    if not isinstance(data, dict) or "totalCountSms" not in data:
        raise _read_error(document, data)
    total, rows = data["totalCountSms"], data.get("smsDetails") or []
    if isinstance(total, str) and total.isascii() and total.isdigit():
        total = int(total)
    if type(total) is not int or total < 0:
        raise Undocumented(_shape(document))
    if not isinstance(rows, list) or set(map(type, rows)) - {dict}:
        raise Undocumented(_shape(document))
    return Page(total, rows)


def _decode(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except ValueError:
        pass
    # What orjson refuses and the service may send: line breaks unescaped inside strings (as in the
    # page's own example), half of a surrogate pair, bytes that are no UTF-8.
    try:
        document = json.loads(body.decode("utf-8-sig", "replace"), strict=False)
        if b"\\ud" in body.lower():
            document = orjson.loads(
                json.dumps(document, ensure_ascii=False).encode(errors="replace")
            )
    except (ValueError, RecursionError):
        raise NotJson from None
    return document


def _read_error(document: Any, data: Any) -> Answer:
    if not isinstance(document, dict):
        return Undocumented(_shape(document))
    if not isinstance(data, dict):
        return _read_message(document.get("message")) or Undocumented(_shape(document))
    violations = _get(data, "validationErrorData", "violations")
    if isinstance(violations, list) and all(isinstance(v, dict) for v in violations) and violations:
        return ValidationError(
            [(str(v.get("fieldPath")), str(v.get("message"))) for v in violations]
        )
    api_error = data.get("apiErrorData")
    if isinstance(api_error, dict):
        words = [api_error.get("errorMessage"), api_error.get("errorDescription")]
        return ApiError(api_error.get("errorCode"), "; ".join(str(w) for w in words if w))
    return _read_message(data.get("message")) or Undocumented(_shape(document))


def _read_message(message: object) -> Answer | None:
    if not isinstance(message, str):
        return None
    if message == INVALID_CREDENTIALS:
        return InvalidCredentials(message)
    if NO_ACCESS in message:
        return NoAccess(message)
    if MISSING_FIELD in message:
        return MissingField(message)
    return OtherMessage(message)


def _get(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _shape(value: Any, depth: int = 3) -> str:
    if isinstance(value, dict) and depth:
        inner = (
            f"{_name(key)}: {_shape(item, depth - 1)}" for key, item in list(value.items())[:20]
        )
        return "{" + ", ".join(inner) + "}"
    if isinstance(value, list) and value and depth:
        return f"[{_shape(value[0], depth - 1)}, …]"
    return type(value).__name__


def _name(key: str) -> str:
    # Keys are shown, values never; a key that is no identifier may be a value in a key's place.
    return key if key.isascii() and key.isidentifier() and len(key) <= LONGEST_NAME else "…"
