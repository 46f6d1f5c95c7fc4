"""The CDK's standard tests, by `acceptance-test-config.yml`, and what its configs read."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airbyte_cdk.test.standard_tests import SourceTestSuiteBase

from integration_tests.commands import run
from sandbox.process import Sandbox, running
from source_calltouch_sms import SourceCalltouchSms
from unit_tests.account import row

HERE = Path(__file__).parent
PORT = "18077"

FAILED = {"smsStatus": "error", "smsStatusDetail": "Недоступный номер"}
ROWS = [
    row("10-02-2024 12:00:00", "70005550199", "Внимание, скидки!\nТолько сегодня"),
    row("29-02-2024 23:59:59", "70005550198", "Ваш код: 14111", **FAILED),
    row("29-02-2024 23:59:59", "70005550198", "Ваш код: 14111", **FAILED),
    row("01-02-2024 00:00:00", "70005550197", "К другому номеру"),
]


@pytest.fixture(scope="module", autouse=True)
def calltouch() -> Iterator[Sandbox]:
    """Run the sandbox that the configs name."""
    with running("--sms", "1000", "--port", PORT) as sandbox:
        sandbox.add_sms(ROWS)
        yield sandbox


class TestStandard(SourceTestSuiteBase):
    """Airbyte's own tests of a source, without those that need a Docker engine."""

    connector = SourceCalltouchSms


def content(name: str) -> Any:
    return json.loads((HERE / name).read_text(encoding="utf-8"))


def read(folder: Path, config: str, state: str | None = None) -> list[dict[str, Any]]:
    output = run(folder, "read", content(config), content(state) if state else None)
    assert output.code == 0
    return output.records


def expected() -> list[dict[str, Any]]:
    lines = (HERE / "expected_records.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["data"] for line in lines]


def by_key(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(records, key=lambda record: str(record["smsKey"]))


def test_the_bounded_config_reads_the_expected_records(tmp_path: Path) -> None:
    assert by_key(read(tmp_path, "bounded_config.json")) == by_key(expected())


def test_the_sample_state_is_gone_on_from(tmp_path: Path) -> None:
    records = read(tmp_path, "bounded_config.json", "sample_state.json")
    assert by_key(records) == by_key(expected()), "the cursor's own second is read again"
    assert read(tmp_path, "bounded_config.json", "abnormal_state.json") == []
