"""How an inference came out, in a line of text. Pure: knows nothing of Streamlit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kthink_core.store.verdicts import Verdict

SIGNS: dict[Verdict, str] = {"right": "✓", "wrong": "✗", "cut off": "…", "ungraded": "?"}


def signed(verdict: Verdict) -> str:
    """A sign and the word."""
    return f"{SIGNS[verdict]} {verdict}"


def told(inference: Mapping[str, Any]) -> str:
    """The answer beside its reference, and how the text came about."""
    return (
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
