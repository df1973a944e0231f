"""From when on interventions act that wait for a feature to fire.

Such a one acts from the position after the first, not before its start, at which the feature of its trigger fires,
whichever of the two hookpoints is the deeper. So what a position sees depends on earlier ones only: while a model
writes it is known in time, and of a whole text it is found by passes that each settle at least one more onset.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from kthink_core.model.hookpoints import Edit
from kthink_core.model.sae import chunks
from kthink_core.model.steering import Notes, Steering, activations_of

NEVER = 2**40
"""A generated position that none has."""


class Onset:
    """Of the rows of a batch."""

    def __init__(self, steering: Steering, rows: int, device: torch.device) -> None:
        waiting = [NEVER if done.after else done.start for done in steering.interventions]
        self.starts = torch.tensor([waiting] * rows, device=device)
        """[rows, interventions] generated position from which on each acts."""
        self._steering = steering
        self._last: int | None = None
        """From where on all act everywhere; None as long as something waits."""

    def edits(self, generated: Tensor | int, notes: Notes | None = None) -> dict[str, Edit]:
        """As `Steering.edits`, from where each acts in each row."""
        if self._last is not None and isinstance(generated, int) and generated >= self._last:
            return self._steering.edits(generated, None, notes)
        return self._steering.edits(generated, self.starts if self._steering.watched else None, notes)

    def select(self, rows: Tensor) -> None:
        """Keep only the rows with these indices, in this order."""
        self.starts = self.starts[rows]

    def see(self, captured: Mapping[str, Tensor], generated: Tensor) -> None:
        """What passed the watched hookpoints, [rows, positions, width] each, at new positions: `generated`, [rows,
        positions], is their number of generated token."""
        if self._steering.watched and self._last is None:
            self.starts = torch.minimum(self.starts, self._found(captured, generated))
            last = int(self.starts.max())
            self._last = last if last < NEVER else None

    def settled(self, captured: Mapping[str, Tensor], generated: Tensor) -> bool:
        """Of a pass over whole texts: whether the onsets that it was made with are those that follow from it; else they
        are from now on. One pass more than there are triggers settles all."""
        if not self._steering.watched:
            return True
        found = self._found(captured, generated)
        before, self.starts = self.starts, found
        return bool((found == before).all())

    def _found(self, captured: Mapping[str, Tensor], generated: Tensor) -> Tensor:
        """[rows, interventions] the onsets that these positions give."""
        onsets = []
        for number, done in enumerate(self._steering.interventions):
            if done.after is None:
                onsets.append(self.starts[:, number])
                continue
            vectors, sae = captured[done.after.hookpoint], self._steering.saes[done.after.hookpoint]
            feature = torch.tensor([done.after.feature], device=vectors.device)
            rows = vectors.flatten(0, 1).to(sae.W_dec.dtype)
            fires = torch.cat([activations_of(sae, part, feature)[:, 0] for part in chunks(sae, rows)]) > 0
            counts = fires.view(vectors.shape[:2]) & (generated >= done.start)
            onsets.append(torch.where(counts, generated + 1, NEVER).amin(1))
        return torch.stack(onsets, dim=1)
