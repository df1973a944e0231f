"""The matrix of features and inferences: how strongly each feature fires in each inference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from kthink_core.ui.parts import download, verdict_words
from kthink_core.ui.parts.charts import Chart, category, quantity, tooltip
from kthink_core.ui.parts.hues import HUES
from kthink_core.ui.parts.naming import named

ROW = 22
"""Height of a row, pixels."""
_AROUND = 110
"""Pixels of axis and legend."""


def chart(table: pd.DataFrame, features: Sequence[int], inferences: pd.DataFrame, names: Mapping[int, str]) -> Chart:
    """`table` is what `queries.feature_matrix` answers of the `inferences`, rows of `queries.inferences`.

    Opacity grows slower than the maximum activation: one feature that fires hugely does not hide the others.
    """
    rows = {feature: named(feature, names) for feature in features}
    columns = {
        int(inference): f"{verdict_words.SIGNS[each]} {inference}"
        for inference, each in zip(inferences["inference"], inferences["verdict"], strict=True)
    }
    shown = table.assign(
        row=[rows[feature] for feature in table["feature"]],
        column=[columns[inference] for inference in table["inference"]],
    )
    quiet = {"ticks": False, "domain": False, "grid": False}
    across = quiet | {"orient": "top", "labelAngle": -90, "labelOverlap": "greedy"}
    down = quiet | {"labelOverlap": False, "labelFlush": False, "labelLimit": 220}
    legend = {"orient": "bottom", "symbolFillColor": HUES[0], "symbolStrokeWidth": 0, "symbolSize": 200}
    opacity = {"type": "pow", "exponent": 0.7, "range": [0.06, 1], "domainMin": 0}
    spec = {
        "height": _AROUND + ROW * len(rows),
        "mark": {"type": "rect", "color": HUES[0], "cursor": "pointer", "stroke": "#8884", "strokeWidth": 0.5},
        "encoding": {
            "x": category("column", "Inference", scale={"domain": list(columns.values())}, axis=across),
            "y": category("row", None, scale={"domain": list(rows.values())}, axis=down),
            "opacity": quantity("max_activation", "Maximum activation", scale=opacity, legend=legend),
            "tooltip": tooltip(
                ("row", "Feature"),
                ("column", "Inference"),
                ("max_activation", "Maximum", ".3f"),
                ("positions", "Positions"),
                ("peak_position", "Peak at"),
            ),
        },
        "usermeta": download.SVG,
    }
    return Chart(shown, spec)
