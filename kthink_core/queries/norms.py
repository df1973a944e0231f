"""How long the captured vectors are, and where the sinks lie.

A *sink* is a position whose vector is more than ten times as long as the median one of its hookpoint, the median taken
over all positions of all inferences: the same in every scope. Such positions, often the first, hold what a softmax puts
its weight on where it wants none (Xiao et al. 2023, arXiv 2309.17453; massive activations: Sun et al. 2024, arXiv
2402.17762).
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from kthink_core.queries.checks import check_hookpoint, check_inference, check_top, in_scope
from kthink_core.store.reader import Reader
from kthink_core.store.scopes import Scope

SINK = 10
"""How many times the median norm a sink exceeds."""

NORMS = f"""
    norms AS (
        SELECT inference, hookpoint, position, segment, sqrt(squared_norm::DOUBLE) AS norm FROM quality
    ), typical AS (
        SELECT hookpoint, median(norm) AS typical FROM norms GROUP BY hookpoint
    ), measured AS (
        SELECT norms.*, typical, norm > {SINK} * typical AS is_sink FROM norms JOIN typical USING (hookpoint)
    )
"""


def norms(reader: Reader, scope: Scope = "generated", inference: int | None = None) -> pd.DataFrame:
    """One row a hookpoint, in the order of the configuration: hookpoint, mean_norm, median_norm, max_norm of ‖x‖ over
    the positions of the scope, in one inference or in all, and sinks, how many of them are; null and 0 where there are
    none."""
    condition = in_scope(scope)
    if inference is not None:
        check_inference(reader, inference)
        condition += " AND inference = $inference"
    sql = f"""
        WITH {NORMS}, found AS (
            SELECT hookpoint, avg(norm) AS mean_norm, median(norm) AS median_norm, max(norm) AS max_norm,
                count(*) FILTER (is_sink) AS sinks
            FROM measured WHERE {condition} GROUP BY hookpoint
        )
        SELECT saes.hookpoint::VARCHAR AS hookpoint, mean_norm, median_norm, max_norm, coalesce(sinks, 0) AS sinks
        FROM saes LEFT JOIN found USING (hookpoint) ORDER BY saes.hookpoint
    """
    return reader.query(sql, {} if inference is None else {"inference": inference})


def sinks(reader: Reader, hookpoint: str, top: int = 200) -> pd.DataFrame:
    """The sinks of a hookpoint, the longest first: inference, position, token_id, text, segment, norm, times (the
    median norm), of (how many there are in all); at most `top`."""
    check_hookpoint(reader, hookpoint)
    check_top(top)
    sql = f"""
        WITH {NORMS}
        SELECT inference, position, token_id, text, tokens.segment::VARCHAR AS segment, norm, norm / typical AS times,
            count(*) OVER () AS of
        FROM measured JOIN tokens USING (inference, position)
        WHERE hookpoint = $hookpoint AND is_sink ORDER BY norm DESC, inference, position LIMIT $top
    """
    return reader.query(sql, {"hookpoint": hookpoint, "top": top})


def first_norms(reader: Reader, hookpoint: str, positions: int = 4) -> pd.DataFrame:
    """The norms at the first positions, where sinks mostly are: position, median_norm, max_norm, times (the median of
    the hookpoint's positions), over all inferences."""
    check_hookpoint(reader, hookpoint)
    check_top(positions, "positions")
    sql = f"""
        WITH {NORMS}
        SELECT position, median(norm) AS median_norm, max(norm) AS max_norm, median(norm) / any_value(typical) AS times
        FROM measured WHERE hookpoint = $hookpoint AND position < $positions GROUP BY position ORDER BY position
    """
    return reader.query(sql, {"hookpoint": hookpoint, "positions": positions})


def norm_histogram(reader: Reader, hookpoint: str, scope: Scope = "generated", bins: int = 40) -> pd.DataFrame:
    """Norms in bins of equal width on a log axis: low, high, count, typical (the median norm that sinks are told by);
    empty where there are none. A norm of 0 has no place on it and is left out."""
    check_hookpoint(reader, hookpoint)
    check_top(bins, "bins")
    sql = f"""
        WITH {NORMS}
        SELECT norm, typical FROM measured WHERE hookpoint = $hookpoint AND norm > 0 AND {in_scope(scope)}
    """
    found = reader.query(sql, {"hookpoint": hookpoint})
    if found.empty:
        return pd.DataFrame({"low": [], "high": [], "count": [], "typical": []}).astype({"count": np.int64})
    counts, edges = np.histogram(np.log10(found["norm"].to_numpy(np.float64)), bins)
    limits = 10**edges
    return pd.DataFrame(
        {"low": limits[:-1], "high": limits[1:], "count": counts, "typical": float(found["typical"].iloc[0])}
    )
