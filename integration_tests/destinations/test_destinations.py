"""Two syncs by way of PyAirbyte, statuses changing between: the table equals the account."""

import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

import pytest
from airbyte._processors.sql.postgres import PostgresSqlProcessor
from airbyte.caches import PostgresCache
from airbyte.types import CONVERSION_MAP, SQLTypeConverter
from demo.pyairbyte import Connector, open_file
from sqlalchemy import TIMESTAMP

from integration_tests.destinations import postgresql
from sandbox.process import Sandbox, running

SMS = 3_000
LOOKBACK_DAYS = 3
DAYS = 4  # by when every status of the sandbox has settled
TEXTS = ("siteid", "smskey", "phonenumber", "smsstatus", "smsstatusdetail", "smsmessage")

Row = tuple[Any, ...]


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
        by_key = {key: tuple(row) for key, *row in (row.values() for row in rows)}
        assert len(by_key) == len(rows), "a key comes twice"
        return by_key


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


@pytest.fixture(scope="session", autouse=True)
def _stopped_in_order() -> Iterator[None]:
    """Let SIGTERM end the run as Ctrl+C does, so that everything is stopped."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="session")
def cluster() -> Iterator[postgresql.Cluster]:
    """Run a PostgreSQL cluster."""
    with postgresql.running() as cluster:
        yield cluster


@pytest.fixture(params=["Europe/Moscow", "Asia/Yekaterinburg"])
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """Run a sandbox, most of its SMS of the last month."""
    options = ("--sms", str(SMS), "--shape", "late", "--zone", request.param)
    with running(*options) as sandbox:
        yield sandbox


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
        cache: Any = open_file(tmp_path / "sms.duckdb")
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
    connector = Connector(sandbox.config(lookback_window_days=LOOKBACK_DAYS))

    assert connector.sync(destination.cache) == SMS
    before = destination.rows()
    assert differences(before, sandbox) == []
    assert destination.types() == destination.expected_types()

    sandbox.forward_clock(DAYS * 86_400)
    added = new_sms(sandbox)
    sandbox.add_sms(added)
    assert connector.sync(destination.cache) < SMS // 2  # the last days, not everything again
    after = destination.rows()
    assert differences(after, sandbox) == []
    assert destination.types() == destination.expected_types()

    # An SMS keeps its key; its status may change, and here enough of them do.
    assert before.keys() < after.keys()
    assert len(after) == SMS + len(added)
    changed = [key for key, row in before.items() if after[key] != row]
    assert len(changed) > 20
    assert all(identity(after[key]) == identity(before[key]) for key in changed)
    # Some of the SMS agree in number, second and text: each has a row.
    assert max(Counter(map(identity, after.values())).values()) > 2


def differences(table: dict[str, Row], sandbox: Sandbox) -> list[tuple[str, Row]]:
    """Return some of the SMS that are missing in the table or wrong there."""
    rows, expected = Counter(table.values()), account(sandbox)
    missing = [("missing", row) for row in expected - rows]
    return missing[:5] + [("wrong", row) for row in rows - expected][:5]


def account(sandbox: Sandbox) -> Counter[Row]:
    """Return what the rows of the account's SMS have to be, and how many of each."""
    zone = ZoneInfo(sandbox.timezone)
    rows: Counter[Row] = Counter()
    for sms in sandbox.sms():
        wall = instant = None
        if sms["dateSent"]:
            sent = datetime.strptime(sms["dateSent"], "%d-%m-%Y %H:%M:%S").replace(tzinfo=zone)
            wall, instant = sent.replace(tzinfo=None), round(sent.timestamp())
        status = sms["smsStatus"], sms["smsStatusDetail"]
        row = (sms["phoneNumber"], wall, *status, sms["smsMessage"], instant)
        rows[row] += 1
    return rows


def identity(row: Row) -> Row:
    """Return what of a row tells the SMS: its number, time and text."""
    number, wall, _status, _detail, text, instant = row
    return number, wall, text, instant


def new_sms(sandbox: Sandbox) -> list[dict[str, str | None]]:
    """Make SMS that were sent just now: two that agree, one of several lines, one of no date."""
    now = datetime.now(ZoneInfo(sandbox.timezone))
    sms: dict[str, str | None] = {
        "phoneNumber": "70000000001",
        "dateSent": f"{now:%d-%m-%Y %H:%M:%S}",
        "smsStatus": "sent",
        "smsStatusDetail": "Передано оператору",
        "smsMessage": "Ваш заказ принят",
    }
    return [
        sms,
        sms | {"smsStatus": "delivered", "smsStatusDetail": "Доставлено"},
        sms | {"phoneNumber": "70000000002", "smsMessage": "«Да»,\nи: \"нет\" \\ 100 % 'так' 🎁"},
        sms | {"phoneNumber": "70000000003", "dateSent": None},
    ]
