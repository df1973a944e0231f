"""Intervals of shares of positions, many of which are of one problem."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array, csr_array

from kthink_core.evidence.bootstrap import FEWEST

_Z = 1.959963984540054
"""The 97.5 % point of the normal distribution."""
_CHUNK = 2048
"""Features looked at at once."""

_Floats = NDArray[np.float64]
_Numbers = NDArray[np.int64]


class Shares(NamedTuple):
    """[groups] each."""

    n: _Floats
    """Positions."""
    fired: _Floats
    """Those of them at which the feature is active."""
    problems: _Numbers
    counted: _Floats
    """Positions that would vary as much if each were of a problem of its own."""

    @property
    def varies(self) -> NDArray[np.bool_]:
        """Whether anything says how much problems differ."""
        return (self.fired > 0) & (self.fired < self.n)


def share_intervals(group: _Numbers, active: _Numbers, positions: _Numbers, groups: int) -> tuple[_Floats, _Floats]:
    """Ends of the 95 % interval of the share Σ active / Σ positions of each group, [groups] each.

    [cells]: `active` of so many `positions` (one or more) that a problem has of the group; no problem has two cells of
    one. Wilson's interval (1927), of so many positions as would vary as much if each were of a problem of its own (Korn
    and Graubard 1998, Survey Methodology 24:193): never more than there are. Where the feature always or never fires
    nothing says how much problems differ; then each of them counts once. NaN of fewer than `FEWEST` problems.
    """
    found = shares(group, active, positions, groups)
    low, high = wilson(found, found.counted)
    unknown = found.problems < FEWEST
    return np.where(unknown, np.nan, low), np.where(unknown, np.nan, high)


def shares(group: _Numbers, active: _Numbers, positions: _Numbers, groups: int) -> Shares:
    """What `share_intervals` rests on."""
    n, fired, problems = (np.bincount(group, weights, groups) for weights in (positions, active, None))
    n, fired = n.astype(np.float64), fired.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = fired / n
        apart = np.bincount(group, (active - share[group] * positions) ** 2, groups)
        between = problems / (problems - 1) * apart / n**2
        alone = share * (1 - share) / n
        counted = np.where(alone > 0, n / np.maximum(between / alone, 1), problems)
    return Shares(n, fired, problems, counted)


def wilson(found: Shares, counted: _Floats) -> tuple[_Floats, _Floats]:
    """Ends of the 95 % interval of each share as of `counted` positions."""
    with np.errstate(divide="ignore", invalid="ignore"):
        share = found.fired / found.n
        middle = (share + _Z**2 / (2 * counted)) / (1 + _Z**2 / counted)
        reach = _Z / (1 + _Z**2 / counted) * np.sqrt(share * (1 - share) / counted + (_Z / (2 * counted)) ** 2)
    return np.where(found.fired == 0, 0, middle - reach), np.where(found.fired == found.n, 1, middle + reach)


def difference_intervals(
    counts: csc_array, positions: _Numbers, on_a: NDArray[np.bool_], chosen: _Numbers
) -> tuple[_Floats, _Floats]:
    """Ends of the 95 % interval of the difference of a feature's shares of positions, side a less side b: [chosen]
    each.

    counts: [units, features] at how many of a unit's `positions` each feature is active; chosen: some of the features.
    Units take the place of problems. Both shares' intervals (`share_intervals`) are put together as Newcombe (1998,
    Statistics in Medicine 17:873) and Zou and Donner (2008, Statistics in Medicine 27:1693) do. Where a feature always
    or never fires on one side, the units there are taken to differ as much as those of the other side.
    """
    low, high = np.empty(len(chosen)), np.empty(len(chosen))
    rows = counts.tocsr()
    parts = [rows[side] for side in (on_a, ~on_a)]
    for first in range(0, len(chosen), _CHUNK):
        here = chosen[first : first + _CHUNK]
        one, two = (_shares_of(part[:, here], positions[side]) for part, side in zip(parts, (on_a, ~on_a), strict=True))
        (a, a_low, a_high), (b, b_low, b_high) = _ends_as(one, two), _ends_as(two, one)
        place = slice(first, first + len(here))
        low[place] = a - b - np.hypot(a - a_low, b_high - b)
        high[place] = a - b + np.hypot(a_high - a, b - b_low)
    return low, high


def _shares_of(counts: csr_array, positions: _Numbers) -> Shares:
    """Of the features of [units, features]."""
    active = counts.toarray().T.astype(np.int64)
    group = np.repeat(np.arange(len(active)), len(positions))
    return shares(group, active.ravel(), np.broadcast_to(positions, active.shape).ravel(), len(active))


def _ends_as(own: Shares, other: Shares) -> tuple[_Floats, _Floats, _Floats]:
    """The shares with their ends."""
    like_other = np.maximum(own.n * other.counted / other.n, own.problems)
    counted = np.where(~own.varies & other.varies, like_other, own.counted)
    return own.fired / own.n, *wilson(own, counted)
