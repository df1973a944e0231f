"""Text that a model, a user or a link wrote, made safe to show. Streamlit's own elements read Markdown."""

from __future__ import annotations

import re
from functools import lru_cache

from kthink_core import signs

_JOINTS = re.compile(r"(?<=[:@])(?=\S)|(?<=www)(?=\.)")
_PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")


def plain(text: str) -> str:
    """Markdown that shows `text` as it is, on one line, with nothing hidden."""
    line = signs.revealed(" ".join(text.split()))
    # Addresses and :emoji: are found after the escapes are read: an invisible character keeps them apart.
    apart = _JOINTS.sub("\u2060", line)
    return _PUNCTUATION.sub(r"\\\1", apart)


visible = lru_cache(maxsize=1 << 14)(signs.visible)
"""A token's text as one cell, see `signs.visible`; tables show the same tokens over and over."""


def token_label(text: str, token_id: int) -> str:
    """`token:id`: different ids can print alike."""
    return f"{visible(text)}:{token_id}"
