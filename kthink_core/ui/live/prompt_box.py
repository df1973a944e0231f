"""The prompt box: what is typed comes back as tokens while it is typed; its button, or Ctrl+Enter, sends it.

Text and click come in one message, so that what runs is what stood in the box.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import streamlit as st
from streamlit.components.v2 import component

from kthink_core.ui.parts.scripts import joined

_KEY, _TEXT, _TAKEN = "prompt_box", "prompt_text", "prompt_taken"
_component = component(
    "kthink_prompt_box",
    css=joined("live/prompt_box.css"),
    js=joined("transcript/text.js", "live/prompt_box.js"),
)


class Shown(NamedTuple):
    """What stands below the box."""

    tokens: tuple[tuple[str, int, bool], ...] = ()
    """Text, id, and whether it was typed; else it comes from the template."""
    limit: int = 0
    message: str | None = None
    """Instead of the count: what is wrong."""
    ready: bool = True
    """Whether it can be sent nevertheless; else it can once the text or a setting is another."""


def typed() -> str:
    """What stands in the box, as of its last message."""
    return st.session_state.get(_TEXT, "")


def take(text: str) -> None:
    """Put a text into the box."""
    st.session_state[_TEXT] = text
    st.session_state[_TAKEN] = st.session_state.get(_TAKEN, 0) + 1


def draw(shown: Shown, run: Callable[[], None] | None) -> None:
    """Draw the box with its tokens. `run` is called before the page is drawn again; None: it cannot run now."""
    data = {
        "taken": st.session_state.get(_TAKEN, 0),
        "text": typed(),
        "tokens": [list(token) for token in shown.tokens],
        "limit": shown.limit,
        "message": shown.message,
        "ready": run is not None and shown.ready,
    }

    def sent() -> None:
        text = st.session_state[_KEY].run
        if isinstance(text, str) and run is not None:
            st.session_state[_TEXT] = text
            run()

    _component(data=data, key=_KEY, on_text_change=_read, on_run_change=sent)


def _read() -> None:
    text = st.session_state[_KEY].text
    if isinstance(text, str):
        st.session_state[_TEXT] = text
