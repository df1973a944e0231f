"""One inference: its transcript under up to five features, the span marked in it, its features, the article's plots."""

from dataclasses import replace
from functools import partial

import pandas as pd
import streamlit as st

from kthink_core import queries, saved, signs
from kthink_core.live.study_requests import StoredTrace
from kthink_core.ui.causes import causes_panel
from kthink_core.ui.causes.traced_page import TracedPage
from kthink_core.ui.compare import second_side
from kthink_core.ui.inference import branch_links, kept_panel, listed_features, reading, span_notes, trace_parts
from kthink_core.ui.inference.trace_parts import Reading
from kthink_core.ui.parts import download, evidence_file, feature_finder, header, note_panel, quality, terms, verdict
from kthink_core.ui.sentences import sentence_panel
from kthink_core.ui.steer import receipt_table, ways
from kthink_core.ui.transcript import Selection
from kthink_core.ui.view import cache, choices
from kthink_core.ui.view.page import Page, errors_shown, go, lead, link, open_page, require_inferences, with_features
from kthink_core.ui.view.permalink import PLOTS, View


def head(page: Page, feature: int) -> None:
    row = page.ask(queries.inferences).set_index("inference").loc[page.view.inference]
    with header.title(f"Inference {page.view.inference}"):
        ways.from_inference(page, feature)
        choices.previous_and_next(page)
        evidence_file.button(page, f"inference {page.view.inference}", partial(saved.view_page, "inference"))
    if page.experiment.is_bare:
        st.text(f"{row['question']} · {row['generated_tokens']} tokens")
    else:
        verdict.line(row, sampled=page.experiment.config.traces is None)
        st.text(row["question"])
    branch_links.parent(page)
    receipt_table.of_inference(page)
    quality.line(page)
    quality.notes(page)


def chosen_first(view: View, shown: tuple[int, ...], feature: int) -> View:
    """The view with `feature` as the main one: of those shown, or in the place of the main one."""
    rest = shown[1:] if feature not in shown else tuple(other for other in shown if other != feature)
    return with_features(view, (feature, *rest))


def trace(page: Page, read: Reading) -> None:
    view, firings = page.view, reading.watched(page, read.trace) or kept_panel.fired(page, read.trace)

    def follow(chosen: Selection) -> None:
        if chosen.feature is not None:
            lead("feature", with_features(view, (chosen.feature,)))
        elif chosen.branch:
            lead("live", replace(view, branch=chosen.branch))
        else:
            go(chosen.into(with_features(replace(view, span=chosen.span, position=None), chosen.features)))

    branches = page.person.may("runner")
    reading.trace(page, read.shown, follow, span=view.span, position=view.position, reported=firings, branches=branches)
    trace_parts.reports(read, firings, lambda to: go(replace(view, position=to)))


def tokens(page: Page, feature: int) -> None:
    """What downloads the trace with the main feature's activations."""
    view, reader = page.view, cache.reader(page.source)
    download.buttons(
        page,
        f"transcript of inference {view.inference}",
        lambda: queries.transcript(reader, view.inference, view.hookpoint, feature),
        feature=feature,
    )


def span(page: Page, read: Reading) -> None:
    """What stands out in the marked stretch of tokens."""
    view = page.view
    if view.span is None:
        return
    tokens = read.trace.tokens()
    first, last = view.span[0], min(view.span[1], len(tokens) - 1)
    if first > last:
        header.nothing(f"The span from {view.span[0]} to {view.span[1]} lies beyond the last token of this inference.")
        return
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            trace_parts.span_title(first, last)
            cleared = replace(view, span=None, position=None)
            link("compare", second_side.two_spans(page), "Compare with another span", ":material/compare_arrows:")
            st.button("Clear the span", icon=":material/close:", key="clear_span", on_click=go, args=(cleared,))
        quote = "".join(signs.whole(tokens["text"].iloc[first : last + 1].tolist()))
        trace_parts.span(read, first, last)
        note_panel.panel(page, note_panel.of_span(page, view.inference, first, last), quote)


def lower(page: Page, read: Reading, ranked: pd.DataFrame) -> None:
    """The features in numbers, and the plots."""
    titles = {name: trace_parts.TITLES[name] for name in PLOTS}
    with choices.tab("plot", titles, page) as chosen:
        trace_parts.tab(read, titles[chosen], ranked)


def causes(page: Page, read: Reading) -> None:
    """What features do in the trace."""
    view, tokens = page.view, read.trace.tokens()
    span = view.span if view.span is not None and view.span[1] < len(tokens) else None
    trace = StoredTrace(experiment=page.experiment.name, inference=view.inference)
    steered = not page.ask(queries.interventions, view.inference).empty
    causes_panel.draw(TracedPage(page, trace, read.called, tokens, read.shown, span, read.choose, steered))


with errors_shown():
    page = open_page()
    require_inferences(page)
    view = page.view
    ranked = reading.ranked(page)
    with st.sidebar:
        choices.place(page)
        feature = choices.feature(page, default=int(ranked["feature"].iloc[0]) if len(ranked) else 0)
        feature_finder.draw(page)
    shown = (feature, *(other for other in view.also if other != feature))
    head(page, feature)
    left, right = st.columns([3, 2], gap="medium", vertical_alignment="bottom")
    with left:
        choices.features(page, shown, [*listed_features.offered(page), *ranked["feature"].tolist()])
    with right:
        choices.ranking(page)
    listed_features.draw(page, shown)
    if ranked.empty:
        header.nothing(f"No feature fires in scope {view.scope} of this inference.")
    read = reading.of_view(page, shown, lambda to: go(chosen_first(view, shown, to)))
    trace(page, read)
    tokens(page, feature)
    span(page, read)
    span_notes.draw(page, lambda to: go(replace(view, span=to, position=to[0])))
    if not ranked.empty:
        st.header("Features and plots", help=terms.help("ranking"))
        lower(page, read, ranked)
        if page.experiment.open_ended:
            st.header("Unusual here", help=terms.help("percentile"))
            trace_parts.unusual(read)
    kept_panel.draw(page, read)
    causes(page, read)
    sentence_panel.draw(page, feature, lambda to: go(replace(view, span=to, position=to[0])))
    branch_links.children(page)
    note_panel.panel(page, note_panel.of_inference(page, view.inference))
