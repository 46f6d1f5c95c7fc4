"""`spec`, `check`, `discover` and `read`, as processes against the sandbox."""

import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import jsonschema
import pendulum
import pytest

from integration_tests import commands
from integration_tests.commands import assert_whole, run, start
from sandbox.process import Sandbox, running
from source_calltouch_sms import api


@pytest.fixture(scope="module")
def calltouch() -> Iterator[Sandbox]:
    """Run a sandbox with the page's own number of SMS."""
    with running("--sms", "25352", "--raw-breaks") as sandbox:
        yield sandbox


def test_spec_is_one_message_and_needs_nothing(tmp_path: Path) -> None:
    output = run(tmp_path, "spec")
    (spec,) = [m["spec"] for m in output.messages if m["type"] == "SPEC"]
    assert spec["connectionSpecification"]["additionalProperties"] is True
    assert output.code == 0


def test_check_succeeds_with_one_call(sandbox: Sandbox, tmp_path: Path) -> None:
    output = run(tmp_path, "check", sandbox.config())
    assert output.status == ("SUCCEEDED", None)
    assert (sandbox.stats()["served"], sandbox.stats()["points"]) == (1, 2)


def test_a_missing_right_and_a_wrong_address_are_explained(tmp_path: Path) -> None:
    with running("--sms", "10", "--no-right") as sandbox:
        status, message = run(tmp_path, "check", sandbox.config()).status
        assert status == "FAILED"
        assert "рассылками по базе клиентов» with read access" in str(message)
        elsewhere = sandbox.config(api_url=sandbox.url + "s")
        status, message = run(tmp_path, "check", elsewhere).status
        assert status == "FAILED"
        assert api.URL in str(message)


def test_discover_names_the_stream_without_a_call(sandbox: Sandbox, tmp_path: Path) -> None:
    output = run(tmp_path, "discover", sandbox.config())
    (found,) = [m["catalog"] for m in output.messages if m["type"] == "CATALOG"]
    assert [stream["name"] for stream in found["streams"]] == ["sms_messages"]
    assert sandbox.stats()["served"] == 0


def test_a_full_refresh_brings_each_sms_once_and_says_so(sandbox: Sandbox, tmp_path: Path) -> None:
    output = run(tmp_path, "read", sandbox.config(), None, "full_refresh")
    assert_whole(output, sandbox.sms())
    assert output.statuses == ["STARTED", "RUNNING", "COMPLETE"]
    stats = sandbox.stats()
    # Two more than pages: identical SMS on two pages are asked for, then the total once more.
    assert (stats["served"], stats["points"], stats["limited"]) == (5, 10, 0)
    pages = [body.get("pageOfResult") for body in stats["bodies"] if "phoneNumbers" not in body]
    assert pages[0] is None
    assert sorted(pages[1:]) == [2, 3, 3]
    assert ": 25352 SMS emitted" in output.logs
    assert "25352 SMS in 1 windows; 5 API requests, 0 of them answered 429, 10 API" in output.logs


@pytest.mark.parametrize(
    ("shape", "pages"),
    [
        (("--sms", "10000"), 3),  # a full page may be where counting stops, so its halves are asked
        (("--sms", "10001"), 4),
        (("--sms", "32000", "--shape", "burst"), 25),
        (("--sms", "120000", "--shape", "late", "--rate", "0"), 21),
    ],
    ids=lambda shape: "-".join(shape) if isinstance(shape, tuple) else "",
)
def test_an_account_of_any_shape_is_read_exactly_and_cheaply(
    tmp_path: Path, shape: tuple[str, ...], pages: int
) -> None:
    with running(*shape) as sandbox:
        output = run(tmp_path, "read", sandbox.config(), None, "full_refresh")
        assert_whole(output, sandbox.sms())
        assert sandbox.stats()["served"] <= pages


def test_two_syncs_behind_one_address_share_its_limit(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in "ab"]
    with running("--sms", "12500", "--page-size", "500") as crowded:
        syncs = []
        for folder in folders:
            folder.mkdir()
            syncs.append(start(folder, "read", crowded.config()))
        written = [sync.communicate(timeout=120)[0] for sync in syncs]
        assert [sync.returncode for sync in syncs] == [0, 0]
        assert [out.count(b'{"type":"RECORD"') for out in written] == [12_500, 12_500]
        assert (
            crowded.stats()["served"] <= 120
        )  # 25 pages each; of so small ones twins cost as many


def test_records_fit_the_schema_of_discover(sandbox: Sandbox, tmp_path: Path) -> None:
    output = run(tmp_path, "discover", sandbox.config())
    (found,) = [m["catalog"] for m in output.messages if m["type"] == "CATALOG"]
    recent = {"start_date": pendulum.today("Europe/Moscow").to_date_string()}
    records = run(tmp_path, "read", sandbox.config(**recent)).records
    validator = jsonschema.Draft7Validator(found["streams"][0]["json_schema"])
    assert records
    for record in records:
        validator.validate(record)


def test_a_second_sync_brings_what_settled_and_nothing_older(tmp_path: Path) -> None:
    with running("--sms", "25352") as sandbox:
        first = run(tmp_path, "read", sandbox.config())
        sandbox.forward_clock(4 * 86_400)
        sandbox.reset_stats()
        second = run(tmp_path, "read", sandbox.config(), first.states[-1:])
        (body,) = sandbox.stats()["bodies"]
        truth = sandbox.sms()
    cursor = datetime.fromisoformat(str(first.cursors[-1])).replace(tzinfo=None)
    assert body["dateFrom"] == api.wire_time(cursor - timedelta(days=3))
    assert 0 < len(second.records) < 1_000
    table = {r["smsKey"]: r for r in first.records} | {r["smsKey"]: r for r in second.records}
    settled = {r["smsKey"] for r in first.records} & {r["smsKey"] for r in second.records}
    assert any(
        record["smsStatus"] != table[record["smsKey"]]["smsStatus"]
        for record in first.records
        if record["smsKey"] in settled
    )
    assert sorted(r["smsStatus"] for r in table.values()) == sorted(r["smsStatus"] for r in truth)


def test_numbers_are_filtered_by_calltouch(sandbox: Sandbox, tmp_path: Path) -> None:
    number = sandbox.sms()[0]["phoneNumber"]
    mask = f"+7 ({number[1:4]}) {number[4:7]}-{number[7:9]}-{number[9:]}"
    output = run(tmp_path, "read", sandbox.config(phone_numbers=[mask]))
    assert output.records
    assert {record["phoneNumber"] for record in output.records} == {number}
    assert all(body["phoneNumbers"] == [mask] for body in sandbox.stats()["bodies"])


@pytest.mark.parametrize(
    "locale",
    [
        {"PYTHONIOENCODING": "cp1251"},
        {"PYTHONIOENCODING": "utf-16"},
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    ],
    ids=str,
)
def test_messages_are_utf_8_whatever_the_locale(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, locale: dict[str, str]
) -> None:
    monkeypatch.delenv("PYTHONIOENCODING", raising=False)
    for name, value in locale.items():
        monkeypatch.setenv(name, value)
    recent = {"start_date": pendulum.yesterday("Europe/Moscow").to_date_string()}
    outputs = [
        run(tmp_path, "spec"),
        run(tmp_path, "check", sandbox.config(access_token="wrong")),
        run(tmp_path, "discover", sandbox.config()),
        run(tmp_path, "read", sandbox.config(**recent)),
    ]
    for output in outputs:
        assert (output.code, output.err) == (0, b"")
        assert re.search("[а-я]", output.out.decode())


WITHOUT_SIGNALS = """
import signal, sys
del signal.pthread_sigmask, signal.sigwait
sys.modules["resource"] = None
from source_calltouch_sms.run import run
run()
"""


@pytest.mark.parametrize("command", ["spec", "check", "discover", "read"])
def test_commands_work_without_posix_signals(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr(commands, "COMMAND", [sys.executable, "-c", WITHOUT_SIGNALS])
    monkeypatch.setenv("PYTHONPATH", str(commands.ROOT))
    recent = {"start_date": pendulum.yesterday("Europe/Moscow").to_date_string()}
    config = sandbox.config(**recent) if command != "spec" else None
    output = run(tmp_path, command, config)
    assert (output.code, output.err) == (0, b"")
    assert bool(output.records) == (command == "read")


def test_a_failing_stdout_is_told_on_stderr_in_one_line_that_repeats_no_message() -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*commands.COMMAND, "spec"], stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.stderr == b"Messages cannot be written to stdout: No space left on device.\n"
    assert done.returncode > 0


def test_an_empty_account_is_no_records(tmp_path: Path) -> None:
    with running("--shape", "empty", "--empty-as-list") as sandbox:
        output = run(tmp_path, "read", sandbox.config())
    assert (output.code, output.records) == (0, [])
    assert output.statuses[-1] == "COMPLETE"


def test_a_state_from_the_future_reads_nothing_and_stays(sandbox: Sandbox, tmp_path: Path) -> None:
    state = [
        {
            "type": "STREAM",
            "stream": {
                "stream_descriptor": {"name": "sms_messages"},
                "stream_state": {"dateSent": "2099-01-01T00:00:00+03:00"},
            },
        }
    ]
    output = run(tmp_path, "read", sandbox.config(), state)
    assert (output.code, output.records) == (0, [])
    assert output.cursors[-1] == "2099-01-01T00:00:00+03:00"
