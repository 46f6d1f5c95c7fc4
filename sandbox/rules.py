"""What the method refuses, and in which words.

The bodies and most messages are those of Calltouch's documentation, here called the page. Its
messages are Symfony's, in Russian, so where it gives none, Symfony's is used.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import orjson

from sandbox.account import Account, last_digits

MAX_NUMBERS = 10_000
NUMBER_DIGITS = 10  # with the area or operator code
REQUIRED = ("dateFrom", "dateTo")
FIELDS = (*REQUIRED, "phoneNumbers", "pageOfResult")

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
OUT_OF_POINTS = "Превышен суточный лимит API-баллов"

Violations = list[tuple[str, str]]


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
    found = {"violations": listed}
    data = {"type": "validationError", "apiErrorData": None, "validationErrorData": found}
    return {"meta": [], "data": data}


class RefusedError(Exception):
    """A refused call: the reason, a key of `STATUSES`, and the body of the answer."""

    def __init__(self, reason: str, body: object) -> None:
        super().__init__(reason)
        self.reason = reason
        self.body = body


@dataclass(frozen=True)
class Question:
    """A valid body: wall times, the phone numbers' last ten digits, and the page, from 1."""

    since: datetime
    until: datetime
    numbers: frozenset[str] | None
    page: int


def read_question(raw: bytes, account: Account, options: argparse.Namespace) -> Question:
    """Read a body.

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
    since, until = (_date(name, body[name], account, violations) for name in REQUIRED)
    if since and until:
        violations += _period(since, until, account.now(), options)
    numbers, page = None, 1
    if "phoneNumbers" in body:
        numbers = _numbers(body["phoneNumbers"], violations)
    if "pageOfResult" in body:
        page = _page(body["pageOfResult"], violations)
    violations += [(name, UNEXPECTED) for name in body if name not in FIELDS]
    if violations or not since or not until:
        raise RefusedError("value", validation_error(violations))
    return Question(since, until, numbers, page)


def _date(name: str, value: object, account: Account, violations: Violations) -> datetime | None:
    wall = None
    if not isinstance(value, str):
        violations.append((name, WRONG_TYPE.format(type="string")))
    elif not value.strip():
        violations.append((name, EMPTY))
    elif not (wall := account.wall_time(value)):
        violations.append((name, NO_DATE))
    elif wall.date() > account.now().date():
        violations.append((name, IN_FUTURE))
    return wall


def _period(
    since: datetime, until: datetime, now: datetime, options: argparse.Namespace
) -> Iterator[tuple[str, str]]:
    if since > until:
        yield "dateFrom", AFTER_DATE_TO
        yield "dateTo", BEFORE_DATE_FROM
    if options.max_days is not None and until - since > timedelta(options.max_days):
        yield "dateFrom", TOO_LONG.format(days=options.max_days)
    if options.kept_days is not None and (now.date() - since.date()).days > options.kept_days:
        yield "dateFrom", TOO_OLD.format(days=options.kept_days)


def _numbers(value: object, violations: Violations) -> frozenset[str]:
    if not isinstance(value, list):
        violations.append(("phoneNumbers", WRONG_TYPE.format(type="array")))
        return frozenset()
    if not value:
        violations.append(("phoneNumbers", TOO_FEW))
    if len(value) > MAX_NUMBERS:
        violations.append(("phoneNumbers", TOO_MANY))
    for place, item in enumerate(value):
        if not isinstance(item, str):
            violations.append((f"phoneNumbers[{place}]", WRONG_TYPE.format(type="string")))
        elif len(last_digits(item)) < NUMBER_DIGITS:
            violations.append((f"phoneNumbers[{place}]", NO_NUMBER if item.strip() else EMPTY))
    return frozenset(map(last_digits, value))


def _page(value: object, violations: Violations) -> int:
    if type(value) is not int:
        violations.append(("pageOfResult", WRONG_TYPE.format(type="integer")))
    elif value <= 1:
        violations.append(("pageOfResult", NOT_ABOVE_1))
    else:
        return value
    return 1
