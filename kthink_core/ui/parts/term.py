"""A term: what a figure on a screen means."""

from __future__ import annotations

from typing import NamedTuple


class Term(NamedTuple):
    """What a figure on a screen means."""

    title: str
    words: str
    """Markdown, a sentence or two."""
    formula: str = ""
    """LaTeX; empty where words say it all."""
