"""The contract suite, against the sandbox in its two extreme readings: it finds what was set."""

import json
import re
from pathlib import Path

import pytest

from integration_tests.contract.__main__ import main
from integration_tests.platform_rules import forms
from sandbox.options import read_options
from sandbox.process import running

# One SMS that no report may quote but for what is new: a field and a status.
SECRET = {"phoneNumber": "70005550199", "smsMessage": "Тайна \U0001f600 вклада"}
NEW = {"operator": "", "smsStatus": "queued", "smsStatusDetail": "Новый"}
# Other than the documentation says in all that the connector can handle.
HARMLESS = (
    "--sms 3000 --page-size 1000 --order ties --mailings 400 --gzip --unescaped-unicode"
    " --raw-breaks --date-format dd.mm.yyyy --total-as-text --url both --empty-as-list"
    " --elsewhere help --max-days 90 --days 90 --token-status 403 --site-status 403"
    " --field-status 200 --value-status 200 --json-status 500 --beyond-last empty"
)
# What loses SMS, and the questions that are red there.
HARMFUL = "--sms 3000 --page-size 1000 --to-excluded --ignore-page --url under-access"
RED = ["Are both ends", "Do the parts", "Does page 2"]
CAPPED = "--sms 3000 --cap 1000 --date-format mm/dd/yyyy --beyond-last repeated"
UNTOLD = {"sms", "days", "mailings", "latency", "rate"}


def behaviour(words: str) -> dict[str, object]:
    """Return what a command line makes of the answers, as far as the suite can tell."""
    options = vars(read_options(words.split()))
    return {name: options[name] for name in options.keys() - UNTOLD}


@pytest.mark.parametrize(("reading", "red"), [(HARMLESS, []), (HARMFUL, RED), (CAPPED, [])])
def test_the_suite_finds_how_a_service_reads_the_documentation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], reading: str, red: list[str]
) -> None:
    config = tmp_path / "config.json"
    with running(*reading.split(), "--rate", "0") as sandbox:
        sandbox.add_sms([sandbox.sms()[500] | SECRET | NEW])
        config.write_text(json.dumps(sandbox.config()))
        code = main(["--config", str(config), "--pace", "0", "--points", "80"])
        spent = sandbox.stats()["points"]
        secrets = (sandbox.token, sandbox.site_id, *SECRET.values(), SECRET["phoneNumber"][1:])
    written = capsys.readouterr().out
    assert code == bool(red)
    assert re.findall(r"^- \*\*RED\*\*: (\w+ \w+ \w+)", written, re.MULTILINE) == red
    assert behaviour(written.rpartition("python -m sandbox ")[2]) == behaviour(reading)
    assert "Found: operator\n" in written
    assert "Found: queued:Новый\n" in written
    assert spent <= int(re.findall(r"at most (\d+) API points", written)[0]) <= 80
    assert not [form for secret in secrets for form in forms(secret) if form in written.encode()]
