"""A Calltouch that gives cause for doubt, and a sync that is killed: the next makes it whole."""

from pathlib import Path

import pytest

from integration_tests.commands import Plan, assert_account, identities, killed, run
from sandbox.process import running

# Options of the sandbox, a plan of faults, and after how many records the first sync is killed.
CASES: dict[str, tuple[str, Plan, int]] = {
    "mailings": ("--order ties --mailings 150 --page-size 500", [], 501),
    "one second": ("--order ties --mailings 2001 --page-size 1500", [], 1_700),
    "the last page goes": ("--page-size 1000", [{"kind": "gone-rows", "at": 3}], 1_001),
    "one arrives in each range": ("--arriving", [{"kind": "late-rows", "every": 1, "rows": 1}], 1),
    "an empty first page": ("", [{"kind": "short-page", "rows": 10_000, "at": 1}], 2_000),
    "smaller pages": ("--page-size 1000", [{"kind": "page-size", "rows": 300, "from": 2}], 1_200),
    "larger pages": ("--page-size 300", [{"kind": "page-size", "rows": 1000, "from": 2}], 500),
    "a total as text": ("--total-as-text --page-size 1000", [], 1_999),
    "no long ranges": ("--longest-days 40 --days 100", [], 300),
}


@pytest.mark.parametrize("case", CASES)
def test_a_sync_that_was_killed_is_made_whole_by_the_next(tmp_path: Path, case: str) -> None:
    options, plan, kill_after = CASES[case]
    with running("--sms", "2001", *options.split()) as sandbox:
        before = identities(sandbox.sms())
        sandbox.set_faults(plan)
        records, states = killed(tmp_path, sandbox.config(), kill_after)
        sandbox.set_faults(plan)
        output = run(tmp_path, "read", sandbox.config(), states[-1:])
        assert output.code == 0, output.logs
        assert len({record["smsKey"] for record in output.records}) == len(output.records)
        assert_account(before, sandbox.sms(), [*records, *output.records])
