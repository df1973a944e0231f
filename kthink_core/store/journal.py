"""The journal: one immutable Parquet segment file an inference, committed by a rename.

A segment file has one row. Its columns are the scalar fields of `records.Inference`, and lists:
`tokens` (position, token_id, text, segment, logprob) ·
`encodings` (hookpoint, k, features and activations of length positions · k, squared_error, squared_norm) ·
`vector_sums` (hookpoint, segment, positions, sum) · `interventions` (hookpoint, feature, action, value, start, and its
trigger and receipt) · `tags` · `alternatives` (of the generated positions end to end; of distinct tokens the text).
It is sealed (sealed.py): a damaged one, and one of another experiment, is told from a sound one.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from kthink_core.config import Experiment
from kthink_core.errors import CorruptFile
from kthink_core.identity import source_of
from kthink_core.records import ACTIONS, Encoding, Inference
from kthink_core.store.alternative_rows import (
    ALTERNATIVES,
    alternatives_of,
    alternatives_row,
    strange_alternatives,
)
from kthink_core.store.files import Layout, write_atomically
from kthink_core.store.intervention_rows import (
    INTERVENTION,
    OLDER_INTERVENTION,
    intervention_of,
    intervention_rows,
    receipt_of,
)
from kthink_core.store.scopes import SEGMENTS
from kthink_core.store.sealed import read_sealed, sealed

REMEDY = "`precompute` sets it aside and computes the inference again"

_OWN_SAMPLING = (("author", pa.string()), ("temperature", pa.float64()), ("top_p", pa.float64()))
"""Columns that schema 2 brought."""
_LIMIT = ("max_new_tokens", pa.int32())
_INTERVENTIONS = ("interventions", pa.list_(INTERVENTION))
"""With it, columns that schema 3 brought."""
_TAGS = ("tags", pa.list_(pa.string()))
"""What schema 5 brought."""
_PARENT = (("parent_experiment", pa.string()), ("parent_inference", pa.int32()), ("parent_position", pa.int32()))
_ALTERNATIVES = ("alternatives", ALTERNATIVES)
"""With it, columns that schema 6 brought."""

_SCALARS = (
    ("inference", pa.int32()),
    ("problem", pa.int32()),
    ("question", pa.string()),
    ("prompt", pa.string()),
    ("mode", pa.string()),
    ("seed", pa.int64()),
    ("prompt_tokens", pa.int32()),
    ("finish_reason", pa.string()),
    ("answer", pa.string()),
    ("reference", pa.string()),
    ("correct", pa.bool_()),
    *_OWN_SAMPLING,
    _LIMIT,
    *_PARENT,
)
_TOKEN = pa.struct(
    [
        ("position", pa.int32()),
        ("token_id", pa.int32()),
        ("text", pa.string()),
        ("segment", pa.string()),
        ("logprob", pa.float32()),
    ]
)
_ENCODING = pa.struct(
    [
        ("hookpoint", pa.string()),
        ("k", pa.int32()),
        ("features", pa.list_(pa.int32())),
        ("activations", pa.list_(pa.float32())),
        ("squared_error", pa.list_(pa.float32())),
        ("squared_norm", pa.list_(pa.float32())),
    ]
)
_VECTOR_SUM = pa.struct(
    [
        ("hookpoint", pa.string()),
        ("segment", pa.string()),
        ("positions", pa.int32()),
        ("sum", pa.list_(pa.float64())),
    ]
)
_SCHEMA = pa.schema(
    [
        *_SCALARS,
        ("tokens", pa.list_(_TOKEN)),
        ("encodings", pa.list_(_ENCODING)),
        ("vector_sums", pa.list_(_VECTOR_SUM)),
        _INTERVENTIONS,
        _TAGS,
        _ALTERNATIVES,
    ]
)


def write_segment(folder: Path, inference: Inference, mark: str | None = None) -> Path:
    """Commits one inference to the journal of an experiment.

    `folder` is the experiment's; its `journal` folder must exist. `mark`: the experiment's. Returns the segment file's
    path. Raises DiskFull.
    """
    path = Layout(folder).segment(inference.inference)
    write_atomically(path, sealed(_to_table(inference), mark)[0])
    return path


def read_segment(path: Path, experiment: Experiment | None = None) -> Inference:
    """The inference of a segment file, exactly as it was written.

    Raises CorruptFile where it is damaged, is not the inference its name says, or does not belong to `experiment`;
    SchemaTooNew, OSError.
    """
    table, _ = read_sealed(path, experiment.mark if experiment else None, REMEDY)
    for name, kind in (*_OWN_SAMPLING, _LIMIT, *_PARENT, _INTERVENTIONS, _TAGS, _ALTERNATIVES):
        if name not in table.column_names:  # an older version wrote the file
            at = min(_SCHEMA.get_field_index(name), table.num_columns)  # a stranger's may have few columns
            table = table.add_column(at, name, pa.nulls(table.num_rows, kind))
    name, kind = _INTERVENTIONS
    if table.schema.field(name).type.equals(pa.list_(OLDER_INTERVENTION)):  # as before schema 4
        at, rows = table.schema.get_field_index(name), table[name].to_pylist()
        table = table.set_column(at, name, pa.array(rows, kind))
    if table.num_rows != 1 or not table.schema.equals(_SCHEMA, check_metadata=False):
        raise CorruptFile(path, REMEDY)
    try:
        inference = _from_table(table)
    except (ValueError, TypeError) as error:  # columns that do not go together
        raise CorruptFile(path, REMEDY, "its columns do not go together") from error
    if path.name != Layout(path.parent.parent).segment(inference.inference).name:
        raise CorruptFile(path, REMEDY, "it holds another inference than its name says")
    if experiment is not None and (reason := misfit(experiment, inference)):
        raise CorruptFile(path, REMEDY, reason)
    return inference


def misfit(experiment: Experiment, inference: Inference) -> str | None:
    """Why an inference can not be one of an experiment; None where it can."""
    index = inference.inference
    bounded = not experiment.open_ended and source_of(experiment) is None  # else numbers may lack among them
    if index < 0 or (index >= experiment.inferences and bounded):
        return f"inference {index} of {experiment.inferences}"
    if set(inference.encodings) != set(experiment.saes):
        return f"hookpoints {list(inference.encodings)}, expected {list(experiment.saes)}"
    lengths = {encoding.features.shape[0] for encoding in inference.encodings.values()}
    lengths |= {len(inference.token_ids), len(inference.texts), len(inference.segments), len(inference.logprobs)}
    if len(lengths) != 1:
        return f"inference {index} has arrays of different lengths: {sorted(lengths)}"
    if not set(inference.segments) <= set(SEGMENTS):
        return f"inference {index} has unknown segments"
    for hookpoint, encoding in inference.encodings.items():
        size = experiment.saes[hookpoint].num_latents
        if np.any((encoding.features < 0) | (encoding.features >= size)):
            return f"inference {index} has features outside 0 … {size - 1} at {hookpoint}"
    for done in inference.interventions:
        known = experiment.saes.get(done.hookpoint)
        waits = done.after and experiment.saes.get(done.after.hookpoint)
        strange = done.after and (waits is None or not 0 <= done.after.feature < waits.num_latents)
        wrong = done.action not in ACTIONS or done.start < 0 or strange
        if known is None or not 0 <= done.feature < known.num_latents or wrong:
            return f"inference {index} tells of an intervention that there is not: {done}"
    return strange_alternatives(inference)


def _to_table(inference: Inference) -> pa.Table:
    columns: list[pa.Array] = [pa.array([getattr(inference, name)], kind) for name, kind in _SCALARS]
    positions = len(inference.token_ids)
    columns.append(
        _one_list(
            _TOKEN,
            [
                np.arange(positions, dtype=np.int32),
                inference.token_ids,
                inference.texts,
                inference.segments,
                inference.logprobs,
            ],
        )
    )
    encodings = inference.encodings.values()
    columns.append(
        _one_list(
            _ENCODING,
            [
                list(inference.encodings),
                [encoding.features.shape[1] for encoding in encodings],
                _lists([encoding.features.ravel() for encoding in encodings], pa.int32()),
                _lists([encoding.activations.ravel() for encoding in encodings], pa.float32()),
                _lists([encoding.squared_error for encoding in encodings], pa.float32()),
                _lists([encoding.squared_norm for encoding in encodings], pa.float32()),
            ],
        )
    )
    sums = [(hookpoint, *item) for hookpoint, kept in inference.encodings.items() for item in kept.vector_sums.items()]
    columns.append(
        _one_list(
            _VECTOR_SUM,
            [
                [hookpoint for hookpoint, _, _ in sums],
                [segment for _, segment, _ in sums],
                [inference.segments.count(segment) for _, segment, _ in sums],
                _lists([vector for _, _, vector in sums], pa.float64()),
            ],
        )
    )
    columns.append(pa.array([intervention_rows(inference)], pa.list_(INTERVENTION)))
    columns.append(pa.array([inference.tags], _TAGS[1]))
    columns.append(pa.array([alternatives_row(inference.alternatives)], _ALTERNATIVES[1]))
    return pa.Table.from_arrays(columns, schema=_SCHEMA)


def _lists(arrays: list[Any], kind: pa.DataType) -> pa.ListArray:
    """A list column whose rows are the given one-dimensional arrays."""
    offsets = np.concatenate([[0], np.cumsum([len(array) for array in arrays])]).astype(np.int32)
    values = np.concatenate(arrays) if arrays else np.empty(0)
    return pa.ListArray.from_arrays(offsets, pa.array(values, kind))


def _one_list(kind: pa.StructType, fields: list[Any]) -> pa.ListArray:
    """One row: the list of the structs whose fields are given as columns."""
    arrays = [
        field if isinstance(field, pa.Array) else pa.array(field, kind.field(index).type)
        for index, field in enumerate(fields)
    ]
    structs = pa.StructArray.from_arrays(arrays, fields=list(kind))
    return pa.ListArray.from_arrays(pa.array([0, len(structs)], pa.int32()), structs)


def _from_table(table: pa.Table) -> Inference:
    tokens = table["tokens"].combine_chunks().flatten()
    encodings = table["encodings"].combine_chunks().flatten()
    sums = table["vector_sums"].combine_chunks().flatten()
    positions = len(tokens)
    done = table["interventions"][0].as_py() or ()
    lists = [_arrays(encodings.field(name)) for name in ("features", "activations", "squared_error", "squared_norm")]
    vector_sums: dict[str, dict[Any, Any]] = {}
    for hookpoint, segment, vector in zip(
        sums.field("hookpoint").to_pylist(), sums.field("segment").to_pylist(), _arrays(sums.field("sum")), strict=True
    ):
        vector_sums.setdefault(hookpoint, {})[segment] = vector
    return Inference(
        **{name: table[name][0].as_py() for name, _ in _SCALARS},
        token_ids=tokens.field("token_id").to_numpy(),
        texts=tuple(tokens.field("text").to_pylist()),
        segments=tuple(tokens.field("segment").to_pylist()),
        logprobs=tokens.field("logprob").to_numpy(),
        encodings={
            hookpoint: Encoding(
                features=features.reshape(positions, k),
                activations=activations.reshape(positions, k),
                squared_error=error.reshape(positions),
                squared_norm=norm.reshape(positions),
                vector_sums=vector_sums.get(hookpoint, {}),
            )
            for hookpoint, k, features, activations, error, norm in zip(
                encodings.field("hookpoint").to_pylist(), encodings.field("k").to_pylist(), *lists, strict=True
            )
        },
        interventions=tuple(intervention_of(fields) for fields in done),
        receipts=tuple(receipt_of(fields) for fields in done if fields["positions"] is not None),
        tags=tuple(table["tags"][0].as_py() or ()),
        alternatives=alternatives_of(table["alternatives"].combine_chunks()),
    )


def _arrays(column: pa.ListArray) -> list[Any]:
    """The rows of a list column as one-dimensional arrays."""
    values, offsets = column.values.to_numpy(), column.offsets.to_numpy()
    return [values[start:end] for start, end in pairwise(offsets)]
