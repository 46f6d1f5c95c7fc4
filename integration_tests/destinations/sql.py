"""The user page's SQL, and what it must return for an account."""

import re
from collections import Counter
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
    """Return the page's queries for ClickHouse or the other databases, in the account's zone."""
    blocks = re.findall(r"```sql\n(.*?);\n```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    chosen = [block for block in blocks if ("FINAL" in block) == clickhouse]
    assert len(chosen) == 3
    return [query.replace("Europe/Moscow", sandbox.timezone) for query in chosen]


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
    """Return what the three queries must return, with 56.25 rounded as the database does it."""
    rounding = ROUND_HALF_EVEN if clickhouse else ROUND_HALF_UP

    def percent(day: date) -> Decimal:
        exact = Decimal(100 * delivered[day]) / days[day]
        return exact.quantize(Decimal("0.1"), rounding)

    sms: list[Row] = list(account(sandbox).elements())
    newest: datetime = max(wall for _, wall, *_ in sms)
    days: Counter[date] = Counter()
    delivered: Counter[date] = Counter()
    undelivered: Counter[tuple[date, str]] = Counter()
    pending: Counter[tuple[str, str]] = Counter()
    oldest: dict[tuple[str, str], datetime] = {}
    late: Counter[tuple[str, str]] = Counter()
    for _number, wall, status, detail, _text, _instant in sms:
        days[wall.date()] += 1
        delivered[wall.date()] += status == "delivered"
        if status == "error" or detail == "Просрочено":
            undelivered[wall.date().replace(day=1), detail] += 1
        elif status in {"waiting", "sent", "unknown"}:
            pending[status, detail] += 1
            oldest[status, detail] = min(wall, oldest.get((status, detail), wall))
            late[status, detail] += wall < newest - LOOKBACK
    assert undelivered
    assert pending
    return [
        plain([(day, n, delivered[day], percent(day)) for day, n in days.items()]),
        plain([(month, detail, n, n * PRICE) for (month, detail), n in undelivered.items()]),
        plain([(*kind, n, oldest[kind], late[kind]) for kind, n in pending.items()]),
    ]
