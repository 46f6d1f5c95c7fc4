"""The entry point: `spec`, `check`, `discover`, `read`."""

import gc
import signal
import sys
from collections.abc import Mapping
from typing import Any

from airbyte_cdk.entrypoint import AirbyteEntrypoint
from airbyte_cdk.logger import PRINT_BUFFER

from source_calltouch_sms.config import Config
from source_calltouch_sms.source import SourceCalltouchSms


class Entrypoint(AirbyteEntrypoint):
    """The CDK's, but a wrong setting is explained, and its value shown only if it is not private.

    The CDK validates a config before `check` by jsonschema, whose messages do not name the setting
    and quote its value, phone numbers too.
    """

    @staticmethod
    def validate_connection(_source_spec: object, config: Mapping[str, Any]) -> None:
        """Check the settings, as far as that needs no network."""
        Config.parse(config)


def run() -> None:
    """Run the command that the process was started with; messages go to stdout."""
    # As process 1 of a container a process without a handler of its own is not ended by SIGTERM.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    entrypoint = Entrypoint(SourceCalltouchSms())
    arguments = entrypoint.parse_args(sys.argv[1:])
    # Records hold no cycles, but by their number they would have the collector walk the CDK's heap
    # again and again: a fifth of all CPU.
    gc.freeze()
    with PRINT_BUFFER:  # as in the CDK's `launch`, which takes no entry point but its own
        for message in entrypoint.run(arguments):
            print(f"{message}\n", end="")  # noqa: T201
