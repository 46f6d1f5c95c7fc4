"""`python -m demo.sync` into DuckDB and PostgreSQL, by way of dlt: the table equals the account."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import psycopg2
import pytest

from integration_tests.destinations.account import (
    LOOKBACK_DAYS,
    SMS,
    Row,
    account,
    by_key,
    follows,
    identity,
)
from integration_tests.destinations.sql import expected, plain, queries
from sandbox.process import Sandbox, running

ROOT = Path(__file__).resolve().parents[2]
TABLE = "calltouch_sms_10777.sms_messages"
SCHEMA = ROOT / "source_calltouch_sms" / "schemas" / "sms_messages.json"


@dataclass
class Destination:
    """A database of its own, and the command that syncs into it."""

    name: str
    address: str
    connect: Callable[[], Any]
    folder: Path

    def start(self, config: dict[str, Any]) -> "subprocess.Popen[str]":
        """Start a sync."""
        path = self.folder / "config.json"
        path.write_text(json.dumps(config))
        return subprocess.Popen(
            [sys.executable, "-m", "demo.sync", "--config", path, "--destination", self.name],
            cwd=ROOT,
            env=os.environ | {f"DESTINATION__{self.name.upper()}__CREDENTIALS": self.address},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def sync(self, config: dict[str, Any]) -> int:
        """Sync, and return how many SMS it says were read."""
        with self.start(config) as process:
            said, _ = process.communicate()
        assert process.returncode == 0, said
        found = re.search(r"([\d,]+) SMS read", said)
        assert found, said
        return int(found[1].replace(",", ""))

    def query(self, sql: str) -> list[Row]:
        """Return a query's rows."""
        with closing(self.connect()) as connection, closing(connection.cursor()) as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall())

    def rows(self, zone: str) -> dict[str, Row]:
        """Return the table's rows by key."""
        return by_key(
            self.query(f"""
                SELECT "smsKey", "phoneNumber", "dateSent" AT TIME ZONE '{zone}', "smsStatus",
                "smsStatusDetail", "smsMessage", CAST(extract(epoch FROM "dateSent") AS bigint)
                FROM {TABLE}""")
        )


@pytest.fixture
def postgres(cluster: dict[str, Any], tmp_path: Path) -> Destination:
    """Make a database in PostgreSQL."""
    name = f"sms_{os.urandom(4).hex()}"
    server = "postgresql://{username}:{password}@{host}:{port}/".format_map(cluster)
    with closing(psycopg2.connect(server + "postgres")) as connection:
        connection.autocommit = True
        connection.cursor().execute(f"CREATE DATABASE {name}")
    return Destination("postgres", server + name, lambda: psycopg2.connect(server + name), tmp_path)


@pytest.fixture(params=["duckdb", "postgres"])
def destination(request: pytest.FixtureRequest, tmp_path: Path) -> Destination:
    """Make a DuckDB file, or a database in PostgreSQL."""
    if request.param == "postgres":
        made: Destination = request.getfixturevalue("postgres")
        return made
    file = str(tmp_path / "sms.duckdb")
    return Destination("duckdb", file, lambda: duckdb.connect(file, read_only=True), tmp_path)


def test_table_equals_account(sandbox: Sandbox, destination: Destination) -> None:
    config = sandbox.config(lookback_window_days=LOOKBACK_DAYS)
    follows(sandbox, lambda: destination.sync(config), lambda: destination.rows(sandbox.timezone))
    types = destination.query(f"""
        SELECT column_name, lower(data_type) FROM information_schema.columns
        WHERE table_schema || '.' || table_name = '{TABLE}' AND left(column_name, 1) <> '_'""")
    text = "varchar" if destination.name == "duckdb" else "character varying"
    names = json.loads(SCHEMA.read_text(encoding="utf-8"))["properties"]
    assert dict(types) == dict.fromkeys(names, text) | {"dateSent": "timestamp with time zone"}


def test_sql_of_the_page(sandbox: Sandbox, destination: Destination) -> None:
    destination.sync(sandbox.config())
    tables = expected(sandbox, clickhouse=False)
    for query, table in zip(queries(sandbox, clickhouse=False), tables, strict=True):
        assert plain(destination.query(query.replace("sms_messages", TABLE))) == table


def test_killed_load_loses_nothing(sandbox: Sandbox, postgres: Destination) -> None:
    """The state advances with the records: without looking back, a sync reads them once more."""
    until = datetime.now(ZoneInfo(sandbox.timezone)) - timedelta(days=10)
    config = sandbox.config(lookback_window_days=0)
    early = postgres.sync(config | {"end_date": f"{until:%Y-%m-%d}"})
    assert early < SMS

    waiting = f"FROM pg_locks WHERE relation = '{TABLE}'::regclass AND NOT granted"
    with closing(postgres.connect()) as holder:
        holder.cursor().execute(f"LOCK TABLE {TABLE} IN SHARE MODE")
        with postgres.start(config) as process:
            while not postgres.query(f"SELECT pid {waiting}"):  # until its merge is at the lock
                assert process.poll() is None, process.communicate()[0]
            process.send_signal(signal.SIGKILL)
        # The server would carry out what it was sent; it goes down too.
        postgres.query(f"SELECT pg_terminate_backend(pid, 10000) {waiting}")
    assert len(postgres.rows(sandbox.timezone)) == early

    # The SMS of the second that the state names come once more.
    assert SMS - early <= postgres.sync(config) < SMS
    rows = postgres.rows(sandbox.timezone)
    assert Counter(map(identity, rows.values())) == Counter(
        map(identity, account(sandbox).elements())
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGKILL])
def test_a_signal_leaves_no_sms_and_no_connector(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    destination = Destination("duckdb", str(tmp_path / "sms.duckdb"), duckdb.connect, tmp_path)
    with running("--sms", "100", "--latency", "3") as sandbox:
        with destination.start(sandbox.config()) as process:
            until(lambda: sandbox.stats()["bodies"])
            (path,) = folder.glob("*/pid")
            connector = Path("/proc", path.read_text(), "cmdline")
            process.send_signal(number)
        until(lambda: not list(folder.iterdir()))
        assert not connector.exists() or not connector.read_bytes()  # a zombie's is empty


def test_odd_dates_and_names_are_loaded_for_the_owners_eyes_alone(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    file = tmp_path / "sms.duckdb"
    destination = Destination("duckdb", str(file), lambda: duckdb.connect(str(file)), tmp_path)
    sms = {"phoneNumber": "70000000001", "dateSent": "9999-12-31T23:59:59", "SMSSTATUS": "a"}
    sandbox.add_sms([sms, sms | {"smsstatus": "b"}])
    for _ in range(2):
        destination.sync(sandbox.config())
        years = destination.query(f'SELECT count(*) FROM {TABLE} WHERE year("dateSent") = 9999')
        assert years == [(2,)]
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("address", ["postgresql://me:{}@localhost:1/db", "{}://me:{}@h/{}"])
def test_no_password_is_shown(sandbox: Sandbox, tmp_path: Path, address: str) -> None:
    address = address.replace("{}", "geheim")
    destination = Destination("postgres", address, psycopg2.connect, tmp_path)
    with destination.start(sandbox.config()) as process:
        said, _ = process.communicate()
    assert process.returncode == 1
    assert "Cannot use the destination postgres" in said
    assert "geheim" not in said


def until(condition: Callable[[], object]) -> None:
    for _ in range(600):
        if condition():
            return
        time.sleep(0.1)
    pytest.fail("it has not come to pass")
