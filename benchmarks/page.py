"""The command: `python -m benchmarks.page` writes saved results into docs/performance.md."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
TABLES = ("speed", "latency", "throughput", "memory", "requests", "storms", "points")
PAGE = ROOT / "docs" / "performance.md"
CHART = ROOT / "docs" / "performance.svg"
CEILING = 50_000
GREY, COLORS = "#6e7781", ("#2f81f7", "#c4751a", "#8a63d2")
"""Each is legible on white and on black."""
LEFT, WIDTH = 215, 430


def main() -> int:
    """Write page and chart; return 1 if a table is too old or a promise is not kept."""
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    CHART.write_text(chart(saved("latency")["rows"]), encoding="utf-8")
    complaints = [f"{table} is older than the connector" for table in outdated()]
    for table in TABLES:
        cells = (text(cell) for row in saved(table).get("rows", []) for cell in row.values())
        complaints += [f"{table}: {cell}" for cell in cells if "missed" in cell]
    print("\n".join(complaints), file=sys.stderr)
    return int(bool(complaints))


def saved(table: str) -> dict[str, Any]:
    """Return a table's saved result; empty if there is none."""
    path = RESULTS / f"{table}.json"
    return dict(json.loads(path.read_bytes())) if path.exists() else {}


def outdated() -> list[str]:
    """Return the tables that were not measured with the connector as it is now."""
    now = connector_version()
    return [table for table in TABLES if not now or saved(table).get("connector") != now]


def connector_version() -> str | None:
    """Return Git's id of the connector's source; None if it has changes that are not committed."""
    package = "source_calltouch_sms"
    return None if git("status", "--porcelain", package) else git("rev-parse", f"HEAD:{package}")


def git(*words: str) -> str:
    """Run a Git command in the repository, and return what it prints."""
    return subprocess.check_output(["git", *words], cwd=ROOT, text=True).strip()


def filled(page: str) -> str:
    """Return the page with each table between its marks: `<!-- speed -->` and `<!-- /speed -->`."""
    marks = re.compile(r"(<!-- (\w+) -->).*?(<!-- /\2 -->)", re.DOTALL)
    return marks.sub(lambda mark: f"{mark[1]}\n\n{section(saved(mark[2]))}\n\n{mark[3]}", page)


def section(result: dict[str, Any]) -> str:
    """Return a table, and under it when it was measured, and on what."""
    rows = result["rows"]
    titles = list(dict.fromkeys(title for row in rows for title in row))
    lines = [titles, ["---", *["---:"] * (len(titles) - 1)]]
    lines += [[text(row.get(title, "")) for title in titles] for row in rows]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{table}\n\n*{result['measured']}, commit {result['commit']}; {result['machine']}.*"


def text(cell: Any) -> str:
    """Return a cell: a word, a number, or a number with its promise."""
    if not isinstance(cell, dict):
        return cell if isinstance(cell, str) else f"{cell:,}"
    value, low, high = cell["value"], cell.get("at_least"), cell.get("at_most")
    limit, kept = (f"≥ {low:,}", value >= low) if low else (f"≤ {high:,}", value <= high)
    return f"{value:,} ({limit}{'' if kept else ', **missed**'})"


def chart(rows: list[dict[str, Any]]) -> str:
    """Return an SVG: a group of bars for each latency, and the API's limit across all."""
    drawn, y = [], 70
    for delay, *rates in (row.items() for row in rows):
        drawn.append(f'<text x="0" y="{y}" font-weight="bold">answers take {delay[1]} s</text>')
        for color, (name, rate) in zip(COLORS, rates, strict=True):
            y += 24
            drawn += [
                f'<text x="0" y="{y}">{name}</text>',
                f'<text x="{LEFT - 8}" y="{y}" text-anchor="end">{rate:,}</text>',
                f'<path d="M{LEFT} {y - 5}h{rate / CEILING * WIDTH:.0f}" stroke="{color}"/>',
            ]
        y += 36
    limit = LEFT + WIDTH
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" width="{limit + 10}" height="{y - 20}"
  font-family="system-ui, sans-serif" font-size="14" fill="{GREY}" stroke-width="16" role="img">
<title>SMS a second, by how long each answer takes, beside the API's limit</title>
<text x="0" y="16" font-size="16" font-weight="bold">SMS a second, in a sync of 100,000 SMS</text>
<text x="{limit}" y="42" text-anchor="end">the API's limit: {CEILING:,} SMS a second</text>
{chr(10).join(drawn)}
<path d="M{limit} 50V{y - 20}" stroke="{GREY}" stroke-width="2" stroke-dasharray="6 4"/>
</svg>
"""


if __name__ == "__main__":
    sys.exit(main())
