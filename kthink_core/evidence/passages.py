"""A stretch of one trace as what is compared: its sentences are the units, since positions of one are no independent
cases."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kthink_core.errors import BadValue
from kthink_core.evidence.divides import Cells, Side
from kthink_core.queries.checks import check_inference, in_scope
from kthink_core.sentence_splitting import sentences
from kthink_core.store.reader import Reader
from kthink_core.store.scopes import Scope

MOST_UNITS = 100
"""Units of a side, at most: of a longer text several neighbouring sentences are one, so that time is bounded."""


class Passage(NamedTuple):
    """The positions of one trace that are a side: those in scope, or those of a span."""

    inference: int
    side: Side
    """Its `inferences` are the numbers of units, from 0."""
    peaks: pd.DataFrame
    """By feature: activation and position of the place where it is strongest, the first of equal ones."""


def passage(
    reader: Reader, hookpoint: str, inference: int, scope: Scope, span: tuple[int, int] | None, name: int
) -> Passage:
    """`span`: its first and last position, in the place of the scope; what lies beyond the trace is left out. `name`
    tells its units from the other side's. Raises OutOfRange; BadValue where there is no such position."""
    check_inference(reader, inference)
    if span is None:
        among, given = in_scope(scope), {}
    else:
        among, given = "position BETWEEN $first AND $last", {"first": span[0], "last": span[1]}
    texts = reader.query(
        f"SELECT position, text FROM tokens WHERE inference = $inference AND {among} ORDER BY position",
        {"inference": inference} | given,
    )
    if texts.empty:
        where = f"scope {scope}" if span is None else f"the span from {span[0]} to {span[1]}"
        raise BadValue(f"nothing to compare: inference {inference} has no position in {where}")
    fired = reader.query(
        f"""SELECT position, unnest(features) AS feature, unnest(activations) AS activation FROM token_latents
        WHERE inference = $inference AND hookpoint = $hookpoint AND {among} ORDER BY position, feature""",
        {"inference": inference, "hookpoint": hookpoint} | given,
    )
    begin = _units(texts)
    ends = np.append(begin[1:], texts["position"].iloc[-1] + 1)
    side = Side(
        np.arange(len(begin)), ends - begin, begin, [(unit, str(name)) for unit in range(len(begin))],
        _cells(fired, begin),
    )  # fmt: skip
    strongest = fired.sort_values(["feature", "activation", "position"], ascending=[True, False, True])
    return Passage(inference, side, strongest.groupby("feature").first())


def _units(texts: pd.DataFrame) -> NDArray[np.int64]:
    """Where each begins: positions, ascending. Positions of a scope follow each other."""
    found = sentences(texts["text"].tolist(), int(texts["position"].iloc[0]))
    together = -(-len(found) // MOST_UNITS)
    return np.array([sentence.first for sentence in found[::together]], np.int64)


def _cells(fired: pd.DataFrame, begin: NDArray[np.int64]) -> Cells:
    unit = np.searchsorted(begin, fired["position"].to_numpy(np.int64), side="right") - 1
    table = pd.DataFrame({"unit": unit, "feature": fired["feature"], "activation": fired["activation"].astype(float)})
    summed = table.groupby(["unit", "feature"], sort=True)["activation"].agg(["size", "sum"]).reset_index()
    unit, feature = (summed[name].to_numpy(np.int64) for name in ("unit", "feature"))
    return Cells(unit, feature, summed["size"].to_numpy(np.float64), summed["sum"].to_numpy(np.float64))
