"""A picture of the account: SMS by month in the terminal, and a web page with three charts.

Both count SMS by day and status. No phone number and no text of an SMS gets here.
"""

import html
import io
import os
from collections import Counter
from collections.abc import Iterable
from datetime import date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

COLUMNS = ("dateSent", "smsStatus", "smsStatusDetail")
PAGE = Path(__file__).with_name("report.html")
MONTHS = 24  # the newest ones, in the terminal
WIDTH = 40  # of the longest bar there
DELIVERED, OTHER = "#2a9d8f", "#c9d1d9"
EXPIRED = "Просрочено"  # the documentation shows it under the status sent, but it is final
PENDING = {"waiting", "sent", "unknown"}
AGES = {0: "today", 1: "1 day", 2: "2 days", 3: "3 days", 7: "4 to 7", 30: "8 to 30"}
OLDER = "over 30"

Counts = Counter[tuple[date | None, str | None, str | None]]


def show_account(rows: Iterable[tuple[Any, ...]], timezone: str) -> None:
    """Print SMS by month for these rows of `COLUMNS`, and write the web page."""
    zone = ZoneInfo(timezone)
    counts = Counter((sent and sent.astimezone(zone).date(), *status) for sent, *status in rows)
    if not counts:
        print("There are no SMS.")
        return
    print_months(counts)
    PAGE.write_text(page(counts, datetime.now(zone).date()), encoding="utf-8")
    print(f"Charts: {os.path.relpath(PAGE)}")


def print_months(counts: Counts) -> None:
    """Print a bar for each month: delivered SMS, then the others."""
    sms: Counter[str] = Counter()
    delivered: Counter[str] = Counter()
    for (day, status, _), count in counts.items():
        month = f"{day:%Y-%m}" if day else "no date"
        sms[month] += count
        delivered[month] += count * (status == "delivered")
    table = Table("month", "", box=None, header_style="dim", padding=(0, 2, 0, 0))
    for name in ("SMS", "delivered"):
        table.add_column(name, justify="right")
    scale = WIDTH / max(sms.values())
    for month in sorted(sms)[-MONTHS:]:
        full, done = round(sms[month] * scale), round(delivered[month] * scale)
        bar = f"[green]{'█' * done}[/][dim]{'░' * (full - done)}[/]"
        table.add_row(month, bar, f"{sms[month]:,}", f"{delivered[month] / sms[month]:.0%}")
    total, share = sms.total(), delivered.total() / sms.total()
    table.add_row("total", "", f"{total:,}", f"{share:.0%}", style="bold")
    Console(highlight=False).print(table)


def page(counts: Counts, today: date) -> str:
    """Return the page's HTML: delivery rate by day, pending statuses by age, reasons."""
    by_day: Counter[date] = Counter()
    delivered: Counter[date] = Counter()
    pending: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for (day, status, detail), count in counts.items():
        if day:
            by_day[day] += count
            delivered[day] += count * (status == "delivered")
        if status == "error" or detail == EXPIRED:
            reasons[detail or "no reason given"] += count
        elif day and status in PENDING:
            age = (today - day).days
            pending[next((name for most, name in AGES.items() if age <= most), OLDER)] += count
    with mpl.rc_context({"svg.fonttype": "none", "font.size": 11, "font.family": "sans-serif"}):
        figure = Figure(figsize=(11, 8), layout="constrained")
        top, bottom = figure.subfigures(2)
        draw_days(top.subplots(), by_day, delivered)
        left, right = bottom.subplots(1, 2)
        draw_bars(left, "Statuses still pending, by age in days", pending, [*AGES.values(), OLDER])
        draw_bars(right, "Undelivered, by reason", reasons, [r for r, _ in reasons.most_common()])
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg", metadata={"Date": None})
    svg = drawn.getvalue()
    share = sum(n for (_, status, _), n in counts.items() if status == "delivered") / counts.total()
    return f"""<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>SMS sent through Calltouch</title>
<style>
  body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto;
         padding: 0 1rem; color: #1b2430; background: #fff; }}
  svg {{ width: 100%; height: auto; }}
</style>
<h1>SMS sent through Calltouch</h1>
<p>{counts.total():,} SMS, {share:.1%} delivered, as of {html.escape(today.isoformat())}.</p>
{svg[svg.index("<svg") :]}
</html>
"""


def draw_days(axes: Axes, sms: Counter[date], delivered: Counter[date]) -> None:
    """Draw the delivery rate of each day, over how many SMS it had."""
    days = sorted(sms)
    axes.set_title("Delivery rate by day", loc="left", weight="bold")
    axes.bar(days, [sms[day] for day in days], width=1.0, color=OTHER)
    most = max(sms.values(), default=1)
    axes.set_ylim(0, 3 * most)  # bars only in the lower third, below the line
    axes.set_yticks([0, most])
    axes.set_ylabel("SMS", loc="bottom")
    rate = axes.twinx()
    rate.plot(days, [100 * delivered[day] / sms[day] for day in days], color=DELIVERED)
    rate.set_ylabel("delivered, %", color=DELIVERED)
    rate.set_ylim(0, 105)
    for each in (axes, rate):
        each.margins(x=0.01)
        each.spines["top"].set_visible(False)


def draw_bars(axes: Axes, title: str, counts: Counter[str], names: list[str]) -> None:
    """Draw a bar with its count for each name, the first on top."""
    axes.set_title(title, loc="left", weight="bold")
    bars = axes.barh(names, [counts[name] for name in names], color=DELIVERED)
    axes.bar_label(bars, labels=[f"{counts[name]:,}" for name in names], padding=3)
    axes.invert_yaxis()
    axes.set_xticks([])
    axes.spines[:].set_visible(False)
    axes.margins(x=0.15)
