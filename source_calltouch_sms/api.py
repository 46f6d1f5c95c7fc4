"""The SMS-statistics method as Calltouch documents it: address, limits, request, page, errors.

Source of every fact: calltouch.ru/support/api-metod-polucheniya-statistiki-sms-po-baze
"""

import json
import re
from datetime import datetime, timedelta, timezone
from typing import Any, Final, NamedTuple

import orjson

URL: Final = "https://api.calltouch.ru/lead-service/v1/api/sms-to-clients/result"
URL_UNDER_ACCESS: Final = (
    "https://api.calltouch.ru/lead-service/v1/api/calltouch-leads/sms-to-clients/result"
)
"""The URL in the documentation's sections on access and cost; its section on requests has `URL`."""

CALLS_PER_SECOND: Final = 5
POINTS_PER_CALL: Final = 2
PAGE_SIZE: Final = 10_000
MAX_NUMBERS: Final = 10_000
"""How many `phoneNumbers` one request takes."""

LARGE: Final = 100_000
"""Larger bodies, in bytes, are not decoded just to classify them."""

_COUNT: Final = re.compile(r"\d{1,12}", re.ASCII)
_TOTAL: Final = re.compile(rb'"totalCountSms"\s*:\s*"?(\d{1,12})')
_INDEX: Final = re.compile(r"\d{1,9}", re.ASCII)
_HALF: Final = re.compile(r"[\ud800-\udfff]")
_CHARSET: Final = re.compile(r"charset\s*=\s*[\"']?([\w.:-]+)", re.ASCII | re.IGNORECASE)
_TIME: Final = re.compile(
    r"(\d{1,4})([-./])(\d\d?)\2(\d{1,4})[ T](\d\d?):(\d\d)(?::(\d\d)(?:\.\d{1,9})?)?"
    r"(?:(Z)|([+-]\d\d)(?::?(\d\d))?)?",
    re.ASCII,
)
_NAME: Final = re.compile(r"[a-z_]\w{0,39}", re.ASCII | re.IGNORECASE)


class Page(NamedTuple):
    """One page: `totalCountSms`, which counts the whole selection, and the page's SMS."""

    total: int
    rows: list[dict[str, Any]]


class ErrorBody(Exception):  # noqa: N818 - its kinds are named as the page names them
    """A body that is not a page. Its text is Calltouch's own, if it sent any."""


class InvalidCredentials(ErrorBody):
    """«Ошибка авторизации»."""


class NoAccess(ErrorBody):
    """«Отсутствие доступа к методу»."""


class MissingField(ErrorBody):
    """«Отсутствие обязательного поля»."""


class ValidationError(ErrorBody):
    """«Ошибка в содержимом параметров»: each violation's `fieldPath` and `message`."""


class RefusedRange(ErrorBody):
    """Violations of the dates in other words than the documented ones: too long, or too old."""


class RefusedPage(ErrorBody):
    """Violations of `pageOfResult` alone: there is no such page."""


class UnreadableRequest(ErrorBody):
    """The «apiError» of code 1: «Синтаксическая ошибка JSON в запросе или запрос пустой»."""


class ApiError(ErrorBody):
    """An «apiError» of another code; or its fields on top, where older methods put them."""


class OtherMessage(ErrorBody):
    """A message of the documented form, but not one that the documentation lists."""


class NotJson(ErrorBody):
    """Not JSON: cut off, HTML, or nothing."""


class Undecodable(NotJson):
    """Not text in the charset that it declares, nor in UTF-8; or cut off."""


class NoData(ErrorBody):
    """JSON with nothing in it: neither data nor words, or `null` for the total."""


class Undocumented(ErrorBody):
    """Valid JSON that matches no documented response. Its text: keys and types, no values."""


_MESSAGES: Final[dict[str, type[ErrorBody]]] = {
    "Invalid credentials": InvalidCredentials,
    "не имеет доступа": NoAccess,
    "не указано обязательное поле": MissingField,
}
_WORDS: Final = ("errorCode", "errorMessage", "errorDescription", "message", "error", "detail")
"""In which fields, at any level, this service and its siblings say what is wrong."""
_VIOLATIONS: Final = re.compile(
    r"больше\s(текущего\sдня|dateTo)|меньше\sdateFrom|равно\s1\sэлементу|не\sдолжно\sбыть\sпустым"
)
"""The documented messages of violations."""
RANGE: Final = re.compile("date|period|range|период|диапазон|интервал", re.IGNORECASE)
"""Words that speak of the range asked for."""


def wire_time(wall: datetime) -> str:
    """A wall time of the account as `dateFrom` and `dateTo` take it: `01-04-2024 09:00:00`."""
    return f"{wall:%d-%m-}{wall.year:04}{wall: %H:%M:%S}"


def read_wire_time(text: str, *, month_first: bool = False) -> datetime:
    """Read a time, to the second: a wall time of the account, or an aware one if it has an offset.

    Documented are `01-04-2024 09:00:00` and `01.04.2024 09:00:00`. The service's other methods also
    write `/`, the year or the month first, a `T`, no seconds, fractions, or an offset.

    Raises:
        ValueError: it is in none of these forms.
    """
    parts = _TIME.fullmatch(text)
    if not parts:
        raise ValueError(text)
    year, _, month, day, hour, minute, second, utc, hours, minutes = parts.groups()
    if len(day) > len(year):
        year, month, day = (day, year, month) if month_first else (day, month, year)
    if len(year) < len("2024") or len(day) > len("01"):
        raise ValueError(text)
    offset = timedelta(hours=int(hours or 0), minutes=int((hours or "+")[0] + (minutes or "0")))
    zone = timezone(offset) if utc or hours else None
    date = int(year), int(month), int(day)
    return datetime(*date, int(hour), int(minute), int(second or 0), tzinfo=zone)


def seems_page(body: bytes) -> bool:
    """Tell without decoding whether a large body is a page: it holds SMS, and its end is there."""
    end = body[-9:].rstrip()
    return len(body) > LARGE and b'"smsDetails"' in body[:LARGE] and end.endswith(b"}}")


def seen_counts(body: bytes) -> tuple[int, int]:
    """Tell from a page, without decoding it, its `totalCountSms`, 0 if unknown, and its rows."""
    found = _TOTAL.search(body[:LARGE]) or _TOTAL.search(body[-LARGE:])
    return int(found[1]) if found else 0, body.count(b'"dateSent"')


def read_page(body: bytes, content_type: str = "") -> Page:
    """Read an answer's body, under whatever HTTP status it came.

    Raises:
        ErrorBody: the one of its kinds that says what the body is instead of a page.
    """
    document = _decode(body, content_type)
    match document:
        case {"data": []}:
            return Page(0, [])
        case {"data": {"totalCountSms": total, **data}} if _COUNT.fullmatch(str(total)):
            rows = data.get("smsDetails") or []
            # What PHP makes of a list that it has filtered.
            if isinstance(rows, dict) and all(map(_INDEX.fullmatch, rows)):
                rows = list(rows.values())
            if isinstance(rows, list) and set(map(type, rows)) <= {dict}:
                return Page(int(total), rows)
    raise _error_body(document)


def _decode(body: bytes, content_type: str) -> Any:
    try:
        # Before what is declared: text that is valid as UTF-8, its Cyrillic too, is UTF-8.
        return orjson.loads(body)
    except ValueError:
        pass
    # What orjson refuses and the service may send: another charset, unescaped line breaks in
    # strings (as in the documentation's own example), half a surrogate pair.
    text = _text(body, content_type)
    try:
        # Numbers are orjson's: it has to write them, and refuses one of 5,000 digits.
        return _without_halves(json.loads(text, strict=False, parse_int=orjson.loads))
    except (ValueError, RecursionError):
        raise NotJson from None


def _text(body: bytes, content_type: str) -> str:
    declared = _CHARSET.search(content_type)
    try:
        return body.decode(json.detect_encoding(body))
    except ValueError:
        pass
    try:
        return body.decode(declared[1] if declared else "ascii")
    except (LookupError, ValueError):
        raise Undecodable from None


def _without_halves(value: Any) -> Any:
    """Replace what UTF-8 cannot hold: halves of surrogate pairs."""
    match value:
        case str():
            return _HALF.sub("?", value)
        case list():
            return [_without_halves(item) for item in value]
        case dict():
            return {_without_halves(key): _without_halves(item) for key, item in value.items()}
    return value


def _error_body(document: Any) -> ErrorBody:
    data = _inside(document, "data")
    api_error = _inside(data, "apiErrorData")
    violations = _inside(_inside(data, "validationErrorData"), "violations")
    if isinstance(violations, dict):  # what PHP makes of a filtered list
        violations = list(violations.values())
    if isinstance(violations, list) and any(isinstance(v, dict) for v in violations):
        return _refused_fields([v for v in violations if isinstance(v, dict)])
    levels = (document, _inside(document, "error"), data, api_error)
    found = ((name, _inside(level, name)) for level in levels for name in _WORDS)
    words = {name: str(word) for name, word in found if word and type(word) in {str, int}}
    text = "; ".join(
        word if name == "message" else f"{name}: {word}" for name, word in words.items()
    )
    return _kind(words, text, is_api_error=bool(api_error))(text) if words else _wordless(document)


def _kind(words: dict[str, str], text: str, *, is_api_error: bool) -> type[ErrorBody]:
    known = [kind for message, kind in _MESSAGES.items() if message.casefold() in text.casefold()]
    if known:
        return known[0]
    if is_api_error and words.get("errorCode") == "1":
        return UnreadableRequest
    is_api_error = is_api_error or not words.keys().isdisjoint({"errorCode", "errorMessage"})
    return ApiError if is_api_error else OtherMessage


def _refused_fields(violations: list[dict[str, Any]]) -> ErrorBody:
    words = [(v.get("fieldPath"), v.get("message")) for v in violations]
    faults = [": ".join(word for word in pair if isinstance(word, str)) for pair in words]
    text = "; ".join(faults)
    if all(fault.startswith("pageOfResult") for fault in faults):
        return RefusedPage(text)
    if all(RANGE.search(fault) and not _VIOLATIONS.search(fault) for fault in faults):
        return RefusedRange(text)
    return ValidationError(text)


def _wordless(document: Any) -> ErrorBody:
    data = _inside(document, "data")
    has_null_total = isinstance(data, dict) and data.get("totalCountSms", 0) is None
    if has_null_total or _is_blank(document):
        return NoData()
    return Undocumented(_shape(document))


def _inside(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def _is_blank(value: Any, depth: int = 3) -> bool:
    if isinstance(value, dict) and depth:
        return all(_is_blank(item, depth - 1) for item in value.values())
    return not value


def _shape(value: Any, depth: int = 3) -> str:
    if isinstance(value, dict) and depth:
        # A key that is no identifier may be a value in a key's place.
        inner = (
            f"{key if _NAME.fullmatch(key) else '…'}: {_shape(item, depth - 1)}"
            for key, item in list(value.items())[:20]
        )
        return "{" + ", ".join(inner) + "}"
    if isinstance(value, list) and value and depth:
        return f"[{_shape(value[0], depth - 1)}, …]"
    return type(value).__name__
