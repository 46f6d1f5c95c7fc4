"""The entry point: `spec`, `check`, `discover`, `read`."""

import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import partial
from typing import Any, Final

from airbyte_cdk.entrypoint import AirbyteEntrypoint
from airbyte_cdk.logger import PRINT_BUFFER

from source_calltouch_sms.error_handler import is_no_retry_line
from source_calltouch_sms.source import SourceCalltouchSms

FLUSH_SECONDS: Final = 0.001
"""For how long lines are gathered before they are written. In the CDK's 0.1 s they become
megabytes, which no processor cache holds: that costs a twentieth more CPU."""
LINE_SECONDS: Final = 3
"""For how long a signal waits for the lines being written, should no one read them."""


class Entrypoint(AirbyteEntrypoint):
    """The CDK's, but it never shows a private value."""

    @staticmethod
    def validate_connection(*_: Any, **__: Any) -> None:
        """Leave the settings to the source's check, which names the wrong one.

        The CDK would use jsonschema, whose messages quote the value and do not name the setting.
        """


def run() -> None:
    """Run the command that the process was started with.

    Messages go to stdout, in UTF-8 whatever the locale, and never to stderr. A signal ends the
    process between two lines. Neither files nor, where the system allows it, core dumps are left.
    """
    _end_by_signals()
    with suppress(ImportError):  # on Windows
        import resource  # noqa: PLC0415

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    logging.raiseExceptions = False  # a line that cannot be written would go to stderr
    logging.getLogger("airbyte").addFilter(is_no_retry_line)
    entrypoint = Entrypoint(SourceCalltouchSms())
    sys.excepthook = partial(_report, sys.excepthook)
    arguments = entrypoint.parse_args(sys.argv[1:])
    # Records have no cycles, but there are so many that the collector would walk the CDK's heap
    # again and again: a fifth of all CPU.
    gc.freeze()
    PRINT_BUFFER.flush_interval = FLUSH_SECONDS
    with PRINT_BUFFER:  # as in the CDK's `launch`, which takes no entry point but its own
        for message in entrypoint.run(arguments):
            sys.stdout.write(f"{message}\n")


def _report(report: Callable[..., Any], *error: Any) -> None:
    """Report an error as the CDK does; if stdout fails, Python would show the error on stderr."""
    try:
        report(*error)
    except OSError as fault:
        print(f"Messages cannot be written to stdout: {fault.strerror}.", file=sys.__stderr__)


def _end_by_signals() -> None:
    """Let signals end the process without a traceback and, on POSIX, between two lines."""
    names = {"SIGHUP", "SIGINT", "SIGTERM"}
    ends = {s for s in signal.Signals if s.name in names and signal.getsignal(s) != signal.SIG_IGN}
    for signum in ends:
        signal.signal(signum, signal.SIG_DFL)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK, ends)  # in all threads to come, too
        threading.Thread(target=_end_between_lines, args=[ends], daemon=True).start()


def _end_between_lines(ends: Collection[signal.Signals]) -> None:
    """End the process by the first of these signals, but not inside a line being written.

    An exception from a signal handler would break into the CDK's output, which then writes its
    lines twice, and even a handler that does nothing cuts what an unbuffered stdout is writing.
    """
    signum = signal.sigwait(ends)
    PRINT_BUFFER.lock.acquire(timeout=LINE_SECONDS)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ends)
    signal.raise_signal(signum)
    os._exit(128 + signum)  # process 1 does not die of a signal
