"""The settings: `source_calltouch_sms.config` and `spec.json`."""

import re
import zoneinfo
from datetime import datetime, timedelta
from typing import Any

import jsonschema
import pendulum
import pytest
from airbyte_cdk.models import FailureType
from airbyte_cdk.utils.traced_exception import AirbyteTracedException

from source_calltouch_sms import api
from source_calltouch_sms.config import SCHEMA, Config
from unit_tests.account import SITE_ID, TOKEN
from unit_tests.conftest import NOW, settings

PROPERTIES: dict[str, dict[str, Any]] = SCHEMA["properties"]


def refusal(**changes: Any) -> str:
    """Return what the settings are refused with."""
    values = settings(**changes)
    values = {name: value for name, value in values.items() if value != "MISSING"}
    with pytest.raises(AirbyteTracedException) as raised:
        Config.parse(values, NOW)
    assert raised.value.failure_type == FailureType.config_error
    return str(raised.value)


def test_settings_are_typed_and_defaults_are_the_forms() -> None:
    assert Config.parse(settings(end_date="2024-04-01"), NOW) == Config(
        access_token=TOKEN,
        site_id=SITE_ID,
        start=datetime(2024, 4, 1),
        end=datetime(2024, 4, 1, 23, 59, 59),
        zone=pendulum.timezone("Europe/Moscow"),
        lookback=timedelta(days=3),
        lookback_interval=timedelta(),
        phone_numbers=(),
        require_complete_windows=True,
        api_url=api.URL,
    )


@pytest.mark.parametrize("name", [*(n for n in PROPERTIES if n not in settings()), "x"])
@pytest.mark.parametrize("emptied", [None, "", " ", []], ids=repr)
def test_what_the_form_has_emptied_or_does_not_know_is_unset(name: str, emptied: object) -> None:
    assert Config.parse(settings(**{name: emptied}), NOW) == Config.parse(settings(), NOW)


def test_blanks_around_a_text_are_trimmed_as_in_the_form() -> None:
    padded = settings(site_id=" 10777\n", timezone=" Asia/Omsk ", api_url=f"{api.URL}\n")
    trimmed = settings(site_id="10777", timezone="Asia/Omsk", api_url=api.URL)
    assert Config.parse(padded, NOW) == Config.parse(trimmed, NOW)


def test_what_is_private_is_not_in_the_configs_text() -> None:
    text = repr(Config.parse(settings(phone_numbers=["+7 000 123-45-67"]), NOW))
    assert TOKEN not in text
    assert "123" not in text


def test_today_is_the_accounts() -> None:
    late = NOW.add(hours=4)  # past midnight in Auckland, four in the afternoon in Moscow
    assert Config.parse(settings(start_date="2024-06-16", timezone="Pacific/Auckland"), late)


NO_TIME_ZONES = [
    *("MSK", "MSK+2", "Москва", "Moscow", "UTC+3", "GMT+3", "+03:00", "Europe / Moscow", "Europe"),
    # What else the time zone database holds: `right` counts leap seconds.
    *("right/Europe/Moscow", "right/UTC", "posix/Europe/Moscow", "posixrules", "localtime"),
    *("Factory", "../etc/passwd"),
]
NO_NUMBERS = ["12345", "+7 000 123-45-67\n+7 000 123-45-68", "", "+7916abc1112233"]
NO_ADDRESSES = [
    *("http://api.calltouch.ru/x", "https://", "ftp://api.calltouch.ru/x", "https://?x"),
    *("http://0.0.0.0/x", "http://10.0.0.1/x", "http://localhost.example/x"),
    *("http://127.0.0.1.example/x", "http://localhost\\.example/x"),
    *("https://user:pass@api.calltouch.ru/x", "https://user@host/x", "https://host/x#y"),
    # No addresses but names, which are asked of DNS.
    *("http://127.0.0.999/x", "http://127.0.256.1/x", "http://127.0.0.01/x", "http://127.1/x"),
    # What no one can call.
    *("https://host/x y", "https://.x.ru", "https://a..b", "https://x.ru../y", "https://*.x.ru/y"),
    *(f"https://{'a' * 64}.ru/x", "https://:443/x", "https://[::1", "https://[::g]/x"),
    *("https://host:port/x", "https://host:99999/x", "http://localhost:99999/x"),
]
TOO_MANY = ["70001234567"] * (api.MAX_NUMBERS + 1)


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        *((name, "MISSING", "it is missing") for name in ("access_token", "site_id", "start_date")),
        ("access_token", "", "it is missing"),
        ("access_token", 5, "the value has to be a JSON string (string)."),
        *(
            ("access_token", token, "a space, a line break, a quote or a letter that no token has")
            for token in ("two words", "line\n", 'quo"te', "quo'te", "back\\slash", "Ключ")
        ),
        ("site_id", "ID 5", 'does not fit the format "digits only".'),
        ("site_id", 5, "the value has to be a JSON string (digits only)."),
        ("start_date", "01.04.2024", "the value is not a valid date (YYYY-MM-DD)"),
        ("start_date", "20240401", "YYYY-MM-DD"),
        ("start_date", "2024-02-30", "the value is not a valid date (YYYY-MM-DD)"),
        ("start_date", "2024-06-16", "is in the future; in Europe/Moscow today is 2024-06-15"),
        ("end_date", "2024-03-31", "2024-03-31 is before the start date, 2024-04-01"),
        ("end_date", "2024-13-01", "is not a valid date"),
        ("timezone", "Mars/Olympus", '"Mars/Olympus" is not a valid time zone; use an IANA name'),
        *(("timezone", zone, 'the format "Region/City, such as Europe/') for zone in NO_TIME_ZONES),
        *(("lookback_window_days", n, '"whole number, 0 to 365"') for n in (-1, 366, 3.5)),
        *(("lookback_interval_hours", n, '"whole number, 0 to 168"') for n in (-1, 169, 0.5)),
        *(
            ("phone_numbers", ["+7 000 123-45-67", wrong], 'entry 2 does not fit the format "10 to')
            for wrong in NO_NUMBERS
        ),
        ("phone_numbers", TOO_MANY, 'the format "10 to 15 digits each, '),
        ("lookback_window_days", "3", "has to be a JSON integer (whole number, 0 to 365)"),
        *(
            ("phone_numbers", wrong, "the value has to be a JSON array (10 to 15 digits each, a")
            for wrong in ("70001234567", {"number": "1"})
        ),
        ("phone_numbers", [70001234567], "entry 1 has to be a JSON string (10 to 15 digits)"),
        ("require_complete_windows", "yes", "the value has to be a JSON boolean (boolean)."),
        *(("api_url", url, 'does not fit the format "https://host/path"') for url in NO_ADDRESSES),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_each_wrong_value_is_named_with_its_setting(name: str, value: Any, fault: str) -> None:
    message = refusal(**{name: value})
    assert message.startswith(f"The setting {PROPERTIES[name]['title']} ({name}): ")
    assert fault in message


@pytest.mark.parametrize("name", PROPERTIES)
@pytest.mark.parametrize("value", ["open sesame", "+7 000 555-00-01 and 70005550002"])
def test_no_refusal_shows_what_was_put_into_a_wrong_place(name: str, value: str) -> None:
    for wrong in (value, [value, "5550001"], {"nested": [value]}):
        assert not re.search("555|sesame", refusal(**{name: wrong}))


def test_numbers_are_taken_in_any_mask() -> None:
    numbers = ["89209383654", "+7 920 938 35 21", "(936) 969-65-21", "«8\u00a0920\u00a0938‑35‑21»"]
    assert Config.parse(settings(phone_numbers=numbers), NOW).phone_numbers == tuple(numbers)


@pytest.mark.parametrize(
    "url",
    [
        *(api.URL_UNDER_ACCESS, "https://xn--h1aigbl6c.example/x"),
        *("https://host_with_underscores:8443/x?site=1", "https://proxy.example:65535/calltouch"),
        *("http://localhost:8077/x", "http://127.0.0.1:8077/x", "http://[::1]:8077/x"),
        *("http://127.10.0.3/x", "http://127.255.99.249:8077/x"),
    ],
)
def test_an_address_is_https_or_this_machine(url: str) -> None:
    assert Config.parse(settings(api_url=url), NOW).api_url == url


# The form.


def test_every_time_zone_there_is_fits_the_form() -> None:
    names = zoneinfo.available_timezones() | set(pendulum.timezones())
    assert len(names) > 500
    wrong = [n for n in names if not re.search(PROPERTIES["timezone"]["pattern"], n)]
    # Debian's link to the machine's own zone, and IANA's name for "not set": no one's time zone.
    assert {*wrong} <= {"localtime", "Factory"}


@pytest.mark.parametrize("name", PROPERTIES)
def test_patterns_are_safe_in_each_language_that_reads_them(name: str) -> None:
    pattern = str([PROPERTIES[name].get("pattern"), PROPERTIES[name].get("items")])
    # Java matches such a group by recursion, and some 3,000 characters overflow the stack.
    assert not re.search(r"\)[*+]|\)\{\d+,\}", pattern)
    # A bare hyphen at a class's end does not compile in JavaScript's newest mode, which forms use.
    assert not re.search(r"(?<!\\)-\]", pattern)
    # \d, \D and \w do not mean the same to Python, Java and JavaScript.
    assert not re.search(r"\\[dDwW]", pattern)


def test_the_form_tells_limits_cost_and_what_is_left_out() -> None:
    assert PROPERTIES["phone_numbers"]["maxItems"] == api.MAX_NUMBERS
    late = "SMS that Calltouch registers late"
    told = {
        "phone_numbers": f"up to {api.MAX_NUMBERS:,};",
        "start_date": f"{api.POINTS_PER_CALL} API points («баллы API») per {api.PAGE_SIZE:,} SMS",
        "lookback_window_days": f"0: statuses are never updated, and {late}",
        "lookback_interval_hours": late,
    }
    for name, words in told.items():
        assert words in PROPERTIES[name]["description"]


def test_every_setting_explains_itself_in_the_form() -> None:
    assert sorted(p["order"] for p in PROPERTIES.values()) == list(range(len(PROPERTIES)))
    for name, setting in PROPERTIES.items():
        assert setting["title"], name
        assert re.fullmatch(r".+\. — [«А-Я].+[.]", setting["description"]), name
        assert "pattern" not in setting or setting["pattern_descriptor"], name
        for example in setting.get("examples", []):
            jsonschema.validate(example, setting)
    jsonschema.validate(settings(phone_numbers=[]), SCHEMA)  # a list that the form has emptied
    assert PROPERTIES["access_token"]["airbyte_secret"] is True
    assert "pattern" not in PROPERTIES["access_token"], "jsonschema would quote the token"
    assert PROPERTIES["timezone"]["always_show"] is True
    assert SCHEMA["additionalProperties"] is True
    assert SCHEMA["required"] == ["access_token", "site_id", "start_date"]
