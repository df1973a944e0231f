"""Features across inferences on a saved page: the matrix and the table of features."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from kthink_core import queries
from kthink_core.saved import part
from kthink_core.saved.found_view import Opened
from kthink_core.saved.part import Column, Part
from kthink_core.saved.transcript_part import CALLED, with_labels
from kthink_core.ui.parts import verdict_words
from kthink_core.ui.view import kept
from kthink_core.ui.view.list_link import MOST as MOST_ROWS

ROWS, COLUMNS = 30, 100
"""Of the matrix, as in the app."""
_MOST = 10_000
"""Features that a search finds."""


def matrix(opened: Opened) -> list[Part]:
    """The features that the view sorts and searches, in the inferences that it keeps."""
    view = opened.view
    table = opened.ask(
        queries.feature_table, view.hookpoint, view.scope, view.sort, view.relevant, 100, _found(opened)
    )  # fmt: skip
    said = f"Scope {view.scope}; features by {view.sort}; relevant: among the first {view.relevant} of an inference."
    if view.search.strip():
        said += f" Label or token contains “{view.search.strip()}”."
    name, held = opened.listed
    if held is not None:
        said += f" Of the list “{name}”." if name else " Of the features that the link holds."
    features = table["feature"].tolist()[:ROWS] if held is None else list(_found(opened) or ())[:MOST_ROWS]
    if not features:
        return [part.lines(said, "No feature is found.")]
    cells = _cells(opened, features)
    if table.empty:
        return [part.lines(said), *cells]
    columns = [
        Column("feature", "Feature"), CALLED,
        Column("inferences", "Relevant in", bar=max(len(opened.inferences), 1)), Column("of", "of inferences"),
        Column("active_inferences", "Fires in"), Column("positions", "Positions"),
        Column("max_activation", "Maximum", 2), Column("think_minus_answer", "Think − answer", 1, "%"),
        Column("right_minus_wrong", "Right − wrong", 1, "%"),
    ]  # fmt: skip
    listed = part.table(f"The first {len(table)} features", "features", with_labels(opened, table), columns)
    return [part.lines(said), *cells, listed]


def _cells(opened: Opened, features: Sequence[int]) -> list[Part]:
    view = opened.view
    listed = kept.apply(opened.ask(queries.inferences), view.outcome, view.mode, view.tag)
    columns = kept.window(listed, view.inference, COLUMNS) if len(listed) > COLUMNS else listed
    cells = opened.ask(queries.feature_matrix, view.hookpoint, view.scope, tuple(features))
    cells = cells.merge(columns.filter(items=["inference"]), on="inference")
    tagged = f", tag {view.tag}" if view.tag else ""
    note = f"{len(columns)} of {len(opened.inferences)} inferences; outcome {view.outcome}, mode {view.mode}{tagged}."
    if cells.empty:
        return [part.lines(note, "None of these features fires in these inferences.")]
    inferences, names = columns["inference"].tolist(), opened.names(features)
    return [
        {
            "kind": "matrix",
            "title": "Features × inferences",
            "name": "features by inferences",
            "note": f"{note} Opacity: maximum activation. A click keeps a row lit; Esc lets go.",
            "features": [{"feature": feature, "label": names.get(feature, "")} for feature in features],
            "inferences": inferences,
            "verdicts": [verdict_words.SIGNS[verdict] for verdict in columns["verdict"]],
            "columns": list(cells.columns),
            "rows": part.records(cells),
        }
    ]


def _found(opened: Opened) -> tuple[int, ...] | None:
    """The features of the view's list that its search finds; None where it has neither."""
    view, (_, held) = opened.view, opened.listed
    if not view.search.strip():
        return held
    by_token: pd.DataFrame = opened.ask(queries.feature_search, view.hookpoint, view.scope, view.search, _MOST)
    found = dict.fromkeys([*opened.labelled(view.search.strip()), *by_token["feature"].tolist()])
    return tuple(found if held is None else filter(found.__contains__, held))
