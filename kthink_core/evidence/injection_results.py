"""What was found by token injection, as tables."""

from __future__ import annotations

import pandas as pd

from kthink_core.queries.checks import check_feature, check_hookpoint, check_top
from kthink_core.store.injections import Injection, read_injection, read_injections
from kthink_core.store.reader import Reader

COLUMNS = (
    "feature", "verdict", "d", "p", "strategy", "controls", "p_best", "n", "fires_in", "other", "other_d", "seed",
    "created",
)  # fmt: skip


def injection(reader: Reader, hookpoint: str, feature: int | None = None, top: int | None = None) -> pd.DataFrame:
    """The stored results of a hookpoint, or of one feature, by feature: `COLUMNS`.

    d and p are of the best strategy; controls: share of the features drawn at random that have the same verdict;
    p_best: the best of the measured strategies, by chance; n: texts; fires_in: share of the texts as they were in which
    the feature fires; other, other_d: the feature whose tokens were put in instead, and what that did. Raises
    UnknownName, OutOfRange, BadFile for a feature whose document does not count.
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
            "p_best": one.p_best,
            "n": one.n,
            "fires_in": one.fires_in,
            "other": one.other,
            "other_d": one.other_d,
            "seed": one.origin.seed,
            "created": one.origin.created,
        }
        for one in found
    ]
    numbers = dict.fromkeys(("d", "p", "controls", "p_best", "fires_in", "other_d"), "float64")
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(numbers | {"other": "Int64"})
