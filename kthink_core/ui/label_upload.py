"""Labels taken in from a file that somebody has: what would come of it is told before anything is stored."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import streamlit as st

from kthink_core.errors import BadFile, KthinkError
from kthink_core.travel.label_files import read_labels
from kthink_core.travel.label_import import Taken, take_labels
from kthink_core.ui.parts.note_panel import notebook
from kthink_core.ui.parts.writing import plain
from kthink_core.ui.view import visitor
from kthink_core.ui.view.page import Page

_TIMES, _DONE = "labels taken from files", "what came of a file of labels"
_AS_TOLD = "as the file says"


def draw(page: Page) -> None:
    """Nothing for who may not write."""
    if not page.person.may("annotator"):
        return
    with st.expander("Take in labels of a file", icon=":material/upload:"):
        if done := st.session_state.pop(_DONE, None):
            st.success(plain(done), icon=":material/label:")
        given = st.file_uploader(
            f"Labels of features of {page.experiment.name}", ["jsonl", "gz", "json"],
            key=f"file of labels {st.session_state.get(_TIMES, 0)}",
            help="Of `labels export`, or Neuronpedia's explanations. The folder of a run of delphi is taken in on the "
            "command line, and so are larger files.",
        )  # fmt: skip
        if given is None:
            return
        hookpoint = st.selectbox(
            "Hookpoint of the one SAE of the file", [_AS_TOLD, *page.experiment.saes], key="hookpoint of labels",
            help="For files that call it by another name than this experiment does.",
        )  # fmt: skip
        _preview(page, given, given.name, "" if hookpoint == _AS_TOLD else hookpoint)


def _preview(page: Page, file: BytesIO, name: str, hookpoint: str) -> None:
    try:
        would = _take(page, file, name, hookpoint, write=False)
    except KthinkError as error:
        st.error(plain(error.reason if isinstance(error, BadFile) else str(error)), icon=":material/error:")
        return
    st.text(f"New labels: {would.labels:,}. Here already: {would.stood:,}.")
    if would.sources:
        st.caption(plain(f"Sources: {', '.join(would.sources[:12])}"))
    for remark in would.remarks:
        st.warning(plain(remark), icon=":material/block:")
    st.button(
        "Take them in", type="primary", key="take labels", disabled=not would.labels, on_click=_store,
        args=(page, file, name, hookpoint),
    )  # fmt: skip


def _store(page: Page, file: BytesIO, name: str, hookpoint: str) -> None:
    try:
        page.person.require("annotator", "taking labels in")
        taken = _take(page, file, name, hookpoint, write=True)
        visitor.noted(page.person, "labels of a file", page.experiment.name)
    except KthinkError as error:
        st.toast(plain(str(error)), icon=":material/error:")
        return
    st.session_state[_DONE] = f"Labels taken: {taken.labels:,}. Here already: {taken.stood:,}."
    st.session_state[_TIMES] = st.session_state.get(_TIMES, 0) + 1  # the file is done with


def _take(page: Page, file: BytesIO, name: str, hookpoint: str, *, write: bool) -> Taken:
    """Raises KthinkError."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "labels"
        path.write_bytes(file.getvalue())
        places = {"": hookpoint} if hookpoint else {}
        return take_labels(
            notebook(page), page.experiment, read_labels(path), places, name, page.person.name, write=write
        )
