"""The account as a table must hold it, and SMS to add to it."""

from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sandbox.process import Sandbox

SMS = 3_000
LOOKBACK_DAYS = 3
DAYS = 4  # by when every status of the sandbox has settled

Row = tuple[Any, ...]
"""Number, wall time of the account, status, detail, text, instant in seconds."""


def follows(sandbox: Sandbox, sync: Callable[[], int], rows: Callable[[], dict[str, Row]]) -> None:
    """Sync twice, statuses changing between; assert that the rows by key equal the account."""
    assert sync() == SMS
    before = rows()
    assert Counter(before.values()) == account(sandbox)

    sandbox.forward_clock(DAYS * 86_400)
    added = new_sms(sandbox)
    sandbox.add_sms(added)
    assert sync() < SMS // 2  # the last days, not everything again
    after = rows()
    assert Counter(after.values()) == account(sandbox)

    # An SMS keeps its key; its status may change, and here enough of them do.
    assert before.keys() < after.keys()
    assert len(after) == SMS + len(added)
    changed = [key for key, row in before.items() if after[key] != row]
    assert len(changed) > 20
    assert all(identity(after[key]) == identity(before[key]) for key in changed)
    # Some of the SMS agree in number, second and text: each has a row.
    assert max(Counter(map(identity, after.values())).values()) > 2


def by_key(rows: list[Row]) -> dict[str, Row]:
    """Return rows by their first column, the key; each comes once."""
    table = {key: tuple(row) for key, *row in rows}
    assert len(table) == len(rows), "a key comes twice"
    return table


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
    """Make SMS of two minutes ago: two that agree, one of several lines, one without a date."""
    now = datetime.now(ZoneInfo(sandbox.timezone)) - timedelta(minutes=2)
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
