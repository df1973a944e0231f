"""The list of all labels and notes: what narrows it stands in the link, a row leads to what it is about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches
from functools import partial
from typing import NamedTuple

import pandas as pd
import streamlit as st
from streamlit.column_config import TextColumn

from kthink_core import notes
from kthink_core.errors import short
from kthink_core.notes import FeatureSubject
from kthink_core.notes.text import worded
from kthink_core.ui import label_upload
from kthink_core.ui.parts import clicks, download, feature_names
from kthink_core.ui.parts.naming import brief
from kthink_core.ui.parts.note_panel import notebook
from kthink_core.ui.parts.writing import plain
from kthink_core.ui.view.page import Page, Target, lead
from kthink_core.ui.view.permalink import View, format_view

NOBODY = "no name"
"""Stands for authors who gave none."""
_SHOWN = 60
_WIDGETS = ("search", "author", "within")
"""Also the names of the link's parameters."""


class Narrowed(NamedTuple):
    """Which rows are shown. Empty: all."""

    words: str
    author: str
    experiment: str


def draw(page: Page) -> None:
    """The list with its filters and files. Raises NotesUnavailable, NotesTooNew, CorruptFile."""
    label_upload.draw(page)
    table = notebook(page).table(imported=False)
    if table.empty:
        st.info(
            "Nobody has written anything yet. Name a feature on its page, or write about an inference or a span of "
            "tokens on the page of the inference: it appears here at once.",
            icon=":material/edit_note:",
        )
        return
    chosen = _choices(page, table)
    found = _narrow(table, chosen)
    st.caption(
        f"{len(found):,} of {len(table):,} labels, flags, ratings and notes. Click a row to see what it is about. "
        "Imported labels stand on the pages of their features."
    )
    if found.empty:
        st.info("Nothing matches. Try fewer letters, or another author or experiment.", icon=":material/search_off:")
        return
    _list(page, found)
    _files(page, found)


def _choices(page: Page, table: pd.DataFrame) -> Narrowed:
    """The widgets that narrow the list, set from the link."""
    authors = sorted(set(table["author"].replace("", NOBODY)), key=str.casefold)
    experiments = sorted(set(table["experiment"]) - {""})
    chosen = Narrowed(page.view.search, _given("author", authors), _given("within", experiments))
    words, author, experiment = st.columns([3, 2, 2])
    for name, value in zip(_WIDGETS, chosen, strict=True):
        st.session_state[f"notes {name}"] = value
    widget = {"on_change": _go, "args": (page.view,)}
    words.text_input("Search labels and notes", key="notes search", max_chars=_SHOWN, **widget)
    author.selectbox("Author", ["", *authors], key="notes author", format_func=_or_all, **widget)
    experiment.selectbox("Written in", ["", *experiments], key="notes within", format_func=_or_all, **widget)
    return chosen


def _go(view: View) -> None:
    """Writes the widgets into the link."""
    state = {name: st.session_state[f"notes {name}"] for name in _WIDGETS}
    others = {name: state[name] for name in ("author", "within") if state[name]}
    st.query_params.from_dict(format_view(replace(view, search=state["search"])) | others)


def _given(parameter: str, known: Sequence[str]) -> str:
    """The link's choice among `known`; the nearest, or all, with a message, where there is no such one."""
    given = st.query_params.get(parameter, "")
    if not given or given in known:
        return given
    nearest = next(iter(get_close_matches(given[:_SHOWN], known, n=1)), "")
    message = f"The link's {parameter} '{short(given)}' is not among the notes: showing {nearest or 'all'}."
    st.warning(plain(message), icon=":material/link_off:")
    return nearest


def _narrow(table: pd.DataFrame, chosen: Narrowed) -> pd.DataFrame:
    found = notes.search(table, chosen.words)
    if chosen.author:
        found = found[found["author"] == ("" if chosen.author == NOBODY else chosen.author)]
    if chosen.experiment:
        found = found[found["experiment"] == chosen.experiment]
    return pd.DataFrame(found)


def _list(page: Page, found: pd.DataFrame) -> None:
    rows = found.to_dict("records")
    names = _names(page, rows)
    shown = pd.DataFrame(
        {
            "about": [_about(row, names.get(_place(row), "")) for row in rows],
            "what": found["what"].to_list(),
            "text": [worded(row["what"], row["value"]) for row in rows],
            "author": found["author"].replace("", NOBODY).to_list(),
            "updated": found["updated"].str.slice(0, 16).str.replace("T", " ").to_list(),
            "experiment": found["experiment"].to_list(),
        }
    )
    columns = {
        "about": TextColumn("About", width="medium"),
        "what": TextColumn("What", width=70),
        "text": TextColumn("Text", width=340),
        "author": TextColumn("Author", width="small"),
        "updated": TextColumn("Written (UTC)", width=140),
        "experiment": TextColumn("In experiment", width=110),
    }
    clicks.table(shown, columns, "list of notes", partial(_open, page, rows), rows=20, described="Labels and notes")


def _place(row: dict) -> tuple[str, int] | None:
    return (row["hookpoint"], int(row["feature"])) if row["kind"] == "feature" else None


def _names(page: Page, rows: Sequence[dict]) -> dict[tuple[str, int] | None, str]:
    """What the features are called that the page's experiment has, by hookpoint and feature."""
    own: dict[str, set[int]] = {}
    for row in rows:
        if row["kind"] == "feature" and row["hookpoint"] in page.experiment.saes:
            here = notes.of_feature(page.experiment, row["hookpoint"], int(row["feature"]))
            if notes.identity(here) == notes.identity(_subject(row)):
                own.setdefault(here.hookpoint, set()).add(here.feature)
    return {
        (hookpoint, feature): name
        for hookpoint, features in own.items()
        for feature, name in feature_names.names(page, hookpoint, features).items()
    }


def _subject(row: dict) -> FeatureSubject:
    return FeatureSubject(row["sae"], row["sae_revision"], row["hookpoint"], int(row["feature"]))


def _about(row: dict, name: str = "") -> str:
    if row["kind"] == "feature":
        called = f"{row['feature']} · {brief(name)}" if name else str(row["feature"])
        return f"feature {called} of {row['hookpoint']}"
    span = f", positions {row['first']} to {row['last']}" if row["kind"] == "span" else ""
    return f"inference {row['inference']}{span}"


def _open(page: Page, rows: Sequence[dict], number: int) -> None:
    """Leads to what a row is about, if an experiment that shows it is there."""
    place = target(page, rows[number])
    if place is None:
        st.toast(plain(f"{_about(rows[number])}: no experiment in this cache shows it"), icon=":material/info:")
    else:
        lead(*place)


def target(page: Page, row: dict) -> tuple[Target, View] | None:
    """The page and view that show what a row is about; None where no experiment does."""
    there = {status.name: status.experiment for status in page.statuses if status.experiment is not None}
    names = sorted(there, key=lambda name: (name != row["experiment"], name != page.experiment.name, name))
    for name in names:
        experiment = there[name]
        if row["kind"] == "feature":
            about = _subject(row)
            here = notes.of_feature(experiment, about.hookpoint, about.feature)
            if about.hookpoint in experiment.saes and notes.identity(here) == notes.identity(about):
                return "feature", View(name, about.hookpoint, feature=about.feature)
        elif name == row["experiment"]:
            span = (int(row["first"]), int(row["last"])) if row["kind"] == "span" else None
            position = span[0] if span else None  # the page goes there
            hookpoint = (
                page.view.hookpoint if page.view.hookpoint in experiment.saes else next(reversed(experiment.saes))
            )
            return "inference", View(name, hookpoint, int(row["inference"]), span=span, position=position)
    return None


def _files(page: Page, found: pd.DataFrame) -> None:
    makers = {
        "CSV": partial(download.as_csv, found, download.app_stamp("notes")),
        "JSON lines": partial(download.as_json_lines, found),
    }
    with st.container(horizontal=True):
        download.files(page, "notes", "kthink-notes", makers)


def _or_all(choice: str) -> str:
    return choice or "all"
