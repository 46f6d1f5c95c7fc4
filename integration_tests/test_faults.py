"""Faults of Calltouch that pass: survived without loss."""

from pathlib import Path
from typing import Any

import pytest

from integration_tests.commands import assert_account, assert_whole, identities, run
from sandbox.process import Sandbox, running

SURVIVED: list[dict[str, Any]] = [
    {"kind": "429"},
    {"kind": "429-retry-after", "seconds": 1},
    {"kind": "429-retry-after", "seconds": 1, "date": True},
    {"kind": "408"},
    {"kind": "500"},
    {"kind": "503"},
    {"kind": "reset"},
    {"kind": "cut"},
    {"kind": "half-json"},
    {"kind": "html"},
    {"kind": "empty"},
    {"kind": "api-error"},
    {"kind": "short-page"},
    {"kind": "late-rows"},
    {"kind": "slow", "seconds": 1},
]


@pytest.mark.parametrize("fault", SURVIVED, ids=lambda f: f["kind"] + ("-date" * ("date" in f)))
def test_a_fault_on_the_first_page_and_on_a_later_one_loses_nothing(
    sandbox: Sandbox, tmp_path: Path, fault: dict[str, Any]
) -> None:
    sandbox.set_faults([{**fault, "at": call} for call in (1, 3)])
    output = run(tmp_path, "read", sandbox.config(), None, "full_refresh")
    assert_whole(output, sandbox.sms())
    assert sandbox.stats()["faulted"] == 2
    assert "Rate limit exceeded" not in output.logs, "the CDK says so at any retry"


def test_all_faults_mixed_lose_nothing(tmp_path: Path) -> None:
    plan = [{**fault, "at": 2 * n + 1} for n, fault in enumerate(SURVIVED)]
    with running("--sms", "9900", "--page-size", "600", "--rate", "0") as sandbox:
        before = identities(sandbox.sms())
        sandbox.set_faults(plan)
        output = run(tmp_path, "read", sandbox.config())
        assert output.code == 0, output.logs
        # One that appears in what was already read comes with a later sync.
        assert_account(before, sandbox.sms(), output.records)
        assert len({record["smsKey"] for record in output.records}) == len(output.records)
        assert sandbox.stats()["faulted"] == len(plan)


def test_six_429_in_a_row_are_survived(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.set_faults([{"kind": "429", "from": 2, "times": 6}])
    output = run(tmp_path, "read", sandbox.config())
    assert_whole(output, sandbox.sms())
    assert "6 of them answered 429" in output.logs
