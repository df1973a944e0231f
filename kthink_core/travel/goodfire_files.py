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

from kthink_core.config import Experiment, ExperimentConfig, SaeShape
from kthink_core.errors import BadFile
from kthink_core.records import Encoding, Inference
from kthink_core.revisions import Revisions
from kthink_core.travel.goodfire_rules import MOST_KEPT
from kthink_core.travel.received import told

_ROWS = 65_536
"""Of a batch."""


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
