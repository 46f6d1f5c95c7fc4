"""The source: its check and its streams, no more."""

import logging
from collections.abc import Mapping
from typing import Any

from airbyte_cdk.models import AirbyteConnectionStatus, FailureType, Status
from airbyte_cdk.sources import AbstractSource
from airbyte_cdk.sources.streams import Stream
from airbyte_cdk.utils.airbyte_secrets_utils import filter_secrets
from airbyte_cdk.utils.traced_exception import AirbyteTracedException

from source_calltouch_sms.config import Config
from source_calltouch_sms.streams import SmsMessages


class SourceCalltouchSms(AbstractSource):
    """Calltouch's SMS sent to a client base."""

    check_config_against_spec = False
    """`Config.parse` does it, and names the setting."""

    def check(self, logger: logging.Logger, config: Mapping[str, Any]) -> AirbyteConnectionStatus:
        """Answer in one sentence, which the CDK's own `check` would show through `repr`."""
        try:
            self.check_connection(logger, config)
        except AirbyteTracedException as error:
            if error.failure_type == FailureType.system_error:
                raise
            message = filter_secrets(str(error))
            return AirbyteConnectionStatus(status=Status.FAILED, message=message)
        return AirbyteConnectionStatus(status=Status.SUCCEEDED)

    def check_connection(
        self, logger: logging.Logger, config: Mapping[str, Any]
    ) -> tuple[bool, Any | None]:
        """Check the settings without the network, then make one call.

        Raises:
            AirbyteTracedException: what is wrong, for the person who filled in the form.
        """
        SmsMessages(Config.parse(config)).check()
        return True, None

    def streams(self, config: Mapping[str, Any]) -> list[Stream]:
        """Return the one stream; no network."""
        return [SmsMessages(Config.parse(config))]
