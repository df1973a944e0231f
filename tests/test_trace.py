"""A stored trace and a live one of the same inference answer alike: what is drawn of one is drawn of the other."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as some

from kthink_core.config import Experiment, ExperimentConfig, SaeShape
from kthink_core.live.api import Latents, Tokens
from kthink_core.live.live_trace import LiveTrace
from kthink_core.live.watchlist import Watch, firings
from kthink_core.prompts import Segment
from kthink_core.queries import SCOPES, Scope
from kthink_core.queries.trace import StoredTrace, Trace, token_activations
from kthink_core.records import Encoding, Inference
from kthink_core.store.reader import open_reader
from kthink_core.store.writer import open_writer

HOOKPOINTS = ("layers.1.mlp", "layers.0.mlp")
LATENTS, K = 14, 10
EXPERIMENT = Experiment(
    name="one",
    config=ExperimentConfig(hookpoints=HOOKPOINTS, limit=1),
    inferences=1,
    saes=dict.fromkeys(HOOKPOINTS, SaeShape(num_latents=LATENTS, k=K, d_in=2, activation="topk")),
    provenance={},
)
activations = some.one_of(
    some.sampled_from([0.0, 0.5, 1.0, 1.5]),  # ties, and what is no activation
    some.floats(2**-6, 128, width=32),
)


@some.composite
def inferences(draw: Callable[..., int]) -> Inference:
    """Any segments but the prompt may be empty."""
    lengths: dict[Segment, int] = {
        "prompt": draw(some.integers(1, 4)), "think": draw(some.integers(0, 8)), "answer": draw(some.integers(0, 4)),
    }  # fmt: skip
    segments = tuple(segment for segment, length in lengths.items() for _ in range(length))
    positions = len(segments)
    token_ids = np.array(draw(some.lists(some.integers(0, 3), min_size=positions, max_size=positions)), np.int32)
    logprobs = np.linspace(-2, 0, positions, dtype=np.float32)
    logprobs[: lengths["prompt"]] = np.nan
    return Inference(
        inference=0, problem=0, question="", prompt="", mode="think", seed=0, prompt_tokens=lengths["prompt"],
        finish_reason="stop", answer=None, reference=None, correct=None, token_ids=token_ids,
        texts=tuple(("a", "</b>", "", " 🙂")[token_id] for token_id in token_ids), segments=segments, logprobs=logprobs,
        encodings={hookpoint: draw(encodings(positions)) for hookpoint in HOOKPOINTS},
    )  # fmt: skip


@some.composite
def encodings(draw: Callable[..., list[float]], positions: int) -> Encoding:
    features = [draw(some.permutations(range(LATENTS)))[:K] for _ in range(positions)]
    rows = [draw(some.lists(activations, min_size=K, max_size=K)) for _ in range(positions)]
    nothing = np.zeros(positions, np.float32)
    kept = np.array(features, np.int32), np.array(rows, np.float32)
    return Encoding(*kept, squared_error=nothing, squared_norm=nothing, vector_sums={})


@contextmanager
def stored(inference: Inference, *, built: bool) -> Iterator[StoredTrace]:
    with tempfile.TemporaryDirectory() as cache:
        with open_writer(Path(cache), EXPERIMENT) as writer:
            writer.append(inference)
            if built:
                writer.build()
        with open_reader(Path(cache), EXPERIMENT.name) as reader:
            yield StoredTrace(lambda query, *args, **options: query(reader, *args, **options), 0)


def told(inference: Inference, pieces: int) -> LiveTrace:
    """The events of a worker: the prompt, then so many tokens at once."""
    trace, first = LiveTrace(), 0
    while first < len(inference.token_ids):
        last = first + pieces if first else inference.prompt_tokens
        at = slice(first, last)
        tokens = Tokens(
            first=first,
            token_ids=tuple(inference.token_ids[at].tolist()),
            texts=inference.texts[at],
            segments=inference.segments[at],
            logprobs=tuple(None if np.isnan(value) else float(value) for value in inference.logprobs[at]),
            latents={hookpoint: latents(encoding, at) for hookpoint, encoding in inference.encodings.items()},
        )
        trace.add(Tokens.model_validate_json(tokens.model_dump_json()))
        first = last
    return trace


def latents(encoding: Encoding, at: slice) -> Latents:
    pairs = [
        [(feature, value) for feature, value in zip(ids, values, strict=True) if value > 0]
        for ids, values in zip(encoding.features[at].tolist(), encoding.activations[at].tolist(), strict=True)
    ]
    return Latents(
        features=tuple(tuple(feature for feature, _ in row) for row in pairs),
        activations=tuple(tuple(value for _, value in row) for row in pairs),
    )


class Asked(NamedTuple):
    """What the questions are asked with."""

    hookpoint: str
    scope: Scope
    features: tuple[int, ...]
    first: int
    """Of a span."""
    length: int
    top: int


def answers(trace: Trace, asked: Asked) -> dict[str, pd.DataFrame]:
    """Every question that can be asked of a trace."""
    hookpoint, scope = asked.hookpoint, asked.scope
    first = asked.first % len(trace.tokens())
    return {
        "tokens": trace.tokens(),
        "strongest": trace.strongest(hookpoint),
        "tracks": trace.tracks(hookpoint, asked.features),
        "span": trace.span(hookpoint, first, first + asked.length),
        "ranked": trace.ranked(hookpoint, scope, asked.top),
        "activations": trace.activations(hookpoint, scope),
        "frequencies": trace.frequencies(hookpoint, scope),
        "histogram": trace.histogram(hookpoint, scope),
        "outline": trace.steps(hookpoint, "sentence"),
        "token activations": token_activations(trace, hookpoint, scope, asked.features),
    }


questions = some.builds(
    Asked,
    some.sampled_from(HOOKPOINTS),
    some.sampled_from(SCOPES),
    some.lists(some.integers(0, LATENTS - 1), max_size=5).map(tuple),
    some.integers(0, 20),
    some.integers(0, 20),
    some.sampled_from([3, 100]),
)


@settings(max_examples=16)
@given(inferences(), questions, some.integers(1, 5), some.booleans())
def test_a_live_trace_answers_as_a_stored_one(inference: Inference, asked: Asked, pieces: int, built: bool) -> None:
    live = told(inference, pieces)
    watched = (Watch(HOOKPOINTS[1], 4, 1.0), Watch(HOOKPOINTS[0], 7, 0.0), Watch(HOOKPOINTS[1], 2, 0.5))
    with stored(inference, built=built) as kept:
        ours, theirs = answers(live, asked), answers(kept, asked)
        assert firings(live, watched) == firings(kept, watched)
    for question, table in theirs.items():
        wanted = table.drop(columns="lift") if question == "ranked" else table
        if wanted.empty and "text" in wanted:  # then DuckDB does not say of which type it is
            wanted = wanted.astype({"text": "str"})
        exact = question != "span"  # its exponentials may differ in the last bits
        tolerance = {"check_exact": True} if exact else {"rtol": 1e-12}
        pd.testing.assert_frame_equal(ours[question], wanted, obj=question, **tolerance)


def test_nothing_has_come_yet() -> None:
    trace = LiveTrace()
    assert trace.tokens().empty and trace.ranked("h").empty and trace.strongest("h").empty
    assert trace.span("h", 0, 3).empty and trace.histogram("h").empty and trace.activations("h").empty
    assert trace.tracks("h", (1,)).empty and trace.frequencies("h").empty
