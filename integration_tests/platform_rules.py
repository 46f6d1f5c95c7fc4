"""What Airbyte's platform asks of a source's output: each rule, and what it is good for.

Read in airbytehq/airbyte-platform and in the protocol, version 0.18, in August 2026; names in
brackets are its files. `commands.run` judges every run by them.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

STREAM: Final = "sms_messages"
ANSWERS: Final = {"spec": "SPEC", "check": "CONNECTION_STATUS", "discover": "CATALOG"}
# The CDK writes DEBUG with --debug, which the platform never gives.
CONTENTS: Final = {"CONNECTION_STATUS": "connectionStatus", "DEBUG": "message"} | {
    kind: kind.lower() for kind in ("RECORD", "STATE", "LOG", "SPEC", "CATALOG", "TRACE")
}

Message = dict[str, Any]


@dataclass(frozen=True)
class Output:
    """All that a command said, and the settings it was given."""

    command: str
    out: bytes
    err: bytes
    code: int
    config: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def messages(self) -> list[Message]:
        """The messages on stdout."""
        return [json.loads(line) for line in self.out.splitlines()]

    def of(self, kind: str) -> list[Message]:
        """Return the contents of the messages of a type."""
        return [m[CONTENTS[kind]] for m in self.messages if m["type"] == kind]

    def traces(self, kind: str) -> list[Message]:
        """Return the contents of the traces of a type."""
        return [t[kind.lower()] for t in self.of("TRACE") if t["type"] == kind]

    @cached_property
    def unasked(self) -> bytes:
        """All but the records, whose place the data is."""
        lines = self.out.splitlines(keepends=True)
        return b"".join(ln for ln in lines if not ln.startswith(b'{"type":"RECORD"')) + self.err

    @property
    def records(self) -> list[dict[str, Any]]:
        """The records' data."""
        return [record["data"] for record in self.of("RECORD")]

    @property
    def states(self) -> list[dict[str, Any]]:
        """The states, as a state file holds them."""
        return self.of("STATE")

    @property
    def statuses(self) -> list[str]:
        """The stream's statuses."""
        return [status["status"] for status in self.traces("STREAM_STATUS")]

    @property
    def logs(self) -> str:
        """The log, a message a line."""
        return "\n".join(log["message"] for log in self.of("LOG"))

    @property
    def failure(self) -> tuple[str, str]:
        """What a command failed with: the type, which FAILED counts as, and the words."""
        for status in self.of("CONNECTION_STATUS"):
            return "config_error", str(status.get("message"))
        error = self.traces("ERROR")[0]
        return error["failure_type"], error["message"]


def forms(secret: str) -> set[bytes]:
    """Return a secret in plain, escaped once and twice, and as bytes are shown."""
    escaped = json.dumps(secret)[1:-1]
    texts = {secret, escaped, json.dumps(escaped)[1:-1], repr(secret.encode())[2:-1]}
    return {text.encode() for text in texts | {text.replace("\\", "\\\\") for text in texts}}


def judged(*said: Any) -> Output:
    """Return what a command said; the platform must take all of it as it is meant."""
    output = Output(*said)
    faults = [f"{rule.__doc__}\n  {fault}" for rule in RULES for fault in rule(output)]
    assert not faults, "\n".join([output.command, *faults])
    return output


# The rules yield what is wrong. Later ones rely on earlier ones.


def lines_are_messages(said: Output) -> Iterator[str]:
    """A line is one message: what is none, or has 20 million characters, is not taken as data."""
    for line, message in zip(said.out.splitlines(), said.messages, strict=True):
        if len(line) >= 20_000_000:
            yield f"a line of {len(line)} bytes"
        if message.get(CONTENTS.get(message.get("type", ""), "")) is None:
            yield line[:80].decode(errors="replace")


def a_command_gives_its_one_answer(said: Output) -> Iterator[str]:
    """The platform takes the first answer that it finds, or else the error."""
    for command, kind in ANSWERS.items():
        answers = len(said.of(kind))
        expected = int(said.command == command and said.code == 0)
        if answers != expected:
            yield f"{answers} {kind}, exit code {said.code}"
    if said.command != "read" and (said.of("RECORD") or said.of("STATE")):
        yield "data without a read"


def the_exit_code_tells_of_an_error(said: Output) -> Iterator[str]:
    """An attempt has failed if the exit code is not 0; the error tells why.

    A check that is answered FAILED has done its work.
    """
    if said.code != int(bool(said.traces("ERROR"))):
        yield f"exit code {said.code}, {len(said.traces('ERROR'))} errors"


def a_check_fails_by_a_setting_only(said: Output) -> Iterator[str]:
    """FAILED counts as config_error, and before a further attempt that ends the job for good."""
    for error in said.traces("ERROR"):
        if said.command == "check" and error["failure_type"] == "config_error":
            yield "a config_error that is not answered FAILED"
    for status in said.of("CONNECTION_STATUS"):
        if (status["status"] == "FAILED") != bool(status.get("message")):
            yield f"{status['status']}, message: {status.get('message')}"


def failures_are_of_the_causes_kind(said: Output) -> Iterator[str]:
    """Any config_error marks the connection FAILED, not INCOMPLETE (ConnectionsHandler).

    And a user reads each of an attempt's errors.
    """
    errors = said.traces("ERROR")
    kinds = {error.get("failure_type") for error in errors}
    if len(kinds) > 1 or kinds - {"config_error", "transient_error", "system_error"}:
        yield f"errors of the types {kinds}"
    if len({error["message"] for error in errors}) > 1:
        yield "errors in several words"
    # In a check, the CDK tells one and the same twice.
    if said.command == "read" and len(errors) > 1:
        yield f"{len(errors)} errors"


def statuses_come_in_order(said: Output) -> Iterator[str]:
    """STARTED, RUNNING, then COMPLETE or INCOMPLETE and no more (StreamStatusTracker)."""
    order = []
    for message in said.messages:
        if message["type"] == "RECORD":
            order.append("r")
        elif status := _status(message):
            order.append(str(status["status"])[0])
            if status["stream_descriptor"]["name"] != STREAM:
                yield f"a status of {status['stream_descriptor']}"
    # Started, Running, record, Complete, Incomplete.
    last = "I" if said.code else "C"
    none = said.command != "read" or said.code
    if not re.fullmatch(rf"SR*(Rr[Rr]*)?{last}" + ("|" if none else ""), "".join(order)):
        yield re.sub(r"r{2,}", "r…", "".join(order))


def a_wait_is_told_once(said: Output) -> Iterator[str]:
    """RATE_LIMITED is RUNNING with that one reason and when the quota is reset, in ms.

    Another is ignored until a record or RUNNING has come (RateLimitedMessageHelper,
    StreamStatusTracker).
    """
    limited = False
    for message in said.messages:
        status = _status(message)
        if message["type"] == "RECORD" or status:
            reasons = (status or {}).get("reasons") or []
            if reasons and limited:
                yield "told again while it is known"
            limited = bool(reasons)
            if not reasons:
                continue
            told = message["trace"]["emitted_at"]
            reset = (reasons[0].get("rate_limited") or {}).get("quota_reset", 0)
            is_running = status and status["status"] == "RUNNING"
            if not is_running or [r["type"] for r in reasons] != ["RATE_LIMITED"]:
                yield str(status)
            if not told < reset < told + 86_400_000:
                yield f"told at {told}, the quota is reset at {reset}"


def states_count_the_records_before_them(said: Output) -> Iterator[str]:
    """A state is of a stream, and counts the records since the one before (StateStats)."""
    records = 0
    for message in said.messages:
        records += message["type"] == "RECORD"
        if message["type"] != "STATE":
            continue
        state = message["state"]
        stream = (state.get("stream") or {}).get("stream_descriptor")
        if state.get("type") != "STREAM" or stream != {"name": STREAM}:
            yield f"a state of {stream}"
        counted = (state.get("sourceStats") or {}).get("recordCount")
        if counted != records:
            yield f"{records} records, and a state that counts {counted}"
        records = 0
    if records and said.code == 0:
        yield f"{records} records that no state follows"


def records_are_of_the_stream(said: Output) -> Iterator[str]:
    """A record without its stream, its time in ms or its key is refused, there or later."""
    for record in said.of("RECORD"):
        if (
            record.get("stream") != STREAM
            or record.get("namespace") is not None
            or not 1e12 < record.get("emitted_at", 0) < 1e13
            or not (record.get("data") or {}).get("smsKey")
        ):
            yield f"a record with {sorted(record)}"
            return


def nothing_private_is_said(said: Output) -> Iterator[str]:
    """The platform shows its users the log, whoever may see the connection."""
    config = [said.config.get("access_token"), *(said.config.get("phone_numbers") or [])]
    records = said.records
    texts = {record.get("smsMessage") for record in records[:1_000]}
    for secret in [*config, *texts]:
        # What is shorter may stand in a message by chance.
        if isinstance(secret, str) and len(secret) >= 8:
            yield from (form.decode() for form in forms(secret) if form in said.unasked)
    numbers = {str(record.get("phoneNumber")) for record in records}
    for digits in re.findall(rb"(?<!\d)\d{11}(?!\d)", said.unasked):
        if digits.decode() in numbers:
            yield digits.decode()


RULES: Final[tuple[Callable[[Output], Iterable[str]], ...]] = (
    lines_are_messages,
    a_command_gives_its_one_answer,
    the_exit_code_tells_of_an_error,
    a_check_fails_by_a_setting_only,
    failures_are_of_the_causes_kind,
    statuses_come_in_order,
    a_wait_is_told_once,
    states_count_the_records_before_them,
    records_are_of_the_stream,
    nothing_private_is_said,
)


def _status(message: Message) -> Message | None:
    status: Message | None = (message.get("trace") or {}).get("stream_status")
    return status
