"""What the unit tests share: no waits, a stream that reads a model account, a read with states."""

import logging
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pendulum
import pytest
import requests_mock
from airbyte_cdk.models import AirbyteMessage, SyncMode
from airbyte_cdk.test.catalog_builder import CatalogBuilder
from airbyte_cdk.test.state_builder import StateBuilder

from source_calltouch_sms import SourceCalltouchSms, api
from source_calltouch_sms.config import Config
from source_calltouch_sms.rate_limiter import RateLimiter
from source_calltouch_sms.streams import SYNC, SmsMessages, Timeouts
from unit_tests.account import SITE_ID, START, TOKEN, Account, Row, identities, row

Serve = Callable[[Account], Account]

NOW = pendulum.datetime(2024, 6, 15, 12, 1, tz="Europe/Moscow")
"""A sync reads up to a minute before."""
END = datetime(2024, 6, 15, 12)


def settings(**changes: Any) -> dict[str, Any]:
    """Return settings as a user gives them."""
    return {"access_token": TOKEN, "site_id": SITE_ID, "start_date": "2024-04-01", **changes}


@pytest.fixture(autouse=True)
def _no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CDK waits between the tries of a request, a second at least."""
    monkeypatch.setattr(time, "sleep", lambda _: None)


@dataclass
class Read:
    """What a read emitted."""

    records: list[Row] = field(default_factory=list)
    states: list[Mapping[str, Any]] = field(default_factory=list)
    error: Exception | None = None

    @property
    def state(self) -> Mapping[str, Any]:
        """The last state."""
        return self.states[-1] if self.states else {}

    @property
    def table(self) -> dict[str, Row]:
        """The records by key, as a destination keeps them."""
        return {record["smsKey"]: record for record in self.records}

    @property
    def words(self) -> str:
        """The error's; empty if there is none."""
        return str(self.error or "")


def assert_complete(sync: Read, account: Account) -> None:
    """See that a read has brought every SMS of an account once, each under a key of its own."""
    assert not sync.error, sync.words
    assert identities(sync.records) == account.identities()
    assert len(sync.table) == len(sync.records)


class _Source(SourceCalltouchSms):
    """The source, with a stream of which the test chose the moment."""

    def __init__(self, stream: SmsMessages) -> None:
        self._stream = stream

    def streams(self, config: Mapping[str, Any]) -> list[Any]:
        return [self._stream]


def stream(now: datetime = NOW, timeouts: Timeouts = SYNC, **changes: Any) -> SmsMessages:
    """Return the stream as a sync that starts at `now` makes it."""
    config = Config.parse(settings(**changes), now)
    return SmsMessages(config, now, timeouts=timeouts, rate_limiter=RateLimiter(1e6))


def messages(
    sms_messages: SmsMessages,
    state: Mapping[str, Any] | None = None,
    sync_mode: SyncMode = SyncMode.incremental,
    **internal: Any,
) -> Generator[AirbyteMessage, None, None]:
    """Run the CDK's own read over a stream."""
    catalog = CatalogBuilder().with_stream("sms_messages", sync_mode).build()
    states = StateBuilder().with_stream_state("sms_messages", dict(state or {})).build()
    source = _Source(sms_messages)
    yield from source.read(sms_messages.logger, settings(**internal), catalog, states)


def read(
    sms_messages: SmsMessages,
    state: Mapping[str, Any] | None = None,
    sync_mode: SyncMode = SyncMode.incremental,
    stop: int = 0,
    **internal: Any,
) -> Read:
    """Read to the end, to the error that ends it, or until `stop` records have come."""
    result = Read()
    reading = messages(sms_messages, state, sync_mode, **internal)
    try:
        for message in reading:
            if message.record:
                result.records.append(message.record.data)
            if message.state and message.state.stream and message.state.stream.stream_state:
                result.states.append(dict(message.state.stream.stream_state.__dict__))
            if stop and len(result.records) == stop:
                break
    except Exception as error:  # noqa: BLE001 - the test looks at it
        result.error = error
    reading.close()
    return result


def spread(count: int, **more: Any) -> list[Row]:
    """Return SMS spread evenly over the time that the settings ask for."""
    return [
        row(START + n * ((END - START) / max(1, count)), text=f"{n}", **more) for n in range(count)
    ]


@pytest.fixture
def logs(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> pytest.LogCaptureFixture:
    """Capture what is logged, which the CDK may keep from the root's handlers."""
    monkeypatch.setattr(logging.getLogger("airbyte"), "propagate", True)
    caplog.set_level(logging.INFO)
    return caplog


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Serve a model account at the documented address."""
    with requests_mock.Mocker() as mock:

        def serve_account(account: Account) -> Account:
            mock.post(api.URL, text=account.answer)
            return account

        yield serve_account
