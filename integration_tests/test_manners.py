"""Manners of Calltouch and of what lies before it: explained by a failure, or survived.

The log is at debug level, as the platform may set it: `run` finds what is private there.
"""

import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from integration_tests.commands import COMMAND, Plan, assert_account, run, start
from integration_tests.platform_rules import Output, forms, judged
from sandbox.process import Sandbox, running
from unit_tests.account import identities

CONFIG, TRANSIENT, SYSTEM = "config_error", "transient_error", "system_error"
WORDS = "Нет активного виджета"
MASK = "+7 (000) 555-01-99"
TOKEN = ("access_token", "site_id", "multi-token")
ADDRESSES = ("api_url", "/api/sms-to-clients", "/api/calltouch-leads/sms-to-clients")
IN_TIME = ("did not answer it in full in time",)
IN_TEN_SECONDS = 10  # requests at most, which are those of a check


@dataclass
class Failing:
    """A command that fails: with what, and after how many requests at most."""

    command: str
    failure_type: str
    words: tuple[str, ...]
    most: int
    rule: dict[str, Any] = field(default_factory=dict)
    """A fault on every request, or on those that it names."""
    options: str = ""
    """The sandbox's."""
    settings: dict[str, Any] = field(default_factory=dict)


check, read = partial(Failing, "check"), partial(Failing, "read")
FAILURES = {
    # What the user can fix is said at once.
    "no number": check(
        CONFIG,
        ("Phone numbers (phone_numbers): entry 1 does",),
        0,
        settings={"phone_numbers": ["5550001"]},
    ),
    "a wrong token": check(CONFIG, TOKEN, 1, settings={"access_token": "wrong-token"}),
    "no right": check(CONFIG, ("клиентов» with read access",), 1, options="--no-right"),
    "a refusal": check(CONFIG, (WORDS, "API points"), 1, {"kind": "permanent", "words": WORDS}),
    # What may pass is tried for ten seconds, but for what lasts longer anyway.
    "another address": check(CONFIG, ADDRESSES, IN_TEN_SECONDS, settings={"api_url": "…s"}),
    "no points": check(
        TRANSIENT,
        ("«Превышен суточный лимит API-баллов»", "daily API points are used up"),
        IN_TEN_SECONDS,
        options="--points 1",
    ),
    "nothing there": check(
        TRANSIENT, ("127.0.0.1",), 0, settings={"api_url": "http://127.0.0.1:9/x"}
    ),
    "a long wait": check(
        TRANSIENT, ("503", "3600"), 1, {"kind": "503-retry-after", "seconds": 3600}
    ),
    "silence": check(TRANSIENT, IN_TIME, 1, {"kind": "silent"}),
    "dripping": check(TRANSIENT, IN_TIME, 1, {"kind": "drip"}),
    "another form": check(SYSTEM, ("{result: str, items: [",), 1, {"kind": "unknown-json"}),
    # In mid-sync.
    "a token revoked": read(CONFIG, TOKEN, 3, {"kind": "token-revoked", "from": 2}),
    "a long 429": read(
        TRANSIENT,
        ("daily API points are used up",),
        3,
        {"kind": "429-retry-after", "seconds": 3600, "from": 2},
    ),
    "a page that stays short": read(
        TRANSIENT, ("Calltouch reported",), 100, {"kind": "short-page"}, "--sms 100"
    ),
    "days no longer kept": read(
        CONFIG, ("Данные хранятся 90 дней", "start_date"), 40, options="--kept-days 90"
    ),
    "a clock ahead": read(
        CONFIG,
        ("Time zone (timezone)", "this machine's clock is ahead"),
        1,
        options="--zone Etc/GMT+12",
        settings={"timezone": "Pacific/Kiritimati"},
    ),
}


Outcome = tuple[Output, int]


def failed(folder: Path, case: Failing) -> Outcome:
    """Return what a command says under a manner of the service, and how many requests it makes."""
    options = ("--sms", "1250", "--page-size", "500", "--rate", "0", *case.options.split())
    with running(*options) as sandbox:
        config = sandbox.config(phone_numbers=[MASK] if case.command == "check" else [])
        config |= case.settings
        config["api_url"] = config["api_url"].replace("…", sandbox.url)
        if case.rule:
            sandbox.set_faults([case.rule if "from" in case.rule else {**case.rule, "from": 1}])
        output = run(folder, case.command, config, LOG_LEVEL="debug")
        requests = len(sandbox.stats()["bodies"])
        private = {sms[name] for sms in sandbox.sms() for name in ("phoneNumber", "smsMessage")}
    assert not [each for each in private for form in forms(each) if form in output.unasked]
    return output, requests


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Outcome]]]:
    """Fail in each of these ways, some at a time, as they mostly wait."""
    with ThreadPoolExecutor(6) as threads:
        yield {
            name: threads.submit(failed, tmp_path_factory.mktemp("failing"), case)
            for name, case in FAILURES.items()
        }
        threads.shutdown(cancel_futures=True)


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_is_explained(outcomes: dict[str, Future[Outcome]], name: str) -> None:
    case, (output, requests) = FAILURES[name], outcomes[name].result()
    failure_type, message = output.failure
    assert failure_type == case.failure_type
    assert all(words in message for words in case.words), message
    assert requests <= case.most
    assert output.code == (case.command == "read" or failure_type != CONFIG)
    assert output.statuses[-1:] in ([], ["INCOMPLETE"])
    assert "Debug logs enabled" in output.logs
    assert output.code or b"Traceback" not in output.out
    assert output.err == b""
    assert "Rate limit exceeded" not in output.logs, "the CDK says so at any retry"
    if case.command == "check" and failure_type != SYSTEM:
        assert "report" not in message.lower()


PASSING = """429 408 500 503 reset cut half-json damaged html empty api-error 404 redirect firewall
null-data empty-data null-total short-page late-rows other-words page-under-status rows-as-object
charset cookie"""
SURVIVED: Plan = [
    *({"kind": kind} for kind in PASSING.split()),
    {"kind": "429-retry-after", "seconds": 1},
    {"kind": "429-retry-after", "seconds": 1, "date": True},
    {"kind": "slow", "seconds": 1},
    {"kind": "charset", "declared": "utf-8"},
]


@pytest.mark.parametrize("first", range(3))
def test_what_passes_in_mid_sync_loses_nothing(tmp_path: Path, first: int) -> None:
    plan = [{**fault, "at": 2 * n + 1} for n, fault in enumerate(SURVIVED[first::3])]
    with running("--sms", "1250", "--page-size", "100", "--rate", "0", "--raw-breaks") as sandbox:
        before = identities(sandbox.sms())
        sandbox.set_faults(plan)
        output = run(tmp_path, "read", sandbox.config(), LOG_LEVEL="debug")
        assert output.code == 0, output.logs
        # One that appears in what was already read comes with a later sync.
        assert_account(before, sandbox.sms(), output.records)
        assert sandbox.stats()["faulted"] == len(plan)
    assert len({record["smsKey"] for record in output.records}) == len(output.records)
    assert "Debug logs enabled" in output.logs
    assert "Rate limit exceeded" not in output.logs, "the CDK says so at any retry"


# A process begins with the peak memory of the one that starts it: here, of a small one.
MEASURE = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
sys.exit(code)
"""
MEASURED = [sys.executable, "-c", MEASURE, *COMMAND]


@pytest.mark.parametrize("kind", ["bomb", "endless"])
def test_an_answer_without_bounds_is_given_up(sandbox: Sandbox, tmp_path: Path, kind: str) -> None:
    sandbox.set_faults([{"kind": kind, "from": 1}])
    with start(tmp_path, "check", sandbox.config(), program=MEASURED) as process:
        out, kilobytes = process.communicate()
    failure_type, message = judged("check", out, b"", process.returncode).failure
    assert failure_type == "transient_error"
    assert "is larger than" in message
    assert int(kilobytes) < 500_000
