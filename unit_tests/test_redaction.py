"""Words of the service, fit to be quoted: `source_calltouch_sms.redaction`."""

import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from source_calltouch_sms.redaction import MASK, MAX_QUOTE, MAX_WORDS, Redactor

TOKEN = "aB3/x+z9-1234567890&12=q"
REDACTOR = Redactor([TOKEN])


@pytest.mark.parametrize(
    "number",
    [
        *("+7 000 123-45-67", "70009998877", "8(000)1234567", "7.000.123.45.67"),
        *("(936) 000-65-21", "7,000,123,45,67", "8 / 000 / 1234567", "123456789012345"),
        *("7%20000%20123%2045%2067", "7000 01.04.2024", "9" * 5000),
    ],
)
def test_numbers_are_masked_however_they_are_written(number: str) -> None:
    for words in (number, f"Номер {number} не найден", f"{number}, {number}"):
        clean = REDACTOR.clean(words)
        assert MASK in clean
        assert not any(sign.isdigit() for sign in clean.replace("%20", "")), clean


@given(
    st.text("0123456789", min_size=10, max_size=15),
    st.lists(st.text(" -()./+*", max_size=9), min_size=15, max_size=15),
)
def test_no_mask_lets_a_number_through(digits: str, separators: list[str]) -> None:
    number = "".join(map("".join, zip(digits, separators, strict=False)))
    assert digits[0] not in REDACTOR.clean(number)


@pytest.mark.parametrize(
    "words",
    [
        "Не больше 10 000 из 999 999 999 в 2024 году",
        "phoneNumbers[12]: 90 дней",
        "Период с 01.04.2024 09:00:00 по 2024-04-02 23:59",
        "01.04.2024 09:00:00 - 02.04.2024 09:00:00",
        "2024-04-01T09:00:00.123+03:00, 01/04/2024",
    ],
)
def test_dates_and_amounts_stay_readable(words: str) -> None:
    assert REDACTOR.clean(words) == words


@pytest.mark.parametrize(
    "form",
    [
        *(TOKEN, TOKEN.upper(), quote(TOKEN), quote(TOKEN, safe="")),
        quote(quote(TOKEN, safe="").lower()),
        json.dumps(TOKEN)[1:-1].replace("/", "\\/"),
        "".join(f"\\u{ord(sign):04X}" for sign in TOKEN),
        *("\u200b".join(TOKEN), "\n".join(TOKEN)),
    ],
)
def test_a_secret_is_masked_in_any_form(form: str) -> None:
    assert REDACTOR.clean(f"Токен {form} отозван") == f"Токен {MASK} отозван"


@pytest.mark.parametrize("length", [MAX_QUOTE, MAX_WORDS])
def test_a_cut_leaves_no_part_of_a_secret(length: int) -> None:
    for before in range(length - len(TOKEN) - 5, length + 5):
        assert TOKEN[:3] not in REDACTOR.quote("ы" * before + TOKEN)
        assert TOKEN[:3] not in REDACTOR.quote("9" * before + TOKEN)


def test_what_does_not_print_is_left_out() -> None:
    words = "\x1b[31mАлое\x07\u202e\n\u2066и\u2069 \ufeffнет\r\n\u2028\ud83d\U000e0041 \U0001f600"
    assert REDACTOR.clean(words) == "[31mАлое и нет \U0001f600"


def test_words_are_quoted_without_a_full_stop() -> None:
    assert REDACTOR.quote(" Нет. ") == ": «Нет»"
    assert REDACTOR.quote(" \n") == ""
