"""The command: `python -m benchmarks`, or with `--quick` small sizes that only show it works."""

import argparse
import sys

from benchmarks.commands import ROOT
from benchmarks.measurements import FULL, QUICK, measure
from benchmarks.targets import targets


def main() -> int:
    """Measure, print, write; return 1 if a promise is broken."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=measure.__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="small sizes: the results go to .tmp and mean nothing"
    )
    quick = parser.parse_args().quick
    findings = measure(QUICK if quick else FULL)

    # Loaded only now: a process begins with the peak memory of the one that starts it.
    from benchmarks import plot, report  # noqa: PLC0415
    from benchmarks.week import section_of  # noqa: PLC0415

    print(report.tables(findings))
    directory = ROOT / (".tmp" if quick else "docs")
    directory.mkdir(exist_ok=True)
    drawing = directory / "performance.svg"
    plot.draw(findings, drawing)
    page = directory / "performance.md"
    week = section_of(page.read_text(encoding="utf-8")) if page.exists() else ""
    page.write_text(report.page(findings, drawing.name) + week, encoding="utf-8")
    return 0 if quick or all(target.met for target in targets(findings)) else 1


if __name__ == "__main__":
    sys.exit(main())
