"""Tables of features: wherever one stands, its label and its top tokens stand beside its number."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

import pandas as pd
import streamlit as st
from streamlit.column_config import NumberColumn, TextColumn
from streamlit.elements.lib.column_types import ColumnConfig

from kthink_core import queries
from kthink_core.queries import Scope
from kthink_core.ui.parts import (
    clicks,
    download,
    feature_names,
    injection_badge,
    list_dialog,
    naming,
    note_panel,
    numerals,
    terms,
)
from kthink_core.ui.parts.writing import visible
from kthink_core.ui.view import cache
from kthink_core.ui.view.page import Page

_TOKENS_HELP = "The tokens at which the feature is most active in scope, over all inferences, the most active first."


class Measure(NamedTuple):
    """How one column of a query is shown. Three queries have a lift, each of its own meaning."""

    title: str
    decimals: int = 0
    unit: str = ""
    bar: bool = False
    help: str | None = None
    column: str | None = None
    """Of the query's answer, where it has another name there."""
    short: bool = False
    """Whether its numbers are: a column less wide does."""


def _measures(of: int) -> dict[str, Measure]:
    """By column of the queries. `of`: how many inferences there are."""
    return {
        "rank": Measure("Rank"),
        "inferences": Measure("Relevant in", unit=f" of {of}", bar=True, help=terms.help("relevant_in")),
        "elsewhere": Measure("Elsewhere", 1, "%", help="Share of the other experiment's inferences: relevant there."),
        "active_inferences": Measure("Fires in", unit=f" of {of}", help="Inferences in which it fires, in scope."),
        "positions": Measure("Positions", help="Positions in scope at which it fires."),
        "span_positions": Measure("n", help="Positions of the span at which it fires.", column="positions"),
        "share": Measure("Share", 1, "%", bar=True, help=terms.help("share")),
        "rest_share": Measure("Rest", 1, "%", help="Share of the other positions of the trace at which it fires."),
        "max_activation": Measure("Maximum", 2, bar=True, help=terms.help("maximum")),
        "mean_activation": Measure("Mean", 2, help=terms.help("mean")),
        "lift": Measure("Lift", 1, "×", help=terms.help("lift")),
        "span_lift": Measure("Lift", 1, "×", help=terms.help("span_lift"), column="lift"),
        "lift_low": Measure("At least", 1, "×", help=terms.help("lift_interval")),
        "lift_high": Measure("At most", 1, "×", help=terms.help("lift_interval")),
        "fires_with_lift": Measure("Lift", 1, "×", help=terms.help("fires_with_lift"), column="lift"),
        "percentile": Measure("Percentile", 1, "%", bar=True, help=terms.help("percentile")),
        "stored_maximum": Measure("Stored max.", 2, help="Its largest activation in the stored inferences."),
        "excess": Measure("Excess", 1, "×", help=terms.help("excess")),
        "members": Measure("Members", help=terms.help("family")),
        "shared": Measure("Shared", help="Positions in scope at which both fire: it and the family's first."),
        "overlap": Measure("Overlap", 1, "%", bar=True, help=terms.help("overlap")),
        "family_cosine": Measure("Cosine", 3, bar=True, help=terms.help("cosine"), column="cosine"),
        "cosine": Measure("Cosine", 3, bar=True, help=terms.help("cosine")),
        "score": Measure("Score", 4, help=terms.help("reason_score")),
        "score_low": Measure("At least", 4, help=terms.help("score_interval"), column="low"),
        "score_high": Measure("At most", 4, help=terms.help("score_interval"), column="high"),
        "mean_positive": Measure("μ⁺", 3, help=terms.help("reason_means")),
        "mean_negative": Measure("μ⁻", 3, help=terms.help("reason_means")),
        "entropy": Measure("H", 2, help=terms.help("reason_entropy"), short=True),
        "active_positive": Measure("n⁺", help="Positive positions at which it fires.", short=True),
        "near_words_in": Measure("In", help="Inferences in which it fires at one.", column="inferences", short=True),
        "think_minus_answer": Measure("Think − answer", 1, "%", help=terms.help("think_minus_answer")),
        "right_minus_wrong": Measure("Right − wrong", 1, "%", help=terms.help("right_minus_wrong")),
        "rate_a": Measure("Rate a", 2, "%", help=terms.help("share")),
        "rate_b": Measure("Rate b", 2, "%", help=terms.help("share")),
        "positions_a": Measure("Positions a", help="Positions at which it fires, of all of the first side."),
        "positions_b": Measure("Positions b", help="Positions at which it fires, of all of the second side."),
        "mean_a": Measure("Mean a", 2, help=terms.help("mean")),
        "mean_b": Measure("Mean b", 2, help=terms.help("mean")),
        "difference": Measure("All positions", 2, "%", help=terms.help("difference")),
        "low": Measure("From", 2, "%", help=terms.help("bootstrap_interval")),
        "high": Measure("To", 2, "%", help=terms.help("bootstrap_interval")),
        "matched": Measure("Difference", 2, "%", help=terms.help("matched")),
        "matched_low": Measure("At least", 2, "%", help=terms.help("test_based_limits")),
        "matched_high": Measure("At most", 2, "%", help=terms.help("test_based_limits")),
        "tested": Measure("n", help="Inferences of both sides that have one of the other side that is like them."),
        "p": Measure("p", 3, help=terms.help("p_value")),
        "q": Measure("q", 3, help=terms.help("q_value")),
        "inferences_a": Measure("n of first", help="Inferences on the first of the two sides."),
        "inferences_b": Measure("n of second", help="Inferences on the second of the two sides."),
        "positions_baseline": Measure("Baseline at", help="Generated positions of the baseline.", column="positions_a"),
        "positions_steered": Measure("Steered at", help="Those of the steered stream.", column="positions_b"),
        "share_steered_less": Measure(
            "Δ share",
            1,
            "%",
            help="Share of the steered stream's positions, less the baseline's.",
            column="share_difference",
        ),
        "max_baseline": Measure("Base max.", 2, help="Maximum of the baseline.", column="max_activation_a"),
        "max_steered": Measure("Steered max.", 2, help="Maximum of the steered stream.", column="max_activation_b"),
        "max_steered_less": Measure("Δ maximum", 2, help="The second less the first.", column="max_difference"),
        "positions_other": Measure("Positions there", help="Positions in scope at which it fires in the other."),
        "max_activation_other": Measure("Maximum there", 2, help="Its maximum in the other, in scope."),
        "feature_other": Measure("Its like", help=terms.help("features_apart")),
        "both": Measure("Both", help="Positions at which it fires in both."),
        "apart": Measure("Apart", bar=True, help=terms.help("features_apart")),
        "needed": Measure("Would take", help=terms.help("needed")),
    }


SPAN = ("span_positions", "span_lift", "lift_low", "lift_high", "share", "rest_share", "max_activation")
"""What a table of the features that stand out in a span shows of each."""


def draw(
    page: Page,
    table: pd.DataFrame,
    measures: Sequence[str],
    go: Callable[[int], None],
    *,
    name: str,
    hookpoint: str | None = None,
    bars_to: Mapping[str, float] | None = None,
    rows: int = clicks.ROWS,
    texts: Mapping[int, str] | None = None,
    narrow: bool = False,
    whole: Page | None = None,
    measured: Page | None = None,
    rows_of_file: Callable[[], pd.DataFrame] | None = None,
    most: int | None = None,
    scope: Scope | None = None,
    titles: Mapping[str, str] | None = None,
    partners: Mapping[int, str] | None = None,
) -> None:
    """Draw the features of a query's answer with some of its columns, and what downloads it.

    A click on a row calls `go` with its feature. `name` tells this table from others of the page and names the file.
    `bars_to` says what a full bar is where it is not the column's largest value. `texts` are the features' `tokens`
    where the caller has them. A `narrow` table has labels and tokens in one column. `whole` is the experiment that
    tells tokens, where it is another than the page's, `measured` the one that figures are of, where it is another than
    that. `rows_of_file` asks for the rows that
    the files hold where these are more than the table's, `most` at most. `scope` is what they count, the view's unless
    another is named. `titles` are those of some measures where their own do not tell enough. `partners` names the
    features of a measure `feature_other`.
    """
    whole = whole or page
    measured = measured or whole
    hookpoint = hookpoint or page.view.hookpoint
    features = tuple(int(feature) for feature in table["feature"])
    labels = note_panel.labels(page, hookpoint, features)
    lines = tokens(whole, hookpoint, features) if texts is None else texts
    shown = pd.DataFrame({"feature": features})
    if narrow:
        parts = [(labels.get(feature, ""), lines.get(feature, "")) for feature in features]
        shown["tokens"] = [" │ ".join(filter(None, pair)) for pair in parts]
    else:
        if labels:  # most have none: then the column would be blank
            shown["label"] = [labels.get(feature, "") for feature in features]
        shown["tokens"] = [lines.get(feature, "") for feature in features]
    verdicts = injection_badge.verdicts(page, hookpoint)
    if any(feature in verdicts for feature in features):
        shown["verdict"] = [verdicts.get(feature, "") for feature in features]
    known = _measures(len(measured.inferences))
    columns: dict[str, ColumnConfig] = {
        "feature": NumberColumn("Feature", format="%d", width=55 if narrow else 65, pinned=True),
        "label": TextColumn("Label", width=120),
        "tokens": TextColumn(
            "Label, top tokens" if narrow and labels else "Top tokens", help=_TOKENS_HELP, width=85 if narrow else 200
        ),
    }
    columns["verdict"] = TextColumn("Its words?", help=terms.help("injection_verdict"), width=75 if narrow else 110)
    for measure in measures:
        facts = known[measure]
        if measure == "feature_other" and partners is not None:
            others = [None if pd.isna(other) else int(other) for other in table[measure]]
            shown[measure] = ["" if other is None else naming.named(other, partners) for other in others]
            columns[measure] = TextColumn(facts.title, help=facts.help, width=200)
            continue
        full: float | Literal["largest"] | None = (bars_to or {}).get(measure, "largest") if facts.bar else None
        shown[measure], columns[measure] = numerals.column(
            (titles or {}).get(measure, facts.title), table[facts.column or measure].tolist(), unit=facts.unit,
            bar_to=full, decimals=facts.decimals, help=facts.help, width=_width(facts, narrow),
        )  # fmt: skip
    key = f"{name} {page.source.version} {hookpoint} {hash(features)}"
    clicks.table(shown, columns, key, lambda row: go(features[row]), rows=rows, described=f"Features: {name}")
    reader, counted = cache.reader(whole.source), scope or page.view.scope

    def of_file() -> pd.DataFrame:
        rows = table if rows_of_file is None else rows_of_file()
        return worded(reader, hookpoint, counted, rows, note_panel.labels(page, hookpoint, rows["feature"].tolist()))

    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        download.buttons(
            page, f"{name} {hookpoint}",
            of_file, hookpoint=hookpoint, scope=counted, rows=len(table) if most is None else f"all, {most} at most",
            measured_by=measured.experiment.name,
        )  # fmt: skip
        list_dialog.button(page, features, key=f"{name} {hookpoint}", hookpoint=hookpoint)


def worded(
    reader: cache.Reader, hookpoint: str, scope: Scope, table: pd.DataFrame, labels: Mapping[int, str]
) -> pd.DataFrame:
    """A table of features with two more columns: label (empty without one) and top_tokens (a JSON list of texts)."""
    features = table["feature"].tolist()
    texts = naming.by_feature(queries.top_tokens_of(reader, hookpoint, tuple(features), scope))
    return table.assign(
        label=[labels.get(feature, "") for feature in features],
        top_tokens=[json.dumps(texts.get(feature, []), ensure_ascii=False) for feature in features],
    )


def tokens(page: Page, hookpoint: str, features: Sequence[int]) -> dict[int, str]:
    """The top tokens of each feature that fires, over all inferences in scope, in a line."""
    found = feature_names.top_tokens(page, hookpoint, sorted(set(features)), page.view.scope)
    return {feature: "  ".join(map(visible, texts)) for feature, texts in found.items()}


def _width(measure: Measure, narrow: bool) -> int:
    """Pixels."""
    if measure.short:
        return 60
    if measure.bar:
        return 85 if narrow else 115
    return 75 if narrow else 90
