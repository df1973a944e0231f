"""A sweep in four small charts: each measure against strength, beside the baseline."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd
import streamlit as st

from kthink_core.evidence.sweep_figures import MEASURES, Measure, ended_by_itself, failures, shortages
from kthink_core.store.sweeps import Sweep
from kthink_core.ui.parts import charts, download, feature_names, header, naming, terms
from kthink_core.ui.parts.charts import Channel, Chart, category, quantity, tooltip
from kthink_core.ui.parts.hues import HUES, REST
from kthink_core.ui.parts.numerals import MISSING, number, percent
from kthink_core.ui.parts.writing import plain
from kthink_core.ui.view.page import Page

TITLES: dict[Measure, str] = {
    "accuracy": "Right answers",
    "tokens": "Length, tokens",
    "closed": "Closes its thought",
    "repetition": "Repetition",
}
ENDED = "Ended by itself"
"""Of the runs that were not cut off at the limit."""
_HELP: dict[Measure, str] = {
    "accuracy": "sweep_baseline", "tokens": "sweep_interval", "closed": "closed", "repetition": "repetition",
}  # fmt: skip
_HEIGHT = 250
_LEGEND = 24
"""Pixels of a row of the legend, of two features."""
_BASELINE = "baseline"
_APART = 0.012
"""Of the axis: by how much marks of features at one strength lie apart."""


def draw(page: Page, id: str, sweep: Sweep, table: pd.DataFrame) -> None:
    """`table`: `sweep_figures.figures` of it."""
    for told in failures(sweep):
        st.error(plain(told), icon=":material/error:")
    for told in shortages(sweep):
        header.nothing(plain(told))
    st.header("Against strength", help=terms.help("sweep_interval"))
    st.caption(
        "Bars are 95 % intervals over problems; the grey line and band are the baseline and its interval. A length or "
        "repetition without a bar has an interval without width: all problems gave the same, which does not mean that "
        f"others would. Rings under “{TITLES['closed']}”: the share that ended by itself, not cut off at the limit."
    )
    ended = [count / runs if runs else float("nan") for count, runs in ended_by_itself(sweep)]
    called = names_of(page, sweep)
    names = _drawn(sweep, called)
    columns = st.columns(2, gap="medium")
    for at, measure in enumerate(MEASURES):
        of = table["hookpoint"].astype(str) + ":" + table["feature"].astype(str)
        shown = (table["measure"] == measure) & (table["feature"].isna() | of.isin(names))
        rows = table.loc[shown, :]
        with columns[at % 2]:
            st.markdown(f"**{TITLES[measure]}**", help=terms.help(_HELP[measure]))
            if not rows["mean"].notna().any():
                header.nothing("It is not known of these problems.")
                continue
            if measure == "closed":
                at_arm = table.groupby("measure").cumcount()
                rows = rows.assign(ended=[ended[arm] for arm in at_arm[shown].tolist()])
            charts.draw(chart(rows, measure, called), f"{TITLES[measure]} against strength, with intervals")
    download.buttons(page, f"sweep {id}", table, chart=True)


def names_of(page: Page, sweep: Sweep) -> dict[str, str]:
    """`layers.6.mlp:767 (wait, but, hmm)` by `layers.6.mlp:767`, of the features of a sweep."""
    features: dict[str, list[int]] = {}
    for target in sweep.asked.targets:
        features.setdefault(target.hookpoint, []).append(target.feature)
    return {
        f"{hookpoint}:{feature}": f"{hookpoint}:{naming.in_words(feature, names)}"
        for hookpoint, own in features.items()
        for names in [feature_names.names(page, hookpoint, own)]
        for feature in own
    }


def _drawn(sweep: Sweep, called: Mapping[str, str]) -> list[str]:
    """The features that are drawn: all, or of more than there are hues, those chosen."""
    names = [target.name for target in sweep.asked.targets]
    if len(names) <= len(HUES):
        return names
    return st.multiselect(
        f"Features drawn (up to {len(HUES)})", names, names[: len(HUES)], max_selections=len(HUES),
        format_func=lambda name: called.get(name, name), key=f"drawn {' '.join(names)}",
    )  # fmt: skip


def chart(table: pd.DataFrame, measure: Measure, called: Mapping[str, str]) -> Chart:
    """`table`: the rows of one measure. `called`: as of `names_of`."""
    rows = [_row(row, measure, called) for row in table.to_dict("records")]
    features = list(dict.fromkeys(row["name"] for row in rows if row["name"] != _BASELINE))
    strengths = [row["strength"] for row in rows if row["name"] != _BASELINE]
    span = max(strengths, default=0.0) - min(strengths, default=0.0) or 1.0
    for row in rows:
        if row["name"] != _BASELINE:
            row["x"] = row["strength"] + (features.index(row["name"]) - (len(features) - 1) / 2) * _APART * span
    layers = [*_baseline(measure), *_arms(measure, features)]
    if "ended" in table.columns:
        layers.append(_ended(features))
    height = _HEIGHT + _LEGEND * ((len(features) + 1) // 2)
    return Chart(pd.DataFrame(rows), {"height": height, "layer": layers, "usermeta": download.SVG})


def _baseline(measure: Measure) -> list[dict[str, Any]]:
    """A band and a line, across the whole width."""
    hover = tooltip(
        ("name", "Nothing steered"), _mean(measure), ("interval", "Its 95 % interval"), ("runs", "Runs")
    )  # fmt: skip
    band = {"type": "rect", "color": REST, "opacity": 0.25, "aria": False}
    layers = [
        {"mark": band, "encoding": {"y": _y("low", measure), "y2": {"field": "high"}}},
        {"mark": {"type": "rule", "color": REST, "size": 2}, "encoding": {"y": _y("mean", measure), "tooltip": hover}},
    ]
    return [layer | {"transform": [{"filter": f"datum.name == '{_BASELINE}'"}]} for layer in layers]


def _arms(measure: Measure, features: list[str]) -> list[dict[str, Any]]:
    """A line a feature, an interval and a point a strength."""
    colour = _colour(features)
    hover = tooltip(
        ("name", "Feature"), ("strength", "Strength", "~g"), _mean(measure), ("interval", "Its 95 % interval"),
        ("difference", "Difference to the baseline"), ("p", "p", ".3g"), ("q", "q", ".3g"), ("runs", "Runs"),
        ("problems", "Problems"),
    )  # fmt: skip
    at = {"x": _x(), "color": colour}
    mean, low = {"y": _y("mean", measure)}, {"y": _y("low", measure), "y2": {"field": "high"}}
    layers = [
        {"mark": {"type": "line", "aria": False, "opacity": 0.6}, "encoding": at | mean},
        {"mark": {"type": "rule", "size": 2, "aria": False}, "encoding": at | low},
        {"mark": {"type": "circle", "size": 70, "opacity": 1}, "encoding": at | mean | {"tooltip": hover}},
    ]
    return [layer | {"transform": [{"filter": f"datum.name != '{_BASELINE}'"}]} for layer in layers]


def _ended(features: list[str]) -> dict[str, Any]:
    """A ring a strength: the share of runs that ended by itself."""
    hover = tooltip(("name", "Feature"), ("strength", "Strength", "~g"), ("ended", ENDED, ".1%"), ("runs", "Runs"))
    encoding = {"x": _x(), "color": _colour(features), "y": _y("ended", "closed"), "tooltip": hover}
    ring = {"type": "point", "filled": False, "size": 110, "strokeWidth": 2, "opacity": 1}
    return {"mark": ring, "encoding": encoding, "transform": [{"filter": f"datum.name != '{_BASELINE}'"}]}


def _colour(features: list[str]) -> Channel:
    return category(
        "name", None, scale={"domain": features, "range": list(HUES[: len(features)])},
        legend={"orient": "bottom", "labelLimit": 300, "columns": 2} if len(features) > 1 else None,
    )  # fmt: skip


def _x() -> Channel:
    return quantity("x", "Strength (× maximum)", axis={"tickCount": 6, "format": "~g"}, scale={"zero": False})


def _y(field: str, measure: Measure) -> Channel:
    scale = {"domain": [0, 1]} if measure in ("accuracy", "closed") else {"zero": True}
    form = "~s" if measure == "tokens" else "%"
    return quantity(field, TITLES[measure], axis={"title": None, "format": form, "tickCount": 5}, scale=scale)


def _mean(measure: Measure) -> tuple[str, str, str]:
    """Of a tooltip."""
    return "mean", TITLES[measure], ".1f" if measure == "tokens" else ".1%"


def _row(row: dict[Hashable, Any], measure: Measure, called: Mapping[str, str]) -> dict[str, Any]:
    """What is drawn of a row, and what its tooltip says."""
    steered = not pd.isna(row["feature"])
    feature = f"{row['hookpoint']}:{row['feature']}"
    kept = ("strength", "mean", "low", "high", "p", "q", "runs", "problems")
    return (
        {name: row[name] for name in kept}
        | {
            "name": called.get(feature, feature) if steered else _BASELINE,
            "interval": between(measure, row["low"], row["high"]),
            "difference": apart(measure, row),
        }
        | ({"ended": row["ended"]} if "ended" in row else {})
    )


def written(measure: Measure, value: float) -> str:
    """A figure of a measure, with its unit."""
    return number(value, 1) if measure == "tokens" else percent(value)


def between(measure: Measure, low: float, high: float) -> str:
    """An interval: `1.6 to 14.4`, `12.5 to 37.5 %`."""
    return f"{_bare(measure, low)} to {_bare(measure, high)}{'' if measure == 'tokens' else ' %'}"


def apart(measure: Measure, row: Mapping[Hashable, Any]) -> str:
    """A difference to the baseline with its interval: `−12.5 points (−37.5 to 0.0)`."""
    if pd.isna(row["difference"]):
        return MISSING
    sign = "+" if row["difference"] > 0 else ""
    told = f"{sign}{_bare(measure, row['difference'])} {'tokens' if measure == 'tokens' else 'points'}"
    low, high = (_bare(measure, row[f"difference_{end}"]) for end in ("low", "high"))
    return told if pd.isna(row["difference_low"]) else f"{told} ({low} to {high})"


def _bare(measure: Measure, value: float) -> str:
    return written(measure, value).removesuffix(" %").replace("-", "−")
