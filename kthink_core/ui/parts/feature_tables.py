"""Tables of features: wherever one stands, its label and its top tokens stand beside its number."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import pandas as pd
from streamlit.column_config import NumberColumn, ProgressColumn, TextColumn
from streamlit.elements.lib.column_types import ColumnConfig

from kthink_core import queries
from kthink_core.ui.parts import clicks, download, note_panel, terms
from kthink_core.ui.parts.writing import visible
from kthink_core.ui.view.page import Page

_TOKENS_HELP = "The tokens at which the feature is most active in scope, over all inferences, the most active first."


class Measure(NamedTuple):
    """How one column of a query is shown. Three queries have a lift, each of its own meaning."""

    title: str
    format: str = "%d"
    bar: bool = False
    help: str | None = None


def _measures(of: int) -> dict[str, Measure]:
    """By column of the queries. `of`: how many inferences there are."""
    return {
        "rank": Measure("Rank"),
        "inferences": Measure("Relevant in", f"%d of {of}", bar=True, help=terms.help("relevant_in")),
        "elsewhere": Measure(
            "Elsewhere", "percent", help="Share of the other experiment's inferences: relevant there."
        ),
        "active_inferences": Measure("Fires in", f"%d of {of}", help="Inferences in which it fires, in scope."),
        "positions": Measure("Positions", help="Positions in scope at which it fires."),
        "share": Measure("Share", "percent", bar=True, help=terms.help("share")),
        "rest_share": Measure("Rest", "percent", help="Share of the other positions of the trace at which it fires."),
        "max_activation": Measure("Maximum", "%.2f", bar=True, help=terms.help("maximum")),
        "mean_activation": Measure("Mean", "%.2f", help=terms.help("mean")),
        "lift": Measure("Lift", "%.2f×", help=terms.help("lift")),
        "span_lift": Measure("Lift", "%.2f×", help=terms.help("span_lift")),
        "fires_with_lift": Measure("Lift", "%.2f×", help=terms.help("fires_with_lift")),
        "percentile": Measure("Percentile", "percent", bar=True, help=terms.help("percentile")),
        "stored_maximum": Measure("Stored maximum", "%.2f", help="Its largest activation in the stored inferences."),
        "excess": Measure("Excess", "%.2f×", help=terms.help("excess")),
        "cosine": Measure("Cosine", "%.3f", bar=True, help=terms.help("cosine")),
        "think_minus_answer": Measure("Think − answer", "percent", help=terms.help("think_minus_answer")),
        "right_minus_wrong": Measure("Right − wrong", "percent", help=terms.help("right_minus_wrong")),
    }


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
) -> None:
    """Draw the features of a query's answer with some of its columns, and what downloads it.

    A click on a row calls `go` with its feature. `name` tells this table from others of the page and names the file.
    `bars_to` says what a full bar is where it is not the column's largest value. `texts` are the features' `tokens`
    where the caller has them. A `narrow` table has labels and tokens in one column.
    """
    hookpoint = hookpoint or page.view.hookpoint
    features = tuple(int(feature) for feature in table["feature"])
    labels = note_panel.labels(page, hookpoint, features)
    lines = tokens(page, hookpoint, features) if texts is None else texts
    shown = pd.DataFrame({"feature": features})
    if narrow:
        parts = [(labels.get(feature, ""), lines.get(feature, "")) for feature in features]
        shown["tokens"] = [" │ ".join(filter(None, pair)) for pair in parts]
    else:
        if labels:  # most have none: then the column would be blank
            shown["label"] = [labels.get(feature, "") for feature in features]
        shown["tokens"] = [lines.get(feature, "") for feature in features]
    known = _measures(len(page.inferences))
    columns: dict[str, ColumnConfig] = {
        "feature": NumberColumn("Feature", format="%d", width=65, pinned=True),
        "label": TextColumn("Label", width=120),
        "tokens": TextColumn(
            "Label, top tokens" if narrow and labels else "Top tokens", help=_TOKENS_HELP, width=140 if narrow else 200
        ),
    }
    for measure in measures:
        shown[measure] = table["lift" if measure.endswith("_lift") else measure].to_numpy()
        full = (bars_to or {}).get(measure)
        columns[measure] = _column(known[measure], shown[measure].tolist(), full, narrow)
    key = f"{name} {page.source.version} {hookpoint} {hash(features)}"
    clicks.table(shown, columns, key, lambda row: go(features[row]), rows=rows, described=f"Features: {name}")
    download.buttons(page, f"{name} {hookpoint}", table)


def tokens(page: Page, hookpoint: str, features: Sequence[int]) -> dict[int, str]:
    """The top tokens of each feature that fires, over all inferences in scope, in a line."""
    found = page.ask(queries.top_tokens_of, hookpoint, tuple(sorted(set(features))), page.view.scope)
    lines: dict[int, list[str]] = {}
    for feature, text in zip(found["feature"].tolist(), found["text"].tolist(), strict=True):
        lines.setdefault(feature, []).append(visible(text))
    return {feature: "  ".join(texts) for feature, texts in lines.items()}


def _column(measure: Measure, values: Sequence[float], full: float | None, narrow: bool) -> ColumnConfig:
    if not measure.bar:
        return NumberColumn(measure.title, format=measure.format, help=measure.help, width=75 if narrow else 90)
    highest = full if full is not None else max((value for value in values if value == value), default=1.0)
    return ProgressColumn(
        measure.title,
        format=measure.format,
        help=measure.help,
        min_value=0,
        max_value=highest or 1.0,
        width=105 if narrow else 115,
    )
