"""q-values over thousands of dependent features: how many of those called different shuffled labels would call so.

With 1,000 permutations no p is below 1/1001, and Benjamini and Hochberg's procedure on 65,536 of them could find
nothing: here the permuted statistics of all features are one pool.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

_STEPS = 128
"""Parts of a standard deviation that are told apart."""
_ROUNDING = 1e-3
"""Of such a part: sizes that are equal but for rounding are in one, whichever way they were added up."""
_UPPER = 1.645
"""The 95 % point of the normal distribution."""


class Exceedances:
    """How many features reach each size of statistic under each labeling; filled a chunk of features at a time."""

    def __init__(self, labelings: int, units: int, *, drawn: bool) -> None:
        """`drawn`: whether labelings are a sample of those there are."""
        self._error = _UPPER / math.sqrt(labelings) if drawn else 0.0
        self._bins = math.ceil(_STEPS * math.sqrt(max(units, 1))) + 2  # no z of n units is above √n
        self._offsets = np.arange(labelings, dtype=np.int64) * self._bins
        self._counts = np.zeros(labelings * self._bins, np.int64)

    def add(self, sizes: NDArray[np.float32]) -> None:
        """[features, labelings] sizes of the statistic; the true labeling first."""
        places = self._places(sizes)
        places += self._offsets
        self._counts += np.bincount(places.ravel(), minlength=len(self._counts))

    def q_values(self, sizes: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
        """[features] q of each true size; and the size that the largest of a shuffled labeling exceeds in 5 % of cases.

        V_l(t): features of size t or more under labeling l, l = 0 the true one. The expected number of false ones is
        V̄(t), its mean over all labelings, the true one included; of each size V̄(t) / V_0(t) is the false discovery
        rate of calling all these different, and a feature's q the smallest of those at which it is called (Storey and
        Tibshirani 2003, PNAS 100:9440, with all features taken for null; Benjamini and Hochberg 1995). Whatever the
        features' dependence, shuffled labels must not seem to find something: no q is below the share of labelings
        whose own smallest q is as small (Westfall and Young 1993: the minimum over all tests, permuted). Where
        labelings are a sample, both counts are the upper ends of their one-sided 95 % intervals: no luck of the draw
        makes a find.
        """
        if not len(sizes):
            return np.empty(0), math.nan
        reached = self._counts.reshape(len(self._offsets), self._bins)[:, ::-1].cumsum(axis=1)[:, ::-1]
        expected = reached.mean(axis=0) + self._error * reached.std(axis=0)
        rates = np.divide(expected, reached, out=np.ones(reached.shape), where=reached > 0)
        smallest = rates.min(axis=1)
        share = float((smallest <= smallest[0] * (1 + 1e-9)).mean())
        anywhere = min(share + self._error * math.sqrt(share * (1 - share)), 1)
        called = np.minimum(np.minimum.accumulate(rates[0]), 1)
        q = np.maximum(called[self._places(sizes.astype(np.float32))], anywhere)
        largest = (reached[1:] > 0).sum(axis=1) - 1 if len(reached) > 1 else np.zeros(1)
        return q, float(np.quantile(largest, 0.95)) / _STEPS

    def _places(self, sizes: NDArray[np.float32]) -> NDArray[np.int64]:
        return np.minimum((sizes * _STEPS + _ROUNDING).astype(np.int64), self._bins - 1)
