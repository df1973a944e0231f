"""What differs between two inferences, two spans, or two experiments: one table of features, with counts on both sides,
the largest difference first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kthink_core.errors import BadValue, NotComparable
from kthink_core.evidence import permutation
from kthink_core.evidence.bootstrap import intervals
from kthink_core.evidence.caveats import ALPHA, FEW, differing
from kthink_core.evidence.clustered_shares import difference_intervals
from kthink_core.evidence.compared_units import OneSide, Units, counts_of, sides_of, units_of
from kthink_core.evidence.divides import sides
from kthink_core.evidence.passages import Passage, passage
from kthink_core.evidence.strata import by_length
from kthink_core.identity import maker, same_features
from kthink_core.queries.checks import check_choice, check_hookpoint, check_top, in_scope
from kthink_core.queries.fragments import AMONG_FEATURES
from kthink_core.store.reader import Reader
from kthink_core.store.scopes import SCOPES, Scope

COLUMNS = (
    "feature", "positions_a", "of_a", "positions_b", "of_b", "rate_a", "rate_b", "difference", "low", "high", "p", "q",
    "mean_a", "mean_b", "n_a", "n_b", "inference_a", "position_a", "inference_b", "position_b",
)  # fmt: skip
_WHOLE = ("inference_a", "position_a", "inference_b", "position_b")
Span = tuple[int, int]


class Asked(NamedTuple):
    """Which sides are compared, as `differences` takes them; nothing: two experiments."""

    inference: int | None = None
    against: int | None = None
    span: Span | None = None
    opposite: Span | None = None


def differences(
    reader: Reader,
    hookpoint: str,
    scope: Scope = "generated",
    inference: int | None = None,
    against: int | None = None,
    span: Span | None = None,
    opposite: Span | None = None,
    other: Reader | None = None,
    top: int = 100,
) -> pd.DataFrame:
    """Features that differ between two sides, a and b: `inference` and `against`, the latter of `other` if that is
    given; the stretches `span` of the one and `opposite` of the other, or of the same; without an inference, the whole
    experiment and `other`. Of spans all positions count, else those in scope.

    One row a feature that fires on either side: feature, positions_a, of_a, positions_b, of_b, rate_a, rate_b,
    difference, low, high, p, q, mean_a, mean_b, n_a, n_b, inference_a, position_a, inference_b, position_b; by the size
    of the difference, then the larger mean, then the smaller feature.

    positions: at how many `of` the side's positions it is active, rate: their share; difference: rate_a − rate_b. mean:
    of its activation over these positions; inference and position: where that is largest, the first of equal ones; all
    three null where it never fires. n: how many independent cases the side is taken to have.

    Of two traces or spans these are sentences (of texts beyond 100, as many neighbouring ones together as make no more
    units than that). low, high: 95 % interval of the difference, of so many positions as would vary as much if each
    were of a sentence of its own (`difference_intervals`). p: the share of ways to deal the sentences out anew, among
    those of about one length, that show as large a difference (`permutation`); q: over all features (`discoveries`).
    All four speak of sentences such as these: one trace a side tells nothing of other inferences, and neighbouring
    sentences may resemble each other, which makes q too small. Of two experiments n are inferences, and low, high, p, q
    as `contrast` of experiments has them. Null where a side has fewer than five sentences (or two problems), and p and
    q where nothing on one side is like anything on the other.

    Raises UnknownName, OutOfRange; NotComparable where the SAEs are not the same; BadValue where the sides are one,
    have positions in common, or have none.
    """
    check_top(top)
    check_hookpoint(reader, hookpoint)
    check_choice("scope", scope, SCOPES)
    if other is not None:
        _check_same_saes(reader, other, hookpoint)
    if inference is None:
        if other is None or not (against is span is opposite is None):
            raise BadValue("name an inference and another one, or the spans of both, or another experiment alone")
        return _experiments(reader, hookpoint, scope, other, top)
    there = inference if against is None else against
    _check_apart(inference, there, span, opposite, elsewhere=other is not None)
    one = passage(reader, hookpoint, inference, scope, span, 0)
    two = passage(other or reader, hookpoint, there, scope, opposite, 1)
    return _traces(one, two, top)


def remarks(reader: Reader, table: pd.DataFrame, given: Mapping[str, Any]) -> list[str]:
    """What to know before believing the answer, a line each; `given` are the options it was asked with."""
    other, traces = given.get("other"), given.get("inference") is not None
    told = []
    if other is not None:
        apart = differing(reader.experiment, other.experiment)
        here, there = (maker(each.experiment, given["hookpoint"]) for each in (reader, other))
        if here and there and here.model != there.model:
            apart = ", ".join(filter(None, [f"model: {here.model} and {there.model}", apart]))
        told += [f"The two experiments differ in {apart}."] if apart else []
    if table.empty:
        return [*told, "No feature fires on either side."]
    n = min(int(table["n_a"].iloc[0]), int(table["n_b"].iloc[0]))
    if traces:
        told.append(
            "One trace a side: intervals, p and q are of its sentences and tell nothing of other inferences; where "
            "neighbouring sentences resemble each other, q is too small."
        )
    if n < FEW:
        what = ("sentence" if traces else "inference") + ("" if n == 1 else "s")
        none = "there are no intervals and nothing is tested" if traces else "others may be otherwise"
        told.append(f"A side has {n} {what} only: so few that {none}.")
        if traces:
            return told
    if table["q"].isna().to_numpy().all():
        told.append("Nothing on one side is like anything on the other: no difference is tested.")
    elif not (table["q"].to_numpy(float) < ALPHA).any():
        told.append(f"None of these has q < {ALPHA}: shuffled sides differ as much.")
    return told


def _check_same_saes(reader: Reader, other: Reader, hookpoint: str) -> None:
    here, there = reader.experiment, other.experiment
    check_hookpoint(other, hookpoint)
    if here.name == there.name:
        raise BadValue(f"experiment '{here.name}' cannot be compared with itself: name another one")
    if not same_features(here, there, hookpoint):
        one, two = maker(here, hookpoint), maker(there, hookpoint)
        raise NotComparable(here.name, there.name, {"SAE": (one and one.sae, two and two.sae)})


def _check_apart(inference: int, there: int, span: Span | None, opposite: Span | None, *, elsewhere: bool) -> None:
    if (span is None) != (opposite is None):
        raise BadValue("two spans are compared, or none: name both, span and opposite")
    for each in (span, opposite):
        if each is not None and each[1] < each[0]:
            raise BadValue(f"the span from {each[0]} to {each[1]} ends before it begins")
    if elsewhere or inference != there:
        return
    if span is None or opposite is None:
        raise BadValue(f"inference {inference} cannot be compared with itself: name another one, or two spans of it")
    if span[0] <= opposite[1] and opposite[0] <= span[1]:
        raise BadValue(
            f"the spans from {span[0]} to {span[1]} and from {opposite[0]} to {opposite[1]} have positions in common"
        )


def _traces(one: Passage, two: Passage, top: int) -> pd.DataFrame:
    both = one.side, two.side
    features = np.unique(np.concatenate([side.cells.feature for side in both]))
    sums = [
        np.bincount(np.searchsorted(features, side.cells.feature), side.cells.activation_sum, len(features))
        for side in both
    ]
    positions = np.concatenate([side.positions for side in both])
    units = np.arange(len(positions))
    counts = counts_of(features, both, [side.cells for side in both])
    strata = by_length(np.zeros_like(units), positions)
    on_a = units < len(one.side.positions)
    compared = Units(features, counts, np.stack(sums).astype(float), positions, on_a, units, units, strata, counts,
                     positions)  # fmt: skip
    table, chosen = _largest(compared, top)
    if min(len(one.side.positions), len(two.side.positions)) >= FEW:
        table["low"], table["high"] = difference_intervals(counts, positions, on_a, chosen)
    else:
        table = table.assign(low=np.nan, high=np.nan, p=np.nan, q=np.nan)
    for letter, side in (("a", one), ("b", two)):
        places = side.peaks["position"].reindex(table["feature"]).array
        table[f"position_{letter}"] = places
        table[f"inference_{letter}"] = pd.Series(places).notna().map({True: side.inference, False: None}).array
    return _shaped(table)


def _experiments(reader: Reader, hookpoint: str, scope: Scope, other: Reader, top: int) -> pd.DataFrame:
    one, two = sides(reader, hookpoint, "experiments", scope, None, other)
    for side, of in ((one, reader), (two, other)):
        if not len(side.inferences):
            raise BadValue(f"nothing to compare: experiment '{of.experiment.name}' has no position in scope {scope}")
    compared = units_of(reader, hookpoint, "experiments", one, two, other)
    table, chosen = _largest(compared, top)
    counts = compared.counts[:, chosen]
    table["low"], table["high"] = intervals(counts, compared.positions, compared.on_a, compared.problems)
    for letter, of in (("a", reader), ("b", other)):
        places = _strongest(of, hookpoint, scope, table["feature"].tolist()).reindex(table["feature"])
        for name in ("inference", "position"):
            table[f"{name}_{letter}"] = places[name].array
    return _shaped(table)


def _largest(units: Units, top: int) -> tuple[pd.DataFrame, NDArray[np.int64]]:
    """The first rows, without intervals and places; and which of the units' features these are."""
    one, two = sides_of(units)
    tested = permutation.test(units.tested, units.tested_positions, units.on_a, units.strata)
    known = tested.used.any()
    table = pd.DataFrame(
        {
            "feature": units.features,
            **_counted(one, "a"),
            **_counted(two, "b"),
            "difference": one.rate - two.rate,
            "p": tested.p if known else np.nan,
            "q": tested.q if known else np.nan,
            "n_a": int(units.on_a.sum()),
            "n_b": int((~units.on_a).sum()),
        }
    )
    size, mean = table["difference"].abs().round(12), table[["mean_a", "mean_b"]].max(axis=1)
    order = table.assign(size=size, mean=mean).sort_values(["size", "mean", "feature"], ascending=[False, False, True])
    chosen = order.index.to_numpy()[:top]
    return table.loc[chosen, :].reset_index(drop=True), chosen


def _counted(side: OneSide, letter: str) -> dict[str, Any]:
    return {
        f"positions_{letter}": side.active.round().astype(np.int64),
        f"of_{letter}": side.of,
        f"rate_{letter}": side.rate,
        f"mean_{letter}": np.where(side.active > 0, side.mean, np.nan),
    }


def _strongest(reader: Reader, hookpoint: str, scope: Scope, features: list[int]) -> pd.DataFrame:
    """By feature: inference and position of its largest activation, the first of equal ones."""
    found = reader.query(
        f"""
        SELECT feature, inference, peak_position AS position FROM feature_inferences
        WHERE hookpoint = $hookpoint AND {AMONG_FEATURES} AND {in_scope(scope)}
        QUALIFY row_number() OVER (
            PARTITION BY feature ORDER BY max_activation DESC, inference, peak_position
        ) = 1
        """,
        {"hookpoint": hookpoint, "features": features},
    )
    return found.set_index("feature")


def _shaped(table: pd.DataFrame) -> pd.DataFrame:
    return table.loc[:, list(COLUMNS)].astype(dict.fromkeys(_WHOLE, "Int64"))
