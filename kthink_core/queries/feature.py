"""Questions about one feature, and about the features of a hookpoint, over all inferences."""

from __future__ import annotations

import pandas as pd

from kthink_core.queries.arguments import check_feature, check_hookpoint, check_inference, check_top, in_scope
from kthink_core.store.feature_stats import RELEVANT
from kthink_core.store.reader import Reader
from kthink_core.store.scopes import Scope


def feature_counts(
    reader: Reader, hookpoint: str, scope: Scope = "generated", top: int = 100, relevant: int = RELEVANT
) -> pd.DataFrame:
    """Features by the number of inferences in which they are relevant: feature, inferences, of, max_activation.

    Relevant: among the `relevant` features with the largest maximum activation of the inference in the scope.
    `of` counts all inferences, max_activation is over all of them. By count, then max_activation, then feature.
    """
    check_hookpoint(reader, hookpoint)
    check_top(top)
    check_top(relevant, "relevant")
    parameters = {"hookpoint": hookpoint, "of": reader.inferences, "top": top}
    condition = in_scope(scope)
    if relevant == RELEVANT:  # counted when the database was built
        stored = """
            SELECT feature, relevant_inferences AS inferences, $of AS of, max_activation
            FROM feature_stats WHERE hookpoint = $hookpoint AND scope = $scope AND relevant_inferences > 0
            ORDER BY inferences DESC, max_activation DESC, feature LIMIT $top
        """
        return reader.query(stored, parameters | {"scope": scope})
    # `max(value, n)` keeps the n largest of a group; of equal activations, the smaller feature.
    counted = f"""
        WITH maxima AS MATERIALIZED (
            SELECT feature, inference, max(activation) AS max_activation
            FROM latents WHERE hookpoint = $hookpoint AND {condition} GROUP BY ALL
        ), counts AS (
            SELECT -kept.negated AS feature, count(*) AS inferences
            FROM (
                SELECT unnest(max({{'activation': max_activation, 'negated': -feature}}, $relevant)) AS kept
                FROM maxima GROUP BY inference
            )
            GROUP BY ALL
        )
        SELECT feature, inferences, $of AS of, max(max_activation) AS max_activation
        FROM counts JOIN maxima USING (feature) GROUP BY feature, inferences
        ORDER BY inferences DESC, max_activation DESC, feature LIMIT $top
    """
    return reader.query(counted, parameters | {"relevant": relevant})


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


def feature_inferences(reader: Reader, hookpoint: str, feature: int, scope: Scope = "generated") -> pd.DataFrame:
    """The inferences in which a feature is active, in order: inference, positions, max_activation, rank.

    rank, from 1, is the feature's place in that inference by maximum activation in the scope: up to 10, it is relevant.
    """
    check_feature(reader, hookpoint, feature)
    condition = in_scope(scope)
    sql = f"""
        WITH own AS MATERIALIZED (
            SELECT inference, count(*) AS positions, max(activation) AS max_activation
            FROM latents WHERE hookpoint = $hookpoint AND feature = $feature AND {condition} GROUP BY inference
        ), ahead AS (
            SELECT inference, count(DISTINCT feature) AS features
            FROM latents JOIN own USING (inference)
            WHERE hookpoint = $hookpoint AND {condition}
                AND (activation > max_activation OR (activation = max_activation AND feature < $feature))
                AND feature <> $feature
            GROUP BY inference
        )
        SELECT inference, positions, max_activation, 1 + coalesce(features, 0) AS rank
        FROM own LEFT JOIN ahead USING (inference) ORDER BY inference
    """
    return reader.query(sql, {"hookpoint": hookpoint, "feature": feature})


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
