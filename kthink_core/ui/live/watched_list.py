"""A list of features as the watchlist of Live."""

from __future__ import annotations

import streamlit as st

from kthink_core.ui.parts import feature_lists
from kthink_core.ui.view.page import Page
from kthink_core.ui.view.permalink import MOST_FEATURES


def draw(page: Page, key: str) -> None:
    """What puts the first features of a list, as many as are watched at once, into the watchlist, whose widget has this
    key. Nothing without lists."""
    names = {one.id: one.name for one in feature_lists.standing(page)}
    if not names:
        return
    chosen = f"{key} of a list"

    def watch() -> None:
        features = feature_lists.beside(page, st.session_state[chosen], page.view.hookpoint)[:MOST_FEATURES]
        st.session_state[key] = list(features)
        if not features:
            st.toast(f"It holds no feature of {page.view.hookpoint}.", icon=":material/info:")
        st.session_state[chosen] = None

    st.selectbox(
        "Watch a list", list(names), index=None, format_func=names.__getitem__, key=chosen, on_change=watch,
        placeholder=f"the first {MOST_FEATURES} of a list",
    )  # fmt: skip
