"""How an inference came out, as a page shows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import streamlit as st

from kthink_core.store.verdicts import Verdict
from kthink_core.ui.parts import terms

COLOURS: dict[Verdict, Literal["green", "red", "orange", "gray"]] = {
    "right": "green",
    "wrong": "red",
    "cut off": "orange",
    "ungraded": "gray",
}
ICONS: dict[Verdict, str] = {
    "right": ":material/check:",
    "wrong": ":material/close:",
    "cut off": ":material/content_cut:",
    "ungraded": ":material/question_mark:",
}
SIGNS: dict[Verdict, str] = {"right": "✓", "wrong": "✗", "cut off": "…", "ungraded": "?"}


def signed(verdict: Verdict) -> str:
    """A sign and the word."""
    return f"{SIGNS[verdict]} {verdict}"


def line(inference: Mapping[str, Any]) -> None:
    """One line: the verdict, the answer beside its reference, and how the text came about."""
    verdict: Verdict = inference["verdict"]
    with st.container(horizontal=True, vertical_alignment="center"):
        st.badge(verdict, icon=ICONS[verdict], color=COLOURS[verdict], help=terms.help("verdict"))
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
    limit = inference["max_new_tokens"]
    if limit == limit and limit is not None:
        sampled += f" · at most {int(limit)} new tokens"
    return f" · {sampled} · typed by {inference['author']}"


def _or_none(text: object) -> str:
    return "none" if text is None or text != text else str(text)
