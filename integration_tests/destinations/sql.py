"""The user page's SQL, and what it must return for an account."""

import re
from collections import defaultdict
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

from integration_tests.destinations.account import Row, account
from sandbox.process import Sandbox

PAGE = Path(__file__).resolve().parents[2] / "docs" / "calltouch-sms.md"
PRICE = 4.5
LOOKBACK = timedelta(days=3)

Tables = list[set[tuple[Any, ...]]]


def queries(sandbox: Sandbox, *, clickhouse: bool) -> list[str]:
    """Return the page's queries for ClickHouse or the other databases, in the account's zone.

    Those of the columns that Airbyte adds are left out: dlt's tables have none.
    """
    blocks = re.findall(r"```sql\n(.*?);\n```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    chosen = [b for b in blocks if "_airbyte" not in b and ("FINAL" in b) == clickhouse]
    assert len(chosen) == 5
    # So few SMS are in the account that none of its numbers is bad twice.
    once = [query.replace(">= 2", ">= 1") for query in chosen]
    return [query.replace("Europe/Moscow", sandbox.timezone) for query in once]


def plain(rows: list[tuple[Any, ...]]) -> set[tuple[Any, ...]]:
    """Return rows in Python's plain types: numbers, and times as text of whole seconds."""

    def value(cell: object) -> object:
        if isinstance(cell, Decimal):
            return float(cell)
        return str(cell)[:19] if isinstance(cell, str | date) else cell

    table = {tuple(value(cell) for cell in row) for row in rows}
    assert len(table) == len(rows)
    return table


def expected(sandbox: Sandbox, *, clickhouse: bool) -> Tables:
    """Return what the queries must return, with 56.25 rounded as the database does it."""
    rounding = ROUND_HALF_EVEN if clickhouse else ROUND_HALF_UP

    def percent(group: list[Row]) -> Decimal:
        exact = Decimal(100 * delivered(group)) / len(group)
        return exact.quantize(Decimal("0.1"), rounding)

    def delivered(group: list[Row]) -> int:
        return sum(row[2] == "delivered" for row in group)

    def oldest(group: list[Row]) -> Any:
        return min(row[1] for row in group)

    def late(group: list[Row]) -> int:
        return sum(row[1] < newest - LOOKBACK for row in group)

    sms: list[Row] = list(account(sandbox).elements())
    newest: datetime = max(row[1] for row in sms)
    groups = [defaultdict[Any, list[Row]](list) for _ in range(5)]
    days, numbers, mailings, undelivered, pending = groups
    for row in sms:
        number, wall, status, detail, text, _instant = row
        days[wall.date()].append(row)
        numbers[number].append(row)
        mailings[text[:60]].append(row)
        if status == "error" or detail == "Просрочено":
            undelivered[wall.date().replace(day=1), detail].append(row)
        elif status in {"waiting", "sent", "unknown"}:
            pending[status, detail].append(row)
    assert all(groups)
    bad = [
        (number, len(group), max(row[1] for row in group))
        for number, group in numbers.items()
        if not delivered(group)
        and any(row[3] in {"Неверный номер", "Недоступный номер"} for row in group)
    ]
    assert bad
    return [
        plain([(*kind, len(g), oldest(g), late(g)) for kind, g in pending.items()]),
        plain([(day, len(g), delivered(g), percent(g)) for day, g in days.items()]),
        plain([(*kind, len(g), len(g) * PRICE) for kind, g in undelivered.items()]),
        plain(bad),
        plain([(text, oldest(g), len(g), percent(g)) for text, g in mailings.items()]),
    ]
