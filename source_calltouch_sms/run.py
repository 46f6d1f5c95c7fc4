"""The entry point: `spec`, `check`, `discover`, `read`."""

import gc
import os
import signal
import sys
import threading
from collections.abc import Mapping
from typing import Any, Final

from airbyte_cdk.entrypoint import AirbyteEntrypoint
from airbyte_cdk.logger import PRINT_BUFFER

from source_calltouch_sms.config import Config
from source_calltouch_sms.source import SourceCalltouchSms

FLUSH_SECONDS: Final = 0.001
"""For how long lines are gathered before they are written. In the CDK's 0.1 s they become
megabytes, which no processor cache holds: a twentieth of all CPU more."""
LINE_SECONDS: Final = 3
"""For how long the end waits for the lines being written, should no one read them."""


class Entrypoint(AirbyteEntrypoint):
    """The CDK's, but it explains a wrong setting, and never shows a private value.

    The CDK validates a config before `check` by jsonschema, whose messages do not name the setting
    and quote its value, phone numbers too.
    """

    @staticmethod
    def validate_connection(_source_spec: object, config: Mapping[str, Any]) -> None:
        """Check the settings, as far as that needs no network."""
        Config.parse(config)


def run() -> None:
    """Run the command that the process was started with; messages go to stdout."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # in all threads to come, too
    threading.Thread(target=_end_on_sigterm, daemon=True).start()
    entrypoint = Entrypoint(SourceCalltouchSms())
    arguments = entrypoint.parse_args(sys.argv[1:])
    # Records have no cycles, but there are so many that the collector would walk the CDK's heap
    # again and again: a fifth of all CPU.
    gc.freeze()
    PRINT_BUFFER.flush_interval = FLUSH_SECONDS
    with PRINT_BUFFER:  # as in the CDK's `launch`, which takes no entry point but its own
        for message in entrypoint.run(arguments):
            sys.stdout.write(f"{message}\n")


def _end_on_sigterm() -> None:
    """End the process at once, but not inside a line that is being written.

    An exception from a signal handler would break into the CDK's output, which then writes its
    lines twice, and even a handler that does nothing cuts what an unbuffered stdout is writing.
    """
    signal.sigwait({signal.SIGTERM})
    PRINT_BUFFER.lock.acquire(timeout=LINE_SECONDS)
    os._exit(128 + signal.SIGTERM)
