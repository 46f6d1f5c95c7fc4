"""Proves the contract suite: on the sandbox in each of its readings, it finds what was set."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from integration_tests.commands import ROOT
from integration_tests.contract.calltouch import FORMS
from integration_tests.platform_rules import forms
from integration_tests.test_privacy import NUMBER, TEXT
from sandbox.__main__ import read_arguments
from sandbox.account import Making
from sandbox.app import Options
from sandbox.process import Sandbox, running
from sandbox.rules import STATUSES
from source_calltouch_sms import api

pytest_plugins = "pytester"
# As the Makefile calls it.
SUITE = ["-c", os.devnull, "--rootdir", str(ROOT), "-p", "no:cacheprovider"]
SUITE.append(str(ROOT / "integration_tests" / "contract"))
POINTS = 20 * api.POINTS_PER_CALL

# What the defaults look like to the suite: each reading says only what is other than that.
OWN_FORMS = {"token": "credentials", "site": "credentials", "field": "message", "json": "error"}
OWN_FORMS["value"] = "violations"

# Readings under which nothing is lost, several switches at a time.
HARMLESS = {
    "as documented": "",
    "few SMS": "--sms 40 --days 3",
    "no SMS": "--shape empty --empty-as-list",
    "as PHP may do it": (
        "--sms 3000 --page-size 1000 --order ascending --gzip --unescaped-unicode --raw-breaks"
        " --date-format dd.mm.yyyy"
        " --total-as-text --url both --empty-as-list --refusal token=200 --refusal site=403:right"
        " --refusal field=200 --refusal value=200 --refusal json=500:html"
    ),
    "lenient": (
        "--sms 4500 --order descending --allow future --allow reversed --allow page-0"
        " --allow page-1 --allow page-text --allow year-first --beyond-last empty --page-size 2000"
        " --also-field operator --also-status queued:Новый"
    ),
    "strict, at the other URL": (
        "--sms 4000 --days 60 --page-size 1000 --order ties --mailings 400 --url under-access"
        " --date-format yyyy-mm-dd --refuse dots"
        " --beyond-last repeated --longest-days 30"
    ),
}

# Readings under which SMS would be lost, and the questions that are red there.
HARMFUL = {
    "--ends to-excluded": {"Are both ends", "Do the parts"},
    "--ends from-excluded": {"Are both ends", "Do the parts"},
    "--ends excluded": {"Are both ends", "Do the parts"},
    "--ends whole-minutes": {"Are both ends"},
    "--ignore-page --beyond-last repeated": {"Does page 2"},
    "--date-format mm/dd/yyyy": {"Can the dates"},
    "--refuse masks": {"Are SMS found by a number"},
}


@dataclass(frozen=True)
class Report:
    """What a run left: its exit code, all that it wrote, and its table."""

    code: int
    written: str
    table: dict[str, str]  # the first column by the question
    path: Path

    def found(self, mark: str) -> set[str]:
        """Return the questions of one mark."""
        return {question for question, found in self.table.items() if found == mark}


@dataclass(frozen=True)
class Suite:
    """The suite, run in this process, as its imports take longer than it does."""

    pytester: pytest.Pytester
    environment: pytest.MonkeyPatch

    def ask(self, config: dict[str, Any], *options: str) -> Report:
        """Run the suite against what a configuration names."""
        folder = self.pytester.path
        (folder / "config.json").write_text(json.dumps(config))
        self.environment.setenv("CALLTOUCH_CONFIG", str(folder / "config.json"))
        self.environment.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        path = folder / "report.md"
        path.unlink(missing_ok=True)
        arguments = [*SUITE, "--markdown", str(path), *options]
        run = self.pytester.runpytest_inprocess(*arguments)
        markdown = path.read_text() if path.exists() else ""
        cells = [line.split(" | ") for line in markdown.splitlines() if line.startswith("| ")][2:]
        table = {row[1]: row[0].removeprefix("| ") for row in cells}
        written = f"{run.stdout.str()}\n{run.stderr.str()}\n{markdown}"
        return Report(int(run.ret), written, table, path)

    def play(self, words: str, points: int = POINTS) -> Report:
        """Run the suite against a sandbox; no reading costs more points than are allowed."""
        with running(*words.split(), "--rate", "0") as sandbox:
            mark(sandbox)
            report = self.ask(sandbox.config(), "--pace", "0", "--points", str(points))
            spent = sandbox.stats()["points"]
        assert spent <= points
        assert_nothing_private(report, sandbox)
        return report


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Suite:
    return Suite(pytester, monkeypatch)


def behaviour(words: Sequence[str]) -> tuple[object, ...]:
    """Return what a command line makes of the sandbox, as far as the suite can tell it."""
    making, options, _ = read_arguments(list(words))
    refusals = {reason: (status, OWN_FORMS.get(reason, "")) for reason, status in STATUSES.items()}
    for reason, status, form in options.refusals:
        refusals[reason] = (status, form or OWN_FORMS.get(reason, ""))
    told = (making.also_fields, making.also_statuses, sorted(options.allow), refusals)
    # How the account is made and how fast answers come are not the suite's to tell.
    rest = replace(options, allow=(), refusals=(), latency=0.0, rate=Options.rate)
    return *told, rest


def mark(sandbox: Sandbox) -> None:
    """Add an SMS whose number and text can be searched for, if there are others."""
    if truth := sandbox.sms():
        sandbox.add_sms([{**truth[len(truth) // 2], "phoneNumber": NUMBER, "smsMessage": TEXT}])


def assert_nothing_private(report: Report, sandbox: Sandbox) -> None:
    for secret in (sandbox.token, NUMBER, TEXT, NUMBER[1:]):
        for form in forms(secret):
            assert form not in report.written.encode()
    # All numbers of the sandbox begin like that, and its site id is no part of another number.
    assert "7000" not in report.written
    assert sandbox.site_id not in report.written


def test_the_suite_has_words_for_each_kind_of_error_body() -> None:
    assert set(FORMS) == set(api.ErrorBody.__subclasses__())


@pytest.mark.parametrize("reading", HARMLESS)
def test_a_reading_is_found_and_can_be_played_again(suite: Suite, reading: str) -> None:
    # What is refused under 200 is taken to cost points too, to be careful.
    report = suite.play(HARMLESS[reading], points=60)
    assert report.code == 0, report.written
    assert report.found("RED") == set()
    if reading != "no SMS":
        played = behaviour(["--like", str(report.path)])
        # Without an empty range, pages or violations there is nothing to tell of some options.
        assert played == behaviour(HARMLESS[reading].split())


def test_an_account_with_few_sms_tells_what_it_cannot_answer(suite: Suite) -> None:
    few, none = (suite.play(HARMLESS[reading]) for reading in ("few SMS", "no SMS"))
    assert few.written.count("the range has one page") == 2 * 3
    assert len(few.found("not answered")) <= 6
    assert "the range has no SMS" in none.written
    assert len(none.found("found")) >= 8


@pytest.mark.parametrize("words", HARMFUL)
def test_a_reading_that_loses_sms_is_red(suite: Suite, words: str) -> None:
    expected = HARMFUL[words]
    words += " --sms 2500 --page-size 1000"
    report = suite.play(words)
    assert report.code == 1
    red = report.found("RED")
    assert {beginning for beginning in expected for q in red if q.startswith(beginning)} == (
        expected
    )
    assert len(red) == len(expected)
    assert behaviour(["--like", str(report.path)]) == behaviour(words.split())


def test_faults_and_sms_that_arrive_make_nothing_red(suite: Suite) -> None:
    plan = [{"kind": kind, "every": n} for kind, n in (("503", 9), ("reset", 11))]
    plan.append({"kind": "429-retry-after", "every": 7, "seconds": 0})
    words = "--sms 12000 --arriving --faults " + json.dumps(plan, separators=(",", ":"))
    report = suite.play(words)
    assert report.code == 0, report.written


def test_no_more_points_are_spent_than_allowed(suite: Suite) -> None:
    with running("--rate", "0") as sandbox:
        report = suite.ask(sandbox.config(), "--pace", "0", "--points", "7")
        assert sandbox.stats()["points"] == 6
    assert report.code == 0
    assert "no points were left: 7 were allowed" in report.written


def test_the_rate_is_kept_and_asked_for_on_request(suite: Suite) -> None:
    with running("--sms", "40", "--retry-after", "2") as sandbox:
        report = suite.ask(sandbox.config(), "--rate")
        stats = sandbox.stats()
    assert report.code == 0
    assert stats["limited"] == 1
    assert "5 served, 1 get 429 (Retry-After 2)" in report.written
    assert read_arguments(["--like", str(report.path)])[1].retry_after == 2


def test_what_is_refused_or_missing_is_said_without_a_traceback(suite: Suite) -> None:
    with running("--sms", "40", "--rate", "0") as sandbox:
        config = sandbox.config(access_token="wrong")
        refused = suite.ask(config, "--pace", "0")
        del config["site_id"]
        missing = suite.ask(config)
    assert refused.code == missing.code == 1
    assert "HTTP 401, the documented body of a wrong token" in refused.written
    assert len(refused.found("RED")) == 1
    assert "lack 'site_id'" in missing.written
    assert "Traceback" not in refused.written + missing.written


def test_a_report_is_needed_to_be_like_it(tmp_path: Path) -> None:
    path = tmp_path / "other.md"
    path.write_text("# Nothing\n")
    with pytest.raises(SystemExit):
        read_arguments(["--like", str(path)])
    making, options, _ = read_arguments(["--sms", "5"])
    assert (making, options) == (Making(sms=5, also_fields=[], also_statuses=[]), options)
