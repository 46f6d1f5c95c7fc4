"""The command line: `python -m sandbox --port 8077 --sms 25000`."""

import argparse
import asyncio
import json
import shlex
import signal
import socket
import sys
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from sandbox.account import Making
from sandbox.app import DATE_FORMATS, ENDS, PATHS, SITE_ID, TOKEN, Calltouch, Options
from sandbox.faults import Plan, read_plan
from sandbox.rules import ALLOWANCES, FORMS, REFUSALS, STATUSES

COMMAND = "python -m sandbox"
_LIST: dict[str, Any] = {"action": "append", "default": []}


class Protocol(H11Protocol):
    """HTTP that gives the application its transport, for faults below HTTP."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin a connection."""
        super().connection_made(transport)
        app = self.app

        async def with_transport(scope: Scope, receive: Receive, send: Send) -> None:
            scope.setdefault("extensions", {})["transport"] = transport
            await app(scope, receive, send)

        self.app = with_transport


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    # uvicorn raises the signal again after it has shut down, but being stopped is no failure.
    for asked in (signal.SIGINT, signal.SIGTERM):
        signal.signal(asked, lambda *_: sys.exit(0))
    making, options, arguments = read_arguments(sys.argv[1:])
    try:
        listening = socket.create_server((arguments.host, arguments.port))
    except OSError as error:
        sys.exit(f"cannot listen on {arguments.host}:{arguments.port}: {error.strerror}")
    calltouch = Calltouch(making, options, arguments.faults)
    root = f"http://{arguments.host}:{listening.getsockname()[1]}"
    start_date = calltouch.config("")["start_date"]
    print("A Calltouch sandbox is listening. Press Ctrl+C to end it.")
    print(f"Page:    {root}/")
    print(f"URL:     {root}{PATHS[options.url][0]}")
    print(f"Token:   {TOKEN}")
    print(f"Site id: {SITE_ID}")
    print(f"Zone:    {making.zone}")
    print(f"SMS:     {len(calltouch.account)}, the first of {start_date}", flush=True)
    config = uvicorn.Config(
        calltouch.app(),
        http=Protocol,
        ws="none",
        log_level="critical",
        timeout_graceful_shutdown=0,  # calls that a fault holds back would delay the end
    )
    uvicorn.Server(config).run(sockets=[listening])


def read_arguments(words: list[str]) -> tuple[Making, Options, argparse.Namespace]:
    """Read a command line; it overrides the options of a report that it names."""
    parser = _parser()
    arguments = parser.parse_args(words)
    arguments = parser.parse_args([*arguments.like, *words])
    making = Making(*(getattr(arguments, name) for name in Making.__match_args__))
    options = Options(*(getattr(arguments, name) for name in Options.__match_args__))
    return making, options, arguments


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=COMMAND,
        description="A Calltouch to run on your own machine: its SMS-statistics method.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on")
    add("--port", type=int, default=8077, help="0 takes a free one")
    about = "behave as a report of `make contract` says; options given beside it override it"
    add("--like", type=_switches, default=[], metavar="REPORT", help=about)
    _add_account(parser.add_argument_group("the account"))
    _add_answers(parser.add_argument_group("the answers"))
    _add_readings(parser.add_argument_group("what the documentation leaves open, or is different"))
    return parser


def _add_account(group: Any) -> None:
    add = group.add_argument
    add("--sms", type=_count, default=Making.sms, help="number of SMS")
    add("--seed", type=int, default=Making.seed, help="equal seeds make equal accounts")
    add("--zone", type=_zone, default=Making.zone, help="the account's time zone")
    add("--days", type=_count, default=Making.days, help="how far back the SMS reach")
    about = "days in the future that have SMS too, which appear when the clock gets there"
    add("--ahead", type=_count, default=Making.ahead, help=about, metavar="DAYS")
    shapes = ("even", "late", "burst", "empty")
    about = "spread evenly, nine tenths in 30 days, 31,000 in one second, or none"
    add("--shape", choices=shapes, default=Making.shape, help=about)
    about = "the SMS come in mailings of so many (3000) in one second; 0: no mailings"
    add("--mailings", type=_count, nargs="?", const=3000, default=Making.mailings, help=about)
    about = "Russian letters in each text; 0: texts of usual length"
    add("--text-length", type=_count, default=Making.text_length, help=about)
    add("--arriving", action="store_true", help="an SMS appears before each call, in this minute")
    about = "one more field of each SMS; may be repeated"
    add("--also-field", **_LIST, dest="also_fields", metavar="NAME", help=about)
    about = "one more status that some SMS have; may be repeated"
    metavar = "STATUS:DETAIL"
    add("--also-status", **_LIST, dest="also_statuses", metavar=metavar, type=_status, help=about)


def _add_answers(group: Any) -> None:
    add = group.add_argument
    add("--page-size", type=_count, default=Options.page_size, help="SMS on a page")
    add("--rate", type=_count, default=Options.rate, help="calls in any second; 0: no limit")
    about = "Retry-After for the calls over that rate"
    add("--retry-after", type=_count, default=Options.retry_after, metavar="SECONDS", help=about)
    add("--points", type=_count, default=Options.points, help="points for the day; a call costs 2")
    add("--latency", type=float, default=Options.latency, help="seconds before each answer")
    add("--jitter", type=float, default=Options.jitter, help="share by which the latency varies")
    about = "days of the longest range that is allowed; a longer one is a violation of dateFrom"
    add("--max-days", type=_count, default=Options.max_days, metavar="DAYS", help=about)
    about = "days for which SMS are kept; a range that begins earlier is a violation of dateFrom"
    add("--kept-days", type=_count, default=Options.kept_days, metavar="DAYS", help=about)
    about = "SMS of a range that are counted or found at most"
    add("--cap", type=_count, default=Options.cap, metavar="SMS", help=about)
    about = "days of the longest range that is answered; a longer one gets 504"
    add("--longest-days", type=_count, default=Options.longest_days, help=about)
    about = "seconds before that 504"
    add("--too-long-seconds", type=float, default=Options.too_long_seconds, help=about)
    orders = ("mixed", "ascending", "descending", "ties")
    about = "order of the SMS by time; ties: those of one second in a new order for every call"
    add("--order", choices=orders, default=Options.order, help=about)
    formats = (*DATE_FORMATS, "mixed")
    about = "of dateSent; mixed: another documented one for every call"
    add("--date-format", choices=formats, default=Options.date_format, help=about)
    add("--gzip", action="store_true", help="compress pages for clients that accept it")
    add("--total-as-text", action="store_true", help="totalCountSms is a string of digits")
    add("--no-right", action="store_true", help="the token has no right to the method")
    add("--empty-as-list", action="store_true", help='an answer without SMS has "data": []')
    add("--unescaped-unicode", action="store_true", help="send UTF-8, not \\uXXXX")
    add("--raw-breaks", action="store_true", help="line breaks in strings are not escaped")
    about = "a plan as JSON, see faults.py"
    add("--faults", type=_plan, default="[]", metavar="JSON", help=about)


def _add_readings(group: Any) -> None:
    add = group.add_argument
    about = "which of the two documented addresses answers: under request, under access, or both"
    add("--url", choices=PATHS, default=Options.url, help=about)
    about = "accept what should be refused, or dates written year first; may be repeated"
    add("--allow", **_LIST, choices=ALLOWANCES, help=about)
    about = "refuse dates with dots, or find numbers only as answers have them; may be repeated"
    add("--refuse", **_LIST, choices=REFUSALS, help=about)
    about = (
        f"HTTP status of a refusal ({', '.join(STATUSES)}) and, if not its usual one, the form of "
        f"its body ({', '.join(FORMS)}, html); may be repeated"
    )
    metavar = "REASON=STATUS[:FORM]"
    add("--refusal", **_LIST, dest="refusals", metavar=metavar, type=_refusal, help=about)
    about = "whether the ends of a requested range belong to it"
    add("--ends", choices=ENDS, default=Options.ends, help=about)
    answers = ("refused", "empty", "repeated")
    about = "the answer to a page after the last"
    add("--beyond-last", choices=answers, default=Options.beyond_last, help=about)
    answers = ("404", "help", "redirect")
    about = "what other addresses answer: an HTML page under 404 or 200, or a redirect"
    add("--elsewhere", choices=answers, default=Options.elsewhere, help=about)
    add("--ignore-page", action="store_true", help="every page is the first")


def _refusal(text: str) -> tuple[str, int, str]:
    reason, _, answer = text.partition("=")
    status, _, form = answer.partition(":")
    if reason not in STATUSES or form not in {"", "html", *FORMS}:
        raise ValueError(text)
    return reason, int(status), form


def _status(text: str) -> tuple[str, str]:
    status, _, detail = text.partition(":")
    return status, detail


def _switches(path: str) -> list[str]:
    """Return the options at the end of a report."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{path}: {error.strerror}") from error
    for line in lines:
        if line.strip().startswith(COMMAND):
            return shlex.split(line.strip().removeprefix(COMMAND))
    raise argparse.ArgumentTypeError(f"{path} has no line that begins with: {COMMAND}")


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


def _plan(text: str) -> Plan:
    try:
        return read_plan(json.loads(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


if __name__ == "__main__":
    main()
