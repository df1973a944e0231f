"""Fills `feature_stats`: how often and how strongly each feature is active, by scope."""

from __future__ import annotations

from collections.abc import Iterable

import duckdb

from kthink_core.store.scopes import SCOPES, SEGMENTS_OF

RELEVANT = 10
"""A feature is relevant in an inference if it is among so many features with the largest maximum activation."""

# One hookpoint at a time, so that the intermediate rows (one a feature, inference and segment) stay few.
_BY_SEGMENT = """
CREATE OR REPLACE TEMP TABLE by_segment AS
SELECT feature, inference, segment, count(*) AS positions, max(activation) AS max_activation,
    sum(activation::DOUBLE) AS activation_sum
FROM latents WHERE hookpoint = ? GROUP BY ALL
"""

# `max(value, n)` keeps the n largest of a group without sorting it; of equal activations, the smaller feature.
_STATS = f"""
INSERT INTO feature_stats BY NAME
WITH maxima AS MATERIALIZED (
    SELECT feature, inference, sum(positions) AS positions, max(max_activation) AS max_activation,
        sum(activation_sum) AS activation_sum
    FROM by_segment WHERE list_contains($segments, segment::VARCHAR) GROUP BY ALL
), largest AS (
    SELECT unnest(max({{'activation': max_activation, 'negated': -feature}}, {RELEVANT})) AS kept
    FROM maxima GROUP BY inference
), relevant AS (
    SELECT -kept.negated AS feature, count(*) AS relevant_inferences FROM largest GROUP BY ALL
), totals AS (
    SELECT feature, sum(positions)::BIGINT AS positions, count(*) AS inferences,
        max(max_activation) AS max_activation, sum(activation_sum) AS activation_sum
    FROM maxima GROUP BY ALL
)
SELECT $hookpoint AS hookpoint, feature, $scope AS scope, positions, inferences,
    coalesce(relevant_inferences, 0) AS relevant_inferences, max_activation,
    activation_sum / positions AS mean_activation, activation_sum
FROM totals LEFT JOIN relevant USING (feature)
ORDER BY feature
"""


def fill_feature_stats(connection: duckdb.DuckDBPyConnection, hookpoints: Iterable[str]) -> None:
    """Fills the table from `latents`, both in the current database of the connection."""
    for hookpoint in hookpoints:
        connection.execute(_BY_SEGMENT, [hookpoint])
        for scope in SCOPES:
            parameters = {"hookpoint": hookpoint, "scope": scope, "segments": list(SEGMENTS_OF[scope])}
            connection.execute(_STATS, parameters)
    connection.execute("DROP TABLE IF EXISTS temp.by_segment")
