"""Contrasts: in which features do two sides differ, by how much, how surely, and is it more than chance?"""

from __future__ import annotations

import numpy as np
import pandas as pd

from kthink_core.errors import BadValue, NotComparable
from kthink_core.evidence import permutation
from kthink_core.evidence.bootstrap import intervals
from kthink_core.evidence.compared_units import Units, sides_of, units_of
from kthink_core.evidence.divides import Between, Side, sides
from kthink_core.identity import check_comparable, settings_apart
from kthink_core.queries.checks import check_top
from kthink_core.store.reader import Reader
from kthink_core.store.scopes import Scope

_Z = 1.959963984540054
"""The 97.5 % point of the normal distribution."""
_POWER = 0.8416212335729143
"""The 80 % point of the normal distribution."""


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
    table = _table(units_of(reader, hookpoint, between, one, two, other))
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


def _table(units: Units) -> pd.DataFrame:
    counts, positions, on_a = units.counts, units.positions, units.on_a
    one, two = sides_of(units)
    low, high = intervals(counts, positions, on_a, units.problems)
    tested = permutation.test(units.tested, units.tested_positions, on_a, units.strata)
    return pd.DataFrame(
        {
            "feature": units.features,
            "rate_a": one.rate,
            "rate_b": two.rate,
            "mean_a": one.mean,
            "mean_b": two.mean,
            "difference": one.rate - two.rate,
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
