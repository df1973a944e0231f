"""Seeded random experiments and inferences for the tests of the store and the queries."""

from __future__ import annotations

import errno
import json
import os
import shutil
from dataclasses import fields
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from kthink_core.config import Experiment, ExperimentConfig, SaeShape
from kthink_core.prompts import Segment
from kthink_core.records import Alternatives, Check, Encoding, Fidelity, Inference, Intervention, Receipt, Trigger
from kthink_core.store.files import Layout, sha256_of
from kthink_core.store.manifest import read_manifest
from kthink_core.store.sealed import open_sealed_json, sealed_json
from kthink_core.store.writer import open_writer
from tests.written_once import once

HOOKPOINTS = ("layers.10.mlp", "layers.2.mlp", "layers.5.mlp")
"""Not in the order of the alphabet, on purpose."""

TEXTS = (
    " Okay",
    "Okay",
    "Hmm",
    " Wait",
    "\n\n",
    "</span>",
    '"',
    "it's",
    "\u05e9\u05dc\u05d5\u05dd",
    "🙂",
    "\\xE2",
    "a\0b",
    "",
)


def sample_experiment(name: str = "sample", inferences: int = 12, latents: int = 24, **config: object) -> Experiment:
    """An experiment whose SAEs are so small that features recur and activations tie."""
    return Experiment(
        name=name,
        config=ExperimentConfig.model_validate({"hookpoints": HOOKPOINTS, "limit": inferences} | config),
        inferences=inferences,
        saes={hookpoint: SaeShape(num_latents=latents, k=6, d_in=5, activation="topk") for hookpoint in HOOKPOINTS},
        provenance={"created": "2026-01-01T00:00:00", "kthink": "0.1.0", "note": 'it\'s "quoted"'},
    )


DONE = (
    Intervention(HOOKPOINTS[1], 3, "clamp", 1.25, 4),
    Intervention(HOOKPOINTS[0], 0, "add", -2.0, 0, Trigger(HOOKPOINTS[2], 1)),
)
"""What was done to the model in some of the inferences."""
RECEIPTS = (
    Receipt(4, 3, 0.25, 0.5, 0.0, 0.125, 1.0, 1.5, (Check("as it is", 0.0, 1e-6), Check("cached", 0.5, 0.25))),
    Receipt(None, 0, None, None, None, None, None, None),
)


def sample_inference(experiment: Experiment, inference: int, seed: int = 0) -> Inference:
    """An inference with ties and zeros among its activations; some have no thought, some no answer."""
    random = np.random.default_rng([seed, inference])
    prompt, think, answer = 3, int(random.integers(0, 9)), int(random.integers(0, 5))
    if inference % 4 == 1:
        think = 0
    if inference % 4 == 2 or think + answer == 0:
        think, answer = max(think, 1), 0
    lengths: dict[Segment, int] = {"prompt": prompt, "think": think, "answer": answer}
    segments: tuple[Segment, ...] = tuple(segment for segment, length in lengths.items() for _ in range(length))
    positions = len(segments)
    token_ids = random.integers(0, len(TEXTS), positions).astype(np.int32)
    logprobs = -random.random(positions, np.float32)
    logprobs[:prompt] = np.nan
    correct = (None, True, False)[inference % 3]
    return Inference(
        inference=inference,
        problem=inference,
        question=f"What's {inference} + 1?",
        prompt=f"<｜User｜>What's {inference} + 1?\0",
        mode="bypass" if think == 0 else "think",
        seed=2**31 + inference,
        prompt_tokens=prompt,
        finish_reason="stop" if answer else "length",
        answer=None if correct is None else str(inference),
        reference=None if correct is None else str(inference + (not correct)),
        correct=correct,
        token_ids=token_ids,
        texts=tuple(TEXTS[token_id] for token_id in token_ids),
        segments=segments,
        logprobs=logprobs,
        encodings={
            hookpoint: _encoding(random, segments, shape.num_latents, shape.k or 6, shape.d_in)
            for hookpoint, shape in experiment.saes.items()
        },
        interventions=DONE[: inference % 3],
        receipts=RECEIPTS[: inference % 3],
        tags=("mine", "it's", "𝛼, β")[: inference % 4],
        alternatives=None if inference % 5 == 4 else _alternatives(random, positions - prompt),
        parent_experiment="demo" if inference % 4 == 3 else None,
        parent_inference=inference if inference % 4 == 3 else None,
        parent_position=prompt if inference % 2 else None,
    )


def _alternatives(random: np.random.Generator, generated: int) -> Alternatives:
    ids = np.array([random.choice(len(TEXTS), 2, replace=False) for _ in range(generated)], np.int32).reshape(-1, 2)
    logprobs = -np.sort(random.random((generated, 2), np.float32))
    named = {token_id: TEXTS[token_id] for token_id in sorted(set(ids.ravel().tolist()))}
    return Alternatives(ids, logprobs, random.random(generated, np.float32), named)


def sample_fidelity(inference: Inference, seed: int = 0) -> dict[str, Fidelity]:
    """What might have been measured of an inference: with nothing in its place, each module is missed."""
    random = np.random.default_rng([seed, inference.inference, 7])
    found: dict[str, Fidelity] = {}
    for hookpoint in inference.encodings:
        own = -random.exponential(0.5, len(inference.token_ids))
        figures = [own, own - random.exponential(0.1, own.shape), own - random.exponential(1, own.shape), -own / 7]
        arrays = [np.concatenate([[np.nan], figure[1:]]).astype(np.float32) for figure in figures]
        found[hookpoint] = Fidelity(*arrays)
    return found


def _encoding(random: np.random.Generator, segments: tuple[Segment, ...], latents: int, k: int, d_in: int) -> Encoding:
    positions = len(segments)
    features = np.array([random.choice(latents // 2, k, replace=False) for _ in segments], np.int32).reshape(-1, k)
    activations = random.choice(np.array([0, 0, 0.25, 0.5, 1, 1.5, 2, 3.1], np.float32), (positions, k))
    vectors = random.normal(size=(positions, d_in)) + 1
    at = np.array(segments)
    return Encoding(
        features=features,
        activations=activations,
        squared_error=random.random(positions, np.float32),
        squared_norm=(vectors**2).sum(axis=1).astype(np.float32),
        vector_sums={segment: vectors[at == segment].sum(axis=0) for segment in dict.fromkeys(segments)},
    )


def sample_inferences(experiment: Experiment, count: int | None = None, seed: int = 0) -> list[Inference]:
    """The first `count` inferences of an experiment; all where None."""
    return [sample_inference(experiment, index, seed) for index in range(count or experiment.inferences)]


def write_sample(
    cache: Path, experiment: Experiment, inferences: list[Inference], built: int = 0, *, shown: bool = False
) -> None:
    """Stores inferences, the first `built` of them in the main database, the others in an increment beside it, or,
    where each of these is `shown` at once, in several."""
    asked = (experiment.model_dump_json(), json.dumps(inferences, default=_plain), built, shown)
    once(cache / experiment.name, asked, lambda folder: write_anew(folder, experiment, inferences, built, shown=shown))


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else vars(value)


def write_anew(
    cache: Path, experiment: Experiment, inferences: list[Inference], built: int = 0, *, shown: bool = False
) -> None:
    """The same, whatever was written before."""
    with open_writer(cache, experiment) as writer:
        for index, inference in enumerate(inferences):
            writer.append(inference)
            if index + 1 == built:
                writer.build()
            elif shown and index >= built:
                writer.publish()


def committed(cache: Path, name: str) -> frozenset[int]:
    """The inferences that the manifest says readers see; of a database that has gone, none."""
    layout = Layout(cache / name)
    manifest, _ = read_manifest(layout)
    there = [entry.contents() for entry in manifest.databases if (layout.folder / entry.file).exists()]
    return frozenset[int]().union(*there)


def rewrite(path: Path, **fields: object) -> None:
    """Changes some fields of one of the store's JSON files, and seals it again."""
    content, _ = open_sealed_json(path, path.read_bytes())
    path.write_bytes(sealed_json(content | fields))


_LATER = (
    "DROP TABLE fidelity",
    "DROP TABLE alternatives",
    *(
        f"ALTER TABLE inferences DROP COLUMN {column}"
        for column in ("tags", "parent_experiment", "parent_inference", "parent_position")
    ),
)
"""What schemas after the third brought."""


def as_schema_2(folder: Path) -> Path:
    """Turns the main database of an experiment without increments into one of schema 2, and returns its path."""
    older = ("DROP TABLE interventions", "ALTER TABLE inferences DROP COLUMN max_new_tokens")
    path = _as_schema(2, folder, *older)
    for name in ("manifest.json", "experiment.json"):
        rewrite(folder / name, schema_version=2)
    return path


def as_schema_3(folder: Path) -> Path:
    """As version 0.5 left it: nothing of it is measured."""
    shutil.rmtree(Layout(folder).fidelity, ignore_errors=True)
    return _as_schema(3, folder)


def _as_schema(version: int, folder: Path, *statements: str) -> Path:
    [path] = Layout(folder).databases()
    with duckdb.connect(path) as connection:
        connection.execute("UPDATE experiment SET schema_version = ?", [version])
        for statement in (*_LATER, *statements):
            connection.execute(statement)
    database = read_manifest(Layout(folder))[0].model_dump(mode="json")["database"]
    changed = {"schema_version": version, "sha256": sha256_of(path), "fidelity": []}
    rewrite(folder / "manifest.json", database=database | changed)
    return path


def full_disk(descriptor: int) -> None:
    """In the place of `os.fsync`: what the system says once a disk is full."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def same(one: Inference, other: Inference) -> bool:
    """Whether two inferences are equal in every field, arrays by value and type, NaN equal to NaN."""
    arrays = ("token_ids", "logprobs", "encodings", "alternatives")
    plain = [field.name for field in fields(Inference) if field.name not in arrays]
    return (
        all(getattr(one, name) == getattr(other, name) for name in plain)
        and _same(one.token_ids, other.token_ids)
        and _same(one.logprobs, other.logprobs)
        and list(one.encodings) == list(other.encodings)
        and all(_same_encoding(kept, other.encodings[name]) for name, kept in one.encodings.items())
        and _same_alternatives(one.alternatives, other.alternatives)
    )


def _same_alternatives(one: Alternatives | None, other: Alternatives | None) -> bool:
    if one is None or other is None:
        return one is other
    return all(map(_same, one[:3], other[:3])) and one.texts == other.texts


def _same_encoding(one: Encoding, other: Encoding) -> bool:
    arrays = ("features", "activations", "squared_error", "squared_norm")
    return all(_same(getattr(one, name), getattr(other, name)) for name in arrays) and (
        one.vector_sums.keys() == other.vector_sums.keys()
        and all(_same(vector, other.vector_sums[name]) for name, vector in one.vector_sums.items())
    )


def _same(one: NDArray, other: NDArray) -> bool:
    return one.dtype == other.dtype and one.shape == other.shape and np.array_equal(one, other, equal_nan=True)
