"""Side by side: two features on one trace, two inferences under one feature, two experiments."""

from dataclasses import replace
from functools import partial

import streamlit as st

from kthink_core import saved
from kthink_core.ui.compare import comparison, one_text, two_experiments
from kthink_core.ui.inference import reading
from kthink_core.ui.parts import evidence_file, feature_finder, header, quality
from kthink_core.ui.view import choices
from kthink_core.ui.view.page import Page, errors_shown, open_page, require_inferences
from kthink_core.ui.view.permalink import FACETS

FACET_TITLES = dict(zip(FACETS, ("The same problems", "Features", "Quality and provenance", "One text"), strict=True))


def two_features(page: Page, feature: int) -> None:
    """A pair on the view's inference, and how often they fire together everywhere."""
    view = page.view
    offered = [other for other in reading.ranked(page)["feature"].tolist() if other != feature]
    if not offered and not view.also:
        header.nothing(f"No other feature fires in scope {view.scope} of this inference. Choose another.")
        return
    other = view.also[0] if view.also else offered[0]
    comparison.second_feature(page, feature, other, offered)
    comparison.pair(page, feature, other)
    comparison.read(page, (feature, other))


def two_inferences(page: Page, feature: int) -> None:
    comparison.second_inference(page)
    other = replace(page, view=replace(page.view, inference=int(page.view.against or 0)))
    scale = comparison.scale(page, other, (feature,))
    left, right = st.columns(2, gap="medium")
    for column, inference, key in ((left, page.view.inference, "here"), (right, page.view.against, "there")):
        with column:
            comparison.inference(page, int(inference or 0), feature, key, scale)


def experiments(page: Page, feature: int) -> None:
    other = comparison.second_experiment(page)
    quality.warning(other)
    with choices.tab("facet", FACET_TITLES, page) as chosen:
        if chosen == "quality":
            two_experiments.quality(page, other)
        elif not other.inferences:
            header.nothing(f"No inference of {other.experiment.name} is committed yet.")
        elif chosen == "features":
            two_experiments.counts(page, other)
        elif chosen == "tokens":
            one_text.draw(page, other)
        else:
            table = two_experiments.shared_problems(page, other)
            two_experiments.problems(page, other, table)
            two_experiments.traces(page, other, table, feature)


with errors_shown():
    page = open_page()
    require_inferences(page)
    ranked = reading.ranked(page)
    with st.sidebar:
        choices.place(page)
        feature = choices.feature(page, default=int(ranked["feature"].iloc[0]) if len(ranked) else 0)
        feature_finder.draw(page)
    with header.title("Compare"):
        evidence_file.button(page, "comparison", partial(saved.view_page, "compare"))
    quality.notes(page)
    what = comparison.choose(page)
    {"features": two_features, "inferences": two_inferences, "experiments": experiments}[what](page, feature)
