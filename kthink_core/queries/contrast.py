"""A feature on either side of a divide, and beside other features."""

from __future__ import annotations

import numpy as np
import pandas as pd

from kthink_core.queries.checks import check_feature, check_top, in_scope
from kthink_core.queries.fragments import activations_of_feature, positions_in
from kthink_core.store.reader import Reader
from kthink_core.store.scopes import Scope
from kthink_core.store.verdicts import VERDICT


def feature_contrast(reader: Reader, hookpoint: str, feature: int) -> pd.DataFrame:
    """A feature in thoughts and answers, in right and wrong inferences; one row each: side ("think", "answer",
    "right", "wrong"), inferences, positions, active, share, mean_activation, max_activation.

    positions: all that the side has (right and wrong: generated ones; an inference that was cut off or is ungraded is
    on neither), in so many inferences; active: those at which the feature is; share: active / positions, null where
    there are none; mean_activation and max_activation are over the active ones, 0 without any.
    """
    check_feature(reader, hookpoint, feature)
    sql = f"""
        WITH sides(place, side) AS (VALUES (0, 'think'), (1, 'answer'), (2, 'right'), (3, 'wrong')), own AS (
            SELECT inference, segment, positions AS active, activation_sum, max_activation
            FROM feature_inferences WHERE hookpoint = $hookpoint AND feature = $feature
        ), parts AS (
            SELECT inference, segment, {VERDICT} AS verdict, positions, active, activation_sum, max_activation
            FROM vector_sums JOIN inferences USING (inference) LEFT JOIN own USING (inference, segment)
            WHERE hookpoint = $hookpoint AND segment IN ('think', 'answer') AND positions > 0
        )
        SELECT side, count(DISTINCT inference) AS inferences, coalesce(sum(positions), 0)::BIGINT AS positions,
            coalesce(sum(active), 0)::BIGINT AS active, sum(coalesce(active, 0)) / sum(positions) AS share,
            coalesce(sum(activation_sum) / sum(active), 0) AS mean_activation,
            coalesce(max(max_activation), 0) AS max_activation
        FROM sides LEFT JOIN parts ON side IN (verdict, segment::VARCHAR)
        GROUP BY place, side ORDER BY place
    """
    return reader.query(sql, {"hookpoint": hookpoint, "feature": feature})


def fires_with(reader: Reader, hookpoint: str, feature: int, scope: Scope = "generated", top: int = 20) -> pd.DataFrame:
    """Other features of the hookpoint that are active at the positions of a feature: feature, positions, share, lift.

    positions: where both are active; share: of the asked feature's positions; lift: share / (the other one's share of
    all positions in the scope): 1 where they have nothing to do with each other. By positions, then by lift, then by
    the smaller feature.
    """
    check_feature(reader, hookpoint, feature)
    check_top(top)
    together = f"""
        SELECT features FROM token_latents
        WHERE hookpoint = $hookpoint AND {in_scope(scope)} AND list_contains(features, $feature)
    """
    counts = np.zeros(reader.experiment.saes[hookpoint].num_latents, np.int64)
    with reader.stream(together, {"hookpoint": hookpoint, "feature": feature}) as batches:
        for batch in batches:  # grouping millions of rows in SQL takes several times as long
            counts += np.bincount(batch["features"].flatten().to_numpy(), minlength=len(counts))
    own, counts[feature] = int(counts[feature]), 0
    least = max(1, int(np.sort(counts)[-top:][0]))
    sql = f"""
        WITH counts AS (
            SELECT unnest($features::INTEGER[]) AS feature, unnest($positions::BIGINT[]) AS positions
        ), whole AS (
            SELECT feature, positions AS whole_positions
            FROM feature_stats WHERE hookpoint = $hookpoint AND scope = $scope
        )
        SELECT feature, positions, positions / $own AS share,
            positions * {positions_in(scope)} / ($own * whole_positions) AS lift
        FROM counts JOIN whole USING (feature)
        ORDER BY positions DESC, lift DESC, feature LIMIT $top
    """
    found = np.flatnonzero(counts >= least)
    parameters = {"hookpoint": hookpoint, "scope": scope, "own": own, "top": top}
    return reader.query(sql, parameters | {"features": found.tolist(), "positions": counts[found].tolist()})


def feature_pair(reader: Reader, hookpoint: str, feature: int, other: int, scope: Scope = "generated") -> pd.DataFrame:
    """One row: at how many positions of the scope both features are active, only the first, only the other, neither:
    both, only_first, only_second, neither."""
    check_feature(reader, hookpoint, feature)
    check_feature(reader, hookpoint, other)
    sql = f"""
        WITH one AS MATERIALIZED ({activations_of_feature(scope)}),
        two AS MATERIALIZED ({activations_of_feature(scope, "$other")}), numbers AS (
            SELECT (SELECT count(*) FROM one) AS first, (SELECT count(*) FROM two) AS second,
                (SELECT count(*) FROM one SEMI JOIN two USING (inference, position)) AS shared,
                {positions_in(scope)}::BIGINT AS positions
        )
        SELECT shared AS "both", first - shared AS only_first, second - shared AS only_second,
            positions - first - second + shared AS neither
        FROM numbers
    """
    return reader.query(sql, {"hookpoint": hookpoint, "feature": feature, "other": other})
