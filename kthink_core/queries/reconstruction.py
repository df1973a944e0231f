"""How well the SAEs reconstruct what they were given."""

from __future__ import annotations

import pandas as pd

from kthink_core.queries.arguments import check_inference, in_scope
from kthink_core.store.reader import Reader
from kthink_core.store.scopes import Scope


def quality(reader: Reader, scope: Scope = "generated", inference: int | None = None) -> pd.DataFrame:
    """One row a hookpoint, in the order of the configuration: hookpoint, positions, fvu, l0, dead_share.

    fvu: Σ ‖x − x̂‖² / (Σ ‖x‖² − ‖Σ x‖² / n), null where the vectors do not vary; l0: mean number of active features a
    position; dead_share: share of features that are never active. All over the positions of the scope, in one inference
    or in all; null where there are none.
    """
    if inference is not None:
        check_inference(reader, inference)
    here = in_scope(scope) + ("" if inference is None else " AND inference = $inference")
    if inference is None:
        alive = "SELECT hookpoint, count(*) AS alive FROM feature_stats WHERE scope = $scope GROUP BY hookpoint"
    else:
        alive = f"""
            SELECT hookpoint, count(DISTINCT feature) AS alive
            FROM (SELECT hookpoint, unnest(features) AS feature FROM token_latents WHERE {here}) GROUP BY hookpoint
        """
    sql = f"""
        WITH errors AS (
            SELECT hookpoint, count(*) AS positions, sum(squared_error::DOUBLE) AS squared_error,
                sum(squared_norm::DOUBLE) AS squared_norm
            FROM quality WHERE {here} GROUP BY hookpoint
        ), sums AS (
            SELECT hookpoint, sum(total * total) AS squared_sum
            FROM (
                SELECT hookpoint, sum(value) AS total
                FROM (
                    SELECT hookpoint, unnest(sum) AS value, generate_subscripts(sum, 1) AS dimension
                    FROM vector_sums WHERE {here}
                )
                GROUP BY hookpoint, dimension
            )
            GROUP BY hookpoint
        ), active AS (
            SELECT hookpoint, sum(len(activations)) AS active FROM token_latents WHERE {here} GROUP BY hookpoint
        ), alive AS ({alive}), scatter AS (
            SELECT hookpoint, squared_error, squared_norm - squared_sum / positions AS variation
            FROM errors JOIN sums USING (hookpoint)
        )
        SELECT saes.hookpoint::VARCHAR AS hookpoint, coalesce(positions, 0) AS positions,
            CASE WHEN positions > 1 AND variation > 0 THEN scatter.squared_error / variation END AS fvu,
            active / positions AS l0,
            CASE WHEN positions > 0 THEN 1 - coalesce(alive, 0) / num_latents END AS dead_share
        FROM saes LEFT JOIN errors USING (hookpoint) LEFT JOIN scatter USING (hookpoint)
            LEFT JOIN active USING (hookpoint) LEFT JOIN alive USING (hookpoint)
        ORDER BY saes.hookpoint
    """
    return reader.query(sql, {"scope": scope} if inference is None else {"inference": inference})
