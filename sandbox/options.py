"""What the sandbox can be told, each option once: its name, its default and what it does."""

import argparse
import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sandbox.faults import Plan, read_plan
from sandbox.rules import ALLOWANCES, FORMS, REFUSALS, STATUSES
from sandbox.times import DAY_FIRST

COMMAND = "python -m sandbox"
# Of `dateSent`, as strftime writes it; an offset is put where +00:00 stands.
DATE_FORMATS = {
    "dd-mm-yyyy": DAY_FIRST,
    "dd.mm.yyyy": "%d.%m.%Y %H:%M:%S",
    "yyyy-mm-dd": "%Y-%m-%d %H:%M:%S",
    "mm/dd/yyyy": "%m/%d/%Y %H:%M:%S",
    "dd/mm/yyyy": "%d/%m/%Y %H:%M:%S",
    "no-seconds": "%d-%m-%Y %H:%M",
    "iso": "%Y-%m-%dT%H:%M:%S",
    "iso-offset": "%Y-%m-%dT%H:%M:%S+00:00",
}


def _count(text: str) -> int:
    count = int(text)
    if count < 0:
        raise ValueError(text)
    return count


def _zone(text: str) -> str:
    try:
        return ZoneInfo(text).key
    except (ValueError, ZoneInfoNotFoundError) as error:
        raise argparse.ArgumentTypeError(f"no such time zone: {text}") from error


def _refusal(text: str) -> tuple[str, int, str]:
    reason, _, answer = text.partition("=")
    status, _, form = answer.partition(":")
    if reason not in STATUSES or form not in {"", "html", *FORMS}:
        raise ValueError(text)
    return reason, int(status), form


def _status(text: str) -> tuple[str, str]:
    status, _, detail = text.partition(":")
    return status, detail


def _plan(text: str) -> Plan:
    try:
        return read_plan(json.loads(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _option(default: Any, about: str, **argument: Any) -> Any:
    if "action" not in argument and "choices" not in argument:
        argument = {"type": float if isinstance(default, float) else _count, **argument}
    return field(default=default, metadata={"default": default, "help": about, **argument})


def _switch(about: str) -> Any:
    return _option(False, about, action="store_true")  # noqa: FBT003


def _choice(choices: str, about: str) -> Any:
    first, *others = choices.split()
    return _option(first, about, choices=[first, *others])


def _list(flag: str, about: str, **argument: Any) -> Any:
    about += "; may be repeated"
    kept = {"flag": flag, "action": "append", "help": about, **argument}
    return field(default=(), metadata={**kept, "default": []})


@dataclass(frozen=True)
class Making:
    """What kind of account to make. Equal ones in the same minute make equal accounts."""

    sms: int = _option(25_000, "number of SMS")
    seed: int = _option(1, "equal seeds make equal accounts")
    zone: str = _option("Europe/Moscow", "the account's time zone", type=_zone)
    days: int = _option(365, "how far back the SMS reach")
    ahead: int = _option(0, "days to come that have SMS, too, which appear as the clock goes on")
    shape: str = _choice(
        "even late burst empty business",
        "spread evenly; nine tenths in 30 days; 31,000 in one second; none; or as of a business:"
        " mailings on weekdays, a bad one among them, codes and orders in between, quiet holidays",
    )
    mailings: int = _option(0, "so many SMS (3000) share each second", nargs="?", const=3000)
    text_length: int = _option(0, "Russian letters in each text; 0: texts of usual length")
    also_fields: Sequence[str] = _list("--also-field", "one more field of each SMS", metavar="NAME")
    also_statuses: Sequence[tuple[str, str]] = _list(
        "--also-status", "one more that some SMS have", metavar="STATUS:DETAIL", type=_status
    )


@dataclass(frozen=True)
class Options:
    """How the sandbox answers. The defaults are what Calltouch's documentation says."""

    arriving: bool = _switch("an SMS appears before each call, in this minute")
    page_size: int = _option(10_000, "SMS on a page")
    rate: int = _option(5, "calls in any second from one address; 0: no limit")
    retry_after: int | None = _option(None, "seconds; header of the calls over that rate")
    points: int | None = _option(None, "points for the day; a call costs 2")
    latency: float = _option(0.0, "seconds before each answer")
    jitter: float = _option(0.0, "share by which the latency varies")
    longest_days: int | None = _option(None, "a range of more days gets 504")
    too_long_seconds: float = _option(0.0, "seconds before that 504")
    max_days: int | None = _option(None, "a range of more days violates dateFrom")
    kept_days: int | None = _option(None, "a range that begins more days ago violates dateFrom")
    cap: int | None = _option(None, "SMS of a range that are counted or found at most")
    order: str = _choice(
        "mixed ascending descending ties",
        "of the SMS by time; ties: those of one second in a new order for every call",
    )
    date_format: str = _choice(
        " ".join([*DATE_FORMATS, "mixed"]), "mixed: another documented one for every call"
    )
    gzip: bool = _switch("compress pages for clients that accept it")
    total_as_text: bool = _switch("totalCountSms is a string of digits")
    no_right: bool = _switch("the token has no right to the method")
    empty_as_list: bool = _switch('an answer without SMS has "data": []')
    unescaped_unicode: bool = _switch("send UTF-8, not \\uXXXX")
    raw_breaks: bool = _switch("line breaks in strings are not escaped")
    url: str = _choice("documented under-access both", "which of the two addresses answers")
    elsewhere: str = _choice(
        "404 help redirect", "what other addresses answer: HTML under 404 or 200, or a redirect"
    )
    allow: Sequence[str] = _list("--allow", "accept what should be refused", choices=ALLOWANCES)
    refuse: Sequence[str] = _list(
        "--refuse", "dots in dates, or numbers other than answers have them", choices=REFUSALS
    )
    refusals: Sequence[tuple[str, int, str]] = _list(
        "--refusal",
        f"HTTP status of a refusal ({', '.join(STATUSES)}) and, if not its usual one, the form of"
        f" its body ({', '.join(FORMS)}, html)",
        metavar="REASON=STATUS[:FORM]",
        type=_refusal,
    )
    ends: str = _choice(
        "included from-excluded to-excluded excluded whole-minutes",
        "whether the ends of a requested range belong to it",
    )
    beyond_last: str = _choice("refused empty repeated", "the answer to a page after the last")
    ignore_page: bool = _switch("every page is the first")


def read_arguments(words: Sequence[str]) -> tuple[Making, Options, argparse.Namespace]:
    """Read a command line; it overrides the options of a report that it names."""
    parser = argparse.ArgumentParser(
        prog=COMMAND,
        description="A Calltouch to run on your own machine: its SMS-statistics method.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on")
    add("--port", type=int, default=8077, help="0 takes a free one")
    add("--faults", type=_plan, default="[]", metavar="JSON", help="a plan, see faults.py")
    about = "behave as a report of `make contract` says; options given beside it override it"
    add("--like", type=_report, default=[], metavar="REPORT", help=about)
    for kind in (Making, Options):
        group = parser.add_argument_group("the account" if kind is Making else "the answers")
        for each in fields(kind):
            argument = dict(each.metadata)
            flag = argument.pop("flag", "--" + each.name.replace("_", "-"))
            group.add_argument(flag, dest=each.name, **argument)
    arguments = parser.parse_args(words)
    arguments = parser.parse_args([*arguments.like, *words])
    making = Making(*(getattr(arguments, each.name) for each in fields(Making)))
    return making, Options(*(getattr(arguments, each.name) for each in fields(Options))), arguments


def _report(path: str) -> list[str]:
    """Return the options at the end of a report."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{path}: {error.strerror}") from error
    for line in lines:
        if line.strip().startswith(COMMAND):
            return shlex.split(line.strip().removeprefix(COMMAND))
    raise argparse.ArgumentTypeError(f"{path} has no line that begins with: {COMMAND}")
