"""Charts as Vega-Lite specifications over a table, and the bars by size that several pages draw.

Text of others lies in the table's cells, never in a specification: Vega-Lite reads no HTML there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd
import streamlit as st

from kthink_core.ui.parts.writing import token_label, visible

PLAIN = "#4f83b5"
HEIGHT = 340

Channel = dict[str, Any]


class Chart(NamedTuple):
    """What is drawn, and how: https://vega.github.io/vega-lite/docs/spec.html."""

    data: pd.DataFrame
    spec: dict[str, Any]


def draw(chart: Chart, described: str) -> None:
    """Draw a chart. `described`: in a sentence, for those who cannot see it."""
    st.vega_lite_chart(chart.data, chart.spec, alt=described)


def quantity(field: str, title: str, **more: Any) -> Channel:
    """A number's channel."""
    return {"field": field, "type": "quantitative", "title": title} | more


def category(field: str, title: str | None, **more: Any) -> Channel:
    """A name's channel."""
    return {"field": field, "type": "nominal", "title": title} | more


def tooltip(*shown: tuple[str, str] | tuple[str, str, str]) -> list[Channel]:
    """A line for each field, title and, for numbers that are not whole, format."""
    return [
        {"field": field, "title": title}
        | ({"type": "quantitative", "format": rest[0]} if rest else {"type": "nominal"})
        for field, title, *rest in shown
    ]


def histogram(table: pd.DataFrame, height: int = HEIGHT, one: str = "Activation", many: str = "Activations") -> Chart:
    """Activations by size (low, high, count), counts on a log axis: an empty bin has no bar. Or other numbers: `one` of
    them, and how `many` there are, by these names."""
    spec = {
        "height": height,
        "mark": {"type": "bar", "color": PLAIN},
        "encoding": {
            "x": quantity("low", one, scale={"zero": False, "nice": False}),
            "x2": {"field": "high"},
            "y": quantity("count", many, scale={"type": "log", "domainMin": 0.5}, axis=_LOG_AXIS),
            "y2": {"datum": 0.5},
            "tooltip": tooltip(("low", "From", ".3f"), ("high", "To", ".3f"), ("count", many)),
        },
    }
    return Chart(table.loc[table["count"] > 0, :], spec)


def top_tokens(table: pd.DataFrame) -> Chart:
    """Distinct tokens by the feature's maximum activation at them, on a log axis."""
    shown = _with_labels(table)
    floor = min(table["max_activation"].tolist()) / 1.5
    scale = {"type": "log", "domainMin": floor}
    spec = {
        "height": _height(shown),
        "mark": {"type": "bar", "color": PLAIN},
        "encoding": {
            "y": _token_axis(shown),
            "x": quantity("max_activation", "Maximum activation", axis=_LOG_AXIS, scale=scale),
            "x2": {"datum": floor},
            "tooltip": tooltip(
                ("token", "Token"),
                ("token_id", "Token id"),
                ("max_activation", "Maximum", ".3f"),
                ("mean_activation", "Mean", ".3f"),
                ("count", "Positions"),
            ),
        },
    }
    return Chart(shown, spec)


def promoted_tokens(table: pd.DataFrame, colour: str) -> Chart:
    """Tokens of one sign by the logit that the feature's decoder row gives them."""
    shown = _with_labels(table)
    spec = {
        "height": _height(shown),
        "mark": {"type": "bar", "color": colour},
        "encoding": {
            "y": _token_axis(shown),
            "x": quantity("logit", "Logit per unit of activation"),
            "tooltip": tooltip(("token", "Token"), ("token_id", "Token id"), ("logit", "Logit", ".4f")),
        },
    }
    return Chart(shown, spec)


def token_labels(table: pd.DataFrame) -> list[str]:
    """`token:id` of each row: distinct, as bars need it, and nothing hidden."""
    return [token_label(*pair) for pair in zip(table["text"], table["token_id"], strict=True)]


_LOG_AXIS = {"tickCount": 5, "format": "~g"}


def _with_labels(table: pd.DataFrame) -> pd.DataFrame:
    """The table with `label`, by which bars are told apart, and `token`, which tooltips show."""
    return table.assign(label=token_labels(table), token=[visible(text) for text in table["text"]])


def _height(shown: Sequence[object] | pd.DataFrame) -> int:
    return 75 + 18 * len(shown)


def _token_axis(shown: pd.DataFrame) -> Channel:
    axis = {"labelLimit": 180, "labelOverlap": False, "labelFlush": False}
    return category("label", None, sort=shown["label"].tolist(), axis=axis)
