"""The article's plots of one inference. The features shown have the hues that they have in the transcript."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pandas as pd

from kthink_core.ui.parts.charts import HEIGHT, PLAIN, Chart, category, histogram, quantity, token_labels, tooltip
from kthink_core.ui.parts.hues import HUES, REST
from kthink_core.ui.parts.naming import named

TOP, FREQUENCIES, HISTOGRAM, IDS = "400 top activations", "70 feature frequencies", "Histogram", "Token ids"

_OTHERS = "others"
_POINT = {"type": "circle", "size": 60, "opacity": 0.85, "cursor": "pointer"}


def top_activations(table: pd.DataFrame, features: Sequence[int], called: Mapping[int, str]) -> Chart:
    """Activations by rank; the features shown and the most frequent others have a hue, the rest are grey."""
    frequent = [other for other in table["feature"].value_counts().index if other not in features]
    names = {feature: named(feature, called) for feature in [*features, *frequent][: len(HUES)]}
    legend = [*names.values(), _OTHERS]
    groups = [names.get(feature, "others") for feature in table["feature"]]
    numbered = [named(feature, called) for feature in table["feature"]]
    shown = table.assign(rank=range(1, len(table) + 1), group=groups, token=token_labels(table), called=numbered)
    # What is drawn last lies on top: the rest first, the first feature at the end.
    shown = shown.iloc[sorted(range(len(shown)), key=lambda row: -legend.index(groups[row]))]
    hues = {"domain": legend, "range": [*HUES[: len(names)], REST]}
    spec = {
        "height": HEIGHT,
        "mark": _POINT,
        "encoding": {
            "x": quantity("rank", "Rank", scale={"nice": False}),
            "y": quantity("activation", "Activation"),
            "color": category("group", "Feature", scale=hues, sort=legend),
            "size": {"condition": {"test": f"datum.group == '{_OTHERS}'", "value": 25}, "value": 70},
            "tooltip": tooltip(
                ("called", "Feature"),
                ("activation", "Activation", ".3f"),
                ("token", "Token"),
                ("position", "Position"),
                ("rank", "Rank"),
            ),
        },
    }
    return Chart(shown.drop(columns=["text", "token_id"]), spec)


def frequencies(table: pd.DataFrame, features: Sequence[int], called: Mapping[int, str]) -> Chart:
    """Features by the number of positions at which they fire."""
    hues = dict(zip(features, HUES, strict=False))
    shown = table.assign(
        label=[called.get(feature, "–") for feature in table["feature"]],
        hue=[hues.get(feature, PLAIN) for feature in table["feature"]],
    )
    axis = {"labelAngle": -90, "labelOverlap": "greedy", "labelFontSize": 10}
    spec = {
        "height": HEIGHT,
        "mark": {"type": "bar", "cursor": "pointer"},
        "encoding": {
            "x": category("feature", "Feature", sort=table["feature"].tolist(), axis=axis),
            "y": quantity("positions", "Positions"),
            "color": {"field": "hue", "type": "nominal", "scale": None},
            "tooltip": tooltip(("feature", "Feature"), ("label", "Name"), ("positions", "Positions")),
        },
    }
    return Chart(shown, spec)


def token_ids(table: pd.DataFrame, features: Sequence[int], called: Mapping[int, str]) -> Chart:
    """Activation against the token's id, of the features shown: columns feature, position, token_id, text, activation.
    A feature that stands for one token is a column of points."""
    names = {feature: named(feature, called) for feature in features}
    hues = {"domain": list(names.values()), "range": list(HUES[: len(names)])}
    shown = table.assign(group=[names[feature] for feature in table["feature"]], token=token_labels(table))
    spec = {
        "height": HEIGHT,
        "mark": _POINT,
        "encoding": {
            "x": quantity("token_id", "Token id", scale={"zero": False}),
            "y": quantity("activation", "Activation"),
            "color": category("group", "Feature", scale=hues, sort=list(names.values())),
            "tooltip": tooltip(
                ("token", "Token"), ("activation", "Activation", ".3f"), ("position", "Position"), ("group", "Feature")
            ),
        },
    }
    return Chart(shown.drop(columns="text"), spec)


BY_NAME: dict[str, Callable[[pd.DataFrame, Sequence[int], Mapping[int, str]], Chart]] = {
    TOP: top_activations,
    FREQUENCIES: frequencies,
    HISTOGRAM: lambda table, _shown, _called: histogram(table),
    IDS: token_ids,
}
"""Each is given its table, the features shown and the names of those in the table."""
