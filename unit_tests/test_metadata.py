"""Holds the registry's entry to Airbyte's model, and to what the rest of the repository says."""

import json
import re
import sys
from importlib.metadata import metadata
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree as ET

import pytest
import yaml
from packaging.specifiers import SpecifierSet

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
PACKAGE = metadata("airbyte-source-calltouch-sms")
PYTHONS: list[str] = yaml.safe_load(text(".github/workflows/ci.yml"))["jobs"]["test"]["strategy"][
    "matrix"
]["python"]


@pytest.mark.skipif(
    sys.version_info >= (3, 13),
    reason="airbyte-connector-models needs Python 3.12 or older: `make test` there checks this",
)
def test_metadata_fits_airbytes_model() -> None:
    from airbyte_connector_models.metadata.v0.connector_metadata_definition_v0 import (  # noqa: PLC0415
        ConnectorMetadataDefinitionV0,
    )

    ConnectorMetadataDefinitionV0.model_validate(METADATA)


def test_the_pythons_are_the_cdks_and_the_same_everywhere() -> None:
    taken = SpecifierSet(PACKAGE["Requires-Python"])
    assert list(taken.filter(f"3.{minor}" for minor in range(50))) == PYTHONS
    assert taken == SpecifierSet(metadata("airbyte-cdk")["Requires-Python"])
    language = "Programming Language :: Python :: "
    classifiers = PACKAGE.get_all("Classifier", [])
    assert [c.removeprefix(language) for c in classifiers if language in c] == PYTHONS
    for name in ("Makefile", "README.md", "CONTRIBUTING.md", "docs/contract.md"):
        assert f"Python {PYTHONS[0]} to {PYTHONS[-1]}" in " ".join(text(name).split()), name


def test_the_registry_has_the_packages_name_and_version() -> None:
    assert DATA["remoteRegistries"]["pypi"]["packageName"] == PACKAGE["Name"]
    assert DATA["dockerImageTag"] == PACKAGE["Version"]


@pytest.mark.parametrize("name", ["ci", "release", "supply-chain"])
def test_what_may_write_to_the_repository_runs_no_package(name: str) -> None:
    jobs = yaml.safe_load(text(f".github/workflows/{name}.yml"))["jobs"]
    for job in jobs.values():
        if job.get("permissions", {}).get("contents") == "write":
            commands = "\n".join(step.get("run", "") for step in job["steps"])
            assert set(re.findall(r"^(\S+)", commands, re.MULTILINE)) <= {"awk", "cp", "gh", "git"}


def test_changelogs_and_registry_date_the_versions_alike() -> None:
    version = re.escape(PACKAGE["Version"])
    dated = found(rf"^## {version} - (\S+)$", "CHANGELOG.md")
    for page in ("docs/calltouch-sms.md", "docs/calltouch-sms.ru.md"):
        assert found(rf"^\| {version} +\| (\S+) +\|", page) == dated
    *_, first = re.findall(r"^## \S+ - (\S+)$", text("CHANGELOG.md"), re.MULTILINE)
    assert str(DATA.get("releaseDate", "unreleased")) == first


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
    assert found(r'image\.documentation="(.+?)"', "Dockerfile") == DATA["documentationUrl"]
    assert (ROOT / DATA["documentationUrl"].partition("/blob/main/")[2]).is_file()


def test_suggested_streams_exist() -> None:
    config = {"access_token": "token", "site_id": "1", "start_date": "2024-01-01"}
    streams = {stream.name for stream in SourceCalltouchSms().streams(config)}
    assert streams.issuperset(DATA["suggestedStreams"]["streams"])


def test_the_icon_is_a_square_of_250() -> None:
    icon = ET.fromstring(text(DATA["icon"]))
    assert (icon.get("width"), icon.get("height")) == ("250", "250")
    assert icon.get("viewBox") == "0 0 250 250"
