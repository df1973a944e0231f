"""Questions about many features of a hookpoint over all inferences."""

from __future__ import annotations

from typing import Literal, get_args

import pandas as pd

from kthink_core.errors import BadValue
from kthink_core.queries.checks import check_choice, check_features, check_hookpoint, check_top, in_scope
from kthink_core.queries.fragments import AMONG_FEATURES, ASKED, positions_in
from kthink_core.store.feature_stats import RANKS, RELEVANT, TOP_TOKENS
from kthink_core.store.reader import Reader
from kthink_core.store.scopes import SCOPES, Scope
from kthink_core.store.verdicts import VERDICT

Sort = Literal["inferences", "maximum", "think", "answer", "right", "wrong"]

_SORTED_BY: dict[Sort, str] = {
    "inferences": "inferences DESC",
    "maximum": "max_activation DESC",
    "think": "think_minus_answer DESC NULLS LAST",
    "answer": "think_minus_answer NULLS LAST",
    "right": "right_minus_wrong DESC NULLS LAST",
    "wrong": "right_minus_wrong NULLS LAST",
}

SORTS: tuple[Sort, ...] = get_args(Sort)
"""What the features of a hookpoint are sorted by; the last four by how much more they fire there than elsewhere."""

_RELEVANT = """
    SELECT feature, count(*) AS inferences FROM relevant_features
    WHERE hookpoint = $hookpoint AND scope = $scope AND rank <= $relevant GROUP BY feature
"""
"""In how many inferences each feature is among the `relevant` first."""


def feature_counts(
    reader: Reader, hookpoint: str, scope: Scope = "generated", top: int = 100, relevant: int = RELEVANT
) -> pd.DataFrame:
    """Features by the number of inferences in which they are relevant: feature, inferences, of, max_activation.

    Relevant: among the `relevant` features, at most 100, with the largest maximum activation of the inference in the
    scope. `of` counts all inferences, max_activation is over all of them. By count, then max_activation, then feature.
    """
    check_hookpoint(reader, hookpoint)
    check_choice("scope", scope, SCOPES)
    check_top(top)
    check_relevant(relevant)
    sql = f"""
        WITH stats AS (
            SELECT feature, max_activation FROM feature_stats WHERE hookpoint = $hookpoint AND scope = $scope
        )
        SELECT feature, inferences, $of AS of, max_activation
        FROM ({_RELEVANT}) JOIN stats USING (feature)
        ORDER BY inferences DESC, max_activation DESC, feature LIMIT $top
    """
    parameters = {"hookpoint": hookpoint, "scope": scope, "of": reader.inferences, "top": top, "relevant": relevant}
    return reader.query(sql, parameters)


def feature_table(
    reader: Reader,
    hookpoint: str,
    scope: Scope = "generated",
    sort: Sort = "inferences",
    relevant: int = RELEVANT,
    top: int = 100,
    features: tuple[int, ...] | None = None,
) -> pd.DataFrame:
    """The features that are active in the scope, or those of them among `features`, the first `top` by `sort`: feature,
    inferences, of, active_inferences, positions, max_activation, think_minus_answer, right_minus_wrong.

    inferences: in how many it is among the `relevant` (at most 100) with the largest maximum, of so many; it is active
    in active_inferences of them, at so many positions. think_minus_answer: the share of all think positions at which
    it is active less that of answer positions; right_minus_wrong: likewise of generated positions of right and of wrong
    inferences; whatever the scope, null where a side has no positions. "think" sorts by the largest think_minus_answer,
    "answer" by the smallest, "right" and "wrong" likewise. Equal ones by max_activation, then by the smaller feature.
    """
    check_choice("scope", scope, SCOPES)
    check_choice("sort", sort, SORTS)
    check_top(top)
    check_relevant(relevant)
    asked = check_features(reader, hookpoint, features or ())
    chosen = "TRUE" if features is None else AMONG_FEATURES
    side = "SELECT feature, positions FROM feature_stats WHERE hookpoint = $hookpoint AND scope ="
    generated = f"(SELECT coalesce(sum(generated_tokens), 0) FROM inferences WHERE {VERDICT} ="
    sql = f"""
        WITH stats AS (
            SELECT feature, inferences AS active_inferences, positions, max_activation
            FROM feature_stats WHERE hookpoint = $hookpoint AND scope = $scope AND {chosen}
        ), think AS ({side} 'think'), answer AS ({side} 'answer'), outcomes AS (
            SELECT feature, right_positions, wrong_positions
            FROM feature_stats WHERE hookpoint = $hookpoint AND scope = 'generated'
        ), sizes AS (
            SELECT {positions_in("think")} AS think_size, {positions_in("answer")} AS answer_size,
                {generated} 'right') AS right_size, {generated} 'wrong') AS wrong_size
        )
        SELECT stats.feature, coalesce(relevant.inferences, 0) AS inferences, $of AS of, active_inferences,
            stats.positions, max_activation,
            CASE WHEN think_size > 0 AND answer_size > 0 THEN
                (coalesce(think.positions, 0) * answer_size - coalesce(answer.positions, 0) * think_size)
                    / (think_size * answer_size)
            END AS think_minus_answer,
            CASE WHEN right_size > 0 AND wrong_size > 0 THEN
                (coalesce(right_positions, 0) * wrong_size - coalesce(wrong_positions, 0) * right_size)
                    / (right_size * wrong_size)
            END AS right_minus_wrong
        FROM stats LEFT JOIN ({_RELEVANT}) AS relevant USING (feature) LEFT JOIN think USING (feature)
            LEFT JOIN answer USING (feature) LEFT JOIN outcomes USING (feature), sizes
        ORDER BY {_SORTED_BY[sort]}, max_activation DESC, feature LIMIT $top
    """
    parameters = {"hookpoint": hookpoint, "scope": scope, "of": reader.inferences, "top": top, "relevant": relevant}
    return reader.query(sql, parameters if features is None else parameters | {"features": asked})


def feature_maxima(
    reader: Reader, hookpoint: str, features: tuple[int, ...], scope: Scope = "generated"
) -> pd.DataFrame:
    """The largest activation of some features in all inferences, 0 where one never is active: feature (in the order
    asked), max_activation."""
    asked = check_features(reader, hookpoint, features)
    check_choice("scope", scope, SCOPES)
    sql = f"""
        WITH {ASKED}, stats AS (
            SELECT feature, max_activation FROM feature_stats
            WHERE hookpoint = $hookpoint AND scope = $scope AND {AMONG_FEATURES}
        )
        SELECT feature, coalesce(max_activation, 0) AS max_activation
        FROM asked LEFT JOIN stats USING (feature) ORDER BY place
    """
    return reader.query(sql, {"hookpoint": hookpoint, "scope": scope, "features": asked})


def feature_shares(
    reader: Reader, hookpoint: str, features: tuple[int, ...], scope: Scope = "generated"
) -> pd.DataFrame:
    """At what share of all positions that the scope has in the experiment some features are active: feature (in the
    order asked), share (0 where one never is active, null where there are no positions)."""
    asked = check_features(reader, hookpoint, features)
    check_choice("scope", scope, SCOPES)
    sql = f"""
        WITH {ASKED}, stats AS (
            SELECT feature, positions FROM feature_stats
            WHERE hookpoint = $hookpoint AND scope = $scope AND {AMONG_FEATURES}
        )
        SELECT feature, coalesce(positions, 0) / nullif({positions_in(scope)}, 0) AS share
        FROM asked LEFT JOIN stats USING (feature) ORDER BY place
    """
    return reader.query(sql, {"hookpoint": hookpoint, "scope": scope, "features": asked})


def feature_percentiles(
    reader: Reader,
    hookpoint: str,
    features: tuple[int, ...],
    maxima: tuple[float, ...],
    scope: Scope = "generated",
) -> pd.DataFrame:
    """How rare the given maximum activations of some features are: feature, max_activation (as given),
    stored_maximum (null where it never is active), active_inferences, percentile, excess.

    percentile: the share of the stored inferences whose own maximum in the scope, 0 where it never is active, is below
    the given one. excess: max_activation / stored_maximum (null without one). By percentile, then excess, those without
    one first, then max_activation, all descending, then the smaller feature.
    """
    asked = check_features(reader, hookpoint, features)
    if len(maxima) != len(asked):
        raise BadValue(f"{len(asked)} different features were asked with {len(maxima)} maxima")
    sql = f"""
        WITH asked AS (
            SELECT unnest($features::INTEGER[]) AS feature, unnest($maxima::DOUBLE[]) AS given
        ), own AS (
            SELECT feature, inference, max(max_activation) AS max_activation FROM feature_inferences
            WHERE hookpoint = $hookpoint AND {AMONG_FEATURES} AND {in_scope(scope)}
            GROUP BY feature, inference
        )
        SELECT feature, given AS max_activation, max(own.max_activation) AS stored_maximum,
            count(inference) AS active_inferences,
            1 - count(inference) FILTER (own.max_activation >= given) / $of AS percentile,
            given / stored_maximum AS excess
        FROM asked LEFT JOIN own USING (feature) GROUP BY feature, given
        ORDER BY percentile DESC, excess DESC NULLS FIRST, given DESC, feature
    """
    parameters = {"hookpoint": hookpoint, "features": asked, "maxima": list(maxima), "of": reader.inferences}
    return reader.query(sql, parameters)


def feature_matrix(
    reader: Reader, hookpoint: str, scope: Scope = "generated", features: tuple[int, ...] = ()
) -> pd.DataFrame:
    """Some features in every inference in which they are active: feature (in the order asked), inference (ascending),
    positions, max_activation, peak_position (the first position of the largest activation)."""
    asked = check_features(reader, hookpoint, features)
    sql = f"""
        SELECT feature, inference, sum(positions)::BIGINT AS positions, max(max_activation) AS max_activation,
            -max({{'activation': max_activation, 'negated': -peak_position}}).negated AS peak_position
        FROM feature_inferences
        WHERE hookpoint = $hookpoint AND {AMONG_FEATURES} AND {in_scope(scope)}
        GROUP BY feature, inference ORDER BY list_position($features::INTEGER[], feature), inference
    """
    return reader.query(sql, {"hookpoint": hookpoint, "features": asked})


def feature_search(
    reader: Reader, hookpoint: str, scope: Scope = "generated", text: str = "", top: int = 200
) -> pd.DataFrame:
    """Features one of whose five top tokens (by largest activation in the scope) contains a text: feature.

    Upper and lower case are one, spaces count. By the largest activation at such a token, then by the smaller feature.
    """
    check_hookpoint(reader, hookpoint)
    check_choice("scope", scope, SCOPES)
    check_top(top)
    # A database and what is pending beside it have five tokens each: the first five of both together count.
    sql = f"""
        WITH parts AS (
            SELECT feature, token_id, text, max_activation FROM feature_tokens
            WHERE hookpoint = $hookpoint AND scope = $scope
        ), found AS (
            SELECT DISTINCT feature FROM parts WHERE contains(lower(text), lower($text))
        ), merged AS (
            SELECT feature, token_id, min(text) AS text, max(max_activation) AS max_activation
            FROM parts SEMI JOIN found USING (feature) GROUP BY feature, token_id
        ), largest AS (
            FROM merged
            QUALIFY row_number() OVER (PARTITION BY feature ORDER BY max_activation DESC, token_id) <= {TOP_TOKENS}
        )
        SELECT feature FROM largest WHERE contains(lower(text), lower($text))
        GROUP BY feature ORDER BY max(max_activation) DESC, feature LIMIT $top
    """
    return reader.query(sql, {"hookpoint": hookpoint, "scope": scope, "text": text, "top": top})


def check_relevant(relevant: int) -> None:
    """Raises BadValue."""
    check_top(relevant, "relevant")
    if relevant > RANKS:
        raise BadValue(f"relevant is {relevant}; the first {RANKS} features of an inference are stored")
