"""Charts of what features do in a trace: ribbons over its positions, bars of contributions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from kthink_core.store.causal_studies import AttributionStudy
from kthink_core.ui.parts.charts import PLAIN, Chart, category, quantity, tooltip
from kthink_core.ui.parts.hues import HUES, REST
from kthink_core.ui.parts.naming import named
from kthink_core.ui.parts.writing import token_label

RAISES, LOWERS = HUES[2], HUES[3]
"""As of tokens that a feature promotes and suppresses."""
_RIBBON = 220
BARS = 20
"""Features that have a bar."""
ERROR, BIAS = "left to the error", "bias of the decoder"
NO_FEATURE = -1
ABLATED = (("kl", "KL (nats)", ".4g"), ("change", "Change (nats)", "+.4g"), ("activation", "Taken away here", ".3f"))
"""What the tooltip tells of a position of an ablation."""


def ribbon(
    table: pd.DataFrame, column: str, title: str, tokens: int, told: Sequence[tuple[str, str, str]] = ABLATED
) -> Chart:
    """A bar a position: `position`, `text`, `token_id` and the column. `tokens`: of the whole trace. `told`: columns
    that the tooltip tells besides, with title and format."""
    shown = table.assign(
        token=[token_label(*pair) for pair in zip(table["text"], table["token_id"], strict=True)],
        end=table["position"] + 1,
        colour=[PLAIN if column == "kl" else RAISES if value >= 0 else LOWERS for value in table[column]],
    )
    spec = {
        "height": _RIBBON,
        "mark": {"type": "bar", "strokeWidth": 0},
        "encoding": {
            "x": quantity("position", "Position", scale={"domain": [0, tokens], "nice": False}),
            "x2": {"field": "end"},
            "y": quantity(column, title, axis={"format": "~g", "tickCount": 4}),
            "y2": {"datum": 0},
            "color": {"field": "colour", "type": "nominal", "scale": None},
            "tooltip": tooltip(("token", "Token"), ("position", "Position"), *told),
        },
    }  # fmt: skip
    return Chart(shown.drop(columns=["text", "token_id"]), spec)


def contributions(study: AttributionStudy, shown: pd.DataFrame, names: Mapping[int, str]) -> Chart:
    """The strongest features, the error and the bias, by contribution: signed bars, the largest first. `shown`: rows of
    `attribution_results.ATTRIBUTIONS`."""
    nodes = shown.loc[(shown["node"] != "feature") | (shown["rank"] <= BARS), :]
    other = {"error": ERROR, "bias": BIAS}
    features = [NO_FEATURE if pd.isna(feature) else int(feature) for feature in nodes["feature"]]
    table = pd.DataFrame(
        {
            "node": [
                other.get(node) or named(feature, names) for node, feature in zip(nodes["node"], features, strict=True)
            ],
            "feature": features,
            "contribution": nodes["contribution"].tolist(),
            "absolute": nodes["absolute"].tolist(),
            "effect": nodes["effect"].astype(float).tolist(),
            "peak": nodes["peak"].astype(int).tolist(),
        }
    )
    table["colour"] = [
        REST if feature == NO_FEATURE else RAISES if value >= 0 else LOWERS
        for feature, value in zip(table["feature"], table["contribution"], strict=True)
    ]
    sizes = dict(zip(table["node"], table["contribution"].abs(), strict=True))
    order = sorted(sizes, key=lambda node: -sizes[node])
    spec = {
        "height": 60 + 18 * len(table),
        "mark": {"type": "bar", "cursor": "pointer"},
        "encoding": {
            "y": category("node", None, sort=order, axis={"labelLimit": 220, "labelOverlap": False}),
            "x": quantity("contribution", f"Contribution ({unit(study)})", axis={"format": "~g"}),
            "color": {"field": "colour", "type": "nominal", "scale": None},
            "tooltip": tooltip(
                ("node", "Node"), ("contribution", "Contribution", "+.4g"), ("absolute", "Sum of sizes", ".4g"),
                ("effect", "Exact effect", "+.4g"), ("peak", "Largest at position"),
            ),
        },
    }  # fmt: skip
    return Chart(table, spec)


def unit(study: AttributionStudy) -> str:
    """Of what is explained, and of what contributes to it."""
    return "nats" if study.question.rival is None else "logits"
