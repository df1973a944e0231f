"""What is to be known of a pasted text: what made it a trace, or kept it from being one."""

from __future__ import annotations

import streamlit as st

from kthink_core import signs
from kthink_core.live.api import EncodeRequest
from kthink_core.prompts import THINK_OPEN
from kthink_core.ui.live.run_state import RunState


def draw(run: RunState) -> None:
    """Nothing of a generation, nor while the text is still encoded."""
    if not isinstance(run.request, EncodeRequest) or run.end is None:
        return
    if set(run.trace.segments) == {"prompt"}:
        st.caption(
            "All of it is prompt: the text has no mark of a thought, `<think>` or `</think>`, with something after it. "
            "It has its latents, but is no trace that can be kept."
        )
    elif THINK_OPEN in _written(run):
        st.caption(
            "There is a second `<think>`: a trace has one thought, so it is read as text of the thought, or of the "
            "answer, like any other."
        )


def _written(run: RunState) -> str:
    """What follows the prompt, as one text."""
    pairs = zip(signs.whole(run.trace.texts), run.trace.segments, strict=True)
    return "".join(text for text, segment in pairs if segment != "prompt")
