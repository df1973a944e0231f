"""What a link can choose from. Pure, as the rest of the link's parser."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Bounds:
    """What can be chosen in one experiment."""

    experiment: str
    inferences: Sequence[int]
    """Those committed, ascending; there may be gaps."""
    latents: dict[str, int]
    """Number of features by hookpoint, in the order of the experiment; never empty."""
    others: Sequence[str] = ()
    """Experiments to compare with."""
