"""Which inferences of two experiments are of one problem."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

_PROBLEM = ["problem", "question"]


def paired(here: pd.DataFrame, there: pd.DataFrame, facts: Sequence[str]) -> pd.DataFrame:
    """One row a pair: problem, question, and of both (the other's with `_other`) inference and `facts`.

    Of a problem that was run several times, the first inference here goes with the first there, and so on: each is in
    one pair at most. `here`, `there`: answers of `queries.inferences`.
    """
    sides = [
        one[[*_PROBLEM, "inference", *facts]].assign(sample=one.groupby(_PROBLEM).cumcount()) for one in (here, there)
    ]
    pairs = sides[0].merge(sides[1], on=[*_PROBLEM, "sample"], suffixes=("", "_other"))
    return pairs.drop(columns="sample")
