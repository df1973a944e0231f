"""Changing a list of features: its order, what it holds, its name and note, and whether there is one."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import pandas as pd
import streamlit as st
from streamlit.elements.lib.column_types import ColumnConfig

from kthink_core.access.person import Person
from kthink_core.errors import BadValue, KthinkError
from kthink_core.notes import LONGEST, FeatureList, FeatureSubject
from kthink_core.ui.parts import feature_lists, list_dialog
from kthink_core.ui.parts.writing import plain
from kthink_core.ui.view import visitor
from kthink_core.ui.view.page import Page

Where = Literal["first", "up", "down", "last"]
_PROBLEM = "problem with a list"
_NUMBERS = 2000
"""Characters of typed numbers."""


def toggle(page: Page, found: FeatureList) -> bool:
    """Whether it is being changed."""
    return page.person.may("annotator") and st.toggle("Change this list", key=f"change list {found.id}")


def features(
    page: Page,
    found: FeatureList,
    features: Sequence[FeatureSubject],
    shown: pd.DataFrame,
    told: str,
    columns: Mapping[str, ColumnConfig],
) -> None:
    """The features as a table in which some are ticked, and what is done with them. `shown`: the table of the first."""
    st.caption(f"{told} Tick rows to move them or to take them off.")
    moved, times = f"moved in {found.id}", f"times moved in {found.id}"
    ticked = st.session_state.get(moved, [])
    key = f"ticks of {found.id} {st.session_state.get(times, 0)}"
    rows = st.dataframe(
        shown,
        hide_index=True,
        column_config=dict(columns),
        key=key,
        on_select="rerun",
        selection_mode="multi-row",
        selection_default={"selection": {"rows": ticked}},
        alt="Features of the list",
        placeholder="",
        height=min(38 + 35 * len(shown), 740),
    ).selection.rows  # pyright: ignore[reportAttributeAccessIssue] # it has one where `on_select` is given

    def move(where: Where) -> None:
        order = reordered(len(features), rows, where)
        st.session_state[moved] = [at for at, row in enumerate(order) if row in rows]
        st.session_state[times] = st.session_state.get(times, 0) + 1
        ordered = [features[row] for row in order]
        _change(page, found, "list put in order", lambda: lists.reorder(found.id, ordered))

    def take_off() -> None:
        st.session_state[moved] = []
        st.session_state[times] = st.session_state.get(times, 0) + 1
        taken = [features[row] for row in rows]
        _change(page, found, "taken off a list", lambda: lists.take_off(found.id, taken))

    lists = feature_lists.lists(page)
    with st.container(horizontal=True, gap="small"):
        for where, icon in (
            ("first", "vertical_align_top"), ("up", "arrow_upward"), ("down", "arrow_downward"),
            ("last", "vertical_align_bottom"),
        ):  # fmt: skip
            st.button(
                where.capitalize(), icon=f":material/{icon}:", key=f"move {where}", on_click=move, args=(where,),
                disabled=not rows,
            )  # fmt: skip
        st.button("Take off", icon=":material/playlist_remove:", key="take off", on_click=take_off, disabled=not rows)


def reordered(length: int, ticked: Sequence[int], where: Where) -> list[int]:
    """The rows of a table of so many in a new order: those ticked go as one to its head or end, or each goes by one
    place, as far as there is room."""
    chosen = set(ticked)
    if where in ("first", "last"):
        heads = sorted(range(length), key=lambda row: (row in chosen) == (where == "last"))
        return heads
    order = list(range(length))
    steps = range(1, length) if where == "up" else range(length - 2, -1, -1)
    back = -1 if where == "up" else 1
    for at in steps:
        if order[at] in chosen and order[at + back] not in chosen:
            order[at], order[at + back] = order[at + back], order[at]
    return order


def more(page: Page, found: FeatureList) -> None:
    """Features put on it by their numbers; for who began it and for owners, its name and note, and its end."""
    if problem := st.session_state.pop(_PROBLEM, None):
        st.error(plain(problem), icon=":material/error:")
    _numbers(page, found)
    if not _is_own(page.person, found):
        st.caption("Its name and note are changed, and it is deleted, by who began it or by an owner.")
        return
    name, note = f"name of {found.id} {found.updated}", f"note of {found.id} {found.updated}"
    with st.form(f"describe {found.id}"):
        st.text_input("Name", found.name, LONGEST["list"], key=name)
        st.text_area("Note", found.note, max_chars=LONGEST["note"], key=note, placeholder="Plain text.")
        st.form_submit_button("Save", on_click=_describe, args=(page, found, name, note))
    with st.popover("Delete this list", icon=":material/delete:", key=f"delete {found.id}"):
        st.write("It cannot be brought back, but by an import of a file of it. Links to it will say that it is gone.")
        st.button("Delete it", type="primary", key="delete list", on_click=_delete, args=(page, found))


def _numbers(page: Page, found: FeatureList) -> None:
    key, hookpoint = f"numbers for {found.id}", page.view.hookpoint

    def put() -> None:
        typed = st.session_state[key]
        _change(page, found, "put on a list", lambda: _put(page, found, typed))

    with st.form(f"numbers {found.id}", clear_on_submit=True):
        st.text_input(
            f"Put features of {hookpoint} on it, by their numbers", max_chars=_NUMBERS, key=key, placeholder="12, 767"
        )
        st.form_submit_button("Put on", on_click=put)


def _put(page: Page, found: FeatureList, typed: str) -> None:
    """Raises BadValue."""
    hookpoint = page.view.hookpoint
    size = page.experiment.saes[hookpoint].num_latents
    parts = [part for part in re.split(r"[\s,;]+", typed) if part]
    numbers = [int(part) for part in parts if re.fullmatch(r"[0-9]{1,9}", part, re.ASCII) and int(part) < size]
    if not parts or len(numbers) < len(parts):
        raise BadValue(f"write numbers of features of {hookpoint}, from 0 to {size - 1}, with commas between them")
    subjects = feature_lists.subjects(page, hookpoint, numbers)
    feature_lists.lists(page).add(found.id, subjects, page.experiment.name)


def _describe(page: Page, found: FeatureList, name: str, note: str) -> None:
    state = st.session_state

    def change() -> None:
        require_own(page.person, found)
        feature_lists.lists(page).describe(found.id, state[name], state[note])

    _do(page, "list described", change)


def _delete(page: Page, found: FeatureList) -> None:
    def change() -> None:
        require_own(page.person, found)
        feature_lists.lists(page).delete(found.id)

    _do(page, "list deleted", change)


def _is_own(person: Person, found: FeatureList) -> bool:
    return person.may("owner") or (found.author != "" and found.author == person.name)


def require_own(person: Person, found: FeatureList) -> None:
    if not _is_own(person, found):
        person.require("owner", "changing a list that somebody else began")


def _change(page: Page, found: FeatureList, what: str, change: Callable[[], Any]) -> None:
    """Changes what a list holds, or its order; the link, which has both, says so from then on."""

    def changed() -> None:
        change()
        list_dialog.show(page, found.id)

    _do(page, what, changed)


def _do(page: Page, what: str, change: Callable[[], Any]) -> None:
    """Changes a list, and tells the audit log; what goes wrong is shown in the next run."""
    try:
        page.person.require("annotator", "changing lists")
        change()
        visitor.noted(page.person, what, page.experiment.name)
    except KthinkError as error:  # gone already, in another window
        st.session_state[_PROBLEM] = str(error)
