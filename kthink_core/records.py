"""The values that pass between stages. All are frozen; arrays are NumPy, so that readers need no torch.

Positions count from 0 at the first prompt token, inferences and problems from 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from kthink_core.prompts import Mode, Segment

FinishReason = Literal["stop", "length"]


class Problem(NamedTuple):
    """A question and, where known, its reference answer."""

    problem: int
    """Index in the problem set, from 0."""
    question: str
    reference: str | None
    """Final answer as a bare string (GSM8K: what follows `#### `)."""


class Prompt(NamedTuple):
    """A problem ready for the model."""

    inference: int
    problem: Problem
    mode: Mode
    seed: int
    """Seed of this inference alone: it can be generated again without the others."""
    token_ids: tuple[int, ...]
    """The whole prompt, chat template applied."""


class Given(NamedTuple):
    """What is known of a trace that was written elsewhere."""

    segments: tuple[Segment, ...]
    """[positions]"""
    answer: str | None
    correct: bool | None
    """None: nobody says, and there is no reference."""
    tags: tuple[str, ...] = ()


class Generation(NamedTuple):
    """What the model wrote after a prompt."""

    prompt: Prompt
    token_ids: tuple[int, ...]
    """Generated tokens only, the end-of-sequence token included where there is one."""
    finish_reason: FinishReason
    given: Given | None = None
    """None: it was written here, and segments, answer and verdict follow from its tokens."""


class Encoding(NamedTuple):
    """The latents of one inference at one hookpoint, every position of prompt and generation."""

    features: NDArray[np.int32]
    """[positions, kept] feature ids, unsorted."""
    activations: NDArray[np.float32]
    """[positions, kept] activations; 0 where fewer are positive than elsewhere: a zero is not an activation."""
    squared_error: NDArray[np.float32]
    """[positions] ‖x − x̂‖², x the captured vector."""
    squared_norm: NDArray[np.float32]
    """[positions] ‖x‖²."""
    vector_sums: dict[Segment, NDArray[np.float64]]
    """[d_in] Σ x over the positions of each segment; a segment without positions is absent."""


def cut_positions(encoding: Encoding, most: int | None) -> int:
    """Positions with as many features as are kept at most, where that is bounded: others may have fired there, too."""
    return 0 if most is None else int(((encoding.activations > 0).sum(axis=1) >= most).sum())


def joined(parts: Sequence[Encoding]) -> Encoding:
    """Encodings of stretches that follow each other, as one of them all; sums add up in float64. Those that keep fewer
    features than others are filled up with feature 0 at activation 0."""
    sums: dict[Segment, NDArray[np.float64]] = {}
    for part in parts:
        for segment, vector in part.vector_sums.items():
            sums[segment] = sums[segment] + vector if segment in sums else vector
    widest = max(part.features.shape[1] for part in parts)
    padded = [((0, 0), (0, widest - part.features.shape[1])) for part in parts]
    return Encoding(
        np.concatenate([np.pad(part.features, by) for part, by in zip(parts, padded, strict=True)]),
        np.concatenate([np.pad(part.activations, by) for part, by in zip(parts, padded, strict=True)]),
        np.concatenate([part.squared_error for part in parts]),
        np.concatenate([part.squared_norm for part in parts]),
        sums,
    )


MOST_ALTERNATIVES = 5
"""Tokens that are told of each generated position."""


class Alternatives(NamedTuple):
    """What else the model might have written at each generated position: of its own distribution there (temperature 1,
    before top-p)."""

    token_ids: NDArray[np.int32]
    """[generated, tokens] the likeliest tokens, the likeliest first."""
    logprobs: NDArray[np.float32]
    """[generated, tokens] theirs, natural."""
    entropies: NDArray[np.float32]
    """[generated] −Σ p ln p over the whole vocabulary, in nats."""
    texts: Mapping[int, str]
    """Of each of the tokens, as `Inference.texts`."""


class Directions(NamedTuple):
    """What the decoder rows of some features of one hookpoint say. Strongest first; formulas: directions.py."""

    features: NDArray[np.int32]
    """[features] ascending."""
    neighbours: NDArray[np.int32]
    """[features, ranks] the features, other than itself, whose decoder rows point most nearly the same way."""
    cosines: NDArray[np.float32]
    """[features, ranks]"""
    promoted: NDArray[np.int32]
    """[features, ranks] token ids with the largest logits."""
    promoted_logits: NDArray[np.float32]
    """[features, ranks]"""
    suppressed: NDArray[np.int32]
    """[features, ranks] token ids with the smallest logits."""
    suppressed_logits: NDArray[np.float32]
    """[features, ranks]"""


class Fidelity(NamedTuple):
    """What the model predicts of one inference's tokens with another vector in the place of a hookpoint's own.

    Position t holds what concerns the prediction *of* the token at t, made at t − 1; NaN at 0. Natural logarithms, the
    model's own distribution (temperature 1, no filter). How: model/fidelity.py.
    """

    logprob: NDArray[np.float32]
    """[positions] log-probability of the token that stands there, the model left alone."""
    spliced_logprob: NDArray[np.float32]
    """[positions] with the SAE's reconstruction in the place of the captured vector, at every position."""
    zeroed_logprob: NDArray[np.float32]
    """[positions] with 0 in its place."""
    kl: NDArray[np.float32]
    """[positions] KL(p ‖ p̂), p the distribution of the model left alone, p̂ with the reconstruction; in nats."""


Action = Literal["clamp", "add", "ablate"]
ACTIONS: tuple[Action, ...] = get_args(Action)


@dataclass(frozen=True)
class Trigger:
    """A feature at whose first firing something begins."""

    hookpoint: Annotated[str, Field(max_length=200)]
    feature: Annotated[int, Field(ge=0)]


@dataclass(frozen=True)
class Intervention:
    """One thing that was done to the model while it wrote; formulas: model/steering.py."""

    hookpoint: Annotated[str, Field(max_length=200)]
    feature: Annotated[int, Field(ge=0)]
    action: Action
    value: Annotated[float, Field(allow_inf_nan=False)] = 0.0
    """`clamp`: the activation asked for; `add`: how many times the decoder row is added; `ablate`: 0."""
    start: Annotated[int, Field(ge=0)] = 0
    """Generated position from which on it acts; 0: that of the first generated token. Prompts stay as they are."""
    after: Trigger | None = None
    """If given, it acts only from the position after the first one, not before `start`, at which that feature fires:
    where the vector that fires is the steered one, so that what is said of a stored trace holds while it is written."""


def hookpoints_needed(interventions: Iterable[Intervention]) -> list[str]:
    """Those at which something is done, or waited for: whose SAEs that takes."""
    places = [(done.hookpoint, done.after.hookpoint if done.after else done.hookpoint) for done in interventions]
    return list(dict.fromkeys(place for pair in places for place in pair))


@dataclass(frozen=True)
class Check:
    """Something that must hold of a steered run, as it was measured."""

    name: Annotated[str, Field(max_length=100)]
    value: float
    most: float
    """It holds where the value is not larger."""

    @property
    def holds(self) -> bool:
        return self.value <= self.most

    @property
    def text(self) -> str:
        """`as it is 3e-08 of 1e-06`: the value found, the most that it may be."""
        return f"{self.name} {self.value:.3g} of {self.most:g}"


@dataclass(frozen=True)
class Receipt:
    """What one intervention did while one inference was written. None where it acted at no position.

    Relative changes ‖Δh‖ / ‖h‖ are what this one added, by the hookpoint's vector as it came; activations are the
    feature's own: `before` of that vector, `after` of the steered one encoded again.
    """

    began: int | None
    """Generated position of the first vector it acted on."""
    positions: int
    """Vectors it acted on."""
    change_median: float | None
    change_max: float | None
    before_median: float | None
    before_max: float | None
    after_median: float | None
    after_max: float | None
    checks: tuple[Check, ...] = ()


@dataclass(frozen=True)
class Inference:
    """One stored inference: prompt, generation and latents. What one segment file of the journal holds."""

    inference: int
    problem: int
    question: str
    prompt: str
    """The prompt as the model saw it, special tokens written out."""
    mode: Mode
    seed: int
    prompt_tokens: int
    finish_reason: FinishReason
    answer: str | None
    """Content of the last `\\boxed{…}` of the generation."""
    reference: str | None
    correct: bool | None
    """None where there is no reference."""
    token_ids: NDArray[np.int32]
    """[positions] prompt and generation."""
    texts: tuple[str, ...]
    """[positions] the text of each token alone; bytes that are no UTF-8 are written `\\xE2`."""
    segments: tuple[Segment, ...]
    """[positions]"""
    logprobs: NDArray[np.float32]
    """[positions] natural log-probability under the model itself (temperature 1, no filter); NaN in the prompt."""
    encodings: dict[str, Encoding]
    """By hookpoint."""
    author: str | None = None
    """Who typed the prompt; None where it is one of the experiment's problems. Then also the sampling is its own:"""
    temperature: float | None = None
    top_p: float | None = None
    max_new_tokens: int | None = None
    """None also where it was kept before schema 3."""
    interventions: tuple[Intervention, ...] = ()
    """What was done to the model while it wrote; empty: nothing."""
    receipts: tuple[Receipt, ...] = ()
    """Of each intervention, in their order; empty where it was written before schema 4."""
    tags: tuple[str, ...] = ()
    """Of a trace that was written elsewhere: what it came with."""
    alternatives: Alternatives | None = None
    """None: not stored, as before schema 6."""
    parent_experiment: str | None = None
    """Of a branch: where the trace lies that it was begun as; None also where that was not kept."""
    parent_inference: int | None = None
    parent_position: int | None = None
    """Of a branch: its first position that is not the parent's; None: it is no branch."""

    @property
    def generated_tokens(self) -> int:
        return len(self.token_ids) - self.prompt_tokens
