"""Contrasts: in which features do two sides differ, by how much, how surely, and is it more than chance?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array, csc_array

from kthink_core.errors import BadValue, NotComparable
from kthink_core.evidence import permutation
from kthink_core.evidence.bootstrap import intervals
from kthink_core.evidence.divides import Between, Cells, Side, sides, stretch
from kthink_core.evidence.strata import by_group, by_length
from kthink_core.evidence.stretches import common, shortest, starts
from kthink_core.identity import check_comparable, settings_apart
from kthink_core.queries.checks import check_top
from kthink_core.store.reader import Reader
from kthink_core.store.scopes import Scope

_ELSEWHERE = 10**9
"""Added to the numbers of another experiment's inferences."""
_PAIRED: tuple[Between, ...] = ("think:answer", "before:after")
"""Both sides are parts of one inference."""
_LIKE: tuple[Between, ...] = ("right:wrong", "before:after")
"""Units that are compared have about as many positions."""
_Z = 1.959963984540054
"""The 97.5 % point of the normal distribution."""
_POWER = 0.8416212335729143
"""The 80 % point of the normal distribution."""


class _Units(NamedTuple):
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


def contrast(
    reader: Reader,
    hookpoint: str,
    between: Between,
    scope: Scope = "generated",
    word: str | None = None,
    other: Reader | None = None,
    top: int = 100,
) -> pd.DataFrame:
    """Features of a hookpoint by how surely they differ between two sides, a and b as `between` names them.

    One row a feature that fires on either: feature, rate_a, rate_b, mean_a, mean_b, difference, low, high, p, q,
    inferences_a, inferences_b, matched, matched_low, matched_high, needed, tested, labelings; by q, then p, then the
    larger matched difference, then the smaller feature.

    rate: the share of the side's positions at which it is active; mean: of its activation over these, 0 without any.
    difference: rate_a − rate_b; low and high: its 95 % interval by bootstrap over problems (`bootstrap`). p, q: by
    permuting the sides' labels among like inferences, over all features of the hookpoint that fire (`permutation`,
    `discoveries`); matched: the difference among these, which p and q are of. Alike are: both parts of one inference
    (think:answer, before:after); inferences of one problem (experiments, think:bypass, and wherever a problem was run
    several times), of about one length (right:wrong). Where lengths of the sides are not alike, matched, p and q are of
    equally many positions of those compared (`stretches`): the first ones, of think:answer a stretch drawn at random.
    matched_low and matched_high are its test-based 95 % limits (Miettinen 1976, Am. J. Epidemiology 103:226), 1.96 of
    its standard deviations over all labelings to either side.

    inferences_a and inferences_b are on either side, `tested` of both have another of the other side that is like them,
    and so many `labelings` were compared: p is at least 1 / labelings. needed: how many inferences, in the proportions
    of these, would show such a matched difference with four chances of five, if it is as large as it looks:
    n ((t + 0.84) / |z|)² with z of n inferences now and t what |z| of any feature exceeds in 5 % of shuffled labelings;
    missing where there is no difference.

    Raises UnknownName; NotComparable; BadValue where a side is empty or an argument makes no sense.
    """
    check_top(top)
    if other is not None:
        _check_other(reader, other, hookpoint, between)
    one, two = sides(reader, hookpoint, between, scope, word, other)
    if between == "think:bypass" and other is not None and reader.experiment.config.mode == "bypass":
        one, two, reader, other = two, one, other, reader
    _check_sides(reader, between, scope, one, two)
    table = _table(_units(reader, hookpoint, between, one, two, other))
    table = table.assign(size=table["matched"].abs().fillna(0).round(9))
    table = table.sort_values(["q", "p", "size", "feature"], ascending=[True, True, False, True])
    return table.drop(columns="size").head(top).reset_index(drop=True)


def _check_other(reader: Reader, other: Reader, hookpoint: str, between: Between) -> None:
    here, there = reader.experiment, other.experiment
    check_comparable(here, there, hookpoint)
    if between == "experiments" and here.name == there.name:
        raise BadValue(f"experiment '{here.name}' cannot be compared with itself: name another one")
    if between == "think:bypass":
        if here.config.mode == there.config.mode:
            raise BadValue(f"experiments '{here.name}' and '{there.name}' are both of mode {here.config.mode}")
        apart = settings_apart(here, there)
        del apart["mode"]
        if apart:
            raise NotComparable(here.name, there.name, apart)


def _check_sides(reader: Reader, between: Between, scope: Scope, one: Side, two: Side) -> None:
    numbers = len(one.inferences), len(two.inferences)
    if not all(numbers):
        names = between.split(":") if ":" in between else ("of one experiment", "of the other")
        told = ", ".join(f"{number} {name}" for number, name in zip(numbers, names, strict=True))
        raise BadValue(
            f"nothing to compare in scope {scope}: {told} of {reader.inferences} inferences; both sides need some"
        )
    if between in ("think:bypass", "experiments") and not {*one.problems} & {*two.problems}:
        raise BadValue("the two experiments have no problem in common: nothing in them can be compared")


def _units(reader: Reader, hookpoint: str, between: Between, one: Side, two: Side, other: Reader | None) -> _Units:
    elsewhere = _ELSEWHERE if between in ("think:bypass", "experiments") else 0
    inferences = np.concatenate([one.inferences, two.inferences + elsewhere])
    positions = np.concatenate([one.positions, two.positions])
    on_a = np.arange(len(inferences)) < len(one.inferences)
    features = np.unique(np.concatenate([one.cells.feature, two.cells.feature]))
    cells = one.cells, two.cells
    sums = [np.bincount(np.searchsorted(features, each.feature), each.activation_sum, len(features)) for each in cells]
    counts = _counts(features, (one, two), cells)
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
        tested, tested_positions = _counts(features, (one, two), parts), np.maximum(lengths, 1)
        strata = np.where(used, strata, strata.max() + 1 + np.arange(len(strata)))  # alone: with nothing to compare
    return _Units(
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


def _counts(features: NDArray[np.int64], of: Sequence[Side], cells: Sequence[Cells]) -> csc_array:
    """[units, features]"""
    rows = [np.searchsorted(side.inferences, each.inference) for side, each in zip(of, cells, strict=True)]
    row = np.concatenate([rows[0], rows[1] + len(of[0].inferences)])
    column = np.searchsorted(features, np.concatenate([each.feature for each in cells]))
    values = np.concatenate([each.positions for each in cells]).astype(np.float32)
    shape = sum(len(side.inferences) for side in of), len(features)
    return coo_array((values, (row, column)), shape).tocsc()


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


def _table(units: _Units) -> pd.DataFrame:
    counts, positions, on_a = units.counts, units.positions, units.on_a
    rates, means = [], []
    for number, side in enumerate((on_a, ~on_a)):
        active = side.astype(np.float64) @ counts
        rates.append(active / positions[side].sum())
        sums = units.activation_sums[number]
        means.append(np.divide(sums, active, out=np.zeros_like(sums), where=active > 0))
    low, high = intervals(counts, positions, on_a, units.problems)
    tested = permutation.test(units.tested, units.tested_positions, on_a, units.strata)
    return pd.DataFrame(
        {
            "feature": units.features,
            "rate_a": rates[0],
            "rate_b": rates[1],
            "mean_a": means[0],
            "mean_b": means[1],
            "difference": rates[0] - rates[1],
            "low": low,
            "high": high,
            "p": tested.p,
            "q": tested.q,
            "inferences_a": int(on_a.sum()),
            "inferences_b": int((~on_a).sum()),
            "matched": tested.matched,
            "matched_low": tested.matched - _Z * tested.deviation,
            "matched_high": tested.matched + _Z * tested.deviation,
            "needed": _needed(tested, len(np.unique(units.inferences))),
            "tested": len(np.unique(units.inferences[tested.used])),
            "labelings": tested.labelings,
        }
    )


def _needed(tested: permutation.Tested, inferences: int) -> pd.Series:
    size = np.abs(tested.z)
    times = np.divide(tested.threshold + _POWER, size, out=np.full_like(size, np.nan), where=size > 1e-6)
    return pd.Series(np.ceil(inferences * times**2).round()).astype("Int64")
