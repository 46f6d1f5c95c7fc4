"""Builds wheel and sdist, and runs what each installs into an empty environment."""

import json
import os
import re
import shutil
import sys
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

from integration_tests.commands import ROOT, out
from source_calltouch_sms.config import SPEC

UV = shutil.which("uv", path=f"{os.environ['PATH']}:{ROOT / '.uv/bin'}") or "uv"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder with the sdist, and with the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("dist")
    out(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT, folder=folder)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> zipfile.ZipFile:
    (wheel,) = built.glob("*.whl")
    return zipfile.ZipFile(wheel)


def test_the_wheel_holds_the_connector_alone(wheel: zipfile.ZipFile) -> None:
    held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    package = ROOT / "source_calltouch_sms"
    files = {path for path in package.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    assert held == {str(path.relative_to(ROOT)) for path in files}


def test_links_and_pictures_work_on_pypis_page(wheel: zipfile.ZipFile) -> None:
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    page = message_from_bytes(wheel.read(name))
    targets = re.findall(r"(!?)\[[^]]*\]\((.*?)\)", str(page.get_payload()))
    assert len(targets) > 10
    assert all(target.startswith("https://") for _picture, target in targets)
    assert all(target.endswith("?raw=true") for picture, target in targets if picture)
    assert len(page.get_all("Project-URL", [])) == 3


@pytest.mark.parametrize("kind", ["*.whl", "*.tar.gz"])
def test_what_is_installed_runs(built: Path, tmp_path: Path, kind: str) -> None:
    (file,) = built.glob(f"airbyte_source_calltouch_sms-{kind}")
    out(UV, "venv", "--quiet", "--python", sys.executable, "environment", folder=tmp_path)
    out(UV, "pip", "install", "--quiet", "--python", "environment", file, folder=tmp_path)
    command = tmp_path / "environment" / "bin" / "source-calltouch-sms"
    lines = out(command, "spec", folder=tmp_path).splitlines()
    (spec,) = [m["spec"] for m in map(json.loads, lines) if m["type"] == "SPEC"]
    assert spec.items() >= SPEC.items()
