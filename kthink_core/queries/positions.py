"""Questions about many features in one inference: at each position, over the whole trace, over a span of it."""

from __future__ import annotations

from typing import Literal, get_args

import pandas as pd

from kthink_core.errors import BadValue
from kthink_core.lift import standing_out
from kthink_core.queries.checks import (
    check_choice,
    check_features,
    check_hookpoint,
    check_inference,
    check_top,
    in_scope,
)
from kthink_core.queries.fragments import activations_of_inference, positions_in
from kthink_core.store.reader import Reader
from kthink_core.store.scopes import Scope

Ranking = Literal["maximum", "mean", "frequency", "lift"]

_RANKED_BY: dict[Ranking, str] = {
    "maximum": "max_activation",
    "mean": "mean_activation",
    "frequency": "positions",
    "lift": "lift",
}

RANKINGS: tuple[Ranking, ...] = get_args(Ranking)
"""What the features of an inference are ranked by."""


def token_features(reader: Reader, inference: int, hookpoint: str, top: int = 8) -> pd.DataFrame:
    """The `top` largest activations of every position of an inference: position, feature, activation.

    By position, then by activation, largest first. A position at which no feature is active has no row.
    """
    check_inference(reader, inference)
    check_hookpoint(reader, hookpoint)
    check_top(top)
    sql = f"""
        SELECT position, feature, activation FROM ({activations_of_inference("all")})
        QUALIFY row_number() OVER (PARTITION BY position ORDER BY activation DESC, feature) <= $top
        ORDER BY position, activation DESC, feature
    """
    return reader.query(sql, {"inference": inference, "hookpoint": hookpoint, "top": top})


def feature_tracks(reader: Reader, inference: int, hookpoint: str, features: tuple[int, ...]) -> pd.DataFrame:
    """Where some features are active in an inference: feature (in the order asked), position, activation."""
    check_inference(reader, inference)
    asked = check_features(reader, hookpoint, features)
    sql = f"""
        SELECT feature, position, activation FROM ({activations_of_inference("all")})
        WHERE list_contains($features::INTEGER[], feature)
        ORDER BY list_position($features::INTEGER[], feature), position
    """
    return reader.query(sql, {"inference": inference, "hookpoint": hookpoint, "features": asked})


def ranked_features(
    reader: Reader,
    inference: int,
    hookpoint: str,
    scope: Scope = "generated",
    ranking: Ranking = "maximum",
    top: int = 100,
) -> pd.DataFrame:
    """The features active in an inference's scope, the first `top` by `ranking`: rank (from 1), feature, positions,
    share, max_activation, mean_activation, lift, peak_position.

    positions: at how many positions of the scope it is active; share: positions / positions in the scope;
    mean_activation: over active positions; lift: share / (its share of all positions that the scope has in the
    experiment); peak_position: the first position of the largest activation. Equal ones by max_activation, then by
    the smaller feature. Raises UnknownName for a ranking that does not exist.
    """
    check_inference(reader, inference)
    check_hookpoint(reader, hookpoint)
    check_top(top)
    check_choice("ranking", ranking, RANKINGS)
    sql = f"""
        WITH active AS MATERIALIZED ({activations_of_inference(scope)}), here AS (
            SELECT feature, count(*) AS positions, max(activation) AS max_activation,
                avg(activation::DOUBLE) AS mean_activation,
                -max({{'activation': activation, 'negated': -position}}).negated AS peak_position
            FROM active GROUP BY feature
        ), whole AS (
            SELECT feature, positions AS whole_positions
            FROM feature_stats WHERE hookpoint = $hookpoint AND scope = $scope
        ), shares AS (
            SELECT *, positions / size AS share,
                positions * whole_size / (size * whole_positions) AS lift  -- one division: equal ones stay equal
            FROM here JOIN whole USING (feature), (
                SELECT (
                    SELECT count(*) FROM token_latents
                    WHERE inference = $inference AND hookpoint = $hookpoint AND {in_scope(scope)}
                ) AS size, {positions_in(scope)} AS whole_size
            )
        )
        SELECT row_number() OVER (ORDER BY {_RANKED_BY[ranking]} DESC, max_activation DESC, feature) AS rank,
            feature, positions, share, max_activation, mean_activation, lift, peak_position
        FROM shares ORDER BY rank LIMIT $top
    """
    return reader.query(sql, {"inference": inference, "hookpoint": hookpoint, "scope": scope, "top": top})


def span_features(reader: Reader, inference: int, hookpoint: str, first: int, last: int, top: int = 50) -> pd.DataFrame:
    """What sets a span of positions apart from the rest of its trace: the answer of `lift.standing_out`.

    The span is `first` to `last`, both included; what of it lies beyond the trace is left out. The rest is every
    other position of the inference, prompt included. Raises BadValue where `last` is before `first`.
    """
    check_inference(reader, inference)
    check_hookpoint(reader, hookpoint)
    check_top(top)
    if last < first:
        raise BadValue(f"the span from {first} to {last} ends before it begins")
    inside = "position BETWEEN $first AND $last"
    sql = f"""
        WITH active AS (
            SELECT feature, count(*) FILTER ({inside}) AS positions, count(*) FILTER (NOT {inside}) AS rest,
                avg(activation::DOUBLE) FILTER ({inside}) AS mean_activation,
                max(activation) FILTER ({inside}) AS max_activation
            FROM ({activations_of_inference("all")}) GROUP BY feature HAVING positions > 0
        ), sizes AS (
            SELECT count(*) FILTER ({inside}) AS span_size, count(*) FILTER (NOT {inside}) AS rest_size
            FROM token_latents WHERE inference = $inference AND hookpoint = $hookpoint
        )
        SELECT * FROM active, sizes ORDER BY feature
    """
    parameters = {"inference": inference, "hookpoint": hookpoint, "first": first, "last": last}
    return standing_out(reader.query(sql, parameters), top)
