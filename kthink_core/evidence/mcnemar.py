"""Whether a change turns right answers wrong more often than wrong ones right: McNemar's test, exact; and Holm's
correction for having tested several changes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def exact_p(b: int, c: int) -> float:
    """Two-sided p of the discordant pairs, b of one kind and c of the other: were both kinds equally likely, b of
    b + c would be binomial with 1/2 (McNemar 1947, Psychometrika 12:153). 1 without any."""
    from scipy import stats  # half a second to import

    return float(stats.binomtest(b, b + c).pvalue) if b + c else 1.0


def holm(p: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """[tests] p corrected so that among all of them a false one below 0.05 comes up in at most 5 % of cases, whatever
    their dependence: the i-th smallest of m times m − i + 1, never below the one before it, at most 1 (Holm 1979,
    Scandinavian Journal of Statistics 6:65). NaN, what was not tested, stays so and is not counted."""
    given = np.asarray(p, dtype=np.float64)
    corrected = np.full(len(given), np.nan)
    known = np.flatnonzero(~np.isnan(given))
    order = known[np.argsort(given[known], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(given[order] * factors), 1)
    return corrected
