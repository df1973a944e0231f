"""Intervals of shares and of their paired differences: published examples, and how often they hold the truth."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from kthink_core.evidence.bootstrap import draws
from kthink_core.evidence.paired_shares import difference_ends, share_ends

SAMPLES = 2000


@pytest.mark.parametrize(
    ("both", "first", "second", "neither", "ends"),
    [
        (36, 12, 2, 0, (0.0569, 0.3404)),  # Newcombe 1998, Statistics in Medicine 17:2635
        (14, 5, 0, 22, (0.011, 0.226)),  # Altman and others 2000, Statistics with Confidence, p. 52
        (1, 1, 7, 12, (-0.507, -0.026)),  # Fagerland and others 2014, Statistics in Medicine 33:2850
    ],
)
def test_with_one_run_of_each_problem_it_is_newcombes_method_10(
    both: int, first: int, second: int, neither: int, ends: tuple[float, float]
) -> None:
    counts = both, first, second, neither
    one, other = (np.repeat(of, counts)[None].astype(float) for of in ((1, 1, 0, 0), (1, 0, 1, 0)))
    low, high = difference_ends(one, other, np.ones(one.shape, np.int64))
    assert (low[0], high[0]) == pytest.approx(ends, abs=0.0006)


def tries(problems: int, runs: int, shares: tuple[float, float], alike: float) -> tuple[NDArray[np.float64], ...]:
    """[SAMPLES, problems] right runs of each side, and of each by another share on average. Some problems are harder
    (`alike`: their correlation, beta-binomial), and half of the runs turn on the same chance on both sides."""
    random = np.random.default_rng([problems, runs, *(round(100 * share) for share in shares)])
    hard = random.random((SAMPLES, problems, 1))
    one = random.random((SAMPLES, problems, runs))
    other = np.where(random.random(one.shape) < 0.5, one, random.random(one.shape))
    return tuple(
        (chance < _chances(share, alike, hard)).sum(axis=2).astype(float)
        for share, chance in zip(shares, (one, other), strict=True)
    )


def _chances(share: float, alike: float, hard: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy import stats

    if not alike:
        return np.full(hard.shape, share)
    return stats.beta.ppf(hard, share * (1 - alike) / alike, (1 - share) * (1 - alike) / alike)


def holding(ends: tuple[NDArray[np.float64], NDArray[np.float64]], true: float) -> float:
    """Share of the intervals that hold the truth."""
    low, high = ends
    return float(((low <= true + 1e-12) & (true - 1e-12 <= high)).mean())


@pytest.mark.parametrize(("problems", "runs", "alike"), [(8, 1, 0.0), (8, 4, 0.3), (20, 1, 0.0), (32, 4, 0.3)])
@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.7, 0.8), (0.95, 0.95), (0.9, 0.97), (0.03, 0.03)])
def test_they_hold_the_truth_as_often_as_they_say(
    problems: int, runs: int, alike: float, shares: tuple[float, float]
) -> None:
    """The bootstrap over problems holds it in as few as two of five."""
    one, other = tries(problems, runs, shares, alike)
    each = np.full(one.shape, runs)
    assert holding(difference_ends(one, other, each), shares[0] - shares[1]) >= 0.94
    assert holding(share_ends(one, each), shares[0]) >= 0.9
    low, high = difference_ends(one, other, each)
    assert (high - low).min() > 0.02 and (low >= -1).all() and (high <= 1).all()


def test_the_bootstrap_does_not() -> None:
    one, other = tries(8, 1, (0.9, 0.97), 0.0)
    resampled = (one - other) @ draws(8).T / 8
    ends = np.quantile(resampled, 0.025, axis=1), np.quantile(resampled, 0.975, axis=1)
    assert holding(ends, 0.9 - 0.97) < 0.6


def test_where_all_runs_are_the_same_each_problem_counts_once() -> None:
    right, runs = np.full((1, 8), 4.0), np.full((1, 8), 4)
    low, high = difference_ends(right, right, runs)
    n, z = 8, 1.959964
    assert share_ends(right, runs)[0][0] == pytest.approx(n / (n + z**2), abs=1e-6)
    reach = 1 - n / (n + z**2)
    assert (low[0], high[0]) == pytest.approx((-reach, reach), abs=1e-6)


def test_what_was_not_run_is_not_counted_and_one_problem_has_no_interval() -> None:
    right, other = np.array([[1.0, 2, 0, 9], [2, 0, 0, 0], [0, 0, 0, 0]]), np.zeros((3, 4))
    runs = np.array([[2, 2, 1, 0], [4, 0, 0, 0], [0, 0, 0, 0]])
    alone = difference_ends(right[:1, :3], other[:1, :3], runs[:1, :3])
    ends = difference_ends(np.where(runs > 0, right, 0), other, runs)
    assert (ends[0][0], ends[1][0]) == pytest.approx((alone[0][0], alone[1][0]))
    assert np.isnan([*ends[0][1:], *ends[1][1:], *share_ends(right, runs)[0][1:]]).all()
