"""Holds the registry's entry to Airbyte's model, and to what the rest of the repository says."""

import re
import sys
from importlib.metadata import metadata
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from packaging.specifiers import SpecifierSet

from source_calltouch_sms import api
from source_calltouch_sms.config import SPEC
from source_calltouch_sms.source import SourceCalltouchSms
from unit_tests.conftest import settings

ROOT = Path(__file__).resolve().parents[1]


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


METADATA: dict[str, Any] = yaml.safe_load(text("metadata.yaml"))
DATA: dict[str, Any] = METADATA["data"]
PACKAGE = metadata("airbyte-source-calltouch-sms")
CI: dict[str, Any] = yaml.safe_load(text(".github/workflows/ci.yml"))
PYTHONS: list[str] = CI["jobs"]["test"]["strategy"]["matrix"]["python"]


@pytest.mark.skipif(
    sys.version_info >= (3, 13),
    reason="airbyte-connector-models needs Python 3.12 or older: `make test` there checks this",
)
def test_metadata_fits_airbytes_model() -> None:
    from airbyte_connector_models.metadata.v0.connector_metadata_definition_v0 import (  # noqa: PLC0415
        ConnectorMetadataDefinitionV0,
    )

    ConnectorMetadataDefinitionV0.model_validate(METADATA)


BASE_IMAGE = DATA["connectorBuildOptions"]["baseImage"]
COMMAND = "/usr/local/bin/source-calltouch-sms"
DATES = dict(re.findall(r"^## (\S+) - (\S+)$", text("CHANGELOG.md"), re.MULTILINE))
IN_A_PAGE = (rf"^\| {PACKAGE['Version']} +\| (\S+) +\|", DATES.get(PACKAGE["Version"]))
THE_PYTHONS = (r"\bPython ([\d.]+\sto\s\d\.\d+)", f"{PYTHONS[0]} to {PYTHONS[-1]}")


@pytest.mark.parametrize(
    ("name", "pattern", "said"),
    [
        ("Dockerfile", r'io\.airbyte\.name="(.+?)"', DATA["dockerRepository"]),
        ("Dockerfile", r"^ARG BASE_IMAGE=(.+)$", BASE_IMAGE),
        ("Dockerfile", r'image\.documentation="(.+?)"', DATA["documentationUrl"]),
        ("Dockerfile", r'image\.licenses="(.+?)"', DATA["license"]),
        ("Dockerfile", r'^ENV AIRBYTE_ENTRYPOINT="(.+)"$', COMMAND),
        ("Dockerfile", r'^ENTRYPOINT \["(.+)"\]$', COMMAND),
        ("LICENSE", r"^(\w+) License$", DATA["license"]),
        ("setup.py", r'^    license="(.+)",$', DATA["license"]),
        ("docs/calltouch-sms.md", *IN_A_PAGE),
        ("docs/calltouch-sms.ru.md", *IN_A_PAGE),
        *((page, *THE_PYTHONS) for page in ("Makefile", "README.md", "CONTRIBUTING.md")),
        ("docs/contract.md", *THE_PYTHONS),
    ],
)
def test_other_files_say_the_same(name: str, pattern: str, said: str) -> None:
    found = re.findall(pattern, text(name), re.MULTILINE)
    assert said in [" ".join(each.split()) for each in found]


def test_the_registry_says_of_package_form_and_stream_what_they_are() -> None:
    assert DATA["remoteRegistries"]["pypi"]["packageName"] == PACKAGE["Name"]
    assert DATA["dockerImageTag"] == PACKAGE["Version"]
    assert str(DATA.get("releaseDate", "unreleased")) == list(DATES.values())[-1]
    assert re.fullmatch(r"\S+:[\d.]+@sha256:[0-9a-f]{64}", BASE_IMAGE)
    assert SPEC["connectionSpecification"]["title"] == DATA["name"]
    assert SPEC["documentationUrl"] == DATA["documentationUrl"]
    assert (ROOT / DATA["documentationUrl"].partition("/blob/main/")[2]).is_file()
    assert DATA["allowedHosts"]["hosts"] == [urlsplit(api.URL).hostname, "${api_url}"]
    (stream,) = SourceCalltouchSms().streams(settings())
    assert DATA["suggestedStreams"]["streams"] == [stream.name]
    assert 'width="250" height="250" viewBox="0 0 250 250">' in text(DATA["icon"])


def test_the_pythons_are_the_cdks_and_the_same_in_package_and_ci() -> None:
    taken = SpecifierSet(PACKAGE["Requires-Python"])
    assert list(taken.filter(f"3.{minor}" for minor in range(50))) == PYTHONS
    assert taken == SpecifierSet(metadata("airbyte-cdk")["Requires-Python"])
    language = "Programming Language :: Python :: "
    classifiers = PACKAGE.get_all("Classifier", [])
    assert [c.removeprefix(language) for c in classifiers if language in c] == PYTHONS


@pytest.mark.parametrize("name", ["ci", "release", "supply-chain"])
def test_what_may_write_to_the_repository_runs_no_package(name: str) -> None:
    jobs = yaml.safe_load(text(f".github/workflows/{name}.yml"))["jobs"]
    for job in jobs.values():
        if job.get("permissions", {}).get("contents") == "write":
            commands = "\n".join(step.get("run", "") for step in job["steps"])
            assert set(re.findall(r"^(\S+)", commands, re.MULTILINE)) <= {"awk", "cp", "gh", "git"}
