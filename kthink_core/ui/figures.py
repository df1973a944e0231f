"""Headline figures of an experiment and of a feature."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import streamlit as st

from kthink_core.ui import verdict

RELEVANT_HELP = (
    "The relevant features of an inference are the ten with the largest maximum activation at the positions in scope."
)
TOKENS_HELP = (
    "Distinct tokens by the feature's maximum activation at them, in scope, labelled token:id, because different ids "
    "can print alike; · is a space, ⏎ a newline."
)


def tally(inferences: pd.DataFrame) -> None:
    """How the inferences of an experiment came out, in one line."""
    counts = inferences["correct"].map(verdict.of, na_action=None).value_counts()
    cut_off = inferences["finish_reason"].to_list().count("length")
    with st.container(horizontal=True):
        for word, colour in verdict.COLOURS.items():
            if word in counts:
                st.badge(f"{counts[word]} {word}", icon=verdict.ICONS[word], color=colour)
        if cut_off:
            st.badge(f"{cut_off} cut off", icon=":material/content_cut:", color="orange")
        st.caption("Click a row to read the inference.", width="content")


def feature(summary: Mapping[str, Any]) -> None:
    """The count that the article asks for, and how often and how strongly the feature fires."""
    with st.container(horizontal=True, gap="medium"):
        _metric("Relevant in", f"{summary['relevant_inferences']} of {summary['of']} inferences", RELEVANT_HELP)
        _metric("Fires in inferences", str(summary["inferences"]), "Inferences in which it fires, in scope.")
        _metric("At positions", f"{summary['positions']:,}", "Positions at which it fires, in scope.")
        _metric("Maximum", _number(summary["max_activation"]), "Its largest activation in scope.")
        _metric(
            "Mean", _number(summary["mean_activation"]), "Its mean activation over the positions at which it fires."
        )


def _metric(label: str, value: str, help: str) -> None:
    st.metric(label, value, help=help, width="content")


def _number(value: float) -> str:
    return "–" if pd.isna(value) else f"{value:.2f}"
