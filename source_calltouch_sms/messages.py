"""The messages that the connector makes itself, in the CDK's models."""

import sys
import time
from typing import Any, Final

from airbyte_cdk import models
from airbyte_cdk.entrypoint import AirbyteEntrypoint
from airbyte_cdk.utils.stream_status_utils import as_airbyte_message
from airbyte_protocol_dataclasses.models import AirbyteStreamStatusRateLimitedReason

MIN_RATE_LIMITED_SECONDS: Final = 60
"""The shortest wait because of a 429 that is reported to the platform."""


def record_messages(stream: str, records: list[dict[str, Any]]) -> list[models.AirbyteMessage]:
    """Make RECORD messages: the CDK would copy and inspect plain records, one by one."""
    now = time.time_ns() // 1_000_000
    return [
        models.AirbyteMessage(
            models.Type.RECORD, record=models.AirbyteRecordMessage(stream, record, now)
        )
        for record in records
    ]


def print_rate_limited(stream: str, seconds: float) -> None:
    """Write the status that Airbyte's platform shows while a source waits because of 429.

    As the CDK's own HTTP client does: while a stream waits, it yields nothing.
    """
    reset = time.time() + max(seconds, MIN_RATE_LIMITED_SECONDS)
    reason = models.AirbyteStreamStatusReason(
        type=models.AirbyteStreamStatusReasonType.RATE_LIMITED,
        rate_limited=AirbyteStreamStatusRateLimitedReason(quota_reset=int(reset * 1000)),
    )
    descriptor = models.StreamDescriptor(name=stream)
    message = as_airbyte_message(descriptor, models.AirbyteStreamStatus.RUNNING, [reason])
    sys.stdout.write(f"{AirbyteEntrypoint.airbyte_message_to_string(message)}\n")
