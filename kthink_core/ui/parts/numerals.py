"""How numbers are written: with the digits that tell them apart, however small; `–` where there is none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import pandas as pd
from streamlit.column_config import NumberColumn, ProgressColumn
from streamlit.elements.lib.column_types import ColumnConfig

MISSING = "–"
_MOST_DECIMALS = 4
_NOISE = 12
"""Decimals that a difference of equal shares leaves behind; nothing here is so small."""


class Column(NamedTuple):
    """A column of numbers as a table draws it."""

    values: list[float | None]
    config: ColumnConfig


def number(value: float, decimals: int = 2) -> str:
    """With so many decimals, or with two digits where these would say less: 23.74, 0.0012."""
    if pd.isna(value):
        return MISSING
    if value and abs(value) < 10 ** (1 - decimals):
        return f"{value:.{1 - math.floor(math.log10(abs(value)))}f}".rstrip("0").rstrip(".")
    return f"{value:.{decimals}f}"


def percent(share: float) -> str:
    """A share of 1 in percent, as `number`."""
    return MISSING if pd.isna(share) else f"{number(100 * share, 1)} %"


def column(
    title: str,
    values: Sequence[float],
    *,
    decimals: int = 0,
    unit: str = "",
    bar_to: float | Literal["largest"] | None = None,
    help: str | None = None,
    width: int | None = None,
) -> Column:
    """A column of a table. Counts have no decimals. Other numbers have these `decimals`, or so many more that the
    smallest has two digits; where that would be more than four, they have four digits each.

    `unit` follows each number; shares are given as parts of 1 with the unit `%`. `bar_to` draws bars, a full one for
    this value. They can be compared between rows, since no number is wider than that of a full bar; where numbers have
    digits of their own there are no bars.
    """
    scale = 100 if unit == "%" else 1
    found = [None if pd.isna(value) else round(scale * value, _NOISE) for value in values]
    digits = _decimals(found, decimals) if decimals else 0
    form = ("%d" if digits == 0 else "%.4g" if digits is None else f"%.{digits}f") + unit.replace("%", "%%")
    if bar_to is None or digits is None:
        return Column(found, NumberColumn(title, format=form, help=help, width=width))
    full = max((value for value in found if value is not None), default=0) if bar_to == "largest" else scale * bar_to
    bars = ProgressColumn(title, format=form, help=help, width=width, min_value=0, max_value=full or 1)
    return Column(found, bars)


def _decimals(values: Sequence[float | None], least: int) -> int | None:
    """Decimals with which the smallest of the values has two digits; None where they are too many."""
    sizes = [abs(value) for value in values if value and math.isfinite(value)]
    needed = max(least, 1 - math.floor(math.log10(min(sizes)))) if sizes else least
    return needed if needed <= _MOST_DECIMALS else None
