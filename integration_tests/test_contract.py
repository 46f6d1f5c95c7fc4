"""The contract suite, against the sandbox in its two extreme readings: it finds what was set."""

import json
import re
from dataclasses import asdict
from pathlib import Path

import pytest

from integration_tests.contract.__main__ import main
from integration_tests.platform_rules import forms
from sandbox.options import read_arguments
from sandbox.process import running

SECRET = {"phoneNumber": "70005550199", "smsMessage": "Тайна \U0001f600 вклада"}
# Other than the documentation says in all that the connector can handle.
HARMLESS = (
    "--sms 3000 --page-size 1000 --order ties --mailings 400 --gzip --unescaped-unicode"
    " --raw-breaks --date-format dd.mm.yyyy --total-as-text --url both --empty-as-list"
    " --also-field operator --also-status queued:Новый --elsewhere help --max-days 90 --days 90"
    " --refusal token=403:credentials --refusal site=403:right --refusal field=200:message"
    " --refusal value=200:violations --refusal json=500:html --refuse dots --beyond-last empty"
    " --allow reversed --allow page-0 --allow page-1 --allow page-text --allow year-first"
)
# What loses SMS, and the questions that are red there.
HARMFUL = (
    "--sms 3000 --page-size 1000 --ends to-excluded --ignore-page --allow future"
    " --url under-access --elsewhere redirect"
)
RED = ["Are both ends", "Do the parts", "Does page 2"]
CAPPED = "--sms 3000 --cap 1000 --refuse masks --date-format mm/dd/yyyy --beyond-last repeated"
UNTOLD = {"latency", "rate", "refusals"}


def behaviour(*words: str) -> tuple[dict[str, object], set[tuple[str, int, str]]]:
    """Return what a command line makes of the answers, as far as the suite can tell."""
    options = asdict(read_arguments(list(words))[1])
    options["allow"] = sorted(options["allow"])
    return {name: options[name] for name in options.keys() - UNTOLD}, set(options["refusals"])


@pytest.mark.parametrize(
    ("reading", "red"), [(HARMLESS, []), (HARMFUL, RED), (CAPPED, ["Are SMS found"])]
)
def test_the_suite_finds_how_a_service_reads_the_documentation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], reading: str, red: list[str]
) -> None:
    words = reading.split()
    report, config = tmp_path / "report.md", tmp_path / "config.json"
    with running(*words, "--rate", "0") as sandbox:
        truth = sandbox.sms()
        sandbox.add_sms([truth[len(truth) // 2] | SECRET])
        config.write_text(json.dumps(sandbox.config()))
        options = ["--config", str(config), "--pace", "0", "--markdown", str(report)]
        code = main([*options, "--points", "80"])
        spent = sandbox.stats()["points"]
        secrets = (sandbox.token, sandbox.site_id, *SECRET.values(), SECRET["phoneNumber"][1:])
    written = capsys.readouterr().out + report.read_text()
    assert code == bool(red)
    assert re.findall(r"^\| RED \| (\w+ \w+ \w+)", written, re.MULTILINE) == red
    (found, refusals), (played, asked) = behaviour("--like", str(report)), behaviour(*words)
    assert found == played
    assert refusals >= asked
    assert spent <= int(re.findall(r"at most (\d+) API points", written)[0]) <= 80
    assert not [form for secret in secrets for form in forms(secret) if form in written.encode()]


def test_an_address_that_the_connector_refuses_is_never_asked(tmp_path: Path) -> None:
    with running("--sms", "0") as sandbox:
        address = sandbox.url.replace("127.0.0.1", "localhost.")
        (tmp_path / "config.json").write_text(json.dumps(sandbox.config(api_url=address)))
        with pytest.raises(SystemExit, match="api_url"):
            main(["--config", str(tmp_path / "config.json")])
        assert sandbox.stats()["calls"] == []
