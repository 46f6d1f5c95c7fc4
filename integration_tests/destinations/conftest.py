"""What the destinations' tests share: a sandbox, and a PostgreSQL cluster."""

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
from pathlib import Path
from typing import Any

import pytest

from integration_tests.destinations.account import SMS
from sandbox.process import Sandbox, running

# SIGTERM ends the run as Ctrl+C does, so that everything is stopped.
signal.signal(signal.SIGTERM, signal.default_int_handler)


@pytest.fixture(params=["Europe/Moscow", "Asia/Yekaterinburg"])
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """Run a sandbox, most of its SMS of the last month."""
    options = ("--sms", str(SMS), "--shape", "late", "--zone", request.param)
    with running(*options) as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def cluster() -> Iterator[dict[str, Any]]:
    """Run an empty PostgreSQL cluster; yield how to connect to it, and leave nothing behind."""
    initdb = _initdb() or _installed()
    # As root PostgreSQL refuses to run; another user may have no way into root's own TMPDIR.
    is_root = os.geteuid() == 0
    with tempfile.TemporaryDirectory(prefix="calltouch-sms-", dir="/tmp" if is_root else None) as d:
        data, pwfile, log = (Path(d, name) for name in ("data", "password", "log"))
        password = secrets.token_hex(16)
        pwfile.write_text(password)
        options: dict[str, Any] = {"cwd": d}
        if is_root:
            user = pwd.getpwnam("nobody")
            options |= {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
            for path in (d, pwfile):
                os.chown(path, user.pw_uid, user.pw_gid)
        words = "--username=postgres --auth=scram-sha-256 --encoding=UTF8 --no-locale --no-sync"
        command: list[str | Path] = [initdb, "--pgdata", data, "--pwfile", pwfile, *words.split()]
        made = subprocess.run(command, check=False, capture_output=True, text=True, **options)
        assert made.returncode == 0, made.stderr
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": port,
            "unix_socket_directories": "",
            "timezone": "America/St_Johns",  # no account's zone, so that no time is right by chance
            "fsync": "off",
        }
        # Not by way of pg_ctl: what is a child here also ends when the whole group is ended.
        command = [initdb.with_name("postgres"), "-D", data]
        command += [f"--{name}={value}" for name, value in settings.items()]
        with log.open("wb") as out, subprocess.Popen(command, stderr=out, **options) as process:
            try:
                while "ready to accept connections" not in (said := log.read_text()):
                    assert process.poll() is None, said
                    time.sleep(0.1)
                yield {
                    "host": "127.0.0.1",
                    "port": port,
                    "username": "postgres",
                    "password": password,
                    "database": "postgres",
                }
            finally:
                process.send_signal(signal.SIGINT)  # ends connections too


def _initdb() -> Path | None:
    """Return the program, with the others in its directory: PATH's, or Debian's newest."""
    versions = Path("/usr/lib/postgresql").glob("*/bin")
    by_age = sorted(versions, key=lambda path: float(path.parent.name), reverse=True)
    found = shutil.which("initdb", path=os.pathsep.join([os.environ["PATH"], *map(str, by_age)]))
    return Path(found).resolve() if found else None


def _installed() -> Path:
    if os.geteuid() == 0 and shutil.which("apt-get"):
        script = Path(__file__).with_name("install_postgresql.sh")
        subprocess.run(["bash", script], check=True)
        if initdb := _initdb():
            return initdb
    pytest.fail("PostgreSQL is missing. As root on Debian or Ubuntu it is installed for you.")
