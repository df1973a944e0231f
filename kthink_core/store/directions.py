"""`directions.parquet`: what the decoder rows of an experiment's features say, one row a fact.

Columns: hookpoint, feature, kind ("neighbour", "promoted" or "suppressed"), rank (from 1), id (of the neighbour or the
token), value (cosine or logit), text (of the token). It is written once, beside the journal, whole or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kthink_core.errors import CorruptFile
from kthink_core.records import Directions
from kthink_core.store.files import write_atomically
from kthink_core.store.sealed import read_sealed, sealed

REMEDY = "`precompute` sets it aside and computes the directions again"

_LABEL = pa.dictionary(pa.int32(), pa.string())
_SCHEMA = pa.schema(
    [
        ("hookpoint", _LABEL),
        ("feature", pa.int32()),
        ("kind", _LABEL),
        ("rank", pa.int32()),
        ("id", pa.int32()),
        ("value", pa.float32()),
        ("text", _LABEL),
    ]
)


def write_directions(
    path: Path, directions: Mapping[str, Directions], texts: Mapping[int, str], mark: str | None = None
) -> str:
    """Writes directions by hookpoint, and the texts of their tokens; returns the file's digest. `mark`: the
    experiment's. Raises DiskFull."""
    hookpoints = list(directions)
    known = np.array(sorted(texts), np.int32)
    vocabulary = pa.array([texts[int(token_id)] for token_id in known], pa.string())
    parts = [
        _part(hookpoints, index, kind, found.features, ids, values, (known, vocabulary))
        for index, found in enumerate(directions.values())
        for kind, ids, values in (
            ("neighbour", found.neighbours, found.cosines),
            ("promoted", found.promoted, found.promoted_logits),
            ("suppressed", found.suppressed, found.suppressed_logits),
        )
    ]
    return write_rows(path, pa.concat_tables(parts), mark)


def write_rows(path: Path, rows: pa.Table, mark: str | None = None) -> str:
    """Writes rows with the file's columns, and returns its digest. `mark`: the experiment's. Raises DiskFull."""
    content, digest = sealed(rows.cast(_SCHEMA), mark, dictionary=True)
    write_atomically(path, content)
    return digest


def read_directions(path: Path, mark: str | None = None) -> tuple[pa.Table, str]:
    """The rows of the file, and its digest. `mark`: of the experiment that it should belong to. Raises CorruptFile,
    SchemaTooNew, OSError."""
    table, digest = read_sealed(path, mark, REMEDY)
    if table.schema.names != _SCHEMA.names:
        raise CorruptFile(path, REMEDY)
    return table, digest


def _part(
    hookpoints: list[str],
    hookpoint: int,
    kind: str,
    features: NDArray[np.int32],
    ids: NDArray[np.int32],
    values: NDArray[np.float32],
    vocabulary: tuple[NDArray[np.int32], pa.Array],
) -> pa.Table:
    """One kind of fact at one hookpoint; `ids` and `values` [features, ranks], `vocabulary` token ids and texts."""
    size, ranks = ids.size, ids.shape[1]
    known, words = vocabulary
    words_of = pa.nulls(size, pa.int32()) if kind == "neighbour" else pa.array(np.searchsorted(known, ids.ravel()))
    columns = [
        _label(np.full(size, hookpoint), pa.array(hookpoints, pa.string())),
        pa.array(np.repeat(features, ranks)),
        _label(np.zeros(size), pa.array([kind])),
        pa.array(np.tile(np.arange(1, ranks + 1, dtype=np.int32), len(features))),
        pa.array(ids.ravel()),
        pa.array(values.ravel()),
        _label(words_of, words),
    ]
    return pa.Table.from_arrays(columns, schema=_SCHEMA)


def _label(indices: NDArray[np.int64] | pa.Array, labels: pa.Array) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(indices).cast(pa.int32()), labels)
