"""What the sandbox can be told. The defaults are what Calltouch's documentation says."""

import argparse
from collections.abc import Sequence
from zoneinfo import ZoneInfo

DAY_FIRST = "%d-%m-%Y %H:%M:%S"
DATE_FORMATS = {
    "dd-mm-yyyy": DAY_FIRST,
    "dd.mm.yyyy": "%d.%m.%Y %H:%M:%S",
    "yyyy-mm-dd": "%Y-%m-%d %H:%M:%S",
    "mm/dd/yyyy": "%m/%d/%Y %H:%M:%S",
    "dd/mm/yyyy": "%d/%m/%Y %H:%M:%S",
    "iso": "%Y-%m-%dT%H:%M:%S",
    "iso-offset": "%Y-%m-%dT%H:%M:%S%z",
}
# Why a call is refused, and the usual HTTP status that says so; the documentation gives none.
STATUSES = {
    "token": 401,
    "site": 401,
    "right": 403,
    "points": 429,
    "json": 400,
    "field": 400,
    "value": 422,
}


def read_options(words: Sequence[str]) -> argparse.Namespace:
    """Read a command line."""
    parser = argparse.ArgumentParser(
        prog="python -m sandbox",
        description="A Calltouch to run on your own machine: its SMS-statistics method.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--port", type=int, default=8077, help="0 takes a free one")

    add = parser.add_argument_group("the account").add_argument
    add("--sms", type=int, default=25_000, help="number of SMS")
    add("--zone", type=ZoneInfo, default="Europe/Moscow", help="the account's time zone")
    add("--days", type=int, default=365, help="how far back the SMS reach")
    shapes = ("even", "late", "burst", "empty", "business")
    about = (
        "spread evenly; nine tenths in 30 days; 31,000 in one second; none; or as of a business:"
        " mailings on weekdays, a bad one among them, codes and orders in between, quiet holidays"
    )
    add("--shape", choices=shapes, default="even", help=about)
    about = "so many SMS (3000) share each second"
    add("--mailings", type=int, nargs="?", const=3_000, default=1, help=about)
    add("--text-length", type=int, default=0, help="letters in each text; 0: of usual length")
    add("--arriving", action="store_true", help="an SMS appears before each call, in this minute")

    add = parser.add_argument_group("limits").add_argument
    add("--page-size", type=int, default=10_000, help="SMS on a page")
    add("--rate", type=int, default=5, help="calls in any second from one address; 0: no limit")
    add("--points", type=int, help="points for the day; a call costs 2")
    add("--latency", type=float, default=0.0, help="seconds before each answer")
    add("--jitter", type=float, default=0.0, help="share by which the latency varies")
    add("--longest-days", type=int, help="a range of more days gets 504")
    add("--max-days", type=int, help="a range of more days violates dateFrom")
    add("--kept-days", type=int, help="a range that begins more days ago violates dateFrom")
    add("--cap", type=int, help="SMS of a range that are counted or found at most")

    add = parser.add_argument_group("answers").add_argument
    orders = ("mixed", "ascending", "descending", "ties")
    about = "of the SMS by time; ties: those of one second in a new order for every call"
    add("--order", choices=orders, default="mixed", help=about)
    add("--date-format", choices=DATE_FORMATS, default="dd-mm-yyyy", help="of dateSent")
    add("--gzip", action="store_true", help="compress what a client accepts compressed")
    add("--total-as-text", action="store_true", help="totalCountSms is a string of digits")
    add("--empty-as-list", action="store_true", help='an answer without SMS has "data": []')
    add("--unescaped-unicode", action="store_true", help="send UTF-8, not \\uXXXX")
    add("--raw-breaks", action="store_true", help="line breaks in strings are not escaped")
    add("--no-right", action="store_true", help="the token has no right to the method")
    for reason, status in STATUSES.items():
        about = "HTTP status of the refusal"
        add(f"--{reason}-status", type=int, metavar="STATUS", default=status, help=about)
    addresses = ("documented", "under-access", "both")
    add("--url", choices=addresses, default="documented", help="which of the two addresses answers")
    about = "what other addresses answer: HTML under 404 or 200, or a redirect"
    add("--elsewhere", choices=("404", "help", "redirect"), default="404", help=about)
    add("--from-excluded", action="store_true", help="dateFrom does not belong to the range")
    add("--to-excluded", action="store_true", help="dateTo does not belong to the range")
    about = "the answer to a page after the last"
    add("--beyond-last", choices=("refused", "empty", "repeated"), default="refused", help=about)
    add("--ignore-page", action="store_true", help="every page is the first")
    return parser.parse_args(words)
