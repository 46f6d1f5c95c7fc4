"""Builds wheel and sdist, and runs what each installs into an empty environment."""

import json
import sys
import zipfile
from pathlib import Path

import pytest

from integration_tests.commands import ROOT, out
from source_calltouch_sms.config import SPEC


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder with the sdist, and with the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("dist")
    out(sys.executable, "-m", "build", "--outdir", folder, ROOT, folder=folder)
    return folder


def test_the_wheel_holds_the_connector_alone(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    package = ROOT / "source_calltouch_sms"
    files = {path for path in package.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    assert held == {str(path.relative_to(ROOT)) for path in files}


@pytest.mark.parametrize("kind", ["*.whl", "*.tar.gz"])
def test_what_is_installed_runs(built: Path, tmp_path: Path, kind: str) -> None:
    (file,) = built.glob(f"airbyte_source_calltouch_sms-{kind}")
    out(sys.executable, "-m", "venv", "environment", folder=tmp_path)
    scripts = tmp_path / "environment" / "bin"
    out(scripts / "pip", "install", "--quiet", file, folder=tmp_path)
    lines = out(scripts / "source-calltouch-sms", "spec", folder=tmp_path).splitlines()
    (spec,) = [m["spec"] for m in map(json.loads, lines) if m["type"] == "SPEC"]
    assert spec.items() >= SPEC.items()
