"""The difference of two means over the same problems: its interval, and how often chance gives as large a one.

Runs of one problem are no independent cases: a problem goes whole into a resample, and whole changes sides.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kthink_core.evidence.bootstrap import FEWEST, draws, ends

ALL_SIGNS = 12
"""Problems up to which every way of changing sides is tried: 4096."""
_SIGNS = 9999
_SEED = 3
_TIE = 1e-12


class Mean(NamedTuple):
    """A mean with the ends of its 95 % interval; NaN where there is none."""

    value: float
    low: float
    high: float


def mean(sums: NDArray[np.float64], counts: NDArray[np.int64]) -> Mean:
    """Of runs, by the bootstrap over problems (percentiles 2.5 and 97.5, 1,000 resamples).

    sums: [problems] Σ of a problem's runs; counts: [problems] how many these are. No interval below two problems.
    """
    there = counts > 0
    sums, counts = sums[there], counts[there]
    if not len(counts):
        return Mean(np.nan, np.nan, np.nan)
    value = float(sums.sum() / counts.sum())
    if len(counts) < FEWEST:
        return Mean(value, np.nan, np.nan)
    drawn = _drawn(len(counts))
    return Mean(value, *ends((drawn @ sums) / (drawn @ counts)))


def sign_flip_p(sums: NDArray[np.float64]) -> float:
    """Two-sided p of a sum of paired differences, by letting problems change sides: the share of ways, the true one
    included, that give as large a sum (Fisher 1935; exact up to twelve problems, else of 9,999 drawn ones and the true
    one). NaN below two problems.

    sums: [problems] Σ of the differences of a problem's runs. Where steering does nothing, either sign of each is as
    likely.
    """
    if len(sums) < FEWEST:
        return np.nan
    sizes = np.abs(_signs(len(sums)) @ sums)
    return float((sizes >= abs(sums.sum()) - _TIE * np.abs(sums).sum()).mean())


@lru_cache(maxsize=4)
def _signs(problems: int) -> NDArray[np.float64]:
    """[ways, problems] the true way first."""
    if problems <= ALL_SIGNS:
        bits = np.arange(2**problems)[:, None] >> np.arange(problems) & 1
    else:
        bits = np.random.default_rng(_SEED).integers(0, 2, (1 + _SIGNS, problems))
        bits[0] = 0
    return np.where(bits, -1.0, 1.0)


@lru_cache(maxsize=4)
def _drawn(problems: int) -> NDArray[np.int64]:
    """`draws`, kept: a table asks for it again and again."""
    return draws(problems)
