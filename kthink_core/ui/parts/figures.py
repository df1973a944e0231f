"""Headline figures of a feature."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from kthink_core.ui.parts import numerals, terms


def feature(summary: Mapping[str, Any], positions: int) -> None:
    """The count that the article asks for, and how often and how strongly the feature fires. `positions`: in scope."""
    with st.container(horizontal=True, gap="medium"):
        _metric(
            "Relevant in",
            f"{summary['relevant_inferences']} of {summary['of']} inferences",
            terms.help("relevant_in"),
        )
        _metric("Fires in inferences", str(summary["inferences"]), "Inferences in which it fires, in scope.")
        _metric("At positions", f"{summary['positions']:,}", f"Positions at which it fires, of {positions:,} in scope.")
        _metric(
            "Density",
            numerals.percent(summary["positions"] / positions) if positions else numerals.MISSING,
            terms.help("density"),
        )
        _metric("Maximum", numerals.number(summary["max_activation"]), terms.help("maximum"))
        _metric("Mean", numerals.number(summary["mean_activation"]), terms.help("mean"))


def _metric(label: str, value: str, help: str) -> None:
    st.metric(label, value, help=help, width="content")
