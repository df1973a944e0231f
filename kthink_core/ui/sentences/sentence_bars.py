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
    shown = _shown(table, "importance", "").assign(
        chance=table["chance"],
        chance_high=table["chance_high"],
        accuracy=[
            numerals.MISSING if pd.isna(before) else f"{before:.0%} → {after:.0%}"
            for before, after in zip(table["accuracy_before"], table["accuracy_after"], strict=True)
        ],
    )
    place = _place()
    layers = _layers(
        place, "Importance (nats); ticks: what chance gives, and exceeds in 5 %", ("value", "Importance", ".3f"),
        ("chance", "By chance", ".3f"), ("chance_high", "Chance exceeds in 5 %", ".3f"),
        ("accuracy", "Right before → after"),
    )  # fmt: skip
    return _drawn(shown, [*layers, _tick("chance", 3, place), _tick("chance_high", 1.5, place)])


def passing_chart(table: pd.DataFrame) -> Chart:
    """What of each sentence's importance passes the feature that was held: of the rows that have that. A click gives
    the columns first and last."""
    shown = _shown(table, "passing", "passing_").assign(importance=table["importance"], held=table["clamped"])
    layers = _layers(
        _place(), "Importance less that with the feature held (nats)", ("value", "Passes the feature", "+.3f"),
        ("importance", "Importance", ".3f"), ("held", "With it held", ".3f"),
    )  # fmt: skip
    return _drawn(shown, layers)


def _place() -> dict[str, Any]:
    return category("text", None, sort=None, axis=_TEXTS, scale={"paddingInner": 0.1})


def _layers(
    place: dict[str, Any], title: str, value: tuple[str, str, str], *more: tuple[str, str] | tuple[str, str, str]
) -> list[dict[str, Any]]:
    """Bars and their intervals; `value` and `more` are told of each."""
    hues = {"domain": [_SURE, _CHANCE], "range": [HUES[0], REST]}
    bars = {
        "name": "bars",
        "mark": {"type": "bar", "yOffset": _BELOW, "height": 14, "cursor": "pointer"},
        "encoding": {
            "y": place,
            "x": quantity("value", title),
            "color": category("group", None, scale=hues, legend={"orient": "top"}),
            "tooltip": tooltip(
                ("text", "Sentence"), value, ("interval", "Its 95 % interval"), *more, ("p", "p", ".3g"),
                ("q", "q", ".3g"),
            ),
        },
    }  # fmt: skip
    interval = {
        "mark": {"type": "rule", "yOffset": _BELOW, "color": _LINE, "strokeWidth": 2, "aria": False},
        "encoding": {"y": place, "x": {"field": "low", "type": "quantitative"}, "x2": {"field": "high"}},
    }
    return [bars, interval]


def _drawn(shown: pd.DataFrame, layers: list[dict[str, Any]]) -> Chart:
    return Chart(shown, {"height": {"step": _ROW}, "layer": layers, "usermeta": download.SVG})


def _shown(table: pd.DataFrame, value: str, prefix: str) -> pd.DataFrame:
    """first, last, text, value, low, high, p, q, interval, group."""
    figures = {name: table[f"{prefix}{name}"] for name in ("low", "high", "p", "q")}
    texts = [
        f"{number + 1} (q {numerals.number(q, 3)})  {visible(text.strip())}"
        for number, q, text in zip(table["sentence"], figures["q"], table["text"], strict=True)
    ]
    intervals = [
        f"{numerals.number(low)} to {numerals.number(high)}"
        for low, high in zip(figures["low"], figures["high"], strict=True)
    ]
    return table[["first", "last"]].assign(
        **figures,
        value=table[value],
        text=texts,
        interval=intervals,
        group=[_SURE if q < TRUSTED else _CHANCE for q in figures["q"]],
    )


def _tick(field: str, thickness: float, place: dict[str, Any]) -> dict[str, Any]:
    return {
        "mark": {
            "type": "tick", "yOffset": _BELOW, "thickness": thickness, "height": 20, "color": SIXTH, "aria": False,
        },
        "encoding": {"y": place, "x": {"field": field, "type": "quantitative"}},
    }  # fmt: skip
