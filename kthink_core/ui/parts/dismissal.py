"""What a visitor has put away stays away: in this visit by its session, in later ones by a cookie of the browser.

A cookie, because the server knows it before it draws: what was put away does not appear for a moment first.
"""

from __future__ import annotations

import streamlit as st
from streamlit.components.v2 import component

from kthink_core.ui.parts.scripts import joined

_component = component(
    "kthink_dismiss",
    css=joined("parts/controls.css"),
    js=joined("parts/controls.js", "parts/dismiss.js"),
)


def is_dismissed(name: str) -> bool:
    """Whether this browser has put away what has this name. Without cookies: whether this visit has."""
    return bool(st.session_state.get(_cookie(name))) or _cookie(name) in st.context.cookies


def button(name: str) -> None:
    """Puts away what has this name: letters and dashes. Once a page."""
    cookie = _cookie(name)

    def dismissed() -> None:
        st.session_state[cookie] = True

    _component(
        data={"cookie": cookie}, key=f"dismiss_{name}", on_dismissed_change=dismissed, width="content", height="content"
    )


def _cookie(name: str) -> str:
    return f"kthink-{name}"
