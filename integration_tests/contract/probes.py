"""What is asked. docs/contract.md lists the questions by these names, most important first.

What asks returns what was found, with the sandbox's options that play it. It raises a `LostError`
where SMS would be lost and no code of the connector notices.
"""

import json
import re
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta

from integration_tests.contract.calltouch import Calltouch, LostError, Reply, UnansweredError
from sandbox.options import DATE_FORMATS
from sandbox.texts import FINAL, PASSED_ON, QUEUED, UNANSWERED
from source_calltouch_sms import api
from source_calltouch_sms.records import FIELDS

Found = tuple[str, ...]
"""In words, and as options of the sandbox."""

SECOND, DAY = timedelta(seconds=1), timedelta(days=1)
LONG, LONG_AGO = 1000 * DAY, datetime(2000, 1, 1)
AT_ONCE, ENDS = 6, ("dateFrom", "dateTo")
STATUSES, DETAILS = map(set, zip(*FINAL, PASSED_ON, QUEUED, UNANSWERED, strict=True))
# A number's ten digits as people write them.
MASKS = {
    "8XXXXXXXXXX": "8{}{}{}{}",
    "+7 XXX XXX XX XX": "+7 {} {} {} {}",
    "(XXX) XXX-XX-XX": "({}) {}-{}-{}",
}


def url(service: Calltouch) -> Found:
    (set_url, _, before), (used, _, reply) = service.attempts[0], service.attempts[-1]
    if not reply.is_page:
        tried = dict.fromkeys(attempt.words for _, _, attempt in service.attempts)
        raise LostError("no URL does: " + "; ".join(tried))
    text = "" if used == set_url else f"not the one that is set ({before.words}), but "
    if "/calltouch-leads/" in used:
        return f"{text}the one named under access", "--url under-access"
    return (text + ("the documented one" if service.other_url else "one of neither section"),)


def longest_range(service: Calltouch) -> Found:
    assert service.first
    since, until = service.range
    days = max(1, (until - since).days)
    refused = [reply for used, _, reply in service.attempts[:-1] if used == service.url]
    if not refused and days < LONG.days:
        reply = service.ask(until - LONG, until)
        refused, days = ([], LONG.days) if reply.is_page else ([reply], days)
    if not refused:
        return (f"yes: {days:,} days",)
    option = "--longest-days" if refused[-1].is_passing else "--max-days"
    words = f"{refused[-1].words} after {refused[-1].seconds:.0f} s"
    return f"no ({words}); {days:,} days can", f"{option} {days}"


def dates(service: Calltouch) -> Found:
    (since, until), walls = service.range, [wall for _, wall in service.sms(service.first)]
    sent = [str(row.get("dateSent")) for row in service.rows]
    forms = {re.sub(r"\d", "9", text) for text in sent}
    shown = {form if re.fullmatch("[9T/.:+Z -]{8,30}", form) else "another form" for form in forms}
    written = f"written {' and '.join(sorted(shown))}"
    options = [
        f"--date-format {name}"
        for name, form in DATE_FORMATS.items()
        if all(wall and f"{wall:{form}}" == text for wall, text in zip(walls, sent, strict=True))
    ][:1]
    if unread := walls.count(None):
        raise LostError(f"{unread:,} of {len(walls):,} cannot be read, {written}")
    if outside := sum(not since <= wall <= until for wall in walls if wall):
        raise LostError(f"{outside:,} of {len(walls):,} lie outside the range, {written}", *options)
    return f"yes, all {written}", *options


def total(service: Calltouch) -> Found:
    rows, told = len(service.rows), service.first.page.total
    is_text = re.search(rb'"totalCountSms"\s*:\s*"', service.first.body) is not None
    than = "fewer than" if told < rows else "as many as" if told == rows else "more than"
    words = "digits as text" if is_text else "an integer"
    return f"{words}, {than} the rows of the first page", *["--total-as-text"] * is_text


def ends(service: Calltouch) -> Found:
    moment = service.second
    expected = Counter(identity for identity, wall in service.sms(service.first) if wall == moment)
    if not expected - service.count(service.in_second):
        if others := sum(wall != moment for _, wall in service.sms(service.in_second)):
            raise LostError(f"more than included: {others:,} SMS of other seconds came too")
        return ("yes: from and to the same second, its SMS came and no others",)
    for excluded in (("to",), ("from",), ("from", "to")):
        since, until = moment - SECOND * ("from" in excluded), moment + SECOND * ("to" in excluded)
        if not expected - service.count(service.get(since, until)):
            options = (f"--{end}-excluded" for end in excluded)
            raise LostError(f"no: {' and '.join(excluded)} is excluded", *options)
    raise LostError("no: whole seconds are not kept to")


def cap(service: Calltouch) -> Found:
    told, rows = service.first.page.total, len(service.rows)
    if told == rows and told % 1_000:
        raise UnansweredError("the range has less than a full page")
    if told == rows and sum(part.page.total for part in service.parts) > told:
        return f"yes: the parts of a range of {told:,} have more", f"--cap {told}"
    return ("no",)


def parts(service: Calltouch) -> Found:
    whole = service.first
    more = sum(part.page.total for part in service.parts) - whole.page.total
    if more and service.get(*service.range).page.total != whole.page.total:
        raise UnansweredError("the total changed meanwhile")
    if more > 0 and whole.page.total == len(whole.page.rows) and whole.page.total % 1_000 == 0:
        raise UnansweredError("the total is a cap, see above")
    if more:
        raise LostError(f"no: the parts have {more:+,} SMS, compared with the whole")
    return ("yes",)


def page_2(service: Calltouch) -> Found:
    assert service.pages
    first, second = service.first, service.get(*service.range, pageOfResult=2)
    ours, theirs = service.count(first), service.count(second)
    if ours == theirs:
        raise LostError("no: it holds the SMS of page 1 again", "--ignore-page")
    repeated = (ours & theirs).total()
    words = f"yes, but for {repeated:,} SMS that page 1 has, or equal ones" if repeated else "yes"
    return (words + ", and with another total" * (second.page.total != first.page.total),)


def last_page(service: Calltouch) -> Found:
    size, pages = len(service.rows), service.pages
    rest = service.first.page.total - (pages - 1) * size
    last = len(service.get(*service.range, pageOfResult=pages).page.rows)
    words = "the rest" if last == rest else f"{last:,} where {rest:,} remain"
    return f"{size:,}, on the last {words}", *[f"--page-size {size}"] * (size != api.PAGE_SIZE)


def masks(service: Calltouch) -> Found:
    expected = Counter(str(row.get("phoneNumber")) for row in service.in_second.page.rows)
    number = next((n for n in expected if re.fullmatch(r"7\d{10}", n, re.ASCII)), "")
    if not number:
        raise UnansweredError("no number in the form 7XXXXXXXXXX was got")
    if service.ask(service.second, service.second, phoneNumbers=["+7 000 000-00-00"]).page.rows:
        raise LostError("the filter is not kept to: SMS to other numbers came")
    failed = []
    for mask, form in MASKS.items():
        masked = form.format(number[1:4], number[4:7], number[7:9], number[9:])
        reply = service.ask(service.second, service.second, phoneNumbers=[masked])
        got = Counter(str(row.get("phoneNumber")) for row in reply.page.rows)
        failed += [mask] * (got != Counter({number: expected[number]}))
    if failed:
        raise LostError(f"not by {', '.join(failed)}")
    return (f"yes: {', '.join(MASKS)}",)


def order(service: Calltouch) -> Found:
    first, again = service.sms(service.first), service.sms(service.get(*service.range))
    times, later = ([str(wall) for _, wall in sms] for sms in (first, again))
    orders = {"ascending": sorted(times), "descending": sorted(times, reverse=True)}
    name = next((name for name, by_time in orders.items() if times == by_time), "mixed")
    words = "not by time" if name == "mixed" else f"{name} by time"
    if first == again:
        return f"{words}; the same twice", f"--order {name}"
    if times == later and name == "ascending":
        return f"{words}, SMS of one second in another order the second time", "--order ties"
    return (f"{words}; another order, or other SMS, the second time",)


def answer_to(send: Callable[[Calltouch], Reply], reason: str = "") -> Callable[[Calltouch], Found]:
    """Ask for an answer's words; the sandbox refuses for that reason."""

    def ask(service: Calltouch) -> Found:
        reply = send(service)
        is_refusal = bool(reason and reply.status and not reply.is_page)
        return reply.words, *[f"--{reason}-status {reply.status}"] * is_refusal

    return ask


wrong_token = answer_to(lambda s: s.post(s.body(), **{"Access-Token": "wrong"}), "token")
unknown_site = answer_to(lambda s: s.post(s.body(), SiteId="999999999"), "site")
missing_field = answer_to(lambda s: s.post({"dateFrom": s.body()["dateFrom"]}), "field")
broken_json = answer_to(lambda s: s.post(b'{"dateFrom": ' * s.first.is_page), "json")
# In two days, as tomorrow may have begun in the account's zone.
future = answer_to(lambda s: s.post(s.body(dateTo=api.wire_time(s.now + 2 * DAY))), "value")
reversed_range = answer_to(
    lambda s: s.post(s.body(dateFrom=api.wire_time(s.second + SECOND))), "value"
)
page_0 = answer_to(lambda s: s.post(s.body(pageOfResult=0)))
page_1 = answer_to(lambda s: s.post(s.body(pageOfResult=1)))
page_as_text = answer_to(lambda s: s.ask(*s.range, pageOfResult=str(min(2, s.pages))))
dots = answer_to(lambda s: s.post(dict.fromkeys(ENDS, f"{s.second:%d.%m.%Y %H:%M:%S}")))
year_first = answer_to(lambda s: s.post(dict.fromkeys(ENDS, str(s.second))))


def other_url(service: Calltouch) -> Found:
    if not service.other_url:
        raise UnansweredError("the URL in use is none of the two")
    reply = service.post(service.body(), service.other_url)
    return reply.words, *["--url both"] * reply.is_page


def no_sms(service: Calltouch) -> Found:
    reply = service.ask(LONG_AGO, LONG_AGO + SECOND)
    is_list = reply.is_page and json.loads(reply.body)["data"] == []
    return reply.words + ', "data": []' * is_list, *["--empty-as-list"] * is_list


def after_last(service: Calltouch) -> Found:
    if not service.in_second.page.rows:
        raise UnansweredError("a range of one second brings no SMS, see above")
    reply = service.ask(service.second, service.second, pageOfResult=2)
    if not reply.is_page:
        return reply.words, f"--value-status {reply.status}"
    if reply.page.rows:
        return "the last page again", "--beyond-last repeated"
    return "an empty page", "--beyond-last empty"


def wrong_url(service: Calltouch) -> Found:
    reply = service.post(service.body(), service.url + "-")
    found = "redirect" if "Location" in reply.headers else "404" if reply.status == 404 else "help"
    return reply.words, f"--elsewhere {found}"


def on_the_wire(service: Calltouch) -> Found:
    body = service.first.body
    took, size = service.first.seconds, len(body) // len(service.rows)
    is_plain = re.search("[Ѐ-ӿ]", body.decode("utf-8", "replace")) is not None
    is_raw = b"\n" in body.strip()
    is_gzip = service.first.headers.get("Content-Encoding", "") == "gzip"
    words = f"letters {'as they are' if is_plain else 'escaped'}, line breaks "
    words += f"{'as they are' if is_raw else 'escaped or none'}, {'' if is_gzip else 'no '}gzip"
    switches = {"--unescaped-unicode": is_plain, "--raw-breaks": is_raw, "--gzip": is_gzip}
    switches[f"--latency {took:.1f}"] = took >= 0.05
    played = (switch for switch, is_on in switches.items() if is_on)
    return f"{words}; {took:.1f} s, {size} bytes an SMS", *played


def fields(service: Calltouch) -> Found:
    others = sorted({name for row in service.rows for name in row} - set(FIELDS))
    names = [name for name in others if re.fullmatch(r"[A-Za-z_]{1,40}", name)]
    words = names + ["one that is not shown"] * (names != others)
    words += [f"not {name}" for name in FIELDS if any(name not in row for row in service.rows)]
    return (", ".join(words) or "none",)


def statuses(service: Calltouch) -> Found:
    pairs = {(str(r.get("smsStatus")), str(r.get("smsStatusDetail"))) for r in service.rows}
    others = {":".join(pair) for pair in pairs if pair[0] not in STATUSES or pair[1] not in DETAILS}
    # A word or two each; what is longer may be a text.
    known = sorted(o for o in others if re.fullmatch(r"[\w-]{1,20}:[^\W\d_]+( [^\W\d_]+){0,3}", o))
    words = known + ["others that are not shown"] * (len(others) > len(known))
    return (", ".join(words) or "none",)


def time_zone(service: Calltouch) -> Found:
    midnight = service.now.replace(hour=0, minute=0, second=0)
    today = service.get(midnight, midnight + DAY - SECOND)
    walls = [wall for _, wall in service.sms(today) if wall]
    if not walls:
        raise UnansweredError("there are no SMS of today")
    minutes = round((service.now - max(walls)) / timedelta(minutes=1))
    if minutes < -2:
        return (f"no: SMS lie {-minutes:,} minutes in the future of {service.zone.name}",)
    age = f"the newest SMS is {minutes:,} minutes old in {service.zone.name}"
    if minutes < 30:
        return f"yes: {age}", f"--zone {service.zone.name}"
    raise UnansweredError(f"{age}: too old to tell")


def rate(service: Calltouch) -> Found:
    cost = service.spent + AT_ONCE * api.POINTS_PER_CALL
    if not service.rate or cost > service.points:
        raise UnansweredError(f"asked with --rate only, if {cost} points are allowed")
    replies = service.at_once(AT_ONCE)
    served = sum(reply.is_page for reply in replies)
    limited = [reply.headers for reply in replies if reply.status == 429]
    if not limited:
        return f"{served} served, none gets 429", "--rate 0"
    wait = limited[0].get("Retry-After", "")
    told = f"Retry-After {wait}" if wait.isdecimal() else "another Retry-After or none"
    return f"{served} served, {len(limited)} get 429 ({told})", f"--rate {served}"
