"""Runs the built image as Airbyte does, against the sandbox: `make image-test`."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import tomli
import yaml
from packaging.utils import canonicalize_name

from integration_tests.commands import ROOT, assert_whole, out
from integration_tests.platform_rules import Output, judged
from sandbox.process import Sandbox, running
from source_calltouch_sms.config import SPEC

NAME = "localhost/source-calltouch-sms:test"
METADATA: dict[str, Any] = yaml.safe_load((ROOT / "metadata.yaml").read_text())["data"]
CONFIG = ("--config", "/config/config.json")
SMS = 25_000


@dataclass
class Image:
    """The image, in the engine that has built it."""

    config: dict[str, Any]
    size: str
    engine: list[str]
    """The command that runs a program in it, on the host's network, as far as the user."""
    before: list[str]
    """What stands between the user and the program."""
    after: list[str]
    """What stands between the program and its arguments."""

    def run(self, *arguments: str, program: str = "", user: str = "") -> str:
        """Run the image's entry point, or another program, as its user or another."""
        program = program or self.config["Entrypoint"][0]
        return out(*self.engine, "--user", user, *self.before, program, *self.after, *arguments)

    def said(self, command: str, *arguments: str) -> Output:
        """Run a command of the connector's."""
        return judged(command, self.run(command, *arguments).encode(), b"", 0)

    def shell(self, script: str, user: str = "") -> str:
        """Run a script of the shell."""
        return self.run("-c", script, program="/bin/sh", user=user).strip()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder that the image sees as /config; it may not write there, only read."""
    folder = tmp_path_factory.mktemp("config")
    folder.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def image(files: Path) -> Iterator[Image]:
    """Run what the engine has built: Docker, or Buildah without an engine or a namespace."""
    engine, *storage = out(ROOT / "integration_tests/image/engine.sh").split()
    volume = ["--volume", f"{files}:/config:ro"]
    if engine == "docker":
        config, size = (
            out("docker", "image", "inspect", "--format", template, NAME)
            for template in ("{{json .Config}}", "{{.Size}}")
        )
        run = ["docker", "run", "--rm", "--network", "host", *volume]
        size = f"{int(size) / 1e6:.0f} MB"
        yield Image(json.loads(config), size, run, ["--entrypoint"], [NAME])
        return
    buildah = [engine, *storage]
    config = json.loads(out(*buildah, "inspect", "--type", "image", NAME))["OCIv1"]["config"]
    size = out(*buildah, "images", "--format", "{{.Size}}", NAME)
    container = out(*buildah, "from", "--pull-never", NAME).strip()
    run = [*buildah, "run", "--isolation", "chroot", *volume]
    yield Image(config, size.strip(), run, [container, "--"], [])
    out(*buildah, "rm", container)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with running("--sms", str(SMS)) as sandbox:
        yield sandbox


def write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content))
    path.chmod(0o644)


def test_the_image_says_what_it_is(image: Image) -> None:
    labels = image.config["Labels"]
    assert labels["io.airbyte.name"] == METADATA["dockerRepository"]
    assert labels["io.airbyte.version"] == METADATA["dockerImageTag"]
    assert labels["org.opencontainers.image.version"] == METADATA["dockerImageTag"]
    assert labels["org.opencontainers.image.licenses"] == METADATA["license"]
    assert labels["org.opencontainers.image.source"]
    print(f"The image is {image.size}")


def test_the_platform_starts_what_the_image_starts(image: Image) -> None:
    environment = dict(entry.split("=", 1) for entry in image.config["Env"])
    command = "/usr/local/bin/source-calltouch-sms"
    assert environment["AIRBYTE_ENTRYPOINT"] == command
    assert image.config["Entrypoint"] == [command]
    assert image.config["WorkingDir"] == "/airbyte/integration_code"


def test_the_user_is_airbyte_and_not_root(image: Image) -> None:
    assert image.config["User"] == "airbyte"
    assert image.shell("echo $(id -un) $(id -u) $PWD") == "airbyte 1000 /airbyte/integration_code"


def test_what_was_built_with_is_not_there(image: Image) -> None:
    assert image.shell("command -v gcc cc g++ c++ clang make uv || true") == ""
    assert image.shell("ls -A /airbyte/integration_code; ls -d /build /uv || true") == ""
    # The base may bring a cache of its own, older than the folder that the build begins with.
    find = "find /root/.cache ${PIP_CACHE_DIR:-/root/.cache} -type f -newer /airbyte 2>/dev/null"
    assert image.shell(f"{find} | head -n 5", user="root") == ""
    certificates = "find /run/secrets -type f -size +0 2>/dev/null || true"
    assert image.shell(certificates, user="root") == ""


def test_the_image_holds_what_the_lock_says(image: Image) -> None:
    packages = tomli.loads((ROOT / "uv.lock").read_text())["package"]
    locked = {(package["name"], package.get("version")) for package in packages}
    script = "from importlib.metadata import *; [print(d.name, d.version) for d in distributions()]"
    lines = image.shell(f"python -c '{script}'").splitlines()
    held = {(str(canonicalize_name(name)), version) for name, version in map(str.split, lines)}
    ours = ("airbyte-source-calltouch-sms", METADATA["dockerImageTag"])
    names = {name for name, _version in locked}
    assert {(name, version) for name, version in held if name in names} <= {*locked, ours}
    assert {"airbyte-cdk", "airbyte-source-calltouch-sms"} <= {name for name, _version in held}
    assert not {"pytest", "ruff", "dlt"} & {name for name, _version in held}


def test_spec_is_the_packages(image: Image) -> None:
    assert image.said("spec").of("SPEC")[0].items() >= SPEC.items()


@pytest.mark.parametrize(
    ("changes", "status"), [({}, "SUCCEEDED"), ({"access_token": "wrong"}, "FAILED")]
)
def test_a_check_tells_a_right_token_from_a_wrong_one(
    image: Image, sandbox: Sandbox, files: Path, changes: dict[str, str], status: str
) -> None:
    write(files / "config.json", sandbox.config(**changes))
    output = image.said("check", *CONFIG)
    assert output.of("CONNECTION_STATUS")[0]["status"] == status


def test_discover_finds_the_stream(image: Image, sandbox: Sandbox, files: Path) -> None:
    write(files / "config.json", sandbox.config())
    (stream,) = image.said("discover", *CONFIG).of("CATALOG")[0]["streams"]
    schema = json.loads((ROOT / "source_calltouch_sms/schemas/sms_messages.json").read_text())
    assert stream["name"] == "sms_messages"
    assert stream["json_schema"]["properties"] == schema["properties"]


def test_a_second_read_is_incremental(image: Image, sandbox: Sandbox, files: Path) -> None:
    write(files / "config.json", sandbox.config())
    catalog = ROOT / "integration_tests/configured_catalog.json"
    write(files / "catalog.json", json.loads(catalog.read_text()))
    read = [*CONFIG, "--catalog", "/config/catalog.json"]
    first = image.said("read", *read)
    assert_whole(first, sandbox.sms())
    write(files / "state.json", first.states[-1:])
    sandbox.reset_stats()
    second = image.said("read", *read, "--state", "/config/state.json")
    again = {record["smsKey"] for record in second.records}
    # The lookback of three days of the account's 365.
    assert 0 < len(again) < SMS / 50
    assert again <= {record["smsKey"] for record in first.records}
    assert sandbox.stats()["served"] == 1
    print(f"First read: {SMS} SMS. Second: {len(again)}")
