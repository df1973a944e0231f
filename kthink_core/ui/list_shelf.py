"""The lists of features of the cache, and the one that the link names: read, changed, deleted, taken along."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial

import pandas as pd
import streamlit as st
from streamlit.column_config import NumberColumn, TextColumn
from streamlit.elements.lib.column_types import ColumnConfig

from kthink_core import notes
from kthink_core.notes import FeatureList, FeatureSubject
from kthink_core.travel.list_files import list_lines
from kthink_core.ui import list_editor, notes_list
from kthink_core.ui.inference import listed_features
from kthink_core.ui.parts import clicks, download, feature_lists, feature_names, header, list_dialog, note_panel
from kthink_core.ui.parts.naming import brief
from kthink_core.ui.parts.writing import plain
from kthink_core.ui.view.page import Page, lead, link

SHOWN = 1000
"""Features of a list in its table."""
COLUMNS: dict[str, ColumnConfig] = {
    "hookpoint": TextColumn("Hookpoint", width=140),
    "feature": NumberColumn("Feature", format="%d", width=80),
    "name": TextColumn("Label or top tokens", width=420),
    "sae": TextColumn("Of another SAE", width=220),
}


def draw(page: Page) -> None:
    """Raises NotesUnavailable, NotesTooNew, CorruptFile."""
    lists = feature_lists.lists(page)
    standing = lists.all()
    if not standing:
        st.info(
            "There is no list of features yet. *Add to list…* stands on the page of a feature, below tables of "
            "features, beside those shown of an inference, and below the matrix.",
            icon=":material/playlist_add:",
        )
    else:
        _shelf(page, standing)
    if page.view.list.id:
        found = next((one for one in standing if one.id == page.view.list.id), None)
        if found is None:
            _not_here(page)
        else:
            _one(page, found)


def _shelf(page: Page, standing: Sequence[FeatureList]) -> None:
    here = feature_lists.here(page)
    shown = pd.DataFrame(
        {
            "name": [one.name for one in standing],
            "features": [one.features for one in standing],
            "here": [here.get(one.id, 0) for one in standing],
            "author": [one.author or notes_list.NOBODY for one in standing],
            "updated": [_when(one.updated) for one in standing],
            "experiment": [one.experiment for one in standing],
            "note": [brief(" ".join(one.note.split())) for one in standing],
        }
    )
    columns = {
        "name": TextColumn("List", width=220, pinned=True),
        "features": NumberColumn("Features", format="%d", width=70),
        "here": NumberColumn("Of this hookpoint", format="%d", width=120),
        "author": TextColumn("Begun by", width="small"),
        "updated": TextColumn("Changed (UTC)", width=140),
        "experiment": TextColumn("Begun in", width=110),
        "note": TextColumn("Note", width=260),
    }
    count = "One list" if len(standing) == 1 else f"{len(standing):,} lists"
    st.caption(f"{count}. Click a row to see what it holds.")
    ids = [one.id for one in standing]
    key = f"lists {hash(tuple(ids))}"
    clicks.table(
        shown, columns, key, lambda row: list_dialog.show(page, ids[row]), rows=12, described="Lists of features"
    )
    with st.container(horizontal=True):
        download.files(page, "lists", "kthink-lists", {"JSON lines": partial(_lines, page, ids)})


def _not_here(page: Page) -> None:
    chosen = feature_lists.chosen(page)
    if chosen is not None:
        st.warning(plain(chosen.problem), icon=":material/link_off:")
        if chosen.features:
            link("across", page.view, "Its features by inferences", ":material/grid_on:")


def _one(page: Page, found: FeatureList) -> None:
    features = feature_lists.lists(page).features(found.id)
    st.header(plain(found.name))
    by = plain(found.author) or "someone"
    st.caption(
        f"Begun by {by} in {plain(found.experiment)}, {_when(found.created)} UTC; changed {_when(found.updated)} UTC."
    )
    if found.note:
        st.text(found.note)
    _ways(page, found)
    editing = list_editor.toggle(page, found)
    if features:
        _features(page, found, features, editing)
    else:
        header.nothing("It holds no feature.")
    if editing:
        list_editor.more(page, found)


def _ways(page: Page, found: FeatureList) -> None:
    """To where its features are seen together."""
    view = replace(page.view, list=feature_lists.link(page, found.id))
    held = feature_lists.beside(page, found.id, page.view.hookpoint)
    if not held or not page.inferences:
        st.caption(f"It holds no feature of {plain(page.view.hookpoint)} in {plain(page.experiment.name)}.")
        return
    with st.container(horizontal=True, gap="medium"):
        link("across", view, f"{len(held)} rows by inferences", ":material/grid_on:")
        strongest = listed_features.under(page, view.list)
        link("inference", strongest, f"Read in inference {view.inference}", ":material/notes:")


def _features(page: Page, found: FeatureList, features: Sequence[FeatureSubject], editing: bool) -> None:
    """What it holds, in its order, and what downloads it."""
    table = _table(page, features)
    shown, told = table.head(SHOWN), "One feature." if len(features) == 1 else f"{len(features):,} features."
    if len(features) > SHOWN:
        told += f" The first {SHOWN:,} are shown; the files hold all."
    if editing:
        list_editor.features(page, found, features, shown, told, COLUMNS)
    else:
        st.caption(f"{told} Click a row to see the feature.")
        key = f"features of a list {hash(tuple(features))}"
        there = partial(_open, page, features)
        clicks.table(shown, COLUMNS, key, there, rows=20, described="Features of the list")
    makers = {
        "CSV": partial(download.as_csv, table, download.app_stamp(f"list {found.id}") | {"list": found.name}),
        "JSON lines": partial(_lines, page, [found.id]),
    }
    with st.container(horizontal=True):
        download.files(page, f"list {found.id}", f"kthink-list-{found.id}", makers)


def _table(page: Page, features: Sequence[FeatureSubject]) -> pd.DataFrame:
    """hookpoint, feature, and what it is called, of the first `SHOWN`; of those that the page's experiment has not, the
    SAE."""
    saes = {hookpoint: _sae(notes.of_feature(page.experiment, hookpoint, 0)) for hookpoint in page.experiment.saes}
    own = [_sae(about) == saes.get(about.hookpoint) for about in features]
    wanted: dict[FeatureSubject, list[int]] = {}
    for about in features[:SHOWN]:
        wanted.setdefault(replace(about, feature=0), []).append(about.feature)
    names = {sae: _names(page, sae, some, _sae(sae) == saes.get(sae.hookpoint)) for sae, some in wanted.items()}
    table = pd.DataFrame(
        {
            "hookpoint": [about.hookpoint for about in features],
            "feature": [about.feature for about in features],
            "name": [names.get(replace(about, feature=0), {}).get(about.feature, "") for about in features],
        }
    )
    others = ["" if is_own else about.sae for about, is_own in zip(features, own, strict=True)]
    return table.assign(sae=others) if any(others) else table


def _names(page: Page, sae: FeatureSubject, features: Sequence[int], is_own: bool) -> dict[int, str]:
    """Of another SAE than those of the page's experiment only labels are at hand."""
    if is_own:
        return feature_names.names(page, sae.hookpoint, features)
    return note_panel.notebook(page).labels(sae.sae, sae.sae_revision, sae.hookpoint, features)


def _sae(about: FeatureSubject) -> dict[str, str | int]:
    named = notes.identity(about)
    del named["feature"]
    return named


def _open(page: Page, features: Sequence[FeatureSubject], row: int) -> None:
    """Leads to a feature, if an experiment that has its SAE is there."""
    place = notes_list.target(page, asdict(features[row]) | {"kind": "feature", "experiment": page.experiment.name})
    if place is None:
        st.toast("No experiment in this cache has this SAE.", icon=":material/info:")
    else:
        lead(place[0], replace(place[1], list=page.view.list))


def _lines(page: Page, ids: Sequence[str]) -> bytes:
    return "".join(list_lines(feature_lists.lists(page), ids)).encode()


def _when(written: str) -> str:
    return written[:16].replace("T", " ")
