"""The entry point: `spec`, `check`, `discover`, `read`."""

import ctypes
import gc
import sys
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Final

import requests
from airbyte_cdk.entrypoint import AirbyteEntrypoint
from airbyte_cdk.logger import PRINT_BUFFER
from airbyte_cdk.models import AirbyteMessage, ConnectorSpecification, Type
from airbyte_cdk.sources.connector_state_manager import HashableStreamDescriptor
from airbyte_cdk.sources.utils.schema_helpers import split_config

from source_calltouch_sms.config import Config
from source_calltouch_sms.source import SourceCalltouchSms

STREAM: Final = HashableStreamDescriptor(name="sms_messages")
RECORD: Final = '{"type":"RECORD"'
LINES_AT_ONCE: Final = 100
"""Records that are written together; a checkpoint, as any other message, is not held back."""
M_ARENA_MAX: Final = -8
"""The number of mallopt(3) for how many heaps there may be."""


class Entrypoint(AirbyteEntrypoint):
    """The CDK's, but a wrong setting is explained, and its value shown only if it is not private.

    The CDK validates a config before `check` by jsonschema, whose messages do not name the setting
    and quote its value, phone numbers too.
    """

    @staticmethod
    def handle_record_counts(
        message: AirbyteMessage,
        stream_message_count: defaultdict[HashableStreamDescriptor, float],
    ) -> AirbyteMessage:
        """Count a record under the one stream's descriptor, which the CDK makes anew for each."""
        if message.type is not Type.RECORD:
            return AirbyteEntrypoint.handle_record_counts(message, stream_message_count)
        stream_message_count[STREAM] += 1.0
        return message

    @staticmethod
    def validate_connection(
        source_spec: ConnectorSpecification,  # noqa: ARG004 - the CDK's signature
        config: Mapping[str, Any],
    ) -> None:
        """Check the settings, as far as that needs no network."""
        Config.parse(split_config(config)[0])


def run() -> None:
    """Run the command that the process was started with; messages go to stdout."""
    entrypoint = Entrypoint(SourceCalltouchSms())
    arguments = entrypoint.parse_args(sys.argv[1:])
    _tune()
    lines: list[str] = []
    try:
        for line in entrypoint.run(arguments):
            lines.append(line)
            if len(lines) == LINES_AT_ONCE or not line.startswith(RECORD):
                _write(lines)
    finally:
        _write(lines)


def _write(lines: list[str]) -> None:
    text = "".join(f"{line}\n" for line in lines)
    lines.clear()  # first, lest what an interrupt cuts off be written again
    with PRINT_BUFFER.lock:  # logs are written to the same stream, from other threads too
        sys.stdout.write(text)
        sys.stdout.flush()


def _tune() -> None:
    """Fit the process to records by the million, in answers of megabytes."""
    # Records hold no cycles, but by their number they would have the collector walk the CDK's heap
    # again and again: a fifth of all CPU.
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    # By default 10 kB, and each piece waits for the interpreter's lock: a twentieth of all CPU.
    requests.models.CONTENT_CHUNK_SIZE = 1 << 20
    # glibc gives threads heaps of their own, which keep what a call once took: 90 MB in all.
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has neither
        if mallopt:
            mallopt(M_ARENA_MAX, 1)
