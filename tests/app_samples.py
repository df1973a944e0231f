"""Stores to show in the app: traces that look like reasoning, and tokens that would like to be more than text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kthink_core.config import Experiment, ExperimentConfig, SaeShape
from kthink_core.prompts import Mode, Segment
from kthink_core.records import Alternatives, Encoding, Inference
from kthink_core.store.writer import open_writer
from tests.store_samples import sample_fidelity
from tests.written_once import once

HOOKPOINTS = ("layers.2.mlp", "layers.4.mlp")
LATENTS = 64
SILENT = 63
"""A feature that never fires."""

PAYLOADS = (
    "<script>document.title='owned'</script>", "</span>", "&lt;", "<img src=x onerror=\"document.title='owned'\">",
    "\u202eevil", "🙂", "\\xE2", "a\0b", "$x^2$", ":red[x]", "![](x.png)", "](javascript:alert(1))", "'", '"',
)  # fmt: skip
"""Tokens of inference 0."""

PROMPT = ("<｜begin▁of▁sentence｜>", "<｜User｜>", "How", " many", " clips", "?", "<｜Assistant｜>", "<think>", "\n")
WORDS = (
    "Okay", " so", " the", " clips", " are", " 48", ".", " Wait", ",", " maybe", " 24", " Hmm", " half", " of", " that",
    " is", "   ", "\n\n", " Therefore", " Alright", " total", " =", " 72", " and", " then", " So", " let", " me",
)  # fmt: skip
VOCABULARY = tuple(dict.fromkeys(PROMPT + WORDS + PAYLOADS + ("</think>", "Answer", ": ", "<｜end▁of▁sentence｜>")))


def sample_experiment(name: str, inferences: int, latents: int = LATENTS, **config: object) -> Experiment:
    """The outline of an experiment with two small SAEs."""
    shape = SaeShape(num_latents=latents, k=8, d_in=16, activation="topk")
    return Experiment(
        name=name,
        config=ExperimentConfig.model_validate({"hookpoints": HOOKPOINTS, "limit": inferences} | config),
        inferences=inferences,
        saes=dict.fromkeys(HOOKPOINTS, shape),
        provenance={"created": "2026-01-02T03:04:05+00:00", "kthink": "0.1.0", "device": "cpu"},
    )


def sample_inference(experiment: Experiment, inference: int) -> Inference:
    """Inferences 0, 3, 6, … are right, 1, 7, … wrong, the others ungraded; every fifth is cut off, so that 4
    is not wrong."""
    random = np.random.default_rng(inference)
    cut_off = inference % 5 == 4
    think = [str(word) for word in random.choice(WORDS, 40)] + ["</think>"]
    answer = [] if cut_off else ["Answer", ": ", *(PAYLOADS if inference == 0 else (" 72",)), "<｜end▁of▁sentence｜>"]
    texts = (*PROMPT, *think, *answer)
    lengths: dict[Segment, int] = {"prompt": len(PROMPT), "think": len(think), "answer": len(answer)}
    banded: list[Segment] = [segment for segment, length in lengths.items() for _ in range(length)]
    segments = tuple(banded)
    token_ids = np.array([VOCABULARY.index(text) for text in texts], np.int32)
    logprobs = -random.exponential(0.4, len(texts)).astype(np.float32)
    logprobs[: len(PROMPT)] = np.nan
    correct = (True, False, None)[inference % 3]
    return Inference(
        inference=inference,
        problem=inference,
        question=f"What is $x^2$ of {inference}? <script>document.title='owned'</script> **bold** :red[x]",
        prompt="".join(PROMPT),
        mode="think",
        seed=inference,
        prompt_tokens=len(PROMPT),
        finish_reason="length" if cut_off else "stop",
        answer=None if cut_off else "**72** <b>$</b>",
        reference=None if correct is None else "72",
        correct=correct,
        token_ids=token_ids,
        texts=texts,
        segments=segments,
        logprobs=logprobs,
        encodings={
            hookpoint: _encoding(random, token_ids, segments, shape.num_latents)
            for hookpoint, shape in experiment.saes.items()
        },
        alternatives=None if inference == 2 else _alternatives(token_ids[len(PROMPT) :], logprobs[len(PROMPT) :]),
    )


def _alternatives(written: NDArray[np.int32], logprobs: NDArray[np.float32]) -> Alternatives:
    """What was written with its share, and half, a quarter, … of the rest for the tokens that follow in the
    vocabulary."""
    ids = (written[:, None] + np.arange(5, dtype=np.int32)) % len(VOCABULARY)
    shares = np.concatenate([np.exp(logprobs)[:, None], np.outer(-np.expm1(logprobs), 0.5 ** np.arange(1, 5))], 1)
    order = np.argsort(-shares, axis=1, kind="stable")
    shares = np.take_along_axis(shares, order, 1)
    texts = dict(enumerate(VOCABULARY))
    entropies = -(shares * np.log(np.maximum(shares, 1e-9))).sum(1)
    return Alternatives(
        np.take_along_axis(ids, order, 1),
        np.log(np.maximum(shares, 1e-9)).astype(np.float32),
        entropies.astype(np.float32),
        {token_id: texts[token_id] for token_id in sorted(set(ids.ravel().tolist()))},
    )


def write_experiment(
    cache: Path, experiment: Experiment, committed: Sequence[int] | None = None, modes: Sequence[Mode] = ("think",)
) -> None:
    """Stores the `committed` inferences, else all, in these modes by turns, measured; the last one is in an increment
    beside the database."""
    inferences = range(experiment.inferences) if committed is None else committed
    asked = (experiment.model_dump_json(), tuple(inferences), tuple(modes))
    once(cache / experiment.name, asked, lambda folder: _write(folder, experiment, inferences, modes))


def _write(cache: Path, experiment: Experiment, inferences: Sequence[int], modes: Sequence[Mode]) -> None:
    with open_writer(cache, experiment) as writer:
        for inference in inferences:
            made = replace(sample_inference(experiment, inference), mode=modes[inference % len(modes)])
            writer.append(made)
            writer.fidelity.put(made, sample_fidelity(made))
            if inference in inferences[-2:-1]:
                writer.build()


def _encoding(
    random: np.random.Generator, token_ids: NDArray[np.int32], segments: tuple[Segment, ...], latents: int
) -> Encoding:
    """A token fires its own eight features, more or less strongly."""
    positions = len(token_ids)
    features = (token_ids[:, None] * 5 + np.arange(8) * 7) % (latents - 1)
    activations = random.gamma(2, 1.5, (positions, 8)) * (1 + token_ids[:, None] % 4)
    vectors = random.normal(size=(positions, 16)) + 1
    at = np.array(segments)
    return Encoding(
        features=features.astype(np.int32),
        activations=activations.astype(np.float32),
        squared_error=(0.2 * random.random(positions)).astype(np.float32),
        squared_norm=(vectors**2).sum(axis=1).astype(np.float32),
        vector_sums={segment: vectors[at == segment].sum(axis=0) for segment in dict.fromkeys(segments)},
    )
