"""Home: the experiment, its provenance and quality, the features that matter most, its inferences."""

from dataclasses import replace

import streamlit as st

from kthink_core import queries
from kthink_core.ui import choices, experiments, figures, progress, provenance, quality, tables
from kthink_core.ui.page import Page, errors_shown, open_page, require_inferences
from kthink_core.ui.permalink import format_view


def features(page: Page) -> None:
    st.subheader("Features that matter in most inferences", help=figures.RELEVANT_HELP)
    st.caption("Click a row to see the feature.")
    for column, hookpoint in zip(st.columns(len(page.experiment.saes)), page.experiment.saes, strict=True):
        counts = page.ask(queries.feature_counts, hookpoint, page.view.scope, top=8)
        with column:
            st.markdown(f"**{hookpoint}**")
            if counts.empty:
                st.info(f"No feature fires in scope {page.view.scope}.", icon=":material/info:")
                continue
            feature = tables.feature_counts(page, counts, hookpoint)
        if feature is not None:
            view = replace(page.view, hookpoint=hookpoint, feature=feature)
            st.switch_page("pages/feature.py", query_params=format_view(view))


def inferences(page: Page) -> None:
    table = page.ask(queries.inferences)
    st.subheader("Inferences")
    figures.tally(table)
    inference = tables.inferences(page, table)
    if inference is not None:
        view = replace(page.view, inference=inference)
        st.switch_page("pages/inference.py", query_params=format_view(view))


with errors_shown():
    page = open_page()
    with st.sidebar:
        choices.scope(page)
    st.title(page.experiment.name)
    experiments.unreadable(page.statuses)
    provenance.summary(page.experiment)
    quality.site_note(page.experiment)
    progress.bar(page)
    require_inferences(page)
    quality.strip(page.experiment, page.ask(queries.quality, page.view.scope))
    features(page)
    inferences(page)
