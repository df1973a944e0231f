"""What a saved page is made of: plain values that page.js draws, and of which it writes files."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

Part = dict[str, Any]


class Column(NamedTuple):
    """How one column of a table is shown."""

    name: str
    title: str
    decimals: int | None = None
    """Of a number that is not whole."""
    unit: str = ""
    """`%`: a share of 1."""
    bar: float | None = None
    """Draws bars, a full one for this value."""
    token: bool = False
    """Whether it is the text of a token."""


def group(title: str, parts: Iterable[Part], note: str = "") -> Part:
    """Parts under a heading."""
    return {"kind": "group", "title": title, "note": note, "parts": list(parts)}


def lines(*texts: str) -> Part:
    """Text, a paragraph each."""
    return {"kind": "lines", "lines": [text for text in texts if text]}


def sides(*parts: Sequence[Part]) -> Part:
    """Side by side, as far as the window is wide enough."""
    return {"kind": "sides", "sides": [list(side) for side in parts]}


def table(
    title: str, name: str, rows: pd.DataFrame, shown: Sequence[Column], *, note: str = "", folded: bool = False
) -> Part:
    """A table, with its files: `name` is theirs, and they hold all columns of `rows`."""
    return {
        "kind": "table",
        "title": title,
        "name": name,
        "note": note,
        "folded": folded,
        "columns": list(map(str, rows.columns)),
        "rows": records(rows),
        "shown": [column._asdict() for column in shown if column.name in rows.columns],
    }


def histogram(title: str, name: str, bins: pd.DataFrame) -> Part:
    """Activations by size: columns low, high, count."""
    return {"kind": "histogram", "title": title, "name": name, "columns": list(bins.columns), "rows": records(bins)}


def largest(rows: pd.DataFrame, column: str) -> float:
    """What a full bar of a column stands for."""
    values = [value for value in rows[column].tolist() if value is not None and not math.isnan(value)]
    return float(max(values, default=0)) or 1.0


def records(rows: pd.DataFrame) -> list[list[object]]:
    """The rows as lists of plain values: None for what is missing, numbers with the digits they are stored with."""
    columns = [_plain(rows.iloc[:, place]) for place in range(rows.shape[1])]
    return [list(row) for row in zip(*columns, strict=True)]


def _plain(column: pd.Series) -> list[object]:
    if column.dtype == np.float32:
        return [float(str(value)) if math.isfinite(value) else None for value in column.to_numpy()]
    return [_cell(value) for value in column.tolist()]


def _cell(value: Any) -> object:
    if value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value if isinstance(value, (bool, int, float, str)) else str(value)
