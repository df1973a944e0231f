"""How an inference came out, in a line of text. Pure: knows nothing of Streamlit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kthink_core.store.verdicts import Verdict

SIGNS: dict[Verdict, str] = {"right": "✓", "wrong": "✗", "cut off": "…", "ungraded": "?"}


def signed(verdict: Verdict) -> str:
    """A sign and the word."""
    return f"{SIGNS[verdict]} {verdict}"


def told(inference: Mapping[str, Any], *, sampled: bool = True) -> str:
    """The answer beside its reference, and how the text came about. `sampled`: whether the experiment generated it."""
    parts = [
        f"answer {_or_none(inference['answer'])} · reference {_or_none(inference['reference'])} · "
        f"{inference['prompt_tokens']} prompt + {inference['generated_tokens']} generated tokens",
        *([f"seed {inference['seed']}{_typed(inference)}"] if sampled and not _pasted(inference) else []),
        *([f"pasted by {inference['author']}"] if _pasted(inference) else []),
        *([] if _is_missing(inference["tags"]) else [f"tags {inference['tags']}"]),
    ]
    return " · ".join(parts)


def _is_missing(value: object) -> bool:
    return value is None or value != value


def _pasted(inference: Mapping[str, Any]) -> bool:
    """Whether somebody pasted the whole trace on Live."""
    return not _is_missing(inference["author"]) and _is_missing(inference["temperature"])


def _typed(inference: Mapping[str, Any]) -> str:
    """Who typed it live, and how it was sampled; else the experiment says how."""
    if _is_missing(inference["author"]):
        return ""
    sampled = f"temperature {inference['temperature']:g} · top-p {inference['top_p']:g}"
    limit = inference["max_new_tokens"]
    if limit == limit and limit is not None:
        sampled += f" · at most {int(limit)} new tokens"
    return f" · {sampled} · typed by {inference['author']}"


def _or_none(text: object) -> str:
    return "none" if _is_missing(text) else str(text)
