"""What was found by token injection, as tables, and what to know before believing it."""

from __future__ import annotations

import pandas as pd

from kthink_core.evidence.effect_size import interval
from kthink_core.queries.checks import check_feature, check_hookpoint, check_top
from kthink_core.store.injections import Injection, read_injection, read_injections
from kthink_core.store.reader import Reader

COLUMNS = (
    "feature", "verdict", "d", "p", "strategy", "controls", "compared", "p_best", "d_low", "d_high", "n", "fires_in",
    "fires_in_injected", "other", "other_d", "seed", "created",
)  # fmt: skip

FEW = 10
"""Positions of what the model wrote, below which a feature's tokens are hardly known."""
USUAL = 0.5
"""Share of the controls with one verdict, from which on it is the usual one."""
OFTEN = 1 / 3
"""Share of the texts as they are, from which on a feature fires in them often."""


def injection(reader: Reader, hookpoint: str, feature: int | None = None, top: int | None = None) -> pd.DataFrame:
    """The stored results of a hookpoint, or of one feature, by feature: `COLUMNS`.

    d and p are of the best strategy, d_low to d_high the 95 % interval of d; controls: share of the features drawn at
    random that have the same verdict, of `compared` many; p_best: the best of the measured strategies, by chance; n:
    texts; fires_in, fires_in_injected: share of the texts in which the feature fires, as they were and with its tokens
    in them; other, other_d: the feature whose tokens were put in instead, and what that did. Null where nothing was
    measured. Raises UnknownName, OutOfRange, BadFile for a feature whose document does not count.
    """
    check_hookpoint(reader, hookpoint)
    check_top(1 if top is None else top)
    if feature is None:
        found = read_injections(reader.layout, reader.experiment, hookpoint).found
    else:
        check_feature(reader, hookpoint, feature)
        one = read_injection(reader.layout, reader.experiment, hookpoint, feature)
        found = [] if one is None else [one]
    return table(found[:top])


def left_out(reader: Reader, hookpoint: str) -> list[str]:
    """A line for each stored result of a hookpoint that does not count, with the reason."""
    return read_injections(reader.layout, reader.experiment, hookpoint).problems


def table(found: list[Injection]) -> pd.DataFrame:
    """Results as a table of `COLUMNS`, in the order given."""
    rows = [
        {
            "feature": one.feature,
            "verdict": one.verdict,
            "d": one.d,
            "p": one.p,
            "strategy": one.strategy,
            "controls": one.same_verdict,
            "compared": len(one.compared) or None,
            "p_best": one.p_best,
            "d_low": low,
            "d_high": high,
            "n": one.n,
            "fires_in": one.fires_in,
            "fires_in_injected": one.fires_in_injected,
            "other": one.other,
            "other_d": one.other_d,
            "seed": one.origin.seed,
            "created": one.origin.created,
        }
        for one in found
        for low, high in [d_interval(one) or (None, None)]
    ]
    measures = ("d", "p", "controls", "p_best", "d_low", "d_high", "fires_in", "fires_in_injected", "other_d")
    types = dict.fromkeys(measures, "float64") | dict.fromkeys(("compared", "other"), "Int64")
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(types)


def d_interval(found: Injection) -> tuple[float, float] | None:
    """95 % interval of a result's d; None where nothing was measured, or without any spread."""
    return interval(found.d, found.n) if found.d is not None and found.n else None


def doubts(found: Injection) -> list[str]:
    """What to know before believing a verdict, a sentence each; none where nothing was measured."""
    if found.strategy is None:
        return []
    reasons, told = [], []
    same, others = found.same_verdict, len(found.compared)
    if same is not None and same >= USUAL:
        reasons.append(f"{round(same * others)} of {others} features drawn at random have the same")
    if found.reasoning_positions < FEW:
        reasons.append(f"it fires at only {found.reasoning_positions} positions of what the model wrote")
    if reasons:
        told.append(f"The verdict says little about this feature: {', and '.join(reasons)}.")
    if found.fires_in >= OFTEN:
        told.append(
            f"It fires in {100 * found.fires_in:.0f} % of the texts without reasoning as they are: whatever the "
            "verdict, it does not belong to reasoning alone."
        )
    return told
