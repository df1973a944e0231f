"""An inference put together again from the rows of a database.

They hold all that a segment file does but for activations of zero, which mean nothing.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import duckdb
import numpy as np

from kthink_core.config import DATABASE_SCHEMA, Experiment
from kthink_core.records import Alternatives, Encoding, Inference
from kthink_core.store.intervention_rows import INTERVENTION, OLDER_INTERVENTION, intervention_of, receipt_of

_OTHERS = {
    *("token_ids", "texts", "segments", "logprobs", "encodings"),
    *("interventions", "receipts", "tags", "alternatives"),
}
_SCALARS = tuple(field.name for field in fields(Inference) if field.name not in _OTHERS)
COLUMN_SINCE = {"max_new_tokens": 3, "tags": 6, "parent_experiment": 7, "parent_inference": 7, "parent_position": 7}
"""The schema that brought a column of `inferences`."""


def read_inference(
    connection: duckdb.DuckDBPyConnection,
    experiment: Experiment,
    inference: int,
    catalog: str,
    schema: int = DATABASE_SCHEMA,
) -> Inference | None:
    """An inference as the tables of a catalog hold it; None where they do not. `schema`: theirs, 2 or later. Raises
    duckdb.Error, ValueError."""
    columns = [f"NULL AS {name}" if schema < COLUMN_SINCE.get(name, 0) else name for name in _SCALARS]
    rows = _ask(
        connection, f"SELECT {', '.join(columns)} FROM {catalog}.inferences WHERE inference = $inference", inference
    )
    if len(rows) != 1:
        return None
    tags = "tags" if schema >= COLUMN_SINCE["tags"] else "NULL"
    [(tags,)] = _ask(connection, f"SELECT {tags} FROM {catalog}.inferences WHERE inference = $inference", inference)
    tokens = _ask(
        connection,
        f"SELECT token_id, text, segment::VARCHAR, logprob FROM {catalog}.tokens WHERE inference = $inference "
        "ORDER BY position",
        inference,
    )
    token_ids, texts, segments, logprobs = zip(*tokens, strict=True)
    fields = [column.name for column in (INTERVENTION if schema >= 5 else OLDER_INTERVENTION)]
    interventions = f"SELECT {', '.join(fields)} FROM {catalog}.interventions"
    rows_of = (
        _ask(connection, f"{interventions} WHERE inference = $inference ORDER BY rowid", inference)
        if schema >= 3  # before it there were none
        else []
    )
    done = [dict(zip(fields, row, strict=True)) for row in rows_of]
    return Inference(
        **dict(zip(_SCALARS, rows[0], strict=True)),
        token_ids=np.array(token_ids, np.int32),
        texts=texts,
        segments=segments,
        logprobs=np.array([np.nan if logprob is None else logprob for logprob in logprobs], np.float32),
        encodings={hookpoint: _encoding(connection, catalog, inference, hookpoint) for hookpoint in experiment.saes},
        interventions=tuple(intervention_of(row) for row in done),
        receipts=tuple(receipt_of(row) for row in done if row.get("positions") is not None),
        tags=tuple(tags or ()),
        alternatives=_alternatives(connection, catalog, inference) if schema >= 7 else None,
    )


def _alternatives(connection: duckdb.DuckDBPyConnection, catalog: str, inference: int) -> Alternatives | None:
    rows = _ask(
        connection,
        f"SELECT token_ids, texts, logprobs, entropy FROM {catalog}.alternatives WHERE inference = $inference "
        "ORDER BY position",
        inference,
    )
    if not rows:
        return None
    token_ids, _, logprobs, entropies = zip(*rows, strict=True)
    named = {id_: text for ids, own, *_ in rows for id_, text in zip(ids, own, strict=True)}
    return Alternatives(
        np.array(token_ids, np.int32),
        np.array(logprobs, np.float32),
        np.array(entropies, np.float32),
        dict(sorted(named.items())),
    )


def _encoding(connection: duckdb.DuckDBPyConnection, catalog: str, inference: int, hookpoint: str) -> Encoding:
    """Positions with fewer active features than others are filled up with feature 0 at activation 0."""
    there = "WHERE inference = $inference AND hookpoint = $hookpoint"
    latents = _ask(
        connection,
        f"SELECT features, activations FROM {catalog}.token_latents {there} ORDER BY position",
        inference,
        hookpoint=hookpoint,
    )
    most = max((len(ids) for ids, _ in latents), default=0)
    features = np.zeros((len(latents), most), np.int32)
    activations = np.zeros((len(latents), most), np.float32)
    for position, (ids, values) in enumerate(latents):
        features[position, : len(ids)], activations[position, : len(values)] = ids, values
    errors = _ask(
        connection,
        f"SELECT squared_error, squared_norm FROM {catalog}.quality {there} ORDER BY position",
        inference,
        hookpoint=hookpoint,
    )
    squared = np.array(errors, np.float32).reshape(-1, 2)
    sums = _ask(
        connection,
        f"SELECT segment::VARCHAR, sum FROM {catalog}.vector_sums {there} ORDER BY segment",
        inference,
        hookpoint=hookpoint,
    )
    return Encoding(
        features=features,
        activations=activations,
        squared_error=squared[:, 0].copy(),
        squared_norm=squared[:, 1].copy(),
        vector_sums={segment: np.array(vector, np.float64) for segment, vector in sums},
    )


def _ask(connection: duckdb.DuckDBPyConnection, sql: str, inference: int, **values: str) -> list[tuple[Any, ...]]:
    return connection.execute(sql, {"inference": inference, **values}).fetchall()
