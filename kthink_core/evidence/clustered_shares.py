"""Intervals of shares of positions, many of which are of one problem."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kthink_core.evidence.bootstrap import FEWEST

_Z = 1.959963984540054
"""The 97.5 % point of the normal distribution."""

_Floats = NDArray[np.float64]
_Numbers = NDArray[np.int64]


def share_intervals(group: _Numbers, active: _Numbers, positions: _Numbers, groups: int) -> tuple[_Floats, _Floats]:
    """Ends of the 95 % interval of the share Σ active / Σ positions of each group, [groups] each.

    [cells]: `active` of so many `positions` (one or more) that a problem has of the group; no problem has two cells of
    one. Wilson's interval (1927), of so many positions as would vary as much if each were of a problem of its own (Korn
    and Graubard 1998, Survey Methodology 24:193): never more than there are. Where the feature always or never fires
    nothing says how much problems differ; then each of them counts once. NaN of fewer than `FEWEST` problems.
    """
    n, fired, problems = (np.bincount(group, weights, groups) for weights in (positions, active, None))
    with np.errstate(divide="ignore", invalid="ignore"):
        share = fired / n
        apart = np.bincount(group, (active - share[group] * positions) ** 2, groups)
        between = problems / (problems - 1) * apart / n**2
        alone = share * (1 - share) / n
        counted = np.where(alone > 0, n / np.maximum(between / alone, 1), problems)
        middle = (share + _Z**2 / (2 * counted)) / (1 + _Z**2 / counted)
        reach = _Z / (1 + _Z**2 / counted) * np.sqrt(share * (1 - share) / counted + (_Z / (2 * counted)) ** 2)
    low, high = np.where(fired == 0, 0, middle - reach), np.where(fired == n, 1, middle + reach)
    unknown = problems < FEWEST
    return np.where(unknown, np.nan, low), np.where(unknown, np.nan, high)
