"""Two syncs by way of PyAirbyte, statuses changing between: the table equals the account."""

# ruff: noqa: E402 - PyAirbyte is not there on every Python
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

airbyte = pytest.importorskip("airbyte", reason="PyAirbyte needs a Python below 3.13")
from airbyte._processors.sql.postgres import PostgresSqlProcessor
from airbyte.caches import DuckDBCache, PostgresCache
from airbyte.types import CONVERSION_MAP, SQLTypeConverter
from sqlalchemy import TIMESTAMP

from integration_tests.destinations import postgresql
from integration_tests.destinations.account import LOOKBACK_DAYS, Row, by_key, follows
from sandbox.process import Sandbox

NAME = "source-calltouch-sms"
TEXTS = ("siteid", "smskey", "phonenumber", "smsstatus", "smsstatusdetail", "smsmessage")


@dataclass(frozen=True)
class Destination:
    """A database, and how it keeps a time: as an instant, or as the wall time of the account."""

    cache: Any
    time_type: str
    text_type: str
    wall: str
    """SQL of the wall time of an SMS in the account's zone."""
    moment: str
    """SQL of its instant."""

    def expected_types(self) -> dict[str, str]:
        """Return what the columns' types have to be."""
        return dict.fromkeys(TEXTS, self.text_type) | {"datesent": self.time_type}

    def types(self) -> dict[str, str]:
        """Return the types of the table's columns but for PyAirbyte's own."""
        rows = self.cache.run_sql_query(f"""
            SELECT column_name AS name, data_type AS type FROM information_schema.columns
            WHERE table_schema = '{self.cache.schema_name}' AND table_name = 'sms_messages'
            AND left(column_name, 1) <> '_'""")
        return {row["name"]: row["type"] for row in rows}

    def rows(self) -> dict[str, Row]:
        """Return the rows by key: the five fields, the time as wall time, and its instant."""
        rows = self.cache.run_sql_query(f"""
            SELECT smskey, phonenumber, {self.wall} AS wall, smsstatus, smsstatusdetail, smsmessage,
            CAST(extract(epoch FROM {self.moment}) AS bigint) AS instant
            FROM {self.cache.schema_name}.sms_messages""")
        return by_key([tuple(row.values()) for row in rows])


class Timestamptz(TIMESTAMP):  # type: ignore[misc]
    """PostgreSQL's timestamptz, named as such where PyAirbyte asks for a column's type."""

    def __str__(self) -> str:
        return "TIMESTAMPTZ"


class TimestamptzTypes(SQLTypeConverter):  # type: ignore[misc]
    """PyAirbyte's types, but that of a time with a zone is PostgreSQL's own."""

    def __init__(self) -> None:
        super().__init__(CONVERSION_MAP | {"timestamp_with_timezone": Timestamptz(timezone=True)})


class TimestamptzProcessor(PostgresSqlProcessor):  # type: ignore[misc]
    """PyAirbyte's writer to PostgreSQL, with these types."""

    type_converter_class = TimestamptzTypes


class TimestamptzCache(PostgresCache):  # type: ignore[misc]
    """PyAirbyte's PostgreSQL, with these types."""

    _sql_processor_class: ClassVar[type] = TimestamptzProcessor


@pytest.fixture(params=["duckdb", "postgres", "postgres_timestamptz"])
def destination(
    request: pytest.FixtureRequest, sandbox: Sandbox, tmp_path: Path
) -> Iterator[Destination]:
    """Open a new DuckDB file, or a new schema in PostgreSQL.

    For a timestamp with a zone PyAirbyte makes a column without one, in both, and both drop the
    offset of a time that is written into it. So the column holds the wall time that Calltouch
    shows, and it takes the account's zone to make an instant of it. Airbyte's own destination makes
    a timestamptz in PostgreSQL, and so does PyAirbyte here when it is told to: that holds the
    instant, whatever the zone of the server.
    """
    in_zone = f"(datesent AT TIME ZONE '{sandbox.timezone}')"
    if request.param == "duckdb":
        cache: Any = DuckDBCache(db_path=tmp_path / "sms.duckdb")
        destination = Destination(cache, "TIMESTAMP", "VARCHAR", "datesent", in_zone)
    else:
        cluster: postgresql.Cluster = request.getfixturevalue("cluster")
        zoned = request.param == "postgres_timestamptz"
        cache = (TimestamptzCache if zoned else PostgresCache)(
            host=postgresql.HOST,
            port=cluster.port,
            username=postgresql.USER,
            password=cluster.password,
            database=postgresql.DATABASE,
            schema_name=f"{request.param}_{sandbox.timezone}".replace("/", "_").lower(),
        )
        time_type = f"timestamp {'with' if zoned else 'without'} time zone"
        columns = (in_zone, "datesent") if zoned else ("datesent", in_zone)
        destination = Destination(cache, time_type, "character varying", *columns)
    yield destination
    cache.close()


def test_table_equals_account(sandbox: Sandbox, destination: Destination) -> None:
    def sync() -> int:
        source = airbyte.get_source(
            NAME,
            config=sandbox.config(lookback_window_days=LOOKBACK_DAYS),
            local_executable=Path(sysconfig.get_path("scripts"), NAME),
            install_if_missing=False,
        )
        source.select_all_streams()
        read = source.read(cache=destination.cache)
        assert destination.types() == destination.expected_types()
        return int(read.processed_records)

    follows(sandbox, sync, destination.rows)
