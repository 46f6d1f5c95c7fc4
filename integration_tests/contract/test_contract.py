"""What the connector relies on, a fact a test, most important first: points may run out.

A test is red where SMS would be lost and no code of the connector notices; all else is a finding.
"""

import json
import re
import shlex
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import pytest

from integration_tests.contract.calltouch import (
    MINUTE,
    SECOND,
    TOO_MANY_REQUESTS,
    Calltouch,
    Reply,
    identity,
    sent_at,
)
from integration_tests.contract.conftest import Found
from source_calltouch_sms import api
from source_calltouch_sms.records import FIELDS

asks = pytest.mark.asks
REFUSES = (
    "Stops with an error of the settings on a documented body, under whatever HTTP status; tries "
    "again, then fails, where HTTP 200 comes with what is not documented"
)
NEVER_SENDS = "Never sends it"
LONG_AGO = datetime(2000, 1, 1)
AT_ONCE = 6
YOUNG = timedelta(minutes=30)

STATUSES = ("waiting", "unknown", "sent", "error", "delivered")
DETAILS = (
    "Статус еще не получен",
    "Невозможно доставить",
    "Неверный номер",
    "Запрещено",
    "Недостаточно средств",
    "Недоступный номер",
    "Доставлено",
    "Ожидает отправки",
    "Передано оператору",
    "Просрочено",
    "Неизвестный статус",
)
DATES = {
    r"\d\d-\d\d-\d{4} .*": "dd-mm-yyyy",
    r"\d\d\.\d\d\.\d{4} .*": "dd.mm.yyyy",
    r"\d{4}-\d\d-\d\d .*": "yyyy-mm-dd",
    r"\d\d/\d\d/\d{4} .*": "mm/dd/yyyy",
}
# A number's ten digits as people write them.
MASKS = {
    "8XXXXXXXXXX": "8{0}{1}{2}{3}",
    "+7 XXX XXX XX XX": "+7 {0} {1} {2} {3}",
    "(XXX) XXX-XX-XX": "({0}) {1}-{2}-{3}",
}


def many(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 or word == 'SMS' else 's'}"


# Can SMS be got at all, and can all of them be?


@asks(
    "Which URL answers?",
    "Names …/api/sms-to-clients/result for requests, …/api/calltouch-leads/… for access and cost",
    "Sends to the first one, unless api_url is set; an error names the setting",
)
def test_the_documented_url_answers(calltouch: Calltouch, found: Found) -> None:
    last = calltouch.attempts[-1]
    if not last.reply.page:
        tried = {attempt.url: attempt.reply.words for attempt in calltouch.attempts}
        found.red("no URL does: " + "; ".join(dict.fromkeys(tried.values())))
    if last.url != calltouch.attempts[0].url:
        text = (
            f"the other one than was set; the one that was set: {calltouch.attempts[0].reply.words}"
        )
    else:
        text = "the one in use"
    if calltouch.other_url == "":
        found(f"{text}, which the documentation does not name")
    elif calltouch.is_under_access:
        found(f"{text}, which is the one named under access", "--url under-access")
    else:
        found(f"{text}, which is the documented one")


@asks(
    "Can the whole range be asked for at once?",
    "Names no longest range",
    "Asks for shorter ranges after three timeouts or errors of the server",
)
def test_a_range_of_any_length_is_answered(calltouch: Calltouch, found: Found) -> None:
    assert calltouch.first.page
    since, until = calltouch.range
    days = max(1, (until - since).days)
    slow = [attempt for attempt in calltouch.attempts if not attempt.reply.page]
    if slow and slow[-1].url == calltouch.url:
        words = f"{slow[-1].reply.words} after {slow[-1].reply.seconds:.0f} s"
        found(f"no ({words}); {many(days, 'day')} can", f"--longest-days {days}")
    else:
        found(f"yes: {many(days, 'day')}")


@asks(
    "Can the dates of SMS be read, and do they lie in the range that was asked for?",
    "dateSent such as 04-04-2024 08:15:17",
    "Reads - and ., day or year first; others become null, with a warning",
)
def test_dates_are_readable_and_lie_in_the_range(calltouch: Calltouch, found: Found) -> None:
    written = {_date_format(str(row.get("dateSent"))) for row in calltouch.rows}
    if len(written - {""}) > 1:
        option = "--date-format mixed"
    else:
        option = f"--date-format {min(written - {''}, default='dd-mm-yyyy')}"
    walls = [sent_at(row) for row in calltouch.rows]
    unreadable, (since, until) = walls.count(None), calltouch.range
    if unreadable:
        found.red(f"{many(unreadable, 'date')} of {len(walls):,} cannot be read", option)
    outside = sum(not since <= wall <= until for wall in walls if wall)
    if outside:
        found.red(f"{outside:,} of {len(walls):,} lie outside the range", option)
    found(f"yes, all written {' or '.join(sorted(written))}", option)


@asks(
    "Does totalCountSms count the SMS of the whole range?",
    "An integer, the SMS of the selection",
    "Takes digits as text too; reads a range again whose rows are not as many, then fails",
)
def test_the_total_counts_the_sms(calltouch: Calltouch, found: Found) -> None:
    rows = calltouch.rows
    total = json.loads(calltouch.first.body.decode("utf-8-sig", "replace"), strict=False)
    is_text = isinstance(total["data"]["totalCountSms"], str)
    options = ["--total-as-text"] if is_text else []
    kind = "digits as text" if is_text else "an integer"
    if calltouch.first.total < len(rows):
        found(f"{kind}, but fewer than the rows that came", *options)
    elif calltouch.pages > 1:
        found(f"{kind}; there are more pages, see below", *options)
    else:
        found(f"{kind}, as many as the rows that came", *options)


@asks(
    "Are both ends of a range included, to the second?",
    "«включительно»",
    "Cuts ranges between whole seconds, and asks for each second once",
)
def test_both_ends_of_a_range_are_included_to_the_second(
    calltouch: Calltouch, found: Found
) -> None:
    expected, moment = _in_second(calltouch), calltouch.second[0]
    got = Counter(map(identity, calltouch.from_second_to_itself.rows))
    if not expected - got:
        others = [row for row in calltouch.from_second_to_itself.rows if sent_at(row) != moment]
        if others:
            found.red(f"more than included: {many(len(others), 'SMS')} of other seconds came too")
        found("yes: from and to the same second, its SMS came and no others")
        return

    def has(since: datetime, until: datetime) -> bool:
        reply = calltouch.get(since, until)
        return not expected - Counter(map(identity, reply.rows))

    later, sooner = has(moment, moment + SECOND), has(moment - SECOND, moment)
    if later and not sooner:
        found.red("no: SMS of the second dateTo do not come", "--ends to-excluded")
    if sooner and not later:
        found.red("no: SMS of the second dateFrom do not come", "--ends from-excluded")
    if has(moment - SECOND, moment + SECOND):
        found.red("no: SMS of neither end come", "--ends excluded")
    found.red("no: ranges of seconds are not kept to, perhaps of minutes", "--ends whole-minutes")


@asks(
    "Do the parts of a range hold together what the whole does?",
    "Says nothing, and means it",
    "Cuts ranges, and adds up",
)
def test_parts_of_a_range_add_up_to_the_whole(calltouch: Calltouch, found: Found) -> None:
    (since, until), (cut, _) = calltouch.range, calltouch.second
    ranges = [(since, cut - SECOND), (cut + SECOND, until)]
    whole = calltouch.first
    for _ in range(2):
        parts = [calltouch.get(first, last) for first, last in ranges if first <= last]
        parts.append(calltouch.from_second_to_itself)
        total = sum(part.total for part in parts)
        if total == whole.total:
            break
        whole, before = calltouch.get(since, until), whole
        if whole.total == before.total:
            difference = total - whole.total
            what = "fewer" if difference < 0 else "more"
            found.red(f"no: the parts have {many(abs(difference), 'SMS')} {what} than the whole")
    else:
        pytest.skip("the total changed with every request")
    if len(whole.rows) == whole.total and whole is calltouch.first:
        rows = Counter(identity(row) for part in parts for row in part.rows)
        if rows != Counter(map(identity, whole.rows)):
            found.red("no: the totals add up, but the parts hold other SMS than the whole")
        found("yes, SMS by SMS")
    else:
        found("yes, by their totals")


# Pages


@asks(
    "Does page 2 go on where page 1 ends?",
    "Page 2 holds the SMS 10,001 to 20,000",
    "Asks for SMS that are equal on two pages by their numbers; reads a range without pages if its "
    "pages do not fit together",
)
def test_the_second_page_goes_on_after_the_first(calltouch: Calltouch, found: Found) -> None:
    first, second = calltouch.first, _page(calltouch, 2)
    ours, theirs = (Counter(map(identity, reply.rows)) for reply in (first, second))
    if ours == theirs:
        found.red("no: it holds the SMS of page 1 again", "--ignore-page")
    repeated, notes = (ours & theirs).total(), []
    if repeated:
        notes.append(
            f"{repeated:,} of its rows agree in number, second and text with rows of page 1"
        )
    if second.total != first.total:
        notes.append("it tells another total")
    if not second.rows:
        notes.append("it is empty")
    found("not quite: " + ", ".join(notes) if notes else "yes, with the same total")


@asks(
    "How many SMS are on a page, and on the last one?",
    "10,000; says nothing of the last",
    "Takes the largest page so far for the size of all; if another differs, reads without pages",
)
def test_the_last_page_holds_the_rest(calltouch: Calltouch, found: Found) -> None:
    size, pages = len(calltouch.rows), calltouch.pages
    option = [] if size == api.PAGE_SIZE else [f"--page-size {size}"]
    rest = calltouch.first.total - (pages - 1) * size
    last = _page(calltouch, pages)
    if len(last.rows) == rest:
        found(f"{size:,}, on the last the rest", *option)
    else:
        found(f"{size:,}, but on the last {len(last.rows):,} where {rest:,} remain", *option)


# Numbers


@asks(
    "Are SMS found by a number in each documented mask?",
    "Any mask, if the area or operator code is there",
    "Sends the numbers as the setting or an answer has them",
)
def test_a_number_is_found_in_every_mask(calltouch: Calltouch, found: Found) -> None:
    expected = Counter(number for number, _, _ in map(identity, calltouch.in_second.rows))
    numbers = [number for number in expected if re.fullmatch(r"7\d{10}", number, re.ASCII)]
    if not numbers:
        pytest.skip("no number in the form 7XXXXXXXXXX was got")
    number = numbers[0]
    parts = (number[1:4], number[4:7], number[7:9], number[9:])
    nobody = calltouch.ask(*calltouch.second, phoneNumbers=["+7 000 000-00-00"])
    if nobody.rows:
        found.red("the filter is not kept to: SMS to other numbers came")
    failed = []
    for mask, form in MASKS.items():
        reply = calltouch.ask(*calltouch.second, phoneNumbers=[form.format(*parts)])
        got = Counter(identity(row)[0] for row in reply.rows)
        if got - Counter({number: expected[number]}):
            found.red("the filter is not kept to: SMS to other numbers came too")
        if got[number] != expected[number]:
            failed.append(mask)
    if failed:
        found.red(f"not by {', '.join(failed)}", "--refuse masks")
    found(f"yes: {', '.join(MASKS)}")


# Order


@asks(
    "In which order do SMS come, and is it the same twice?",
    "Says nothing",
    "Proves by the rows themselves that a range is whole, in whatever order",
)
def test_rows_come_in_an_order(calltouch: Calltouch, found: Found) -> None:
    first, again = calltouch.rows, calltouch.again.rows
    times = [sent_at(row) or LONG_AGO for row in first]
    counts = Counter(times)
    if len(counts) < 2:
        pytest.skip("the page has SMS of one second only")
    orders = {"ascending": sorted(times), "descending": sorted(times, reverse=True)}
    order = next((name for name, by_time in orders.items() if times == by_time), "mixed")
    words = f"{order} by time" if order in orders else "not by time"
    ids, other_ids = ([identity(row) for row in rows] for rows in (first, again))
    if ids == other_ids:
        ties = "" if max(counts.values()) > 1 else " (no two SMS of one second)"
        found(f"{words}; the same twice{ties}", f"--order {order}")
    elif times == [sent_at(row) or LONG_AGO for row in again]:
        found(f"{words}, SMS of one second in another order the second time", "--order ties")
    else:
        changed = (Counter(ids) - Counter(other_ids)).total()
        found(f"{words}; another order the second time, {many(changed, 'row')} not the same")


# What the method does with what the connector seldom or never sends


@asks(
    "How is a range without SMS answered?",
    "Says nothing",
    'Takes totalCountSms 0 and "data": [] for no SMS',
)
def test_no_sms_are_an_empty_page(calltouch: Calltouch, found: Found) -> None:
    assert calltouch.first.page
    reply = calltouch.ask(LONG_AGO, LONG_AGO + SECOND)
    try:
        is_list = json.loads(reply.body)["data"] == []
    except (ValueError, TypeError, KeyError):
        is_list = False
    if reply.page and is_list:
        found(f'{reply.words}: "data" is an empty list', "--empty-as-list")
    else:
        found(reply.words)


@asks(
    "How is a page after the last answered?",
    "Refuses it",
    "Asks for no such page, unless SMS vanish meanwhile; reads the range again then",
)
def test_a_page_after_the_last_is_refused(calltouch: Calltouch, found: Found) -> None:
    assert calltouch.in_second.rows
    reply = calltouch.ask(*calltouch.second, pageOfResult=2)
    if not reply.page:
        found(f"refused: {reply.words}", *_refusal("value", reply))
    elif reply.rows:
        found("the last page again", "--beyond-last repeated")
    else:
        found("an empty page", "--beyond-last empty")


@asks(
    "How is pageOfResult 1 answered?",
    "Valid values are greater than 1",
    "Leaves the field out for the first page",
)
def test_page_1_is_refused(calltouch: Calltouch, found: Found) -> None:
    _ask_page(calltouch, found, 1, "--allow page-1")


@asks("How is pageOfResult 0 answered?", "Valid values are greater than 1", NEVER_SENDS)
def test_page_0_is_refused(calltouch: Calltouch, found: Found) -> None:
    _ask_page(calltouch, found, 0, "--allow page-0")


@asks("How is pageOfResult as text answered?", "An integer", "Sends an integer")
def test_a_page_as_text_is_refused(calltouch: Calltouch, found: Found) -> None:
    if calltouch.pages < 2:
        pytest.skip("the range has one page")
    reply = calltouch.ask(*calltouch.range, pageOfResult="2")
    if reply.page:
        found(reply.words, "--allow page-text")
    else:
        found(f"refused: {reply.words}")


@asks(
    "Are dates taken with dots?",
    "Any format with - or .",
    "Sends dates with -",
)
def test_dates_with_dots_are_taken(calltouch: Calltouch, found: Found) -> None:
    _ask_dates(calltouch, found, "%d.%m.%Y %H:%M:%S", "--refuse dots", as_documented=True)


@asks(
    "Are dates taken with the year first?",
    "Any format with - or .; its examples have the day first",
    "Sends the day first",
)
def test_dates_with_the_year_first_are_taken(calltouch: Calltouch, found: Found) -> None:
    _ask_dates(calltouch, found, "%Y-%m-%d %H:%M:%S", "--allow year-first", as_documented=False)


@asks("How is a wrong token answered?", 'Body {"message": "Invalid credentials."}', REFUSES)
def test_a_wrong_token_is_refused(calltouch: Calltouch, found: Found) -> None:
    _ask_refused(calltouch, found, "token", _body(calltouch), headers={"Access-Token": "wrong"})


@asks("How is an unknown site answered?", "Says nothing", REFUSES)
def test_an_unknown_site_is_refused(calltouch: Calltouch, found: Found) -> None:
    _ask_refused(calltouch, found, "site", _body(calltouch), headers={"SiteId": "999999999"})


@asks("How is a missing field answered?", "A message that names it", NEVER_SENDS)
def test_a_missing_field_is_refused(calltouch: Calltouch, found: Found) -> None:
    body = _body(calltouch)
    del body["dateTo"]
    _ask_refused(calltouch, found, "field", body)


@asks("How is dateFrom after dateTo answered?", "Two violations", NEVER_SENDS)
def test_a_range_the_wrong_way_round_is_refused(calltouch: Calltouch, found: Found) -> None:
    body = _body(calltouch)
    body["dateFrom"] = api.wire_time(calltouch.second[1] + SECOND)
    _ask_refused(calltouch, found, "value", body, "--allow reversed")


@asks(
    "How is a day that has not begun answered?",
    "A violation: «не может быть больше текущего дня»",
    "Asks up to a minute ago, by the setting timezone; an error names that setting",
)
def test_a_day_to_come_is_refused(calltouch: Calltouch, found: Found) -> None:
    # Tomorrow may have begun in the account's zone.
    body = {**_body(calltouch), "dateTo": api.wire_time(calltouch.now + timedelta(days=2))}
    _ask_refused(calltouch, found, "value", body, "--allow future")


@asks("How is broken JSON answered?", "The apiError body, errorCode 1", NEVER_SENDS)
def test_broken_json_is_refused(calltouch: Calltouch, found: Found) -> None:
    _ask_refused(calltouch, found, "json", b'{"dateFrom": ')


# What stands on the wire


@asks(
    "How are Russian letters written?",
    "Its examples show them as they are",
    "Reads both ways",
)
def test_russian_letters_are_readable(calltouch: Calltouch, found: Found) -> None:
    assert calltouch.rows
    text = calltouch.first.body.decode("utf-8", "replace")
    if re.search(r"\\u04[0-9a-fA-F]{2}", text):
        found(r"escaped, \uXXXX")
    elif re.search("[Ѐ-ӿ]", text):
        found("as they are, in UTF-8", "--unescaped-unicode")
    else:
        pytest.skip("no Russian letter came")


@asks(
    "How are line breaks in texts written?",
    "Unescaped in its example, which strict JSON forbids",
    "Reads both ways",
)
def test_line_breaks_are_readable(calltouch: Calltouch, found: Found) -> None:
    if not any("\n" in str(row.get("smsMessage")) for row in calltouch.rows):
        pytest.skip("no text with a line break came")
    try:
        json.loads(calltouch.first.body)
    except ValueError:
        found("unescaped", "--raw-breaks")
    else:
        found(r"escaped, \n")


@asks("Are answers compressed?", "Says nothing", "Takes gzip and deflate")
def test_answers_may_be_compressed(calltouch: Calltouch, found: Found) -> None:
    encoding = calltouch.first.headers.get("Content-Encoding", "").lower()
    if not encoding:
        found("no")
    elif encoding == "gzip":
        found("yes, by gzip", "--gzip")
    else:
        found("yes, by another method than gzip")


@asks("How long does a page take?", "Says nothing", "Waits up to 120 s; asks for pages ahead")
def test_a_page_takes_its_time(calltouch: Calltouch, found: Found) -> None:
    seconds, rows = calltouch.first.seconds, len(calltouch.rows)
    per_sms = len(calltouch.first.body) // rows
    options = [f"--latency {seconds:.1f}"] if seconds >= 0.05 else []
    found(f"{seconds:.1f} s, {per_sms} bytes an SMS", *options)


@asks(
    "Which fields does an SMS have beside those documented?",
    ", ".join(FIELDS),
    "Passes further fields on; missing ones become null",
)
def test_fields_are_those_documented(calltouch: Calltouch, found: Found) -> None:
    names = {name for row in calltouch.rows for name in row}
    others = sorted(name if _is_name(name) else "one that is not shown" for name in names)
    others = [name for name in others if name not in FIELDS]
    missing = [name for name in FIELDS if any(name not in row for row in calltouch.rows)]
    text = f"also {', '.join(others)}" if others else "none"
    if missing:
        text += f"; some SMS lack {', '.join(missing)}"
    found(text, *(f"--also-field {name}" for name in others if _is_name(name)))


@asks(
    "Which statuses come beside those documented?",
    f"{len(STATUSES)} statuses with {len(DETAILS)} details",
    "Passes them on as they come",
)
def test_statuses_are_those_documented(calltouch: Calltouch, found: Found) -> None:
    pairs = {(row.get("smsStatus"), row.get("smsStatusDetail")) for row in calltouch.rows}
    others = {pair for pair in pairs if pair[0] not in STATUSES or pair[1] not in DETAILS}
    texts = [str(row.get("smsMessage")) for row in calltouch.rows]

    def shown(word: object) -> bool:
        """Whether this is a word or two, and in no text of an SMS."""
        is_word = isinstance(word, str) and re.fullmatch(r"[A-Za-zА-Яа-яЁё_ -]{1,40}", word)
        return bool(is_word) and not any(str(word) in text for text in texts)

    known = sorted(f"{a}:{b}" for a, b in others if shown(a) and shown(b))
    hidden = len(others) - len(known)
    words = [word.replace(":", " with «") + "»" for word in known]
    words += [f"{hidden:,} that are not shown"] * (hidden > 0)
    found(", ".join(words) or "none", *(shlex.join(["--also-status", pair]) for pair in known))


# What costs points and matters least


@asks(
    "Does the setting timezone fit the account?",
    "Gives times without a zone",
    "Takes times to be of the setting timezone",
)
def test_the_newest_sms_fit_the_time_zone(calltouch: Calltouch, found: Found) -> None:
    assert calltouch.first.page
    midnight = calltouch.now.replace(hour=0, minute=0, second=0)
    reply = calltouch.get(midnight, midnight + timedelta(days=1) - SECOND)
    newest = max((wall for wall in map(sent_at, reply.rows) if wall), default=None)
    if newest is None:
        pytest.skip("there are no SMS of today")
    age = calltouch.now + MINUTE - newest
    zone = calltouch.zone.key
    if age < -MINUTE:
        found(
            f"no: SMS lie {_about(-age)} in the future of {zone}; the account's zone is ahead of it"
        )
    elif age < YOUNG:
        found(f"yes: the newest SMS is {_about(age)} old in {zone}", f"--zone {zone}")
    else:
        pytest.skip(f"the newest SMS may be {_about(age)} old in {zone}: too old to tell")


@asks(
    "How does the documentation's other URL answer?",
    "Names both",
    "Sends to one URL only",
)
def test_the_other_url(calltouch: Calltouch, found: Found) -> None:
    if not calltouch.other_url:
        pytest.skip("the URL in use is none of the two")
    first = calltouch.attempts[0]
    if first.url not in {calltouch.url, calltouch.other_url} or first.url == calltouch.other_url:
        found(first.reply.words)
        return
    reply = calltouch.ask(*calltouch.second, url=calltouch.other_url)
    if reply.page:
        found(reply.words, "--url both")
    else:
        found(reply.words)


@asks(
    f"How are {AT_ONCE} requests in one second answered?",
    "5 are served, the others get HTTP 429 at once",
    "Keeps a little below 5 a second; on 429 waits as Retry-After says, or slows down",
)
def test_the_sixth_request_in_a_second_gets_429(
    calltouch: Calltouch, found: Found, request: pytest.FixtureRequest
) -> None:
    if not request.config.getoption("--rate"):
        pytest.skip("asked with --rate only")
    cost = AT_ONCE * api.POINTS_PER_CALL
    if calltouch.spent + cost > calltouch.points:
        pytest.skip(f"{cost} points are needed; allow {calltouch.spent + cost}")
    replies = calltouch.at_once(AT_ONCE)
    served = sum(bool(reply.page) for reply in replies)
    limited = [reply for reply in replies if reply.status == TOO_MANY_REQUESTS]
    if not limited:
        found(f"{served} served, none gets 429", "--rate 0")
        return
    options = [f"--rate {served}"]
    waits = limited[0].headers.get("Retry-After", "")
    if waits.isdecimal():
        options.append(f"--retry-after {int(waits)}")
        told = f"Retry-After {int(waits)}"
    else:
        told = "Retry-After as a date" if waits else "no Retry-After"
    others = [n for n in limited[0].headers if re.fullmatch("x-rate-?limit[a-z-]*", n.lower())]
    told += "".join(f", {name}" for name in sorted(others))
    found(
        f"{served} served, {len(limited)} get 429 ({told}), {limited[0].form or 'a page'}", *options
    )


# Helpers


def _date_format(text: str) -> str:
    return next((name for form, name in DATES.items() if re.fullmatch(form, text)), "")


def _is_name(text: str) -> bool:
    return re.fullmatch(r"[A-Za-z_]{1,40}", text) is not None


def _about(span: timedelta) -> str:
    minutes = round(span.total_seconds() / 60)
    return many(minutes, "minute") if minutes < 120 else many(round(minutes / 60), "hour")


def _in_second(calltouch: Calltouch) -> Counter[Any]:
    """Count what the first page has of `calltouch.second`."""
    moment = calltouch.second[0]
    return Counter(identity(row) for row in calltouch.rows if sent_at(row) == moment)


def _page(calltouch: Calltouch, number: int) -> Reply:
    if calltouch.pages < 2:
        pytest.skip("the range has one page")
    return calltouch.get(*calltouch.range, pageOfResult=number)


def _body(calltouch: Calltouch) -> dict[str, str]:
    """Return a body for a range that is cheap to answer."""
    assert calltouch.first.page
    since, until = calltouch.second if calltouch.first.rows else calltouch.range
    return {"dateFrom": api.wire_time(since), "dateTo": api.wire_time(until)}


def _refusal(reason: str, reply: Reply) -> list[str]:
    """Return the option with which the sandbox refuses like that."""
    return [f"--refusal {reason}={reply.status}:{reply.form}"] if reply.status else []


def _ask_refused(
    calltouch: Calltouch,
    found: Found,
    reason: str,
    body: object,
    option: str = "",
    headers: dict[str, str] | None = None,
) -> None:
    reply = calltouch.post(body, **(headers or {}))
    if reply.page:
        found(f"not refused: {reply.words}", *([option] if option else []))
    else:
        found(reply.words, *_refusal(reason, reply))


def _ask_page(calltouch: Calltouch, found: Found, number: int, option: str) -> None:
    reply = calltouch.post({**_body(calltouch), "pageOfResult": number})
    if reply.page:
        found(f"not refused: {reply.words}", option)
    else:
        found(f"refused: {reply.words}")


def _ask_dates(
    calltouch: Calltouch, found: Found, form: str, option: str, *, as_documented: bool
) -> None:
    """Ask for the second with dates in another form; the option plays what is not documented."""
    expected = Counter(map(identity, calltouch.in_second.rows))
    since, until = (f"{moment:{form}}" for moment in calltouch.second)
    reply = calltouch.post({"dateFrom": since, "dateTo": until})
    taken = reply.page is not None
    options = [option] if taken != as_documented else []
    if not taken:
        found(f"no: {reply.words}", *options)
    elif Counter(map(identity, reply.rows)) == expected:
        found("yes, with the same SMS", *options)
    else:
        found("yes, but with other SMS: they are read as other times", *options)
