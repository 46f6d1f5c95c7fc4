"""Holds the registry's entry to Airbyte's model, and to what the rest of the repository says."""

import json
import re
import sys
from collections.abc import Iterator
from importlib.metadata import metadata
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree as ET

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from source_calltouch_sms import api
from source_calltouch_sms.config import SPEC
from source_calltouch_sms.source import SourceCalltouchSms

ROOT = Path(__file__).resolve().parents[1]


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def found(pattern: str, name: str) -> str:
    match = re.search(pattern, text(name), re.MULTILINE)
    assert match, f"{name} holds nothing like {pattern}"
    return match[1]


METADATA: dict[str, Any] = yaml.safe_load(text("metadata.yaml"))
DATA: dict[str, Any] = METADATA["data"]
VERSION: str = DATA["dockerImageTag"]
PACKAGE = metadata(DATA["remoteRegistries"]["pypi"]["packageName"])
PYTHONS: list[str] = yaml.safe_load(text(".github/workflows/ci.yml"))["jobs"]["test"]["strategy"][
    "matrix"
]["python"]
LOCKS = {
    "requirements.lock": "",
    "requirements-tests.lock": "tests",
    "requirements-demo.lock": "demo",
}
"""The extra of the package that each lock is for."""


@pytest.mark.skipif(
    sys.version_info >= (3, 13),
    reason="airbyte-connector-models needs Python 3.12 or older: `make test` there checks this",
)
def test_metadata_fits_airbytes_model() -> None:
    from airbyte_connector_models.metadata.v0.connector_metadata_definition_v0 import (  # noqa: PLC0415
        ConnectorMetadataDefinitionV0,
    )

    ConnectorMetadataDefinitionV0.model_validate(METADATA)


def requirements(lines: list[str], environment: dict[str, str]) -> Iterator[Requirement]:
    """Yield the requirements that hold in an environment."""
    for line in lines:
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate(environment):
            yield requirement


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("lock", LOCKS)
def test_the_lock_satisfies_setup_py(lock: str, python: str) -> None:
    environment = {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "extra": LOCKS[lock],
    }
    lines = re.findall(r"^(\w.*?)(?: \\)?$", text(lock), re.MULTILINE)
    locked = {
        canonicalize_name(pinned.name): Version(str(pinned.specifier).removeprefix("=="))
        for pinned in requirements(lines, environment)
    }
    for needed in requirements(PACKAGE.get_all("Requires-Dist", []), environment):
        version = locked.get(canonicalize_name(needed.name))
        assert version, f"{lock} lacks {needed.name}: run `make lock`"
        assert version in needed.specifier, f"{lock} has {needed.name} {version}: run `make lock`"


def test_the_package_takes_the_pythons_that_are_tested() -> None:
    taken = SpecifierSet(PACKAGE["Requires-Python"])
    assert list(taken.filter(f"3.{minor}" for minor in range(50))) == PYTHONS


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("setup.py", r'^    version="(.+)",$'),
        ("Dockerfile", r'io\.airbyte\.version="(.+?)"'),
        ("Dockerfile", r'org\.opencontainers\.image\.version="(.+?)"'),
        ("CHANGELOG.md", r"^## (\d\S*) - "),
        ("docs/calltouch-sms.md", r"^\| (\d\S*) +\| \d{4}-"),
    ],
)
def test_there_is_one_version(name: str, pattern: str) -> None:
    assert found(pattern, name) == VERSION


def test_both_changelogs_date_the_version_alike() -> None:
    version = re.escape(VERSION)
    dated = found(rf"^## {version} - (\S+)$", "CHANGELOG.md")
    assert found(rf"^\| {version} +\| (\S+) +\|", "docs/calltouch-sms.md") == dated


def test_the_image_is_named_and_based_as_the_registry_says() -> None:
    assert found(r'io\.airbyte\.name="(.+?)"', "Dockerfile") == DATA["dockerRepository"]
    base = DATA["connectorBuildOptions"]["baseImage"]
    assert found(r"^ARG BASE_IMAGE=(.+)$", "Dockerfile") == base
    assert re.fullmatch(r"\S+:[\d.]+@sha256:[0-9a-f]{64}", base)


def test_the_platform_and_docker_start_the_same_command() -> None:
    command = found(r'^ENV AIRBYTE_ENTRYPOINT="(.+)"$', "Dockerfile")
    assert json.loads(found(r"^ENTRYPOINT (.+)$", "Dockerfile")) == command.split()


def test_the_license_is_one() -> None:
    assert found(r"^(\w+) License$", "LICENSE") == DATA["license"]
    assert found(r'^    license="(.+)",$', "setup.py") == DATA["license"]
    assert found(r'image\.licenses="(.+?)"', "Dockerfile") == DATA["license"]


def test_the_documented_host_and_the_settings_host_are_allowed() -> None:
    assert DATA["allowedHosts"]["hosts"] == [urlsplit(api.URL).hostname, "${api_url}"]
    assert "api_url" in SPEC["connectionSpecification"]["properties"]


def test_the_form_and_the_registry_share_name_and_documentation() -> None:
    assert SPEC["connectionSpecification"]["title"] == DATA["name"]
    assert SPEC["documentationUrl"] == DATA["documentationUrl"]


def test_suggested_streams_exist() -> None:
    config = {"access_token": "token", "site_id": "1", "start_date": "2024-01-01"}
    streams = {stream.name for stream in SourceCalltouchSms().streams(config)}
    assert streams.issuperset(DATA["suggestedStreams"]["streams"])


def test_the_icon_is_a_square_of_250() -> None:
    icon = ET.fromstring(text(DATA["icon"]))
    assert (icon.get("width"), icon.get("height")) == ("250", "250")
    assert icon.get("viewBox") == "0 0 250 250"
