"""The connector as PyAirbyte runs it, into a DuckDB file."""

import io
import json
import os
import shutil
import sys
import sysconfig
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import airbyte
from airbyte.caches import DuckDBCache

NAME = "source-calltouch-sms"
# A sync that was ended while it wrote leaves its staging table, named by the time, in the file.
LEFT_OVER = """
    SELECT table_name FROM duckdb_tables()
    WHERE regexp_matches(table_name, '^sms_messages_01[0-9a-z]{7}$')"""
RETRYING = "Trying again"
# Where no line can be overwritten: records from one line to the next, and seconds between warnings.
STEP = 10_000
PAUSE = 10


class FailedError(Exception):
    """What went wrong, in words for the person at the screen."""


class Progress:
    """How far a sync is: one line that is overwritten, or a line now and then where that fails."""

    def __init__(self) -> None:
        self._out = sys.stdout
        self._live = self._out.isatty() and os.environ.get("TERM") != "dumb"
        self._shown = 0.0

    def show(self, text: str) -> None:
        """Show what is going on, for now."""
        if self._live:
            width = shutil.get_terminal_size().columns
            self._out.write(f"\r\x1b[K   {text}"[: width + 3])
            self._out.flush()

    def warn(self, text: str) -> None:
        """Show a warning of the connector's: to stay, unless it is that a call is tried again."""
        if RETRYING not in text:
            self.clear()
            print(f"   Warning: {text}", file=self._out)
        elif self._live:
            self.show(text)
        elif time.monotonic() - self._shown > PAUSE:
            self._shown = time.monotonic()
            print(f"   {text}", file=self._out)

    def count(self, records: int, expected: int) -> None:
        """Show how many records came."""
        text = f"{records:,} of {expected:,} SMS read" if expected else f"{records:,} SMS read"
        if self._live and time.monotonic() - self._shown > 0.1:
            self._shown = time.monotonic()
            self.show(text)
        elif not self._live and records % STEP == 0:
            print(f"   {text}", file=self._out)

    def clear(self) -> None:
        """Make room for what is there to stay."""
        if self._live:
            self._out.write("\r\x1b[K")
            self._out.flush()


class Watched:
    """PyAirbyte's executor of a connector, listened to.

    PyAirbyte itself drops the connector's own account of a failure, and shows no progress that
    suits every screen.
    """

    def __init__(self, executor: Any, progress: Progress) -> None:
        self._executor = executor
        self._progress = progress
        self.records = 0
        self.expected = 0
        self.failure = ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._executor, name)

    def execute(
        self, args: list[str], *, stdin: Any = None, suppress_stderr: bool = True
    ) -> Iterator[str]:
        """Run a command of the connector and yield its lines."""
        self.records, self.expected, self.failure = 0, 0, ""
        for line in self._executor.execute(args, stdin=stdin, suppress_stderr=True):
            if line.startswith('{"type":"RECORD"'):
                self.records += 1
                self._progress.count(self.records, self.expected)
            else:
                self._hear(line)
            yield line
        if args[0] == "read":
            self._progress.show("Writing into DuckDB ...")

    def _hear(self, line: str) -> None:
        try:
            message = json.loads(line)
        except ValueError:
            return
        match message:
            case {"trace": {"estimate": {"row_estimate": int(total)}}}:
                self.expected = total
            case {"log": {"level": "WARN", "message": str(text)}}:
                self._progress.warn(text)
            case {"trace": {"error": {"message": str(text)}}}:
                # The first is the stream's own; the CDK's sum of all streams follows.
                self.failure = self.failure or text
            case {"connectionStatus": {"status": "FAILED", "message": str(text)}}:
                self.failure = self.failure or text


class Connector:
    """The connector that is installed beside this Python, with a configuration."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._progress = Progress()
        executable = Path(sysconfig.get_path("scripts"), NAME)
        with _unheard():
            self._source = airbyte.get_source(
                NAME, config=dict(config), local_executable=executable, install_if_missing=False
            )
        self._watched = Watched(self._source.executor, self._progress)
        self._source.executor = self._watched

    def check(self) -> None:
        """Ask the connector whether it reaches the account.

        Raises:
            FailedError: why it does not.
        """
        with self._doing("check", "Checking"):
            self._source.check()

    def sync(self, cache: Any) -> int:
        """Read the stream into the cache, from its state on; return how many SMS were read.

        Raises:
            FailedError: why it stopped.
        """
        with self._doing("sync", "Starting the connector"):
            self._source.select_all_streams()
            # The check has validated already, in words; here the error would quote the settings.
            self._source.read(cache=cache, skip_validation=True)
        return self._watched.records

    @contextmanager
    def _doing(self, name: str, text: str) -> Iterator[None]:
        self._progress.show(f"{text} ...")
        try:
            with _unheard():
                yield
        except Exception as error:  # noqa: BLE001 - whatever PyAirbyte raises
            # Its own messages quote logs and settings, so of those the name has to do.
            reason = self._watched.failure or f"PyAirbyte raised {type(error).__name__}."
            raise FailedError(f"The {name} failed: {reason}") from None
        finally:
            self._progress.clear()


def open_file(path: Path) -> Any:
    """Open a DuckDB file, made if it is not there, as PyAirbyte's cache.

    Raises:
        FailedError: it cannot be opened.
    """
    try:
        with _unheard():
            cache = DuckDBCache(db_path=path)
            for row in cache.run_sql_query(LEFT_OVER):
                cache.execute_sql(f"DROP TABLE {row['table_name']}")
            return cache
    except Exception:  # noqa: BLE001 - whichever of four libraries raised it
        reasons = "it is in use by another program, no DuckDB file, or not writable"
        raise FailedError(f"Cannot open {os.path.relpath(path)}: {reasons}.") from None


@contextmanager
def _unheard() -> Iterator[None]:
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        yield
