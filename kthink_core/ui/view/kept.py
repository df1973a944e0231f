"""Which inferences a view keeps. Pure: knows nothing of Streamlit."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

from kthink_core.store.verdicts import Verdict
from kthink_core.ui.view.permalink import OUTCOMES

ANY = OUTCOMES[0]
VERDICTS: dict[str, Verdict] = {"right": "right", "wrong": "wrong", "cut": "cut off", "ungraded": "ungraded"}
"""By the word in a link."""


class Facts(NamedTuple):
    """What an inference is kept for, or left out."""

    verdict: Verdict
    mode: str
    tags: tuple[str, ...] = ()
    """Parts, where a tag has a comma and a blank: the store tells them as one text."""


def facts(table: pd.DataFrame) -> list[Facts]:
    """By row."""
    tags = [tuple(text.split(", ")) if isinstance(text, str) else () for text in table["tags"].tolist()]
    return [Facts(*each) for each in zip(table["verdict"].tolist(), table["mode"].tolist(), tags, strict=True)]


def is_kept(facts: Facts, outcome: str, mode: str, tag: str = "") -> bool:
    """By the words that a link has."""
    is_tagged = not tag or tag in facts.tags
    return is_tagged and mode in (ANY, facts.mode) and (outcome == ANY or facts.verdict == VERDICTS[outcome])


def apply(table: pd.DataFrame, outcome: str, mode: str, tag: str = "") -> pd.DataFrame:
    """The rows of `queries.inferences` of an outcome, a mode and a tag; empty: of any or none."""
    rows = [row for row, each in enumerate(facts(table)) if is_kept(each, outcome, mode, tag)]
    return table.iloc[rows].reset_index(drop=True)


def window(inferences: pd.DataFrame, inference: int, size: int) -> pd.DataFrame:
    """`size` of the inferences, in order, the given one in their middle as far as there are others on both sides."""
    before = sum(number < inference for number in inferences["inference"].tolist())
    first = max(min(before - size // 2, len(inferences) - size), 0)
    return inferences.iloc[first : first + size]
