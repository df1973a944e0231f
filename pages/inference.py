"""One inference: its transcript under up to five features, the span marked in it, its features, the article's plots."""

from dataclasses import replace

import pandas as pd
import streamlit as st

from kthink_core import queries, signs
from kthink_core.ui.inference import inference_charts, reading, span_notes
from kthink_core.ui.parts import download, feature_tables, header, note_panel, plot, quality, terms, verdict
from kthink_core.ui.transcript import Selection
from kthink_core.ui.view import cache, choices
from kthink_core.ui.view.page import Page, errors_shown, go, lead, open_page, require_inferences, with_features
from kthink_core.ui.view.permalink import PLOTS, View


def head(page: Page) -> None:
    row = page.ask(queries.inferences).set_index("inference").loc[page.view.inference]
    with header.title(f"Inference {page.view.inference}"):
        choices.previous_and_next(page)
    verdict.line(row)
    st.text(row["question"])
    quality.line(page)
    quality.site_note(page.experiment)


def chosen_first(view: View, shown: tuple[int, ...], feature: int) -> View:
    """The view with `feature` as the main one: of those shown, or in the place of the main one."""
    rest = shown[1:] if feature not in shown else tuple(other for other in shown if other != feature)
    return with_features(view, (feature, *rest))


def trace(page: Page, shown: tuple[int, ...]) -> None:
    view = page.view

    def follow(chosen: Selection) -> None:
        if chosen.feature is not None:
            lead("feature", with_features(view, (chosen.feature,)))
        else:
            go(with_features(replace(view, span=chosen.span, position=None), chosen.features))

    reading.trace(page, shown, follow, span=view.span, position=view.position)


def tokens(page: Page, feature: int) -> None:
    """What downloads the trace with the main feature's activations."""
    view, reader = page.view, cache.reader(page.source)
    download.buttons(
        page,
        f"transcript of inference {view.inference}",
        lambda: queries.transcript(reader, view.inference, view.hookpoint, feature),
        feature=feature,
    )


def span(page: Page, shown: tuple[int, ...]) -> None:
    """What stands out in the marked stretch of tokens."""
    view = page.view
    if view.span is None:
        return
    tokens = page.ask(queries.transcript, view.inference)
    first, last = view.span[0], min(view.span[1], len(tokens) - 1)
    if first > last:
        header.nothing(f"The span from {view.span[0]} to {view.span[1]} lies beyond the last token of this inference.")
        return
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            st.header(
                f"What stands out from position {first} to {last}",
                help=terms.help("span_lift"),
                width="content",
            )
            cleared = replace(view, span=None, position=None)
            st.button("Clear the span", icon=":material/close:", key="clear_span", on_click=go, args=(cleared,))
        quote = "".join(signs.whole(tokens["text"].iloc[first : last + 1].tolist()))
        table = page.ask(queries.span_features, view.inference, view.hookpoint, first, last)
        if table.empty:
            header.nothing(f"No feature fires from position {first} to {last}, or none more than once.")
        else:
            name = f"span {first} to {last} of inference {view.inference}"
            feature_tables.draw(
                page, table, feature_tables.SPAN, lambda to: go(chosen_first(view, shown, to)), name=name
            )
        note_panel.panel(page, note_panel.of_span(page, view.inference, first, last), quote)


def features(page: Page, ranked: pd.DataFrame, shown: tuple[int, ...]) -> None:
    """What the list beside the tokens is made of."""
    measures = ("rank", "max_activation", "mean_activation", "positions", "share", "lift")
    name = f"features of inference {page.view.inference}"
    feature_tables.draw(page, ranked, measures, lambda to: go(chosen_first(page.view, shown, to)), name=name)


def lower(page: Page, ranked: pd.DataFrame, shown: tuple[int, ...]) -> None:
    """The features in numbers, and the plots."""
    titles = dict(zip(PLOTS, ("Features", *inference_charts.BY_NAME), strict=True))
    with choices.tab("plot", titles, page) as chosen:
        if chosen == PLOTS[0]:
            features(page, ranked, shown)
        else:
            name = titles[chosen]
            of = f"inference {page.view.inference} of {page.view.experiment}"
            table = reading.plotted(page, name, shown)
            plot.draw(page, name, table, shown, lambda to: go(chosen_first(page.view, shown, to)), of=of)


with errors_shown():
    page = open_page()
    require_inferences(page)
    view = page.view
    ranked = reading.ranked(page)
    with st.sidebar:
        choices.place(page)
        feature = choices.feature(page, default=int(ranked["feature"].iloc[0]) if len(ranked) else 0)
    shown = (feature, *(other for other in view.also if other != feature))
    head(page)
    left, right = st.columns([3, 2], gap="medium", vertical_alignment="bottom")
    with left:
        offered = ranked["feature"].tolist()
        choices.features(page, shown, offered, note_panel.labels(page, view.hookpoint, (*shown, *offered)))
    with right:
        choices.ranking(page)
    if ranked.empty:
        header.nothing(f"No feature fires in scope {view.scope} of this inference.")
    trace(page, shown)
    tokens(page, feature)
    span(page, shown)
    span_notes.draw(page, lambda to: go(replace(view, span=to, position=to[0])))
    if not ranked.empty:
        st.header("Features and plots", help=terms.help("ranking"))
        lower(page, ranked, shown)
    note_panel.panel(page, note_panel.of_inference(page, view.inference))
