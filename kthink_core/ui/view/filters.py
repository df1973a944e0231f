"""Which inferences are listed: by how they came out and how they were asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import pandas as pd
import streamlit as st

from kthink_core.ui.parts import verdict
from kthink_core.ui.view import choices, kept
from kthink_core.ui.view.kept import ANY, VERDICTS, Facts
from kthink_core.ui.view.page import Page
from kthink_core.ui.view.permalink import MODES, OUTCOMES

OUTCOME_NAMES = {ANY: "all"} | {outcome: verdict.signed(meant) for outcome, meant in VERDICTS.items()}


def draw(page: Page, table: pd.DataFrame) -> None:
    """The choices that there are, each with how many inferences it keeps beside the other filter."""
    with st.container(horizontal=True, gap="medium"):
        kinds = Counter(kept.facts(table))
        outcomes = {name: _count(kinds, name, page.view.mode) for name in OUTCOMES}
        names = {
            name: f"{OUTCOME_NAMES[name]} ({count})"
            for name, count in outcomes.items()
            if count or name in (ANY, page.view.outcome)
        }
        choices.pick("Outcome", "outcome", names, page)
        if len(set(table["mode"])) > 1 or page.view.mode != ANY:
            modes = {name: _count(kinds, page.view.outcome, name) for name in MODES}
            choices.pick("Mode", "mode", {name: f"{name} ({count})" for name, count in modes.items()}, page)


def apply(page: Page, table: pd.DataFrame) -> pd.DataFrame:
    """The inferences that the view's filters keep."""
    return kept.apply(table, page.view.outcome, page.view.mode)


def _count(kinds: Mapping[Facts, int], outcome: str, mode: str) -> int:
    return sum(count for facts, count in kinds.items() if kept.is_kept(facts, outcome, mode))
