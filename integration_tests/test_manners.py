"""Manners of Calltouch's other methods, and of servers in between: explained, or read whole."""

import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from integration_tests.commands import Output, Plan, assert_whole, run
from sandbox.process import Sandbox, running

Rule = dict[str, Any]
WORDS = "Нет активного виджета"
TOKEN = ["access_token", "site_id", "multi-token"]
ADDRESSES = ["api_url", "/api/sms-to-clients", "/api/calltouch-leads/sms-to-clients"]

# What refuses for good, and what the error must name.
REFUSED: list[tuple[Rule, list[str]]] = [
    ({"kind": "token-refused"}, [*TOKEN, "Invalid credentials"]),
    ({"kind": "token-refused", "status": 401}, TOKEN),
    ({"kind": "data-message", "status": 403, "words": "INVALID CREDENTIALS"}, TOKEN),
    ({"kind": "message", "status": 401, "words": WORDS}, [*TOKEN, WORDS]),
    ({"kind": "html", "status": 401}, TOKEN),
    ({"kind": "permanent"}, [WORDS]),
    ({"kind": "permanent", "status": 422}, [WORDS]),
    ({"kind": "message", "status": 404}, ["Проект не найден", "site_id"]),
    ({"kind": "error-message", "words": WORDS}, [WORDS]),
    ({"kind": "data-message", "words": WORDS}, [WORDS]),
    ({"kind": "data-error-message", "words": WORDS}, [WORDS]),
]
# What may pass: a fault, or an option and another address; the failure, and what it must name.
LASTING: list[tuple[Rule | str, str, list[str]]] = [
    ("404", "config_error", ADDRESSES),
    ("help", "config_error", ADDRESSES),
    ("redirect", "config_error", ADDRESSES),
    ({"kind": "error-message", "status": 500, "words": WORDS}, "transient_error", [WORDS]),
    ({"kind": "503-retry-after", "seconds": 3600}, "transient_error", ["503", "3600"]),
    ({"kind": "null-data"}, "transient_error", ["no data"]),
    ({"kind": "empty-data"}, "transient_error", ["no data"]),
    ({"kind": "null-total"}, "transient_error", ["no data"]),
    ({"kind": "empty"}, "transient_error", ["no data"]),
    ({"kind": "nested"}, "transient_error", ["JSON"]),
    ({"kind": "huge-integer"}, "transient_error", ["JSON"]),
]
PASSING: list[Rule] = [
    *({"kind": kind} for kind in ("404", "html", "redirect", "null-data", "empty-data", "empty")),
    {"kind": "null-total"},
    {"kind": "charset", "declared": "utf-8"},
]
# Options under which the whole account must arrive, and how many requests it may take.
READ = {
    "90 days": ("--sms 3000 --max-days 90", 40),
    "31 days": ("--sms 3000 --max-days 31", 60),
    "slashes": ("--sms 3000 --date-format dd/mm/yyyy", 20),
    "month first": ("--sms 3000 --date-format mm/dd/yyyy", 20),
    "ISO": ("--sms 3000 --date-format iso", 20),
    "ISO with an offset": ("--sms 3000 --date-format iso-offset", 20),
}


def failure(output: Output) -> tuple[str, str]:
    """Return how a check failed, and its sentence."""
    if output.of("CONNECTION_STATUS"):
        return "config_error", str(output.status[1])
    return output.errors[0]["failure_type"], output.errors[0]["message"]


@pytest.mark.parametrize(("rule", "named"), REFUSED, ids=str)
def test_a_refusal_for_good_is_explained_at_once(
    sandbox: Sandbox, tmp_path: Path, rule: Rule, named: list[str]
) -> None:
    sandbox.set_faults([{**rule, "from": 1}])
    failure_type, message = failure(run(tmp_path, "check", sandbox.config()))
    assert failure_type == "config_error"
    assert all(name in message for name in named), message
    assert len(sandbox.stats()["bodies"]) == 1


def test_what_does_not_pass_is_explained_in_the_end(tmp_path: Path) -> None:
    def check(case: tuple[int, Rule | str]) -> Output:
        number, what = case
        folder = tmp_path / str(number)
        folder.mkdir()
        elsewhere = what if isinstance(what, str) else "404"
        with running("--sms", "10", "--rate", "0", "--elsewhere", elsewhere) as sandbox:
            if isinstance(what, str):
                url = sandbox.url.replace("/result", "/results")
                return run(folder, "check", sandbox.config(api_url=url))
            sandbox.set_faults([{**what, "from": 1}])
            return run(folder, "check", sandbox.config())

    with ThreadPoolExecutor(len(LASTING)) as threads:
        outputs = list(threads.map(check, enumerate(case[0] for case in LASTING)))
    for output, (what, failure_type, named) in zip(outputs, LASTING, strict=True):
        found, message = failure(output)
        assert found == failure_type, what
        assert all(name in message for name in named), message
        assert "report" not in message.lower(), message
        assert "Rate limit exceeded" not in output.logs, what


def test_what_passes_in_mid_sync_is_survived(tmp_path: Path) -> None:
    plan: Plan = [{**rule, "at": 2 * at} for at, rule in enumerate(PASSING, 1)]
    with running("--sms", "1250", "--page-size", "100", "--rate", "0") as sandbox:
        sandbox.set_faults(plan)
        output = run(tmp_path, "read", sandbox.config())
        assert_whole(output, sandbox.sms())
        assert sandbox.stats()["faulted"] == len(plan)
    assert "Rate limit exceeded" not in output.logs


@pytest.mark.parametrize("kind", ["permanent", "token-refused", "message"])
def test_a_refusal_in_mid_sync_ends_it_and_splits_nothing(
    sandbox: Sandbox, tmp_path: Path, kind: str
) -> None:
    sandbox.set_faults([{"kind": kind, "from": 3}])
    output = run(tmp_path, "read", sandbox.config())
    assert output.errors[0]["failure_type"] == "config_error"
    assert len(sandbox.stats()["bodies"]) <= 10


@pytest.mark.parametrize("case", READ)
def test_an_account_is_read_whole(tmp_path: Path, case: str) -> None:
    options, most = READ[case]
    with running(*options.split(), "--rate", "0") as sandbox:
        output = run(tmp_path, "read", sandbox.config())
        assert_whole(output, sandbox.sms())
        assert len(sandbox.stats()["bodies"]) <= most


@pytest.mark.parametrize("kind", ["rows-as-object", "charset", "cookie"])
def test_pages_of_another_form_are_read_whole(sandbox: Sandbox, tmp_path: Path, kind: str) -> None:
    sandbox.set_faults([{"kind": kind, "from": 1}])
    assert_whole(run(tmp_path, "read", sandbox.config()), sandbox.sms())


def test_days_that_are_no_longer_kept_are_said_to_be_so(tmp_path: Path) -> None:
    with running("--sms", "3000", "--rate", "0", "--kept-days", "90") as sandbox:
        error = run(tmp_path, "read", sandbox.config()).errors[0]
        requests = len(sandbox.stats()["bodies"])
    assert error["failure_type"] == "config_error"
    assert "Данные хранятся 90 дней" in error["message"]
    assert "start_date" in error["message"]
    assert "timezone" not in error["message"]
    assert requests <= 40


def test_dates_in_no_certain_form_are_an_error_that_shows_it(tmp_path: Path) -> None:
    sms = dict.fromkeys(("phoneNumber", "smsStatus", "smsStatusDetail", "smsMessage"), "x")
    with running("--shape", "empty", "--rate", "0", "--days", "3") as sandbox:
        sandbox.add_sms([{**sms, "dateSent": "Нояб. 29, 15:05"}] * 3)
        output = run(tmp_path, "read", sandbox.config())
    assert output.code == 1
    assert "99, 99:99»" in output.errors[0]["message"]
    assert not output.records


def test_a_count_that_stops_at_a_full_page_hides_nothing(tmp_path: Path) -> None:
    with running("--sms", "25000", "--cap", "10000", "--rate", "0") as sandbox:
        output = run(tmp_path, "read", sandbox.config())
        assert_whole(output, sandbox.sms())
        assert len(sandbox.stats()["bodies"]) <= 20


@pytest.mark.parametrize("kind", ["silent", "drip"])
def test_check_on_a_server_that_does_not_come_to_its_point_ends_within_half_a_minute(
    sandbox: Sandbox, tmp_path: Path, kind: str
) -> None:
    sandbox.set_faults([{"kind": kind, "from": 1}])
    began = time.monotonic()
    failure_type, message = failure(run(tmp_path, "check", sandbox.config()))
    assert failure_type == "transient_error"
    assert "did not answer it in full in time" in message
    assert time.monotonic() - began < 35  # with what it takes to start


def test_an_answer_that_is_no_http_is_explained_as_one_that_may_pass(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    sandbox.set_faults([{"kind": "negative-chunk", "from": 1}])
    failure_type, message = failure(run(tmp_path, "check", sandbox.config()))
    assert failure_type == "transient_error"
    assert "report" not in message.lower(), message


@pytest.mark.parametrize("kind", ["bomb", "endless"])
def test_an_answer_without_bounds_is_given_up(sandbox: Sandbox, tmp_path: Path, kind: str) -> None:
    sandbox.set_faults([{"kind": kind, "from": 1}])
    failure_type, message = failure(run(tmp_path, "check", sandbox.config()))
    assert failure_type == "transient_error"
    assert "is larger than" in message


def test_a_total_beyond_reason_ends_in_numbers(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.set_faults([{"kind": "wrong-total", "rows": 10**12, "from": 1}])
    output = run(tmp_path, "read", sandbox.config())
    assert output.code == 1
    assert "1000000001250" in re.sub(r"\D", "", output.errors[0]["message"])
    assert len(sandbox.stats()["bodies"]) <= 100
