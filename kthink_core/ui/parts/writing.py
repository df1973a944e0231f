"""Text that a model, a user or a link wrote, made safe to show. Streamlit's own elements read Markdown."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_HIDDEN = re.compile(r"[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
"""Marks that turn the direction of the text around them, and the byte order mark."""
_JOINTS = re.compile(r"(?<=[:@])(?=\S)|(?<=www)(?=\.)")
_PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")


def plain(text: str) -> str:
    """Markdown that shows `text` as it is, on one line."""
    # Addresses and :emoji: are found after the escapes are read: an invisible character keeps them apart.
    apart = _JOINTS.sub("\u2060", " ".join(text.split()))
    return _PUNCTUATION.sub(r"\\\1", apart)


@lru_cache(maxsize=1 << 14)  # tables show the same tokens over and over
def visible(text: str) -> str:
    """A token's text on one line with nothing hidden: spaces at its ends `·`, newlines `⏎`, controls by their code."""
    body = text.strip(" ")
    if not body:
        return "·" * len(text) or "∅"
    left = len(text) - len(text.lstrip(" "))
    right = len(text) - len(text.rstrip(" "))
    return "·" * left + "".join(map(_visible_character, body)) + "·" * right


def token_label(text: str, token_id: int) -> str:
    """`token:id`: different ids can print alike."""
    return f"{visible(text)}:{token_id}"


def _visible_character(character: str) -> str:
    if character == "\n":
        return "⏎"
    if character == "\t":
        return "⇥"
    # Cc: controls; Cs: halves of surrogate pairs, which no JSON can carry.
    hidden = unicodedata.category(character) in ("Cc", "Cs") or _HIDDEN.match(character)
    return f"\\u{ord(character):04x}" if hidden else character
