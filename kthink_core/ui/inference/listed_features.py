"""The features of a list in one trace: the strongest are shown when it is chosen, the others are one click away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import streamlit as st

from kthink_core.queries.trace import StoredTrace, peaks
from kthink_core.ui.parts import feature_lists, feature_names, list_dialog, naming
from kthink_core.ui.parts.writing import plain
from kthink_core.ui.view import list_choice
from kthink_core.ui.view.list_link import NONE, ListLink
from kthink_core.ui.view.page import Page, go, with_features
from kthink_core.ui.view.permalink import MOST_FEATURES, View

_OFFERED = 12
"""Features of a list that one click shows."""


def draw(page: Page, shown: Sequence[int]) -> None:
    """The list of the view, what it has beside the features shown, and the button that puts these on a list."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        chosen = None
        if list_choice.offered(page):
            with st.container(width=300):
                chosen = list_choice.select(page, "none", lambda link: under(page, link))
        if chosen is not None and chosen.features:
            strongest = with_features(page.view, strongest_first(page, chosen.features))
            st.button(
                f"The {MOST_FEATURES} strongest here", type="tertiary", icon=":material/vertical_align_top:",
                key="strongest of the list", on_click=go, args=(strongest,),
                help="Those of the list with the largest maximum in scope; those that do not fire come last.",
            )  # fmt: skip
        list_dialog.button(page, shown, key="shown", chosen=shown)
    if chosen is not None:
        _others(page, chosen.features, shown)


def strongest_first(page: Page, features: tuple[int, ...]) -> list[int]:
    """By the largest activation in scope of the view's inference; those that do not fire there last, in their order."""
    view = page.view
    maxima = peaks(StoredTrace(page.ask, view.inference), view.hookpoint, view.scope, features)
    return sorted(features, key=lambda feature: -maxima.get(feature, 0.0))


def offered(page: Page) -> list[int]:
    """The features of the view's list, to choose from."""
    chosen = feature_lists.chosen(page)
    return [] if chosen is None else list(chosen.features)


def under(page: Page, link: ListLink) -> View:
    """The view of the inference under the features of a list that are strongest there; without any, the same."""
    view = replace(page.view, list=link)
    if link == NONE:
        return view
    features = feature_lists.beside(page, link.id, view.hookpoint)
    return with_features(view, strongest_first(page, features)) if features else view


def _others(page: Page, features: tuple[int, ...], shown: Sequence[int]) -> None:
    """What else the list has, the strongest first: a click makes one the main feature."""
    others = [feature for feature in strongest_first(page, features) if feature not in shown]
    if not others:
        return
    offered = others[:_OFFERED]
    names = feature_names.names(page, page.view.hookpoint, offered)
    key = f"others of the list {hash((page.view.inference, *shown))}"

    def take() -> None:
        if (to := st.session_state[key]) is not None:
            go(with_features(page.view, (to, *shown)))

    more = (
        f"; {_OFFERED} of {len(others)}, the others at the head of *Features shown*" if len(others) > _OFFERED else ""
    )
    st.pills(
        f"Also on the list{more}", offered, format_func=lambda each: plain(naming.named(each, names)),
        key=key, on_change=take,
    )  # fmt: skip
