"""An experiment that is still being computed: how far it is, and the page follows it."""

from __future__ import annotations

import streamlit as st

from kthink_core.store.reader import store_version
from kthink_core.ui.view.page import Page


def bar(page: Page) -> None:
    """Nothing for a finished experiment, nor for an imported one, which has what it has."""
    if len(page.inferences) < page.experiment.inferences and not page.experiment.is_imported:
        _follow(page)


@st.fragment(run_every="3s")
def _follow(page: Page) -> None:
    done, total = len(page.inferences), page.experiment.inferences
    st.progress(done / total, text=f"{done} of {total} inferences are committed; new ones appear by themselves.")
    if store_version(page.source.cache, page.source.experiment) != page.source.version:
        st.rerun(scope="app")
