"""Features that say the same: families of those that fire at the same positions, or whose decoder rows agree."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from kthink_core.errors import BadValue
from kthink_core.queries.checks import check_choice, check_hookpoint, check_top, in_scope
from kthink_core.queries.fragments import AMONG_FEATURES
from kthink_core.store.reader import Reader
from kthink_core.store.scopes import SCOPES, Scope

OVERLAP = 0.5
COSINE = 0.7
"""From where on two features are taken for the same."""
SUPPORT = 5
"""Positions that two must share: of thousands of rare features, some meet once or twice by chance."""
LOOKED_AT = 1000
"""Features that are grouped: those that are relevant in most inferences."""

_COLUMNS = ("family", "feature", "members", "inferences", "positions", "shared", "overlap", "cosine")


def families(
    reader: Reader,
    hookpoint: str,
    scope: Scope = "generated",
    overlap: float = OVERLAP,
    cosine: float = COSINE,
    top: int = LOOKED_AT,
) -> pd.DataFrame:
    """The `top` features that are relevant in most inferences, grouped: one row a feature, families one after another:
    family, feature, members, inferences, positions, shared, overlap, cosine.

    family: its first feature, the one that is relevant in most inferences; each of the others is like that one itself,
    so that no chain of small likenesses makes a family. Two are alike where they share at least `SUPPORT` positions in
    scope and overlap (Jaccard 1912: positions at which both fire / positions at which either does) reaches `overlap`,
    or where the cosine of their decoder rows reaches `cosine`. members: how many features the family has. inferences:
    in which the feature is relevant; positions: at which it fires; shared, overlap, cosine: with the family's first;
    cosine is null where neither is among the stored nearest rows of the other. Those that are like none are families of
    one. Ordered by the family's first (relevant inferences, then maximum activation, then the smaller id), then by
    overlap, then by feature.

    Raises UnknownName, BadValue.
    """
    check_hookpoint(reader, hookpoint)
    check_choice("scope", scope, SCOPES)
    check_top(top)
    for name, value in (("overlap", overlap), ("cosine", cosine)):
        if not 0 < value <= 1:
            raise BadValue(f"{name} is {value}; it must be above 0, and 1 at most")
    looked_at = _looked_at(reader, hookpoint, scope, top)
    features = looked_at["feature"].to_numpy(np.int64)
    if not len(features):
        return pd.DataFrame(columns=list(_COLUMNS))
    shared = _shared(reader, hookpoint, scope, features)
    cosines = _cosines(reader, hookpoint, features)
    return _grouped(looked_at, shared, cosines, overlap, cosine)


def _looked_at(reader: Reader, hookpoint: str, scope: Scope, top: int) -> pd.DataFrame:
    """Features, the most relevant first, with their numbers of positions and of inferences in which they are."""
    return reader.query(
        """
        SELECT feature, positions, relevant_inferences FROM feature_stats
        WHERE hookpoint = $hookpoint AND scope = $scope
        ORDER BY relevant_inferences DESC, max_activation DESC, feature LIMIT $top
        """,
        {"hookpoint": hookpoint, "scope": scope, "top": top},
    )


def _shared(reader: Reader, hookpoint: str, scope: Scope, features: NDArray[np.int64]) -> sparse.csr_matrix:
    """[features, features] at how many positions both fire."""
    sql = f"""
        SELECT feature, inference, position FROM latents
        WHERE hookpoint = $hookpoint AND {AMONG_FEATURES} AND {in_scope(scope)}
    """
    order = np.argsort(features)
    columns, rows = [], []
    with reader.stream(sql, {"hookpoint": hookpoint, "features": features.tolist()}) as batches:
        for batch in batches:
            fired = batch["feature"].to_numpy()
            columns.append(order[np.searchsorted(features, fired, sorter=order)].astype(np.int32))
            places = batch["inference"].to_numpy().astype(np.int64) << 32 | batch["position"].to_numpy()
            rows.append(places)
    places = np.unique(np.concatenate(rows), return_inverse=True)[1]
    column = np.concatenate(columns)
    fires = sparse.csr_matrix((np.ones(len(column), np.int32), (places, column)), (places.max() + 1, len(features)))
    return (fires.T @ fires).tocsr()


def _cosines(reader: Reader, hookpoint: str, features: NDArray[np.int64]) -> dict[tuple[int, int], float]:
    """By the smaller and the larger feature of each stored pair of near decoder rows."""
    near = reader.query(
        f"""
        SELECT least(feature, neighbour) AS one, greatest(feature, neighbour) AS other, max(cosine) AS cosine
        FROM neighbours WHERE hookpoint = $hookpoint AND {AMONG_FEATURES}
            AND neighbour IN (SELECT unnest($features::INTEGER[]))
        GROUP BY one, other
        """,
        {"hookpoint": hookpoint, "features": features.tolist()},
    )
    return {(one, other): cosine for one, other, cosine in near.itertuples(index=False)}


def _grouped(
    looked_at: pd.DataFrame,
    shared: sparse.csr_matrix,
    cosines: dict[tuple[int, int], float],
    overlap: float,
    cosine: float,
) -> pd.DataFrame:
    """Each feature in turn, the most relevant first, takes those that are like it and in no family yet."""
    names = "feature", "positions", "relevant_inferences"
    features, positions, relevant = (looked_at[name].to_numpy(np.int64) for name in names)
    places = {int(feature): place for place, feature in enumerate(features)}
    near: dict[int, list[int]] = {}
    for (one, other), value in cosines.items():
        if value >= cosine:
            near.setdefault(one, []).append(places[other])
            near.setdefault(other, []).append(places[one])
    free = np.ones(len(features), bool)
    rows = []
    for place, first in enumerate(features.tolist()):
        if not free[place]:
            continue
        both = np.asarray(shared[[place]].todense()).ravel()
        overlaps = both / (positions[place] + positions - both)
        alike = (overlaps >= overlap) & (both >= SUPPORT)
        alike[near.get(first, [])] = True
        alike[place] = True
        members = np.flatnonzero(alike & free)
        members = sorted(members.tolist(), key=lambda at: (at != place, -overlaps[at], features[at]))
        free[members] = False
        for at in members:
            feature = int(features[at])
            known = 1.0 if at == place else cosines.get((min(first, feature), max(first, feature)))
            counts = int(relevant[at]), int(positions[at]), int(both[at])
            rows.append((first, feature, len(members), *counts, float(overlaps[at]), known))
    return pd.DataFrame(rows, columns=list(_COLUMNS)).astype({"cosine": "float64"})
