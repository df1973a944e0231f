"""What the parts of a difference between thoughts and answers say of a feature, in a word and in sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from kthink_core.evidence.caveats import FEW
from kthink_core.evidence.phase_parts import LEAST, Parts

Finding = Literal["silent", "one phase", "too few", "no difference", "cannot be told", "word", "phase", "both"]

FEW_FIRINGS = 10
"""Positions at which a feature fires, below which nothing is said of it."""
_CLEARLY = 4
"""Of two parts that both are sure, the one that is so many times as large gives the name alone."""


def finding(parts: Parts, active: tuple[int, ...], positions: tuple[int, ...], problems: int) -> Finding:
    """What a feature follows. `active`, `positions`: of thoughts and of answers; `problems`: with both.

    silent: it never fires in either; one phase: one of them has no positions; too few: it fires at fewer than
    `FEW_FIRINGS`, or there are fewer than `FEW` problems; no difference: neither the difference nor the words' or the
    phase's part of it is sure (its interval lies on one side of 0); cannot be told: tokens that stand on one side only
    contribute more than words and phase together, or neither of these is sure; word, phase: that part alone is sure, or
    it is four times as large as the other; both: both are.
    """
    if not sum(active):
        return "silent"
    if not all(positions):
        return "one phase"
    if sum(active) < FEW_FIRINGS or problems < FEW:
        return "too few"
    words, phase = parts.words, parts.phase
    if not (parts.difference.is_sure or words.is_sure or phase.is_sure):
        return "no difference"
    sizes = abs(words.value), abs(phase.value)
    one_sided = _is_mostly_one_sided(words.value, phase.value, parts.one_sided.value)
    if one_sided or not (words.is_sure or phase.is_sure):
        return "cannot be told"
    if words.is_sure and (not phase.is_sure or sizes[0] >= _CLEARLY * sizes[1]):
        return "word"
    return "phase" if not words.is_sure or sizes[1] >= _CLEARLY * sizes[0] else "both"


def told(row: Mapping[str, Any]) -> list[str]:
    """The answer of `think_or_word`, a row, in sentences: what it follows, then what happens on the same tokens."""
    said = _said(row)
    if row["finding"] in ("silent", "one phase", "too few"):
        return [said]
    return [said, _on_the_same(row)]


def _said(row: Mapping[str, Any]) -> str:
    of_words, of_phase = (_where_more(row[name]) for name in ("words", "phase"))
    fired = row["think_active"] + row["answer_active"]
    sentences: dict[Finding, str] = {
        "silent": "It never fires in what the model wrote.",
        "one phase": f"All that the model wrote is {'inside' if row['think_positions'] else 'outside'} a thought: "
        "there is nothing to compare with.",
        "too few": f"Too few occurrences: it fires at {fired} positions, and {row['problems']} problems have a thought "
        f"and an answer; nothing is said below {FEW_FIRINGS} positions and {FEW} problems.",
        "no difference": "It fires about as often outside a thought as inside: chance may give the difference.",
        "cannot be told": f"Whether it follows the word or the phase cannot be told here: {_why_not(row)}.",
        "word": f"It follows the word: what it fires on stands more often {of_words} a thought.",
        "phase": f"It follows the phase: on the same tokens it fires more often {of_phase} a thought.",
        "both": f"It follows both: what it fires on stands more often {of_words} a thought, and on the same tokens it "
        f"fires more often {of_phase} a thought.",
    }
    return sentences[row["finding"]]


def _why_not(row: Mapping[str, Any]) -> str:
    if not _is_mostly_one_sided(row["words"], row["phase"], row["one_sided"]):
        return "neither part of the difference is more than chance may give"
    fewer = _where_more(-row["one_sided"])
    return f"most of the difference is on tokens that stand fewer than {LEAST} times {fewer} a thought"


def _is_mostly_one_sided(words: float, phase: float, one_sided: float) -> bool:
    """Whether tokens that stand on one side only make more of a difference than words and phase together."""
    return abs(one_sided) > abs(words) + abs(phase)


def _on_the_same(row: Mapping[str, Any]) -> str:
    tokens = row["tokens_compared"]
    if not tokens:
        return f"Of the {row['tokens']} tokens that it fires on, none stands {LEAST} times or more on both sides."
    sure = row["phase_low"] > 0 or row["phase_high"] < 0
    shares = f"{_percent(row['like_think'])} inside a thought and at {_percent(row['like_answer'])} outside"
    doubt = "" if sure else ", no more apart than chance may give"
    some = "the one token that stands" if tokens == 1 else f"the {tokens} tokens that stand"
    return f"On {some} {LEAST} times or more on both sides, of {row['tokens']}, it fires at {shares}{doubt}."


def _where_more(difference: float) -> str:
    return "inside" if difference > 0 else "outside"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
