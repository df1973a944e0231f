"""Contexts of a feature: the tokens around places where it fires, many at once. Widening them asks nobody back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import pandas as pd
import streamlit as st
from streamlit.components.v2 import component

from kthink_core.ui.parts.browser_code import SNIPPETS
from kthink_core.ui.parts.snippet_packing import BANDS, REACH, payload

ACTIVATION = "activation"
"""What shades tokens, mostly."""

__all__ = ["BANDS", "REACH", "Stretch", "draw", "draw_stretches", "payload", "sent_place"]

_component = component("kthink_snippets", css=SNIPPETS.style, js=SNIPPETS.script)


def draw(
    places: pd.DataFrame,
    tokens: pd.DataFrame,
    lengths: Mapping[int, int],
    go: Callable[[int, int], None],
    *,
    key: str = "snippets",
    bands: Mapping[str, tuple[str, str]] = BANDS,
    positions: pd.DataFrame | None = None,
) -> None:
    """Draw what `queries.contexts` and `queries.context_tokens` of its places answered.

    `lengths` is the number of positions by inference. `go` is called before the next run with the inference and the
    position that were clicked. `bands`: title and note of each kind of places, in the order in which they are shown;
    `positions`: as for `payload`.
    """

    def opened() -> None:
        place = sent_place(st.session_state[key].opened)
        if place is not None:
            go(*place)

    _component(data=payload(places, tokens, lengths, bands, positions), key=key, on_opened_change=opened)


class Stretch(NamedTuple):
    """A text of no inference, token by token."""

    texts: Sequence[str]
    token_ids: Sequence[int]
    marked: Sequence[bool]
    """Which tokens are underlined."""
    activations: Sequence[float]


def draw_stretches(
    title: str, note: str, stretches: Sequence[Stretch], maximum: float, *, key: str, measure: str = ACTIVATION
) -> None:
    """Draw texts as contexts are, whole, and leading nowhere. `maximum`: the activation of the deepest shade, or of
    whatever else a `measure` is that shades them."""
    snippets = [
        {
            "inference": -1,
            "position": -1,
            "activation": max(stretch.activations, default=0.0),
            "first": 0,
            "length": len(stretch.texts),
            "times": sum(activation > 0 for activation in stretch.activations) if measure == ACTIVATION else 0,
            "alike": 0,
            "more": [],
            "moreCount": 0,
            "texts": list(stretch.texts),
            "ids": list(stretch.token_ids),
            "segments": ["marked" if marked else "" for marked in stretch.marked],
            "activations": list(stretch.activations),
        }
        for stretch in stretches
    ]
    longest = max((len(stretch.texts) for stretch in stretches), default=0)
    group = {"title": title, "note": note, "snippets": snippets}
    _component(data={"groups": [group], "maximum": maximum or 1.0, "near": longest, "measure": measure}, key=key)


def sent_place(sent: object) -> tuple[int, int] | None:
    """What the browser sent as a place to go to, as far as it can be one."""
    if not isinstance(sent, Mapping):
        return None
    match sent.get("inference"), sent.get("position"):
        case (bool(), _) | (_, bool()):  # an int, too, for Python
            return None
        case int(inference), int(position) if inference >= 0 <= position:
            return inference, position
    return None
