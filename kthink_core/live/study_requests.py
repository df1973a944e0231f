"""What the worker is asked that takes longer than a live prompt, of a stored experiment or of a run it has just made.

A study gives way to all live prompts between two forward passes. Its result comes as the last event before the end; of
an experiment it is stored with it, too (store/studies.py).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from kthink_core.live.request import ExperimentName, Hookpoint, Request
from kthink_core.records import Action, Intervention
from kthink_core.store.causal_studies import AblationQuestion, AttributionQuestion
from kthink_core.store.sweeps import MOST_FEATURES, MOST_RUNS, MOST_STRENGTHS

Feature = Annotated[int, Field(ge=0, lt=2**31)]
Position = Annotated[int, Field(ge=0, lt=2**31)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]


class StoredTrace(Request):
    """An inference of an experiment."""

    trace: Literal["stored"] = "stored"
    experiment: ExperimentName
    inference: int = Field(ge=0, lt=2**31)


class RunTrace(Request):
    """What a job of this worker has just written; the worker forgets it after some others."""

    trace: Literal["run"] = "run"
    job: str = Field(max_length=64)


Trace = Annotated[StoredTrace | RunTrace, Field(discriminator="trace")]


class SweptFeature(Request):
    """A feature that is steered by itself."""

    hookpoint: Hookpoint
    feature: Feature


class SweepRequest(Request):
    """What becomes of the answers to an experiment's problems as features are steered more and more."""

    kind: Literal["sweep"] = "sweep"
    experiment: ExperimentName
    features: tuple[SweptFeature, ...] = Field(min_length=1, max_length=MOST_FEATURES)
    action: Action = "clamp"
    strengths: tuple[float, ...] = Field(
        default=(), max_length=MOST_STRENGTHS, description="in units of a feature's maximum; none of `ablate`"
    )
    start: Position = Field(default=0, description="first generated position that is steered")
    problems: int = Field(default=8, ge=1, le=MOST_RUNS, description="so many of the experiment's, the first")
    samples: int = Field(default=4, ge=1, le=MOST_RUNS, description="runs of each problem, each with its own seed")
    seed: Seed | None = Field(default=None, description="the experiment's own unless given")
    at_residual: bool = Field(default=False, description="steer with an MLP's SAE at site residual nevertheless")

    @property
    def hookpoints(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(feature.hookpoint for feature in self.features))


class AblationRequest(Request):
    """What becomes of a trace's later tokens without a feature."""

    kind: Literal["ablation"] = "ablation"
    trace: Trace
    question: AblationQuestion

    @property
    def hookpoints(self) -> tuple[str, ...]:
        return (self.question.hookpoint,)


class AttributionRequest(Request):
    """Which features a trace's answer, or one of its tokens, is owed to."""

    kind: Literal["attribution"] = "attribution"
    trace: Trace
    question: AttributionQuestion

    @property
    def hookpoints(self) -> tuple[str, ...]:
        return (self.question.hookpoint,)


class SentencesRequest(Request):
    """Which sentences of a thought its answer is owed to."""

    kind: Literal["sentences"] = "sentences"
    trace: StoredTrace
    rollouts: int = Field(default=100, ge=2, le=500, description="from each place between two sentences")
    seed: Seed = 0
    clamp: Intervention | None = Field(default=None, description="done in all rollouts, which are compared with others")
    at_residual: bool = Field(default=False, description="clamp with an MLP's SAE at site residual nevertheless")

    @property
    def hookpoints(self) -> tuple[str, ...]:
        return (self.clamp.hookpoint,) if self.clamp else ()


StudyRequest = Annotated[
    SweepRequest | AblationRequest | AttributionRequest | SentencesRequest, Field(discriminator="kind")
]
