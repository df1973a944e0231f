"""One inference: its transcript under one feature, the features that matter in it, the article's plots."""

from dataclasses import replace

import pandas as pd
import streamlit as st

from kthink_core import queries
from kthink_core.ui import charts, choices, figures, quality, tables, transcript, verdict
from kthink_core.ui.page import Page, errors_shown, go, open_page, require_inferences
from kthink_core.ui.permalink import format_view


def header(page: Page) -> None:
    row = page.ask(queries.inferences).set_index("inference").loc[page.view.inference]
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.title(f"Inference {page.view.inference}", width="content")
        choices.previous_and_next(page)
    verdict.line(row)
    st.text(row["question"])
    quality.site_note(page.experiment)


def side(page: Page, relevant: pd.DataFrame, feature: int) -> None:
    view = replace(page.view, feature=feature)
    st.subheader("Relevant features", help=figures.RELEVANT_HELP)
    if relevant.empty:
        st.info(f"No feature fires in scope {view.scope} of this inference.", icon=":material/info:")
        return
    clicked = tables.relevant_features(page, relevant, feature)
    if clicked is not None:
        go(replace(view, feature=clicked))
        st.rerun()
    label = f"Feature {feature} in all inferences"
    st.page_link("pages/feature.py", label=label, icon=":material/arrow_forward:", query_params=format_view(view))
    row = page.ask(queries.quality, view.scope, view.inference).set_index("hookpoint").loc[view.hookpoint]
    with st.container(horizontal=True):
        quality.figures(row)


def plots(page: Page, feature: int) -> None:
    view = page.view
    arguments = (view.inference, view.hookpoint, view.scope)
    top, frequencies, histogram = st.tabs(["400 top activations", "70 feature frequencies", "Histogram"])
    with top:
        st.altair_chart(charts.top_activations(page.ask(queries.feature_activations, *arguments), feature))
    with frequencies:
        st.altair_chart(charts.frequencies(page.ask(queries.feature_frequencies, *arguments), feature))
    with histogram:
        st.altair_chart(charts.histogram(page.ask(queries.activation_histogram, *arguments)))


with errors_shown():
    page = open_page()
    require_inferences(page)
    view = page.view
    relevant = page.ask(queries.relevant_features, view.inference, view.hookpoint, view.scope)
    with st.sidebar:
        choices.inference(page)
        choices.hookpoint(page)
        choices.scope(page)
        feature = choices.feature(page, default=int(relevant["feature"].iloc[0]) if len(relevant) else 0)
    header(page)
    left, right = st.columns([5, 3], gap="medium")
    with left:
        tokens = page.ask(queries.transcript, view.inference, view.hookpoint, feature)
        transcript.draw(tokens, f"{page.source.experiment} {view.inference}", view.scope, feature)
    with right:
        side(page, relevant, feature)
    if not relevant.empty:
        plots(page, feature)
