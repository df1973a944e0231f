"""Fills the tables that answer at once what `latents` answers slowly: each feature by inference, by scope, by token.

All of them can be put together from parts: of two databases with different inferences, rows of `feature_inferences`
and `relevant_features` lie side by side, those of `feature_stats` add up, and the first tokens of all are among the
first of either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import duckdb

from kthink_core.store.scopes import SEGMENTS_OF
from kthink_core.store.verdicts import VERDICT

RELEVANT = 10
"""A feature is relevant in an inference if it is among so many features with the largest maximum activation."""

RANKS = 100
"""So many features of each inference and scope are stored with their rank: what `RELEVANT` may be changed to."""

TOP_TOKENS = 5
"""Tokens of each feature and scope that are stored: those with the largest activation."""

# `{hookpoint}` and `{scope}` are conditions: of a large database one hookpoint and one scope at a time, so that the
# intermediate rows stay few; of a small one all at once, where each statement costs more than its rows.
_FEATURE_INFERENCES = """
INSERT INTO feature_inferences BY NAME
SELECT hookpoint, feature, inference, segment, count(*) AS positions, max(activation) AS max_activation,
    sum(activation::DOUBLE) AS activation_sum,
    -max({{'activation': activation, 'negated': -position}}).negated AS peak_position
FROM latents WHERE {hookpoint} GROUP BY ALL
ORDER BY hookpoint, feature, inference, segment
"""

_SCOPES = ", ".join(f"('{scope}', '{segment}')" for scope, segments in SEGMENTS_OF.items() for segment in segments)

# `max(value, n)` keeps the n largest of a group without sorting it; of equal activations, the smaller id. The first
# of a scope are among the first of its segments, so that one pass serves all scopes.
_RELEVANT_FEATURES = f"""
INSERT INTO relevant_features BY NAME
WITH scopes(scope, segment) AS (VALUES {_SCOPES}), kept AS MATERIALIZED (
    SELECT hookpoint, inference, segment,
        unnest(max({{{{'activation': max_activation, 'negated': -feature}}}}, {RANKS})) AS kept
    FROM feature_inferences WHERE {{hookpoint}} GROUP BY hookpoint, inference, segment
), maxima AS (
    SELECT hookpoint, scope, inference, -kept.negated AS feature, max(kept.activation) AS max_activation
    FROM kept JOIN scopes ON kept.segment::VARCHAR = scopes.segment GROUP BY ALL
)
SELECT hookpoint, scope, inference, feature, max_activation,
    row_number() OVER (PARTITION BY hookpoint, scope, inference ORDER BY max_activation DESC, feature) AS rank
FROM maxima QUALIFY rank <= {RANKS}
ORDER BY hookpoint, scope, inference, rank
"""

_FEATURE_TOKENS = f"""
INSERT INTO feature_tokens BY NAME
WITH scopes(scope, segment) AS (VALUES {_SCOPES}), vocabulary AS (
    SELECT token_id, min(text) AS text FROM tokens GROUP BY token_id
), by_token AS (
    SELECT hookpoint, feature, segment, token_id, max(activation) AS max_activation
    FROM (
        SELECT hookpoint, token_id, segment, unnest(features) AS feature, unnest(activations) AS activation
        FROM (
            SELECT hookpoint, inference, position, segment, features, activations
            FROM token_latents WHERE {{hookpoint}}
        ) JOIN (SELECT inference, position, token_id FROM tokens) USING (inference, position)
    )
    GROUP BY ALL
), kept AS MATERIALIZED (
    SELECT hookpoint, feature, segment,
        unnest(max({{{{'activation': max_activation, 'negated': -token_id}}}}, {TOP_TOKENS})) AS kept
    FROM by_token GROUP BY hookpoint, feature, segment
), maxima AS (
    SELECT hookpoint, scope, feature, -kept.negated AS token_id, max(kept.activation) AS max_activation
    FROM kept JOIN scopes ON kept.segment::VARCHAR = scopes.segment GROUP BY ALL
), ranked AS (
    SELECT *,
        row_number() OVER (PARTITION BY hookpoint, scope, feature ORDER BY max_activation DESC, token_id) AS rank
    FROM maxima QUALIFY rank <= {TOP_TOKENS}
)
SELECT hookpoint, scope, feature, rank, token_id, text, max_activation
FROM ranked JOIN vocabulary USING (token_id)
ORDER BY hookpoint, scope, feature, rank
"""

_FEATURE_STATS = f"""
INSERT INTO feature_stats BY NAME
WITH scopes(scope, segment) AS (FROM (VALUES {_SCOPES}) AS all_scopes(scope, segment) WHERE {{scope}}), maxima AS (
    SELECT hookpoint, scope, feature, inference, sum(positions) AS positions, max(max_activation) AS max_activation,
        sum(activation_sum::DOUBLE) AS activation_sum
    FROM feature_inferences JOIN scopes ON feature_inferences.segment::VARCHAR = scopes.segment
    WHERE {{hookpoint}} GROUP BY hookpoint, scope, feature, inference
), totals AS (
    SELECT hookpoint, scope, feature, sum(positions)::BIGINT AS positions, count(*) AS inferences,
        max(max_activation) AS max_activation, sum(activation_sum) AS activation_sum,
        coalesce(sum(positions) FILTER (verdict = 'right'), 0)::BIGINT AS right_positions,
        coalesce(sum(positions) FILTER (verdict = 'wrong'), 0)::BIGINT AS wrong_positions
    FROM maxima JOIN (SELECT inference, {VERDICT} AS verdict FROM inferences) USING (inference)
    GROUP BY hookpoint, scope, feature
), relevant AS (
    SELECT hookpoint, scope, feature, count(*) AS relevant_inferences FROM relevant_features
    WHERE {{hookpoint}} AND {{scope}} AND rank <= {RELEVANT} GROUP BY hookpoint, scope, feature
)
SELECT hookpoint, feature, scope, positions, inferences,
    coalesce(relevant_inferences, 0) AS relevant_inferences, max_activation,
    activation_sum / positions AS mean_activation, activation_sum, right_positions, wrong_positions
FROM totals LEFT JOIN relevant USING (hookpoint, scope, feature)
ORDER BY hookpoint, scope, feature
"""

SMALL = 2_000_000
"""Latents up to which a database is small: 46 inferences of the article's."""


def fill_feature_stats(
    connection: duckdb.DuckDBPyConnection, hookpoints: Iterable[str], pause: Callable[[], None] = lambda: None
) -> None:
    """Fills `feature_inferences`, `relevant_features`, `feature_tokens` and `feature_stats` from the tables of tokens,
    latents and inferences, all in the current database of the connection. Between its parts it calls `pause`."""
    rows = connection.execute("SELECT count(*) FROM latents").fetchall()[0][0]
    parts: Iterable[dict[str, str]] = [{}] if rows <= SMALL else [{"hookpoint": name} for name in hookpoints]
    for part in parts:
        for statement in (_FEATURE_INFERENCES, _RELEVANT_FEATURES, _FEATURE_TOKENS):
            _run(connection, statement, part)
            pause()
        for scope in [{"scope": scope} for scope in SEGMENTS_OF] if part else [{}]:
            _run(connection, _FEATURE_STATS, part | scope)
            pause()


def _run(connection: duckdb.DuckDBPyConnection, statement: str, part: Mapping[str, str]) -> None:
    """Of one hookpoint and scope where `part` names them, else of all."""
    conditions = {name: f"{name} = ${name}" if name in part else "true" for name in ("hookpoint", "scope")}
    connection.execute(statement.format(**conditions), part)
