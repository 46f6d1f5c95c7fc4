"""The source: the files it is given, its check and its streams."""

import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeVar

from airbyte_cdk import models
from airbyte_cdk.sources import AbstractSource
from airbyte_cdk.sources.streams import Stream
from airbyte_cdk.utils.traced_exception import AirbyteTracedException

from source_calltouch_sms.config import Config
from source_calltouch_sms.errors import config_error
from source_calltouch_sms.streams import CHECK, SmsMessages

SETTINGS_FORM: Final = '{"access_token": "…", "site_id": "12345", "start_date": "2024-01-01"}'
CATALOG_FORM: Final = (
    '{"streams": [{"stream": {"name": "sms_messages", "json_schema": {}, '
    '"supported_sync_modes": ["full_refresh", "incremental"]}, '
    '"sync_mode": "incremental", "destination_sync_mode": "append_dedup"}]}'
)
STATE_FORM: Final = (
    '[{"type": "STREAM", "stream": {"stream_descriptor": {"name": "sms_messages"}, '
    '"stream_state": {"dateSent": "2024-04-01T15:05:32+03:00"}}}]'
)

T = TypeVar("T")


class SourceCalltouchSms(AbstractSource):
    """Calltouch's SMS sent to a client base."""

    check_config_against_spec = False
    """`Config.parse` does it, and names the setting."""

    @staticmethod
    def read_config(config_path: str) -> MutableMapping[str, Any]:
        """Read the settings.

        Raises:
            AirbyteTracedException: a `config_error` that names the file and shows its form.
        """
        return _read_file("settings", config_path, SETTINGS_FORM, dict)

    def configure(self, config: Mapping[str, Any], temp_dir: str) -> Mapping[str, Any]:
        """Return the settings; the CDK would also write them into its folder, which is removed."""
        with suppress(OSError):
            Path(temp_dir).rmdir()
        return config

    @classmethod
    def read_catalog(cls, catalog_path: str) -> models.ConfiguredAirbyteCatalog:
        """Read which streams to sync, and how; raises as `read_config` does."""
        parse = models.ConfiguredAirbyteCatalogSerializer.load
        return _read_file("catalog", catalog_path, CATALOG_FORM, parse)

    @classmethod
    def read_state(cls, state_path: str | None) -> list[models.AirbyteStateMessage]:
        """Read the saved states, if there are any; raises as `read_config` does."""
        return _read_file("state", state_path, STATE_FORM, _states) if state_path else []

    def check(
        self, logger: logging.Logger, config: Mapping[str, Any]
    ) -> models.AirbyteConnectionStatus:
        """Answer FAILED, in one sentence, for what the user can fix.

        Raises:
            AirbyteTracedException: any other failure. Before it tries a sync again, the platform
                checks, and by a FAILED it would end the job for good.
        """
        try:
            return super().check(logger, config)
        except AirbyteTracedException as error:
            failed = error.as_connection_status_message()  # of a config_error only
            if not failed or not failed.connectionStatus:
                raise
            return failed.connectionStatus

    def check_connection(
        self, logger: logging.Logger, config: Mapping[str, Any]
    ) -> tuple[bool, Any | None]:
        """Check the settings without the network, then make one request.

        Raises:
            AirbyteTracedException: what is wrong, for the person who filled in the form.
        """
        _check_certificates()
        SmsMessages(Config.parse(config), timeouts=CHECK).check()
        return True, None

    def read(
        self,
        logger: logging.Logger,
        config: Mapping[str, Any],
        catalog: models.ConfiguredAirbyteCatalog,
        state: list[models.AirbyteStateMessage] | None = None,
    ) -> Iterator[models.AirbyteMessage]:
        """Read as the CDK does, but end a failed sync with its cause, reported once.

        The CDK reports the cause, then ends with a summary that quotes it. The summary is always a
        config_error, so the platform would blame the settings for every failed sync.

        Raises:
            AirbyteTracedException: the cause.
        """
        _check_certificates()
        _check_catalog(catalog, [stream.name for stream in self.streams(config)])
        cause = None
        try:
            for message in super().read(logger, config, catalog, state):
                if message.trace and message.trace.error:
                    cause = message.trace.error
                else:
                    yield message
        except AirbyteTracedException:
            if cause is None or cause.failure_type is None:
                raise
            raise AirbyteTracedException(
                cause.internal_message,
                cause.message,
                cause.failure_type,
                stream_descriptor=cause.stream_descriptor,
            ) from None

    def streams(self, config: Mapping[str, Any]) -> list[Stream]:
        """Return the one stream; no network."""
        return [SmsMessages(Config.parse(config))]


def _read_file(kind: str, path: str, form: str, parse: Callable[[Any], T]) -> T:
    """Parse a file of JSON in UTF-8, which a byte order mark may begin.

    Raises:
        AirbyteTracedException: a `config_error` that names the file and shows its form.
    """
    shown = "" if "{" in path else f" {path!r}"  # it may be the content itself
    try:
        return parse(json.loads(Path(path).read_text("utf-8-sig")))
    except OSError as error:
        raise config_error(f"The {kind} file{shown} cannot be read: {error.strerror}.") from None
    except (TypeError, ValueError, RecursionError) as error:
        place = f" ({error})" if isinstance(error, json.JSONDecodeError) else ""
        raise config_error(
            f"The {kind} file{shown} is not JSON in UTF-8 of the expected form{place}: {form}"
        ) from None


def _states(content: Any) -> list[models.AirbyteStateMessage]:
    states = [models.AirbyteStateMessageSerializer.load(state) for state in content or ()]
    # The CDK would ignore any other, and read everything again.
    if any(state.type != models.AirbyteStateType.STREAM or not state.stream for state in states):
        raise ValueError
    return states


def _check_catalog(catalog: models.ConfiguredAirbyteCatalog, known: list[str]) -> None:
    """Refuse a stream that the CDK would leave out, or read twice."""
    names = [configured.stream.name for configured in catalog.streams]
    if names not in ([], known):
        raise config_error(
            f"The catalog names the streams {names}; there is only {known}, to be named once. In "
            "Airbyte, refresh the connection's schema."
        )


def _check_certificates() -> None:
    """Refuse a path of CA certificates that leads nowhere: no connection could be verified."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        path = os.environ.get(name)
        if path and not Path(path).exists():
            raise config_error(
                f"The environment variable {name} names no file: {path!r}. Set it to the file that "
                "holds the CA certificates, or unset it."
            )
