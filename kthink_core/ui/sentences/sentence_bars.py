"""The sentences of a thought in their order, under each how far it moves the answers."""

from __future__ import annotations

from typing import Any

import pandas as pd

from kthink_core.evidence.sentence_results import TRUSTED
from kthink_core.ui.parts import download, numerals
from kthink_core.ui.parts.charts import Chart, category, quantity, tooltip
from kthink_core.ui.parts.hues import HUES, REST, SIXTH
from kthink_core.ui.parts.writing import visible

_ROW = 46
"""Pixels of a sentence: its text, and below it the bar."""
_BELOW = 8
_LINE = "#6b7178"
"""Of the intervals: stands out from the page in both themes."""
_SURE, _CHANCE = f"q < {TRUSTED}", f"q ≥ {TRUSTED}"

# Labels of an axis have the theme's colour: here each stands above its bar.
_TEXTS: dict[str, Any] = {
    "domain": False, "ticks": False, "grid": False, "labelAlign": "left", "labelBaseline": "middle",
    "labelPadding": -4, "labelOffset": -13, "labelFontSize": 13, "labelLimit": {"expr": "width - 8"},
    "labelOverlap": False,
}  # fmt: skip


def chart(table: pd.DataFrame) -> Chart:
    """`table`: `evidence.sentence_results.table`. A click gives the columns first and last."""
    place = category("text", None, sort=None, axis=_TEXTS, scale={"paddingInner": 0.1})
    size = quantity("importance", "Importance (nats); ticks: what chance gives, and exceeds in 5 %")
    hues = {"domain": [_SURE, _CHANCE], "range": [HUES[0], REST]}
    told = tooltip(
        ("text", "Sentence"),
        ("importance", "Importance", ".3f"),
        ("interval", "Its 95 % interval"),
        ("chance", "By chance", ".3f"),
        ("chance_high", "Chance exceeds in 5 %", ".3f"),
        ("p", "p", ".3g"),
        ("q", "q", ".3g"),
        ("accuracy", "Right before → after"),
    )
    bars = {
        "name": "bars",
        "mark": {"type": "bar", "yOffset": _BELOW, "height": 14, "cursor": "pointer"},
        "encoding": {
            "y": place,
            "x": size,
            "color": category("group", None, scale=hues, legend={"orient": "top"}),
            "tooltip": told,
        },
    }
    interval = {
        "mark": {"type": "rule", "yOffset": _BELOW, "color": _LINE, "strokeWidth": 2, "aria": False},
        "encoding": {"y": place, "x": {"field": "low", "type": "quantitative"}, "x2": {"field": "high"}},
    }
    layers = [bars, interval, _tick("chance", 3, place), _tick("chance_high", 1.5, place)]
    return Chart(_shown(table), {"height": {"step": _ROW}, "layer": layers, "usermeta": download.SVG})


def _shown(table: pd.DataFrame) -> pd.DataFrame:
    texts = [
        f"{number + 1} (q {numerals.number(q, 3)})  {visible(text.strip())}"
        for number, q, text in zip(table["sentence"], table["q"], table["text"], strict=True)
    ]
    intervals = [
        f"{numerals.number(low)} to {numerals.number(high)}"
        for low, high in zip(table["low"], table["high"], strict=True)
    ]
    accuracies = [
        numerals.MISSING if pd.isna(before) else f"{before:.0%} → {after:.0%}"
        for before, after in zip(table["accuracy_before"], table["accuracy_after"], strict=True)
    ]
    kept = ["first", "last", "importance", "low", "high", "chance", "chance_high", "p", "q"]
    return table.filter(items=kept).assign(
        text=texts,
        interval=intervals,
        accuracy=accuracies,
        group=[_SURE if q < TRUSTED else _CHANCE for q in table["q"]],
    )


def _tick(field: str, thickness: float, place: dict[str, Any]) -> dict[str, Any]:
    return {
        "mark": {
            "type": "tick", "yOffset": _BELOW, "thickness": thickness, "height": 20, "color": SIXTH, "aria": False,
        },
        "encoding": {"y": place, "x": {"field": field, "type": "quantitative"}},
    }  # fmt: skip
