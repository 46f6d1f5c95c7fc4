"""The method as the API's page documents it: `source_calltouch_sms.api`."""

import json
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from source_calltouch_sms import api

PAGE = {
    "meta": [],
    "data": {
        "totalCountSms": 25352,
        "pageOfResult": 2,
        "smsDetails": [
            {
                "phoneNumber": "70000000001",
                "dateSent": "01-04-2024 15:05:32",
                "smsStatus": "delivered",
                "smsStatusDetail": "Доставлено",
                "smsMessage": "Внимание, скидки!\nТолько сегодня",
            }
        ],
    },
}


def body(document: Any) -> bytes:
    return json.dumps(document, ensure_ascii=False).encode()


def test_times_on_the_wire_are_day_first_and_padded() -> None:
    assert api.wire_time(datetime(2024, 4, 1, 9, 0, 5)) == "01-04-2024 09:00:05"
    assert api.wire_time(datetime(1, 1, 1)) == "01-01-0001 00:00:00"


@pytest.mark.parametrize(
    "text",
    [
        "01-04-2024 09:00:05",
        "01.04.2024 09:00:05",
        "2024-04-01 09:00:05",
        "2024.04.01 09:00:05",
        "01/04/2024 09:00:05",
        "1/4/2024 9:00:05",
        "2024/04/01 09:00:05",
        "2024-04-01T09:00:05",
        "01-04-2024T09:00:05",
        "2024-04-01T09:00:05.999999",
    ],
)
def test_times_are_read_in_each_form_that_the_service_has(text: str) -> None:
    assert api.read_wire_time(text) == datetime(2024, 4, 1, 9, 0, 5)


def test_a_month_may_be_first_and_seconds_may_be_missing() -> None:
    april = datetime(2024, 4, 1, 9)
    assert api.read_wire_time("01.04.2024 09:00") == april
    assert api.read_wire_time("04/01/2024 09:00", month_first=True) == april
    assert api.read_wire_time("2024-04-01T09:00", month_first=True) == april


@pytest.mark.parametrize(
    ("offset", "hours"),
    [("Z", 0), ("+00:00", 0), ("+03:00", 3), ("+0330", 3.5), ("-03:30", -3.5), ("+03", 3)],
)
def test_a_time_with_an_offset_is_a_moment(offset: str, hours: float) -> None:
    moment = api.read_wire_time(f"2024-04-01T09:00:05{offset}")
    assert moment.utcoffset() == timedelta(hours=hours)
    assert moment.replace(tzinfo=None) == datetime(2024, 4, 1, 9, 0, 5)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "01-04-2024",
        "01-04/2024 09:00:05",
        "04/01/2024 09:00:05 AM",
        "01-04-24 09:00:05",
        "01-04-202 09:00:05",
        "010-04-2024 09:00:05",
        "2024-04-202 09:00:05",
        "2024-04-2024 09:00:05",
        "01-04-2024 09",
        "13-13-2024 09:00:05",
        "2024-04-01T09:00:05+99:00",
        "01-04-2024 09:00:05\n",
        " 01-04-2024 09:00:05",
        "31-02-2024 09:00:05",
        "01-04-2024 24:00:05",
        "01-04-2024 09:00:60",
        "٠١-04-2024 09:00:05",
    ],
)
def test_what_is_no_certain_time_is_not_read(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - datetime's own where the digits are no date
        api.read_wire_time(text)


def test_a_page_tells_the_total_of_the_selection_and_its_rows() -> None:
    page = api.read_page(body(PAGE))
    assert page.total == 25352
    assert page.rows == PAGE["data"]["smsDetails"]  # type: ignore[index]


def test_a_line_break_unescaped_inside_a_string_is_read_as_in_the_pages_example() -> None:
    wire = body(PAGE).replace(b"\\n", b"\n")
    assert b"\n" in wire
    assert api.read_page(wire) == api.read_page(body(PAGE))


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (b'"half \\ud83d of a pair"', "half ? of a pair"),
        (b'"whole \\ud83d\\ude00 pair, break \n"', "whole \U0001f600 pair, break \n"),
    ],
)
def test_a_text_that_strict_json_forbids_costs_no_page(text: bytes, read: str) -> None:
    wire = body(PAGE).replace(body(PAGE["data"]["smsDetails"][0]["smsMessage"]), text)  # type: ignore[index]
    assert api.read_page(wire).rows[0]["smsMessage"] == read


def test_a_byte_order_mark_is_no_fault() -> None:
    assert api.read_page(b"\xef\xbb\xbf" + body(PAGE)).total == 25352


@pytest.mark.parametrize(
    ("charset", "content_type"),
    [
        ("cp1251", "application/json; charset=windows-1251"),
        ("cp1251", 'application/json;charset="Windows-1251"'),
        ("koi8-r", "application/json; Charset = KOI8-R"),
        ("utf-16", "application/json; charset=UTF-16"),
        ("utf-16", ""),
        ("utf-16-le", ""),
        # What is UTF-8, whatever it is said to be.
        ("utf-8", "application/json; charset=windows-1251"),
        ("utf-8", "application/json; charset=none-such"),
        ("utf-8", "application/json; charset=hex"),
    ],
)
def test_a_page_is_read_in_the_charset_that_it_declares(charset: str, content_type: str) -> None:
    wire = json.dumps(PAGE, ensure_ascii=False).encode(charset)
    assert api.read_page(wire, content_type) == api.read_page(body(PAGE))
    with_break = json.dumps(PAGE, ensure_ascii=False).replace("\\n", "\n").encode(charset)
    assert api.read_page(with_break, content_type) == api.read_page(body(PAGE))


@pytest.mark.parametrize(
    ("wire", "content_type"),
    [
        (json.dumps(PAGE, ensure_ascii=False).encode("cp1251"), "application/json"),
        (body(PAGE).replace("\u0438".encode(), b"\xff", 1), "text/json; charset=UTF-8"),
        (body(PAGE).replace("\u0438".encode(), b"\xff", 1), "a/b; charset=none-such"),
        (json.dumps(PAGE).encode("utf-16")[:-1], ""),
    ],
)
def test_text_that_cannot_be_decoded_is_an_error_and_no_page_of_question_marks(
    wire: bytes, content_type: str
) -> None:
    with pytest.raises(api.NotJson):
        api.read_page(wire, content_type)


def test_rows_may_come_as_an_object_keyed_by_index() -> None:
    rows = [{"dateSent": "a"}, {"dateSent": "b"}]
    by_index = {"totalCountSms": 2, "smsDetails": {"0": rows[0], "12": rows[1]}}
    assert api.read_page(body({"data": by_index})) == (2, rows)
    assert api.read_page(body({"data": {**by_index, "smsDetails": {}}})) == (2, [])


def test_a_total_of_twelve_digits_is_read() -> None:
    assert api.read_page(body({"data": {"totalCountSms": 10**18 - 1}})).total == 10**18 - 1


@pytest.mark.parametrize(
    "data",
    [
        [],
        {"totalCountSms": 0, "pageOfResult": 1, "smsDetails": []},
        {"totalCountSms": 0, "pageOfResult": None, "smsDetails": None},
        {"totalCountSms": 0},
    ],
)
def test_no_sms_comes_in_several_forms(data: Any) -> None:
    assert api.read_page(body({"meta": [], "data": data})) == (0, [])


def test_a_total_may_come_as_text() -> None:
    wire = body({"data": {"totalCountSms": "25352", "smsDetails": [{}]}})
    assert api.read_page(wire) == (25352, [{}])


NO_ACCESS = "Пользователь ООО Пример не имеет доступа к данному методу API"
MISSING = "В запросе не указано обязательное поле dateTo"
UNREADABLE = "Синтаксическая ошибка JSON в запросе или запрос пустой"
NOT_BEGUN = "Значение не может быть больше текущего дня"


def api_error(code: int, message: str | None) -> dict[str, Any]:
    error = {"errorCode": code, "errorMessage": message, "errorDescription": None}
    data = {"type": "apiError", "apiErrorData": error, "validationErrorData": None}
    return {"meta": [], "data": data}


def refusal(*faults: tuple[str | None, str]) -> dict[str, Any]:
    violations = [{"fieldPath": field, "message": message} for field, message in faults]
    return {"data": {"validationErrorData": {"violations": violations}}}


@pytest.mark.parametrize(
    ("document", "kind", "words"),
    [
        ({"message": "Invalid credentials."}, api.InvalidCredentials, "Invalid credentials."),
        ({"meta": [], "data": {"message": NO_ACCESS}}, api.NoAccess, NO_ACCESS),
        ({"meta": [], "data": {"message": MISSING}}, api.UnusableRequest, MISSING),
        ({"meta": [], "data": {"message": "Баллы"}}, api.OtherMessage, "Баллы"),
        ({"message": "Too Many Requests"}, api.OtherMessage, "Too Many Requests"),
        (
            api_error(1, UNREADABLE),
            api.UnusableRequest,
            f"errorCode: 1; errorMessage: {UNREADABLE}",
        ),
        (api_error(500, None), api.ApiError, "errorCode: 500"),
        (
            refusal(("dateFrom", NOT_BEGUN), ("phoneNumbers", "Два")),
            api.NotBegun,
            f"dateFrom: {NOT_BEGUN}; phoneNumbers: Два",
        ),
        (refusal(("phoneNumbers", "Два")), api.ValidationError, "phoneNumbers: Два"),
    ],
)
def test_each_documented_error_is_told_from_a_page(
    document: Any, kind: type[api.ErrorBody], words: str
) -> None:
    with pytest.raises(kind) as raised:
        api.read_page(body(document))
    assert type(raised.value) is kind
    assert str(raised.value) == words


def indexed(refused: dict[str, Any]) -> dict[str, Any]:
    data = refused["data"]["validationErrorData"]
    violations = {str(n): violation for n, violation in enumerate(data["violations"], 1)}
    return {"data": {"validationErrorData": {"violations": violations}}}


TOO_LONG = "Период не может быть больше 90 дней"


@pytest.mark.parametrize(
    ("document", "kind", "words"),
    [
        ({"message": "invalid CREDENTIALS"}, api.InvalidCredentials, "invalid CREDENTIALS"),
        ({"data": {"message": "Invalid credentials"}}, api.InvalidCredentials, "Invalid cred"),
        ({"errorMessage": NO_ACCESS}, api.NoAccess, NO_ACCESS),
        ({"errorCode": 5, "errorMessage": "Нет"}, api.ApiError, "errorCode: 5; errorMessage: Нет"),
        ({"data": {"errorCode": "1"}}, api.ApiError, "errorCode: 1"),
        ({"data": {"errorMessage": "Нет"}, "message": "Ой"}, api.ApiError, "Ой; errorMessage: Нет"),
        ({"error": {"message": "Сбой"}}, api.OtherMessage, "Сбой"),
        ({"error": "Сбой", "message": ""}, api.OtherMessage, "error: Сбой"),
        (refusal(("pageOfResult", "Мало")), api.ValidationError, "pageOfResult: Мало"),
        (refusal(("dateFrom", TOO_LONG)), api.RefusedRange, f"dateFrom: {TOO_LONG}"),
        (refusal((None, TOO_LONG)), api.RefusedRange, TOO_LONG),
        (indexed(refusal(("dateTo", "Мало"))), api.RefusedRange, "dateTo: Мало"),
        ({"message": TOO_LONG}, api.RangeMessage, TOO_LONG),
        (refusal(("dateTo", TOO_LONG), ("newField", "Нет")), api.ValidationError, "newField: Нет"),
    ],
)
def test_errors_are_told_by_words_at_any_level(
    document: Any, kind: type[api.ErrorBody], words: str
) -> None:
    with pytest.raises(kind) as raised:
        api.read_page(body(document))
    assert type(raised.value) is kind
    assert words in str(raised.value)


@pytest.mark.parametrize("wire", [b"", b" \n", b"\xef\xbb\xbf", b"\0"])
def test_nothing_is_no_data(wire: bytes) -> None:
    with pytest.raises(api.NoData):
        api.read_page(wire)


@pytest.mark.parametrize(
    "document",
    [
        None,
        {},
        [],
        {"meta": [], "data": None},
        {"meta": [], "data": {}},
        {"data": {"totalCountSms": None, "smsDetails": [{}]}},
        {"data": {"totalCountSms": "", "smsDetails": []}},
    ],
)
def test_json_with_nothing_in_it_is_of_no_other_kind(document: Any) -> None:
    with pytest.raises(api.NoData):
        api.read_page(body(document))


def test_words_nested_without_end_are_no_words() -> None:
    nested = '{"data": {"message": ' + "[" * 900 + "]" * 900 + "}}"
    with pytest.raises(api.Undocumented):
        api.read_page(nested.encode())


@pytest.mark.parametrize(
    "wire",
    [
        b"<html>502</html>",
        body(PAGE)[: len(body(PAGE)) // 2],
        b"[" * 100_000,
        b'{"data":' * 100_000,
        body(PAGE).replace(b"25352", b"9" * 5000),
        body(PAGE).replace(b"25352", b"-" + b"9" * 5000),
    ],
)
def test_what_is_no_json_is_said_to_be_none(wire: bytes) -> None:
    with pytest.raises(api.NotJson):
        api.read_page(wire)


@pytest.mark.parametrize(
    "document",
    [
        {"result": "secret", "items": [{"phone": "70000000001"}]},
        {"meta": [], "data": {"totalCountSms": "secret", "smsDetails": []}},
        {"meta": [], "data": {"totalCountSms": True, "smsDetails": []}},
        {"meta": [], "data": {"totalCountSms": -1, "smsDetails": []}},
        {"meta": [], "data": {"totalCountSms": "-1", "smsDetails": []}},
        {"meta": [], "data": {"totalCountSms": "٣", "smsDetails": []}},
        {"meta": [], "data": {"totalCountSms": "9" * 5000, "smsDetails": []}},
        {"meta": [], "data": {"totalCountSms": 1, "smsDetails": ["secret"]}},
        {"meta": [], "data": {"totalCountSms": 1, "smsDetails": {"70000000001": {}}}},
        {"meta": [], "data": {"totalCountSms": 1, "smsDetails": {"0": "secret"}}},
        {"meta": [], "data": {"totalCountSms": 10**18, "smsDetails": []}},
        {"meta": [], "data": {"totalCountSms": 10**30, "smsDetails": []}},
        {"70000000001": "secret"},
        ["secret"],
        "secret",
    ],
)
def test_a_form_that_the_page_does_not_know_is_shown_by_keys_and_types(document: Any) -> None:
    with pytest.raises(api.Undocumented) as raised:
        api.read_page(body(document))
    assert "secret" not in str(raised.value)
    assert "70000000001" not in str(raised.value)
    assert str(raised.value)


near_pages = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 3) | st.text(max_size=5) | st.floats(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["meta", "data", "message", "totalCountSms", "smsDetails", "type"])
            | st.sampled_from(["apiErrorData", "errorCode", "validationErrorData"])
            | st.sampled_from(["violations", "fieldPath", "pageOfResult"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


def is_page_or_documented(wire: bytes) -> bool:
    try:
        page = api.read_page(wire)
    except api.ErrorBody:
        return True
    return page.total >= 0 and all(isinstance(row, dict) for row in page.rows)


@settings(max_examples=1500, deadline=None)
@given(near_pages)
def test_any_json_ends_in_a_page_or_a_documented_error(document: Any) -> None:
    assert is_page_or_documented(json.dumps(document).encode())


@settings(max_examples=1500, deadline=None)
@given(st.binary(max_size=60), st.integers(0), st.integers(0, 60))
@example(b"\xed\xa0\x80", 20, 0)
@example(b"9" * 5000, 30, 1)
def test_a_damaged_page_ends_in_a_page_or_a_documented_error(
    junk: bytes, place: int, cut: int
) -> None:
    whole = body(PAGE)
    place %= len(whole)
    assert is_page_or_documented(whole[:place] + junk + whole[place + cut :])


@settings(max_examples=500, deadline=None)
@given(st.binary())
def test_any_bytes_end_in_a_page_or_a_documented_error(wire: bytes) -> None:
    assert is_page_or_documented(wire)


def page_of(total: Any, rows: int, text: str = "") -> dict[str, Any]:
    details = [{"dateSent": "01-04-2024 15:05:32", "smsMessage": text}] * rows
    return {"data": {"totalCountSms": total, "smsDetails": details}}


@pytest.mark.parametrize(
    ("total", "rows", "counts"),
    [(0, 0, (0, 0)), (10, 10, (10, 10)), (25, 10, (25, 10)), ("25", 10, (25, 10)), (5, 0, (5, 0))],
)
def test_the_total_and_the_rows_of_a_page_are_seen(
    total: Any, rows: int, counts: tuple[int, int]
) -> None:
    assert api.seen_counts(body(page_of(total, rows))) == counts


@pytest.mark.parametrize("total_is_last", [False, True])
def test_the_total_is_seen_at_either_end_of_a_large_body(total_is_last: bool) -> None:  # noqa: FBT001
    data = page_of(25, 10, text="Ж" * api.LARGE)["data"]
    if total_is_last:
        data = dict(reversed(data.items()))
    assert api.seen_counts(body({"data": data})) == (25, 10)


def test_an_sms_that_quotes_a_page_is_not_taken_for_one() -> None:
    text = body(page_of(99, 3)).decode()
    data = dict(reversed(page_of(25, 10, text)["data"].items()))
    assert api.seen_counts(body({"data": data}))[0] == 25


@pytest.mark.parametrize("wire", [b"", b"<html>", b'{"message": "Invalid credentials."}'])
def test_in_a_body_that_is_no_page_nothing_is_seen(wire: bytes) -> None:
    assert api.seen_counts(wire) == (0, 0)


def test_a_page_without_a_total_has_rows() -> None:
    body = b'{"data":{"totalCountSms":null,"smsDetails":[{"dateSent":""}]}}'
    assert api.seen_counts(body) == (0, 1)
