"""Stored results of asking what features do in a trace: set to 0, or by gradient × activation.

A trace is an inference of an experiment, or a run that a worker has just made; the latter's results are stored nowhere.
Arrays over positions begin at position 0.
"""

from __future__ import annotations

from typing import Annotated, Final, Self

from pydantic import Field, model_validator

from kthink_core.config import MOST_LATENTS
from kthink_core.records import Inference
from kthink_core.store.studies import Document, Made, Study, study_id, trace_digest

ABLATION: Final = "ablation"
ATTRIBUTION: Final = "attribution"
MOST_ABLATED = 20
"""Features of one study."""
MOST_NODES = 200
"""Features of an attribution that are kept, the strongest."""
MOST_POSITIONS = 200_000
LONGEST_RIVAL = 100
"""Characters."""
RUNNER_UP = ""
"""As a rival: of each token, the one that was most probable of all others."""

Count = Annotated[int, Field(ge=0, lt=2**31)]
Feature = Annotated[int, Field(ge=0, lt=MOST_LATENTS)]
_LARGEST = 1e30
"""Of any figure: sums of as many as there may be stay finite."""
Figure = Annotated[float, Field(ge=-_LARGEST, le=_LARGEST)]
Size = Annotated[float, Field(ge=0, le=_LARGEST)]
ByPosition = Annotated[tuple[Figure, ...], Field(max_length=MOST_POSITIONS)]
Word = Annotated[str, Field(max_length=200)]


class Traced(Document):
    """Which trace it is about."""

    inference: Count | None
    """None of a live run."""
    digest: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")
    """Of its token ids."""
    prompt_tokens: Count
    tokens: int = Field(ge=2, le=MOST_POSITIONS)


def traced(inference: Inference, number: int | None) -> Traced:
    """Of a trace; `number`: of the stored inference."""
    return Traced(
        inference=number,
        digest=trace_digest(inference.token_ids.tolist()),
        prompt_tokens=inference.prompt_tokens,
        tokens=len(inference.token_ids),
    )


class AblationQuestion(Document):
    """What was asked of a trace."""

    hookpoint: str = Field(max_length=200)
    features: tuple[Feature, ...] = Field(min_length=1, max_length=MOST_ABLATED)
    span: tuple[Count, Count] | None = None
    """First and last position at which they are set to 0; None: wherever they fire."""


class FeatureEffect(Document):
    """What setting one feature to 0 changes. Formulas: model/ablation.py."""

    feature: Feature
    positions: tuple[Count, ...] = Field(max_length=MOST_POSITIONS)
    """Those asked at which it fires."""
    activations: ByPosition
    """At these."""
    kl: ByPosition
    """[tokens] KL(p ‖ p′) of the prediction of each token, in nats; 0 at 0, which nothing predicts."""
    change: ByPosition
    """[tokens] log p′(token) − log p(token); 0 at 0."""


class AblationStudy(Study):
    """Features of one hookpoint, each set to 0 in a trace."""

    trace: Traced
    question: AblationQuestion
    effects: tuple[FeatureEffect, ...] = Field(min_length=1, max_length=MOST_ABLATED)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if tuple(effect.feature for effect in self.effects) != self.question.features:
            raise ValueError("its effects are not of the features that it asks about")
        for effect in self.effects:
            if not len(effect.kl) == len(effect.change) == self.trace.tokens:
                raise ValueError(f"the effect of feature {effect.feature} is not of every token")
            if len(effect.activations) != len(effect.positions):
                raise ValueError(f"feature {effect.feature} has not one activation a position")
            if any(position >= self.trace.tokens for position in effect.positions):
                raise ValueError(f"feature {effect.feature} fires beyond the last token")
        return self

    @property
    def id(self) -> str:
        return causal_id(self.trace, self.question, self.made)


class AttributionQuestion(Document):
    """What was asked of a trace."""

    hookpoint: str = Field(max_length=200)
    position: Count | None = None
    """Of the token whose prediction is explained; None: all tokens of the final answer."""
    rival: Annotated[str, Field(max_length=LONGEST_RIVAL)] | None = None
    """None: log-probability. Else the difference of the logits to that of this token, by its text, or `RUNNER_UP`."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """Of the features drawn to compare with."""


class Node(Document):
    """A feature, over all positions before the last token that is explained."""

    feature: Feature
    contribution: Figure
    """Σ A over positions."""
    absolute: Size
    """Σ |A|."""
    positions: Count
    """At which it fires."""
    peak: Count
    """Position of its largest |A|."""
    at_peak: Figure
    """A there."""


class Compared(Document):
    """A feature by attribution, and by setting it to 0 wherever it fires."""

    feature: Feature
    contribution: Figure
    effect: Figure
    """The objective less what it is without the feature: exact."""


class Explained(Document):
    """One token whose prediction counts."""

    position: Count
    text: Word
    rival: Word | None
    """The token that it is compared with."""


class Before(Document):
    """What is attributed to features at and behind a token that is explained alone: they cannot matter to it."""

    position: Count
    nodes: Count
    """Features times positions there."""
    largest: Size
    """|A| there: exactly 0, or something is wrong."""


class AttributionStudy(Study):
    """What the prediction of some tokens owes to the features of one hookpoint. Formulas: model/attribution.py."""

    trace: Traced
    question: AttributionQuestion
    explained: tuple[Explained, ...] = Field(min_length=1, max_length=1000)
    value: Figure
    """The objective, with the trace as it was."""
    nodes: tuple[Node, ...] = Field(max_length=MOST_NODES)
    """By |contribution|, the largest first; of equals the smaller number."""
    active: Count
    """Features that fire at all before the last explained token."""
    features_at: ByPosition
    error_at: ByPosition
    constant_at: ByPosition
    """[tokens] what each position contributes: all its features, what they do not reconstruct, the decoder's bias."""
    features_absolute: Size
    """Σ |A| over all features and positions."""
    error_absolute: Size
    constant_absolute: Size
    strongest: tuple[Compared, ...] = Field(max_length=100)
    """The first of the nodes, set to 0."""
    controls: tuple[Compared, ...] = Field(max_length=100)
    """Features drawn at random among the other active ones."""
    rho: Annotated[float, Field(ge=-1, le=1)] | None
    rho_low: Annotated[float, Field(ge=-1, le=1)] | None
    rho_high: Annotated[float, Field(ge=-1, le=1)] | None
    """Spearman's rank correlation of the strongest: contribution against effect."""
    before: Before | None
    """None where there is no token to take."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not len(self.features_at) == len(self.error_at) == len(self.constant_at) == self.trace.tokens:
            raise ValueError("what is attributed is not of every token")
        positions = [*(one.position for one in self.explained), *(node.peak for node in self.nodes)]
        if max(positions) >= self.trace.tokens:
            raise ValueError("a position lies beyond the last token")
        return self

    @property
    def id(self) -> str:
        return causal_id(self.trace, self.question, self.made)

    @property
    def error_share(self) -> float:
        """What is left to the error, of Σ |contributions| of features, error and bias."""
        return self.error_absolute / self.everything if self.everything else 0.0

    @property
    def constant_share(self) -> float:
        return self.constant_absolute / self.everything if self.everything else 0.0

    @property
    def everything(self) -> float:
        return self.features_absolute + self.error_absolute + self.constant_absolute


def causal_id(trace: Traced, question: AblationQuestion | AttributionQuestion, made: Made) -> str:
    """Of what is asked of a trace."""
    return study_id({"trace": trace.model_dump(mode="json"), "question": question.model_dump(mode="json")}, made)
