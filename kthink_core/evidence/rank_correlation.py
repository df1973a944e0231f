"""Whether two measures put things into the same order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

_FEWEST = 4
"""Pairs below which there is no interval."""
_QUANTILE = 1.959963984540054
"""Of the normal distribution, for 95 %."""


class RankCorrelation(NamedTuple):
    """Spearman's, with its interval."""

    rho: float | None
    """None where one of the measures is the same everywhere, or there are fewer than four pairs."""
    low: float | None
    high: float | None
    """95 %, by Fisher's transformation with the variance (1 + ρ²/2) / (n − 3) of Bonett and Wright (2000)."""
    n: int
    """Pairs."""


def rank_correlation(one: Sequence[float], other: Sequence[float]) -> RankCorrelation:
    """Of pairs; equal values share their mean rank."""
    ranks = [pd.Series(values, dtype="float64").rank().to_numpy() for values in (one, other)]
    n = len(ranks[0])
    if n < _FEWEST or any(np.ptp(own) == 0 for own in ranks):
        return RankCorrelation(None, None, None, n)
    rho = float(np.clip(np.corrcoef(ranks[0], ranks[1])[0, 1], -1, 1))
    if abs(rho) == 1:
        return RankCorrelation(rho, rho, rho, n)
    reach = _QUANTILE * math.sqrt((1 + rho**2 / 2) / (n - 3))
    return RankCorrelation(rho, math.tanh(math.atanh(rho) - reach), math.tanh(math.atanh(rho) + reach), n)
