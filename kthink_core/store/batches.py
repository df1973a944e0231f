"""Inferences as Arrow tables, one for each table of the database that they fill directly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kthink_core.records import Encoding, Inference
from kthink_core.store.alternative_rows import alternatives_table
from kthink_core.store.fidelity_files import FIGURES, Measured
from kthink_core.store.intervention_rows import INTERVENTION, intervention_rows
from kthink_core.store.scopes import SEGMENTS

_INTERVENTIONS = pa.schema([("inference", pa.int32()), *INTERVENTION])


def batches(inferences: Sequence[Inference], hookpoints: Sequence[str]) -> dict[str, pa.Table]:
    """Tables of the database with the rows of some inferences, in the order of the inferences, then of `hookpoints`."""
    makers: dict[str, Callable[[Inference, Sequence[str]], list[pa.RecordBatch]]] = {
        "inferences": _inferences,
        "interventions": _interventions,
        "tokens": _tokens,
        "alternatives": lambda inference, _: [alternatives_table(inference)],
        "token_latents": _token_latents,
        "quality": _quality,
        "vector_sums": _vector_sums,
    }
    return {
        name: pa.Table.from_batches([batch for inference in inferences for batch in make(inference, hookpoints)])
        for name, make in makers.items()
    }


def fidelity_rows(inference: Inference, found: Measured, hookpoints: Sequence[str]) -> pa.Table:
    """The rows of `fidelity`, in the order of `hookpoints`; NaN, at position 0, becomes NULL."""
    return pa.Table.from_batches(
        [
            pa.RecordBatch.from_pydict(
                _place(inference, index, hookpoints)
                | {name: pa.array(getattr(found[hookpoint], name), from_pandas=True) for name in FIGURES}
            )
            for index, hookpoint in enumerate(hookpoints)
        ]
    )


def _inferences(inference: Inference, _: Sequence[str]) -> list[pa.RecordBatch]:
    integers = ("inference", "problem", "seed", "prompt_tokens", "generated_tokens", "max_new_tokens")
    integers += ("parent_inference", "parent_position")
    texts = ("question", "prompt", "mode", "finish_reason", "answer", "reference", "author", "parent_experiment")
    columns = {name: pa.array([getattr(inference, name)], pa.int64()) for name in integers}
    columns |= {name: pa.array([getattr(inference, name)], pa.string()) for name in texts}
    columns |= {name: pa.array([getattr(inference, name)], pa.float64()) for name in ("temperature", "top_p")}
    columns["tags"] = pa.array([inference.tags], pa.list_(pa.string()))
    columns["correct"] = pa.array([inference.correct], pa.bool_())
    return [pa.RecordBatch.from_pydict(columns)]


def _interventions(inference: Inference, _: Sequence[str]) -> list[pa.RecordBatch]:
    done = [row | {"inference": inference.inference} for row in intervention_rows(inference)]
    return [pa.RecordBatch.from_pylist(done, _INTERVENTIONS)]


def _tokens(inference: Inference, _: Sequence[str]) -> list[pa.RecordBatch]:
    columns = _place(inference) | {
        "token_id": pa.array(inference.token_ids),
        "text": pa.array(inference.texts, pa.string()),
        "logprob": pa.array(inference.logprobs, from_pandas=True),  # NaN, in the prompt, becomes NULL
    }
    return [pa.RecordBatch.from_pydict(columns)]


def _token_latents(inference: Inference, hookpoints: Sequence[str]) -> list[pa.RecordBatch]:
    return [
        pa.RecordBatch.from_pydict(_place(inference, index, hookpoints) | _positive(inference.encodings[hookpoint]))
        for index, hookpoint in enumerate(hookpoints)
    ]


def _quality(inference: Inference, hookpoints: Sequence[str]) -> list[pa.RecordBatch]:
    return [
        pa.RecordBatch.from_pydict(
            _place(inference, index, hookpoints)
            | {
                name: pa.array(getattr(inference.encodings[hookpoint], name), from_pandas=True)  # NaN: not known
                for name in ("squared_error", "squared_norm")
            }
        )
        for index, hookpoint in enumerate(hookpoints)
    ]


def _vector_sums(inference: Inference, hookpoints: Sequence[str]) -> list[pa.RecordBatch]:
    sums = [
        (hookpoint, *item) for hookpoint in hookpoints for item in inference.encodings[hookpoint].vector_sums.items()
    ]
    return [
        pa.RecordBatch.from_pydict(
            {
                "inference": pa.array([inference.inference] * len(sums), pa.int32()),
                "hookpoint": pa.array([hookpoint for hookpoint, _, _ in sums], pa.string()),
                "segment": pa.array([segment for _, segment, _ in sums], pa.string()),
                "positions": pa.array([inference.segments.count(segment) for _, segment, _ in sums], pa.int32()),
                "sum": pa.array([vector for _, _, vector in sums], pa.list_(pa.float64())),
            }
        )
    ]


def _place(inference: Inference, index: int | None = None, hookpoints: Sequence[str] = ()) -> dict[str, pa.Array]:
    """Where each position is: inference, position, segment and, where `index` names one of them, hookpoint."""
    positions = len(inference.token_ids)
    segments = np.array([SEGMENTS.index(segment) for segment in inference.segments], np.int16)
    columns: dict[str, pa.Array] = {
        "inference": pa.array(np.full(positions, inference.inference, np.int32)),
        "position": pa.array(np.arange(positions, dtype=np.int32)),
        "segment": _labels(segments, SEGMENTS),
    }
    if index is not None:
        columns["hookpoint"] = _labels(np.full(positions, index, np.int16), hookpoints)
    return columns


def _labels(indices: NDArray[np.int16], names: Sequence[str]) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(indices), pa.array(names, pa.string()))


def _positive(encoding: Encoding) -> dict[str, Any]:
    """Features and activations of each position, as lists; a zero is not an activation and is left out."""
    kept = encoding.activations > 0
    offsets = pa.array(np.concatenate([[0], np.cumsum(kept.sum(axis=1))]).astype(np.int32))
    return {
        "features": pa.ListArray.from_arrays(offsets, pa.array(encoding.features[kept])),
        "activations": pa.ListArray.from_arrays(offsets, pa.array(encoding.activations[kept])),
    }
