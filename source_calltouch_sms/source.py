"""The source: its check and its streams."""

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from airbyte_cdk.models import AirbyteConnectionStatus, AirbyteMessage
from airbyte_cdk.sources import AbstractSource
from airbyte_cdk.sources.streams import Stream
from airbyte_cdk.utils.traced_exception import AirbyteTracedException

from source_calltouch_sms.config import Config
from source_calltouch_sms.streams import SmsMessages


class SourceCalltouchSms(AbstractSource):
    """Calltouch's SMS sent to a client base."""

    check_config_against_spec = False
    """`Config.parse` does it, and names the setting."""

    def check(self, logger: logging.Logger, config: Mapping[str, Any]) -> AirbyteConnectionStatus:
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
        SmsMessages(Config.parse(config)).check()
        return True, None

    def read(self, *args: Any, **kwargs: Any) -> Iterator[AirbyteMessage]:
        """Read as the CDK does, but end a failed sync with its cause, reported once.

        The CDK reports the cause, then ends with a summary that quotes it. The summary is always a
        config_error, so the platform would blame the settings for every failed sync.

        Raises:
            AirbyteTracedException: the cause.
        """
        cause = None
        try:
            for message in super().read(*args, **kwargs):
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
