"""Which inferences are listed: by how they came out and how they were asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

import pandas as pd
import streamlit as st

from kthink_core.store.verdicts import Verdict
from kthink_core.ui.parts import verdict
from kthink_core.ui.view import choices
from kthink_core.ui.view.page import Page
from kthink_core.ui.view.permalink import MODES, OUTCOMES

ANY = OUTCOMES[0]
_VERDICTS: dict[str, Verdict] = {"right": "right", "wrong": "wrong", "cut": "cut off", "ungraded": "ungraded"}
"""By the word in a link."""
OUTCOME_NAMES = {ANY: "all"} | {outcome: verdict.signed(meant) for outcome, meant in _VERDICTS.items()}


def draw(page: Page, table: pd.DataFrame) -> None:
    """The choices that there are, each with how many inferences it keeps beside the other filter."""
    with st.container(horizontal=True, gap="medium"):
        kinds = Counter(_facts(table))
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
    outcome, mode = page.view.outcome, page.view.mode
    kept = [row for row, facts in enumerate(_facts(table)) if _is(facts, outcome, mode)]
    return table.iloc[kept].reset_index(drop=True)


class _Facts(NamedTuple):
    """What an inference is kept for, or left out."""

    verdict: Verdict
    mode: str


def _facts(table: pd.DataFrame) -> list[_Facts]:
    """By row."""
    return [_Facts(*facts) for facts in zip(table["verdict"].tolist(), table["mode"].tolist(), strict=True)]


def _count(kinds: Mapping[_Facts, int], outcome: str, mode: str) -> int:
    return sum(count for facts, count in kinds.items() if _is(facts, outcome, mode))


def _is(facts: _Facts, outcome: str, mode: str) -> bool:
    return mode in (ANY, facts.mode) and (outcome == ANY or facts.verdict == _VERDICTS[outcome])
