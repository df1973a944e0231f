"""Which inferences are listed: by how they came out and how they were asked for."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from kthink_core.ui import choices, verdict
from kthink_core.ui.page import Page
from kthink_core.ui.permalink import MODES, OUTCOMES

ANY = OUTCOMES[0]
OUTCOME_NAMES = {ANY: "all", "right": "✓ right", "wrong": "✗ wrong", "cut": "cut off", "ungraded": "? ungraded"}
_VERDICTS = {"right": verdict.RIGHT, "wrong": verdict.WRONG, "ungraded": verdict.UNGRADED}


def draw(page: Page, table: pd.DataFrame) -> None:
    """The choices that there are, each with how many inferences it keeps beside the other filter."""
    with st.container(horizontal=True, gap="medium"):
        outcomes = {name: sum(_kept(table, name, page.view.mode)) for name in OUTCOMES}
        names = {
            name: f"{OUTCOME_NAMES[name]} ({count})"
            for name, count in outcomes.items()
            if count or name in (ANY, page.view.outcome)
        }
        choices.pick("Outcome", "outcome", names, page)
        if len(set(table["mode"])) > 1 or page.view.mode != ANY:
            modes = {name: sum(_kept(table, page.view.outcome, name)) for name in MODES}
            choices.pick("Mode", "mode", {name: f"{name} ({count})" for name, count in modes.items()}, page)


def apply(page: Page, table: pd.DataFrame) -> pd.DataFrame:
    """The inferences that the view's filters keep."""
    kept = _kept(table, page.view.outcome, page.view.mode)
    return table.iloc[[row for row, keep in enumerate(kept) if keep]].reset_index(drop=True)


def _kept(table: pd.DataFrame, outcome: str, mode: str) -> list[bool]:
    """By row."""
    facts = zip(table["correct"].tolist(), table["finish_reason"].tolist(), table["mode"].tolist(), strict=True)
    return [_is(outcome, correct, reason) and mode in (ANY, asked) for correct, reason, asked in facts]


def _is(outcome: str, correct: object, reason: str) -> bool:
    if outcome == "cut":
        return reason == "length"
    return outcome == ANY or verdict.of(correct) == _VERDICTS[outcome]
