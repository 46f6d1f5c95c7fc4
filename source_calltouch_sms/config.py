"""The user's settings: parsed, checked, typed. Every error names its setting."""

import json
import pkgutil
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Any, Final

import pendulum
from airbyte_cdk.utils.traced_exception import AirbyteTracedException
from jsonschema import Draft7Validator

from source_calltouch_sms.errors import config_error
from source_calltouch_sms.records import wall_time

SPEC: Final[dict[str, Any]] = json.loads(pkgutil.get_data(__package__, "spec.json") or b"{}")
SCHEMA: Final[dict[str, Any]] = SPEC["connectionSpecification"]
DEFAULTS: Final = {n: s["default"] for n, s in SCHEMA["properties"].items() if "default" in s}
LEGAL_TOKEN: Final = r"[!#-&(-\[\]-~]+"  # noqa: S105 - its pattern
"""Characters valid in a header and unescaped in JSON logs, so that the CDK can mask the token."""


@dataclass(frozen=True)
class Config:
    """The settings of `spec.json`, in the types that the stream needs."""

    access_token: str = field(repr=False)
    site_id: str
    start: datetime
    """00:00:00 of the start date: a naive wall time, like all times of the API."""
    end: datetime | None
    """23:59:59 of the end date; None for now."""
    zone: pendulum.Timezone
    lookback: timedelta
    lookback_interval: timedelta
    """For how long after the last days were read again they are not; 0: every sync reads them."""
    phone_numbers: tuple[str, ...] = field(repr=False)
    require_complete_windows: bool
    api_url: str

    @classmethod
    def parse(cls, settings: Mapping[str, Any], now: datetime | None = None) -> "Config":
        """Parse the settings as the platform hands them over; `now` is an aware moment.

        Raises:
            AirbyteTracedException: a `config_error` that names the setting and its fault.
        """
        # As in Airbyte's form, spaces around a text are trimmed, and an emptied setting is unset.
        # The token stays as it is, since that is what the CDK masks in logs.
        trimmed: dict[str, Any] = {
            name: value.strip() if isinstance(value, str) and name != "access_token" else value
            for name, value in settings.items()
        }
        filled_in = {name: value for name, value in trimmed.items() if value not in (None, "", [])}
        values: dict[str, Any] = DEFAULTS | filled_in
        schema = Draft7Validator(SCHEMA, format_checker=Draft7Validator.FORMAT_CHECKER)
        for error in schema.iter_errors(values):
            raise _refused(error)

        if not re.fullmatch(LEGAL_TOKEN, values["access_token"]):
            raise _wrong(
                "access_token",
                "the value holds a space, a line break, a quote or a letter that no token has; "
                "copy it from Calltouch again, alone",
            )
        if values["timezone"] not in pendulum.timezones():
            raise _wrong(
                "timezone",
                f'"{values["timezone"]}" is not a valid time zone; use an IANA name such as '
                "Europe/Moscow",
            )
        zone = pendulum.timezone(values["timezone"])
        start = date.fromisoformat(values["start_date"])
        end = date.fromisoformat(values["end_date"]) if "end_date" in values else None
        today = wall_time(now or pendulum.now(), zone).date()
        if start > today:
            raise _wrong("start_date", f"{start} is in the future; in {zone.name} today is {today}")
        if end and end < start:
            raise _wrong("end_date", f"{end} is before the start date, {start}")
        return cls(
            access_token=values["access_token"],
            site_id=values["site_id"],
            start=datetime.combine(start, time.min),
            end=datetime.combine(end, time(23, 59, 59)) if end else None,
            zone=zone,
            lookback=timedelta(days=values["lookback_window_days"]),
            lookback_interval=timedelta(hours=values["lookback_interval_hours"]),
            phone_numbers=tuple(values.get("phone_numbers", ())),
            require_complete_windows=values["require_complete_windows"],
            api_url=values["api_url"],
        )


def _wrong(name: str, fault: str) -> AirbyteTracedException:
    return config_error(f"The setting {SCHEMA['properties'][name]['title']} ({name}): {fault}.")


def _refused(error: Any) -> AirbyteTracedException:
    """Say what `spec.json` refuses; never the value, since any setting may hold a private one.

    `error` is a `jsonschema.ValidationError`, whose types say nothing of its rule and schema.
    """
    if error.validator == "required":
        missing = (name for name in error.validator_value if name not in error.instance)
        return _wrong(next(missing), "it is missing")
    name, *place = error.absolute_path
    subject = f"entry {place[0] + 1}" if place else "the value"
    wanted = error.schema.get("pattern_descriptor", error.schema["type"])
    if error.validator == "format":
        return _wrong(name, f"{subject} is not a valid {error.validator_value} ({wanted})")
    if error.validator == "type" and not isinstance(error.instance, float):
        return _wrong(name, f"{subject} has to be a JSON {error.validator_value} ({wanted})")
    return _wrong(name, f'{subject} does not fit the format "{wanted}"')
