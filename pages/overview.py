"""Home: the experiment, its provenance and quality, the features that matter most, its inferences."""

from dataclasses import replace

import streamlit as st

from kthink_core import queries
from kthink_core.ui import guided_reading
from kthink_core.ui.inference import inference_tables
from kthink_core.ui.parts import feature_tables, header, made_with, quality, terms, under_way
from kthink_core.ui.view import choices, filters
from kthink_core.ui.view.page import (
    Page,
    at_inference,
    errors_shown,
    lead,
    open_page,
    require_inferences,
    with_features,
)

FEATURES = 8  # of each hookpoint


def features(page: Page) -> None:
    st.header("Features that matter in most inferences", help=terms.help("relevant_in"))
    st.caption("Click a row to see the feature.")
    for column, hookpoint in zip(st.columns(len(page.experiment.saes)), page.experiment.saes, strict=True):
        counts = page.ask(queries.feature_counts, hookpoint, page.view.scope, top=FEATURES)
        at = replace(page.view, hookpoint=hookpoint)
        with column:
            st.markdown(f"**{hookpoint}**{quality.mark(page, hookpoint)}")
            if counts.empty:
                header.nothing(f"No feature fires in scope {page.view.scope}.")
                continue
            feature_tables.draw(
                page, counts, ("inferences",), lambda feature, at=at: lead("feature", with_features(at, (feature,))),
                name="features by count", hookpoint=hookpoint, bars_to={"inferences": len(page.inferences)},
                narrow=True,
            )  # fmt: skip


def inferences(page: Page) -> None:
    table = page.ask(queries.inferences)
    st.header("Inferences")
    filters.draw(page, table)
    kept = filters.apply(page, table)
    if kept.empty:
        header.nothing(filters.nothing(page))
        return
    st.caption(f"{len(kept)} of {len(table)}. Click a row to read the inference.")
    inference_tables.draw(page, kept, lambda inference: lead("inference", at_inference(page.view, inference)))


with errors_shown():
    page = open_page()
    with st.sidebar:
        choices.scope(page)
    with header.title(page.experiment.name):
        pass
    made_with.summary(page)
    quality.site_note(page.experiment)
    under_way.bar(page)
    require_inferences(page)
    guided_reading.first_visit(page)
    quality.strip(page)
    features(page)
    inferences(page)
