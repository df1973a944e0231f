"""As many positions of each inference that is compared, where sides have inferences of very different lengths.

Exchanging the labels of two parts means something if either could have been the other. A feature that fires once, at
any of 80 positions of thinking or 20 of an answer, does so in the thinking four times of five: swapped as they are,
such pairs make a rare feature look sure. Of equally many positions on both sides neither is favoured.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_SEED = 3


def shortest(strata: NDArray[np.int64], positions: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many positions of each unit are compared: [units] as many as the shortest one of its stratum has. No side has
    a say in it."""
    least = np.full(strata.max() + 1, np.iinfo(np.int64).max)
    np.minimum.at(least, strata, positions)
    return least[strata]


def common(strata: NDArray[np.int64], on_a: NDArray[np.bool_], positions: NDArray[np.int64]) -> NDArray[np.int64]:
    """The same where one side's units are the shorter ones by nature, and the shortest would leave little of all:
    [units] 0 where a unit has fewer, or its stratum has one side only.

    Of a stratum it is the number that, times the units that have as many on the side that has fewer such units, is the
    largest.
    """
    lengths = np.zeros(len(strata), np.int64)
    for stratum in np.unique(strata):
        members = strata == stratum
        of_a, of_b = (np.sort(positions[members & side]) for side in (on_a, ~on_a))
        choices = np.unique(positions[members])
        reach = np.minimum(*(len(side) - np.searchsorted(side, choices) for side in (of_a, of_b)))
        if reach.any():
            best = choices[np.argmax(choices * reach)]
            lengths[members & (positions >= best)] = best
    return lengths


def starts(lengths: NDArray[np.int64], positions: NDArray[np.int64], *, anywhere: bool) -> NDArray[np.int64]:
    """Where in each unit the stretch begins: [units] from 0. At its beginning, or at a place drawn at random."""
    spare = positions - lengths
    if not anywhere:
        return np.zeros_like(spare)
    return np.random.default_rng(_SEED).integers(0, spare + 1)
