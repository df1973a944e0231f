"""An inference whose segment file is lost, or the experiment's own file, taken from a database that has it.

A database holds all that a segment file does but for activations of zero, which mean nothing. Its blocks have
checksums: what is read of it is what was written, even where other blocks of it are damaged.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import duckdb
import numpy as np

from kthink_core.config import Experiment
from kthink_core.errors import CorruptFile, SchemaTooNew, SchemaTooOld, StoreUnavailable, in_words
from kthink_core.records import Encoding, Inference, Intervention
from kthink_core.store.attached import attach, check_belongs, connect, description
from kthink_core.store.damage import is_of_content
from kthink_core.store.files import DAMAGED, DATABASE_NAME, Layout
from kthink_core.store.journal import misfit

_SCALARS = tuple(
    field.name
    for field in fields(Inference)
    if field.name not in ("token_ids", "texts", "segments", "logprobs", "encodings")
)

_UNUSABLE = (CorruptFile, SchemaTooOld, SchemaTooNew, FileNotFoundError, ValueError)
"""Of a database: it is damaged, another's or of another version, and will not be more."""

Found = TypeVar("Found")


def recovered(layout: Layout, experiment: Experiment, inference: int) -> Inference | None:
    """The inference as the newest database that has it sound holds it; None where none has.

    Raises StoreUnavailable where one that may have it cannot be asked now.
    """

    def ask(connection: duckdb.DuckDBPyConnection, path: Path) -> Inference | None:
        check_belongs(connection, path, experiment)
        found = _read(connection, experiment, inference)
        return found if found is not None and misfit(experiment, found) is None else None

    return _first(layout, ask)


def inferences_anywhere(layout: Layout, experiment: Experiment) -> frozenset[int]:
    """The inferences of the newest database that can be read: all that is known of them where the manifest is lost.
    Raises StoreUnavailable."""

    def ask(connection: duckdb.DuckDBPyConnection, path: Path) -> frozenset[int]:
        check_belongs(connection, path, experiment)
        rows = connection.execute("SELECT inference FROM store.inferences").fetchall()
        return frozenset(inference for (inference,) in rows)

    return _first(layout, ask) or frozenset()


def experiment_anywhere(layout: Layout) -> Experiment | None:
    """The configuration and provenance that the newest readable database was built with. Raises StoreUnavailable."""
    return _first(layout, description)


def has_databases(layout: Layout) -> bool:
    """Whether there is any, sound or set aside."""
    return next(_databases(layout), None) is not None


def _first(layout: Layout, ask: Callable[[duckdb.DuckDBPyConnection, Path], Found | None]) -> Found | None:
    """The first answer that is one, the newest database's first. Raises StoreUnavailable where none has one and one
    could not be asked: that is no loss."""
    busy: StoreUnavailable | None = None
    for path in _databases(layout):
        with closing(connect()) as connection:
            try:
                attach(connection, path)
                found = ask(connection, path)
            except _UNUSABLE:
                continue
            except (duckdb.Error, OSError) as error:
                if not is_of_content(error):
                    busy = busy or StoreUnavailable(path, in_words(error))
                continue
        if found is not None:
            return found
    if busy is not None:
        raise busy
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
    done = _ask(
        connection,
        "SELECT hookpoint, feature, action, value, start FROM store.interventions WHERE inference = $inference "
        "ORDER BY rowid",
        inference,
    )
    return Inference(
        **dict(zip(_SCALARS, rows[0], strict=True)),
        token_ids=np.array(token_ids, np.int32),
        texts=texts,
        segments=segments,
        logprobs=np.array([np.nan if logprob is None else logprob for logprob in logprobs], np.float32),
        encodings={hookpoint: _encoding(connection, inference, hookpoint) for hookpoint in experiment.saes},
        interventions=tuple(Intervention(*row) for row in done),
    )


def _encoding(connection: duckdb.DuckDBPyConnection, inference: int, hookpoint: str) -> Encoding:
    """Positions with fewer active features than others are filled up with feature 0 at activation 0."""
    there = "WHERE inference = $inference AND hookpoint = $hookpoint"
    latents = _ask(
        connection,
        f"SELECT features, activations FROM store.token_latents {there} ORDER BY position",
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
