"""How far a figure would vary from one set of inferences to another: the bootstrap over inferences.

Tokens of one trace are no independent cases; resampled, they would make intervals several times too narrow. No more are
inferences of one problem: where problems were run several times, problems are resampled, each with all its inferences.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array

from kthink_core.store.reader import Reader

RESAMPLES = 1000
FEWEST = 2
"""Problems of a side below which there is no interval."""
_CHUNK = 2048
_SEED = 2


def draws(inferences: int) -> NDArray[np.int64]:
    """How often each inference is drawn where as many are as there are, with replacement: [resamples, inferences]; the
    same each time."""
    return np.random.default_rng(0).multinomial(inferences, np.full(inferences, 1 / inferences), RESAMPLES)


def draws_of(problems: NDArray[np.int64]) -> NDArray[np.int64]:
    """How often each inference is drawn where problems are, as many as there are: [resamples, inferences]. `problems`:
    [inferences] of which each is; where all differ and ascend, these are the `draws` of as many inferences."""
    names, of = np.unique(problems, return_inverse=True)
    return draws(len(names))[:, of]


def problems_of(reader: Reader, inferences: Sequence[int]) -> NDArray[np.int64]:
    """[inferences] of which problem each is."""
    table = reader.query("SELECT inference, problem FROM inferences ORDER BY inference")
    at = np.searchsorted(table["inference"].to_numpy(), np.asarray(inferences, np.int64))
    return table["problem"].to_numpy(np.int64)[at]


def ends(resampled: NDArray[np.float64]) -> tuple[float, float]:
    """Of the 95 % interval of a figure that was resampled, [resamples]: percentiles 2.5 and 97.5 of those that are
    numbers; NaN without any."""
    known = resampled[~np.isnan(resampled)]
    if not len(known):
        return np.nan, np.nan
    low, high = np.quantile(known, (0.025, 0.975))
    return float(low), float(high)


def intervals(
    counts: csc_array,
    positions: NDArray[np.int64],
    on_a: NDArray[np.bool_],
    problems: NDArray[np.int64],
    resamples: int = RESAMPLES,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Ends of the 95 % interval of rate_a − rate_b, [features] each: percentiles 2.5 and 97.5 over resamples
    (Efron 1979, Annals of Statistics 7:1).

    counts: [units, features] at how many of a unit's `positions` each feature is active. `problems`: [units] of which
    problem each is. A resample draws problems with replacement, as many as there are of those on side a alone, on b
    alone and on both; a problem brings all its units. NaN where a side has fewer than `FEWEST`.
    """
    features = len(counts.indptr) - 1
    if min(len(np.unique(problems[side])) for side in (on_a, ~on_a)) < FEWEST:
        return np.full(features, np.nan), np.full(features, np.nan)
    weights = _weights(on_a, problems, resamples)
    sides = [(np.flatnonzero(side), weights[:, side]) for side in (on_a, ~on_a)]
    totals = [(taken @ positions[units]).astype(np.float32) for units, taken in sides]
    low, high = np.empty(features), np.empty(features)
    rows = counts.tocsr()
    parts = [rows[units].tocsc() for units, _ in sides]
    for first in range(0, features, _CHUNK):
        here = slice(first, first + _CHUNK)
        rates = [
            part[:, here].toarray().T @ taken.T / total
            for part, (_, taken), total in zip(parts, sides, totals, strict=True)
        ]
        low[here], high[here] = np.quantile(rates[0] - rates[1], (0.025, 0.975), axis=1)
    return low, high


def _weights(on_a: NDArray[np.bool_], problems: NDArray[np.int64], resamples: int) -> NDArray[np.float32]:
    """How often each unit is drawn: [resamples, units]."""
    random = np.random.default_rng(_SEED)
    names, of = np.unique(problems, return_inverse=True)
    sides = np.bincount(of, on_a, len(names)) > 0, np.bincount(of, ~on_a, len(names)) > 0
    drawn = np.zeros((resamples, len(names)), np.float32)
    for group in (sides[0] & sides[1], sides[0] & ~sides[1], ~sides[0] & sides[1]):
        if size := int(group.sum()):
            drawn[:, group] = random.multinomial(size, np.full(size, 1 / size), resamples)
    return drawn[:, of]
