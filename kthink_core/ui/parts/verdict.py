"""How an inference came out, as a page shows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import streamlit as st

from kthink_core.store.verdicts import Verdict
from kthink_core.ui.parts import terms
from kthink_core.ui.parts.verdict_words import SIGNS, signed, told

__all__ = ["COLOURS", "ICONS", "SIGNS", "line", "signed"]

COLOURS: dict[Verdict, Literal["green", "red", "orange", "gray"]] = {
    "right": "green",
    "wrong": "red",
    "cut off": "orange",
    "ungraded": "gray",
}
ICONS: dict[Verdict, str] = {
    "right": ":material/check:",
    "wrong": ":material/close:",
    "cut off": ":material/content_cut:",
    "ungraded": ":material/question_mark:",
}


def line(inference: Mapping[str, Any], *, sampled: bool = True) -> None:
    """One line: the verdict, the answer beside its reference, and how the text came about. `sampled`: whether the
    experiment generated it."""
    verdict: Verdict = inference["verdict"]
    with st.container(horizontal=True, vertical_alignment="center"):
        st.badge(verdict, icon=ICONS[verdict], color=COLOURS[verdict], help=terms.help("verdict"))
        st.badge(inference["mode"], color="gray")
        st.text(told(inference, sampled=sampled))
