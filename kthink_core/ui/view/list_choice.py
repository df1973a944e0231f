"""Choosing a list of features. It stands in the link, with what it holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import streamlit as st

from kthink_core.ui.parts import feature_lists
from kthink_core.ui.parts.feature_lists import Chosen
from kthink_core.ui.parts.writing import plain
from kthink_core.ui.view.list_link import NONE, ListLink
from kthink_core.ui.view.page import Page, go
from kthink_core.ui.view.permalink import View

_KEY = "choose_list"
_OF_LINK = "of the link"
"""Stands for features that only the link knows."""


def offered(page: Page) -> bool:
    """Whether there is anything to choose."""
    return page.view.list != NONE or bool(feature_lists.standing(page))


def select(page: Page, nothing: str, then: Callable[[ListLink], View] | None = None) -> Chosen | None:
    """A list of the cache, by its name, or none, which is called `nothing`. Says what is wrong with the link's. `then`:
    the view of a list that was chosen; unless given, the same with that list. Returns what the view's shows."""
    chosen, standing = feature_lists.chosen(page), feature_lists.standing(page)
    here = feature_lists.here(page)
    names = {"": nothing} | {one.id: f"{one.name} ({here.get(one.id, 0)})" for one in standing}
    now = page.view.list.id
    if chosen is not None and (not now or now not in names):
        now, names[_OF_LINK] = _OF_LINK, f"features of the link ({len(chosen.features)})"

    def changed() -> None:
        to = st.session_state[_KEY]
        if to != _OF_LINK:
            link = feature_lists.link(page, to)
            go(replace(page.view, list=link) if then is None else then(link))

    st.session_state[_KEY] = now
    st.selectbox(
        "List of features", list(names), format_func=names.__getitem__, key=_KEY, on_change=changed,
        help="Lists are made on the page of a feature and below tables, and stand on the page Notes. The number counts "
        "what a list holds of this hookpoint.",
    )  # fmt: skip
    if chosen is not None and chosen.problem:
        st.warning(plain(chosen.problem), icon=":material/link_off:")
    return chosen
