"""Does steering a feature change how many problems are solved? Each arm of a sweep against its baseline.

After ReasonScore (Galichin et al. 2025, arXiv 2503.18878, its table of steered features), with the tests that it leaves
out: problems are paired, and the p of every arm is corrected for all of them.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kthink_core.evidence.mcnemar import exact_p, holm
from kthink_core.evidence.paired_means import mean
from kthink_core.evidence.paired_shares import difference_ends
from kthink_core.evidence.sweep_figures import steered, values_of
from kthink_core.store.sweeps import Sweep

COLUMNS = (
    "hookpoint", "feature", "action", "strength", "value", "n", "accuracy_baseline", "accuracy", "difference",
    "difference_low", "difference_high", "b", "c", "p", "p_holm", "length_baseline", "length", "length_difference",
    "length_low", "length_high", "change", "change_max", "checks", "checks_failed",
)  # fmt: skip
DISCORDANT = 6
"""Pairs that turn out differently, below which no exact p is under 0.05."""


def steer_table(sweep: Sweep) -> pd.DataFrame:
    """A row for each arm but the baseline: `COLUMNS`.

    n: problems that baseline and arm have both tried, with a reference. A problem counts as solved where more than half
    of the samples that both have are right: with one sample, where that is; what was cut off has no answer. b: solved
    by the baseline alone; c: by the arm alone; p: McNemar's, exact; p_holm: corrected for all rows. difference: of
    accuracies, low to high the 95 % interval of a difference of paired shares (Newcombe 1998, paired_shares.py);
    length: mean generated tokens of the runs that both have, its interval by the bootstrap over problems. change,
    change_max: median over the runs of each run's median of ‖Δh‖ / ‖h‖, and the largest; checks: text, what was tried
    on a run of each batch (receipts.py), the worst value found, the most that it may be; checks_failed: runs on which
    one does not hold, which are not what was asked for.
    """
    right, lengths = values_of(sweep, "accuracy"), values_of(sweep, "tokens")
    rows, receipts = [], steered(sweep)
    for number, arm in enumerate(sweep.arms):
        if arm.target is None or arm.intervention is None:
            continue
        both = ~np.isnan(right[0]) & ~np.isnan(right[number])
        there = both.any(axis=1)
        before, after = (_solved(values[there], both[there]) for values in (right[0], right[number]))
        n = int(there.sum())
        b, c = int((before & ~after).sum()), int((after & ~before).sum())
        now, once = (side[None].astype(np.float64) for side in (after, before))
        low, high = difference_ends(now, once, np.ones((1, n), np.int64))
        ran = ~np.isnan(lengths[0]) & ~np.isnan(lengths[number])
        longer = mean(np.where(ran, lengths[number] - lengths[0], 0).sum(axis=1), ran.sum(axis=1))
        rows.append(
            {
                "hookpoint": arm.target.hookpoint,
                "feature": arm.target.feature,
                "action": sweep.asked.action,
                "strength": arm.strength,
                "value": arm.intervention.value,
                "n": n,
                "accuracy_baseline": before.mean() if n else np.nan,
                "accuracy": after.mean() if n else np.nan,
                "difference": (c - b) / n if n else np.nan,
                "difference_low": float(low[0]),
                "difference_high": float(high[0]),
                "b": b,
                "c": c,
                "p": exact_p(b, c) if n else np.nan,
                "length_baseline": lengths[0][ran].mean() if ran.any() else np.nan,
                "length": lengths[number][ran].mean() if ran.any() else np.nan,
                "length_difference": longer.value,
                "length_low": longer.low,
                "length_high": longer.high,
                "change": receipts[number].change,
                "change_max": receipts[number].change_max,
                "checks": receipts[number].text,
                "checks_failed": receipts[number].failed,
            }
        )
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    table = table.astype({"change": "float64", "change_max": "float64"})
    return table.assign(p_holm=holm(table["p"].to_numpy(np.float64)))


def _solved(right: NDArray[np.float64], both: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """[problems] more than half; right: [problems, samples]."""
    return np.where(both, right, 0).sum(axis=1) * 2 > both.sum(axis=1)


def too_few(table: pd.DataFrame) -> list[str]:
    """What there is too little of in a table, a sentence each."""
    few = table[(table["n"] > 0) & (table["b"] + table["c"] < DISCORDANT)]
    if few.empty:
        return []
    return [
        f"In {len(few)} of {len(table)} rows fewer than {DISCORDANT} problems turn out differently: no p can be below "
        "0.05 there, whatever the feature does."
    ]
