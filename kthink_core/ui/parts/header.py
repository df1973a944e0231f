"""The head of a page: its title, what belongs beside it, and the button that copies the link."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

from kthink_core.ui.parts import share


@contextmanager
def title(text: str) -> Iterator[None]:
    """The page's title; what is drawn inside stands at the right end of its line, before the copy button."""
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.title(text, width="content")
        with st.container(horizontal=True, vertical_alignment="center", gap="small", width="content"):
            yield
            share.copy_button()


def nothing(text: str) -> None:
    """What stands where a table or a chart has nothing to show."""
    st.info(text, icon=":material/info:")
