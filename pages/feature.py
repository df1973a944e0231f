"""One feature: in how many inferences it matters, which tokens drive it, and where it is active."""

from dataclasses import replace

import streamlit as st

from kthink_core import queries
from kthink_core.ui import charts, choices, figures, quality, tables
from kthink_core.ui.page import Page, errors_shown, open_page, require_inferences
from kthink_core.ui.permalink import format_view


def tokens(page: Page, feature: int) -> None:
    st.subheader("Top tokens", help=figures.TOKENS_HELP)
    here, everywhere = st.columns(2, gap="medium")
    for column, title, inference in (
        (here, f"In inference {page.view.inference}", page.view.inference),
        (everywhere, "Over all inferences", None),
    ):
        table = page.ask(queries.top_tokens, page.view.hookpoint, feature, inference=inference, scope=page.view.scope)
        with column:
            st.markdown(f"**{title}**")
            if table.empty:
                st.info(f"Feature {feature} never fires here in scope {page.view.scope}.", icon=":material/info:")
            else:
                st.altair_chart(charts.top_tokens(table))


def where(page: Page, feature: int) -> None:
    table = page.ask(queries.feature_inferences, page.view.hookpoint, feature, page.view.scope)
    if table.empty:
        return
    st.subheader("Inferences in which it is active")
    inference = tables.feature_inferences(page, table, feature)
    if inference is not None:
        view = replace(page.view, inference=inference, feature=feature)
        st.switch_page("pages/inference.py", query_params=format_view(view))


with errors_shown():
    page = open_page()
    require_inferences(page)
    view = page.view
    counts = page.ask(queries.feature_counts, view.hookpoint, view.scope)
    with st.sidebar:
        choices.inference(page)
        choices.hookpoint(page)
        choices.scope(page)
        feature = choices.feature(page, default=int(counts["feature"].iloc[0]) if len(counts) else 0)
    st.title(f"Feature {feature} of {view.hookpoint}")
    quality.site_note(page.experiment)
    summary = page.ask(queries.feature_summary, view.hookpoint, feature, view.scope).iloc[0]
    figures.feature(summary)
    tokens(page, feature)
    where(page, feature)
