"""The prompt of both streams: a stored inference's question, which the link refers to, or what somebody has typed."""

from __future__ import annotations

import streamlit as st

from kthink_core.live.request import MOST_REFERENCE
from kthink_core.ui.live import prompt_box
from kthink_core.ui.steer import run_options
from kthink_core.ui.view.page import Page

BOX = "steer_prompt"
_FILLED = "steer_filled"
"""Experiment and inference whose question was last put into the box."""


def fill(page: Page) -> None:
    """Put the question of the inference in view into the box, once."""
    here = _here(page)
    if page.inferences and st.session_state.get(_FILLED) != here:
        st.session_state[_FILLED] = here
        prompt_box.take(_question(page), BOX)


def take(page: Page, text: str, inference: int) -> None:
    """Put a text into the box that stays there while this inference of the page's experiment is in view."""
    st.session_state[_FILLED] = (page.experiment.name, inference)
    prompt_box.take(text, BOX)


def note(page: Page) -> None:
    """Where the prompt comes from, and what of it the link holds."""
    if not page.inferences:
        st.caption("The link does not hold the prompt: experiments have questions that it can refer to.")
    elif prompt_box.typed(BOX) == _question(page):
        st.caption(f"The question of inference {page.view.inference}: the link holds it.")
    else:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(
                "This prompt was typed: the link does not hold it. Who opens the link finds the question of inference "
                f"{page.view.inference} in its place."
            )
            st.button(
                f"Take the question of inference {page.view.inference}", key="steer_question",
                on_click=lambda: prompt_box.take(_question(page), BOX),
            )  # fmt: skip


def reference(page: Page, text: str) -> str | None:
    """The reference answer, where the prompt is a stored problem that has one."""
    if not page.inferences or text != _question(page):
        return None
    found = run_options.stored(page)["reference"]
    return found if isinstance(found, str) and len(found) <= MOST_REFERENCE else None


def _question(page: Page) -> str:
    return str(run_options.stored(page)["question"])


def _here(page: Page) -> tuple[str, int]:
    return page.experiment.name, page.view.inference
