"""Faults of Calltouch that stay, and commands that are ended: explained, and gone on from."""

import json
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import requests

from integration_tests.commands import (
    Output,
    assert_account,
    identities,
    killed,
    lines,
    run,
    start,
)
from integration_tests.test_faults import SURVIVED
from sandbox.process import Sandbox, running

ENDS = {
    "token-revoked": ("config_error", "Calltouch does not accept the API token"),
    "syntax-error": ("system_error", "Calltouch could not use the connector's request"),
    "unknown-json": ("system_error", "{result: str, items: ["),
    "redirect": (
        "config_error",
        "redirects (HTTP 302) to another address: «https://elsewhere.example/»; not followed",
    ),
}


@pytest.mark.parametrize("kind", ENDS)
def test_a_fault_that_stays_is_explained_and_the_next_sync_goes_on(
    sandbox: Sandbox, tmp_path: Path, kind: str
) -> None:
    location = {"location": "https://elsewhere.example/"} if kind == "redirect" else {}
    sandbox.set_faults([{"kind": kind, "from": 3, **location}])
    failed = run(tmp_path, "read", sandbox.config())
    failure_type, sentence = ENDS[kind]
    (error,) = failed.errors
    assert failed.code == 1
    assert error["failure_type"] == failure_type
    assert sentence in error["message"]
    assert failed.statuses[-1] == "INCOMPLETE"
    sandbox.set_faults([])
    output = run(tmp_path, "read", sandbox.config(), failed.states[-1:])
    account = sandbox.sms()
    assert_account(identities(account), account, [*failed.records, *output.records])


def test_points_that_ran_out_are_told_in_calltouchs_words(tmp_path: Path) -> None:
    with running("--sms", "100", "--points", "2") as sandbox:
        requests.post(
            sandbox.url,
            json={"dateFrom": "01-01-2024 00:00:00", "dateTo": "01-01-2024 00:00:00"},
            headers={"Access-Token": sandbox.token, "SiteId": sandbox.site_id},
            timeout=10,
        )
        error, *_ = run(tmp_path, "check", sandbox.config()).errors
    assert error["failure_type"] == "transient_error"
    assert "answer: «Превышен суточный лимит API-баллов»" in error["message"]
    assert "daily API points are used up" in error["message"]


@pytest.mark.parametrize("stop", ["config", "SIGHUP", "SIGINT", "SIGTERM"])
@pytest.mark.usefixtures("heeded_signals")
def test_a_server_that_says_nothing_holds_no_command_that_is_to_end(
    sandbox: Sandbox, tmp_path: Path, stop: str
) -> None:
    # The second page is silent; the third ends the sync, or a person does.
    plan = [{"kind": "silent", "at": 3}]
    if stop == "config":
        plan.append({"kind": "token-revoked", "at": 2})
    sandbox.set_faults(plan)
    with start(tmp_path, "read", sandbox.config()) as process:
        if stop != "config":
            while len(sandbox.stats()["bodies"]) < 3:
                time.sleep(0.1)
            process.send_signal(getattr(signal, stop))
        _, err = process.communicate(timeout=60)
    assert process.returncode == (1 if stop == "config" else -getattr(signal, stop))
    assert err == b""


@pytest.mark.parametrize("stop", [signal.SIGHUP, signal.SIGINT])
def test_a_signal_that_was_ignored_before_stays_so(
    sandbox: Sandbox, tmp_path: Path, stop: signal.Signals
) -> None:
    before = signal.signal(stop, signal.SIG_IGN)
    try:
        with start(tmp_path, "read", sandbox.config()) as process:
            next(lines(process))
            process.send_signal(stop)
            process.communicate(timeout=60)
    finally:
        signal.signal(stop, before)
    assert process.returncode == 0


def test_killed_at_any_record_the_next_sync_goes_on_from_the_last_state(tmp_path: Path) -> None:
    chance = random.Random(4)
    options = ("--sms", "150000", "--rate", "0", "--shape", "late", "--order", "ascending")
    with running(*options) as sandbox:
        table: dict[str, dict[str, Any]] = {}
        state: list[dict[str, Any]] = []
        kept = []
        for stop in (1, chance.randrange(5_000, 20_000), chance.randrange(60_000, 120_000)):
            records, states = killed(tmp_path, sandbox.config(), stop, state or None)
            table.update((record["smsKey"], record) for record in records)
            state = states[-1:] or state
            kept.append(json.dumps(state))
        output = run(tmp_path, "read", sandbox.config(), state or None)
        table.update((record["smsKey"], record) for record in output.records)
        assert identities(table.values()) == identities(sandbox.sms())
    assert len(set(kept)) > 1, "a state was there to go on from"
    assert len(output.records) < 150_000


@pytest.mark.parametrize("seed", range(3))
def test_random_faults_end_in_the_account_or_go_on_to_it(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    kinds = [*SURVIVED, {"kind": "token-revoked"}, {"kind": "unknown-json"}]
    with running("--sms", "20000", "--page-size", "1000", "--rate", "0") as sandbox:
        before = identities(sandbox.sms())
        outputs: list[Output] = []
        for _ in range(6):
            calls = chance.sample(range(1, 30), 6)
            sandbox.set_faults([{**chance.choice(kinds), "at": call} for call in calls])
            state = outputs[-1].states[-1:] if outputs else []
            outputs.append(run(tmp_path, "read", sandbox.config(), state or None))
            if outputs[-1].code == 0:
                break
            assert outputs[-1].errors[0]["failure_type"] in ("config_error", "system_error")
            sandbox.set_faults([])
        else:
            outputs.append(run(tmp_path, "read", sandbox.config(), outputs[-1].states[-1:] or None))
        records = [record for output in outputs for record in output.records]
        assert_account(before, sandbox.sms(), records)
