"""Stored sweeps: what a model wrote at each strength of some features, and without them, at the same seeds.

An *arm* is one way of steering: arm 0 is the baseline, which nothing steers; then every strength of the first feature,
of the second, and so on. All arms have the same problems at the same seeds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Annotated, NamedTuple, Self

from pydantic import Field, model_validator

from kthink_core.config import MOST_LATENTS
from kthink_core.prompts import Grade, Mode
from kthink_core.records import Action, FinishReason, Intervention, Problem, Receipt
from kthink_core.store.studies import Document, Study, study_id

MOST_FEATURES = 64
MOST_STRENGTHS = 32
MOST_STRENGTH = 1e6
MOST_RUNS = 20_000
"""Of one sweep, baseline and all arms."""
LONGEST_TEXT = 20_000
"""Characters that are kept of what a run wrote."""
_CHARACTERS = 20_000_000
"""Of all runs together."""
_QUESTION = 2000

Count = Annotated[int, Field(ge=0, lt=2**31)]
Share = Annotated[float, Field(ge=0, le=1)]


class Target(Document):
    """A feature that is steered."""

    hookpoint: str = Field(max_length=200)
    feature: Annotated[int, Field(ge=0, lt=MOST_LATENTS)]
    maximum: Annotated[float, Field(ge=0)]
    """Its largest activation over what the model wrote in the experiment: the unit of strengths."""

    @property
    def name(self) -> str:
        return f"{self.hookpoint}:{self.feature}"


class Asked(Document):
    """The question: all that changes the answer."""

    targets: tuple[Target, ...] = Field(min_length=1, max_length=MOST_FEATURES)
    action: Action
    strengths: tuple[Annotated[float, Field(ge=-MOST_STRENGTH, le=MOST_STRENGTH)], ...] = Field(
        min_length=1, max_length=MOST_STRENGTHS
    )
    """In units of a feature's maximum, ascending; of `ablate` 0 alone."""
    start: Count
    """Generated position from which on the arms are steered."""
    problems: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")
    """Digest of questions and references."""
    samples: Annotated[int, Field(ge=1, le=MOST_RUNS)]
    """How often each arm tries each problem, every time with another seed."""
    seed: Count
    stride: Annotated[int, Field(ge=1, lt=2**31)]
    """Sample s of problem p has the seed `seed` + p + s × stride: that of an experiment with so many problems."""
    mode: Mode
    temperature: Annotated[float, Field(ge=0, le=10)]
    top_p: Annotated[float, Field(gt=0, le=1)]
    max_new_tokens: Annotated[int, Field(ge=1, lt=2**31)]
    grade: Grade = Field(default="number", exclude_if=lambda grade: grade == "number")  # as older ones are written
    """How answers are compared with references."""

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        if len({target.name for target in self.targets}) < len(self.targets):
            raise ValueError("a feature is named twice")
        if list(self.strengths) != sorted(set(self.strengths)):
            raise ValueError("its strengths do not ascend")
        if self.action == "ablate" and self.strengths != (0,):
            raise ValueError("what is ablated has no strength")
        return self

    def seed_of(self, problem: int, sample: int) -> int:
        return self.seed + problem + sample * self.stride


class Arm(NamedTuple):
    """One way of steering."""

    target: Target | None
    """None: the baseline."""
    strength: float
    intervention: Intervention | None


class Question(Document):
    """A problem, as far as it is shown."""

    question: str = Field(max_length=_QUESTION)
    reference: str | None = Field(max_length=_QUESTION)


class Run(Document):
    """What one arm wrote on one problem with one seed."""

    arm: Count
    problem: Count
    """Index among the sweep's problems, from 0."""
    sample: Count
    seed: Count
    tokens: Count
    """Generated ones."""
    finish_reason: FinishReason
    closed: bool | None
    """Whether it ended its thought: `</think>` stands in it; None where the prompt has ended it."""
    repetition: Share
    """Share of its groups of four tokens that stood in it before."""
    answer: str | None = Field(max_length=1000)
    """As it stands in the text, in one that was cut off, too: `final` is what counts."""
    correct: bool | None
    """Of `answer`, likewise: `solved` is what counts. None where there is no reference."""
    text: str = Field(max_length=LONGEST_TEXT)
    """Its beginning, where it is longer than is kept."""
    receipt: Receipt | None
    """What steering did; None: nothing was steered."""

    @property
    def key(self) -> tuple[int, int, int]:
        return self.arm, self.problem, self.sample

    @property
    def final(self) -> str | None:
        """Its answer; a run that was cut off at the limit has none, whatever it had written by then."""
        return self.answer if self.finish_reason == "stop" else None

    @property
    def solved(self) -> bool | None:
        """Whether its answer is right; None where there is no reference."""
        return self.correct and self.finish_reason == "stop"


class Sweep(Study):
    """A sweep with the runs that are done."""

    asked: Asked
    problems_from: str = Field(max_length=4096)
    questions: tuple[Question, ...] = Field(min_length=1, max_length=MOST_RUNS)
    runs: tuple[Run, ...] = Field(max_length=MOST_RUNS)
    """Arm by arm."""

    @model_validator(mode="after")
    def _of_its_own(self) -> Self:
        """A run is one of those that were asked for, and there is no other like it."""
        if self.of > MOST_RUNS:
            raise ValueError(f"it asks for more than {MOST_RUNS:,} runs")
        most = len(self.arms), len(self.questions), self.asked.samples
        if any(number >= size for run in self.runs for number, size in zip(run.key, most, strict=True)):
            raise ValueError("a run is of none of its arms, problems or samples")
        if len({run.key for run in self.runs}) < len(self.runs):
            raise ValueError("a run stands in it twice")
        if self.complete != (len(self.runs) == self.of):
            raise ValueError("it does not say rightly whether it is complete")
        return self

    @property
    def id(self) -> str:
        return study_id(self.asked.model_dump(mode="json"), self.made)

    @property
    def arms(self) -> list[Arm]:
        """The baseline first."""
        asked = self.asked
        return [
            Arm(None, 0.0, None),
            *(
                Arm(target, strength, _intervention(asked, target, strength))
                for target in asked.targets
                for strength in asked.strengths
            ),
        ]

    @property
    def of(self) -> int:
        """How many runs it has when it is complete."""
        return runs_of(len(self.asked.targets), len(self.asked.strengths), len(self.questions), self.asked.samples)

    @property
    def longest_text(self) -> int:
        """Characters that are kept of each text."""
        return min(LONGEST_TEXT, _CHARACTERS // self.of)


def runs_of(features: int, strengths: int, problems: int, samples: int) -> int:
    """How many runs a sweep takes, its baseline included."""
    return (1 + features * strengths) * problems * samples


def digest_of(problems: Sequence[Problem]) -> str:
    """Of questions and references, in order."""
    content = json.dumps([[problem.question, problem.reference] for problem in problems])
    return "sha256:" + hashlib.sha256(content.encode()).hexdigest()


def questions_of(problems: Sequence[Problem]) -> tuple[Question, ...]:
    return tuple(
        Question(question=problem.question[:_QUESTION], reference=problem.reference and problem.reference[:_QUESTION])
        for problem in problems
    )


def _intervention(asked: Asked, target: Target, strength: float) -> Intervention:
    value = 0.0 if asked.action == "ablate" else strength * target.maximum
    return Intervention(target.hookpoint, target.feature, asked.action, value, asked.start)
