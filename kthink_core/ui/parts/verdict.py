"""How an inference ended: right or wrong, finished or cut off."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import streamlit as st

RIGHT, WRONG, UNGRADED = "right", "wrong", "ungraded"
COLOURS: dict[str, Literal["green", "red", "gray"]] = {RIGHT: "green", WRONG: "red", UNGRADED: "gray"}
ICONS = {RIGHT: ":material/check:", WRONG: ":material/close:", UNGRADED: ":material/question_mark:"}
SIGNS = {RIGHT: "✓", WRONG: "✗", UNGRADED: "?"}
ENDINGS = {"stop": "finished", "length": "cut off"}


def of(correct: object) -> str:
    """`correct` of the inferences table in a word; missing where there is no reference."""
    if not isinstance(correct, bool | np.bool_):
        return UNGRADED
    return RIGHT if correct else WRONG


def line(inference: Mapping[str, Any]) -> None:
    """One line: the verdict, the answer beside its reference, and how the text came about."""
    verdict = of(inference["correct"])
    ending = ENDINGS[inference["finish_reason"]]
    with st.container(horizontal=True, vertical_alignment="center"):
        st.badge(verdict, icon=ICONS[verdict], color=COLOURS[verdict])
        st.badge(ending, color="gray" if ending == "finished" else "orange")
        st.badge(inference["mode"], color="gray")
        st.text(
            f"answer {_or_none(inference['answer'])} · reference {_or_none(inference['reference'])} · "
            f"{inference['prompt_tokens']} prompt + {inference['generated_tokens']} generated tokens · "
            f"seed {inference['seed']}{_typed(inference)}"
        )


def _typed(inference: Mapping[str, Any]) -> str:
    """Who typed it live, and how it was sampled; else the experiment says how."""
    if inference["author"] is None or inference["author"] != inference["author"]:
        return ""
    sampled = f"temperature {inference['temperature']:g} · top-p {inference['top_p']:g}"
    return f" · {sampled} · typed by {inference['author']}"


def _or_none(text: object) -> str:
    return "none" if text is None or text != text else str(text)
