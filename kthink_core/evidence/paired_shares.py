"""Intervals of shares of runs, and of the difference of two shares of the same runs, such as right answers, with and
without steering. At 0 % and at 100 % they have a width, too.

A share has Wilson's interval (1927), as clustered_shares.py has it. A difference has that of Newcombe's method 10
(1998, Statistics in Medicine 17:2635), which puts both shares' intervals together by their correlation φ: with a and b
the shares, each from l to u,

    low   a − b − √((a − lₐ)² − 2φ (a − lₐ)(u_b − b) + (u_b − b)²)
    high  a − b + √((uₐ − a)² − 2φ (uₐ − a)(b − l_b) + (b − l_b)²)

A problem is the unit: with several runs of each, the shares count as many runs as would vary as much if each were of a
problem of its own, and φ is the correlation over problems of how many runs of each are right (as Zou and Donner 2008,
Statistics in Medicine 27:1693, put intervals together by any correlation). Method 10 takes ½ off the covariance where
that is positive, down to 0: half a step of a problem's share, which with m runs of each is 1 / 2m. With one run of each
problem it is method 10 itself.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kthink_core.evidence.bootstrap import FEWEST
from kthink_core.evidence.clustered_shares import Shares, shares, wilson

_Floats = NDArray[np.float64]
_Counts = NDArray[np.int64]


def share_ends(right: _Floats, runs: _Counts) -> tuple[_Floats, _Floats]:
    """Ends of the 95 % interval of Σ right / Σ runs, [rows] each: [rows, problems] `right` of so many `runs` of each
    problem. NaN of fewer than `FEWEST` problems."""
    return _known(runs, *_wilson(_shares(right, runs), runs))


def difference_ends(right: _Floats, other: _Floats, runs: _Counts) -> tuple[_Floats, _Floats]:
    """Ends of the 95 % interval of Σ right / Σ runs − Σ other / Σ runs, [rows] each: [rows, problems], both of the same
    `runs`. NaN of fewer than `FEWEST` problems."""
    one, two = _shares(right, runs), _shares(other, runs)
    with np.errstate(divide="ignore", invalid="ignore"):  # of rows without runs
        a, b = one.fired / one.n, two.fired / two.n
        correlation = _correlation(right - a[:, None] * runs, other - b[:, None] * runs, runs)
    (a_low, a_high), (b_low, b_high) = _wilson(one, runs), _wilson(two, runs)
    below = _apart(a - a_low, b_high - b, correlation)
    above = _apart(a_high - a, b - b_low, correlation)
    return _known(runs, a - b - below, a - b + above)


def _shares(right: _Floats, runs: _Counts) -> Shares:
    tried = runs > 0
    return shares(np.nonzero(tried)[0], right[tried].astype(np.int64), runs[tried], len(runs))


def _wilson(found: Shares, runs: _Counts) -> tuple[_Floats, _Floats]:
    return wilson(found, np.where((runs <= 1).all(axis=1), found.n, found.counted))


def _correlation(one: _Floats, two: _Floats, runs: _Counts) -> _Floats:
    """[rows] φ of [rows, problems] what each has more than its share; 0 where one of them does not vary."""
    together = (one * two).sum(axis=1)
    size = np.sqrt((one**2).sum(axis=1) * (two**2).sum(axis=1))
    mean = runs.sum(axis=1) / (runs > 0).sum(axis=1)
    together = np.where(together > 0, np.maximum(together - mean / 2, 0), together)  # ½ m² / m, as counts are m shares
    return np.where(size > 0, together / size, 0)


def _apart(one: _Floats, two: _Floats, correlation: _Floats) -> _Floats:
    return np.sqrt(np.maximum(one**2 - 2 * correlation * one * two + two**2, 0))


def _known(runs: _Counts, low: _Floats, high: _Floats) -> tuple[_Floats, _Floats]:
    few = (runs > 0).sum(axis=1) < FEWEST
    return np.where(few, np.nan, low), np.where(few, np.nan, high)
