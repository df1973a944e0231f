"""Whether a feature follows the word or the phase, on a saved page."""

from __future__ import annotations

import pandas as pd

from kthink_core.evidence import think_or_word
from kthink_core.saved import part
from kthink_core.saved.found_view import Opened
from kthink_core.saved.part import Column, Part

_SHOWN = 100
"""Tokens, as in the app."""
_PARTS = {
    "": ("difference", "Inside less outside"),
    "words_": ("words", "… its words: other tokens stand there"),
    "phase_": ("phase", "… the phase: on the same token it fires otherwise"),
    "one_sided_": ("one_sided", "… neither: tokens that are not compared"),
}
_FIGURES = (
    Column("part", "Share of positions"), Column("value", "Points", 2, "%"), Column("low", "From", 2, "%"),
    Column("high", "To", 2, "%"),
)  # fmt: skip
_TOKENS = (
    Column("text", "Token", token=True), Column("token_id", "Id"),
    Column("think_share", "Inside", 1, "%", bar=1), Column("think_active", "fires at"),
    Column("think_positions", "of"), Column("think_low", "at least", 1, "%"), Column("think_high", "at most", 1, "%"),
    Column("answer_share", "Outside", 1, "%", bar=1), Column("answer_active", "fires at"),
    Column("answer_positions", "of"), Column("answer_low", "at least", 1, "%"),
    Column("answer_high", "at most", 1, "%"), Column("points", "Points", 2, "%"), Column("comparable", "Compared"),
)  # fmt: skip


def phase(opened: Opened, number: int) -> list[Part]:
    """What the tab of the feature's page says, of thoughts and answers of all inferences."""
    hookpoint = opened.view.hookpoint
    whole = opened.ask(think_or_word.think_or_word, hookpoint, number)
    row = whole.iloc[0]
    said = part.lines(str(row["finding"]), *think_or_word.remarks(whole))
    if row["finding"] in ("silent", "one phase"):
        return [said]
    counted = (
        f"In all it fires inside a thought at {int(row['think_active']):,} of {int(row['think_positions']):,} "
        f"positions, outside at {int(row['answer_active']):,} of {int(row['answer_positions']):,}; "
        f"{int(row['problems']):,} problems have both."
    )
    parts = [said, part.lines(counted)]
    if row["finding"] != "too few":
        names = ("part", "value", "low", "high")
        figures = [
            (title, row[column], row[f"{prefix}low"], row[f"{prefix}high"])
            for prefix, (column, title) in _PARTS.items()
        ]
        shown = pd.DataFrame(figures, columns=list(names))
        parts.append(part.table("The difference and its parts", f"parts of feature {number}", shown, _FIGURES))
    tokens = opened.ask(think_or_word.think_or_word_tokens, hookpoint, number, top=_SHOWN)
    name = f"think or word of feature {number}"
    return [*parts, part.table("On the same token", name, tokens, _TOKENS, folded=len(tokens) > 20)]
