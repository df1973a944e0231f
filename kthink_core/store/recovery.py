"""An inference whose segment file is lost, or the experiment's own file, taken from a database that has it.

A database holds all that a segment file does but for activations of zero, which mean nothing. Its blocks have
checksums: what is read of it is what was written, even where other blocks of it are damaged.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from kthink_core.config import Experiment
from kthink_core.documents import parse_object
from kthink_core.errors import BadFile, CorruptFile, SchemaTooNew, SchemaTooOld
from kthink_core.records import Encoding, Inference
from kthink_core.store.attached import attach, check_belongs, connect
from kthink_core.store.files import DAMAGED, DATABASE_NAME, Layout
from kthink_core.store.journal import misfit

_SCALARS = tuple(
    field.name
    for field in fields(Inference)
    if field.name not in ("token_ids", "texts", "segments", "logprobs", "encodings")
)

_UNUSABLE = (duckdb.Error, BadFile, CorruptFile, SchemaTooOld, SchemaTooNew, OSError, ValueError)


def recovered(layout: Layout, experiment: Experiment, inference: int) -> Inference | None:
    """The inference as the newest database that has it sound holds it; None where none has."""
    for path in _databases(layout):
        with closing(connect()) as connection:
            try:
                attach(connection, path)
                check_belongs(connection, path, experiment)
                found = _read(connection, experiment, inference)
            except _UNUSABLE:
                continue  # another one may have it
        if found is not None and misfit(experiment, found) is None:
            return found
    return None


def inferences_anywhere(layout: Layout, experiment: Experiment) -> frozenset[int]:
    """The inferences of the newest database that can be read: all that is known of them where the manifest is lost."""
    for path in _databases(layout):
        with closing(connect()) as connection:
            try:
                attach(connection, path)
                check_belongs(connection, path, experiment)
                rows = connection.execute("SELECT inference FROM store.inferences").fetchall()
            except _UNUSABLE:
                continue
        return frozenset(inference for (inference,) in rows)
    return frozenset()


def experiment_anywhere(layout: Layout) -> Experiment | None:
    """The configuration and provenance that the newest readable database was built with."""
    for path in _databases(layout):
        with closing(connect()) as connection:
            try:
                attach(connection, path)
                columns = "name, inferences, config, provenance, saes"
                [(name, inferences, *documents)] = connection.execute(
                    f"SELECT {columns} FROM store.experiment"
                ).fetchall()
                config, provenance, saes = (parse_object(path, text.encode()) for text in documents)
                facts = {"name": name, "inferences": inferences, "open_ended": inferences == 0}
                return Experiment.model_validate(facts | {"config": config, "provenance": provenance, "saes": saes})
            except _UNUSABLE:
                continue
    return None


def _databases(layout: Layout) -> Iterator[Path]:
    """The newest first, then those that were set aside."""
    yield from reversed(layout.databases())
    for path in sorted(layout.folder.glob(f"latents-*{DAMAGED}*"), reverse=True):
        if re.fullmatch(DATABASE_NAME, path.name.partition(DAMAGED)[0]):
            yield path


def _read(connection: duckdb.DuckDBPyConnection, experiment: Experiment, inference: int) -> Inference | None:
    rows = _ask(
        connection, f"SELECT {', '.join(_SCALARS)} FROM store.inferences WHERE inference = $inference", inference
    )
    if len(rows) != 1:
        return None
    tokens = _ask(
        connection,
        "SELECT token_id, text, segment::VARCHAR, logprob FROM store.tokens WHERE inference = $inference "
        "ORDER BY position",
        inference,
    )
    token_ids, texts, segments, logprobs = zip(*tokens, strict=True)
    return Inference(
        **dict(zip(_SCALARS, rows[0], strict=True)),
        token_ids=np.array(token_ids, np.int32),
        texts=texts,
        segments=segments,
        logprobs=np.array([np.nan if logprob is None else logprob for logprob in logprobs], np.float32),
        encodings={
            hookpoint: _encoding(connection, inference, hookpoint, shape.k)
            for hookpoint, shape in experiment.saes.items()
        },
    )


def _encoding(connection: duckdb.DuckDBPyConnection, inference: int, hookpoint: str, k: int) -> Encoding:
    """Positions with fewer than k active features are filled up with feature 0 at activation 0."""
    there = "WHERE inference = $inference AND hookpoint = $hookpoint"
    latents = _ask(
        connection,
        f"SELECT features, activations FROM store.token_latents {there} ORDER BY position",
        inference,
        hookpoint=hookpoint,
    )
    features = np.zeros((len(latents), k), np.int32)
    activations = np.zeros((len(latents), k), np.float32)
    for position, (ids, values) in enumerate(latents):
        features[position, : len(ids)], activations[position, : len(values)] = ids, values
    errors = _ask(
        connection,
        f"SELECT squared_error, squared_norm FROM store.quality {there} ORDER BY position",
        inference,
        hookpoint=hookpoint,
    )
    squared = np.array(errors, np.float32).reshape(-1, 2)
    sums = _ask(
        connection,
        f"SELECT segment::VARCHAR, sum FROM store.vector_sums {there} ORDER BY segment",
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
