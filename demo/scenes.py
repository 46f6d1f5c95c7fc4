"""What is done and shown: the demo of two syncs, or the sync of a real account."""

import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from demo.pyairbyte import Connector, FailedError, open_file
from sandbox.process import Sandbox, running

HERE = Path(__file__).parent
SMS = 25_352
LOOKBACK_DAYS = 3
DAYS = 4  # by when every status of the sandbox has settled
NEW = 3

COUNTS = """
    SELECT coalesce(strftime(datesent, '%Y-%m'), 'no date') AS month,
           coalesce(smsstatus, 'none') AS status, count(*) AS sms
    FROM sms_messages GROUP BY ALL"""
STATUSES = "SELECT smskey, smsstatus FROM sms_messages"
# PyAirbyte's column for a time has no zone, and DuckDB keeps the time as it is written: the
# account's own.
ROWS = """
    SELECT phonenumber, strftime(datesent, '%d-%m-%Y %H:%M:%S'), smsstatus, smsstatusdetail,
           smsmessage
    FROM sms_messages"""
LOOK = "SELECT smsstatusdetail, count(*) AS sms FROM sms_messages GROUP BY ALL ORDER BY sms DESC"


def main(config_path: str | None) -> int:
    """Do what the command line asks for; return the exit code."""
    # The process that started this one blocked them, and the sandbox is ended by one of them.
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    try:
        if config_path:
            show_account(json.loads(Path(config_path).read_bytes()))
        else:
            with running("--sms", str(SMS)) as sandbox:
                show_demo(sandbox)
    except FailedError as error:
        print(error, file=sys.stderr)
    except Exception as error:  # noqa: BLE001 - a traceback could show what the SMS say
        print(f"Something unforeseen: {type(error).__name__}.", file=sys.stderr)
    else:
        return 0
    return 1


def show_account(config: Mapping[str, Any]) -> None:
    """Check and sync a real account into a file of its own."""
    connector = Connector(config)
    connector.check()
    print("The check succeeded.")
    path = HERE / f"calltouch_sms_{config['site_id']}.duckdb"
    cache = open_file(path)
    started = time.monotonic()
    read = connector.sync(cache)
    print(f"{read:,} SMS read in {time.monotonic() - started:.1f} s.\n")
    print_counts(cache)
    print_file(path)
    print("\nThe next sync reads what is new, and the last days again for their statuses.")
    print("To read everything again, delete the file.")


def show_demo(sandbox: Sandbox) -> None:
    """Check, sync, let statuses settle, sync again, and compare with the account."""
    print(f"A sandbox plays Calltouch: {SMS:,} SMS since {sandbox.start_date}.")
    path = HERE / "calltouch_sms.duckdb"
    for old in (path, path.with_name(f"{path.name}.wal")):
        old.unlink(missing_ok=True)
    connector = Connector(sandbox.config(lookback_window_days=LOOKBACK_DAYS))
    cache = open_file(path)

    print_title("1. Check")
    started = time.monotonic()
    connector.check()
    print(f"   The connector reaches the account: {spent(sandbox, started)}.")

    print_title("2. First sync: everything")
    started = time.monotonic()
    read = connector.sync(cache)
    print(f"   {read:,} SMS read: {spent(sandbox, started)}.\n")
    print_counts(cache)

    print_title(f"3. Second sync: after {DAYS} days of settling statuses, and {NEW} new SMS")
    before = {row["smskey"]: row["smsstatus"] for row in cache.run_sql_query(STATUSES)}
    sandbox.forward_clock(DAYS * 86_400)
    sandbox.add_sms(new_sms(sandbox))
    started = time.monotonic()
    read = connector.sync(cache)
    asked = sandbox.stats()["bodies"]
    print(f"   {read:,} SMS read, not {SMS + NEW:,}: {spent(sandbox, started)}.")
    for body in asked:
        dates = f"{body['dateFrom']} to {body['dateTo']}"
        print(f"   Asked for {dates}: the last {LOOKBACK_DAYS} days again.")
    after = {row["smskey"]: row["smsstatus"] for row in cache.run_sql_query(STATUSES)}
    print_changes(before, after)

    compare(cache, sandbox)
    print_file(path)


def spent(sandbox: Sandbox, started: float) -> str:
    """Tell what was spent since the last time this was told."""
    stats = sandbox.stats()
    sandbox.reset_stats()
    calls, seconds = len(stats["bodies"]), time.monotonic() - started
    return f"{calls} call{'s'[: calls != 1]}, {stats['points']} API points, {seconds:.1f} s"


def new_sms(sandbox: Sandbox) -> list[dict[str, str]]:
    """Make SMS that were sent just now."""
    now = datetime.now(ZoneInfo(sandbox.timezone))
    return [
        {
            "phoneNumber": f"7000000000{k}",
            "dateSent": f"{now:%d-%m-%Y %H:%M:%S}",
            "smsStatus": "sent",
            "smsStatusDetail": "Передано оператору",
            "smsMessage": "Ваш заказ принят",
        }
        for k in range(NEW)
    ]


def compare(cache: Any, sandbox: Sandbox) -> None:
    """Compare the table with the account, SMS by SMS.

    Raises:
        FailedError: they differ.
    """
    account = Counter(tuple(sms.values()) for sms in sandbox.sms())
    table = Counter(tuple(row.values()) for row in cache.run_sql_query(ROWS))
    keys = len(cache.run_sql_query("SELECT DISTINCT smskey FROM sms_messages"))
    if table != account or keys != account.total():
        missing, wrong = (account - table).total(), (table - account).total()
        raise FailedError(
            f"The table does not equal the account: of {account.total():,} SMS {missing:,} are "
            f"missing, {wrong:,} rows are none of its SMS, and there are {keys:,} keys."
        )
    print(f"\n   The table equals the account: {keys:,} SMS, each once, in every field.")


def print_title(title: str) -> None:
    """Print the title of a scene."""
    print(f"\n{title}\n")


def print_counts(cache: Any) -> None:
    """Print how many SMS there are, by month and status."""
    counts: Counter[tuple[str, str]] = Counter()
    by_status: Counter[str] = Counter()
    for row in cache.run_sql_query(COUNTS):
        counts[row["month"], row["status"]] = row["sms"]
        by_status[row["status"]] += row["sms"]
    if not counts:
        print("   There are no SMS.")
        return
    months = sorted({month for month, _ in counts})
    statuses = [status for status, _ in by_status.most_common()]
    lines = [["month", *statuses, "total"]]
    for month in months:
        numbers = [counts[month, status] for status in statuses]
        lines.append([month, *(f"{number:,}" for number in (*numbers, sum(numbers)))])
    lines.append(["total", *(f"{by_status[s]:,}" for s in statuses), f"{counts.total():,}"])
    print_table(lines)


def print_changes(before: Mapping[str, str], after: Mapping[str, str]) -> None:
    """Print which statuses became which."""
    changes = Counter(
        (before[key], status) for key, status in after.items() if before.get(key, status) != status
    )
    print(
        f"   {len(after.keys() - before.keys())} SMS are new, {changes.total()} changed status:\n"
    )
    for (old, new), count in changes.most_common():
        print(f"   {old:>10} -> {new:<10} {count:>5,}")


def print_table(lines: Iterable[list[str]]) -> None:
    """Print a head, rows, and a last row of totals."""
    head, *rows = lines
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    rule = "   " + "  ".join("-" * width for width in widths)
    for number, line in enumerate([head, *rows]):
        if number in {1, len(rows)}:
            print(rule)
        cells = [cell.rjust(width) for cell, width in zip(line, widths, strict=True)]
        print("   " + "  ".join(cells))


def print_file(path: Path) -> None:
    """Print where the SMS are, and a line to look at them."""
    shown, python = os.path.relpath(path), os.path.relpath(sys.executable)
    print(f"\nThe SMS are in {shown}, table sms_messages, times as the account shows them:\n")
    code = f"import duckdb; file = duckdb.connect('{shown}'); file.sql('{LOOK}').show()"
    print(f'   {python} -c "{code}"')


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else None))
