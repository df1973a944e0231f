"""Side by side: two features on one trace, two inferences, two spans, two experiments; and what differs."""

from dataclasses import replace
from functools import partial

import streamlit as st

from kthink_core import saved
from kthink_core.evidence.difference_table import Asked
from kthink_core.identity import same_features
from kthink_core.ui.compare import comparison, difference_list, one_text, second_side, two_experiments
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
    """Of one experiment or two: what differs, and both under one feature."""
    other = second_side.choose(page)
    if other is None:
        return
    names = side_names(page, other)
    elsewhere = None if page.view.other is None else other
    difference_list.draw(page, elsewhere, Asked(page.view.inference, other.view.inference), names)
    side_by_side(page, other, feature)


def two_spans(page: Page, feature: int) -> None:
    """Of one inference or two: what differs, and both marked."""
    view, other = page.view, second_side.choose(page)
    if other is None:
        return
    if view.span is None or view.pair.span is None:
        header.nothing("Mark a stretch of tokens on either side.")
    else:
        one, two = side_names(page, other)
        names = f"{one}: {view.span[0]} to {view.span[1]}", f"{two}: {view.pair.span[0]} to {view.pair.span[1]}"
        asked = Asked(view.inference, other.view.inference, view.span, view.pair.span)
        difference_list.draw(page, None if view.other is None else other, asked, names)
    st.caption("Drag over tokens on either side to compare another stretch.")
    side_by_side(page, other, feature, spans=True)


def side_names(page: Page, other: Page) -> tuple[str, str]:
    """What both inferences are called in a table."""
    numbers = page.view.inference, other.view.inference
    if page.view.other is None:
        return f"inference {numbers[0]}", f"inference {numbers[1]}"
    return f"{page.experiment.name} {numbers[0]}", f"{other.experiment.name} {numbers[1]}"


def side_by_side(page: Page, other: Page, feature: int, *, spans: bool = False) -> None:
    view = page.view
    base = None if view.other is None else page
    same = base is None or same_features(page.experiment, other.experiment, view.hookpoint)
    scale = comparison.scale(page, other, (feature,)) if same else None
    named = base is not None
    left, right = st.columns(2, gap="medium")
    with left:
        comparison.inference(page, view.inference, feature, "here", scale, named=named,
                             span=view.span if spans else None,
                             marked=(lambda span: replace(view, span=span)) if spans else None)  # fmt: skip
    with right:
        comparison.inference(
            other, other.view.inference, feature if same else comparison.first_feature(other), "there", scale, base,
            named=named, span=view.pair.span if spans else None,
            marked=(lambda span: replace(view, pair=view.pair._replace(span=span))) if spans else None,
        )  # fmt: skip


def experiments(page: Page, feature: int) -> None:
    other = comparison.second_experiment(page)
    quality.warning(other)
    with choices.tab("facet", FACET_TITLES, page) as chosen:
        if chosen == "quality":
            two_experiments.quality(page, other)
        elif not other.inferences:
            header.nothing(f"No inference of {other.experiment.name} is committed yet.")
        elif chosen == "features":
            difference_list.draw(page, other, Asked(), (page.experiment.name, other.experiment.name))
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
    drawn = {"features": two_features, "inferences": two_inferences, "spans": two_spans, "experiments": experiments}
    drawn[what](page, feature)
