"""How well the SAEs reconstruct what they were given."""

from __future__ import annotations

import pandas as pd

from kthink_core.queries.checks import check_hookpoint, check_inference, in_scope
from kthink_core.store.reader import Reader
from kthink_core.store.scopes import Scope

_IN_ALL = """
    errors AS (
        SELECT hookpoint, sum(positions) AS positions, sum(squared_error) AS squared_error,
            sum(squared_norm) AS squared_norm
        FROM segment_sums WHERE {condition} GROUP BY hookpoint
    ), vectors AS (
        SELECT hookpoint, sum FROM segment_sums WHERE {condition}
    ), features AS (
        SELECT hookpoint, sum(positions) AS active, count(*) AS alive
        FROM feature_stats WHERE scope = $scope GROUP BY hookpoint
    )
"""
_IN_ONE = """
    errors AS (
        SELECT hookpoint, count(*) AS positions, sum(squared_error::DOUBLE) AS squared_error,
            sum(squared_norm::DOUBLE) AS squared_norm
        FROM quality WHERE inference = $inference AND {condition} GROUP BY hookpoint
    ), own_vectors AS MATERIALIZED (  -- with another condition beside it DuckDB leaves the index aside
        SELECT hookpoint, segment, sum FROM vector_sums WHERE inference = $inference
    ), vectors AS (
        SELECT hookpoint, sum FROM own_vectors WHERE {condition}
    ), features AS (
        SELECT hookpoint, count(*) AS active, count(DISTINCT feature) AS alive
        FROM (
            SELECT hookpoint, unnest(features) AS feature
            FROM token_latents WHERE inference = $inference AND {condition}
        )
        GROUP BY hookpoint
    )
"""


def quality(reader: Reader, scope: Scope = "generated", inference: int | None = None) -> pd.DataFrame:
    """One row a hookpoint, in the order of the configuration: hookpoint, positions, fvu, l0, dead_share.

    fvu: Σ ‖x − x̂‖² / (Σ ‖x‖² − ‖Σ x‖² / n), null where the vectors do not vary; l0: mean number of active features a
    position; dead_share: share of features that are never active. All over the positions of the scope, in one inference
    or in all; null where there are none.
    """
    condition = in_scope(scope)
    if inference is not None:
        check_inference(reader, inference)
    sql = f"""
        WITH {_IN_ALL.format(condition=condition) if inference is None else _IN_ONE.format(condition=condition)},
        squares AS (
            SELECT hookpoint, sum(total * total) AS squared_sum
            FROM (
                SELECT hookpoint, sum(value) AS total
                FROM (SELECT hookpoint, unnest(sum) AS value, generate_subscripts(sum, 1) AS dimension FROM vectors)
                GROUP BY hookpoint, dimension
            )
            GROUP BY hookpoint
        ), scatter AS (
            SELECT hookpoint, squared_error, squared_norm - squared_sum / positions AS variation
            FROM errors JOIN squares USING (hookpoint)
        )
        SELECT saes.hookpoint::VARCHAR AS hookpoint, coalesce(positions, 0)::BIGINT AS positions,
            CASE WHEN positions > 1 AND variation > 0 THEN scatter.squared_error / variation END AS fvu,
            CASE WHEN positions > 0 THEN coalesce(active, 0) / positions END AS l0,
            CASE WHEN positions > 0 THEN 1 - coalesce(alive, 0) / num_latents END AS dead_share
        FROM saes LEFT JOIN errors USING (hookpoint) LEFT JOIN scatter USING (hookpoint)
            LEFT JOIN features USING (hookpoint)
        ORDER BY saes.hookpoint
    """
    return reader.query(sql, {"scope": scope} if inference is None else {"inference": inference})


def quality_by_inference(reader: Reader, hookpoint: str, scope: Scope = "generated") -> pd.DataFrame:
    """One row an inference with positions in scope, in order: inference, positions, fvu, as `quality` has it of one."""
    check_hookpoint(reader, hookpoint)
    condition = f"hookpoint = $hookpoint AND {in_scope(scope)}"
    sql = f"""
        WITH errors AS (
            SELECT inference, count(*) AS positions, sum(squared_error::DOUBLE) AS squared_error,
                sum(squared_norm::DOUBLE) AS squared_norm
            FROM quality WHERE {condition} GROUP BY inference
        ), totals AS (
            SELECT inference, sum(value) AS total
            FROM (
                SELECT inference, unnest(sum) AS value, generate_subscripts(sum, 1) AS dimension
                FROM vector_sums WHERE {condition}
            )
            GROUP BY inference, dimension
        ), squares AS (
            SELECT inference, sum(total * total) AS squared_sum FROM totals GROUP BY inference
        ), scatter AS (
            SELECT inference, positions, squared_error, squared_norm - squared_sum / positions AS variation
            FROM errors JOIN squares USING (inference)
        )
        SELECT inference, positions::BIGINT AS positions,
            CASE WHEN positions > 1 AND variation > 0 THEN squared_error / variation END AS fvu
        FROM scatter ORDER BY inference
    """
    return reader.query(sql, {"hookpoint": hookpoint})
