"""Features that somebody wants to hear of, and where they fire."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from kthink_core.queries.trace import Trace, token_activations


class Watch(NamedTuple):
    """A feature that somebody wants to hear of."""

    hookpoint: str
    feature: int
    threshold: float
    """Activations above it are reported."""


class Firing(NamedTuple):
    """One report."""

    watch: Watch
    position: int
    text: str
    activation: float


def firings(trace: Trace, watched: Sequence[Watch]) -> list[Firing]:
    """Where watched features fire above their thresholds, the prompt left out: by position, then as they are watched.
    Of a feature that is watched twice the last counts."""
    found: list[Firing] = []
    for hookpoint in dict.fromkeys(watch.hookpoint for watch in watched):
        watches = {watch.feature: watch for watch in watched if watch.hookpoint == hookpoint}
        table = token_activations(trace, hookpoint, "generated", tuple(watches))
        columns = (table[name].tolist() for name in ("feature", "position", "text", "activation"))
        for feature, position, text, activation in zip(*columns, strict=True):
            if activation > watches[feature].threshold:
                found.append(Firing(watches[feature], position, text, activation))
    return sorted(found, key=lambda firing: firing.position)
