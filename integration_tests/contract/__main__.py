"""Asks a real account what the connector relies on: `make contract`, see docs/contract.md."""

import argparse
import json
import re
import sys
import textwrap
from collections.abc import Callable  # noqa: TC003 - it names a type
from datetime import datetime, timezone
from pathlib import Path

from airbyte_cdk.utils.traced_exception import AirbyteTracedException

from integration_tests.contract import probes
from integration_tests.contract.calltouch import Calltouch, LostError, UnansweredError
from source_calltouch_sms.config import Config

PAGE = Path(__file__).resolve().parents[2] / "docs" / "contract.md"
FOUND, OPEN, RED = "found", "not answered", "RED"
HEADINGS = ("", "Question", "Documentation", "Found", "Connector")


def main(words: list[str]) -> int:
    """Ask, show the report, and return the exit code: 1 if SMS could be lost."""
    parser = argparse.ArgumentParser(prog="make contract", description=__doc__)
    add = parser.add_argument
    add("--config", type=Path, required=True, help="the settings, as for the connector")
    add("--points", type=int, default=40, help="API points that may be spent")
    add("--pace", type=float, default=0.25, help="seconds between requests")
    add("--rate", action="store_true", help="also send six requests at once, for the rate limit")
    add("--markdown", type=Path, metavar="FILE", help="write the report to a file")
    arguments = parser.parse_args(words)
    try:
        config = Config.parse(json.loads(arguments.config.read_text(encoding="utf-8-sig")))
    except AirbyteTracedException as error:
        sys.exit(str(error.message))
    except (OSError, ValueError, AttributeError) as error:  # the last: not an object
        sys.exit(f"{arguments.config} does not hold settings as JSON: {type(error).__name__}.")
    service = Calltouch(config, arguments.points, arguments.pace, rate=arguments.rate)
    rows, options = ask(service)
    marks = [row[0] for row in rows]
    counts = ", ".join(f"{marks.count(mark)} {mark}" for mark in (FOUND, OPEN, RED))
    summary = f"{counts}. {service.requests} requests, at most {service.spent} API points."
    for mark, question, *texts in rows:
        print(f"\n{mark:>12}  {question}")
        for name, text in zip(HEADINGS[2:], texts, strict=True):
            indent = f"{name:>14}  "
            print(textwrap.fill(text, 96, initial_indent=indent, subsequent_indent=" " * 16))
    print(f"\n{summary}")
    if arguments.markdown:
        arguments.markdown.write_text(markdown(rows, options, summary), encoding="utf-8")
        print(f"The report is in {arguments.markdown}.")
    return int(RED in marks)


def ask(service: Calltouch) -> tuple[list[tuple[str, ...]], list[str]]:
    """Ask each question of the page; return the report's rows and the sandbox's options."""
    rows: list[tuple[str, ...]] = []
    options: list[str] = []
    table = re.findall(
        r"^\| `(\w+)` \| (.+) \| (.+) \| (.+) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE
    )
    for name, question, documentation, connector in table:
        played: list[str] = []
        try:
            probe: Callable[[Calltouch], probes.Found] = getattr(probes, name)
            mark, text, *played = FOUND, *probe(service)
        except UnansweredError as reason:
            mark, text = OPEN, str(reason)
        except LostError as loss:
            mark, text, *played = RED, *loss.args
        except Exception as error:  # noqa: BLE001 - its words may hold what is private
            mark, text = RED, f"the question could not be asked: {type(error).__name__}"
        rows.append((mark, question, documentation, text, connector))
        options += [option for option in played if option not in options]
    return rows, options


def markdown(rows: list[tuple[str, ...]], options: list[str], summary: str) -> str:
    """Return the report for a file."""
    lines = [HEADINGS, ("---",) * len(HEADINGS), *rows]
    table = ["| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines]
    return f"""# Calltouch's API, asked what its documentation leaves open

{datetime.now(timezone.utc):%Y-%m-%d}. {summary}

{chr(10).join(table)}

The sandbox plays the same with `--like` and this file, or with:

    python -m sandbox {" ".join(options)}
"""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
