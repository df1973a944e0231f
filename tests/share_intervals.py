"""Intervals of shares by plain loops over runs, [problems] lists of 0 and 1."""

from __future__ import annotations

from math import sqrt
from statistics import NormalDist, fmean

Runs = list[list[float]]
_Z = NormalDist().inv_cdf(0.975)


def wilson_of(by_problem: Runs) -> tuple[float, float]:
    """Of as many runs as would vary as much if each were of a problem of its own."""
    runs = [run for own in by_problem for run in own]
    share, n, problems = fmean(runs), len(runs), len(by_problem)
    if share in (0, 1):
        counted = float(problems)
    else:
        apart = sum((sum(own) - share * len(own)) ** 2 for own in by_problem)
        between = problems / (problems - 1) * apart / n**2
        counted = n / max(1, between / (share * (1 - share) / n))
    return wilson_ends(share, n if n == problems else counted)


def wilson_ends(share: float, n: float) -> tuple[float, float]:
    """The two p at which |share − p| is z times √(p (1 − p) / n): the roots of a quadratic."""
    a, b, c = 1 + _Z**2 / n, -(2 * share + _Z**2 / n), share**2
    root = sqrt(max(b * b - 4 * a * c, 0))
    return (-b - root) / (2 * a), (-b + root) / (2 * a)


def newcombe_of(one: Runs, other: Runs) -> tuple[float, float]:
    """Of the share of one less that of the other, which have the same problems with as many runs of each."""
    a, b = (fmean(run for own in side for run in own) for side in (one, other))
    (a_low, a_high), (b_low, b_high) = wilson_of(one), wilson_of(other)
    mean = sum(map(len, one)) / len(one)
    apart = [[(sum(own) - share * len(own)) / mean for own in side] for side, share in ((one, a), (other, b))]
    covariance = sum(x * y for x, y in zip(*apart, strict=True))
    if covariance > 0:
        covariance = max(covariance - 1 / (2 * mean), 0)
    spread = sqrt(sum(x * x for x in apart[0]) * sum(y * y for y in apart[1]))
    phi = covariance / spread if spread > 1e-12 else 0
    low = sqrt(max((a - a_low) ** 2 - 2 * phi * (a - a_low) * (b_high - b) + (b_high - b) ** 2, 0))
    high = sqrt(max((a_high - a) ** 2 - 2 * phi * (a_high - a) * (b - b_low) + (b - b_low) ** 2, 0))
    return a - b - low, a - b + high
