"""Asks a real account what the connector relies on: `make contract`, see docs/contract.md."""

import argparse
import re
import sys
from collections import Counter
from datetime import datetime, timezone
from pathlib import Path

from airbyte_cdk.utils.traced_exception import AirbyteTracedException

from integration_tests.contract import probes
from integration_tests.contract.calltouch import Calltouch, LostError, UnansweredError
from source_calltouch_sms import SourceCalltouchSms
from source_calltouch_sms.config import Config

PAGE = Path(__file__).resolve().parents[2] / "docs" / "contract.md"
ROW = re.compile(r"^\| `(\w+)` \| (.+) \| (.+) \| (.+) \|$", re.MULTILINE)
FOUND, OPEN, RED = "found", "not answered", "RED"


def main(words: list[str]) -> int:
    """Ask, show the report, and return the exit code: 1 if SMS could be lost."""
    parser = argparse.ArgumentParser(prog="make contract", description=__doc__)
    add = parser.add_argument
    add("--config", required=True, help="the settings, as for the connector")
    add("--points", type=int, default=40, help="API points that may be spent")
    add("--pace", type=float, default=0.25, help="seconds between requests")
    add("--rate", action="store_true", help="also send six requests at once, for the rate limit")
    arguments = parser.parse_args(words)
    try:
        config = Config.parse(SourceCalltouchSms.read_config(arguments.config))
    except AirbyteTracedException as error:
        sys.exit(str(error.message))
    marks, report = ask(Calltouch(config, arguments.points, arguments.pace, rate=arguments.rate))
    print(report)
    return int(marks[RED] > 0)


def ask(service: Calltouch) -> tuple[Counter[str], str]:
    """Ask each question of the page; count how they went, and return the report."""
    marks = Counter({FOUND: 0, OPEN: 0, RED: 0})
    options: dict[str, None] = {}  # of the sandbox, in order
    answers = ""
    for name, question, documentation, connector in ROW.findall(PAGE.read_text(encoding="utf-8")):
        try:
            mark, (text, *played) = FOUND, getattr(probes, name)(service)
        except UnansweredError as reason:
            mark, (text, *played) = OPEN, (str(reason),)
        except LostError as loss:
            mark, (text, *played) = RED, loss.args
        except Exception as error:  # noqa: BLE001 - its words may hold what is private
            mark, (text, *played) = RED, (f"it could not be asked: {type(error).__name__}",)
        marks[mark] += 1
        options |= dict.fromkeys(played)
        answers += f"- **{mark}**: {question}\n  - Documentation: {documentation}\n"
        answers += f"  - Found: {text}\n  - Connector: {connector}\n"
    counts = ", ".join(f"{count} {mark}" for mark, count in marks.items())
    report = f"""# Calltouch's API, asked what its documentation leaves open

{datetime.now(timezone.utc):%Y-%m-%d}. {counts}. {service.requests} requests, at most \
{service.spent} API points.

{answers}
The sandbox plays the same:

    python -m sandbox {" ".join(options)}"""
    return marks, report


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
