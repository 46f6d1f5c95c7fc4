"""What the integration tests share: a sandbox."""

from collections.abc import Iterator

import pytest

from sandbox.process import Sandbox, running


@pytest.fixture(scope="module")
def calltouch() -> Iterator[Sandbox]:
    """Run a sandbox for the tests of a file, of three pages, small enough for many commands."""
    with running("--sms", "1250", "--page-size", "500", "--raw-breaks") as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(calltouch: Sandbox) -> Iterator[Sandbox]:
    """Return the file's sandbox, its numbers at 0."""
    calltouch.reset_stats()
    yield calltouch
    calltouch.set_faults([])
