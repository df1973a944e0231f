"""Fills the tables that answer at once what `latents` answers slowly: each feature by inference, by scope, by token.

All of them can be put together from parts: of two databases with different inferences, rows of `feature_inferences`
and `relevant_features` lie side by side, those of `feature_stats` add up, and the first tokens of all are among the
first of either.
"""

from __future__ import annotations

from collections.abc import Iterable

import duckdb

from kthink_core.store.scopes import SEGMENTS_OF

RELEVANT = 10
"""A feature is relevant in an inference if it is among so many features with the largest maximum activation."""

RANKS = 100
"""So many features of each inference and scope are stored with their rank: what `RELEVANT` may be changed to."""

TOP_TOKENS = 5
"""Tokens of each feature and scope that are stored: those with the largest activation."""

# One hookpoint at a time, here and below, so that the intermediate rows stay few.
_FEATURE_INFERENCES = """
INSERT INTO feature_inferences BY NAME
SELECT hookpoint, feature, inference, segment, count(*) AS positions, max(activation) AS max_activation,
    sum(activation::DOUBLE) AS activation_sum,
    -max({'activation': activation, 'negated': -position}).negated AS peak_position
FROM latents WHERE hookpoint = $hookpoint GROUP BY ALL
ORDER BY feature, inference, segment
"""

_SCOPES = ", ".join(f"('{scope}', '{segment}')" for scope, segments in SEGMENTS_OF.items() for segment in segments)

# `max(value, n)` keeps the n largest of a group without sorting it; of equal activations, the smaller id. The first
# of a scope are among the first of its segments, so that one pass serves all scopes.
_RELEVANT_FEATURES = f"""
INSERT INTO relevant_features BY NAME
WITH scopes(scope, segment) AS (VALUES {_SCOPES}), kept AS MATERIALIZED (
    SELECT inference, segment, unnest(max({{'activation': max_activation, 'negated': -feature}}, {RANKS})) AS kept
    FROM feature_inferences WHERE hookpoint = $hookpoint GROUP BY inference, segment
), maxima AS (
    SELECT scope, inference, -kept.negated AS feature, max(kept.activation) AS max_activation
    FROM kept JOIN scopes ON kept.segment::VARCHAR = scopes.segment GROUP BY ALL
)
SELECT $hookpoint AS hookpoint, scope, inference, feature, max_activation,
    row_number() OVER (PARTITION BY scope, inference ORDER BY max_activation DESC, feature) AS rank
FROM maxima QUALIFY rank <= {RANKS}
ORDER BY scope, inference, rank
"""

_FEATURE_TOKENS = f"""
INSERT INTO feature_tokens BY NAME
WITH scopes(scope, segment) AS (VALUES {_SCOPES}), vocabulary AS (
    SELECT token_id, min(text) AS text FROM tokens GROUP BY token_id
), by_token AS (
    SELECT feature, segment, token_id, max(activation) AS max_activation
    FROM (
        SELECT token_id, segment, unnest(features) AS feature, unnest(activations) AS activation
        FROM (
            SELECT inference, position, segment, features, activations
            FROM token_latents WHERE hookpoint = $hookpoint
        ) JOIN (SELECT inference, position, token_id FROM tokens) USING (inference, position)
    )
    GROUP BY ALL
), kept AS MATERIALIZED (
    SELECT feature, segment, unnest(max({{'activation': max_activation, 'negated': -token_id}}, {TOP_TOKENS})) AS kept
    FROM by_token GROUP BY feature, segment
), maxima AS (
    SELECT scope, feature, -kept.negated AS token_id, max(kept.activation) AS max_activation
    FROM kept JOIN scopes ON kept.segment::VARCHAR = scopes.segment GROUP BY ALL
), ranked AS (
    SELECT *, row_number() OVER (PARTITION BY scope, feature ORDER BY max_activation DESC, token_id) AS rank
    FROM maxima QUALIFY rank <= {TOP_TOKENS}
)
SELECT $hookpoint AS hookpoint, scope, feature, rank, token_id, text, max_activation
FROM ranked JOIN vocabulary USING (token_id)
ORDER BY scope, feature, rank
"""

_FEATURE_STATS = f"""
INSERT INTO feature_stats BY NAME
WITH maxima AS (
    SELECT feature, inference, sum(positions) AS positions, max(max_activation) AS max_activation,
        sum(activation_sum::DOUBLE) AS activation_sum
    FROM feature_inferences
    WHERE hookpoint = $hookpoint AND list_contains($segments, segment::VARCHAR) GROUP BY feature, inference
), totals AS (
    SELECT feature, sum(positions)::BIGINT AS positions, count(*) AS inferences,
        max(max_activation) AS max_activation, sum(activation_sum) AS activation_sum,
        coalesce(sum(positions) FILTER (correct), 0)::BIGINT AS right_positions,
        coalesce(sum(positions) FILTER (NOT correct), 0)::BIGINT AS wrong_positions
    FROM maxima JOIN inferences USING (inference) GROUP BY feature
), relevant AS (
    SELECT feature, count(*) AS relevant_inferences FROM relevant_features
    WHERE hookpoint = $hookpoint AND scope = $scope AND rank <= {RELEVANT} GROUP BY feature
)
SELECT $hookpoint AS hookpoint, feature, $scope AS scope, positions, inferences,
    coalesce(relevant_inferences, 0) AS relevant_inferences, max_activation,
    activation_sum / positions AS mean_activation, activation_sum, right_positions, wrong_positions
FROM totals LEFT JOIN relevant USING (feature)
ORDER BY feature
"""


def fill_feature_stats(connection: duckdb.DuckDBPyConnection, hookpoints: Iterable[str]) -> None:
    """Fills `feature_inferences`, `relevant_features`, `feature_tokens` and `feature_stats` from the tables of tokens,
    latents and inferences, all in the current database of the connection."""
    for hookpoint in hookpoints:
        for statement in (_FEATURE_INFERENCES, _RELEVANT_FEATURES, _FEATURE_TOKENS):
            connection.execute(statement, {"hookpoint": hookpoint})
        for scope, segments in SEGMENTS_OF.items():
            parameters = {"hookpoint": hookpoint, "scope": scope, "segments": list(segments)}
            connection.execute(_FEATURE_STATS, parameters)
