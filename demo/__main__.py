"""The demo: `python -m demo`, which also takes options of the sandbox.

A sandbox mocks Calltouch. There are two syncs; in between, statuses settle. In the end the table
must equal the account.
"""

import json
import os
import sys
import time
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import dlt

from demo.report import COLUMNS, show_account
from demo.sync import CONSOLE, Connector, FailedError, open_pipeline, rows, run, sync
from sandbox.options import DAY_FIRST
from sandbox.process import Sandbox, running

SMS = 25_352
LOOKBACK_DAYS = 3
NOTE = "A sandbox made this account up, bad campaign included; some of its statuses never settle."
DAYS = 4  # after that every status in the sandbox has settled
NEW = 3
FILE = Path(__file__).with_name("calltouch_sms.duckdb")
FIELDS = ("phoneNumber", "dateSent", "smsStatus", "smsStatusDetail", "smsMessage")


def demo(folder: Path) -> None:
    """Check, sync, let statuses settle, sync again, and compare with the account."""
    FILE.unlink(missing_ok=True)
    FILE.with_name(f"{FILE.name}.wal").unlink(missing_ok=True)
    try:
        with running("--sms", str(SMS), "--shape", "business", *sys.argv[1:]) as sandbox:
            show(sandbox, folder)
    except RuntimeError as error:  # the sandbox has already said why
        raise FailedError(str(error)) from None


def show(sandbox: Sandbox, folder: Path) -> None:
    """Show the steps of the demo."""
    total = len(sandbox.sms())
    CONSOLE.print(f"A sandbox mocks Calltouch: {total:,} SMS since {sandbox.start_date}.")
    config = folder / "config.json"
    config.write_text(json.dumps(sandbox.config(lookback_window_days=LOOKBACK_DAYS)))
    connector = Connector(config, folder)

    CONSOLE.print("\n1. Check\n")
    started = time.monotonic()
    list(connector.run("check"))
    CONSOLE.print(f"   The connector reaches the account: {spent(sandbox, started)}.")
    stream = connector.stream()

    CONSOLE.print("\n2. First sync: everything\n")
    pipeline = open_pipeline("calltouch_sms", FILE, folder)
    started = time.monotonic()
    count = sync(connector, stream, pipeline)
    CONSOLE.print(f"   {count:,} SMS read: {spent(sandbox, started)}.")
    before = dict(rows(pipeline, "smsKey", "smsStatus"))

    CONSOLE.print(f"\n3. Second sync: {DAYS} days later for the statuses, and {NEW} new SMS\n")
    sandbox.forward_clock(DAYS * 86_400)
    sent = datetime.now(ZoneInfo(sandbox.timezone)) - timedelta(minutes=2)  # not too new to be read
    values = (f"{sent:{DAY_FIRST}}", "sent", "Передано оператору", "Ваш заказ принят")
    new = [(f"7000000000{k}", *values) for k in range(NEW)]
    sandbox.add_sms([dict(zip(FIELDS, sms, strict=True)) for sms in new])
    pipeline.drop()  # so it starts as a new process would: state and schema come from the file
    started = time.monotonic()
    count = sync(connector, stream, pipeline)
    CONSOLE.print(f"   {count:,} SMS read, not {total + NEW:,}: {spent(sandbox, started)}.")
    after = dict(rows(pipeline, "smsKey", "smsStatus"))
    kept = before.keys() & after.keys()
    changes = Counter((before[key], after[key]) for key in kept if before[key] != after[key])
    fresh = len(after) - len(kept)
    CONSOLE.print(f"   {fresh} SMS are new, {changes.total()} changed status:\n")
    for (old, status), count in changes.most_common():
        CONSOLE.print(f"   {old:>10} -> {status:<10} {count:>5,}")

    compare(pipeline, sandbox)
    CONSOLE.print(f"\nThe SMS are in {os.path.relpath(FILE)}, table sms_messages.\n")
    show_account(rows(pipeline, *COLUMNS), sandbox.timezone, NOTE)


def spent(sandbox: Sandbox, started: float) -> str:
    """Say what was spent since this was last said."""
    stats = sandbox.stats()
    sandbox.reset_stats()
    requests, seconds = len(stats["bodies"]), time.monotonic() - started
    plural = "s" if requests != 1 else ""
    return f"{requests} API request{plural}, {stats['points']} API points, {seconds:.1f} s"


def compare(pipeline: dlt.Pipeline, sandbox: Sandbox) -> None:
    """Compare the table with the account, SMS by SMS."""
    zone = ZoneInfo(sandbox.timezone)
    found = list(rows(pipeline, "smsKey", *FIELDS))
    keys = len({key for key, *_ in found})
    table = Counter(
        (number, sent and f"{sent.astimezone(zone):{DAY_FIRST}}", *rest)
        for _, number, sent, *rest in found
    )
    account = Counter(tuple(sms[field] for field in FIELDS) for sms in sandbox.sms())
    if table != account or keys != len(found):
        missing, wrong = (account - table).total(), (table - account).total()
        words = f"{missing:,} SMS are missing, {wrong:,} rows match none; {keys:,} keys"
        raise FailedError(f"The table does not equal the account: {words}.")
    equal = f"The table equals the account: {keys:,} SMS, each once, in every field."
    CONSOLE.print(f"\n   {equal}")


if __name__ == "__main__":
    sys.exit(run(demo))
