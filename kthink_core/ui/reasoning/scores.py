"""ReasonScore: features that answer to words of reasoning, and what they do at each of the words."""

from __future__ import annotations

import pandas as pd
import streamlit as st
from streamlit.column_config import TextColumn

from kthink_core import queries, signs
from kthink_core.errors import BadValue
from kthink_core.evidence import vocabulary
from kthink_core.evidence.matches import WIDEST, missing_words, word_matches
from kthink_core.evidence.reason_score import FEWEST, INTERVALS, LARGEST_ALPHA, reason_score
from kthink_core.evidence.word_evidence import word_activations, word_places
from kthink_core.queries.histogram import histogram
from kthink_core.ui.injection import injection_button
from kthink_core.ui.parts import charts, download, feature_names, feature_tables, header, numerals, snippets, terms
from kthink_core.ui.parts.writing import plain
from kthink_core.ui.view import choices, score_link
from kthink_core.ui.view.page import Page, at_inference, lead, link, with_features

COLUMNS = (
    "score", "score_low", "score_high", "mean_positive", "mean_negative", "entropy", "active_positive", "near_words_in",
)  # fmt: skip
ROWS = 10
BINS = 60
VOCABULARY_HELP = (
    "A word a line, with and without a space before it, in small letters and with the first one large. "
    'In double quotes, `"But"`, it is taken as it is written; `#14190`, or `#1 #2`, are token ids.'
)
WINDOW_HELP = "So many positions beside a match of a word belong to it, too."


def draw(page: Page) -> None:
    """The tab of the page."""
    st.caption(
        "Features that are active around words of reasoning. It picks them **by words**: what it finds may detect "
        "words and nothing more. They are candidates.",
        help=terms.help("reason_score"),
    )
    settings, words, spread = st.columns([2, 3, 3], gap="medium")
    with settings:
        _settings(page)
    try:
        scores, matches = _asked(page)
    except BadValue as error:
        with words:
            st.error(plain(str(error)), icon=":material/error:")
        return
    with words:
        _words(page, matches)
    with spread:
        _spread(page, scores)
    _ranked(page, scores)
    _evidence(page, scores)


def _settings(page: Page) -> None:
    default = "\n".join(vocabulary.DEFAULT)
    choices.lines("Vocabulary", "words", default, score_link.MOST, page, help=VOCABULARY_HELP)
    before, after = st.columns(2)
    with before:
        choices.number("Left", "window", 0, WIDEST, page, at=0, help=WINDOW_HELP)
    with after:
        choices.number("Right", "window", 0, WIDEST, page, at=1, help=WINDOW_HELP)
    choices.number("α", "alpha", 0.0, LARGEST_ALPHA, page, step=0.1, help=terms.help("reason_score"))


def _lines(page: Page) -> tuple[str, ...]:
    """The view's vocabulary."""
    return tuple(page.view.words.splitlines()) if page.view.words else vocabulary.DEFAULT


def _asked(page: Page) -> tuple[pd.DataFrame, pd.DataFrame]:
    """All scores, and what there is of each word. Raises BadValue."""
    view, words = page.view, _lines(page)
    matches = page.ask(word_matches, view.scope, words, view.window)
    every = page.experiment.saes[view.hookpoint].num_latents
    return page.ask(reason_score, view.hookpoint, view.scope, words, view.window, view.alpha, every), matches


def _ranked(page: Page, scores: pd.DataFrame) -> None:
    positive, negative, within = (
        int(scores[name].iloc[0]) for name in ("positive_positions", "negative_positions", "of")
    )
    st.header("Features by ReasonScore", help=terms.help("reason_score"))
    st.caption(
        f"{positive:,} positive and {negative:,} other positions in scope {page.view.scope}, words in {within} of "
        f"{len(page.inferences)} inferences. The first {min(INTERVALS, len(scores))} of {len(scores):,} features that "
        "fire. Click a row to see the feature."
    )
    if within < FEWEST:
        st.caption(f"Too few inferences have a word for an interval: it takes {FEWEST}.")
    feature_tables.draw(
        page, scores.head(INTERVALS), COLUMNS, lambda to: lead("feature", with_features(page.view, (to,))),
        name="features by ReasonScore", rows=ROWS, rows_of_file=lambda: scores, most=len(scores),
    )  # fmt: skip
    injection_button.of_table(page, scores["feature"].head(INTERVALS).tolist())


def _words(page: Page, matches: pd.DataFrame) -> None:
    st.header("Words", help=terms.help("word_match"))
    counted = {"matches": "Matches", "positions": "Positive", "inferences": "Inferences"}
    shown = pd.DataFrame({"word": [signs.visible(word) for word in matches["word"]]})
    columns = {name: numerals.column(title, matches[name].tolist()) for name, title in counted.items()}
    st.dataframe(
        shown.assign(**{name: column.values for name, column in columns.items()}),
        column_config={"word": TextColumn("Word")} | {name: column.config for name, column in columns.items()},
        hide_index=True,
        height="content" if len(shown) <= ROWS else 35 * (ROWS + 1),
        alt="Words of the vocabulary, and how often they occur",
    )
    for line in missing_words(matches, page.view.scope):
        st.caption(plain(f"{line[0].upper()}{line[1:]}."))
    download.buttons(page, "words of the vocabulary", matches)


def _spread(page: Page, scores: pd.DataFrame) -> None:
    st.header("All scores", help=terms.help("reason_score"))
    table = histogram(pd.DataFrame({"activation": scores["score"]}), BINS)
    drawn = charts.histogram(table, height=330, one="Score", many="Features")
    charts.draw(drawn, f"Histogram of the ReasonScores of {len(scores):,} features")
    download.buttons(page, "histogram of ReasonScores", table, chart=True)


def _evidence(page: Page, scores: pd.DataFrame) -> None:
    """What one feature does at each word: the view's, else the first of the list."""
    view, words = page.view, _lines(page)
    st.header("At the words", help=terms.help("reason_entropy"))
    left, right = st.columns([1, 3], gap="medium", vertical_alignment="bottom")
    with left:
        feature = choices.feature(page, int(scores["feature"].iloc[0]), key="scored")
    with right:
        called = plain(feature_names.name(page, view.hookpoint, feature))
        link("feature", with_features(view, (feature,)), f"Feature {called}", ":material/bubble_chart:")
    asked = (view.hookpoint, feature, view.scope, words, view.window)
    places, activations = page.ask(word_places, *asked), page.ask(word_activations, *asked)
    if places.empty:
        header.nothing(f"Feature {feature} is silent near every word in scope {view.scope}.")
        return
    st.caption("Words by its mean activation near them. Click a context to widen it, its place to go there.")
    pairs = tuple(zip(places["inference"].tolist(), places["position"].tolist(), strict=True))
    tokens = page.ask(queries.context_tokens, view.hookpoint, feature, pairs, snippets.REACH, snippets.REACH)
    stored = page.ask(queries.inferences)
    lengths = dict(zip(stored["inference"], stored["prompt_tokens"] + stored["generated_tokens"], strict=True))
    shown = with_features(view, (feature,))
    snippets.draw(
        places, tokens, lengths, lambda *place: lead("inference", at_inference(shown, *place)),
        key="words", bands=_bands(activations),
    )  # fmt: skip
    download.buttons(page, f"feature {feature} at the words", activations)


def _bands(activations: pd.DataFrame) -> dict[str, tuple[str, str]]:
    ordered = activations.sort_values("mean_activation", ascending=False, kind="stable", na_position="last")
    return {
        row["word"]: (
            signs.visible(row["word"]),
            f"mean {numerals.number(row['mean_activation'])} over {row['positions']:,} positions, active at "
            f"{row['active']:,} of them, {numerals.percent(row['share'])} of its activation at words",
        )
        for row in ordered.to_dict("records")
    }
