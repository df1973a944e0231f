"""Activations in bins."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd


def histogram(table: pd.DataFrame, bins: int) -> pd.DataFrame:
    """The column `activation` in bins of equal width over its range: low, high, count; empty where it is."""
    if table.empty:
        return pd.DataFrame({"low": [], "high": [], "count": []}).astype({"count": np.int64})
    values = table["activation"].to_numpy(np.float64)
    return histograms([table], bins, values.min(), values.max())


def histograms(tables: Iterable[pd.DataFrame], bins: int, low: float, high: float) -> pd.DataFrame:
    """The same of several tables, one at a time, whose smallest and largest value are known."""
    edges = np.histogram_bin_edges([], bins, (low, high))
    counts = np.zeros(bins, np.int64)
    for table in tables:
        counts += np.histogram(table["activation"].to_numpy(np.float64), bins, (low, high))[0]
    return pd.DataFrame({"low": edges[:-1], "high": edges[1:], "count": counts})
