"""One trace that is asked about, and what reads it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kthink_core.config import Experiment
from kthink_core.errors import UnknownName
from kthink_core.model.language_model import LanguageModel
from kthink_core.model.sae import Sae
from kthink_core.model.steering import Steering, steering
from kthink_core.records import Inference
from kthink_core.store.studies import Made, made_with

_DIGITS = 7
"""Significant ones that are kept of a number in float32."""


class Subject(NamedTuple):
    """A trace, and what reads it."""

    lm: LanguageModel
    saes: Mapping[str, Sae]
    """All that the trace's steering and the question need."""
    experiment: Experiment
    """What model and SAEs are, and where they are captured."""
    inference: Inference
    number: int | None
    """Of the stored inference; None of a live run."""

    @property
    def token_ids(self) -> list[int]:
        return self.inference.token_ids.tolist()

    def steering(self) -> Steering | None:
        """What the trace was written under."""
        return steering(self.inference.interventions, self.saes)

    def made(self, hookpoint: str) -> Made:
        """What an answer about a hookpoint is made with, now."""
        return made_with(self.experiment, [hookpoint], str(self.lm.device), self.lm.dtype_name)

    def check_hookpoint(self, hookpoint: str) -> None:
        """Raises UnknownName for one without an SAE."""
        if hookpoint not in self.saes:
            raise UnknownName("hookpoint", hookpoint, self.saes)


class Step(NamedTuple):
    """How far an answer is."""

    done: int
    of: int


def plain(values: NDArray[np.float32]) -> tuple[float, ...]:
    """As JSON has them; NaN, which stands where nothing predicts, is 0."""
    return tuple(rounded(value) for value in np.nan_to_num(values).tolist())


def rounded(value: float) -> float:
    """To what float32 holds of it."""
    return float(f"{value:.{_DIGITS}g}")
