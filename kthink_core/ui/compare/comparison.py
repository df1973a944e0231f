"""What stands side by side, and the choices of what does. Which of the four it is follows from the view: a pair of
inferences or spans, another experiment, another inference, or else another feature."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

import pandas as pd
import streamlit as st

from kthink_core import queries
from kthink_core.identity import same_features
from kthink_core.ui.compare import second_side
from kthink_core.ui.inference import reading
from kthink_core.ui.parts import download, feature_names, header, numerals, terms, verdict
from kthink_core.ui.parts.naming import named
from kthink_core.ui.parts.writing import plain
from kthink_core.ui.transcript import Selection
from kthink_core.ui.view import choices
from kthink_core.ui.view.page import Page, at_inference, beside, go, lead, link, with_features
from kthink_core.ui.view.pair_link import NONE
from kthink_core.ui.view.permalink import SCALES, View

What = Literal["features", "inferences", "spans", "experiments"]
NAMES: dict[What, str] = {
    "features": "Two features, one trace",
    "inferences": "Two inferences",
    "spans": "Two spans",
    "experiments": "Two experiments",
}
_OTHER = "compared experiment"
"""The one that was last beside the view's, on this visit."""
SCALE_NAMES = dict(zip(SCALES, ("both sides by one maximum", "each side by its own"), strict=True))


def choose(page: Page) -> What:
    """What is compared. Says so where there is no other inference or experiment to choose."""
    view = page.view
    alone = replace(view, other=None, against=None, pair=NONE)
    views: dict[What, View] = {"features": alone}
    others = _others(page)
    if view.other is not None:
        views["inferences"] = second_side.two_inferences(view)
    elif len(page.inferences) > 1 or view.pair.what == "inferences":
        views["inferences"] = replace(alone, against=_next(page.inferences, view.inference))
    views["spans"] = second_side.two_spans(page, view.other)
    if others:
        st.session_state[_OTHER] = last = view.other or st.session_state.get(_OTHER)
        views["experiments"] = replace(alone, other=last if last in others else others[0])
    now: What = "experiments" if view.other else "inferences" if view.against is not None else "features"
    if view.pair.what:
        now = "spans" if view.pair.what == "spans" else "inferences"
    st.session_state["choose_compared"] = now

    def chosen() -> None:
        go(views[st.session_state["choose_compared"]])

    st.segmented_control(
        "Compare", list(views), required=True, format_func=NAMES.__getitem__, key="choose_compared", on_change=chosen
    )
    return now


def second_feature(page: Page, feature: int, other: int, offered: Sequence[int]) -> None:
    """The choice of the feature beside the main one."""
    names = feature_names.names(page, page.view.hookpoint, (other, *offered))
    st.session_state["choose_second"] = other

    def chosen() -> None:
        go(with_features(page.view, (feature, st.session_state["choose_second"])))

    st.selectbox(
        "Second feature", list(dict.fromkeys([other, *offered])), key="choose_second", on_change=chosen,
        format_func=lambda option: named(option, names), help="Those of this inference, by the view's ranking.",
    )  # fmt: skip


def second_experiment(page: Page) -> Page:
    """The choice of the experiment beside the view's, opened. Raises KthinkError."""
    name = page.view.other or _others(page)[0]
    st.session_state["choose_other"] = name

    def chosen() -> None:
        go(replace(page.view, other=st.session_state["choose_other"]))

    st.selectbox("Second experiment", _others(page), key="choose_other", on_change=chosen, width=300)
    return beside(page, name)


def pair(page: Page, feature: int, other: int) -> None:
    """At how many positions in scope both features fire, over all inferences."""
    table = page.ask(queries.feature_pair, page.view.hookpoint, feature, other, page.view.scope)
    row = table.iloc[0]
    names = feature_names.names(page, page.view.hookpoint, (feature, other))
    counts = {
        "Both fire": row["both"],
        f"Only {plain(named(feature, names))}": row["only_first"],
        f"Only {plain(named(other, names))}": row["only_second"],
        "Neither": row["neither"],
    }
    with st.container(horizontal=True, gap="medium", vertical_alignment="center"):
        for title, count in counts.items():
            st.metric(title, f"{count:,}", help="Positions in scope, over all inferences.", width="content")
        union = row["both"] + row["only_first"] + row["only_second"]
        overlap = numerals.percent(row["both"] / union) if union else numerals.MISSING
        st.metric("Overlap", overlap, help=terms.help("overlap"), width="content")
    download.buttons(page, f"features {feature} and {other}", table)


def read(page: Page, shown: tuple[int, ...]) -> None:
    """The view's inference under some features. What is chosen in it changes the view."""
    view = page.view
    inference_head(page, view.inference)

    def follow(chosen: Selection) -> None:
        if chosen.feature is not None:
            lead("feature", with_features(view, (chosen.feature,)))
        else:
            go(chosen.into(with_features(replace(view, span=chosen.span), chosen.features)))

    reading.trace(page, shown, follow, span=view.span, position=view.position)


def scale(page: Page, other: Page, shown: Sequence[int]) -> reading.Scale | None:
    """The choice of one scale for both sides or one for each, and what both are shaded by if it is one."""
    choices.pick("Shading", "scale", SCALE_NAMES, page)
    locked = () if page.view.locked is None else (page.view.locked,)
    return reading.one_scale(page, other, (*shown, *locked)) if page.view.scale == SCALES[0] else None


def inference(
    page: Page,
    number: int,
    feature: int,
    key: str,
    scale: reading.Scale | None,
    base: Page | None = None,
    *,
    named: bool = False,
    span: tuple[int, int] | None = None,
    marked: Callable[[tuple[int, int]], View] | None = None,
) -> None:
    """One inference of two. `key` tells its transcript from the other's. `base` is the page where that is of another
    experiment. `named`: with its experiment's name. `span`: what is marked in it; `marked` makes the view in which
    another stretch is."""
    view = page.view
    inference_head(page, number, named=named)
    everything = page.ask(queries.feature_inferences, view.hookpoint, feature, view.scope)
    own = next((row for row in everything.to_dict("records") if row["inference"] == number), None)
    if own is None:
        header.nothing(f"Feature {feature} never fires in scope {view.scope} of this inference.")
    else:
        rank = "beyond the first 100" if pd.isna(own["rank"]) else f"{own['rank']}."
        most = numerals.number(own["max_activation"])
        called = plain(feature_names.in_words(page, view.hookpoint, feature))
        positions = f"{own['positions']} position{'' if own['positions'] == 1 else 's'}"
        st.caption(f"Feature {called} fires at {positions}, at most {most}, rank {rank}")

    def follow(chosen: Selection) -> None:
        at = view if base is None else base.view
        same = base is None or same_features(base.experiment, page.experiment, at.hookpoint)
        if chosen.feature is not None:
            lead("feature", with_features(view, (chosen.feature,)))
        elif same and chosen.features and chosen.features != (feature,):
            go(with_features(at, chosen.features[-1:]))  # the one that was added
        elif marked is not None and chosen.span is not None and chosen.span != span:
            go(marked(chosen.span))
        else:
            known = chosen if same else chosen._replace(locked=at.locked, sought=at.sought)
            go(replace(known.into(at), shade=at.shade))

    reading.trace(page, (feature,), follow, inference=number, scale=scale, span=span, key=f"transcript {key}")


def first_feature(page: Page) -> int:
    """The feature to show of a page whose view names none."""
    ranked = reading.ranked(page)
    return int(ranked["feature"].iloc[0]) if len(ranked) else 0


def inference_head(page: Page, number: int, *, named: bool = False) -> None:
    """What an inference is, of which experiment where it is `named`, and the way to its own page."""
    stored = page.ask(queries.inferences).set_index("inference").loc[number]
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.header(f"Inference {number}{f' of {plain(page.experiment.name)}' if named else ''}", width="content")
        link("inference", at_inference(page.view, number), "Read it alone", ":material/notes:")
    verdict.line(stored, sampled=page.experiment.config.traces is None)
    st.text(stored["question"])


def _next(inferences: Sequence[int], inference: int) -> int:
    at = inferences.index(inference)
    return inferences[at + 1 if at + 1 < len(inferences) else at - 1]


def _others(page: Page) -> list[str]:
    return [
        status.name for status in page.statuses if status.experiment is not None and status.name != page.experiment.name
    ]
