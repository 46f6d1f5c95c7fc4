"""What the method refuses, and in which words.

The bodies and most messages are the page's. Where it has none, the message is Symfony's Russian
one, since the page's own are. The page gives no HTTP status but 429; those here are usual ones.
"""

from dataclasses import dataclass

import orjson

from sandbox.account import DAY, last_digits, wall_seconds

MAX_NUMBERS = 10_000
NUMBER_DIGITS = 10  # with the area or operator code
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
# The page does not document how a used-up day answers.
OUT_OF_POINTS = "Превышен суточный лимит API-баллов"

Violations = list[tuple[str, str]]


class RefusedError(Exception):
    """A call that the method refuses: the HTTP status, and the body."""

    def __init__(self, status: int, body: object) -> None:
        super().__init__(status)
        self.status = status
        self.body = body


def invalid_credentials() -> RefusedError:
    """Return the refusal of a wrong token or site."""
    return RefusedError(401, {"message": "Invalid credentials."})


def message(status: int, text: str) -> RefusedError:
    """Return a refusal that is one sentence."""
    return RefusedError(status, {"meta": [], "data": {"message": text}})


def api_error(status: int, code: int, text: str) -> RefusedError:
    """Return a refusal with an error's code."""
    error = {"errorCode": code, "errorMessage": text, "errorDescription": None}
    data = {"type": "apiError", "apiErrorData": error, "validationErrorData": None}
    return RefusedError(status, {"meta": [], "data": data})


def validation_error(violations: Violations) -> RefusedError:
    """Return the refusal that lists what is wrong with which field."""
    listed = [{"fieldPath": path, "message": text} for path, text in violations]
    data = {
        "type": "validationError",
        "apiErrorData": None,
        "validationErrorData": {"violations": listed},
    }
    return RefusedError(422, {"meta": [], "data": data})


@dataclass(frozen=True)
class Question:
    """A valid body: wall seconds, the numbers' last ten digits, and the page from 1."""

    since: int
    until: int
    numbers: frozenset[str] | None
    page: int


def read_question(raw: bytes, today: int) -> Question:
    """Read a body, `today` being the day in the account's zone, in days since 1970.

    Raises:
        RefusedError: the body is not as the page says; it names every violation.
    """
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        body = None
    if not isinstance(body, dict):
        raise api_error(400, 1, BROKEN_JSON)
    for name in REQUIRED:
        if name not in body:
            raise message(400, MISSING_FIELD.format(field=name))

    violations: Violations = []
    since, until = (_date(name, body[name], today, violations) for name in REQUIRED)
    if since is not None and until is not None and since > until:
        violations += [("dateFrom", AFTER_DATE_TO), ("dateTo", BEFORE_DATE_FROM)]
    numbers = _numbers(body["phoneNumbers"], violations) if "phoneNumbers" in body else None
    page = _page(body["pageOfResult"], violations) if "pageOfResult" in body else 1
    violations += [(name, UNEXPECTED) for name in body if name not in FIELDS]
    if violations or since is None or until is None:
        raise validation_error(violations)
    return Question(since, until, numbers, page)


def check_page(page: int, last: int) -> None:
    """Refuse a page after the last one."""
    if page > max(1, last):
        raise validation_error([("pageOfResult", ABOVE_LAST_PAGE.format(last=last))])


def _date(name: str, value: object, today: int, violations: Violations) -> int | None:
    if not isinstance(value, str):
        violations.append((name, WRONG_TYPE.format(type="string")))
        return None
    if not value.strip():
        violations.append((name, EMPTY))
        return None
    wall = wall_seconds(value)
    if wall is None:
        violations.append((name, NO_DATE))
    elif wall // DAY > today:
        violations.append((name, IN_FUTURE))
    return wall


def _numbers(value: object, violations: Violations) -> frozenset[str]:
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
        numbers.append(number)
    return frozenset(numbers)


def _page(value: object, violations: Violations) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        violations.append(("pageOfResult", WRONG_TYPE.format(type="integer")))
        return 1
    if value <= 1:
        violations.append(("pageOfResult", NOT_ABOVE_1))
    return value
