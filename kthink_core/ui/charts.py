"""The plots. The chosen feature has the same hue everywhere, in the transcript too."""

from __future__ import annotations

import altair as alt
import pandas as pd

from kthink_core.ui.text import token_label, visible

CHOSEN = "#e08a00"
PLAIN = "#4f83b5"
OTHERS = ["#56b4e9", "#009e73", "#cc79a7", "#0072b2"]
"""Hues that colour-blind readers can tell apart (Okabe and Ito), less the one of the chosen feature."""
REST = "#9aa0a6"


def top_activations(table: pd.DataFrame, feature: int) -> alt.Chart:
    """Activations by rank; the chosen feature and the most frequent others have a hue, the rest are grey."""
    frequent = [other for other in table["feature"].value_counts().index if other != feature][: len(OTHERS)]
    names = [str(feature), *map(str, frequent), "others"]
    hues = [CHOSEN, *OTHERS[: len(frequent)], REST]
    group = table["feature"].where(table["feature"].isin([feature, *frequent])).map("{:.0f}".format, na_action="ignore")
    shown = pd.DataFrame(
        {
            "rank": range(1, len(table) + 1),
            "activation": table["activation"],
            "group": group.fillna("others"),
            "feature": table["feature"],
            "position": table["position"],
            "token": [token_label(*pair) for pair in zip(table["text"], table["token_id"], strict=True)],
        }
    )
    # What is drawn last lies on top: the rest first, the chosen feature at the end.
    shown = shown.sort_values("group", key=lambda column: -column.map(names.index), kind="stable")
    return (
        alt.Chart(shown)
        .mark_circle(size=45, opacity=0.85)
        .encode(
            x=alt.X("rank:Q", title="Rank", scale=alt.Scale(nice=False)),
            y=alt.Y("activation:Q", title="Activation"),
            color=alt.Color("group:N", title="Feature", scale=alt.Scale(domain=names, range=hues), sort=names),
            tooltip=[
                alt.Tooltip("feature:Q", title="Feature"),
                alt.Tooltip("activation:Q", title="Activation", format=".3f"),
                alt.Tooltip("token:N", title="Token"),
                alt.Tooltip("position:Q", title="Position"),
                alt.Tooltip("rank:Q", title="Rank"),
            ],
        )
        .properties(height=340)
    )


def frequencies(table: pd.DataFrame, feature: int) -> alt.Chart:
    """Features by the number of positions at which they fire."""
    shown = pd.DataFrame(
        {
            "feature": table["feature"].astype(str),
            "positions": table["positions"],
            "hue": [CHOSEN if other == feature else PLAIN for other in table["feature"]],
        }
    )
    return (
        alt.Chart(shown)
        .mark_bar()
        .encode(
            x=alt.X(
                "feature:N",
                title="Feature",
                sort=shown["feature"].tolist(),
                axis=alt.Axis(labelAngle=-90, labelOverlap=False, labelFontSize=10),
            ),
            y=alt.Y("positions:Q", title="Positions"),
            color=alt.Color("hue:N", scale=None),
            tooltip=[alt.Tooltip("feature:N", title="Feature"), alt.Tooltip("positions:Q", title="Positions")],
        )
        .properties(height=340)
    )


def histogram(table: pd.DataFrame) -> alt.Chart:
    """Activations by size, counts on a log axis. An empty bin has no bar: a logarithm has no zero."""
    shown = table.query("count > 0")
    return (
        alt.Chart(shown)
        .mark_bar(color=PLAIN)
        .encode(
            x=alt.X("low:Q", title="Activation", scale=alt.Scale(zero=False, nice=False)),
            x2="high:Q",
            y=alt.Y("count:Q", title="Activations", scale=alt.Scale(type="log", domainMin=0.5), axis=_log_axis()),
            y2=alt.datum(0.5),
            tooltip=[
                alt.Tooltip("low:Q", title="From", format=".3f"),
                alt.Tooltip("high:Q", title="To", format=".3f"),
                alt.Tooltip("count:Q", title="Activations"),
            ],
        )
        .properties(height=340)
    )


def top_tokens(table: pd.DataFrame) -> alt.Chart:
    """Distinct tokens by the feature's maximum activation at them, on a log axis."""
    labels = [token_label(*pair) for pair in zip(table["text"], table["token_id"], strict=True)]
    floor = min(table["max_activation"]) / 1.5
    shown = pd.DataFrame(
        {
            "label": labels,
            "token": [visible(text) for text in table["text"]],
            "token_id": table["token_id"],
            "maximum": table["max_activation"],
            "mean": table["mean_activation"],
            "count": table["count"],
        }
    )
    return (
        alt.Chart(shown)
        .mark_bar(color=CHOSEN)
        .encode(
            y=alt.Y(
                "label:N", title=None, sort=labels, axis=alt.Axis(labelLimit=180, labelOverlap=False, labelFlush=False)
            ),
            x=alt.X(
                "maximum:Q", title="Maximum activation", axis=_log_axis(), scale=alt.Scale(type="log", domainMin=floor)
            ),
            x2=alt.datum(floor),
            tooltip=[
                alt.Tooltip("token:N", title="Token"),
                alt.Tooltip("token_id:Q", title="Token id"),
                alt.Tooltip("maximum:Q", title="Maximum", format=".3f"),
                alt.Tooltip("mean:Q", title="Mean", format=".3f"),
                alt.Tooltip("count:Q", title="Positions"),
            ],
        )
        .properties(height=75 + 18 * len(shown))
    )


def _log_axis() -> alt.Axis:
    return alt.Axis(tickCount=5, format="~g")
