"""What the destinations' tests share: a sandbox, and a PostgreSQL cluster."""

import signal
from collections.abc import Iterator

import pytest

from integration_tests.destinations import postgresql
from integration_tests.destinations.account import SMS
from sandbox.process import Sandbox, running


@pytest.fixture(scope="session", autouse=True)
def _stopped_in_order() -> Iterator[None]:
    """Let SIGTERM end the run as Ctrl+C does, so that everything is stopped."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="session")
def cluster() -> Iterator[postgresql.Cluster]:
    """Run a PostgreSQL cluster."""
    with postgresql.running() as cluster:
        yield cluster


@pytest.fixture(params=["Europe/Moscow", "Asia/Yekaterinburg"])
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """Run a sandbox, most of its SMS of the last month."""
    options = ("--sms", str(SMS), "--shape", "late", "--zone", request.param)
    with running(*options) as sandbox:
        yield sandbox
