"""What a label is worth: how well its pattern says where the feature fires, beside the label."""

from __future__ import annotations

import streamlit as st

from kthink_core.errors import BadValue, KthinkError
from kthink_core.evidence.label_test import label_test
from kthink_core.ui.parts import download, note_panel, numerals, terms
from kthink_core.ui.parts.writing import plain
from kthink_core.ui.view.page import Page

_AS_CHANCE = 0.5
"""AUROC of a pattern that has nothing to do with the feature."""


def draw(page: Page, feature: int) -> None:
    """Nothing where the feature's label has no pattern, or nothing fires."""
    pattern = _pattern(page, feature)
    if pattern is None:
        return
    try:
        table = page.ask(label_test, page.view.hookpoint, feature, pattern, page.view.scope)
    except BadValue as error:
        st.warning(plain(str(error)), icon=":material/warning:")
        return
    held, looked_at = table.to_dict("records")
    st.markdown("**Does the pattern say where it fires?**", help=terms.help("label_test"))
    with st.container(horizontal=True, gap="medium"):
        for title, name in (("AUROC", "auroc"), ("Precision", "precision"), ("Recall", "recall")):
            st.metric(title, numerals.number(held[name], 2), width="content")
    if not held["firing"] or not held["marked"]:
        missing = "the feature never fires" if not held["firing"] else "the pattern matches nothing"
        st.caption(f"In scope {page.view.scope} of the {held['inferences']} held-out inferences {missing}.")
    else:
        interval = f"{numerals.number(held['low'], 2)} to {numerals.number(held['high'], 2)}"
        worse = " That may be chance." if not held["low"] > _AS_CHANCE else ""
        st.caption(
            f"Held out: {held['inferences']} inferences of problems with odd numbers, {held['positions']:,} positions, "
            f"{held['firing']:,} firing, {held['marked']:,} marked, {held['both']:,} both; of {held['near_misses']:,} "
            f"near misses {held['near_marked']:,} are marked. AUROC 95 % {interval}.{worse} In the half with even "
            f"numbers: AUROC {numerals.number(looked_at['auroc'], 2)}."
        )
    download.buttons(page, f"label test of feature {feature}", table)


def _pattern(page: Page, feature: int) -> str | None:
    try:
        entries = note_panel.notebook(page).entries(note_panel.of_feature(page, feature))
    except KthinkError:  # the panel says so
        return None
    return next((entry.value for entry in entries if entry.what == "pattern"), None)
