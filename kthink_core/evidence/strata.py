"""Which labels may be exchanged: strata of like inferences, and labelings of them.

A permutation test says nothing unless labels are exchangeable. Right inferences are shorter than wrong ones, so that a
feature that fires late, or once a trace, differs between them for that alone: labels go round only among inferences of
about one length, or of one problem where it was run with several seeds.
"""

from __future__ import annotations

from itertools import combinations, product
from math import comb, prod

import numpy as np
from numpy.typing import NDArray

ALIKE = 6
"""So many inferences of neighbouring lengths make a stratum. With a third of the inferences in each (terciles), lengths
within a stratum still differ so much that of 1,000 inferences a late feature is found at five standard deviations; with
six it is not, and the power to find what is there hardly suffers."""


def by_group(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """A stratum for each group: [units] numbers from 0."""
    return np.unique(groups, return_inverse=True)[1].astype(np.int64)


def by_length(groups: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Within each group, runs of `ALIKE` to twice as many units in the order of their lengths: [units] numbers from 0.

    What side a unit is on has no say, or permuting the sides within strata would mean nothing. Equal lengths stay in
    the order given.
    """
    strata = np.empty(len(groups), np.int64)
    first = 0
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        members = members[np.argsort(lengths[members], kind="stable")]
        runs = max(1, len(members) // ALIKE)
        strata[members] = first + np.arange(len(members)) * runs // len(members)
        first += runs
    return strata


def informative(strata: NDArray[np.int64], on_a: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """[units] whether a unit's stratum has units of both sides: others compare nothing."""
    sizes, of_a = np.bincount(strata), np.bincount(strata, on_a)
    return ((of_a > 0) & (of_a < sizes))[strata]


def labelings(strata: NDArray[np.int64], on_a: NDArray[np.bool_], most: int, seed: int) -> NDArray[np.float32]:
    """Ways to label the units, as many of each stratum as there are: [labelings, units] 1 where on side a, else 0.

    The first is the true one. All of them where they are at most `most + 1`; else it and `most` drawn at random.
    """
    members = [np.flatnonzero(strata == stratum) for stratum in np.unique(strata)]
    of_a = [int(on_a[units].sum()) for units in members]
    if prod(comb(len(units), number) for units, number in zip(members, of_a, strict=True)) <= most + 1:
        return _all(members, of_a, on_a)
    random = np.random.default_rng(seed)
    order = np.argsort(strata, kind="stable")
    place = strata[order]
    drawn = np.empty((most + 1, len(strata)), np.float32)
    drawn[0] = on_a
    for row in drawn[1:]:  # keys below 1 shuffle within a stratum and never across
        row[order] = on_a[order[np.argsort(place + random.random(len(place)))]]
    return drawn


def _all(members: list[NDArray[np.int64]], of_a: list[int], on_a: NDArray[np.bool_]) -> NDArray[np.float32]:
    choices = [combinations(units.tolist(), number) for units, number in zip(members, of_a, strict=True)]
    ways = list(product(*choices))
    found = np.zeros((len(ways), len(on_a)), np.float32)
    for row, chosen in zip(found, ways, strict=True):
        row[[unit for units in chosen for unit in units]] = 1
    true = int(np.flatnonzero((found == on_a).all(axis=1))[0])
    found[[0, true]] = found[[true, 0]]
    return found
