"""The two sides of a contrast: which positions of which inferences are on either, and how often features fire there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kthink_core.errors import BadValue
from kthink_core.evidence.occurrences import LONGEST, around, pattern
from kthink_core.queries.checks import check_choice, check_hookpoint, in_scope
from kthink_core.store.reader import Reader
from kthink_core.store.scopes import SCOPES, Scope
from kthink_core.store.verdicts import VERDICT

Between = Literal["right:wrong", "think:answer", "finished:cut-off", "before:after", "think:bypass", "experiments"]
BETWEEN: tuple[Between, ...] = get_args(Between)

_FINISHED = "CASE finish_reason WHEN 'stop' THEN 'finished' ELSE 'cut-off' END"
_OUTCOMES: dict[str, str] = {"right:wrong": VERDICT, "finished:cut-off": _FINISHED}
"""What of an inference says on which side it is."""


class Cells(NamedTuple):
    """Where features fire: [cells] each, of one inference and feature; some may be of the same."""

    inference: NDArray[np.int64]
    feature: NDArray[np.int64]
    positions: NDArray[np.float64]
    """At how many positions of the side it is active."""
    activation_sum: NDArray[np.float64]


class Side(NamedTuple):
    """One side: the inferences that have positions on it."""

    inferences: NDArray[np.int64]
    """[inferences] ascending."""
    positions: NDArray[np.int64]
    """[inferences] how many of its positions are on the side."""
    firsts: NDArray[np.int64]
    """[inferences] the first of them; the others follow, but for before:after."""
    problems: list[tuple[int, str]]
    """[inferences] number and question."""
    cells: Cells


def sides(
    reader: Reader, hookpoint: str, between: Between, scope: Scope, word: str | None, other: Reader | None
) -> tuple[Side, Side]:
    """Both sides, the first named one first. Raises UnknownName; BadValue where something is missing or not wanted.

    right:wrong and finished:cut-off: positions in scope of inferences by how they came out; think:answer: those
    segments; before:after: positions in scope within three of the word; think:bypass and experiments: positions in
    scope of this experiment and of the other one.
    """
    check_hookpoint(reader, hookpoint)
    check_choice("contrast", between, BETWEEN)
    check_choice("scope", scope, SCOPES)
    if (between == "before:after") != (word is not None):
        raise BadValue("--between before:after needs --word, and no other contrast takes it")
    if (between in ("think:bypass", "experiments")) != (other is not None):
        raise BadValue("--between think:bypass and experiments need --other EXPERIMENT, and no other contrast takes it")
    if between == "think:answer" and scope not in ("generated", "all"):
        raise BadValue(f"think:answer has scopes of its own: {scope} leaves nothing to compare; take generated")
    if word is not None:
        return _around(reader, hookpoint, scope, word)
    if other is not None:
        check_hookpoint(other, hookpoint)
        return _whole(reader, hookpoint, scope), _whole(other, hookpoint, scope)
    if between == "think:answer":
        return _whole(reader, hookpoint, "think"), _whole(reader, hookpoint, "answer")
    return _by_outcome(reader, hookpoint, between, scope)


def _whole(reader: Reader, hookpoint: str, scope: Scope, facts: pd.DataFrame | None = None) -> Side:
    """All positions in scope, of all inferences or of those in `facts`."""
    facts = _facts(reader) if facts is None else facts
    sizes = reader.query(
        f"""SELECT inference, count(*) AS positions, min(position) AS first FROM tokens
        WHERE {in_scope(scope)} GROUP BY inference ORDER BY inference"""
    )
    sql = f"""SELECT inference, feature, positions, activation_sum FROM feature_inferences
        WHERE hookpoint = $hookpoint AND {in_scope(scope)}"""
    return _side(facts, sizes, _cells(reader, sql, {"hookpoint": hookpoint}))


def _by_outcome(reader: Reader, hookpoint: str, between: Between, scope: Scope) -> tuple[Side, Side]:
    facts = _facts(reader, _OUTCOMES[between])
    whole = _whole(reader, hookpoint, scope, facts)
    outcome = dict(zip(facts["inference"].tolist(), facts["outcome"].tolist(), strict=True))
    here = np.array([outcome[inference] for inference in whole.inferences.tolist()], object)
    one, other = (_among(whole, here == name) for name in between.split(":"))
    return one, other


def _around(reader: Reader, hookpoint: str, scope: Scope, word: str) -> tuple[Side, Side]:
    word = word.strip()
    if not 0 < len(word) <= LONGEST:
        raise BadValue(f"a word has 1 to {LONGEST} characters, not {len(word)}")
    found = pattern(word)
    places: tuple[list[tuple[int, int]], list[tuple[int, int]]] = ([], [])
    for inference, first, texts in _traces(reader, scope):
        for side, positions in zip(places, around(texts, found, first), strict=True):
            side.extend((inference, position) for position in positions)
    if not any(places):
        raise BadValue(f"the word '{word}' never stands in scope {scope} of experiment '{reader.experiment.name}'")
    facts = _facts(reader)
    sql = """
        WITH places AS (
            SELECT unnest($inferences::INTEGER[]) AS inference, unnest($positions::INTEGER[]) AS position
        ), latents AS (
            SELECT inference, unnest(features) AS feature, unnest(activations) AS activation
            FROM token_latents JOIN places USING (inference, position) WHERE hookpoint = $hookpoint
        )
        SELECT inference, feature, count(*) AS positions, sum(activation::DOUBLE) AS activation_sum
        FROM latents GROUP BY inference, feature
    """
    made = []
    for side in places:
        table = pd.DataFrame(side, columns=["inference", "position"])
        sizes = table.groupby("inference")["position"].agg(positions="size", first="min").reset_index()
        asked = {"inferences": table["inference"].tolist(), "positions": table["position"].tolist()}
        made.append(_side(facts, sizes, _cells(reader, sql, {"hookpoint": hookpoint} | asked)))
    return made[0], made[1]


def _traces(reader: Reader, scope: Scope) -> Iterator[tuple[int, int, list[str]]]:
    """Of each inference the texts of its tokens in scope, and the position of the first."""
    sql = f"SELECT inference, position, text FROM tokens WHERE {in_scope(scope)} ORDER BY inference, position"
    with reader.stream(sql) as batches:
        rows = (row for batch in batches for row in zip(*(column.to_pylist() for column in batch.columns), strict=True))
        for inference, own in groupby(rows, key=lambda row: row[0]):
            tokens = list(own)
            yield inference, tokens[0][1], [text for _, _, text in tokens]


def _facts(reader: Reader, outcome: str = "NULL") -> pd.DataFrame:
    return reader.query(f"SELECT inference, problem, question, {outcome} AS outcome FROM inferences ORDER BY inference")


def _side(facts: pd.DataFrame, sizes: pd.DataFrame, cells: Cells) -> Side:
    table = facts.merge(sizes, on="inference").sort_values("inference")
    problems = list(zip(table["problem"].tolist(), table["question"].tolist(), strict=True))
    inferences, positions, firsts = (table[name].to_numpy(np.int64) for name in ("inference", "positions", "first"))
    return Side(inferences, positions, firsts, problems, cells)


def _among(side: Side, kept: NDArray[np.bool_]) -> Side:
    """The part of a side that some of its inferences are."""
    inferences = side.inferences[kept]
    cells = side.cells
    among = np.isin(cells.inference, inferences)
    cells = Cells(cells.inference[among], cells.feature[among], cells.positions[among], cells.activation_sum[among])
    problems = [problem for problem, one in zip(side.problems, kept, strict=True) if one]
    return Side(inferences, side.positions[kept], side.firsts[kept], problems, cells)


def stretch(
    reader: Reader,
    hookpoint: str,
    inferences: NDArray[np.int64],
    firsts: NDArray[np.int64],
    lengths: NDArray[np.int64],
) -> Cells:
    """Where features fire in one stretch of each inference: `lengths` positions from `firsts` on."""
    sql = """
        WITH stretches AS (
            SELECT unnest($inferences::INTEGER[]) AS inference, unnest($firsts::INTEGER[]) AS first,
                unnest($lengths::INTEGER[]) AS length
        ), latents AS (
            SELECT inference, unnest(features) AS feature, unnest(activations) AS activation
            FROM token_latents JOIN stretches USING (inference)
            WHERE hookpoint = $hookpoint AND position >= first AND position < first + length
        )
        SELECT inference, feature, count(*) AS positions, sum(activation::DOUBLE) AS activation_sum
        FROM latents GROUP BY inference, feature
    """
    asked = {"inferences": inferences.tolist(), "firsts": firsts.tolist(), "lengths": lengths.tolist()}
    return _cells(reader, sql, {"hookpoint": hookpoint} | asked)


def _cells(reader: Reader, sql: str, parameters: Mapping[str, Any]) -> Cells:
    parts: list[list[NDArray[Any]]] = []
    with reader.stream(sql, parameters) as batches:
        for batch in batches:
            parts.append([column.to_numpy(zero_copy_only=False) for column in batch.columns])
    if not parts:
        return Cells(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0), np.empty(0))
    inference, feature, positions, sums = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Cells(
        inference.astype(np.int64), feature.astype(np.int64), positions.astype(np.float64), sums.astype(np.float64)
    )
