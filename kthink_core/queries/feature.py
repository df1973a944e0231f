"""Questions about one feature over all inferences."""

from __future__ import annotations

import pandas as pd

from kthink_core.queries.checks import (
    check_choice,
    check_feature,
    check_features,
    check_inference,
    check_top,
    in_scope,
)
from kthink_core.queries.fragments import ASKED
from kthink_core.store.feature_stats import TOP_TOKENS
from kthink_core.store.reader import Reader
from kthink_core.store.scopes import SCOPES, Scope

_RANKED_AS_STORED = "ranked AS (SELECT * REPLACE (rank::BIGINT AS rank) FROM stored)"
# A database and what is pending beside it have five tokens each: the first five of both together count.
_RANKED_ANEW = """merged AS (
    SELECT place, feature, token_id, min(text) AS text, max(max_activation) AS max_activation FROM stored
    GROUP BY place, feature, token_id
), ranked AS (
    SELECT *, row_number() OVER (PARTITION BY place ORDER BY max_activation DESC, token_id) AS rank FROM merged
)"""


def top_tokens(
    reader: Reader,
    hookpoint: str,
    feature: int,
    inference: int | None = None,
    scope: Scope = "generated",
    top: int = 70,
) -> pd.DataFrame:
    """The tokens at which a feature is active, by its largest activation there: token_id, text, max_activation,
    mean_activation (over the positions at which it is active), count (of these). In one inference, or in all."""
    check_feature(reader, hookpoint, feature)
    check_top(top)
    if inference is not None:
        check_inference(reader, inference)
    here = "TRUE" if inference is None else "inference = $inference"
    sql = f"""
        SELECT token_id, min(text) AS text, max(activation) AS max_activation,
            avg(activation::DOUBLE) AS mean_activation, count(*) AS count
        FROM (
            SELECT inference, position, activation FROM latents
            WHERE hookpoint = $hookpoint AND feature = $feature AND {here} AND {in_scope(scope)}
        ) JOIN (SELECT * FROM tokens WHERE {here}) USING (inference, position)
        GROUP BY token_id ORDER BY max_activation DESC, token_id LIMIT $top
    """
    parameters = {"hookpoint": hookpoint, "feature": feature, "top": top}
    return reader.query(sql, parameters if inference is None else parameters | {"inference": inference})


def top_tokens_of(
    reader: Reader, hookpoint: str, features: tuple[int, ...], scope: Scope = "generated", top: int = TOP_TOKENS
) -> pd.DataFrame:
    """The tokens at which each of some features is most active, over all inferences: feature (in the order asked), rank
    (from 1), token_id, text, max_activation. Of equal activations, the smaller token id. At most the five stored."""
    asked = check_features(reader, hookpoint, features)
    check_choice("scope", scope, SCOPES)
    check_top(top)
    sql = f"""
        WITH {ASKED}, stored AS (
            SELECT place, feature, rank, token_id, text, max_activation FROM feature_tokens JOIN asked USING (feature)
            WHERE hookpoint = $hookpoint AND scope = $scope
        ), {_RANKED_AS_STORED if reader.is_one_database else _RANKED_ANEW}
        SELECT feature, rank, token_id, text, max_activation FROM ranked WHERE rank <= $top ORDER BY place, rank
    """
    parameters = {"hookpoint": hookpoint, "scope": scope, "features": asked, "top": min(top, TOP_TOKENS)}
    return reader.query(sql, parameters)


def feature_inferences(reader: Reader, hookpoint: str, feature: int, scope: Scope = "generated") -> pd.DataFrame:
    """The inferences in which a feature is active, in order: inference, positions, max_activation, rank, peak_position.

    rank, from 1, is the feature's place in that inference by maximum activation in the scope: up to 10, it is relevant.
    Null beyond the first 100, which are stored.
    """
    check_feature(reader, hookpoint, feature)
    sql = f"""
        WITH own AS (
            SELECT inference, sum(positions)::BIGINT AS positions, max(max_activation) AS max_activation,
                -max({{'activation': max_activation, 'negated': -peak_position}}).negated AS peak_position
            FROM feature_inferences WHERE hookpoint = $hookpoint AND feature = $feature AND {in_scope(scope)}
            GROUP BY inference
        ), ranks AS (
            SELECT inference, rank FROM relevant_features
            WHERE hookpoint = $hookpoint AND scope = $scope AND feature = $feature
        )
        SELECT inference, positions, max_activation, rank, peak_position
        FROM own LEFT JOIN ranks USING (inference) ORDER BY inference
    """
    found = reader.query(sql, {"hookpoint": hookpoint, "feature": feature, "scope": scope})
    return found.astype({"rank": "Int64"})  # whole numbers even where one is null


def feature_summary(reader: Reader, hookpoint: str, feature: int, scope: Scope = "generated") -> pd.DataFrame:
    """One row: hookpoint, feature, scope, positions and inferences at which it is active, relevant_inferences, of (how
    many inferences there are), max_activation, mean_activation (over active positions). Zeros if it never is active."""
    check_feature(reader, hookpoint, feature)
    in_scope(scope)
    sql = """
        SELECT $hookpoint AS hookpoint, $feature::INTEGER AS feature, $scope AS scope,
            coalesce(sum(positions), 0)::BIGINT AS positions, coalesce(sum(inferences), 0)::BIGINT AS inferences,
            coalesce(sum(relevant_inferences), 0)::BIGINT AS relevant_inferences, $of AS of,
            coalesce(max(max_activation), 0) AS max_activation, coalesce(max(mean_activation), 0) AS mean_activation
        FROM feature_stats WHERE hookpoint = $hookpoint AND feature = $feature AND scope = $scope
    """
    parameters = {"hookpoint": hookpoint, "feature": feature, "scope": scope, "of": reader.inferences}
    return reader.query(sql, parameters)
