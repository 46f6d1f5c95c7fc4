"""Starts the sandbox as a process of its own, for tests and the demo."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
import requests

_ROOT = Path(__file__).resolve().parents[1]
_TIMEOUT = 60  # seconds


@dataclass(frozen=True)
class Sandbox:
    """A running sandbox: the method's full URL, its credentials, and the control calls."""

    url: str
    token: str
    site_id: str
    timezone: str
    start_date: str  # the account's first day: 2024-04-01

    def config(self, **overrides: Any) -> dict[str, Any]:
        """Return a configuration for the connector that reads the whole account."""
        return {
            "access_token": self.token,
            "site_id": self.site_id,
            "start_date": self.start_date,
            "timezone": self.timezone,
            "api_url": self.url,
            **overrides,
        }

    def stats(self) -> dict[str, Any]:
        """Return served, limited, refused, faulted, points, and the last `bodies` and `calls`."""
        return dict(self._control("GET", "stats"))

    def reset_stats(self) -> None:
        """Set the counts of `stats` back to 0."""
        self._control("POST", "reset-stats")

    def set_faults(self, plan: Sequence[dict[str, Any]]) -> None:
        """Replace the plan of faults; `[]` ends them. Calls are counted from 1 again."""
        self._control("POST", "faults", plan)

    def forward_clock(self, seconds: float) -> None:
        """Move the account's clock ahead, as if that much time had passed."""
        self._control("POST", "clock", {"forward_seconds": seconds})

    def sms(self) -> list[dict[str, Any]]:
        """Return every SMS as it is now, the API's five fields, by time."""
        return list(self._control("GET", "sms"))

    def add_sms(self, rows: Sequence[dict[str, Any]]) -> None:
        """Add rows, which are served exactly as given."""
        self._control("POST", "sms", rows)

    def _control(self, verb: str, name: str, body: object = None) -> Any:
        address = f"http://{urlsplit(self.url).netloc}/_sandbox/{name}"
        response = requests.request(verb, address, json=body, timeout=_TIMEOUT)
        if not response.ok:
            raise ValueError(f"{name}: {response.text}")
        # Without a text of it all: what measures memory begins with that of the tests.
        return orjson.loads(response.content)


@contextmanager
def running(*args: str) -> Iterator[Sandbox]:
    """Run `python -m sandbox` with these options on a free port."""
    # A port among the options comes later, so it overrides this one.
    command = [sys.executable, "-m", "sandbox", "--port", "0", *args]
    with subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield _started(process)
        finally:
            process.kill()


def _started(process: "subprocess.Popen[str]") -> Sandbox:
    assert process.stdout is not None
    said = {}
    for line in process.stdout:
        name, _, value = line.strip().partition(": ")
        said[name] = value
        if name == "Since":
            return Sandbox(said["URL"], said["Token"], said["Site ID"], said["Zone"], value)
    raise RuntimeError(f"the sandbox did not start: exit code {process.wait()}")
