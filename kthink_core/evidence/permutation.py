"""Whether two sides differ in a feature by more than chance: permutation of labels within strata, over all features."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array

from kthink_core.evidence.discoveries import Exceedances
from kthink_core.evidence.strata import informative, labelings

PERMUTATIONS = 1000
CHUNK = 2048
"""Features at once: memory is bounded whatever their number."""
_TIE = 1e-4
"""Sums of float32 that should be equal differ by less."""
_SEED = 1


class Tested(NamedTuple):
    """What permuting the labels says of each feature."""

    z: NDArray[np.float64]
    """[features] the matched difference in units of its standard deviation over all labelings."""
    matched: NDArray[np.float64]
    """[features] the difference of rates within strata; NaN where no stratum has both sides."""
    deviation: NDArray[np.float64]
    """[features] the standard deviation of `matched` over all labelings."""
    p: NDArray[np.float64]
    q: NDArray[np.float64]
    threshold: float
    """|z| that a shuffled labeling exceeds somewhere in 5 % of cases."""
    labelings: int
    """So many were compared, the true one among them."""
    used: NDArray[np.bool_]
    """[units] those in strata that have both sides."""


def test(
    counts: csc_array,
    positions: NDArray[np.int64],
    on_a: NDArray[np.bool_],
    strata: NDArray[np.int64],
    permutations: int = PERMUTATIONS,
    seed: int = _SEED,
) -> Tested:
    """The score test of a difference of rates, its null distribution by permutation within strata.

    counts: [units, features] at how many of a unit's `positions` each feature is active. In stratum s, with the rate
    R_s of both sides together, u_i = c_i − R_s n_i of unit i is what it has too many; the statistic is the sum of u_i
    over side a: Σ_s w_s d_s with the difference of rates d_s and weights w_s = N_a N_b / (N_a + N_b) in positions, as
    Mantel and Haenszel (1959) weigh strata. Divided by Σ w_s it is the matched difference; divided by its standard
    deviation over all labelings, Σ_s a_s b_s / (m_s (m_s − 1)) Σ_{i ∈ s} u_i² squared, with a_s and b_s units on the
    sides and m_s in all, it is z. Of pairs it is the sign-flip test.

    p: the share of labelings, the true one included, with as large a |z| (two-sided); exact, whatever the counts'
    distribution, where labels are exchangeable within strata. q: `discoveries`.
    """
    used = informative(strata, on_a)
    features = len(counts.indptr) - 1
    if not used.any():
        none, sure = np.full(features, np.nan), np.ones(features)
        return Tested(np.zeros(features), none, none, sure, sure, np.nan, 1, used)
    rows = np.flatnonzero(used)[np.argsort(strata[used], kind="stable")]
    ways = labelings(strata[rows], on_a[rows], permutations, seed)
    z, summed, deviations, p = np.zeros(features), np.zeros(features), np.zeros(features), np.ones(features)
    exceedances = Exceedances(len(ways), len(rows), drawn=len(ways) > permutations)
    kept = counts.tocsr()[rows].tocsc()
    for first, block in _chunks(kept):
        excess, deviation = _excess(block, positions[rows], strata[rows], on_a[rows])
        sums = excess.T @ ways.T
        here = slice(first, first + sums.shape[0])
        summed[here], deviations[here] = sums[:, 0], deviation
        scale = np.divide(1, deviation, out=np.zeros_like(deviation), where=deviation > 0)
        sums *= scale[:, None].astype(np.float32)
        z[here] = sums[:, 0]
        sizes = np.abs(sums, out=sums)
        sizes[:, 1:] += _TIE
        p[here] = np.where(deviation > 0, (sizes >= sizes[:, :1]).mean(axis=1), 1)
        exceedances.add(sizes)
    weight = _weight(positions[rows], strata[rows], on_a[rows])
    q, threshold = exceedances.q_values(np.abs(z))
    return Tested(z, summed / weight, deviations / weight, p, q, threshold, len(ways), used)


def _excess(
    block: NDArray[np.float32], positions: NDArray[np.int64], strata: NDArray[np.int64], on_a: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """u of each unit and feature, [units, features], and the standard deviation of its sum over side a. Units come by
    stratum."""
    starts = np.flatnonzero(np.diff(strata, prepend=-1))
    sizes = np.diff(starts, append=len(strata))
    of_a = np.add.reduceat(on_a.astype(np.float64), starts)
    rates = np.add.reduceat(block, starts, axis=0) / np.add.reduceat(positions, starts)[:, None].astype(np.float32)
    excess = block - np.repeat(rates, sizes, axis=0) * positions[:, None].astype(np.float32)
    excess[np.abs(excess) < 1e-5 * positions[:, None]] = 0  # equal rates, but for rounding
    share = of_a * (sizes - of_a) / (sizes * (sizes - 1))
    squares = np.add.reduceat(np.square(excess, dtype=np.float64), starts, axis=0)
    return excess.astype(np.float32, copy=False), np.sqrt(share @ squares)


def _weight(positions: NDArray[np.int64], strata: NDArray[np.int64], on_a: NDArray[np.bool_]) -> float:
    a, b = np.bincount(strata, positions * on_a), np.bincount(strata, positions * ~on_a)
    there = a + b > 0
    return float((a[there] * b[there] / (a + b)[there]).sum())


def _chunks(counts: csc_array) -> Iterator[tuple[int, NDArray[np.float32]]]:
    for first in range(0, len(counts.indptr) - 1, CHUNK):
        yield first, counts[:, first : first + CHUNK].toarray()
