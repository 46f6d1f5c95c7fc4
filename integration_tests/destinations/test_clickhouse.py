"""The pages' SQL on tables as Airbyte's ClickHouse destination and dlt make them, in chDB."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chdb.session import Session

from demo.sync import Connector, configured
from integration_tests.destinations.account import DAYS, SMS
from integration_tests.destinations.sql import expected, plain, queries
from sandbox.process import Sandbox

# destination-clickhouse 2: text is String, a time DateTime64(3); the key orders the table, and the
# version is the time of the sync where the cursor can be null, before that was told the cursor.
TEXTS = ("siteId", "phoneNumber", "smsStatus", "smsStatusDetail", "smsMessage")
VERSIONS = {"_airbyte_extracted_at": "Nullable(DateTime64(3))", "`dateSent`": "DateTime64(3)"}
COLUMNS = ", ".join(f"`{name}` Nullable(String)" for name in TEXTS)
# What dlt makes of the stream: no `ReplacingMergeTree`, as it deletes a row before it inserts it.
DLT_NAME = "calltouch_sms_10777___sms_messages"
DLT_TABLE = f"""
    CREATE TABLE {DLT_NAME} (
        `smsKey` String, `dateSent` Nullable(DateTime64(6, 'UTC')), {COLUMNS},
        `_dlt_load_id` String, `_dlt_id` String
    ) ENGINE = MergeTree PRIMARY KEY (`smsKey`)"""


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Session]:
    """Open a new database."""
    database = Session(str(tmp_path / "clickhouse"))
    yield database
    database.close()


@pytest.mark.parametrize("version", VERSIONS)
def test_sql_of_the_page(sandbox: Sandbox, database: Session, tmp_path: Path, version: str) -> None:
    database.query(f"""
        CREATE TABLE sms_messages (
            _airbyte_raw_id String, _airbyte_extracted_at DateTime64(3), _airbyte_meta String,
            _airbyte_generation_id UInt32, `smsKey` String,
            `dateSent` {VERSIONS[version]}, {COLUMNS}
        ) ENGINE = ReplacingMergeTree({version}) ORDER BY (`smsKey`)""")
    database.query("SYSTEM STOP MERGES sms_messages")  # so that FINAL alone takes the latest
    load(database, sandbox, tmp_path, "sms_messages", "_airbyte_extracted_at")
    sandbox.forward_clock(DAYS * 86_400)
    load(database, sandbox, tmp_path, "sms_messages", "_airbyte_extracted_at")
    assert rows(database, "SELECT count() FROM sms_messages") == [(2 * SMS,)]
    tables = expected(sandbox, clickhouse=True)
    for query, table in zip(queries(sandbox, clickhouse=True), tables, strict=True):
        assert plain(rows(database, query)) == table


def test_sql_of_the_page_without_final_on_dlts_table(
    sandbox: Sandbox, database: Session, tmp_path: Path
) -> None:
    database.query(DLT_TABLE)
    load(database, sandbox, tmp_path, DLT_NAME)
    tables = expected(sandbox, clickhouse=True)
    for query, table in zip(queries(sandbox, clickhouse=True), tables, strict=True):
        there = query.replace("sms_messages", DLT_NAME)
        with pytest.raises(RuntimeError, match="FINAL"):
            rows(database, there)
        assert plain(rows(database, there.replace(" FINAL", ""))) == table


def load(database: Session, sandbox: Sandbox, folder: Path, table: str, *also: str) -> None:
    """Load all SMS as a sync would append them, also with the times at which they were read."""
    config = folder / "config.json"
    config.write_text(json.dumps(sandbox.config()))
    connector = Connector(config, folder)
    catalog = configured(connector.stream())
    path = folder / "records.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for message in connector.run("read", catalog=catalog, state=[]):
            if message["type"] == "RECORD":
                record = message["record"]
                times = dict.fromkeys(also, record["emitted_at"] / 1000)
                print(json.dumps(record["data"] | times), file=file)
    types = dict.fromkeys(("smsKey", *TEXTS), "String")
    types |= dict.fromkeys(("dateSent", *also), "DateTime64(3)")
    structure = ", ".join(f"`{name}` {kind}" for name, kind in types.items())
    names = ", ".join(f"`{name}`" for name in types)
    database.query(f"""
        INSERT INTO {table} ({names}) SELECT {names}
        FROM file('{path}', 'JSONEachRow', '{structure}')
        SETTINGS date_time_input_format = 'best_effort'""")


def rows(database: Session, query: str) -> list[tuple[Any, ...]]:
    """Return a query's rows."""
    answer = json.loads(database.query(query, "JSONCompact").bytes())
    return [tuple(row) for row in answer["data"]]
