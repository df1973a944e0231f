"""SQL that several questions share."""

from __future__ import annotations

from kthink_core.queries.checks import in_scope
from kthink_core.store.scopes import Scope

AMONG_FEATURES = "feature IN (SELECT unnest($features::INTEGER[]))"
"""The condition that a row is of one of $features. A join: a look into the list for each row takes twice as long."""

ASKED = """asked AS (
    SELECT unnest($features::INTEGER[]) AS feature, unnest(range(len($features::INTEGER[]))) AS place
)"""
"""The features that were asked for, and their places. Rows are put in that order by a join, too: a look for each into a
list of thousands takes several times as long as the rest."""


def activations_of_inference(scope: Scope) -> str:
    """Position, feature and activation of $inference at $hookpoint, by the table that is sorted for it."""
    return f"""
        SELECT position, unnest(features) AS feature, unnest(activations) AS activation
        FROM token_latents WHERE inference = $inference AND hookpoint = $hookpoint AND {in_scope(scope)}
    """


def activations_of_feature(scope: Scope, feature: str = "$feature") -> str:
    """Inference, position and activation of a feature at $hookpoint, by the table that is sorted for it."""
    return f"""
        SELECT inference, position, activation
        FROM latents WHERE hookpoint = $hookpoint AND feature = {feature} AND {in_scope(scope)}
    """


def positions_in(scope: Scope) -> str:
    """The number of positions in a scope, over all inferences."""
    return f"(SELECT coalesce(sum(positions), 0) FROM segment_sums WHERE hookpoint = $hookpoint AND {in_scope(scope)})"
