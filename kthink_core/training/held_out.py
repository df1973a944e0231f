"""How good SAEs are on texts that they were not trained on. From the saved files, as every command loads them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from torch import Tensor

from kthink_core.config import Site
from kthink_core.model.fidelity import fidelity
from kthink_core.model.language_model import LanguageModel
from kthink_core.model.replay import replay
from kthink_core.model.sae import Sae, encode
from kthink_core.prompts import Segment
from kthink_core.store.trainings import HeldOut
from kthink_core.training.windows import Window

_PREDICTIONS = 20_000
"""Positions, of whole windows, on which loss recovered is measured: it takes two passes a hookpoint."""
_AT_ONCE = 2**12
"""Positions in one pass."""


class _Sums:
    """Of one SAE over all windows."""

    def __init__(self, sae: Sae) -> None:
        self.positions = self.active = 0
        self.fired = np.zeros(sae.shape.num_latents, bool)
        self.squared_error = self.squared_norm = 0.0
        self.vectors = np.zeros(sae.shape.d_in)
        self.losses = np.zeros(3)
        """−log p of the model as it is, with the reconstruction, with nothing."""
        self.predictions = 0

    def figures(self, hookpoint: str) -> HeldOut:
        variation = self.squared_norm - float(self.vectors @ self.vectors) / max(self.positions, 1)
        model, spliced, zero = self.losses.tolist()
        return HeldOut(
            hookpoint=hookpoint,
            positions=self.positions,
            fvu=self.squared_error / variation if variation > 0 else None,
            l0=self.active / max(self.positions, 1),
            dead_share=1 - float(self.fired.mean()),
            loss_recovered=(zero - spliced) / (zero - model) if zero > model else None,
            predictions=self.predictions,
        )


def held_out(
    lm: LanguageModel, saes: Mapping[str, Sae], site: Site, windows: Sequence[Window], measured: Callable[[int], None]
) -> list[HeldOut]:
    """Figures by hookpoint; `measured` hears of how many windows are done with."""
    sums = {hookpoint: _Sums(sae) for hookpoint, sae in saes.items()}
    done = positions = 0
    while done < len(windows):
        part = windows[done : done + max(1, _AT_ONCE // len(windows[done]))]
        for window, captured in zip(part, replay(lm, [each.tolist() for each in part], list(saes), site), strict=True):
            for hookpoint, sae in saes.items():
                _add(sums[hookpoint], sae, captured.vectors[hookpoint])
            if positions < _PREDICTIONS and len(window) > 1:
                _add_losses(sums, lm, saes, site, window)
            positions += len(window)
            done += 1
            measured(done)
    return [sums[hookpoint].figures(hookpoint) for hookpoint in saes]


def _add(sums: _Sums, sae: Sae, vectors: Tensor) -> None:
    segments: list[Segment] = ["prompt"] * len(vectors)  # which one does not matter
    found = encode(sae, vectors, segments)
    sums.positions += len(vectors)
    sums.active += int((found.activations > 0).sum())
    sums.fired[found.features[found.activations > 0]] = True
    sums.squared_error += float(found.squared_error.sum(dtype=np.float64))
    sums.squared_norm += float(found.squared_norm.sum(dtype=np.float64))
    sums.vectors += sum(found.vector_sums.values())


def _add_losses(
    sums: Mapping[str, _Sums], lm: LanguageModel, saes: Mapping[str, Sae], site: Site, window: Window
) -> None:
    for hookpoint, found in fidelity(lm, saes, site, window.tolist(), lambda: None).items():
        for index, logprobs in enumerate((found.logprob, found.spliced_logprob, found.zeroed_logprob)):
            sums[hookpoint].losses[index] -= logprobs[1:].sum(dtype=np.float64)
        sums[hookpoint].predictions += len(window) - 1
