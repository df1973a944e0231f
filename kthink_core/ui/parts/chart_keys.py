"""The keyboard in a chart whose marks can be clicked: Tab leads into it, arrows go about in it, Enter is the click."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st
from streamlit.components.v2 import component

from kthink_core.ui.parts.scripts import joined

_component = component("kthink_chart_keys", js=joined("parts/roving.js", "parts/chart_keys.js"))


@contextmanager
def reachable(key: str) -> Iterator[None]:
    """The chart that is drawn inside can be used without a pointer, where it is drawn as SVG. `key`: no other's."""
    with st.container(gap=None):
        yield
        _component(key=f"keys of {key}", height="content")
