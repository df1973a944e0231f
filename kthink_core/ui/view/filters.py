"""Which inferences are listed: by how they came out, how they were asked for, and how they are tagged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import pandas as pd
import streamlit as st

from kthink_core.ui.parts import verdict
from kthink_core.ui.parts.writing import visible
from kthink_core.ui.view import choices, kept
from kthink_core.ui.view.kept import ANY, VERDICTS, Facts
from kthink_core.ui.view.page import Page
from kthink_core.ui.view.permalink import MODES, OUTCOMES

_TAGS = 500
"""That can be chosen."""
OUTCOME_NAMES = {ANY: "all"} | {outcome: verdict.signed(meant) for outcome, meant in VERDICTS.items()}


def draw(page: Page, table: pd.DataFrame) -> None:
    """The choices that there are, each with how many inferences it keeps beside the other filter."""
    with st.container(horizontal=True, gap="medium"):
        kinds = Counter(kept.facts(table))
        tag = page.view.tag
        outcomes = {name: _count(kinds, name, page.view.mode, tag) for name in OUTCOMES}
        names = {
            name: f"{OUTCOME_NAMES[name]} ({count})"
            for name, count in outcomes.items()
            if count or name in (ANY, page.view.outcome)
        }
        choices.pick("Outcome", "outcome", names, page)
        if len(set(table["mode"])) > 1 or page.view.mode != ANY:
            modes = {name: _count(kinds, page.view.outcome, name, tag) for name in MODES}
            choices.pick("Mode", "mode", {name: f"{name} ({count})" for name, count in modes.items()}, page)
        if tag or any(facts.tags for facts in kinds):
            choices.select("Tag", "tag", _tags(page, kinds), page, width=200)


def apply(page: Page, table: pd.DataFrame) -> pd.DataFrame:
    """The inferences that the view's filters keep."""
    return kept.apply(table, page.view.outcome, page.view.mode, page.view.tag)


def nothing(page: Page) -> str:
    """What to say where they keep none."""
    return f"No inference is of this outcome and mode{' with this tag' if page.view.tag else ''}."


def _count(kinds: Mapping[Facts, int], outcome: str, mode: str, tag: str) -> int:
    return sum(count for facts, count in kinds.items() if kept.is_kept(facts, outcome, mode, tag))


def _tags(page: Page, kinds: Mapping[Facts, int]) -> dict[str, str]:
    """What the tags are called that there are: those of most inferences, by name, and the view's own."""
    counts = Counter[str]()
    for facts, count in kinds.items():
        here = count if kept.is_kept(facts, page.view.outcome, page.view.mode) else 0
        counts.update(dict.fromkeys(facts.tags, here))
    offered = sorted(sorted(counts), key=lambda tag: -counts[tag])[:_TAGS]
    tags = sorted({*offered, page.view.tag} - {""})
    every = _count(kinds, page.view.outcome, page.view.mode, "")
    return {"": f"any ({every})"} | {tag: f"{visible(tag)} ({counts[tag]})" for tag in tags}
