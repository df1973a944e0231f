"""Features put on a list, or taken off it, wherever they stand: a button, and what it opens."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import streamlit as st

from kthink_core import notes
from kthink_core.errors import KthinkError
from kthink_core.notes import LONGEST, FeatureList
from kthink_core.ui.parts import feature_lists, feature_names, naming
from kthink_core.ui.parts.note_panel import AUTHOR
from kthink_core.ui.parts.writing import plain
from kthink_core.ui.view import visitor
from kthink_core.ui.view.page import Page
from kthink_core.ui.view.permalink import format_view

_MOST = 200
"""Features to choose from."""
SHELF = {"kept": "lists"}
"""The parameters of a link, beside the view's, that open the lists on the page Notes."""
_DONE = "done with a list"


def button(
    page: Page, features: Iterable[int], *, key: str, hookpoint: str | None = None, chosen: Sequence[int] = ()
) -> None:
    """Opens the dialog for some features of a hookpoint, the view's unless another is named; nothing for who may not
    write. `chosen`: those of several that are chosen at first."""
    offered = tuple(dict.fromkeys(map(int, features)))[:_MOST]
    if done := st.session_state.pop(_DONE, None):
        st.toast(plain(done), icon=":material/playlist_add_check:")
    if not offered or not page.person.may("annotator"):
        return
    if st.button("Add to list…", icon=":material/playlist_add:", type="tertiary", key=f"add to list {key}"):
        _dialog(page, hookpoint or page.view.hookpoint, offered, tuple(chosen) if len(offered) > 1 else offered)


def show(page: Page, id: str) -> None:
    """Make the link name a list as it stands now, on the page Notes."""
    st.query_params.from_dict(format_view(replace(page.view, list=feature_lists.link(page, id))) | SHELF)


def memberships(page: Page, feature: int) -> None:
    """The lists that a feature is on, each a link to it, and the button that puts it on one."""
    try:
        counts = feature_lists.lists(page).counts(notes.of_feature(page.experiment, page.view.hookpoint, 0), (feature,))
    except KthinkError:
        counts = {}
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        if counts:
            st.caption("On lists:", width="content")
        for one in feature_lists.standing(page):
            if one.id in counts:
                to = format_view(replace(page.view, list=feature_lists.link(page, one.id))) | SHELF
                st.page_link("pages/notes.py", label=plain(one.name), icon=":material/list:", query_params=to)
        button(page, (feature,), key="feature")


@st.dialog("Add to a list")
def _dialog(page: Page, hookpoint: str, offered: tuple[int, ...], chosen: tuple[int, ...]) -> None:
    features = _features(page, hookpoint, offered, chosen)
    standing = feature_lists.standing(page)
    names = _names(page, hookpoint, features, standing)
    # A name that was typed stands for the list that has it already.
    ids = {one.name.casefold(): one.id for one in reversed(standing)}
    typed: str | None = st.selectbox(
        "List", list(names), index=None, format_func=lambda id: names.get(id, str(id)), accept_new_options=True,
        placeholder="Choose one, or type the name of a new one", key="list to add to",
    )  # fmt: skip
    to = None if typed is None else typed if typed in names else ids.get(typed.strip().casefold(), typed)
    author = ""
    if page.person.way == "open":
        author = st.text_input("Your name", str(st.session_state.get(AUTHOR, "")), LONGEST["author"], key="list author")
    with st.container(horizontal=True):
        add = st.button("Add", type="primary", disabled=to is None or not features)
        off = st.button("Take off", disabled=to not in names or not features)
    if not (add or off) or to is None:
        return
    try:
        st.session_state[_DONE] = _changed(page, hookpoint, features, to, to in names, author, add)
    except KthinkError as error:
        st.error(plain(str(error)), icon=":material/error:")
        return
    st.session_state[AUTHOR] = author or st.session_state.get(AUTHOR, "")
    st.rerun()


def _features(page: Page, hookpoint: str, offered: tuple[int, ...], chosen: tuple[int, ...]) -> list[int]:
    names = feature_names.names(page, hookpoint, offered)
    if len(offered) == 1:
        st.markdown(f"Feature **{plain(naming.named(offered[0], names))}** of {plain(hookpoint)}")
        return list(offered)
    return st.multiselect(
        f"Features of {hookpoint}", offered, list(chosen), format_func=lambda each: naming.named(each, names),
        filter_mode="prefix",
    )  # fmt: skip


def _names(page: Page, hookpoint: str, features: Sequence[int], standing: Sequence[FeatureList]) -> dict[str, str]:
    """What the lists are called, with how many of the features they hold."""
    about = notes.of_feature(page.experiment, hookpoint, 0)
    try:
        counts = feature_lists.lists(page).counts(about, features)
    except KthinkError:
        counts = {}
    called = {}
    for one in standing:
        held = counts.get(one.id, 0)
        has = "" if not held else ", holds it" if len(features) == 1 else f", holds {held} of these"
        called[one.id] = f"{one.name} ({one.features}{has})"
    return called


def _changed(page: Page, hookpoint: str, features: Sequence[int], to: str, known: bool, author: str, add: bool) -> str:
    """Puts features on a list, which is begun unless it is `known`, or takes them off; says what was done."""
    page.person.require("annotator", "changing lists")
    lists, here = feature_lists.lists(page), page.experiment.name
    subjects = feature_lists.subjects(page, hookpoint, features)
    id = to if known else lists.begin(to, author, here)
    changed = lists.add(id, subjects, here) if add else lists.take_off(id, subjects)
    visitor.noted(page.person, "put on a list" if add else "taken off a list", here)
    found = lists.find(id)
    name, left = (found.name, found.features) if found else (to, 0)
    done = "put on" if add else "taken off"
    return f"{changed} of {len(features)} {done} “{name}”, which holds {left} now"
