"""A sync without Airbyte: the connector runs as a process, dlt loads its records and its state.

The command: `python -m demo.sync --config secrets/config.json --destination duckdb`.
"""

import argparse
import fcntl
import json
import logging
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dlt
import orjson
from dlt.common.destination import Destination
from dlt.common.destination.exceptions import UnknownDestinationModule
from dlt.destinations.impl.duckdb.configuration import DuckDbCredentials
from dlt.pipeline.exceptions import PipelineStepFailed
from rich.console import Console

from demo import ROOT
from demo.report import COLUMNS, show_account

STREAM = "sms_messages"
BATCH = 1_000  # records that dlt gets at once
SECRETS = "secrets/.dlt/secrets.toml"
CONSOLE = Console(highlight=False, markup=False, soft_wrap=True)
# Waits until this process ends, in whatever way, and leaves neither SMS nor a connector behind.
GUARD = 'cat; kill -9 $(cat "$0/pid"); rm -rf "$0"'


class FailedError(Exception):
    """What went wrong, in words for the person at the screen; most of what is here raises it."""


@dataclass(frozen=True)
class Connector:
    """The connector with its configuration file, and a folder for its other input files."""

    config: Path
    folder: Path

    def run(self, command: str, **files: object) -> Iterator[dict[str, Any]]:
        """Run a command and yield its messages; `files` are its catalog and state."""
        arguments = [command, "--config", str(self.config)]
        for name, content in files.items():
            path = self.folder / f"{name}.json"
            path.write_text(json.dumps(content))
            arguments += [f"--{name}", str(path)]
        failure = ""
        pid = self.folder / "pid"
        with subprocess.Popen(
            [sys.executable, ROOT / "main.py", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as process:
            assert process.stdout is not None
            pid.write_text(str(process.pid))
            try:
                for line in process.stdout:
                    message = orjson.loads(line)
                    match message:
                        case {"log": {"level": "WARN", "message": text}}:
                            CONSOLE.print(f"   Warning: {printable(text)}")
                        case {"trace": {"error": {"message": text}}}:
                            failure = failure or text  # the first one is the cause
                        case {"connectionStatus": {"status": "FAILED", "message": text}}:
                            failure = text
                    yield message
            except BaseException:
                process.kill()
                raise
        pid.unlink()
        if failure or process.returncode:
            raise FailedError(failure or f"The connector ended with code {process.returncode}.")

    def stream(self) -> dict[str, Any]:
        """Return the stream's description from the catalog."""
        catalogs = [message["catalog"] for message in self.run("discover") if "catalog" in message]
        return next(stream for stream in catalogs[0]["streams"] if stream["name"] == STREAM)


def printable(text: str) -> str:
    """Return the text without what could control a terminal."""
    return "".join(c if c.isprintable() or c == "\n" else " " for c in text)


def configured(stream: dict[str, Any]) -> dict[str, Any]:
    """Return the catalog of an incremental sync."""
    modes = {"sync_mode": "incremental", "destination_sync_mode": "append_dedup"}
    return {"streams": [{"stream": stream, **modes}]}


def open_pipeline(name: str, destination: Any, folder: Path) -> dlt.Pipeline:
    """Return the pipeline into a DuckDB file, given by its path, or into dlt's destination.

    Its working files are new each time; the destination knows the state, and what was loaded.
    """
    dataset = name
    if isinstance(destination, Path):
        with suppress(FileNotFoundError):
            destination.chmod(0o600)
        # In UTC, Python has a time at the end of the year 9999.
        settings = {"memory_limit": "256MB", "temp_directory": str(folder), "TimeZone": "UTC"}
        credentials = DuckDbCredentials(str(destination), global_config=settings)
        destination, dataset = dlt.destinations.duckdb(credentials), "main"
    try:
        destination = Destination.from_reference(destination)
    except UnknownDestinationModule:
        raise FailedError(f"dlt has no destination named {destination}.") from None
    strategies = destination.capabilities().supported_merge_strategies
    if "delete-insert" not in strategies:
        raise FailedError("This destination cannot replace rows by their key; take a database.")
    return dlt.pipeline(name, str(folder / "dlt"), destination=destination, dataset_name=dataset)


def sync(connector: Connector, stream: dict[str, Any], pipeline: dlt.Pipeline) -> int:
    """Load what is new since the saved state; return how many SMS were read.

    Records and the state go into one package of dlt's. If the connector fails, what it had read is
    loaded nevertheless, with the last state that it had reported.
    """
    fields = stream["json_schema"]["properties"]
    count = 0
    failure: FailedError | None = None

    def records() -> Iterator[Any]:
        nonlocal count, failure
        saved = dlt.current.resource_state()
        yield dlt.mark.materialize_table_schema()  # so that there is a table even without SMS
        batch = []
        try:
            state = [saved["state"]] if "state" in saved else []
            for message in connector.run("read", catalog=configured(stream), state=state):
                match message:
                    case {"record": {"data": record}}:
                        batch.append({name: record.get(name) for name in fields})
                    case {"state": saved_state}:
                        saved["state"] = saved_state
                if len(batch) == BATCH:
                    count += BATCH
                    status.update(f"{count:,} SMS read")
                    yield batch
                    batch = []
        except FailedError as error:
            failure = error
        count += len(batch)
        yield batch
        status.update(f"Loading {count:,} SMS into {pipeline.destination.destination_name}")

    # A text stays a text, even if it looks like a date, and an empty column has its type, too.
    types = {name: "timestamp" if "format" in f else "text" for name, f in fields.items()}
    resource = dlt.resource(
        records,
        name=STREAM,
        primary_key="smsKey",
        write_disposition="merge",
        columns={name: {"data_type": kind} for name, kind in types.items()},
        max_table_nesting=0,
    )
    is_duckdb = pipeline.destination.destination_type.endswith(".duckdb")
    with CONSOLE.status("Starting the connector") as status:
        try:
            # By default INSERT, which takes DuckDB a gigabyte for 25,000 SMS; JSON it retypes.
            pipeline.run(resource, loader_file_format="parquet" if is_duckdb else None)
        except PipelineStepFailed as error:
            raise FailedError(_explanation(error)) from None
    if failure:
        kept = f" The {count:,} SMS read before are in the table." if count else ""
        raise FailedError(f"{failure}{kept}")
    return count


def _explanation(error: PipelineStepFailed) -> str:
    cause: BaseException = error.exception
    while cause.__cause__:
        cause = cause.__cause__
    if error.step != "sync":  # after the first record the error may quote SMS
        return f"dlt could not {error.step}: {type(cause).__name__}."
    reason = str(cause).rpartition("reason given is: ")[2].partition("\n  for field")[0].strip()
    with suppress(Exception):  # a driver may find no credentials to hide
        values = filter(None, map(str, dict(error.pipeline.sql_client().credentials).values()))
        any_value = "|".join(map(re.escape, values))
        reason = re.sub(rf"(?<!\w)({any_value})(?!\w)", "…", reason)
    reason = re.sub(".*@", "…@", reason)
    name = error.pipeline.destination.destination_name
    hint = "" if name == "duckdb" else f"\nIts settings are read from {SECRETS}."
    return f"Cannot use the destination {name}: {reason}{hint}"


def rows(pipeline: dlt.Pipeline, *columns: str) -> Iterator[tuple[Any, ...]]:
    """Yield these columns of the table."""
    with pipeline.sql_client() as client:
        names = ", ".join(client.escape_column_name(name) for name in columns)
        query = f"SELECT {names} FROM {client.make_qualified_table_name(STREAM)}"
        with client.execute_query(query) as cursor:
            for chunk in cursor.iter_fetch(10_000):
                yield from chunk


def run(work: Callable[[Path], None]) -> int:
    """Do the work with a folder for its files; return the exit code, 1 if it failed."""
    os.umask(0o077)  # what is written is for its owner's eyes
    logging.disable()  # drivers log addresses
    folder = tempfile.mkdtemp(prefix="calltouch-sms-")
    guard = subprocess.Popen(
        ["/bin/sh", "-c", GUARD, folder],
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # so that Ctrl+C does not end it
    )
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, lambda number, _frame: sys.exit(128 + number))
    try:
        work(Path(folder))
    except FailedError as error:
        print(printable(str(error)), file=sys.stderr)
    except Exception as error:  # noqa: BLE001 - a traceback could quote SMS
        print(f"Unexpected error: {type(error).__name__}.", file=sys.stderr)
    except SystemExit:
        print("Stopped. Nothing is left running.", file=sys.stderr)
        raise
    else:
        return 0
    finally:
        guard.communicate()
    return 1


def main() -> int:
    """Sync the account of a configuration file."""
    parser = argparse.ArgumentParser(prog="python -m demo.sync", description="Sync an account.")
    parser.add_argument("--config", type=Path, required=True, help="its settings, as JSON")
    parser.add_argument("--destination", default="", help="dlt's name of it; a DuckDB file if none")
    arguments = parser.parse_args()
    return run(lambda folder: sync_account(arguments.config, arguments.destination, folder))


def sync_account(config: Path, destination: str, folder: Path) -> None:
    """Sync an account into a destination of dlt's, or a DuckDB file of its own, and show it."""
    connector = Connector(config, folder)
    stream = connector.stream()  # raises if the file or a setting is wrong
    with config.open("rb") as file:
        try:  # two syncs at once would share dlt's staging tables
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FailedError(f"Another sync with {config} is under way.") from None
        settings = json.load(file)
        name = f"calltouch_sms_{settings['site_id']}"
        path = ROOT / "demo" / f"{name}.duckdb"
        pipeline = open_pipeline(name, destination or path, folder)
        started = time.monotonic()
        count = sync(connector, stream, pipeline)
        CONSOLE.print(f"{count:,} SMS read in {time.monotonic() - started:.1f} s.")
        if destination:
            with pipeline.sql_client() as client:
                table = client.make_qualified_table_name(STREAM)
            CONSOLE.print(f"They are in {destination}, table {table}.")
            if pipeline.destination.destination_type.endswith(".clickhouse"):
                CONSOLE.print("Its engine is MergeTree: leave FINAL out of queries.")
        else:
            CONSOLE.print(f"They are in {os.path.relpath(path)}, table {STREAM}.")
            CONSOLE.print("To read everything again, delete the file.")
        show_account(rows(pipeline, *COLUMNS), settings.get("timezone", "Europe/Moscow"))


if __name__ == "__main__":
    sys.exit(main())
