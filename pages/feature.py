"""One feature: what it is called, which tokens drive it, its contexts, where it matters, what it goes with."""

from dataclasses import replace
from functools import partial

import streamlit as st

from kthink_core import queries, saved
from kthink_core.queries.contexts import MOST_PAGES, shown_contexts
from kthink_core.ui.compare import sides
from kthink_core.ui.inference import inference_tables
from kthink_core.ui.injection import injection_panel
from kthink_core.ui.parts import (
    charts,
    download,
    evidence_file,
    feature_finder,
    feature_names,
    feature_tables,
    figures,
    header,
    hues,
    injection_badge,
    label_figures,
    list_dialog,
    note_panel,
    quality,
    snippets,
    terms,
)
from kthink_core.ui.parts.writing import plain
from kthink_core.ui.phases import phase_panel
from kthink_core.ui.steer import ways
from kthink_core.ui.view import choices, listed
from kthink_core.ui.view.page import (
    Page,
    at_inference,
    errors_shown,
    go,
    lead,
    link,
    open_page,
    require_inferences,
    with_features,
)
from kthink_core.ui.view.permalink import SECTIONS

TOKENS_HEIGHT = 560
"""Pixels of the bars of tokens; the rest scrolls."""


def browse(page: Page) -> None:
    """Features by the view's sort: asked for once the fold is opened."""
    with choices.fold("Browse features", "browse", page, ":material/format_list_numbered:") as is_open:
        if not is_open:
            return
        listed.controls(page)
        table = listed.table(page)
        if table.empty:
            header.nothing(listed.nothing_found(page))
            return
        st.caption(listed.held(table))
        feature_tables.draw(
            page, table, listed.COLUMNS, lambda to: go(with_features(page.view, (to,))), name="features", rows=8,
            rows_of_file=listed.whole(page), most=listed.MOST,
        )  # fmt: skip


def head(page: Page, feature: int) -> None:
    view = page.view
    with header.title(f"Feature {feature} of {view.hookpoint}"):
        link("inference", replace(view, feature=feature), f"Read in inference {view.inference}", ":material/notes:")
        ways.from_feature(page, feature)
        evidence_file.button(page, f"feature {feature}", partial(saved.view_page, "feature"))
    if name := feature_names.names(page, view.hookpoint, (feature,)).get(feature):
        st.header(plain(name))
    quality.notes(page)
    injection_badge.line(page, view.hookpoint, feature)
    summary = page.ask(queries.feature_summary, view.hookpoint, feature, view.scope).iloc[0]
    stored = page.ask(queries.quality, view.scope).set_index("hookpoint").loc[view.hookpoint]
    figures.feature(summary.to_dict(), int(stored["positions"]))


def activations(page: Page, feature: int) -> None:
    st.header("Activations", help=terms.help("activation"))
    table = page.ask(queries.feature_histogram, page.view.hookpoint, feature, page.view.scope)
    charts.draw(charts.histogram(table, height=260), "Histogram of the feature's activations in scope")
    download.buttons(page, f"activations of feature {feature}", table, chart=True)


def contexts(page: Page, feature: int) -> None:
    view = page.view
    st.caption(
        "Shaded by activation over its maximum in scope. Click a context to widen it, its place to go there.",
        help=terms.help("quarters"),
    )
    positions = page.ask(queries.context_positions, view.hookpoint, feature, view.scope, pages=view.pages)
    places = shown_contexts(positions)
    pairs = tuple(zip(places["inference"].tolist(), places["position"].tolist(), strict=True))
    tokens = page.ask(queries.context_tokens, view.hookpoint, feature, pairs, snippets.REACH, snippets.REACH)
    stored = page.ask(queries.inferences)
    lengths = dict(zip(stored["inference"], stored["prompt_tokens"] + stored["generated_tokens"], strict=True))
    shown = with_features(view, (feature,))
    snippets.draw(
        places, tokens, lengths, lambda *place: lead("inference", at_inference(shown, *place)), positions=positions
    )
    fires = int(page.ask(queries.feature_summary, view.hookpoint, feature, view.scope)["positions"].iloc[0])
    with st.container(horizontal=True, vertical_alignment="center"):
        more = len(positions) < fires and view.pages < MOST_PAGES
        st.button("More samples", icon=":material/add:", key="more_samples", disabled=not more, on_click=go,
                  args=(replace(view, pages=min(view.pages + 1, MOST_PAGES)),))  # fmt: skip
        st.caption(f"{len(places)} contexts stand for {len(positions):,} of {fires:,} positions.")
    download.buttons(page, f"contexts of feature {feature}", tokens)


def top_tokens(page: Page, feature: int) -> None:
    view = page.view
    st.header("Top tokens", help=terms.help("top_tokens"))
    here, everywhere = st.columns(2, gap="medium")
    for column, title, inference in (
        (here, f"In inference {view.inference}", view.inference),
        (everywhere, "Over all inferences", None),
    ):
        table = page.ask(queries.top_tokens, view.hookpoint, feature, inference=inference, scope=view.scope)
        with column:
            st.markdown(f"**{title}**")
            if table.empty:
                header.nothing(f"Feature {feature} never fires in scope {view.scope} of inference {view.inference}.")
                continue
            with st.container(height=min(TOKENS_HEIGHT, 95 + 18 * len(table)), border=False):
                charts.draw(charts.top_tokens(table), f"Top tokens: {title}")
            download.buttons(page, f"top tokens of feature {feature}: {title.lower()}", table, chart=True)


def where(page: Page, feature: int) -> None:
    view = page.view
    table = page.ask(queries.feature_inferences, view.hookpoint, feature, view.scope)
    outcomes = page.ask(queries.inferences)[["inference", "verdict"]]
    table = table.merge(outcomes, on="inference")
    relevant = sum(rank <= view.relevant for rank in table["rank"].dropna().tolist())
    st.header(f"Fires in {len(table)} inferences, relevant in {relevant}", help=terms.help("relevant"))
    shown = with_features(view, (feature,))
    inference_tables.of_feature(
        page, table, lambda *place: lead("inference", at_inference(shown, *place)), feature=feature
    )


def company(page: Page, feature: int) -> None:
    view = page.view
    together = page.ask(queries.fires_with, view.hookpoint, feature, view.scope)
    nearest = page.ask(queries.neighbours, view.hookpoint, feature)
    texts = feature_tables.tokens(page, view.hookpoint, [*together["feature"].tolist(), *nearest["feature"].tolist()])
    left, right = st.columns(2, gap="medium")
    with left:
        st.header("Fires together with", help=terms.help("fires_with_lift"))
        if together.empty:
            header.nothing("No other feature fires where it does.")
        else:
            st.caption("Click a row to compare the two on one trace.")
            feature_tables.draw(
                page, together, ("positions", "share", "fires_with_lift"),
                lambda to: lead("compare", with_features(view, (feature, to))),
                name=f"features that fire with {feature}", bars_to={"share": 1}, rows=10, texts=texts, narrow=True,
            )  # fmt: skip
    with right:
        st.header("Nearest decoder rows", help=terms.help("cosine"))
        if nearest.empty:
            header.nothing(when_finished(page))
        else:
            st.caption("Click a row to see the feature.")
            feature_tables.draw(
                page, nearest, ("cosine",), lambda to: go(with_features(view, (to,))),
                name=f"features near {feature}", bars_to={"cosine": 1}, rows=10, texts=texts,
            )  # fmt: skip


def when_finished(page: Page) -> str:
    if page.experiment.is_imported:
        return "The file that the experiment was imported from has none of this feature."
    return "They are computed once the experiment is finished, for features that fire."


def logits(page: Page, feature: int) -> None:
    st.header("Tokens promoted and suppressed", help=terms.help("logit_lens"))
    table = page.ask(queries.promoted_tokens, page.view.hookpoint, feature)
    if table.empty:
        header.nothing(when_finished(page))
        return
    promoted, suppressed = st.columns(2, gap="medium")
    for column, sign, hue in ((promoted, "promoted", hues.HUES[2]), (suppressed, "suppressed", hues.HUES[3])):
        of_sign = table.loc[table["sign"] == sign, :].reset_index(drop=True)
        with column:
            st.markdown(f"**{sign.capitalize()}**")
            charts.draw(charts.promoted_tokens(of_sign, hue), f"Tokens {sign}")
            download.buttons(page, f"tokens {sign} by feature {feature}", of_sign, chart=True)


def tokens(page: Page, feature: int) -> None:
    top_tokens(page, feature)
    logits(page, feature)


def inferences(page: Page, feature: int) -> None:
    left, right = st.columns([11, 9], gap="medium")
    with left:
        where(page, feature)
    with right:
        st.header("Contrast", help=terms.help("share"))
        sides.draw(page, page.ask(queries.feature_contrast, page.view.hookpoint, feature), feature)


SECTION_TITLES = dict(
    zip(
        SECTIONS,
        ("Contexts", "Tokens", "Inferences and contrast", "Features beside it", "Think or word?", "Its words?"),
        strict=True,
    )
)
DRAWN = dict(
    zip(SECTIONS, (contexts, tokens, inferences, company, phase_panel.draw, injection_panel.draw), strict=True)
)

with errors_shown():
    page = open_page()
    require_inferences(page)
    view = page.view
    with st.sidebar:
        choices.place(page)
        feature = choices.feature(page, default=listed.first(page))
        feature_finder.draw(page)
    head(page, feature)
    browse(page)
    fires = not page.ask(queries.feature_histogram, view.hookpoint, feature, view.scope).empty
    if fires:
        left, right = st.columns([3, 2], gap="medium")
        with left:
            activations(page, feature)
    else:
        header.nothing(f"Feature {feature} never fires in scope {view.scope}. Choose another scope or feature.")
        right = st.container()
    with right:
        st.header("Label and notes")
        note_panel.panel(page, note_panel.of_feature(page, feature))
        list_dialog.memberships(page, feature)
        label_figures.draw(page, feature)
    if fires:
        with choices.tab("section", SECTION_TITLES, page) as section:
            DRAWN[section](page, feature)
    else:
        logits(page, feature)
