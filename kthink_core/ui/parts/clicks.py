"""Tables and charts in which something can be clicked. What it leads to is done before the next run draws anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import pandas as pd
import streamlit as st
from streamlit.elements.lib.column_types import ColumnConfig

from kthink_core.ui.parts.chart_keys import reachable
from kthink_core.ui.parts.charts import Chart
from kthink_core.ui.parts.numerals import MISSING

ROWS = 12
"""Rows in sight of a table that scrolls."""
_POINT = "pick"
"""Name of the selection of a chart that can be clicked."""
_SCRIPT = f"<script>{(Path(__file__).parent / 'rows.js').read_text(encoding='utf-8')}</script>"
"""At once, where a component would come after the table: an early click would only move."""


def table(
    shown: pd.DataFrame,
    columns: Mapping[str, ColumnConfig],
    key: str,
    go: Callable[[int], None],
    *,
    rows: int = ROWS,
    described: str,
) -> None:
    """Draw a table; a long one scrolls. A click on a row, or Enter in it, calls `go` with its number, from 0; arrow
    keys only move. The row that was opened last has a tick."""
    last = f"{key} opened"

    def chosen() -> None:
        ticked = st.session_state[key].selection.rows
        if ticked:
            st.session_state[last] = ticked[0]
        if last in st.session_state:  # a ticked row that is opened again loses its tick
            go(int(st.session_state[last]))

    with st.container(key=f"rows {key}", gap=None):
        st.html(_SCRIPT, unsafe_allow_javascript=True)
        st.dataframe(
            shown,
            height=_height(len(shown), rows),
            hide_index=True,
            column_config=dict(columns),
            key=key,
            on_select=chosen,
            selection_mode="single-row",
            placeholder=MISSING,
            alt=described,
        )


def _height(length: int, rows: int) -> int | Literal["auto"]:
    """Pixels: all rows where they are few enough to be in sight; Streamlit's own height shows ten."""
    if length <= 10:
        return "auto"
    return 35 * (length + 1) + 2 if length <= rows else 35 * (rows + 1)


def chart(
    drawn: Chart, fields: tuple[str, ...], key: str, go: Callable[[dict[str, int]], None], *, described: str
) -> None:
    """Draw a chart. A click on a mark, or Enter, calls `go` with its values of `fields`, which are whole numbers. Of a
    chart of layers, those that have a name can be clicked."""

    def clicked() -> None:
        points = st.session_state[key].selection.get(_POINT)
        if points:
            go({field: int(points[0][field]) for field in fields})

    pick = {"name": _POINT, "select": {"type": "point", "fields": list(fields), "on": "click", "toggle": False}}
    if "layer" in drawn.spec:
        pick["views"] = [layer["name"] for layer in drawn.spec["layer"] if "name" in layer]
    with reachable(key):
        st.vega_lite_chart(drawn.data, drawn.spec | {"params": [pick]}, key=key, on_select=clicked, alt=described)
