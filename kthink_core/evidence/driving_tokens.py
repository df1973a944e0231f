"""The tokens that a feature fires on, alone and with their neighbours, as they stand in an experiment's traces."""

from __future__ import annotations

import pandas as pd

from kthink_core.evidence.strategies import Drivers, Unit
from kthink_core.queries.checks import check_feature
from kthink_core.queries.fragments import activations_of_feature
from kthink_core.store.reader import Reader
from kthink_core.store.scopes import Scope

TOP = 10
"""Tokens, bigrams and trigrams that are taken of each kind."""
LEAST = 3
"""Times that a feature must fire on a token, bigram or trigram for it to count as what drives it."""
SHARE = 0.1
"""Of a trace's largest activation, that each of three active neighbours has at least."""
SCOPE: Scope = "generated"
"""Where the tokens are taken from: what the model wrote."""

_RUNS = """
    SELECT token_id, activation, position, inference,
        max(activation) OVER (PARTITION BY inference) AS largest,
        lead(token_id) OVER trace AS second, lead(activation) OVER trace AS second_activation,
        lead(position) OVER trace = position + 1 AS has_second,
        lead(token_id, 2) OVER trace AS third, lead(activation, 2) OVER trace AS third_activation,
        lead(position, 2) OVER trace = position + 2 AS has_third
    FROM fired WINDOW trace AS (PARTITION BY inference ORDER BY position)
"""


def drivers_of(reader: Reader, hookpoint: str, feature: int) -> Drivers:
    """What a feature fires on in the scope `generated`.

    Tokens by mean activation where it fires on them, of those on which it fires `LEAST` times; bigrams and trigrams of
    neighbouring positions, all of which it fires at, by the mean of the activations' mean, `LEAST` times, too; active
    trigrams likewise, however rare, by their largest mean. At most `TOP` of each; ties go to the smaller ids. The
    neighbours of a top token are counted where the feature fires on it. Raises UnknownName, OutOfRange.
    """
    check_feature(reader, hookpoint, feature)
    tokens = _units(_ask(reader, hookpoint, feature, _TOKENS), 1)
    if not tokens:
        return Drivers(feature)
    first = [unit[0] for unit in tokens]
    return Drivers(
        feature,
        tokens,
        _units(_ask(reader, hookpoint, feature, _BIGRAMS), 2),
        _units(_ask(reader, hookpoint, feature, _TRIGRAMS), 3),
        _units(_ask(reader, hookpoint, feature, _neighbours("token_id", "driving", -1), first), 2),
        _units(_ask(reader, hookpoint, feature, _neighbours("driving", "token_id", 1), first), 2),
        _units(_ask(reader, hookpoint, feature, _ACTIVE), 3),
    )


_TOKENS = """
    SELECT token_id FROM fired GROUP BY token_id HAVING count(*) >= $least
    ORDER BY avg(activation::DOUBLE) DESC, token_id LIMIT $top
"""
_BIGRAMS = """
    SELECT token_id, second FROM runs WHERE has_second GROUP BY token_id, second HAVING count(*) >= $least
    ORDER BY avg((activation::DOUBLE + second_activation) / 2) DESC, token_id, second LIMIT $top
"""
_TRIGRAMS = """
    SELECT token_id, second, third FROM runs WHERE has_third GROUP BY token_id, second, third HAVING count(*) >= $least
    ORDER BY avg((activation::DOUBLE + second_activation + third_activation) / 3) DESC, token_id, second, third
    LIMIT $top
"""
_ACTIVE = f"""
    SELECT token_id, second, third FROM runs
    WHERE has_third AND least(activation, second_activation, third_activation) >= {SHARE} * largest
    GROUP BY token_id, second, third
    ORDER BY max((activation::DOUBLE + second_activation + third_activation) / 3) DESC, token_id, second, third
    LIMIT $top
"""


def _neighbours(first: str, second: str, step: int) -> str:
    """Each top token with the token that is most often `step` positions from it."""
    return f"""
        WITH pairs AS (
            SELECT fired.token_id AS driving, beside.token_id, count(*) AS count
            FROM fired JOIN tokens AS beside ON beside.inference = fired.inference
                AND beside.position = fired.position + ({step})
            WHERE fired.token_id IN (SELECT unnest($tokens::INTEGER[])) GROUP BY ALL
        ), commonest AS (
            SELECT *, row_number() OVER (PARTITION BY driving ORDER BY count DESC, token_id) AS rank FROM pairs
        )
        SELECT {first} AS one, {second} AS other FROM commonest WHERE rank = 1
        ORDER BY list_position($tokens::INTEGER[], driving)
    """


def _ask(reader: Reader, hookpoint: str, feature: int, sql: str, tokens: list[int] | None = None) -> pd.DataFrame:
    with_fired = f"""
        WITH own AS ({activations_of_feature(SCOPE)}), fired AS (
            SELECT inference, position, activation, token_id FROM own JOIN tokens USING (inference, position)
        ), runs AS ({_RUNS})
        SELECT * FROM ({sql})
    """
    parameters: dict[str, object] = {"hookpoint": hookpoint, "feature": feature}
    if tokens is not None:
        return reader.query(with_fired, parameters | {"tokens": tokens})
    given = {"top": TOP} | ({"least": LEAST} if "$least" in sql else {})
    return reader.query(with_fired, parameters | given)


def _units(table: pd.DataFrame, length: int) -> tuple[Unit, ...]:
    rows = [tuple(int(token_id) for token_id in row) for row in table.itertuples(index=False, name=None)]
    assert all(len(row) == length for row in rows)
    return tuple(rows)


def firing_features(reader: Reader, hookpoint: str) -> list[int]:
    """The features that fire at `LEAST` positions of the scope or more, ascending: those that can be tested."""
    sql = """
        SELECT feature FROM feature_stats WHERE hookpoint = $hookpoint AND scope = $scope
        GROUP BY feature HAVING sum(positions) >= $least ORDER BY feature
    """
    found = reader.query(sql, {"hookpoint": hookpoint, "scope": SCOPE, "least": LEAST})
    return [int(feature) for feature in found["feature"]]
