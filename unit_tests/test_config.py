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
from unit_tests.conftest import NOW, settings


def refusal(**changes: Any) -> str:
    """Return what the settings are refused with."""
    values = settings(**changes)
    values = {name: value for name, value in values.items() if value != "MISSING"}
    with pytest.raises(AirbyteTracedException) as raised:
        Config.parse(values, NOW)
    assert raised.value.failure_type == FailureType.config_error
    return str(raised.value)


def test_settings_are_typed_and_defaults_are_the_forms() -> None:
    config = Config.parse(settings(end_date="2024-05-31"), NOW)
    assert config.start == datetime(2024, 4, 1)
    assert config.end == datetime(2024, 5, 31, 23, 59, 59)
    assert config.zone.name == "Europe/Moscow"
    assert config.lookback == timedelta(days=3)
    assert config.lookback_interval == timedelta()
    assert config.phone_numbers == ()
    assert config.require_complete_windows is True
    assert config.api_url == api.URL


def test_unknown_settings_are_let_through() -> None:
    assert Config.parse(settings(favourite="blue"), NOW) == Config.parse(settings(), NOW)


@pytest.mark.parametrize("name", [name for name in SCHEMA["properties"] if name not in settings()])
@pytest.mark.parametrize("emptied", [None, "", " ", []], ids=repr)
def test_what_the_form_has_emptied_is_unset(name: str, emptied: object) -> None:
    assert Config.parse(settings(**{name: emptied}), NOW) == Config.parse(settings(), NOW)


def test_a_list_that_the_form_has_emptied_passes_the_platforms_check() -> None:
    jsonschema.validate(settings(phone_numbers=[]), SCHEMA)


def test_blanks_around_a_text_are_trimmed_as_in_the_form() -> None:
    padded = settings(site_id=" 10777\n", timezone=" Asia/Omsk ", api_url=f"{api.URL}\n")
    trimmed = settings(site_id="10777", timezone="Asia/Omsk", api_url=api.URL)
    assert Config.parse(padded, NOW) == Config.parse(trimmed, NOW)


def test_what_is_private_is_not_in_the_configs_text() -> None:
    text = repr(Config.parse(settings(phone_numbers=["+7 000 123-45-67"]), NOW))
    assert "model-token" not in text
    assert "123" not in text


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("access_token", "MISSING", "it is missing"),
        ("access_token", "", "it is missing"),
        ("access_token", 5, 'does not fit the format "string"'),
        ("access_token", "two words", "a space"),
        ("access_token", "line\n", "a line break"),
        ("access_token", 'quo"te', "a quote"),
        ("access_token", "Ключ", "a letter that no token has"),
        ("site_id", "MISSING", "it is missing"),
        ("site_id", "ID 5", 'does not fit the format "digits only"'),
        ("site_id", 5, 'does not fit the format "digits only"'),
        ("start_date", "MISSING", "it is missing"),
        ("start_date", "01.04.2024", "the value is not a valid date (YYYY-MM-DD)"),
        ("start_date", "20240401", "YYYY-MM-DD"),
        ("start_date", "2024-02-30", "the value is not a valid date (YYYY-MM-DD)"),
        ("start_date", "2024-06-16", "is in the future; in Europe/Moscow today is 2024-06-15"),
        ("end_date", "2024-03-31", "2024-03-31 is before the start date, 2024-04-01"),
        ("end_date", "2024-13-01", "is not a valid date"),
        ("timezone", "Mars/Olympus", '"Mars/Olympus" is not a valid time zone; use an IANA name'),
        ("timezone", "../etc/passwd", 'does not fit the format "Region/City, such as Europe/'),
        *(
            ("lookback_window_days", wrong, 'does not fit the format "whole number, 0 to 365"')
            for wrong in (-1, 366, 3.5, "3")
        ),
        *(
            ("lookback_interval_hours", wrong, 'does not fit the format "whole number, 0 to 168"')
            for wrong in (-1, 169, 0.5, "24")
        ),
        ("phone_numbers", ["+7 000 123-45-67", "12345"], "entry 2 does not fit"),
        ("phone_numbers", ["+7 000 123-45-67\n+7 000 123-45-68"], "entry 1 does not fit"),
        ("phone_numbers", [70001234567], 'entry 1 does not fit the format "10 to 15 digits"'),
        ("phone_numbers", ["+7 000 123-45-67", ""], "entry 2 does not fit"),
        *(
            ("phone_numbers", wrong, 'the value does not fit the format "10 to 15 digits each, ')
            for wrong in ("70001234567", {"number": "1"}, ["70001234567"] * (api.MAX_NUMBERS + 1))
        ),
        ("require_complete_windows", "yes", 'does not fit the format "boolean"'),
        ("api_url", "http://api.calltouch.ru/x", 'does not fit the format "https://host/path"'),
        ("api_url", "https://user:pass@api.calltouch.ru/x", "does not fit the format"),
    ],
)
def test_each_wrong_value_is_named_with_its_setting(name: str, value: Any, fault: str) -> None:
    message = refusal(**{name: value})
    title = SCHEMA["properties"][name]["title"]
    assert message.startswith(f"The setting {title} ({name}): ")
    assert fault in message


@pytest.mark.parametrize("name", SCHEMA["properties"])
@pytest.mark.parametrize("value", ["open sesame", "+7 000 555-00-01 and 70005550002"])
def test_no_refusal_shows_what_was_put_into_a_wrong_place(name: str, value: str) -> None:
    for wrong in (value, [value, "5550001"], {"nested": [value]}):
        assert not re.search("555|sesame", refusal(**{name: wrong}))


@pytest.mark.parametrize(
    "number",
    ["89209383654", "+7 920 938 35 21", "(936) 969-65-21", "«8\u00a0920\u00a0938‑35‑21»"],
)
def test_numbers_are_taken_in_any_mask(number: str) -> None:
    assert Config.parse(settings(phone_numbers=[number]), NOW).phone_numbers == (number,)


@pytest.mark.parametrize("number", ["+7 916 111-22-33 доб. 123", "+7916abc1112233"])
def test_letters_in_a_number_turn_red_in_the_form(number: str) -> None:
    assert 'does not fit the format "10 to 15 digits"' in refusal(phone_numbers=[number])


def patterns() -> list[str]:
    """Return the patterns of the form, which the platform's server takes from `spec.json` too."""
    schemas = [s for p in SCHEMA["properties"].values() for s in (p, p.get("items", {}))]
    return [schema["pattern"] for schema in schemas if "pattern" in schema]


@pytest.mark.parametrize("pattern", patterns())
def test_patterns_repeat_no_group_without_an_end(pattern: str) -> None:
    # Java matches such a group by recursion, and some 3,000 characters overflow the stack.
    assert not re.search(r"\)[*+]|\)\{\d+,\}", pattern)
    # A bare hyphen at a class's end does not compile in JavaScript's newest mode, which forms use.
    assert not re.search(r"(?<!\\)-\]", pattern)
    # \d, \D and \w do not mean the same to Python, Java and JavaScript.
    assert not re.search(r"\\[dDwW]", pattern)


def test_every_time_zone_there_is_fits_the_form() -> None:
    names = zoneinfo.available_timezones() | set(pendulum.timezones())
    pattern = SCHEMA["properties"]["timezone"]["pattern"]
    assert len(names) > 500
    # Debian's link to the machine's own zone, and IANA's name for "not set": no one's time zone.
    no_zones = {"localtime", "Factory"}
    assert [name for name in names - no_zones if not re.search(pattern, name)] == []


@pytest.mark.parametrize(
    "name",
    [
        *("MSK", "MSK+2", "Москва", "Moscow", "UTC+3", "GMT+3", "+03:00", "Europe / Moscow"),
        # What else the time zone database holds: `right` counts leap seconds.
        *("Europe", "right/Europe/Moscow", "right/UTC", "posix/Europe/Moscow", "posixrules"),
        *("localtime", "Factory"),
    ],
)
def test_what_is_no_time_zone_turns_red_in_the_form(name: str) -> None:
    assert 'does not fit the format "Region/City, such as Europe/Moscow"' in refusal(timezone=name)


def test_today_is_the_accounts() -> None:
    late = NOW.add(hours=4)  # past midnight in Auckland, four in the afternoon in Moscow
    assert Config.parse(settings(start_date="2024-06-16", timezone="Pacific/Auckland"), late)
    assert "in the future" in refusal(start_date="2024-06-16")


@pytest.mark.parametrize(
    "url",
    [
        api.URL_UNDER_ACCESS,
        "http://localhost:8077/x",
        "http://127.0.0.1:8077/x",
        "http://127.10.0.3/x",
        "http://127.255.99.249:8077/x",
        "http://[::1]:8077/x",
        "https://xn--h1aigbl6c.example/x",
        "https://host_with_underscores:8443/x?site=1",
        "https://proxy.example:8443/calltouch",
    ],
)
def test_an_address_is_https_or_this_machine(url: str) -> None:
    assert Config.parse(settings(api_url=url), NOW).api_url == url


@pytest.mark.parametrize(
    "url",
    [
        "https://",
        "ftp://api.calltouch.ru/x",
        "http://0.0.0.0/x",
        "http://10.0.0.1/x",
        "http://localhost.example/x",
        "http://127.0.0.1.example/x",
        # No addresses but names, which are asked of DNS.
        *("http://127.0.0.999/x", "http://127.0.256.1/x", "http://127.0.0.01/x", "http://127.1/x"),
        "http://localhost\\.example/x",
        "https://user@host/x",
        "https://host/x#y",
        "https://host/x y",
        # Addresses that no one can call.
        "https://.x.ru",
        "https://a..b",
        "https://x.ru../y",
        f"https://{'a' * 64}.ru/x",
        "https://*.x.ru/y",
        "https://?x",
        "https://:443/x",
        "https://[::1",
        "https://[::g]/x",
        "https://host:port/x",
        "https://host:99999/x",
        "http://localhost:99999/x",
    ],
)
def test_an_address_that_shows_the_token_or_that_no_one_can_call_turns_red(url: str) -> None:
    assert 'does not fit the format "https://host/path"' in refusal(api_url=url)


def test_the_form_tells_the_methods_own_limits() -> None:
    numbers, start = (SCHEMA["properties"][name] for name in ("phone_numbers", "start_date"))
    assert numbers["maxItems"] == api.MAX_NUMBERS
    assert f"up to {api.MAX_NUMBERS:,};" in numbers["description"]
    cost = f"{api.POINTS_PER_CALL} API points («баллы API») per {api.PAGE_SIZE:,} SMS"
    assert cost in start["description"]


def test_what_a_lookback_of_0_leaves_out_is_told_where_it_is_set() -> None:
    lookback, interval = (
        SCHEMA["properties"][name]["description"]
        for name in ("lookback_window_days", "lookback_interval_hours")
    )
    assert "0: statuses are never updated, and SMS that Calltouch registers late" in lookback
    assert "SMS that Calltouch registers late" in interval


def test_every_setting_explains_itself_in_the_form() -> None:
    properties = SCHEMA["properties"]
    assert sorted(p["order"] for p in properties.values()) == list(range(len(properties)))
    for name, setting in properties.items():
        assert setting["title"], name
        assert re.fullmatch(r".+\. — [«А-Я].+[.]", setting["description"]), name
        assert "pattern" not in setting or setting["pattern_descriptor"], name
        for example in setting.get("examples", []):
            jsonschema.validate(example, setting)
    assert properties["access_token"]["airbyte_secret"] is True
    assert "pattern" not in properties["access_token"], "jsonschema would quote the token"
    assert properties["timezone"]["always_show"] is True
    assert SCHEMA["additionalProperties"] is True
