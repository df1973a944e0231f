"""The volcano plot: features by how much they differ between two sides, and how surely."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from kthink_core.evidence.caveats import ALPHA
from kthink_core.ui.parts import download
from kthink_core.ui.parts.charts import HEIGHT, Chart, category, quantity, tooltip
from kthink_core.ui.parts.hues import HUES, REST
from kthink_core.ui.parts.naming import named
from kthink_core.ui.parts.numerals import MISSING

_TICKS = (1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)


def chart(table: pd.DataFrame, sides: tuple[str, str], names: Mapping[int, str], tokens: Mapping[int, str]) -> Chart:
    """`table`: rows of `evidence.differences.contrast`. q's axis is logarithmic, the surest on top."""
    groups = [f"more {side}, q < {ALPHA}" for side in sides]
    rest = f"q ≥ {ALPHA}"
    sure = table["q"] < ALPHA
    shown = table.assign(
        group=[
            groups[difference < 0] if each else rest for difference, each in zip(table["matched"], sure, strict=True)
        ],
        name=[named(feature, names) for feature in table["feature"]],
        tokens=[tokens.get(feature, "") for feature in table["feature"]],
        interval=_intervals(table["matched_low"].tolist(), table["matched_high"].tolist()),
        interval_of_all=_intervals(table["low"].tolist(), table["high"].tolist()),
        inferences=[f"{a} and {b}" for a, b in zip(table["inferences_a"], table["inferences_b"], strict=True)],
    )
    least = min(*table["q"].tolist(), ALPHA)
    kept = [
        "feature", "matched", "difference", "q", "p", "rate_a", "rate_b", "tested", "group", "name", "tokens",
        "interval", "interval_of_all", "inferences",
    ]  # fmt: skip
    spec = {
        "height": HEIGHT + 60,
        "mark": {"type": "circle", "size": 60, "opacity": 0.7, "cursor": "pointer"},
        "encoding": {
            "x": quantity("matched", f"Rate {sides[0]} − rate {sides[1]}, matched", axis={"format": "+.1%"}),
            "y": quantity(
                "q", "q (log scale, surest on top)",
                scale={"type": "log", "reverse": True, "domain": [least * 0.8, 1.1], "nice": False},
                axis={"values": [tick for tick in _TICKS if tick >= least * 0.8], "format": "~g"},
            ),
            "color": category(
                "group", None, scale={"domain": [*groups, rest], "range": [HUES[0], HUES[1], REST]},
                legend={"orient": "top", "labelLimit": 300, "columns": 1},
            ),
            "tooltip": tooltip(
                ("name", "Feature"),
                ("tokens", "Top tokens"),
                ("rate_a", f"Rate {sides[0]}", ".2%"),
                ("rate_b", f"Rate {sides[1]}", ".2%"),
                ("matched", "Difference, matched", "+.2%"),
                ("interval", "Its 95 % limits"),
                ("p", "p", ".3g"),
                ("q", "q", ".3g"),
                ("tested", "n, matched"),
                ("difference", "Over all positions", "+.2%"),
                ("interval_of_all", "Its 95 % interval"),
                ("inferences", "n of both sides"),
            ),
        },
        "usermeta": download.SVG,
    }  # fmt: skip
    # What is drawn last lies on top, and is what arrows reach first from there.
    return Chart(shown.iloc[::-1].filter(items=kept), spec)


def _intervals(lows: list[float], highs: list[float]) -> list[str]:
    return [MISSING if pd.isna(low) else f"{low:+.2%} to {high:+.2%}" for low, high in zip(lows, highs, strict=True)]
