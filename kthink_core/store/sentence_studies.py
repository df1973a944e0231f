"""Stored rollouts from between the sentences of a thought: what the model answers where it goes on from there.

One document for each question: a trace, how many rollouts, their seeds, and whether a feature was clamped in them. It
is stored after every place, so that a run that was ended goes on with the next.
"""

from __future__ import annotations

from typing import Annotated, Final, NamedTuple, Self

from pydantic import Field, model_validator

from kthink_core.config import Experiment
from kthink_core.prompts import Grade
from kthink_core.records import Intervention, Receipt
from kthink_core.store.files import Layout
from kthink_core.store.studies import Document, Study, list_studies, study_id

KIND: Final = "sentences"
MOST_ROLLOUTS = 500
"""From one place."""
MOST_SENTENCES = 2000
LONGEST_ANSWER = 200
"""Characters that are kept of an answer."""

Count = Annotated[int, Field(ge=0, lt=2**31)]
Answer = Annotated[str, Field(max_length=LONGEST_ANSWER)]


class Said(Document):
    """A sentence."""

    first: Count
    last: Count
    """Its positions, both its own."""
    text: str = Field(max_length=100_000)


class Place(Document):
    """What came of going on from one place: just before a sentence, or after the last."""

    position: Count
    """Of the first token that is written anew."""
    answers: tuple[Answer | None, ...] = Field(max_length=MOST_ROLLOUTS)
    """[rollouts] in the order of the seeds; None where there was no final answer, as where it was cut off."""
    repeats: tuple[bool, ...] = Field(max_length=MOST_ROLLOUTS)
    """[rollouts] whether the first sentence written is that of the trace again; empty after the last sentence."""
    tokens: Count
    """Written in all rollouts together."""
    seconds: float = Field(ge=0)
    """What that took, without the time in which other work was done."""
    receipts: tuple[Receipt, ...] = Field(default=(), max_length=65, exclude_if=lambda receipts: not receipts)
    """Of each intervention, the clamp last, what it did to what was written in all rollouts: medians over them of each
    one's median; checks, and activations after, of the one that ended first. Empty where nothing was steered, or nobody
    told."""


class SentenceStudy(Study):
    """The rollouts of one trace."""

    inference: Count
    trace: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")
    """Digest of the trace's token ids."""
    prompt_tokens: Count
    generated_tokens: Count
    reference: str | None = Field(max_length=100_000)
    """None where there is none, or nothing is graded."""
    grade: Grade = Field(default="number", exclude_if=lambda grade: grade == "number")  # as older ones are written
    """How answers are compared with it, and with each other."""
    cut_off_unanswered: bool = Field(default=False, exclude_if=lambda is_so: not is_so)
    """Whether what was cut off has no answer; before, it had the one that stood in it by then."""
    rollouts: int = Field(ge=2, le=MOST_ROLLOUTS)
    seed: int = Field(ge=0, lt=2**31)
    """The first seed; that of the trace itself is left out."""
    temperature: float = Field(ge=0)
    top_p: float = Field(gt=0, le=1)
    max_new_tokens: int = Field(ge=1)
    """Of a whole trace, what stands before the place included."""
    steering: tuple[Intervention, ...] = Field(max_length=64)
    """Of the trace; done in the rollouts, too."""
    clamp: Intervention | None
    sentences: tuple[Said, ...] = Field(min_length=1, max_length=MOST_SENTENCES)
    places: tuple[Place, ...] = Field(max_length=MOST_SENTENCES + 1)
    """Those done, in order; of a complete study one more than sentences."""

    @property
    def interventions(self) -> tuple[Intervention, ...]:
        """What was done in the rollouts, the clamp last."""
        return (*self.steering, *([self.clamp] if self.clamp else []))

    @property
    def positions(self) -> list[int]:
        """Of all places, done or not."""
        return [*(one.first for one in self.sentences), self.sentences[-1].last + 1]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        positions = self.positions
        if sorted(set(positions)) != positions or positions[-1] > self.prompt_tokens + self.generated_tokens:
            raise ValueError("its sentences do not follow each other within the trace")
        if [place.position for place in self.places] != positions[: len(self.places)]:
            raise ValueError("its places are not those between its sentences")
        if self.complete != (len(self.places) == len(positions)):
            raise ValueError("it says wrongly whether it is complete")
        for place in self.places:
            if len(place.answers) != self.rollouts or len(place.repeats) not in (0, self.rollouts):
                raise ValueError(f"the place at {place.position} has not {self.rollouts} rollouts")
            if len(place.receipts) not in (0, len(self.interventions)):
                raise ValueError(f"the place at {place.position} has not a receipt of each intervention")
        return self

    @property
    def id(self) -> str:
        """Of the question, whatever is done of it."""
        fields = self.model_dump(mode="json", exclude={"version", "made", "complete", "places", "sentences"})
        return study_id({**fields, "positions": self.positions}, self.made)


class Found(NamedTuple):
    """Studies of one inference."""

    plain: SentenceStudy | None
    """Without a clamp: the one with the most places done, then the most rollouts, then the newest."""
    clamped: tuple[SentenceStudy, ...]
    """Those that differ from it by a clamped feature only, the newest first."""
    problems: tuple[str, ...]
    """A line for each document that does not count."""


def find_studies(layout: Layout, experiment: Experiment, inference: int, trace: str) -> Found:
    """The stored rollouts of an inference, as it is stored now: `trace` is its digest. Raises OSError."""
    stored = list_studies(layout, experiment, KIND, SentenceStudy)
    own = [study for study in stored.found.values() if (study.inference, study.trace) == (inference, trace)]
    plain = [study for study in own if study.clamp is None]
    best = max(plain, key=lambda study: (len(study.places), study.rollouts), default=None)  # of equals the newest
    clamped = [study for study in own if best is not None and study.clamp is not None and alike(study, best)]
    return Found(best, tuple(clamped), tuple(stored.problems))


def alike(one: SentenceStudy, other: SentenceStudy) -> bool:
    """Whether both have the same seeds at the same places of the same trace, so that they can be compared."""
    return all(getattr(one, name) == getattr(other, name) for name in _SAME) and one.positions == other.positions


_SAME = ("inference", "trace", "rollouts", "seed", "temperature", "top_p", "max_new_tokens", "steering",
         "cut_off_unanswered")  # fmt: skip
