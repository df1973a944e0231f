"""What people type, cleaned of what cannot be seen, and measured."""

from __future__ import annotations

import re
import unicodedata

from kthink_core.errors import BadValue, TooLong

LONGEST = {
    "label": 120, "imported": 500, "source": 120, "pattern": 200, "note": 10_000, "author": 60, "quote": 500,
    "list": 120,
}  # fmt: skip
"""Characters, after cleaning."""
RATINGS = range(1, 6)

_NEWLINES = re.compile("\r\n?|[\u0085\u2028\u2029]")
_TURNS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff"
"""Marks that turn the direction of what follows them, beyond the text they stand in; and the byte order mark."""


def clean(text: str) -> str:
    """Text without controls (but tab and newline), lone surrogates and `_TURNS`; every newline is `\\n`; no white space
    at its ends."""
    lines = _NEWLINES.sub("\n", text)
    return "".join(character for character in lines if character in "\n\t" or not _unseen(character)).strip()


def one_line(name: str, text: str) -> str:
    """Cleaned, white space collapsed. Raises TooLong."""
    line = " ".join(clean(text).split())
    if len(line) > LONGEST[name]:
        raise TooLong(name, len(line), LONGEST[name])
    return line


def value(what: str, given: str) -> str | None:
    """A label, pattern, flag, rating or note as it is stored; None where it is empty. Raises TooLong, BadValue."""
    if what == "label":
        return one_line("label", given) or None
    text = clean(given)
    if what == "pattern":
        return one_line("pattern", text) or None
    if what == "note" and not note(text):
        raise BadValue("a note without text: write something")
    if what == "rating" and text and text not in map(str, RATINGS):
        raise BadValue(f"rating {text[:20]}: a whole number from {RATINGS[0]} to {RATINGS[-1]}, or none")
    if what == "flag" and text not in ("", "1"):
        raise BadValue(f"flag {text[:20]}: 1, or none")
    return text or None


def note(given: str) -> str:
    """Cleaned, lines and all. Raises TooLong."""
    text = clean(given)
    if len(text) > LONGEST["note"]:
        raise TooLong("note", len(text), LONGEST["note"])
    return text


def shortened(name: str, text: str) -> str:
    """As `one_line`, but what is too long ends in `…`."""
    line = " ".join(clean(text).split())
    return line if len(line) <= LONGEST[name] else line[: LONGEST[name] - 1].rstrip() + "…"


def worded(what: str, value: str) -> str:
    """A label, flag, rating or note as one cell of a table."""
    if what == "flag":
        return "⚑"
    return "★" * int(value) if what == "rating" else value


def _unseen(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs") or character in _TURNS
