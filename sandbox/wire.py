"""JSON as PHP's json_encode writes it, which is what Calltouch answers with."""

import json
import re
from dataclasses import dataclass

# An escaped backslash is matched only to be skipped: what follows it is not an escape.
_ESCAPES = re.compile(r"\\[\\nr]")
_RAW = {"\\\\": "\\\\", "\\n": "\n", "\\r": "\r"}


@dataclass(frozen=True)
class Wire:
    """How strings are written.

    ``raw_breaks`` leaves line breaks inside strings unescaped, as in the page's own example, which
    strict JSON forbids.
    """

    unescaped_unicode: bool = False
    raw_breaks: bool = False

    def text(self, value: object) -> str:
        """Return the value as JSON."""
        written = json.dumps(
            value, ensure_ascii=not self.unescaped_unicode, separators=(",", ":")
        ).replace("/", r"\/")
        if self.raw_breaks:
            written = _ESCAPES.sub(lambda escape: _RAW[escape[0]], written)
        return written

    def encode(self, value: object) -> bytes:
        """Return the value as JSON in UTF-8."""
        return self.text(value).encode()
