"""How long the captured vectors are, and the sinks among them, one click from the token."""

from __future__ import annotations

import pandas as pd
import streamlit as st
from streamlit.column_config import NumberColumn, TextColumn

from kthink_core import queries
from kthink_core.queries.norms import SINK
from kthink_core.ui.parts import charts, clicks, download, header, numerals, terms
from kthink_core.ui.parts.charts import PLAIN, Chart, quantity, tooltip
from kthink_core.ui.parts.hues import HUES
from kthink_core.ui.parts.writing import visible
from kthink_core.ui.view.page import Page, at_inference, lead

_HEIGHT = 260


def draw(page: Page) -> None:
    """At the view's hookpoint: norms in the view's scope, sinks anywhere."""
    view = page.view
    left, right = st.columns(2, gap="medium")
    with left:
        st.header(f"Norms: {view.hookpoint}, {view.scope}", help=terms.help("norms"))
        table = page.ask(queries.norm_histogram, view.hookpoint, view.scope)
        if table.empty:
            header.nothing(f"No position is in scope {view.scope}.")
        else:
            charts.draw(_histogram(table), "Histogram of the norms of captured vectors, with the limit of sinks")
            st.caption(_first(page.ask(queries.first_norms, view.hookpoint)))
            download.buttons(page, f"norms at {view.hookpoint}", table, chart=True)
    with right:
        st.header("Sinks in every scope", help=terms.help("sink"))
        _sinks(page, page.ask(queries.sinks, view.hookpoint))


def _sinks(page: Page, table: pd.DataFrame) -> None:
    view = page.view
    if table.empty:
        header.nothing(f"No position of {view.hookpoint} is longer than {SINK} times the median.")
        return
    of, inferences = int(table["of"].iloc[0]), table["inference"].nunique()
    shown_of = f"{of:,} positions" if of == len(table) else f"The longest {len(table)} of {of:,} positions"
    st.caption(f"{shown_of}, in {inferences} inferences. Click a row to go to the token.")
    norm = numerals.column("‖x‖", table["norm"].tolist(), decimals=1, bar_to="largest", width=110)
    times = numerals.column("Times the median", table["times"].tolist(), decimals=1, unit="×", width=120)
    shown = pd.DataFrame(
        {
            "token": [visible(text) for text in table["text"]],
            "norm": norm.values,
            "times": times.values,
            "inference": table["inference"],
            "position": table["position"],
            "segment": table["segment"],
        }
    )
    columns = {
        "token": TextColumn("Token", width=110, pinned=True),
        "norm": norm.config,
        "times": times.config,
        "inference": NumberColumn("Inference", format="%d", width=75),
        "position": NumberColumn("Position", format="%d", width=70),
        "segment": TextColumn("Segment", width=75),
    }
    places = list(zip(table["inference"].tolist(), table["position"].tolist(), strict=True))
    clicks.table(
        shown, columns, f"sinks {page.source.version} {view.hookpoint}",
        lambda row: lead("inference", at_inference(view, *map(int, places[row]))), rows=8, described="Sinks",
    )  # fmt: skip
    download.buttons(page, f"sinks at {view.hookpoint}", table, scope="all")


def _histogram(table: pd.DataFrame) -> Chart:
    limit = SINK * float(table["typical"].iloc[0])
    shown = table.loc[table["count"] > 0, ["low", "high", "count"]]
    axis = {"tickCount": 5, "format": "~g"}
    bars = {
        "mark": {"type": "bar", "color": PLAIN},
        "encoding": {
            "x": quantity("low", "‖x‖", scale={"type": "log", "nice": False}, axis=axis),
            "x2": {"field": "high"},
            "y": quantity("count", "Positions", scale={"type": "log", "domainMin": 0.5}, axis=axis),
            "y2": {"datum": 0.5},
            "tooltip": tooltip(("low", "From", ".3f"), ("high", "To", ".3f"), ("count", "Positions")),
        },
    }
    rule = {
        "mark": {
            "type": "rule",
            "aria": False,
            "color": HUES[3],
            "strokeDash": [4, 3],
            "tooltip": f"sinks: above {limit:.3g}",
        },
        "encoding": {"x": {"datum": limit}},
    }
    return Chart(shown, {"height": _HEIGHT, "layer": [bars, rule]})


def _first(table: pd.DataFrame) -> str:
    """What the first positions have."""
    parts = [
        f"{position}: {numerals.number(norm)} ({numerals.number(times, 1)}×)"
        for position, norm, times in zip(table["position"], table["median_norm"], table["times"], strict=True)
    ]
    return (
        f"The dashed line is {SINK} times the median norm of all positions: beyond it lie sinks. Median ‖x‖ at the "
        f"first positions, and how many times the median of all: {', '.join(parts)}."
    )
