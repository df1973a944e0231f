"""Reads databases of Goodfire's layout, one a hookpoint, as inferences: checked first, then one sequence at a time.

A sequence becomes an inference, and its tokens positions, in the order of their numbers; both count from 0, without
gaps. Nothing says which tokens were a prompt or a thought: all of them count as generated. Log-probabilities and the
errors of the SAE are NaN: not known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kthink_core.config import (
    GOODFIRE,
    MOST_INFERENCES,
    MOST_LATENTS,
    Experiment,
    ExperimentConfig,
    Revisions,
    SaeShape,
)
from kthink_core.errors import BadFile
from kthink_core.records import Encoding, Inference
from kthink_core.travel.goodfire import ACTIVATIONS, TOKENS
from kthink_core.travel.received import check_rows, check_rules, tables_of, told

MOST_POSITIONS = 2**20
"""Tokens of one sequence."""
MOST_KEPT = 2**27
"""Cells of one sequence's latents: positions times the most features that one of them has."""
MOST_TEXT = 2_000
"""Characters of one token."""

_INTEGERS = {
    "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT"
}  # fmt: skip
_FLOATS = {"FLOAT", "DOUBLE"}
_ROWS = 65_536
"""Of a batch."""


def is_goodfire(tables: Mapping[str, Mapping[str, str]]) -> bool:
    """Whether a file has the tables of the layout, by name and columns."""
    columns = {"tokens": TOKENS, "activations": ACTIVATIONS}
    return all(columns[table].keys() <= tables.get(table, {}).keys() for table in columns)


def check_goodfire(connection: duckdb.DuckDBPyConnection, path: Path, catalog: str) -> None:
    """Raises BadFile for types, numbers and rows that the layout has not."""
    with told(path):
        tables = tables_of(connection, catalog)
        if not is_goodfire(tables):
            raise BadFile(path, f"it is not of the layout '{GOODFIRE}', as the others are")
        for table, columns in (("tokens", TOKENS), ("activations", ACTIVATIONS)):
            for column, kind in columns.items():
                found = tables[table][column]
                fits = {"INTEGER": _INTEGERS, "FLOAT": _FLOATS}.get(kind, {kind})
                if found not in fits:
                    raise BadFile(path, f"{table}.{column} is {found[:60]}, not {kind}")
        check_rows(connection, path, catalog, ("tokens", "activations"))
        check_rules(connection, path, _rules(f"{catalog}.main"))


def _rules(at: str) -> list[tuple[str, str]]:
    """Queries of what must not be, with what it is called."""
    wrong = "NOT coalesce({column} BETWEEN 0 AND {most}, false)"
    numbers = [
        ("tokens", "sequence_id", 2**31 - 1), ("tokens", "token_idx", 2**31 - 1), ("tokens", "token", 2**31 - 1),
        ("activations", "feature_id", MOST_LATENTS - 1), ("activations", "sequence_id", 2**31 - 1),
        ("activations", "token_idx", 2**31 - 1),
    ]  # fmt: skip
    ranges = [
        (
            f"SELECT {column} FROM {at}.{table} WHERE {wrong.format(column=column, most=most)}",
            f"a {column} that is no number from 0 to {most:,}",
        )
        for table, column, most in numbers
    ]
    return [
        *ranges,
        (
            f"SELECT sequence_id, token_idx FROM {at}.tokens "
            f"WHERE NOT coalesce(length(decoded_token) <= {MOST_TEXT}, false)",
            f"a token without text, or of more than {MOST_TEXT:,} characters",
        ),
        (
            f"SELECT sequence_id, token_idx, feature_id FROM {at}.activations "
            "WHERE NOT coalesce(isfinite(strength) AND strength BETWEEN 0 AND 3e38, false)",
            "a strength that is no finite number from 0 on",
        ),
        (
            f"SELECT sequence_id, count(*) FROM {at}.tokens GROUP BY ALL HAVING count(*) > {MOST_POSITIONS}",
            f"a sequence of more than {MOST_POSITIONS:,} tokens",
        ),
        (
            f"SELECT sequence_id, token_idx FROM {at}.tokens GROUP BY ALL HAVING count(*) > 1",
            "two tokens at one place",
        ),
        (
            f"SELECT sequence_id, token_idx, feature_id FROM {at}.activations GROUP BY ALL HAVING count(*) > 1",
            "two strengths of one feature at one place",
        ),
        (
            f"SELECT sequence_id, token_idx FROM {at}.activations ANTI JOIN {at}.tokens USING (sequence_id, token_idx)",
            "an activation at a place without a token",
        ),
        (
            f"SELECT sequence_id, token_idx, count(*) FROM {at}.activations GROUP BY ALL "
            f"HAVING count(*) > {MOST_KEPT // 1024}",
            "too many features at one place",
        ),
        (
            f"SELECT count(DISTINCT sequence_id) AS n FROM {at}.tokens HAVING n = 0 OR n > {MOST_INFERENCES}",
            f"not from 1 to {MOST_INFERENCES:,} sequences",
        ),
    ]


def experiment(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    sae: str,
    files: Mapping[str, tuple[Path, str]],
    digests: Mapping[str, str],
    facts: Mapping[str, str],
) -> Experiment:
    """What is known of the experiment of checked files, given as path and catalog by hookpoint. `digests` of the files
    tell their SAEs from others; `facts` are its provenance."""
    first = next(iter(files.values()))[1]
    lengths = f"SELECT count(*) AS tokens FROM {first}.main.tokens GROUP BY sequence_id"
    ((sequences, longest),) = connection.execute(f"SELECT count(*), max(tokens) FROM ({lengths})").fetchall()
    return Experiment(
        name=name,
        config=ExperimentConfig(
            model="unknown", sae=sae, hookpoints=tuple(files), problems="unknown", limit=None, mode="bypass",
            max_new_tokens=longest,
        ),
        inferences=sequences,
        saes={hookpoint: _shape(connection, catalog) for hookpoint, (_, catalog) in files.items()},
        revisions=Revisions(saes=dict(digests)),
        provenance=dict(facts),
    )  # fmt: skip


def _shape(connection: duckdb.DuckDBPyConnection, catalog: str) -> SaeShape:
    """As far as activations tell: as many features as the largest number needs. The width is not known and stands as
    1."""
    ((last,),) = connection.execute(f"SELECT max(feature_id) FROM {catalog}.main.activations").fetchall()
    return SaeShape(num_latents=(last or 0) + 1, k=None, d_in=1, activation="unknown")


def inferences(connection: duckdb.DuckDBPyConnection, files: Mapping[str, tuple[Path, str]]) -> Iterator[Inference]:
    """The inferences of checked files, given as path and catalog by hookpoint. Raises BadFile where they have other
    tokens than each other, or more latents in one sequence than are held."""
    tokens = {hookpoint: _tokens(connection, *file) for hookpoint, file in files.items()}
    latents = {hookpoint: _Latents(connection, *file) for hookpoint, file in files.items()}
    (first, (first_path, _)), *others = files.items()
    for index, (sequence, table) in enumerate(tokens[first]):
        for hookpoint, (path, _) in others:
            other = next(tokens[hookpoint], None)
            if other is None or other[0] != sequence or not other[1].equals(table):
                raise BadFile(path, f"its tokens of sequence {sequence} are not those of {first_path.name}")
        places = table["token_idx"].to_numpy()
        encodings = {hookpoint: found.of(sequence, places) for hookpoint, found in latents.items()}
        yield _inference(index, sequence, table, encodings)
    for hookpoint, (path, _) in others:
        if next(tokens[hookpoint], None) is not None:
            raise BadFile(path, f"it has more sequences than {first_path.name}")


def _inference(index: int, sequence: int, tokens: pa.Table, encodings: dict[str, Encoding]) -> Inference:
    positions = tokens.num_rows
    return Inference(
        inference=index, problem=index, question=f"sequence {sequence}", prompt="", mode="bypass", seed=0,
        prompt_tokens=0, finish_reason="stop", answer=None, reference=None, correct=None,
        token_ids=tokens["token"].to_numpy().astype(np.int32),
        texts=tuple(tokens["decoded_token"].to_pylist()),
        segments=("answer",) * positions,
        logprobs=np.full(positions, np.nan, np.float32),
        encodings=encodings,
    )  # fmt: skip


def _tokens(connection: duckdb.DuckDBPyConnection, path: Path, catalog: str) -> Iterator[tuple[int, pa.Table]]:
    return _grouped(
        connection,
        path,
        f"""
        SELECT sequence_id::INTEGER AS sequence_id, token_idx::INTEGER AS token_idx, token::INTEGER AS token,
            decoded_token
        FROM {catalog}.main.tokens ORDER BY sequence_id, token_idx
        """,
    )


class _Latents:
    """The activations of one file, sequence by sequence."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, path: Path, catalog: str) -> None:
        self._path = path
        self._groups = _grouped(
            connection,
            path,
            f"""
            SELECT sequence_id::INTEGER AS sequence_id, token_idx::INTEGER AS token_idx,
                feature_id::INTEGER AS feature_id, strength::FLOAT AS strength
            FROM {catalog}.main.activations WHERE strength::FLOAT > 0
            ORDER BY sequence_id, token_idx, strength DESC, feature_id
            """,
        )
        self._next = next(self._groups, None)

    def of(self, sequence: int, places: NDArray[np.int32]) -> Encoding:
        """Those of the next sequence, whose tokens have these numbers; none where it has none."""
        features = np.zeros((len(places), 0), np.int32)
        activations = np.zeros((len(places), 0), np.float32)
        if self._next is not None and self._next[0] == sequence:
            table = self._next[1]
            position = np.searchsorted(places, table["token_idx"].to_numpy())
            counts = np.bincount(position, minlength=len(places))
            if len(places) * int(counts.max()) > MOST_KEPT:
                raise BadFile(self._path, f"sequence {sequence} has more latents than are held")
            column = np.arange(len(position)) - np.repeat(np.cumsum(counts) - counts, counts)
            features = np.zeros((len(places), counts.max()), np.int32)
            activations = np.zeros(features.shape, np.float32)
            features[position, column] = table["feature_id"].to_numpy()
            activations[position, column] = table["strength"].to_numpy()
            self._next = next(self._groups, None)
        unknown = np.full(len(places), np.nan, np.float32)
        return Encoding(features, activations, unknown, unknown, {"answer": np.full(1, np.nan)})


def _grouped(connection: duckdb.DuckDBPyConnection, path: Path, sql: str) -> Iterator[tuple[int, pa.Table]]:
    """The rows of a query that is ordered by its first column, a table for each value of it."""
    with told(path):
        cursor = connection.cursor()
        held: list[pa.RecordBatch] = []
        for batch in cursor.sql(sql).to_arrow_reader(_ROWS):
            ids = batch.column(0).to_numpy()
            if not len(ids):
                continue
            starts = [0, *(np.flatnonzero(np.diff(ids)) + 1).tolist(), len(ids)]
            for start, end in pairwise(starts):
                if held and held[-1].column(0)[0].as_py() != ids[start]:
                    yield held[0].column(0)[0].as_py(), pa.Table.from_batches(held)
                    held = []
                held.append(batch.slice(start, end - start))
                if sum(part.num_rows for part in held) > MOST_KEPT:
                    raise BadFile(path, f"sequence {ids[start]} has more rows than are held")
        if held:
            yield held[0].column(0)[0].as_py(), pa.Table.from_batches(held)
