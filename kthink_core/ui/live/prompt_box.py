"""The prompt box: what is typed comes back as tokens while it is typed; its button, or Ctrl+Enter, sends it.

Text and click come in one message, so that what runs is what stood in the box.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import streamlit as st
from streamlit.components.v2 import component

from kthink_core.ui.parts.scripts import joined

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


def typed(name: str = "prompt") -> str:
    """What stands in the box, as of its last message. `name` tells the boxes of pages apart."""
    return st.session_state.get(f"{name}_text", "")


def take(text: str, name: str = "prompt") -> None:
    """Put a text into the box."""
    st.session_state[f"{name}_text"] = text
    st.session_state[f"{name}_taken"] = st.session_state.get(f"{name}_taken", 0) + 1


def draw(shown: Shown, run: Callable[[], None] | None, name: str = "prompt") -> None:
    """Draw the box with its tokens. `run` is called before the page is drawn again; None: it cannot run now."""
    key = f"{name}_box"
    data = {
        "taken": st.session_state.get(f"{name}_taken", 0),
        "text": typed(name),
        "tokens": [list(token) for token in shown.tokens],
        "limit": shown.limit,
        "message": shown.message,
        "ready": run is not None and shown.ready,
    }

    def read() -> None:
        text = st.session_state[key].text
        if isinstance(text, str):
            st.session_state[f"{name}_text"] = text

    def sent() -> None:
        text = st.session_state[key].run
        if isinstance(text, str) and run is not None:
            st.session_state[f"{name}_text"] = text
            run()

    _component(data=data, key=key, on_text_change=read, on_run_change=sent)
