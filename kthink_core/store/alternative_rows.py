"""Alternatives as they are stored: what a segment file has of an inference, and the rows of a database."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from kthink_core.records import Alternatives, Inference

ALTERNATIVES = pa.struct(
    [
        ("token_ids", pa.list_(pa.int32())),
        ("logprobs", pa.list_(pa.float32())),
        ("entropies", pa.list_(pa.float32())),
        ("named", pa.list_(pa.int32())),
        ("texts", pa.list_(pa.string())),
    ]
)
"""Of a segment file: of the generated positions end to end; of each distinct token its text."""

_TABLE = pa.schema(
    [
        ("inference", pa.int32()),
        ("position", pa.int32()),
        ("token_ids", pa.list_(pa.int32())),
        ("texts", pa.list_(pa.string())),
        ("logprobs", pa.list_(pa.float32())),
        ("entropy", pa.float32()),
    ]
)


def alternatives_row(found: Alternatives | None) -> dict[str, Any] | None:
    """As a value of `ALTERNATIVES`."""
    if found is None:
        return None
    return {
        "token_ids": found.token_ids.ravel(),
        "logprobs": found.logprobs.ravel(),
        "entropies": found.entropies,
        "named": list(found.texts),
        "texts": list(found.texts.values()),
    }


def alternatives_of(column: pa.StructArray) -> Alternatives | None:
    """Of one row. Raises ValueError."""
    if column.null_count:
        return None
    ids, logprobs, entropies = (
        column.field(name).flatten().to_numpy() for name in ("token_ids", "logprobs", "entropies")
    )
    shape = len(entropies), len(ids) // max(len(entropies), 1)
    named, texts = (column.field(name).flatten().to_pylist() for name in ("named", "texts"))
    return Alternatives(ids.reshape(shape), logprobs.reshape(shape), entropies, dict(zip(named, texts, strict=True)))


def strange_alternatives(inference: Inference) -> str | None:
    """What is wrong with those of an inference; None where nothing is, or there are none."""
    if inference.alternatives is None:
        return None
    token_ids, logprobs, entropies, texts = inference.alternatives
    if not len(token_ids) == len(entropies) == inference.generated_tokens or token_ids.shape != logprobs.shape:
        return f"inference {inference.inference} has other alternatives than positions"
    if not set(token_ids.ravel().tolist()) <= texts.keys():
        return f"inference {inference.inference} has alternatives without a text"
    return None


def alternatives_table(inference: Inference) -> pa.RecordBatch:
    """Rows of the database: one a generated position; none where they are not stored."""
    if inference.alternatives is None:
        return pa.RecordBatch.from_pylist([], _TABLE)
    token_ids, logprobs, entropies, texts = inference.alternatives
    count, each = token_ids.shape
    offsets = pa.array(np.arange(count + 1, dtype=np.int32) * each)
    named = pa.array([texts[token_id] for token_id in token_ids.ravel().tolist()], pa.string())
    columns = [
        pa.array(np.full(count, inference.inference, np.int32)),
        pa.array(np.arange(count, dtype=np.int32) + inference.prompt_tokens),
        pa.ListArray.from_arrays(offsets, pa.array(token_ids.ravel(), pa.int32())),
        pa.ListArray.from_arrays(offsets, named),
        pa.ListArray.from_arrays(offsets, pa.array(logprobs.ravel(), pa.float32())),
        pa.array(entropies, pa.float32()),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=_TABLE)
