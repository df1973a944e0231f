"""Activations in bins."""

from __future__ import annotations

import numpy as np
import pandas as pd


def histogram(table: pd.DataFrame, bins: int) -> pd.DataFrame:
    """The column `activation` in bins of equal width over its range: low, high, count; empty where it is."""
    values = table["activation"].to_numpy(np.float64)
    if not values.size:
        return pd.DataFrame({"low": [], "high": [], "count": []}).astype({"count": np.int64})
    counts, edges = np.histogram(values, bins)
    return pd.DataFrame({"low": edges[:-1], "high": edges[1:], "count": counts})
