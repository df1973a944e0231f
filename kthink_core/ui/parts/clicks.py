"""Tables and charts in which something can be clicked. What it leads to is done before the next run draws anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pandas as pd
import streamlit as st
from streamlit.elements.lib.column_types import ColumnConfig

from kthink_core.ui.parts.charts import Chart
from kthink_core.ui.parts.numerals import MISSING

ROWS = 12
"""Rows in sight of a table that scrolls."""
_POINT = "pick"
"""Name of the selection of a chart that can be clicked."""


def table(
    shown: pd.DataFrame,
    columns: Mapping[str, ColumnConfig],
    key: str,
    go: Callable[[int], None],
    *,
    rows: int = ROWS,
    described: str,
) -> None:
    """Draw a table; a long one scrolls. A click in whichever cell calls `go` with the number of its row, from 0."""

    def clicked() -> None:
        cells = st.session_state[key].selection.cells
        if cells:
            go(int(cells[0][0]))

    st.dataframe(
        shown,
        height="auto" if len(shown) <= rows else 35 * (rows + 1),
        hide_index=True,
        column_config=dict(columns),
        key=key,
        on_select=clicked,
        selection_mode="single-cell",
        placeholder=MISSING,
        alt=described,
    )


def chart(
    drawn: Chart, fields: tuple[str, ...], key: str, go: Callable[[dict[str, int]], None], *, described: str
) -> None:
    """Draw a chart. A click on a mark calls `go` with its values of `fields`, which are whole numbers."""

    def clicked() -> None:
        points = st.session_state[key].selection.get(_POINT)
        if points:
            go({field: int(points[0][field]) for field in fields})

    pick = {"name": _POINT, "select": {"type": "point", "fields": list(fields), "on": "click", "toggle": False}}
    st.vega_lite_chart(drawn.data, drawn.spec | {"params": [pick]}, key=key, on_select=clicked, alt=described)
