"""How much more a feature fires once its tokens are in a text: Cohen's d, and what chance would give.

Cohen's d (Cohen 1988) and the verdicts' thresholds are those of arXiv 2601.05679; the control for having taken the best
of several strategies is added here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kthink_core.store.injections import Verdict

VERDICTS: tuple[Verdict, ...] = (
    "token-driven", "partly token-driven", "weakly token-driven", "context-dependent", "silent", "untested",
)  # fmt: skip
"""The first four are a test's results, the most by its words first; `silent` and `untested` say why there was none."""

MOST_D = 99.0
"""What stands for an effect without bound: other means, and no spread on either side."""
PERMUTATIONS = 999
_Z = 1.959963984540054


class Effect(NamedTuple):
    """What putting tokens in did to a feature's maximum over a text."""

    d: float
    p: float


def effect(injected: NDArray[np.float64], baseline: NDArray[np.float64]) -> Effect:
    """Cohen's d = (mean injected − mean baseline) / sqrt((variance injected + variance baseline) / 2), variances with
    n − 1, and p of Student's two-sample t-test, two-sided.

    injected, baseline: [texts] largest activation of each text, two or more. Without any spread d is 0 where the means
    are equal, ± `MOST_D` where not, and never beyond that.
    """
    from scipy import stats  # half a second to import, which nothing but a test need wait for

    mean = float(injected.mean()), float(baseline.mean())
    spread = float(injected.std(ddof=1)), float(baseline.std(ddof=1))
    pooled = ((spread[0] ** 2 + spread[1] ** 2) / 2) ** 0.5
    if pooled == 0:
        apart = mean[0] != mean[1]
        return Effect(float(np.sign(mean[0] - mean[1])) * MOST_D, 0.0 if apart else 1.0)
    d = (mean[0] - mean[1]) / pooled
    test = stats.ttest_ind_from_stats(mean[0], spread[0], len(injected), mean[1], spread[1], len(baseline))
    return Effect(float(np.clip(d, -MOST_D, MOST_D)), float(test.pvalue))


def interval(d: float, n: int) -> tuple[float, float] | None:
    """95 % interval of Cohen's d of two groups of `n` each: d ± 1.96 s with s² = 2/n + d²/(4n) (Hedges and Olkin 1985).

    None where d stands for a difference without any spread. It takes the groups as independent, and does not know that
    d may be the better one of two.
    """
    if abs(d) >= MOST_D:
        return None
    half = _Z * (2 / n + d**2 / (4 * n)) ** 0.5
    return d - half, d + half


def chance_of_best(injected: Sequence[NDArray[np.float64]], baseline: NDArray[np.float64], seed: int) -> float:
    """How often chance gives a d as large as the largest of several strategies: injected and baseline change places in
    half of the texts, drawn `PERMUTATIONS` times and for all strategies alike, and the largest d is taken each time.

    injected: a strategy's [texts] each; baseline: [texts]. One-sided: (1 + times) / (1 + permutations).
    """
    n = len(baseline)
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], (PERMUTATIONS, n))
    best = np.full(PERMUTATIONS, -np.inf)
    for values in injected:
        best = np.maximum(best, _d_of_swaps(values, baseline, signs))
    observed = max(_d_of_swaps(values, baseline, np.ones((1, n)))[0] for values in injected)
    return (1 + int((best >= observed - 1e-12).sum())) / (1 + PERMUTATIONS)


def _d_of_swaps(injected: NDArray, baseline: NDArray, signs: NDArray) -> NDArray[np.float64]:
    """[permutations] d where the two have changed places wherever the sign is −1. signs: [permutations, texts]."""
    n = len(baseline)
    difference = signs @ (injected - baseline) / n
    total = float((injected + baseline).mean())
    squares = float((injected**2 + baseline**2).sum())
    # The two means are (total ± difference) / 2; all that stays the same whatever changes places is summed once.
    pooled = (squares - n * (total**2 + difference**2) / 2) / (n - 1) / 2
    flat = pooled <= 1e-12 * max(squares, 1e-300)
    return np.where(flat, np.sign(difference) * MOST_D, difference / np.sqrt(np.where(flat, 1.0, pooled)))


def verdict(d: float, p: float) -> Verdict:
    """What an effect says: d ≥ 0.8 and p < 0.01 token-driven, d ≥ 0.5 and p < 0.01 partly, d ≥ 0.2 and p < 0.05 weakly,
    else context-dependent. `p` is the larger of the t-test's and of `chance_of_best`."""
    if d >= 0.8 and p < 0.01:
        return "token-driven"
    if d >= 0.5 and p < 0.01:
        return "partly token-driven"
    if d >= 0.2 and p < 0.05:
        return "weakly token-driven"
    return "context-dependent"
