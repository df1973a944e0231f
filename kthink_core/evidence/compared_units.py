"""What two sides are compared by: units, each a part of an inference, and which of them are alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array, csc_array

from kthink_core.evidence.divides import Between, Cells, Side, stretch
from kthink_core.evidence.strata import by_group, by_length
from kthink_core.evidence.stretches import common, shortest, starts
from kthink_core.store.reader import Reader

_ELSEWHERE = 10**9
"""Added to the numbers of another experiment's inferences."""
_PAIRED: tuple[Between, ...] = ("think:answer", "before:after")
"""Both sides are parts of one inference."""
_LIKE: tuple[Between, ...] = ("right:wrong", "before:after")
"""Units that are compared have about as many positions."""


class Units(NamedTuple):
    """What is compared: an inference's part on one side is a unit, those of side a first."""

    features: NDArray[np.int64]
    """[features] ascending: those that fire on either side."""
    counts: csc_array
    """[units, features] at how many of the unit's positions each is active."""
    activation_sums: NDArray[np.float64]
    """[2, features] by side."""
    positions: NDArray[np.int64]
    on_a: NDArray[np.bool_]
    inferences: NDArray[np.int64]
    problems: NDArray[np.int64]
    strata: NDArray[np.int64]
    tested: csc_array
    """As `counts`, of the positions that are tested."""
    tested_positions: NDArray[np.int64]


def units_of(reader: Reader, hookpoint: str, between: Between, one: Side, two: Side, other: Reader | None) -> Units:
    """Those of two sides: what either has of an inference is a unit."""
    elsewhere = _ELSEWHERE if between in ("think:bypass", "experiments") else 0
    inferences = np.concatenate([one.inferences, two.inferences + elsewhere])
    positions = np.concatenate([one.positions, two.positions])
    on_a = np.arange(len(inferences)) < len(one.inferences)
    features = np.unique(np.concatenate([one.cells.feature, two.cells.feature]))
    cells = one.cells, two.cells
    sums = [np.bincount(np.searchsorted(features, each.feature), each.activation_sum, len(features)) for each in cells]
    counts = counts_of(features, (one, two), cells)
    problems = _problems(one, two)
    strata = _strata(between, problems, inferences, positions)
    tested, tested_positions = counts, positions
    if between not in _LIKE:
        by_nature = between == "finished:cut-off"
        lengths = common(strata, on_a, positions) if by_nature else shortest(strata, positions)
        firsts = np.concatenate([one.firsts, two.firsts])
        firsts = firsts + starts(lengths, positions, anywhere=between == "think:answer")
        used = lengths > 0
        readers = (reader, other or reader)
        parts = [
            stretch(each, hookpoint, inferences[side & used] % _ELSEWHERE, firsts[side & used], lengths[side & used])
            for each, side in zip(readers, (on_a, ~on_a), strict=True)
        ]
        tested, tested_positions = counts_of(features, (one, two), parts), np.maximum(lengths, 1)
        strata = np.where(used, strata, strata.max() + 1 + np.arange(len(strata)))  # alone: with nothing to compare
    return Units(
        features,
        counts,
        np.stack(sums).astype(np.float64),
        positions,
        on_a,
        inferences,
        problems,
        strata,
        tested,
        tested_positions,
    )


def _problems(one: Side, two: Side) -> NDArray[np.int64]:
    """[units] of which problem each is, numbered as they are; of one number and other questions, apart."""
    problems = [*one.problems, *two.problems]
    numbers = {problem: number for number, problem in enumerate(sorted({*problems}))}
    return np.array([numbers[problem] for problem in problems], np.int64)


def _strata(
    between: Between, problems: NDArray[np.int64], inferences: NDArray[np.int64], positions: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Which units are alike: [units]."""
    if between in _PAIRED:
        return by_group(inferences)
    of_problem = pd.factorize(problems)[0]  # in the order of the sides, which decides what labelings are drawn
    if between in ("right:wrong", "finished:cut-off") and len(np.unique(problems)) == len(problems):  # none run twice
        of_problem = np.zeros_like(of_problem)
    return by_length(of_problem, positions) if between == "right:wrong" else by_group(of_problem)


def counts_of(features: NDArray[np.int64], of: Sequence[Side], cells: Sequence[Cells]) -> csc_array:
    """[units, features]"""
    rows = [np.searchsorted(side.inferences, each.inference) for side, each in zip(of, cells, strict=True)]
    row = np.concatenate([rows[0], rows[1] + len(of[0].inferences)])
    column = np.searchsorted(features, np.concatenate([each.feature for each in cells]))
    values = np.concatenate([each.positions for each in cells]).astype(np.float32)
    shape = sum(len(side.inferences) for side in of), len(features)
    return coo_array((values, (row, column)), shape).tocsc()


class OneSide(NamedTuple):
    """What features do on a side."""

    active: NDArray[np.float64]
    """[features] at how many of its positions each is active."""
    of: int
    """How many positions these are."""
    rate: NDArray[np.float64]
    mean: NDArray[np.float64]
    """[features] of its activation where it is active; 0 where it never is."""


def sides_of(units: Units) -> tuple[OneSide, OneSide]:
    """Both sides in numbers."""
    found = []
    for side, sums in zip((units.on_a, ~units.on_a), units.activation_sums, strict=True):
        active, of = side.astype(np.float64) @ units.counts, int(units.positions[side].sum())
        mean = np.divide(sums, active, out=np.zeros_like(sums), where=active > 0)
        found.append(OneSide(active, of, active / of, mean))
    return found[0], found[1]
