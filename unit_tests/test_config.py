"""The settings: `source_calltouch_sms.config` and `spec.json`."""

from datetime import datetime, timedelta
from typing import Any

import jsonschema
import pytest
from airbyte_cdk.models import FailureType
from airbyte_cdk.utils.traced_exception import AirbyteTracedException

from source_calltouch_sms import api
from source_calltouch_sms.config import PRIVATE, SCHEMA, Config
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
    assert config.phone_numbers == ()
    assert config.require_complete_windows is True
    assert config.api_url == api.URL


def test_unknown_settings_and_nulls_for_optional_ones_are_let_through() -> None:
    config = Config.parse(settings(end_date=None, phone_numbers=None, favourite="blue"), NOW)
    assert config.end is None


def test_what_is_private_is_not_in_the_configs_text() -> None:
    text = repr(Config.parse(settings(phone_numbers=["+7 000 123-45-67"]), NOW))
    assert "model-token" not in text
    assert "123" not in text


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("access_token", "MISSING", "it is missing"),
        ("access_token", "", "is empty"),
        ("access_token", 5, "must be a text in quotes"),
        ("access_token", "two words", "a space"),
        ("access_token", "line\n", "a line break"),
        ("access_token", 'quo"te', "a quote"),
        ("access_token", "Ключ", "a letter that no token has"),
        ("site_id", "MISSING", "it is missing"),
        ("site_id", "ID 5", 'does not fit the format "digits only"'),
        ("site_id", 5, "must be a text in quotes"),
        ("start_date", "MISSING", "it is missing"),
        ("start_date", "01.04.2024", 'does not fit the format "YYYY-MM-DD"'),
        ("start_date", "2024-02-30", "is no date of the calendar"),
        ("start_date", "2024-06-16", "is in the future; in Europe/Moscow today is 2024-06-15"),
        ("end_date", "2024-03-31", "2024-03-31 is before the start date, 2024-04-01"),
        ("end_date", "2024-13-01", "is no date of the calendar"),
        ("timezone", "Moscow", "IANA name such as Europe/Moscow"),
        ("timezone", "Europe", "is no time zone"),
        ("timezone", "../etc/passwd", "is no time zone"),
        ("timezone", "", "is empty"),
        ("lookback_window_days", -1, "-1 is less than 0"),
        ("lookback_window_days", 366, "366 is more than 365"),
        ("lookback_window_days", 1.5, "must be a whole number"),
        ("lookback_window_days", "3", "must be a whole number"),
        ("phone_numbers", [], "must hold at least one entry"),
        ("phone_numbers", ["+7 000 123-45-67", "12345"], "entry 2 does not fit"),
        ("phone_numbers", [70001234567], "entry 1 must be a text in quotes"),
        ("phone_numbers", "70001234567", "must be a list"),
        ("phone_numbers", ["70001234567"] * 10_001, "no more than 10000 entries"),
        ("require_complete_windows", "yes", "must be true or false"),
        ("api_url", "http://api.calltouch.ru/x", "must begin with https://"),
        ("api_url", "ftp://api.calltouch.ru/x", 'does not fit the format "https://'),
        ("api_url", "https://", 'does not fit the format "https://'),
        ("api_url", "https://[::1", "is no web address"),
        ("api_url", "https://user@host/x", "is no web address"),
        ("api_url", "https://host:port/x", "is no web address"),
    ],
)
def test_each_wrong_value_is_named_with_its_setting(name: str, value: Any, fault: str) -> None:
    message = refusal(**{name: value})
    title = SCHEMA["properties"][name]["title"]
    assert message.startswith(f"The setting {title} ({name}): ")
    assert fault in message


@pytest.mark.parametrize("value", ["sesame street", "70001234567"])
@pytest.mark.parametrize("name", PRIVATE)
def test_the_value_of_a_private_setting_is_not_shown(name: str, value: str) -> None:
    shown = refusal(**{name: [value, "5550001"]})
    assert value not in shown
    assert "5550001" not in shown
    assert "sesame" not in refusal(access_token="sesame street")


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
        "http://[::1]:8077/x",
        "https://proxy.example:8443/calltouch",
    ],
)
def test_an_address_is_https_or_this_machine(url: str) -> None:
    assert Config.parse(settings(api_url=url), NOW).api_url == url


def test_every_setting_explains_itself_in_the_form() -> None:
    properties = SCHEMA["properties"]
    assert sorted(p["order"] for p in properties.values()) == list(range(len(properties)))
    for name, setting in properties.items():
        assert setting["title"], name
        assert setting["description"].endswith("."), name
        assert "pattern" not in setting or setting["pattern_descriptor"], name
        for example in setting.get("examples", []):
            jsonschema.validate(example, setting)
    assert properties["access_token"]["airbyte_secret"] is True
    assert "pattern" not in properties["access_token"], "jsonschema would quote the token"
    assert properties["timezone"]["always_show"] is True
    assert SCHEMA["additionalProperties"] is True
