"""Makes the service's words fit to be quoted: no token, no phone number, nothing that hides."""

import html
import re
import unicodedata
from collections.abc import Iterable
from typing import Final

MASK: Final = "…"
MIN_NUMBER: Final = 10
"""How many digits a phone number has at least."""
MAX_QUOTE: Final = 500
MAX_WORDS: Final = 20_000
"""Longer texts are cut before they are cleaned, to save time."""
MAX_SECRET: Final = 1000
"""The part of a secret that such a cut may leave, in any encoding."""

_SEPARATOR: Final = r"(?:(?![,;:]\s)[\W_]){0,9}"
_DATE: Final = (
    r"(?:(?:0[1-9]|[12]\d|3[01])[-./](?:0[1-9]|1[0-2])[-./](?:19|20)\d\d"
    r"|(?:19|20)\d\d[-./](?:0[1-9]|1[0-2])[-./](?:0[1-9]|[12]\d|3[01]))"
)
_TIME: Final = r"(?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:\.\d{1,6})?)?(?:[+-]\d\d:?\d\d)?"
_MOMENT: Final = rf"(?:{_DATE}(?:[ T]{_TIME})?|{_TIME})"
_DIGITS: Final = re.compile(
    rf"(?P<moments>{_MOMENT}(?:{_SEPARATOR}{_MOMENT})*(?!{_SEPARATOR}\d))"
    rf"|\+?\d(?:{_SEPARATOR}\d)*"
)
"""Digits without letters between them: dates and times alone, or what may be a phone number."""


class Redactor:
    """Cleans words of `secrets`, phone numbers in any mask, and control characters."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets = [_in_any_form(secret) for secret in secrets if secret]

    def quote(self, words: str) -> str:
        """Return words, quoted, for the end of a sentence; empty for none."""
        words = self.clean(words).removesuffix(".")[:MAX_QUOTE]
        return f": «{words}»" if words else ""

    def clean(self, words: str) -> str:
        """Return words on one line. Dates, and amounts of up to nine digits, stay readable."""
        kinds = ((sign, unicodedata.category(sign)) for sign in words[:MAX_WORDS])
        printable = (" " if kind[0] == "C" else sign for sign, kind in kinds if kind != "Cf")
        clean = " ".join("".join(printable).split())
        for secret in self._secrets:  # first, as digits masked in one would hide it from this
            clean = secret.sub(MASK, clean)
        clean = _DIGITS.sub(_mask_number, clean)
        return clean if len(words) <= MAX_WORDS else clean[:-MAX_SECRET]


def _mask_number(digits: re.Match[str]) -> str:
    is_number = not digits["moments"] and len(re.findall(r"\d", digits[0])) >= MIN_NUMBER
    return MASK if is_number else digits[0]


def _in_any_form(secret: str) -> re.Pattern[str]:
    """Return what finds a secret as it is, or encoded for a URL, JSON or HTML, even twice."""
    signs = (
        rf"(?:\\*{re.escape(sign)}|{re.escape(html.escape(sign))}|%(?:25)*{ord(sign):02x}|\\+u{ord(sign):04x}"
        rf"|&#(?:0*{ord(sign)}|x0*{ord(sign):x});)"
        for sign in secret
    )
    return re.compile(r"\s*".join(signs), re.IGNORECASE)
