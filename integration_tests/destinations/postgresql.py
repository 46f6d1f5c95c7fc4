"""Starts a PostgreSQL cluster of its own, for the tests."""

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

USER = DATABASE = "postgres"
HOST = "127.0.0.1"
# No account's zone, so that no time is right by chance.
SERVER_ZONE = "America/St_Johns"
_PROGRAMS = ("initdb", "postgres", "pg_isready")
_INSTALL = Path(__file__).with_name("install_postgresql.sh")
_TIMEOUT = 60  # seconds


@dataclass(frozen=True)
class Cluster:
    """A cluster that runs."""

    port: int
    password: str


@contextmanager
def running() -> Iterator[Cluster]:
    """Run an empty cluster on a free port of the loopback address; leave nothing of it behind."""
    programs = _found() or _installed()
    # As root PostgreSQL refuses to run; another user may have no way into root's own TMPDIR.
    is_root = os.geteuid() == 0
    with tempfile.TemporaryDirectory(prefix="calltouch-sms-", dir="/tmp" if is_root else None) as d:
        directory, data, password = Path(d), Path(d, "data"), secrets.token_hex(16)
        Path(directory, "password").write_text(password)
        options: dict[str, Any] = {"cwd": directory}
        if is_root:
            user = _other_user()
            options |= {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
            for path in (directory, directory / "password"):
                os.chown(path, user.pw_uid, user.pw_gid)
        initdb: list[str | Path] = [programs / "initdb", "--pgdata", data, "--no-sync"]
        initdb += ["--username", USER, "--pwfile", directory / "password"]
        initdb += ["--auth=scram-sha-256", "--encoding=UTF8", "--no-locale"]
        made = subprocess.run(initdb, check=False, capture_output=True, text=True, **options)
        if made.returncode:
            raise RuntimeError(f"initdb failed:\n{made.stderr}")
        with socket.create_server((HOST, 0)) as free:
            port = free.getsockname()[1]
        settings = {
            "listen_addresses": HOST,
            "port": port,
            "unix_socket_directories": "",
            "timezone": SERVER_ZONE,
            "fsync": "off",
        }
        # Not by way of pg_ctl: what is a child here also ends when the whole group is ended.
        postgres: list[str | Path] = [programs / "postgres", "-D", data]
        postgres += [f"--{name}={value}" for name, value in settings.items()]
        log = directory / "log"
        with (
            log.open("wb") as out,
            subprocess.Popen(postgres, stdout=out, stderr=out, text=True, **options) as process,
        ):
            try:
                _wait(programs, port, process, log)
                yield Cluster(port, password)
            finally:
                process.send_signal(signal.SIGINT)  # ends connections too
                try:
                    process.wait(_TIMEOUT)
                except subprocess.TimeoutExpired:
                    process.kill()


def _found() -> Path | None:
    """Return the directory of the programs: PATH's, Debian's newest, or pg_config's."""
    candidates = []
    if on_path := shutil.which("initdb"):
        # A link on PATH leads to where the other programs are.
        candidates += [Path(on_path).parent, Path(on_path).resolve().parent]
    versions = Path("/usr/lib/postgresql").glob("*/bin")
    candidates += sorted(versions, key=lambda path: float(path.parent.name), reverse=True)
    if pg_config := shutil.which("pg_config"):
        said = subprocess.run([pg_config, "--bindir"], check=False, capture_output=True, text=True)
        candidates.append(Path(said.stdout.strip()))
    for directory in candidates:
        if all((directory / program).exists() for program in _PROGRAMS):
            return directory
    return None


def _installed() -> Path:
    if os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["bash", _INSTALL], check=True)
        if directory := _found():
            return directory
    raise RuntimeError(
        "PostgreSQL is missing. Install it; as root on Debian or Ubuntu this is done for you."
    )


def _other_user() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


def _wait(programs: Path, port: int, process: "subprocess.Popen[str]", log: Path) -> None:
    asked: list[str | Path] = [
        programs / "pg_isready",
        "--quiet",
        f"--host={HOST}",
        f"--port={port}",
    ]
    until = time.monotonic() + _TIMEOUT
    while subprocess.run(asked, check=False).returncode:
        if process.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"PostgreSQL did not start:\n{log.read_text(errors='replace')}")
        time.sleep(0.1)
