"""Features found by what they are called: those one of whose labels, or of whose top tokens, contains a text."""

from __future__ import annotations

from collections.abc import Iterable

import streamlit as st

from kthink_core import queries
from kthink_core.errors import short
from kthink_core.ui.parts import feature_names, naming, note_panel
from kthink_core.ui.parts.writing import plain
from kthink_core.ui.view.page import Page, go, with_features
from kthink_core.ui.view.yardstick import yardstick

_OFFERED = 12
_LISTED = 30
"""Features that a word typed into a list of features brings into it."""
_LONGEST = 60
"""Characters."""


def search(page: Page, hookpoint: str, text: str, top: int) -> list[int]:
    """The first features that are called so, in whatever case: those with such a label, then those with such a token,
    by the largest activation at it."""
    found = note_panel.label_search(page, hookpoint, text, top)
    whole = yardstick(page) or page
    if hookpoint in whole.experiment.saes and text.strip():
        found += whole.ask(queries.feature_search, hookpoint, "generated", text.strip(), top)["feature"].tolist()
    return list(dict.fromkeys(found))[:top]


def draw(page: Page) -> None:
    """A field to type into, and what it finds as buttons: a click makes a feature the main one."""
    hookpoint = page.view.hookpoint
    text = st.text_input(
        "Find by label or token", icon=":material/search:", max_chars=_LONGEST, live=True, key="find feature",
        placeholder="wait", help="Features whose label, or one of whose five top tokens, contains this text.",
    ).strip()  # fmt: skip
    if not text:
        return
    found = search(page, hookpoint, text, _OFFERED + 1)
    if not found:
        st.caption(f"No feature of {hookpoint} is called so. Shorten the text, or choose another hookpoint.")
        return
    names = feature_names.names(page, hookpoint, found)
    with st.container(gap=None):
        for feature in found[:_OFFERED]:
            st.button(
                plain(naming.named(feature, names)), type="tertiary", key=f"found {feature}", on_click=go,
                args=(with_features(page.view, (feature, *page.view.also)),),
            )  # fmt: skip
    if len(found) > _OFFERED:
        st.caption(f"The first {_OFFERED}: type more of it to see others.")


def looked_for(key: str, words: Iterable[str]) -> None:
    """Keep what was typed into a list of features and is no number: the last of the words, for `brought`."""
    st.session_state[f"looked for {key}"] = next(iter([*words][::-1]), "")[:_LONGEST]


def brought(page: Page, hookpoint: str, key: str) -> list[int]:
    """The features that a word typed into a list brings into it; says how many, and where they are."""
    text = st.session_state.get(f"looked for {key}", "")
    if not text.strip():
        return []
    found = search(page, hookpoint, text, _LISTED)
    told = f"“{plain(short(text))}”: " + (
        "no feature is called so."
        if not found
        else f"{len(found)} {'feature is' if len(found) == 1 else 'features are'} called so, at the head of the list."
    )
    st.caption(told)
    return found
