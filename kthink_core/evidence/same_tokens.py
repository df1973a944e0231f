"""One text in two experiments: the very same tokens, passed through two models, captured at two sites, or encoded by
two sets of SAEs. What of it differs, position by position?"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array

from kthink_core.errors import NotComparable
from kthink_core.identity import same_features
from kthink_core.queries.checks import check_hookpoint, check_inference, check_top, in_scope
from kthink_core.queries.inference import transcript
from kthink_core.store.reader import Reader
from kthink_core.store.scopes import Scope

TOKENS = (
    "position", "token_id", "text", "segment", "logprob", "logprob_other", "difference", "active", "active_other",
    "shared",
)  # fmt: skip
FEATURES = (
    "feature", "feature_other", "positions", "positions_other", "both", "apart", "max_activation",
    "max_activation_other",
)  # fmt: skip
_ROWS = 256
"""Features compared with all of the other side at once."""


def token_differences(reader: Reader, other: Reader, inference: int, hookpoint: str) -> pd.DataFrame:
    """The tokens of an inference that is the same text in both experiments: position, token_id, text, segment, logprob,
    logprob_other, difference, active, active_other, shared.

    logprob: of the token, under this experiment's model, and under the other's; null in the prompt. difference:
    logprob − logprob_other, in nats. active, active_other: how many features fire there at the hookpoint; shared: how
    many are in both (null where the SAEs differ, so that a number means another feature).

    Raises OutOfRange, UnknownName; NotComparable where tokens differ.
    """
    tokens = _same(reader, other, inference)
    same = _check(reader, other, hookpoint)
    cells = [_cells(each, inference, hookpoint, "all") for each in (reader, other)]
    counts = [np.bincount(table["position"], minlength=len(tokens)) for table in cells]
    shared = np.full(len(tokens), np.nan)
    if same:
        both = cells[0].merge(cells[1], on=["feature", "position"])
        shared = np.bincount(both["position"], minlength=len(tokens)).astype(np.float64)
    found = tokens.assign(active=counts[0], active_other=counts[1], shared=shared)
    return found.filter(items=list(TOKENS)).astype({"shared": "Int64"})


def feature_differences(
    reader: Reader, other: Reader, inference: int, hookpoint: str, scope: Scope = "generated", top: int = 100
) -> pd.DataFrame:
    """Features of an inference that is the same text in both experiments, by at how many positions they differ:
    feature, feature_other, positions, positions_other, both, apart, max_activation, max_activation_other.

    positions: of the scope at which it fires here, positions_other: there, both: in both; apart: in one of them only.
    Where both have the same SAE, feature_other is the feature itself, and features that fire on either side are listed.
    Else it is that feature of the other SAE which fires at the most nearly same positions, by both / (positions +
    positions_other − both), null where none fires with it, and the features of this experiment are listed: one text
    alone says so, which may be chance. By apart, then the larger maximum, then the smaller feature.

    Raises OutOfRange, UnknownName, BadValue; NotComparable where tokens differ.
    """
    check_top(top)
    _same(reader, other, inference)
    same = _check(reader, other, hookpoint)
    here, there = (_cells(each, inference, hookpoint, scope) for each in (reader, other))
    own, others = _summed(here), _summed(there).add_suffix("_other")
    if same:
        found = own.join(others, how="outer").fillna(0)
        both = here.merge(there, on=["feature", "position"]).groupby("feature").size()
        found = found.assign(feature_other=found.index, both=both.reindex(found.index, fill_value=0))
    else:
        found = _closest(here, there, own).join(others, on="feature_other")
        found = found.fillna({"positions_other": 0, "max_activation_other": 0})
    found = found.assign(apart=found["positions"] + found["positions_other"] - 2 * found["both"])
    found = found.assign(size=found[["max_activation", "max_activation_other"]].max(axis=1)).reset_index()
    found = found.sort_values(["apart", "size", "feature"], ascending=[False, False, True], ignore_index=True)
    whole = ("feature", "feature_other", "positions", "positions_other", "both", "apart")
    return found.head(top).filter(items=list(FEATURES)).astype(dict.fromkeys(whole, "Int64"))


def is_same_text(reader: Reader, other: Reader, inference: int) -> bool:
    """Whether an inference has the very same tokens in both; False where one does not have it."""
    if not {inference} <= {*reader.inference_ids} & {*other.inference_ids}:
        return False
    sql = "SELECT position, token_id FROM tokens WHERE inference = $inference ORDER BY position"
    here, there = (each.query(sql, {"inference": inference}) for each in (reader, other))
    return here.equals(there)


def _same(reader: Reader, other: Reader, inference: int) -> pd.DataFrame:
    """The tokens with both log-probabilities."""
    check_inference(reader, inference)
    check_inference(other, inference)
    if not is_same_text(reader, other, inference):
        names = reader.experiment.name, other.experiment.name
        what = f"tokens of inference {inference}"
        raise NotComparable(*names, {what: ("its own", "others; precompute --traces experiment:E reads the same")})
    here, there = (transcript(each, inference) for each in (reader, other))
    logprob = there["logprob"]
    return here.assign(logprob_other=logprob, difference=here["logprob"] - logprob)


def _check(reader: Reader, other: Reader, hookpoint: str) -> bool:
    """Whether a feature's number means the same in both."""
    check_hookpoint(reader, hookpoint)
    check_hookpoint(other, hookpoint)
    return same_features(reader.experiment, other.experiment, hookpoint)


def _cells(reader: Reader, inference: int, hookpoint: str, scope: Scope) -> pd.DataFrame:
    """feature, position, activation: where features fire."""
    sql = f"""
        SELECT unnest(features) AS feature, position, unnest(activations) AS activation FROM token_latents
        WHERE inference = $inference AND hookpoint = $hookpoint AND {in_scope(scope)}
    """
    return reader.query(sql, {"inference": inference, "hookpoint": hookpoint})


def _summed(cells: pd.DataFrame) -> pd.DataFrame:
    """By feature: positions, max_activation."""
    groups = cells.groupby("feature")["activation"]
    return pd.DataFrame({"positions": groups.size(), "max_activation": groups.max()})


def _closest(here: pd.DataFrame, there: pd.DataFrame, counted: pd.DataFrame) -> pd.DataFrame:
    """The counted features with `feature_other` and `both`."""
    rows, columns = counted.index.to_numpy(), np.unique(there["feature"].to_numpy())
    if not len(columns) or not len(rows):
        return counted.assign(feature_other=np.nan, both=0)
    size = int(max(side["position"].to_numpy().max() for side in (here, there))) + 1
    own, others = counted["positions"].to_numpy(), there.groupby("feature").size().to_numpy()
    fired, fired_there = _matrix(here, rows, size), _matrix(there, columns, size)
    best, both = np.zeros(len(rows), np.int64), np.zeros(len(rows))
    for first in range(0, len(rows), _ROWS):
        part = slice(first, first + _ROWS)
        together = (fired[part] @ fired_there.T).toarray()
        overlap = together / (own[part, None] + others[None] - together)
        best[part] = overlap.argmax(axis=1)  # the first of equal ones: the smaller feature
        both[part] = together[np.arange(len(together)), best[part]]
    return counted.assign(feature_other=np.where(both > 0, columns[best], np.nan), both=both)


def _matrix(cells: pd.DataFrame, features: NDArray[np.int64], size: int) -> csr_array:
    """[features, positions] 1 where a feature fires."""
    rows = np.searchsorted(features, cells["feature"].to_numpy())
    return coo_array((np.ones(len(rows)), (rows, cells["position"].to_numpy())), (len(features), size)).tocsr()
