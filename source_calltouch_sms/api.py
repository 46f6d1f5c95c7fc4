"""The SMS-statistics method: address, limits, request, page, errors.

As calltouch.ru/support/api-metod-polucheniya-statistiki-sms-po-baze documents it, and as the same
service answers elsewhere; that is called undocumented.
"""

import json
import re
from contextlib import suppress
from datetime import datetime
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

_COUNT: Final = re.compile(r"\d{1,18}", re.ASCII)
_TOTAL: Final = re.compile(rb'"totalCountSms"\s*:\s*"?(\d{1,18})')
_INDEX: Final = re.compile(r"\d{1,9}", re.ASCII)
_CHARSET: Final = re.compile(r"charset\s*=\s*[\"']?([\w.:-]+)", re.ASCII | re.IGNORECASE)
_TIME: Final = re.compile(
    r"(\d{1,4})([-./])(\d\d?)\2(\d{1,4})[ T]([01]?\d|2[0-3]):(\d\d)(?::(\d\d)(?:\.\d{1,9})?)?"
    r"(?:(Z)|([+-]\d\d)(?::?(\d\d))?)?",
    re.ASCII,
)
_BLANKS: Final = b" \t\r\n\0\xef\xbb\xbf\xff\xfe"
"""Spaces and byte order marks."""
_NAME: Final = re.compile(r"[a-z_]\w{0,39}", re.ASCII | re.IGNORECASE)


class Page(NamedTuple):
    """One page: `totalCountSms`, which counts the whole selection, and the page's SMS."""

    total: int
    rows: list[dict[str, Any]]


class ErrorBody(Exception):  # noqa: N818 - its kinds are bodies, not yet failures
    """A body that is not a page. Its text is Calltouch's own, if it sent any."""


class InvalidCredentials(ErrorBody):
    """«Ошибка авторизации»."""


class NoAccess(ErrorBody):
    """«Отсутствие доступа к методу»."""


class UnusableRequest(ErrorBody):
    """«Отсутствие обязательного поля», or the «apiError» of code 1: it could not be read."""


class ValidationError(ErrorBody):
    """«Ошибка в содержимом параметров»: each violation's `fieldPath` and `message`."""


class RefusedRange(ErrorBody):
    """Undocumented words about the dates: the range is too long, or too old."""


class NotBegun(ErrorBody):
    """A documented violation of the dates: that day has not begun."""


class ApiError(ErrorBody):
    """An «apiError» with another code, or its fields on top, where older methods put them."""


class OtherMessage(ErrorBody):
    """A message of the documented form, but not one that the documentation lists."""


class NotNow(ErrorBody):
    """An undocumented message of what passes: maintenance, spent API points, a request limit."""


class NotJson(ErrorBody):
    """Not JSON: cut off, or not text in the charset that it declares."""


class Html(NotJson):
    """A web page."""


class NoData(ErrorBody):
    """Nothing, or JSON with nothing in it: neither data nor words, or `null` for the total."""


class Undocumented(ErrorBody):
    """Valid JSON that matches no documented response. Its text: keys and types, no values."""


_MAX_WORDS: Final = 2_000
"""How far a message is searched: the words that tell its kind stand at its beginning."""
_DAYS: Final = r"(?<!через\s)(?<!in\s)\b\d+[\s-](?:д(?:ень|ня|ней)|мес|сут|days?)"
_RANGE: Final = (
    rf"{_DAYS}|(?-i:\bdate|_date|Date|DATE)|period|range|interval|период|диапазон|интервал|промежут"
    r"|\bдат[аыуе]"
)
_PASSING: Final = (
    r"технич\w+\s+работ|\bвременно|балл|исчерпан|лимит.{0,20}запросов|запросов.{0,30}лимит"
    r"|(?:много|количеств\w+|числ\w+)\s+запросов"
    r"|(?:попробуйте|повторите).{0,30}(?:позже|позднее|через)|(?:try\sagain|retry)\s(?:later|in\s)"
    r"|maintenance|temporar|too\smany\srequests|(?:rate|requests?|points?)\slimit|quota"
)
_LENGTH: Final = r"(?<!errorCode:\s)(?<!\d)\d|больш|длинн|превы|long|large|exceed|max"
_MESSAGES: Final[dict[str, type[ErrorBody]]] = {
    r"invalid\s+credentials": InvalidCredentials,
    r"не\s+имеет\s+доступа": NoAccess,
    r"не\s+указано\s+обязательное\s+поле|синтаксическая\s+ошибка\s+json": UnusableRequest,
    _DAYS: RefusedRange,
    _PASSING: NotNow,
    # Not «Пробный период закончился».
    rf"date_?(from|to)|\A(?=[\s\S]*({_RANGE}))(?=[\s\S]*({_LENGTH}))": RefusedRange,
    "errorCode:|errorMessage:": ApiError,
    "": OtherMessage,
}
"""Words, in any case, and what a body that holds them means. The first match counts."""
_WORDS: Final = ("errorCode", "errorMessage", "errorDescription", "message", "error", "detail")
"""The fields, at any level, in which this service and its siblings say what is wrong."""


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
    offset = "+00:00" if utc else f"{hours}:{minutes or '00'}" if hours else ""
    time = f"{hour:0>2}:{minute}:{second or '00'}{offset}"
    return datetime.fromisoformat(f"{year}-{month:0>2}-{day:0>2}T{time}")


def seems_page(body: bytes) -> bool:
    """Tell whether a body above `LARGE` is a page: it holds SMS and has an end. Not decoded."""
    end = body[-9:].rstrip()
    return len(body) > LARGE and b'"smsDetails"' in body[:LARGE] and end.endswith(b"}}")


def seen_counts(body: bytes) -> tuple[int, int]:
    """Return a page's `totalCountSms`, 0 if unknown, and how many rows it has; do not decode it."""
    found = _TOTAL.search(body[:LARGE]) or _TOTAL.search(body[-LARGE:])
    return int(found[1]) if found else 0, body.count(b'"dateSent"')


def read_page(body: bytes, content_type: str = "") -> Page:
    """Read an answer's body, under whatever HTTP status it came.

    Raises:
        ErrorBody: the body is no page; its class says what it is.
    """
    document = _decode(body, content_type)
    page = _page(document)
    # An empty page beside words does not say that there are no SMS.
    refusal = None if page and page.rows else _refusal(document)
    if page and not refusal:
        return page
    raise refusal or _wordless(document)


def _decode(body: bytes, content_type: str) -> Any:
    start = body.lstrip(_BLANKS)[:1]
    if not start:
        raise NoData
    with suppress(ValueError):
        # Before the declared charset: whatever is valid UTF-8, Cyrillic included, is UTF-8.
        return orjson.loads(body)
    # What orjson refuses and the service may send: another charset, unescaped line breaks in
    # strings (as in the documentation's own example), half a surrogate pair.
    declared = _CHARSET.search(content_type)
    for charset in (json.detect_encoding(body), declared[1] if declared else "ascii"):
        with suppress(LookupError, ValueError, RecursionError):
            text = body.decode(charset)
            # orjson reads the numbers, since it will write them: it refuses one of 5,000 digits.
            document = json.loads(text, strict=False, parse_int=orjson.loads)
            if "\\u" in text:  # perhaps half a surrogate pair, which UTF-8 cannot hold
                text = json.dumps(document, ensure_ascii=False)
                document = orjson.loads(text.encode(errors="replace"))
            return document
    raise Html if start == b"<" else NotJson


def _page(document: Any) -> Page | None:
    match document:
        case {"data": []}:
            return Page(0, [])
        case {"data": {"totalCountSms": total, **data}} if _COUNT.fullmatch(str(total)):
            rows = _list(data.get("smsDetails") or [])
            if rows is not None and set(map(type, rows)) <= {dict}:
                return Page(int(total), rows)
    return None


def _refusal(document: Any) -> ErrorBody | None:
    """Return what the words in a document mean; None if it holds none."""
    data = _inside(document, "data")
    violations = _list(_inside(_inside(data, "validationErrorData"), "violations")) or ()
    faults = [words for words in map(_words_of_violation, violations) if words]
    if faults:
        return _refused_fields(faults)
    inner = {"message": data} if isinstance(data, str) else data
    levels = (document, _inside(document, "error"), inner, _inside(data, "apiErrorData"))
    found = ((name, _inside(level, name)) for level in levels for name in _WORDS)
    words = {name: word for name, word in found if word and type(word) in {str, int}}
    text = "; ".join(
        str(word) if name == "message" else f"{name}: {word}" for name, word in words.items()
    )
    return _kind(text)(text) if text else None


def _kind(text: str) -> type[ErrorBody]:
    start = text[:_MAX_WORDS]
    return next(kind for known, kind in _MESSAGES.items() if re.search(known, start, re.IGNORECASE))


def _words_of_violation(violation: Any) -> str:
    words = (_inside(violation, "fieldPath"), _inside(violation, "message"))
    return ": ".join(word for word in words if isinstance(word, str))


def _refused_fields(faults: list[str]) -> ErrorBody:
    text = "; ".join(faults)
    if re.search(r"больше\sтекущего\sдня", text):
        return NotBegun(text)
    if _kind(text) is NotNow:
        return NotNow(text)
    if all(re.search(_RANGE, fault, re.IGNORECASE) for fault in faults):
        return RefusedRange(text)
    return ValidationError(text)


def _wordless(document: Any) -> ErrorBody:
    match document:
        case None | [] | {"data": None | "" | {"totalCountSms": None | ""}}:
            return NoData()
        case {"data": dict(fields)} | dict(fields) if not any(fields.values()):
            return NoData()
    return Undocumented(_shape(document))


def _list(value: Any) -> list[Any] | None:
    """Return a list, also one that PHP filtered into an object keyed by index; else None."""
    if isinstance(value, dict) and all(map(_INDEX.fullmatch, value)):
        return list(value.values())
    return value if isinstance(value, list) else None


def _inside(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def _shape(value: Any, depth: int = 3) -> str:
    if isinstance(value, dict) and depth:
        # A key that is no identifier may be a value.
        inner = (
            f"{key if _NAME.fullmatch(key) else '…'}: {_shape(item, depth - 1)}"
            for key, item in list(value.items())[:20]
        )
        return "{" + ", ".join(inner) + "}"
    if isinstance(value, list) and value and depth:
        return f"[{_shape(value[0], depth - 1)}, …]"
    return type(value).__name__
