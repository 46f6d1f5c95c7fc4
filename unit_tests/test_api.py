"""The method as the API's page documents it: `source_calltouch_sms.api`."""

import json
import re
from datetime import datetime
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from source_calltouch_sms import api
from unit_tests.account import row

SMS = row("01-04-2024 15:05:32", text="Внимание, скидки!\nТолько сегодня")
PAGE = {"meta": [], "data": {"totalCountSms": 25352, "pageOfResult": 2, "smsDetails": [SMS]}}
TEXT = json.dumps(PAGE, ensure_ascii=False)


def page_of(total: Any, rows: Any) -> dict[str, Any]:
    return {"data": {"totalCountSms": total, "smsDetails": rows}}


def body(document: Any) -> bytes:
    return json.dumps(document, ensure_ascii=False).encode()


# Times.


def test_times_on_the_wire_are_day_first_and_padded() -> None:
    assert api.wire_time(datetime(2024, 4, 1, 9, 0, 5)) == "01-04-2024 09:00:05"
    assert api.wire_time(datetime(1, 1, 1)) == "01-01-0001 00:00:00"


@pytest.mark.parametrize(
    ("iso", "texts"),
    [
        ("09:00:05", ["01-04-2024 09:00:05", "01.04.2024 09:00:05", "1/4/2024 9:00:05"]),
        ("09:00:05", ["2024.04.01 09:00:05", "2024/04/01 09:00:05", "2024-04-01T09:00:05.999999"]),
        ("09:00:00", ["01-04-2024T09:00:00", "01.04.2024 09:00", "2024-04-01T09:00"]),
        ("09:00:05+00:00", ["2024-04-01T09:00:05Z", "2024-04-01T09:00:05+00:00"]),
        ("09:00:05+03:00", ["2024-04-01T09:00:05+03:00", "2024-04-01T09:00:05+03"]),
        ("09:00:05+03:30", ["2024-04-01T09:00:05+0330", "01-04-2024 09:00:05+03:30"]),
        ("09:00:05-03:30", ["2024-04-01T09:00:05-03:30"]),
    ],
)
def test_times_are_read_in_each_form_that_the_service_has(iso: str, texts: list[str]) -> None:
    assert {api.read_wire_time(text).isoformat() for text in texts} == {f"2024-04-01T{iso}"}


def test_a_month_may_be_first_but_not_after_a_year() -> None:
    for text in ("04/01/2024 09:00", "2024-04-01T09:00"):
        assert api.read_wire_time(text, month_first=True) == datetime(2024, 4, 1, 9)


@pytest.mark.parametrize(
    "text",
    [
        *("", "yesterday", "01-04-2024", "01-04-2024 09", "04/01/2024 09:00:05 AM"),
        *("01-04-2024 09:00:05\n", " 01-04-2024 09:00:05", "01-04/2024 09:00:05"),
        *("01-04-24 09:00:05", "01-04-202 09:00:05", "2024-04-202 09:00:05"),
        *("010-04-2024 09:00:05", "2024-04-2024 09:00:05", "٠١-04-2024 09:00:05"),
        *("13-13-2024 09:00:05", "31-02-2024 09:00:05", "01-04-2024 24:00:05"),
        *("01-04-2024 09:00:60", "2024-04-01T09:00:05+99:00"),
    ],
)
def test_what_is_no_certain_time_is_not_read(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - datetime's own where the digits are no date
        api.read_wire_time(text)


# Pages.


@pytest.mark.parametrize(
    ("data", "page"),
    [
        (PAGE["data"], (25352, [SMS])),
        ([], (0, [])),
        ({"totalCountSms": 0, "pageOfResult": 1, "smsDetails": []}, (0, [])),
        ({"totalCountSms": 0, "pageOfResult": None, "smsDetails": None}, (0, [])),
        ({"totalCountSms": 2}, (2, [])),
        ({"totalCountSms": "25352", "smsDetails": [{}]}, (25352, [{}])),
        ({"totalCountSms": 10**18 - 1}, (10**18 - 1, [])),
        # As PHP writes a list that it has filtered.
        ({"totalCountSms": 2, "smsDetails": {"0": {"a": 1}, "12": {}}}, (2, [{"a": 1}, {}])),
        ({"totalCountSms": 2, "smsDetails": {}}, (2, [])),
    ],
)
def test_a_page_is_its_total_and_its_rows_in_whatever_form(data: Any, page: Any) -> None:
    assert api.read_page(body({"meta": [], "data": data})) == page


def test_words_beside_sms_refuse_nothing() -> None:
    assert api.read_page(body({"message": "Готово", **PAGE})) == (25352, [SMS])


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ('"half \\ud83d of a pair"', "half ? of a pair"),
        ('"whole \\ud83d\\ude00 pair, break \n"', "whole \U0001f600 pair, break \n"),
    ],
)
def test_a_text_that_strict_json_forbids_costs_no_page(text: str, read: str) -> None:
    wire = body(page_of(1, [{"smsMessage": None}]))
    assert api.read_page(wire.replace(b"null", text.encode())).rows == [{"smsMessage": read}]


@pytest.mark.parametrize(
    ("charset", "content_type"),
    [
        ("cp1251", "application/json; charset=windows-1251"),
        ("cp1251", 'application/json;charset="Windows-1251"'),
        ("koi8-r", "application/json; Charset = KOI8-R"),
        ("utf-16", "application/json; charset=UTF-16"),
        ("utf-16", ""),
        ("utf-16-le", ""),
        ("utf-8-sig", ""),
        # What is UTF-8, whatever it is said to be.
        ("utf-8", "application/json; charset=windows-1251"),
        ("utf-8", "application/json; charset=none-such"),
        ("utf-8", "application/json; charset=hex"),
    ],
)
def test_a_page_is_read_in_the_charset_that_it_declares(charset: str, content_type: str) -> None:
    with_break = TEXT.replace("\\n", "\n")  # as in the page's example
    for text in (TEXT, with_break):
        assert api.read_page(text.encode(charset), content_type).rows == [SMS]


# What is no page.

INVALID = "Invalid credentials"
NO_ACCESS = "Пользователь ООО Пример не имеет доступа к данному методу API"
MISSING = "В запросе не указано обязательное поле dateTo"
SYNTAX = "Синтаксическая ошибка JSON в запросе или запрос пустой"
NOT_BEGUN = "Значение не может быть больше текущего дня"
TOO_LONG = "Период не может быть больше 90 дней"
TRIAL = "Пробный период закончился"
LIMITS = [
    "Разница между датами больше месяца",
    "Данные старше 90 дней недоступны",
    "Слишком большой промежуток времени",
    "The interval is too long",
    "dateTo must not be later than 31 days after dateFrom",
    "Период запроса превышает лимит: 31 день",
    "Превышен лимит: период запросов не более 31 дня",
    "Для запросов действует лимит 90 дней",
    "Request limit exceeded: max 90 days",
    "Одновременно можно запросить данные не более чем за 31 день",
    "Слишком большой период, попробуйте его сократить и повторите запрос",
    "Значение startDate не может быть позже 2024 года",
]
NOT_NOW = [
    "Ведутся технические работы в период с 01:00 до 05:00",
    "Превышен лимит запросов за период. Лимит: 1000",
    "Количество запросов превысило лимит",
    "Превышен суточный лимит API-баллов за период",
    "Слишком много запросов. Интервал между запросами не менее 1 секунды",
    "Сервис временно недоступен",
    "Баллы исчерпаны, обновление через 1 день",
    "Service is being updated, please retry in 10 minutes",
    "Период обновления данных: 5 минут. Повторите попытку позже",
]
EMPTY: list[Any] = [None, "", {}, {"smsDetails": []}]
NOTHING: list[Any] = [None, {}, [], *({"success": True, "data": data} for data in EMPTY)]
DESCRIBED = "errorCode: 1; errorDescription: А"
ODD_TOTALS: list[Any] = ["secret", True, -1, "-1", "٣", "9" * 5000, 10**18, 10**30]
ODD_ROWS: list[Any] = [["secret"], {"70000000001": {}}, {"0": "secret"}, "secret"]


def api_error(code: int, message: str | None) -> dict[str, Any]:
    error = {"errorCode": code, "errorMessage": message, "errorDescription": None}
    return {"data": {"type": "apiError", "apiErrorData": error, "validationErrorData": None}}


def refusal(*faults: tuple[str | None, str], indexed: bool = False) -> dict[str, Any]:
    listed = [{"fieldPath": field, "message": message} for field, message in faults]
    by_index = {str(n): violation for n, violation in enumerate(listed, 1)}
    return {"data": {"validationErrorData": {"violations": by_index if indexed else listed}}}


@pytest.mark.parametrize(
    ("document", "kind", "words"),
    [
        # As documented.
        ({"message": "Invalid credentials."}, api.InvalidCredentials, "Invalid credentials."),
        ({"meta": [], "data": {"message": NO_ACCESS}}, api.NoAccess, NO_ACCESS),
        ({"meta": [], "data": {"message": MISSING}}, api.UnusableRequest, MISSING),
        (api_error(1, SYNTAX), api.UnusableRequest, f"errorCode: 1; errorMessage: {SYNTAX}"),
        (api_error(500, None), api.ApiError, "errorCode: 500"),
        (refusal(("phoneNumbers", "Два")), api.ValidationError, "phoneNumbers: Два"),
        (
            refusal(("dateFrom", NOT_BEGUN), ("phoneNumbers", "Два")),
            api.NotBegun,
            f"dateFrom: {NOT_BEGUN}; phoneNumbers: Два",
        ),
        # In other words, or on another level.
        ({"message": "Too Many Requests"}, api.NotNow, "Too Many Requests"),
        ({"message": "invalid  CREDENTIALS"}, api.InvalidCredentials, "invalid  CREDENTIALS"),
        ({"data": {"message": INVALID}}, api.InvalidCredentials, INVALID),
        ({"errorMessage": NO_ACCESS}, api.NoAccess, f"errorMessage: {NO_ACCESS}"),
        ({"errorCode": 5, "errorMessage": "Нет"}, api.ApiError, "errorCode: 5; errorMessage: Нет"),
        ({"data": {"errorDescription": "А", "errorCode": "1"}}, api.ApiError, DESCRIBED),
        ({"data": {"errorMessage": "Нет"}, "message": "Ой"}, api.ApiError, "Ой; errorMessage: Нет"),
        ({"error": {"message": "Сбой"}}, api.OtherMessage, "Сбой"),
        ({"error": "Сбой", "detail": "Да"}, api.OtherMessage, "error: Сбой; detail: Да"),
        ({"data": "Нет доступа"}, api.OtherMessage, "Нет доступа"),
        ({"message": TOO_LONG}, api.RefusedRange, TOO_LONG),
        ({"message": TRIAL}, api.OtherMessage, TRIAL),
        *(({"message": limit}, api.RefusedRange, limit) for limit in LIMITS),
        (api_error(12, TOO_LONG), api.RefusedRange, f"errorCode: 12; errorMessage: {TOO_LONG}"),
        (api_error(12, TRIAL), api.ApiError, f"errorCode: 12; errorMessage: {TRIAL}"),
        *(({"message": words}, api.NotNow, words) for words in NOT_NOW),
        (api_error(9, NOT_NOW[1]), api.NotNow, f"errorCode: 9; errorMessage: {NOT_NOW[1]}"),
        ({"message": "Not updated: 1"}, api.OtherMessage, "Not updated: 1"),
        # Beside a page without SMS.
        ({"message": INVALID, "data": []}, api.InvalidCredentials, INVALID),
        ({"errorCode": 5, "data": []}, api.ApiError, "errorCode: 5"),
        ({"message": "Ой", **page_of(0, [])}, api.OtherMessage, "Ой"),
        (refusal(("pageOfResult", "Мало")), api.ValidationError, "pageOfResult: Мало"),
        (refusal(("dateFrom", TOO_LONG)), api.RefusedRange, f"dateFrom: {TOO_LONG}"),
        (refusal((None, TOO_LONG)), api.RefusedRange, TOO_LONG),
        (refusal(("", "Не более 31 дня")), api.RefusedRange, ": Не более 31 дня"),
        (refusal(("", LIMITS[0])), api.RefusedRange, f": {LIMITS[0]}"),
        (refusal(("dateTo", "Мало"), indexed=True), api.RefusedRange, "dateTo: Мало"),
        (refusal(("", NOT_NOW[0])), api.NotNow, f": {NOT_NOW[0]}"),
        (refusal(("", LIMITS[6])), api.RefusedRange, f": {LIMITS[6]}"),
        (
            refusal(("dateTo", "Мало"), ("newField", "Нет")),
            api.ValidationError,
            "dateTo: Мало; newField: Нет",
        ),
        # Without words.
        *((wire, api.NoData, "") for wire in (b"", b" \n", b"\xef\xbb\xbf", b"\0")),
        *((empty, api.NoData, "") for empty in NOTHING),
        *((page_of(total, [{}]), api.NoData, "") for total in (None, "")),
        (b"\n<html>502</html>", api.Html, ""),
        # Text that cannot be decoded, whatever charset it declares.
        (TEXT.encode("cp1251"), api.NotJson, ""),
        (TEXT.encode("utf-16")[:-1], api.NotJson, ""),
        (TEXT.encode().replace("и".encode(), b"\xff", 1), api.NotJson, ""),
        # Cut off; too deep, or with an integer too long, to be read or written.
        (body(PAGE)[:-40], api.NotJson, ""),
        (b"[" * 100_000, api.NotJson, ""),
        (b'{"data":' * 100_000, api.NotJson, ""),
        (body(PAGE).replace(b"25352", b"9" * 5000), api.NotJson, ""),
        (body(PAGE).replace(b"25352", b"-" + b"9" * 5000), api.NotJson, ""),
        # Keys and types alone, since values and such keys may be private.
        (
            {"result": "secret", "items": [{"phone": "70000000001"}]},
            api.Undocumented,
            "{result: str, items: [{phone: str}, …]}",
        ),
        ({"70000000001": "secret"}, api.Undocumented, "{…: str}"),
        (["secret"], api.Undocumented, "[str, …]"),
        ("secret", api.Undocumented, "str"),
        (b'{"a":{"b":{"c":{"secret":1}}}}', api.Undocumented, "{a: {b: {c: dict}}}"),
        *((page_of(total, []), api.Undocumented, None) for total in ODD_TOTALS),
        *((page_of(1, rows), api.Undocumented, None) for rows in ODD_ROWS),
        (b'{"data":{"message":' + b"[" * 900 + b"]" * 900 + b"}}", api.Undocumented, None),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_what_is_no_page_is_told_by_its_kind_and_calltouchs_words(
    document: Any, kind: type[api.ErrorBody], words: str | None
) -> None:
    wire = document if isinstance(document, bytes) else body(document)
    with pytest.raises(kind) as raised:
        api.read_page(wire, "text/json; charset=none-such")
    assert type(raised.value) is kind
    assert words in {None, str(raised.value)}
    assert not re.search("secret|70000000001", str(raised.value))


NAMES = [
    *("meta", "data", "message", "totalCountSms", "smsDetails", "type", "pageOfResult"),
    *("apiErrorData", "errorCode", "validationErrorData", "violations", "fieldPath"),
]
near_pages = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 3) | st.text(max_size=5) | st.floats(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4)
    ),
    max_leaves=12,
)


def damaged(junk: bytes, place: int, cut: int) -> bytes:
    whole = body(PAGE)
    place %= len(whole)
    return whole[:place] + junk + whole[place + cut :]


@settings(max_examples=3000, deadline=None)
@given(
    near_pages.map(lambda document: json.dumps(document).encode())
    | st.builds(damaged, st.binary(max_size=60), st.integers(0), st.integers(0, 60))
    | st.binary()
)
@example(damaged(b"\xed\xa0\x80", 20, 0))
@example(damaged(b"9" * 5000, 30, 1))
def test_any_answer_ends_in_a_page_or_an_error_of_some_kind(wire: bytes) -> None:
    try:
        page = api.read_page(wire)
    except api.ErrorBody:
        return
    assert page.total >= 0
    assert all(isinstance(row, dict) for row in page.rows)


# What is seen without decoding.


@pytest.mark.parametrize(
    ("document", "counts"),
    [
        (page_of(0, []), (0, 0)),
        (page_of(25, [SMS] * 10), (25, 10)),
        (page_of("25", [SMS] * 10), (25, 10)),
        (page_of(None, [SMS]), (0, 1)),
        ({"message": "Invalid credentials."}, (0, 0)),
    ],
)
def test_total_and_rows_of_a_page_are_seen(document: Any, counts: tuple[int, int]) -> None:
    assert api.seen_counts(body(document)) == counts


@pytest.mark.parametrize("text", ["Ж" * api.LARGE, TEXT], ids=["large", "quotes a page"])
def test_the_total_is_seen_at_either_end_whatever_an_sms_says(text: str) -> None:
    data = page_of(25, [{**SMS, "smsMessage": text}])["data"]
    for either in (data, dict(reversed(data.items()))):
        assert api.seen_counts(body({"data": either})) == (25, 1)
