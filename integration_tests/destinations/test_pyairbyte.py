"""Two syncs by way of PyAirbyte, statuses changing between: the table equals the account."""

# ruff: noqa: E402 - PyAirbyte is not there on every Python
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

airbyte = pytest.importorskip("airbyte", reason="PyAirbyte needs a Python below 3.13")
from airbyte.caches import DuckDBCache, PostgresCache

from integration_tests.destinations.account import LOOKBACK_DAYS, Row, by_key, follows
from sandbox.process import Sandbox

NAME = "source-calltouch-sms"
TEXTS = ("siteid", "smskey", "phonenumber", "smsstatus", "smsstatusdetail", "smsmessage")


@pytest.fixture(params=["duckdb", "postgres"])
def cache(request: pytest.FixtureRequest, sandbox: Sandbox, tmp_path: Path) -> Iterator[Any]:
    """Open a new DuckDB file, or a new schema in PostgreSQL."""
    if request.param == "duckdb":
        cache = DuckDBCache(db_path=tmp_path / "sms.duckdb")
    else:
        schema = sandbox.timezone.replace("/", "_").lower()
        cache = PostgresCache(**request.getfixturevalue("cluster"), schema_name=schema)
    yield cache
    cache.close()


def test_table_equals_account(sandbox: Sandbox, cache: Any) -> None:
    """The column holds the wall time that Calltouch shows.

    For a timestamp with a zone PyAirbyte makes a column without one, in both, and both drop the
    offset of a time that is written into it: it takes the account's zone to make an instant of it.
    """

    def sync() -> int:
        source = airbyte.get_source(
            NAME,
            config=sandbox.config(lookback_window_days=LOOKBACK_DAYS),
            local_executable=Path(sysconfig.get_path("scripts"), NAME),
            install_if_missing=False,
        )
        source.select_all_streams()
        return int(source.read(cache=cache).processed_records)

    def rows() -> dict[str, Row]:
        rows = cache.run_sql_query(f"""
            SELECT smskey, phonenumber, datesent, smsstatus, smsstatusdetail, smsmessage,
            CAST(extract(epoch FROM datesent AT TIME ZONE '{sandbox.timezone}') AS bigint)
            FROM {cache.schema_name}.sms_messages""")
        return by_key([tuple(row.values()) for row in rows])

    follows(sandbox, sync, rows)
    columns = cache.run_sql_query(f"""
        SELECT column_name AS name, lower(data_type) AS type FROM information_schema.columns
        WHERE table_schema = '{cache.schema_name}' AND table_name = 'sms_messages'
        AND left(column_name, 1) <> '_'""")
    is_duckdb = isinstance(cache, DuckDBCache)
    text = "varchar" if is_duckdb else "character varying"
    time = "timestamp" if is_duckdb else "timestamp without time zone"
    types = {column["name"]: column["type"] for column in columns}
    assert types == dict.fromkeys(TEXTS, text) | {"datesent": time}
