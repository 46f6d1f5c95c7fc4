"""The plot: rate against latency, as an SVG that is the same for the same findings."""

from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.commands import CONNECTORS, FLOOR
from benchmarks.measurements import CEILING, Findings


def draw(findings: Findings, path: Path) -> None:
    """Write the plot."""
    with mpl.rc_context({"svg.hashsalt": "source-calltouch-sms", "svg.fonttype": "none"}):
        figure = Figure(figsize=(8, 4.5), layout="constrained")
        axes = figure.subplots()
        axes.axhline(CEILING, color="black", linestyle="--", linewidth=1)
        axes.annotate(
            "the API's limit: 5 requests a second of 10,000 SMS",
            (1, CEILING),
            xytext=(0, 4),
            textcoords="offset points",
            ha="right",
        )
        for connector in CONNECTORS:
            rates = {
                x: r[connector].rate for x, r in findings.side_by_side.items() if connector in r
            }
            if connector is FLOOR:
                axes.axhline(rates[0.0], color="grey", linestyle=":", label=connector.name)
            else:
                axes.plot(list(rates), list(rates.values()), marker="o", label=connector.name)
        axes.set_xlabel("latency of a request, seconds")
        axes.set_ylabel("SMS a second")
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter("{x:,.0f}")
        axes.grid(visible=True, alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        figure.legend(loc="outside lower center", ncols=2, frameon=False)
        figure.savefig(path, format="svg", metadata={"Date": None})
