"""What the method refuses, and in which words.

The bodies and most messages are those of Calltouch's documentation, here called the page. Its
messages are Symfony's, in Russian, so where it gives none, Symfony's is used. The only HTTP status
it gives is 429; the others here are the usual ones. The options say what differs from all this.
"""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson

from sandbox.times import DAY, last_digits, wall_seconds

if TYPE_CHECKING:
    from sandbox.options import Options

MAX_NUMBERS = 10_000
NUMBER_DIGITS = 10  # with the area or operator code
_YEAR_FIRST = re.compile(r"(\d{4})([-.])(\d\d)\2(\d\d)( .*)", re.ASCII)
FIELDS = ("dateFrom", "dateTo", "phoneNumbers", "pageOfResult")
REQUIRED = ("dateFrom", "dateTo")

BROKEN_JSON = "Синтаксическая ошибка JSON в запросе или запрос пустой"
NO_RIGHT = "Пользователь {party_name} не имеет доступа к данному методу API"
MISSING_FIELD = "В запросе не указано обязательное поле {field}"
IN_FUTURE = "Значение не может быть больше текущего дня"
AFTER_DATE_TO = "Значение не может быть больше dateTo"
BEFORE_DATE_FROM = "Значение не может быть меньше dateFrom"
EMPTY = "Значение не должно быть пустым."
TOO_FEW = "Эта коллекция должна содержать больше или равно 1 элементу"
# From here on not on the page.
TOO_MANY = f"Эта коллекция должна содержать меньше или равно {MAX_NUMBERS} элементам"
UNEXPECTED = "Данное поле не ожидалось."
WRONG_TYPE = "Тип значения должен быть {type}."
NO_DATE = "Значение даты и времени недопустимо."
NO_NUMBER = "Значение не является номером телефона с кодом города или оператора."
NOT_ABOVE_1 = "Значение должно быть больше 1."
ABOVE_LAST_PAGE = "Значение должно быть меньше или равно {last}."
TOO_LONG = "Период не может быть больше {days} дней"
TOO_OLD = "Данные хранятся {days} дней"
# The page does not document how a used-up day answers.
OUT_OF_POINTS = "Превышен суточный лимит API-баллов"

# Why a call is refused, and the HTTP status that says so.
STATUSES = {
    "token": 401,
    "site": 401,
    "right": 403,
    "points": 429,
    "json": 400,
    "field": 400,
    "value": 422,
}

Violations = list[tuple[str, str]]


def invalid_credentials() -> object:
    """Return the body for a wrong token or site."""
    return {"message": "Invalid credentials."}


def message(text: str) -> object:
    """Return the body that is one sentence."""
    return {"meta": [], "data": {"message": text}}


def api_error(code: int, text: str) -> object:
    """Return the body with an error's code."""
    error = {"errorCode": code, "errorMessage": text, "errorDescription": None}
    data = {"type": "apiError", "apiErrorData": error, "validationErrorData": None}
    return {"meta": [], "data": data}


def validation_error(violations: Violations) -> object:
    """Return the body that lists what is wrong with which field."""
    listed = [{"fieldPath": path, "message": text} for path, text in violations]
    data = {
        "type": "validationError",
        "apiErrorData": None,
        "validationErrorData": {"violations": listed},
    }
    return {"meta": [], "data": data}


# The forms of the page's error bodies, for a refusal that comes in the form of another.
FORMS = {
    "credentials": invalid_credentials(),
    "right": message(NO_RIGHT),
    "message": message("Запрос отклонен"),
    "violations": validation_error([("dateFrom", EMPTY)]),
    "error": api_error(1, BROKEN_JSON),
}
ALLOWANCES = ("future", "reversed", "page-0", "page-1", "page-text", "year-first")
REFUSALS = ("dots", "masks")


class RefusedError(Exception):
    """A refused call: the reason, a key of `STATUSES`, and the body of the answer."""

    def __init__(self, reason: str, body: object) -> None:
        super().__init__(reason)
        self.reason = reason
        self.body = body


@dataclass(frozen=True)
class Question:
    """A valid body: wall seconds, the phone numbers' last ten digits, and the page, from 1."""

    since: int
    until: int
    numbers: frozenset[str] | None
    page: int


def read_question(raw: bytes, today: int, options: "Options") -> Question:
    """Read a body; `today` is the day in the account's zone, in days since 1970.

    Raises:
        RefusedError: the body breaks the page's rules; it names every violation.
    """
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        body = None
    if not isinstance(body, dict):
        raise RefusedError("json", api_error(1, BROKEN_JSON))
    for name in REQUIRED:
        if name not in body:
            raise RefusedError("field", message(MISSING_FIELD.format(field=name)))

    violations: Violations = []
    last = today if "future" not in options.allow else sys.maxsize
    since, until = (
        _date(name, _day_first(body[name], options), last, violations) for name in REQUIRED
    )
    reversed_range = since is not None and until is not None and since > until
    if reversed_range and "reversed" not in options.allow:
        violations += [("dateFrom", AFTER_DATE_TO), ("dateTo", BEFORE_DATE_FROM)]
    violations += _out_of_reach(since, until, today, options)
    numbers, page = None, 1
    if "phoneNumbers" in body:
        numbers = _numbers(body["phoneNumbers"], violations, options)
    if "pageOfResult" in body:
        page = _page(body["pageOfResult"], violations, options)
    violations += [(name, UNEXPECTED) for name in body if name not in FIELDS]
    if violations or since is None or until is None:
        raise RefusedError("value", validation_error(violations))
    return Question(since, until, numbers, page)


def check_page(page: int, last: int) -> None:
    """Refuse a page after the last one."""
    if page > max(1, last):
        violations = [("pageOfResult", ABOVE_LAST_PAGE.format(last=last))]
        raise RefusedError("value", validation_error(violations))


def _day_first(value: object, options: "Options") -> object:
    """Return a date as `wall_seconds` reads it; one that is to be refused becomes unreadable."""
    if not isinstance(value, str):
        return value
    if "dots" in options.refuse and "." in value:
        return "." + value
    parts = _YEAR_FIRST.fullmatch(value) if "year-first" in options.allow else None
    return "{3}{1}{2}{1}{0}{4}".format(*parts.groups()) if parts else value


def _date(name: str, value: object, last: int, violations: Violations) -> int | None:
    if not isinstance(value, str):
        violations.append((name, WRONG_TYPE.format(type="string")))
        return None
    if not value.strip():
        violations.append((name, EMPTY))
        return None
    wall = wall_seconds(value)
    if wall is None:
        violations.append((name, NO_DATE))
    elif wall // DAY > last:
        violations.append((name, IN_FUTURE))
    return wall


def _out_of_reach(
    since: int | None, until: int | None, today: int, options: "Options"
) -> Iterator[tuple[str, str]]:
    if since is None or until is None:
        return
    if options.max_days is not None and until - since > options.max_days * DAY:
        yield "dateFrom", TOO_LONG.format(days=options.max_days)
    if options.kept_days is not None and since // DAY < today - options.kept_days:
        yield "dateFrom", TOO_OLD.format(days=options.kept_days)


def _numbers(value: object, violations: Violations, options: "Options") -> frozenset[str]:
    if not isinstance(value, list):
        violations.append(("phoneNumbers", WRONG_TYPE.format(type="array")))
        return frozenset()
    if not value:
        violations.append(("phoneNumbers", TOO_FEW))
    if len(value) > MAX_NUMBERS:
        violations.append(("phoneNumbers", TOO_MANY))
    numbers = []
    for place, item in enumerate(value):
        number = last_digits(item)
        if not isinstance(item, str):
            violations.append((f"phoneNumbers[{place}]", WRONG_TYPE.format(type="string")))
        elif len(number) < NUMBER_DIGITS:
            violations.append((f"phoneNumbers[{place}]", NO_NUMBER if item.strip() else EMPTY))
        # Where masks are refused, a number is found only as the method itself writes it.
        if "masks" not in options.refuse or item == f"7{number}":
            numbers.append(number)
    return frozenset(numbers)


def _page(value: object, violations: Violations, options: "Options") -> int:
    if isinstance(value, str) and value.isdecimal() and "page-text" in options.allow:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        violations.append(("pageOfResult", WRONG_TYPE.format(type="integer")))
        return 1
    if value <= 1 and f"page-{value}" not in options.allow:
        violations.append(("pageOfResult", NOT_ABOVE_1))
    return max(1, value)
