"""The suite's options, and the table that it ends with."""

import os
import textwrap
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NoReturn

import pytest

from integration_tests.contract.calltouch import Calltouch

RED, FOUND, OPEN = "red", "found", "open"
LABELS = {RED: "RED", FOUND: "found", OPEN: "not answered"}
HEADINGS = ("", "Question", "Documentation", "Found", "Connector")
PLAY_AGAIN = "python -m sandbox"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("contract", "the contract with Calltouch's API")
    about = "API points that may be spent (default: 40)"
    group.addoption("--points", type=int, default=40, help=about)
    about = "seconds between requests (default: 0.25)"
    group.addoption("--pace", type=float, default=0.25, help=about)
    about = "also send six requests at once, to see how the rate limit answers"
    group.addoption("--rate", action="store_true", help=about)
    group.addoption("--markdown", type=Path, metavar="FILE", help="write the table to a file")


def pytest_configure(config: pytest.Config) -> None:
    if not os.environ.get("CALLTOUCH_CONFIG"):
        raise pytest.UsageError("Name the settings: make contract CONFIG=secrets/config.json")
    config.addinivalue_line("markers", "asks(question, documentation, connector): a table's row")
    # A traceback shows values, and they may be tokens, numbers and texts.
    config.option.tbstyle, config.option.showcapture, config.option.reportchars = "no", "no", ""
    config.pluginmanager.register(Table(config))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if asks := item.get_closest_marker("asks"):
            names = ("question", "documentation", "connector")
            item.user_properties += list(zip(names, asks.args, strict=True))


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    why = ""
    try:
        return (yield)
    except Exception as error:  # noqa: BLE001 - its message may hold what is private
        why = f"the question could not be asked: {type(error).__name__}"
    except pytest.fail.Exception as failure:
        why = failure.msg or ""
    finally:
        service = pyfuncitem.funcargs["calltouch"]
        assert isinstance(service, Calltouch)
        pyfuncitem.user_properties.append(("cost", (service.requests, service.spent)))
        if why:
            pyfuncitem.user_properties.append(("found", why))
    # Outside of the handlers, so that nothing of the exceptions is shown along with it.
    return pytest.fail(why, pytrace=False)


@pytest.fixture(scope="session")
def calltouch(request: pytest.FixtureRequest) -> Calltouch:
    """Return the service of `CALLTOUCH_CONFIG`."""
    points, pace = map(request.config.getoption, ("--points", "--pace"))
    try:
        return Calltouch(Path(os.environ["CALLTOUCH_CONFIG"]), points, pace)
    except OSError as error:
        why = f"cannot be read: {error.strerror}"
    except KeyError as error:
        why = f"lack {error}"
    except (ValueError, TypeError, AttributeError):
        why = "are not a valid JSON object, or hold a date or time zone that is not valid"
    pytest.exit(f"The settings in {os.environ['CALLTOUCH_CONFIG']} {why}.", returncode=1)


@dataclass(frozen=True)
class Found:
    """Takes down what was found, with the sandbox's options that play it again."""

    record: Callable[[str, object], None]

    def __call__(self, text: str, *options: str) -> None:
        """Take down a finding."""
        self.record("found", text)
        self.record("options", options)

    def red(self, text: str, *options: str) -> NoReturn:
        """Take down a finding by which SMS would be lost, and that the connector does not catch."""
        self(text, *options)
        pytest.fail(text, pytrace=False)


@pytest.fixture
def found(record_property: Callable[[str, object], None]) -> Found:
    """Return what takes down this test's finding."""
    return Found(record_property)


@dataclass
class Row:
    """A question and what came of it."""

    mark: str
    question: str
    documentation: str
    found: str
    connector: str


@dataclass
class Table:
    """Gathers the rows, from this process or from a worker, and shows them."""

    config: pytest.Config
    rows: list[Row] = field(default_factory=list)
    options: list[str] = field(default_factory=list)
    cost: tuple[int, int] = (0, 0)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call":
            return
        known: dict[str, Any] = dict(report.user_properties)
        self.cost = known["cost"]
        self.options += [
            option for option in known.get("options", ()) if option not in self.options
        ]
        mark = {"passed": FOUND, "failed": RED, "skipped": OPEN}[report.outcome]
        text = known.get("found", "")
        if isinstance(report.longrepr, tuple):
            text = report.longrepr[2].removeprefix("Skipped: ")
        self.rows.append(
            Row(mark, known["question"], known["documentation"], text, known["connector"])
        )

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self.rows:
            return
        write = terminalreporter.write_line
        for row in self.rows:
            write("")
            write(f"{LABELS[row.mark]:>12}  {row.question}", red=row.mark == RED, bold=True)
            texts = (row.documentation, row.found, row.connector)
            for name, text in zip(HEADINGS[2:], texts, strict=True):
                for number, line in enumerate(textwrap.wrap(text, 80)):
                    write(f"{'' if number else name:>14}  {line}")
        write("")
        write(self._summary())
        path = self.config.getoption("--markdown")
        if path:
            path.write_text(self._markdown(), encoding="utf-8")
            write(f"The table was written to {path}.")

    def _summary(self) -> str:
        requests, points = self.cost
        counts = {mark: sum(row.mark == mark for row in self.rows) for mark in LABELS}
        return (
            f"{counts[FOUND]} found, {counts[OPEN]} not answered, {counts[RED]} red. "
            f"{requests} requests, at most {points} API points."
        )

    def _markdown(self) -> str:
        lines = [HEADINGS, ("---",) * len(HEADINGS)]
        lines += [
            (LABELS[row.mark], row.question, row.documentation, row.found, row.connector)
            for row in self.rows
        ]
        cells = [
            "| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines
        ]
        return "\n".join(
            [
                "# Calltouch's API, asked what its documentation leaves open",
                "",
                f"{datetime.now(timezone.utc):%Y-%m-%d}. {self._summary()}",
                "",
                *cells,
                "",
                "The sandbox plays the same with `--like` and this file, or with:",
                "",
                f"    {' '.join([PLAY_AGAIN, *self.options])}",
                "",
            ]
        )
