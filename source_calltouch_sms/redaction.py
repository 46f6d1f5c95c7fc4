"""Cleans the service's words for quoting: no token, no phone number, no control characters."""

import re
from collections.abc import Iterable
from typing import Final

MASK: Final = "…"
MAX_QUOTE: Final = 500
MAX_WORDS: Final = 20_000
"""Longer texts are cut before they are cleaned, to save time."""

_SEPARATOR: Final = r"(?:(?![,;:]\s)[\W_]){0,9}"
_MOMENT: Final = (
    r"(?:\d\d[-./]\d\d[-./]\d{4}|\d{4}[-./]\d\d[-./]\d\d)"
    r"(?:[ T]\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?(?:[+-]\d\d:\d\d)?)?"
)
_NUMBER: Final = re.compile(
    rf"(?P<dates>{_MOMENT}(?:{_SEPARATOR}{_MOMENT})*(?!{_SEPARATOR}\d))|\+?(?:\d{_SEPARATOR}){{9,}}\d"
)
"""Ten digits or more without letters between them: a phone number, unless it is dates alone."""


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
        signs = (s for s in words[:MAX_WORDS] if s.isprintable() or s.isspace())
        clean = " ".join("".join(signs).split())
        for secret in self._secrets:  # first, as digits masked in one would hide it from this
            clean = secret.sub(MASK, clean)
        clean = _NUMBER.sub(lambda found: found["dates"] or MASK, clean)
        # The cut may have left a part of a secret, in whatever encoding.
        return clean if len(words) <= MAX_WORDS else clean[:-1000]


def _in_any_form(secret: str) -> re.Pattern[str]:
    """Return what finds a secret as it is, or encoded for a URL or JSON, even twice."""
    signs = (
        rf"(?:\\*{re.escape(sign)}|%(?:25)*{ord(sign):02x}|\\+u{ord(sign):04x})" for sign in secret
    )
    return re.compile(r"\s*".join(signs), re.IGNORECASE)
