"""What of the kept things the page Notes shows. It stands in the link beside the view."""

from __future__ import annotations

import streamlit as st

from kthink_core.ui.view.page import Page
from kthink_core.ui.view.permalink import format_view

PARAMETER = "kept"
_TITLES = {"notes": "Labels and notes", "lists": "Lists of features"}
_KEY = "choose_kept"


def choose(page: Page) -> str:
    """`notes` or `lists`."""
    given = st.query_params.get(PARAMETER)
    now = given if given in _TITLES else next(iter(_TITLES))
    st.session_state[_KEY] = now

    def changed() -> None:
        st.query_params.from_dict(format_view(page.view) | {PARAMETER: st.session_state[_KEY]})

    st.segmented_control(
        "Kept", list(_TITLES), required=True, format_func=_TITLES.__getitem__, key=_KEY, on_change=changed,
        label_visibility="collapsed",
    )  # fmt: skip
    return now
