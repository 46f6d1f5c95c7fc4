"""Accounts and services of every manner: each SMS once, at a low price, after a killed sync too."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from integration_tests.commands import Plan, assert_account, killed, run
from sandbox.process import running
from unit_tests.account import identities

SIZED: Plan = [{"kind": "page-size", "rows": 1000, "from": 2}]
# Options of the sandbox, a plan of faults, after how many records a first sync is killed (0: there
# is none), and how many requests the next may make.
CASES: dict[str, tuple[str, Plan, int, int]] = {
    # A full page may be where counting stops, so parts of its range are asked for.
    "a full page": ("--sms 10000", [], 0, 4),
    "a count that stops at one": ("--sms 12000 --cap 10000", [], 0, 10),
    "one second": ("--sms 11000 --shape burst --order ties", [], 0, 30),
    "mailings": ("--sms 60000 --mailings --order ties", [], 0, 20),
    "small mailings": ("--mailings 150 --order ties --page-size 500", [], 501, 20),
    "small second": ("--mailings 2001 --order ties --page-size 1500", [], 1_700, 30),
    "windows": ("--sms 4000 --page-size 200 --order ascending", [], 2_500, 20),
    "some disappear": ("--page-size 1000", [{"kind": "gone-rows", "at": 3}], 1_001, 20),
    "one arrives in each range": (
        "--arriving",
        [{"kind": "late-rows", "every": 1, "rows": 1}],
        1,
        20,
    ),
    "an empty first page": ("", [{"kind": "short-page", "rows": 10_000, "at": 1}], 0, 20),
    "larger pages": ("--page-size 300 --total-as-text", SIZED, 500, 20),
    "no long ranges": ("--longest-days 40 --days 100 --gzip", [], 300, 25),
    "31 days, month first": ("--max-days 31 --days 100 --date-format mm/dd/yyyy", [], 0, 20),
    "90 days, with an offset": ("--max-days 90 --date-format iso-offset", [], 0, 20),
    "no SMS, as a list": ("--shape empty --empty-as-list", [], 0, 1),
}


def read_whole(folder: Path, case: str) -> None:
    """Read an account in all its syncs."""
    options, plan, kill_after, most = CASES[case]
    with running("--sms", "2001", "--rate", "0", *options.split()) as sandbox:
        before = identities(sandbox.sms())
        sandbox.set_faults(plan)
        records, states = killed(folder, sandbox.config(), kill_after) if kill_after else ([], [])
        sandbox.set_faults(plan)
        sandbox.reset_stats()
        output = run(folder, "read", sandbox.config(), states[-1:])
        assert output.code == 0, output.logs
        assert len({record["smsKey"] for record in output.records}) == len(output.records)
        assert_account(before, sandbox.sms(), [*records, *output.records])
        assert len(sandbox.stats()["bodies"]) <= most


@pytest.fixture(scope="module")
def reads(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[None]]]:
    """Read these accounts, some at a time, as they mostly wait."""
    with ThreadPoolExecutor(3) as threads:
        yield {
            case: threads.submit(read_whole, tmp_path_factory.mktemp("account"), case)
            for case in CASES
        }
        threads.shutdown(cancel_futures=True)


@pytest.mark.parametrize("case", CASES)
def test_an_account_is_read_whole_within_so_many_requests(
    reads: dict[str, Future[None]], case: str
) -> None:
    reads[case].result()
