"""What was published: a document of figures, with the configuration that they were made with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

from kthink_core.config import ExperimentConfig, Hookpoint, Text, check_name
from kthink_core.documents import read_document
from kthink_core.errors import BadFile, KthinkError

ARTICLE = Path(__file__).parent / "article.json"

Index = Annotated[int, Field(ge=0)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Tolerance(_Part):
    """How far a figure may be from the published one, as a part of it."""

    float32: float = Field(gt=0, lt=1)
    """Where the model has float32: other devices and versions add up in another order."""
    other: float = Field(gt=0, lt=1)
    """Where it has bfloat16 or float16, whose numbers have two or three digits."""


class Largest(_Part):
    """The largest activations at one position of the prompt."""

    position: Index
    activations: tuple[FiniteFloat, ...] = Field(min_length=1)
    """Descending; the position may have more."""


class AtFeature(_Part):
    """The activation of one feature at one position of the prompt."""

    position: Index
    feature: Index
    activation: FiniteFloat


class Count(_Part):
    """In how many inferences a feature is relevant: one of the ten with the largest maximum over generated tokens."""

    hookpoint: Hookpoint
    feature: Index
    inferences: Index


class Published(_Part):
    """A figures document."""

    source: Text
    experiment: str
    """Name of the experiment in the cache."""
    config: ExperimentConfig
    """How it was made; here lie the figures of one question, which sampling does not touch:"""
    tolerance: Tolerance
    question: Text
    prompt_tokens: int = Field(ge=1)
    hookpoint: Hookpoint
    largest: tuple[Largest, ...]
    features: tuple[AtFeature, ...]
    counts: tuple[Count, ...]
    """What depends on it."""
    of: int = Field(ge=1)
    """Inferences that were counted."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        try:
            check_name(self.experiment)
        except KthinkError as error:
            raise ValueError(str(error)) from error
        if unknown := {self.hookpoint, *(count.hookpoint for count in self.counts)} - {*self.config.hookpoints}:
            raise ValueError(f"config has no {', '.join(sorted(unknown))} among its hookpoints")
        if any(count.inferences > self.of for count in self.counts):
            raise ValueError(f"a count is of more than {self.of} inferences")
        return self


def read_published(path: Path = ARTICLE) -> Published:
    """A figures document. Raises BadFile."""
    try:
        return read_document(path, Published)
    except FileNotFoundError as error:
        raise BadFile(path, "there is no such file of figures") from error
