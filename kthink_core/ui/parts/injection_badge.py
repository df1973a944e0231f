"""What token injection said of a feature, wherever one is listed."""

from __future__ import annotations

from typing import Literal

import streamlit as st

from kthink_core.store.files import Layout
from kthink_core.store.injections import Stored, Verdict, injections_state, read_injections
from kthink_core.ui.parts import terms
from kthink_core.ui.view import cache
from kthink_core.ui.view.page import Page

COLOURS: dict[Verdict, Literal["orange", "yellow", "blue", "gray"]] = {
    "token-driven": "orange",
    "partly token-driven": "yellow",
    "weakly token-driven": "gray",
    "context-dependent": "blue",
    "silent": "gray",
    "untested": "gray",
}
"""None says good or bad: a verdict is neither."""


def layout(page: Page) -> Layout:
    """Where the experiment in view lies."""
    return Layout(page.source.cache / page.source.experiment)


def verdicts(page: Page, hookpoint: str) -> dict[int, Verdict]:
    """The stored verdicts of a hookpoint, by feature."""
    state = injections_state(layout(page), hookpoint)
    if not state or hookpoint not in page.experiment.saes:
        return {}
    stored = _stored(str(layout(page).folder), page.source, hookpoint, state)
    return {one.feature: one.verdict for one in stored.found}


def line(page: Page, hookpoint: str, feature: int) -> None:
    """A badge, where there is a verdict."""
    verdict = verdicts(page, hookpoint).get(feature)
    if verdict is not None:
        st.badge(verdict, icon=":material/science:", color=COLOURS[verdict], help=terms.help("injection_verdict"))


@st.cache_resource(max_entries=16, show_spinner=False)
def _stored(folder: str, _source: cache.Source, hookpoint: str, state: int) -> Stored:
    """`folder`, `hookpoint` and `state` tell all answers apart."""
    reader = cache.reader(_source)
    return read_injections(reader.layout, reader.experiment, hookpoint)
