"""Runs the built image as Airbyte does, against the sandbox: `make image-test`."""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import tomli
import yaml
from packaging.utils import canonicalize_name

from integration_tests.commands import ROOT, out
from sandbox.process import Sandbox, running
from source_calltouch_sms.config import SPEC

NAME = "localhost/source-calltouch-sms:test"
METADATA: dict[str, Any] = yaml.safe_load((ROOT / "metadata.yaml").read_text())["data"]
STREAM = "sms_messages"
SMS = 25_000

Message = dict[str, Any]


class Docker:
    """The image in Docker."""

    def __init__(self, files: Path) -> None:
        self.files = files
        self.config: dict[str, Any] = json.loads(self.inspect("{{json .Config}}"))
        self.size = f"{int(self.inspect('{{.Size}}')) / 1e6:.0f} MB"

    def inspect(self, template: str) -> str:
        """Return a fact of the image."""
        return out("docker", "image", "inspect", "--format", template, NAME)

    def run(self, *arguments: str) -> str:
        """Run the image's entry point as its user, on the host's network."""
        volume = f"{self.files}:/config:ro"
        run = ["docker", "run", "--rm", "--network", "host", "--volume", volume]
        return out(*run, NAME, *arguments)

    def shell(self, script: str, user: str = "") -> str:
        """Run a script of the shell."""
        run = ["docker", "run", "--rm", "--user", user, "--entrypoint", "/bin/sh"]
        return out(*run, NAME, "-c", script).strip()


class Buildah:
    """The image in Buildah, without an engine or a namespace."""

    def __init__(self, files: Path, storage: Sequence[str], container: str) -> None:
        self.files = files
        self.buildah = ["buildah", *storage]
        self.container = container
        inspected = json.loads(out(*self.buildah, "inspect", "--type", "image", NAME))
        self.config: dict[str, Any] = inspected["OCIv1"]["config"]
        self.size = out(*self.buildah, "images", "--format", "{{.Size}}", NAME).strip()

    def run(self, *arguments: str) -> str:
        """Run the image's entry point as its user, on the host's network."""
        volume = f"{self.files}:/config:ro"
        run = [*self.buildah, "run", "--isolation", "chroot", "--volume", volume, self.container]
        return out(*run, "--", *self.config["Entrypoint"], *arguments)

    def shell(self, script: str, user: str = "") -> str:
        """Run a script of the shell."""
        run = [*self.buildah, "run", "--isolation", "chroot", "--user", user, self.container]
        return out(*run, "--", "/bin/sh", "-c", script).strip()


Image = Docker | Buildah


@contextmanager
def built(files: Path) -> Iterator[Image]:
    """Yield the image as the engine runs it that has built it."""
    engine, *storage = out(ROOT / "integration_tests/image/engine.sh").split()
    if engine == "docker":
        yield Docker(files)
        return
    with ExitStack() as stack:
        container = out(engine, *storage, "from", "--pull-never", NAME).strip()
        stack.callback(out, engine, *storage, "rm", container)
        yield Buildah(files, storage, container)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder that the image sees as /config; it may not write there, only read."""
    folder = tmp_path_factory.mktemp("config")
    folder.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def image(files: Path) -> Iterator[Image]:
    with built(files) as image:
        yield image


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with running("--sms", str(SMS)) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def catalog(image: Image, sandbox: Sandbox, files: Path) -> Message:
    """Return the stream as the image discovers it, and configure it for incremental syncs."""
    write(files / "config.json", sandbox.config())
    said = messages(image.run("discover", "--config", "/config/config.json"))
    (stream,) = said["CATALOG"][0]["catalog"]["streams"]
    configured = {
        "stream": stream,
        "sync_mode": "incremental",
        "destination_sync_mode": "append_dedup",
    }
    write(files / "catalog.json", {"streams": [configured]})
    assert isinstance(stream, dict)
    return stream


def write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content))
    path.chmod(0o644)


def messages(lines: str) -> dict[str, list[Message]]:
    """Read the messages by type; a line that is none fails."""
    said: dict[str, list[Message]] = {}
    for line in lines.splitlines():
        message = json.loads(line)
        said.setdefault(message["type"], []).append(message)
    return said


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
    assert image.shell("id -un; id -u; pwd").split() == [
        "airbyte",
        "1000",
        "/airbyte/integration_code",
    ]


def test_what_was_built_with_is_not_there(image: Image) -> None:
    assert image.shell("command -v gcc cc g++ c++ clang make uv || true") == ""
    assert image.shell("ls -A /airbyte/integration_code; ls -d /build /uv || true") == ""
    # The base may bring a cache of its own, older than the folder that the build begins with.
    find = "find /root/.cache ${PIP_CACHE_DIR:-/root/.cache} -type f -newer /airbyte 2>/dev/null"
    assert image.shell(f"{find} | head -n 5", user="root") == ""


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


def test_no_certificate_of_the_builders_is_left(image: Image) -> None:
    assert image.shell("find /run/secrets -type f -size +0 2>/dev/null || true", user="root") == ""


def test_spec_is_the_packages(image: Image) -> None:
    said = messages(image.run("spec"))
    assert said["SPEC"][0]["spec"].items() >= SPEC.items()


def test_check_succeeds(image: Image, sandbox: Sandbox, files: Path) -> None:
    write(files / "config.json", sandbox.config())
    said = messages(image.run("check", "--config", "/config/config.json"))
    assert said["CONNECTION_STATUS"][0]["connectionStatus"]["status"] == "SUCCEEDED"


def test_a_wrong_token_fails_the_check(image: Image, sandbox: Sandbox, files: Path) -> None:
    write(files / "wrong.json", sandbox.config(access_token="wrong"))
    said = messages(image.run("check", "--config", "/config/wrong.json"))
    assert said["CONNECTION_STATUS"][0]["connectionStatus"]["status"] == "FAILED"


def test_discover_finds_the_stream(catalog: Message) -> None:
    schema = ROOT / "source_calltouch_sms/schemas" / f"{STREAM}.json"
    assert catalog["name"] == STREAM
    assert catalog["json_schema"]["properties"] == json.loads(schema.read_text())["properties"]
    assert catalog["supported_sync_modes"] == ["full_refresh", "incremental"]
    assert catalog["source_defined_primary_key"] == [["smsKey"]]
    assert catalog["default_cursor_field"] == ["dateSent"]


@pytest.mark.usefixtures("catalog")
def test_a_second_read_is_incremental(image: Image, sandbox: Sandbox, files: Path) -> None:
    read = ["read", "--config", "/config/config.json", "--catalog", "/config/catalog.json"]
    first = messages(image.run(*read))
    assert len(first["RECORD"]) == len(sandbox.sms()) == SMS
    keys = {message["record"]["data"]["smsKey"] for message in first["RECORD"]}
    assert len(keys) == SMS

    state = first["STATE"][-1]["state"]
    assert re.match(r"\d{4}-", state["stream"]["stream_state"]["dateSent"])
    write(files / "state.json", [state])
    sandbox.reset_stats()
    second = messages(image.run(*read, "--state", "/config/state.json"))
    again = {message["record"]["data"]["smsKey"] for message in second["RECORD"]}
    # The lookback of three days of the account's 365.
    assert 0 < len(again) < SMS / 50
    assert again <= keys
    assert sandbox.stats()["served"] == 1
    print(f"First read: {len(keys)} SMS. Second: {len(again)}")
