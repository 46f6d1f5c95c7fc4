"""A picture of the account: SMS by month in the terminal, and three charts as a file.

Both count SMS by day and status. No phone number and no text of an SMS gets here.
"""

import os
from collections import Counter
from collections.abc import Iterable
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

COLUMNS = ("dateSent", "smsStatus", "smsStatusDetail")
CHARTS = Path(__file__).with_name("report.png")
MONTHS = 24  # the newest ones
WIDTH = 40  # of the longest bar in the terminal
# Legible on white and on black.
COLORS = {"delivered": "#2a9d8f", "undelivered": "#e07a3f", "pending": "#8b949e"}
INK = "#7b848f"
STYLE = dict.fromkeys(("text.color", "xtick.color", "ytick.color", "axes.edgecolor"), INK) | {
    "axes.labelcolor": INK,
    "text.parse_math": False,
    "savefig.transparent": True,
}
EXPIRED = "Просрочено"  # the documentation shows it under the status sent, but it is final
AGES = {0: "today", 1: "1 day", 2: "2 days", 3: "3 days", 7: "4 to 7", 30: "8 to 30"}

Counts = Counter[tuple[date | None, str | None, str | None]]


def show_account(rows: Iterable[tuple[Any, ...]], timezone: str, note: str = "") -> None:
    """Print SMS by month for these rows of `COLUMNS`, and write the charts with a note below."""
    zone = ZoneInfo(timezone)
    counts = Counter((_day(sent, zone), *status) for sent, *status in rows)
    if not counts:
        print("There are no SMS.")
        return
    print_months(counts)
    CHARTS.unlink(missing_ok=True)  # and with it the mode that it may have
    with mpl.rc_context(STYLE):
        draw(counts, datetime.now(zone).date(), note).savefig(CHARTS, dpi=110)
    print(f"Charts: {os.path.relpath(CHARTS)}")


def _day(sent: Any, zone: ZoneInfo) -> date | None:
    try:
        day: date = sent.astimezone(zone).date()
    except (AttributeError, OverflowError):  # none, or one that Python cannot hold
        return None
    return day


def print_months(counts: Counts) -> None:
    """Print a bar for each month: delivered SMS, then the others."""
    sms: Counter[str] = Counter()
    delivered: Counter[str] = Counter()
    for (day, status, _), count in counts.items():
        month = day.isoformat()[:7] if day else "no date"
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


def draw(counts: Counts, today: date, note: str) -> Figure:
    """Draw SMS by day, pending ones by age, and undelivered ones by reason."""
    days: dict[str, Counter[date]] = {kind: Counter() for kind in COLORS}
    totals: Counter[str] = Counter()
    ages: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    since = today - timedelta(days=MONTHS * 30)
    for (day, status, detail), count in counts.items():
        failed = status == "error" or detail == EXPIRED
        kind = "delivered" if status == "delivered" else "undelivered" if failed else "pending"
        totals[kind] += count
        if failed:
            words = "".join(c for c in detail or "" if c.isprintable())
            reasons[words[:40] or "no reason given"] += count
        if day and since <= day <= today:
            days[kind][day] += count
            if kind == "pending":
                age = (today - day).days
                ages[next((name for most, name in AGES.items() if age <= most), "older")] += count
    figure = Figure(figsize=(11, 7), layout="constrained")
    share = f"{totals['delivered'] / totals.total():.1%}"
    title = f"{totals.total():,} SMS sent through Calltouch, {share} delivered, as of {today}"
    figure.suptitle(title, x=0.01, ha="left", weight="bold", size=15)
    figure.supxlabel(note, x=0.01, ha="left", size=11)
    top, bottom = figure.subfigures(2)
    draw_days(top.subplots(), days, totals)
    left, right = bottom.subplots(1, 2)
    draw_bars(left, "Pending in the last 30 days, by age", "pending", ages, [*AGES.values()])
    if ages["older"]:
        left.set_xlabel(f"{ages['older']:,} older ones may never settle.", loc="left")
    names = [name for name, _ in reasons.most_common(10)]
    draw_bars(right, "Undelivered, by reason", "undelivered", reasons, names)
    return figure


def draw_days(axes: Axes, days: dict[str, Counter[date]], totals: Counter[str]) -> None:
    """Draw a bar for each day, of one part for each kind."""
    every = sorted(set().union(*days.values()))
    below = [0] * len(every)
    for kind, color in COLORS.items():
        height = [days[kind][day] for day in every]
        label = f"{kind}: {totals[kind]:,}"
        axes.bar(every, height, width=1.0, bottom=below, color=color, label=label)
        below = [low + more for low, more in zip(below, height, strict=True)]
    axes.set_title("SMS by day, in the last two years", loc="left", weight="bold")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.margins(x=0.01)


def draw_bars(axes: Axes, title: str, kind: str, counts: Counter[str], names: list[str]) -> None:
    """Draw a bar with its count for each name, the first on top."""
    axes.set_title(title, loc="left", weight="bold")
    bars = axes.barh(names, [counts[name] for name in names], color=COLORS[kind])
    axes.bar_label(bars, labels=[f"{counts[name]:,}" for name in names], padding=3)
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.set_xticks([])
    axes.spines[:].set_visible(False)
    axes.margins(x=0.15)
