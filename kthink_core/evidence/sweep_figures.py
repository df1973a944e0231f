"""What a sweep says: every measure at every strength, and its difference to the baseline, with intervals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kthink_core.evidence.paired_means import ALL_SIGNS, Mean, mean, sign_flip_p
from kthink_core.evidence.paired_shares import difference_ends, share_ends
from kthink_core.evidence.pooled_receipts import Pooled, failure, pooled
from kthink_core.records import Receipt
from kthink_core.store.sweeps import Run, Sweep

Measure = Literal["accuracy", "tokens", "closed", "repetition"]
MEASURES: tuple[Measure, ...] = get_args(Measure)
SHARES: frozenset[Measure] = frozenset({"accuracy", "closed"})
"""Those that are true or false of a run."""

FEW_PROBLEMS = 20
"""Below it an interval by the bootstrap over problems is too narrow."""

COLUMNS = (
    "hookpoint", "feature", "action", "strength", "value", "measure", "runs", "problems", "mean", "low", "high",
    "baseline", "difference", "difference_low", "difference_high", "p", "q",
)  # fmt: skip
RUN_COLUMNS = (
    "hookpoint", "feature", "action", "strength", "problem", "sample", "seed", "tokens", "finish_reason", "closed",
    "repetition", "answer", "reference", "correct", "positions", "change", "before", "after", "text", "change_max",
    "checks",
)  # fmt: skip

_VALUE: dict[Measure, Callable[[Run], float | None]] = {
    "accuracy": lambda run: run.solved,
    "tokens": lambda run: run.tokens,
    "closed": lambda run: run.closed,
    "repetition": lambda run: run.repetition,
}


def values_of(sweep: Sweep, measure: Measure) -> NDArray[np.float64]:
    """[arms, problems, samples] of each run; NaN where it is not done, or the measure does not apply."""
    values = np.full((len(sweep.arms), len(sweep.questions), sweep.asked.samples), np.nan)
    for run in sweep.runs:
        found = _VALUE[measure](run)
        values[run.key] = np.nan if found is None else found
    return values


def figures(sweep: Sweep) -> pd.DataFrame:
    """A row for each arm and measure, the baseline's first, where its feature and strength are null: `COLUMNS`.

    accuracy: the share of right answers; a run that was cut off at the limit has none. mean: over `runs` of so many
    `problems`, with its 95 % interval; difference: to the baseline over the runs that both have, of the same problem at
    the same seed, with its interval and p (paired_means.py). Intervals of accuracy and closed, which are shares, are
    Wilson's, and Newcombe's of paired shares, a problem the unit (paired_shares.py); those of tokens and repetition are
    by the bootstrap over problems, too narrow where these are few (paired_means.py). q: p corrected for all the
    differences of the sweep (Benjamini and Hochberg 1995): of those called different at q ≤ 0.05, 5 % are expected to
    be none.
    """
    rows = []
    for measure in MEASURES:
        values = values_of(sweep, measure)
        means, compared = _means(measure, values), _compared(measure, values)
        for number, (arm, mean_of, given) in enumerate(zip(sweep.arms, means, ~np.isnan(values), strict=True)):
            row: dict[str, object] = {
                "hookpoint": arm.target and arm.target.hookpoint,
                "feature": arm.target and arm.target.feature,
                "action": arm.target and sweep.asked.action,
                "strength": arm.strength if arm.target else None,
                "value": arm.intervention and arm.intervention.value,
                "measure": measure,
                "runs": int(given.sum()),
                "problems": int(given.any(axis=1).sum()),
                "mean": mean_of.value,
                "low": mean_of.low,
                "high": mean_of.high,
            }
            rows.append(row | (compared[number] if number else {}))
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    table["q"] = benjamini_hochberg(table["p"].to_numpy(np.float64))
    numbers = dict.fromkeys(("strength", "value", *COLUMNS[8:]), "float64")
    return table.sort_values("measure", key=lambda names: names.map(MEASURES.index), kind="stable").astype(
        {"feature": "Int64"} | numbers
    )


def _means(measure: Measure, values: NDArray[np.float64]) -> list[Mean]:
    """Of each arm of [arms, problems, samples]."""
    sums, counts = np.nansum(values, axis=2), (~np.isnan(values)).sum(axis=2)
    means = [mean(*own) for own in zip(sums, counts, strict=True)]
    return _with_ends(means, share_ends(sums, counts)) if measure in SHARES else means


def _compared(measure: Measure, values: NDArray[np.float64]) -> list[dict[str, object]]:
    """Of each arm of [arms, problems, samples], the first against itself."""
    apart = values - values[0]
    both = ~np.isnan(apart)
    sums, counts = np.nansum(apart, axis=2), both.sum(axis=2)
    differences = [mean(*own) for own in zip(sums, counts, strict=True)]
    if measure in SHARES:
        here, there = (np.where(both, of, 0).sum(axis=2) for of in (values, values[0]))
        differences = _with_ends(differences, difference_ends(here, there, counts))
    return [
        {
            "baseline": float(values[0][own].mean()) if own.any() else np.nan,
            "difference": difference.value,
            "difference_low": difference.low,
            "difference_high": difference.high,
            "p": sign_flip_p(total[count > 0]),
        }
        for own, difference, total, count in zip(both, differences, sums, counts, strict=True)
    ]


def _with_ends(means: list[Mean], ends: tuple[NDArray[np.float64], NDArray[np.float64]]) -> list[Mean]:
    return [Mean(of.value, float(low), float(high)) for of, low, high in zip(means, *ends, strict=True)]


def ended_by_itself(sweep: Sweep) -> list[tuple[int, int]]:
    """Of each arm, how many of its runs ended by themselves, and how many there are: the others were cut off at the
    limit, whether they had closed their thought or not."""
    ended, runs = Counter[int](), Counter[int]()
    for run in sweep.runs:
        runs[run.arm] += 1
        ended[run.arm] += run.finish_reason == "stop"
    return [(ended[arm], runs[arm]) for arm in range(len(sweep.arms))]


def benjamini_hochberg(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """[tests] q of each; NaN, what was not tested, stays so and is not counted."""
    from scipy import stats  # half a second to import

    q = np.full(len(p), np.nan)
    known = ~np.isnan(p)
    if known.any():
        q[known] = stats.false_discovery_control(p[known])
    return q


def runs(sweep: Sweep) -> pd.DataFrame:
    """A row for each run, arm by arm: `RUN_COLUMNS`. positions: at how many generated ones steering acted; medians over
    these of change, ‖Δh‖ / ‖h‖ of the vector, and of the feature's activation before and after; change_max: the largest
    of change; checks: of one run of each batch, what was tried on it, the value found, the most that it may be. A run
    that was cut off at the limit (finish_reason `length`) has no answer and is not correct."""
    arms = sweep.arms
    rows = [
        {
            "hookpoint": arm.target and arm.target.hookpoint,
            "feature": arm.target and arm.target.feature,
            "action": arm.target and sweep.asked.action,
            "strength": arm.strength if arm.target else None,
            "reference": sweep.questions[run.problem].reference,
            "positions": run.receipt and run.receipt.positions,
            "change": run.receipt and run.receipt.change_median,
            "before": run.receipt and run.receipt.before_median,
            "after": run.receipt and run.receipt.after_median,
            "change_max": run.receipt and run.receipt.change_max,
            "checks": run.receipt and pooled([run.receipt]).text,
            **run.model_dump(exclude={"arm", "receipt", "answer", "correct"}),
            "answer": run.final,
            "correct": run.solved,
        }
        for run in sorted(sweep.runs, key=lambda run: run.key)
        for arm in [arms[run.arm]]
    ]
    whole, real = ("feature", "positions"), ("strength", "change", "before", "after", "change_max")
    types = dict.fromkeys(whole, "Int64") | dict.fromkeys(real, "float64")
    return pd.DataFrame(rows, columns=list(RUN_COLUMNS)).astype(types)


def steered(sweep: Sweep) -> list[Pooled]:
    """Of each arm, the baseline first, what the receipts of its runs come to."""
    receipts: list[list[Receipt]] = [[] for _ in sweep.arms]
    for run in sweep.runs:
        receipts[run.arm] += [run.receipt] if run.receipt else []
    return [pooled(own) for own in receipts]


def failures(sweep: Sweep) -> list[str]:
    """A sentence for each arm of which a check does not hold."""
    where = [f"{arm.target.name} {sweep.asked.action} {arm.strength:g}×" if arm.target else "" for arm in sweep.arms]
    return [told for of, arm in zip(steered(sweep), where, strict=True) if (told := failure(of, arm))]


def remarks(sweep: Sweep) -> list[str]:
    """What does not hold, and what there is too little of to believe the figures, a sentence each."""
    return [*failures(sweep), *shortages(sweep)]


def shortages(sweep: Sweep) -> list[str]:
    """What there is too little of to believe the figures, a sentence each."""
    told: list[str] = []
    if not sweep.complete:
        told.append(f"The sweep is not complete: {len(sweep.runs):,} of {sweep.of:,} runs are done.")
    problems = len(sweep.questions)
    if problems == 1:
        told.append("With one problem there are no intervals: whether another would do the same stays open.")
    elif problems < FEW_PROBLEMS:
        least = f", and no difference has a p below {2.0 ** (1 - problems):.2g}" if problems <= ALL_SIGNS else ""
        told.append(f"With {problems} problems the intervals of length and repetition are rough, too narrow{least}.")
    if all(question.reference is None for question in sweep.questions):
        told.append("The problems have no reference answers: accuracy is not known.")
    if sweep.asked.mode == "bypass":
        told.append("The prompts end the thought themselves: the share that closes it is not known.")
    return told
