"""Steering: features of an SAE set to what one wants, while the model writes or reads.

h is what passes the hookpoint at a position, a = encode(h), all interventions of a hookpoint taken together:

    clamp to v   h + (v − aᵢ) W_dec[i]     = decode(a with aᵢ = v) + (h − decode(a)): the SAE's error is kept
    add s        h + s W_dec[i]
    ablate       clamp to 0

ReasonScore (Galichin et al. 2025, arXiv 2503.18878) clamps to a strength times the feature's maximum in the data. Where
nothing changes, h stays as it is, bit for bit.

Encoded again, a steered vector has the pre-activation zᵢ + (v − aᵢ) W_enc[i]·W_dec[i], which is v only as far as
encoder and decoder agree; the bundled SAEs give a third to four fifths of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from kthink_core.errors import BadValue, UnknownName
from kthink_core.model.hookpoints import Edit
from kthink_core.model.sae import Sae, chunks
from kthink_core.records import Intervention


class Steering(NamedTuple):
    """Interventions, and the SAEs of their hookpoints. Made by `steering`."""

    interventions: tuple[Intervention, ...]
    saes: Mapping[str, Sae]

    def edits(self, generated: Tensor) -> dict[str, Edit]:
        """For one forward pass, by hookpoint. `generated`: [rows, positions] what number of generated token each
        position holds, from 0; negative in prompts and padding, which stay as they are."""
        by_hookpoint: dict[str, list[Intervention]] = {}
        for intervention in self.interventions:
            by_hookpoint.setdefault(intervention.hookpoint, []).append(intervention)
        return {
            hookpoint: partial(_steered, self.saes[hookpoint], asked, generated)
            for hookpoint, asked in by_hookpoint.items()
        }


def steering(interventions: Iterable[Intervention], saes: Mapping[str, Sae]) -> Steering | None:
    """None where there is nothing to do. Raises UnknownName, BadValue for what none of the SAEs has or can do."""
    asked = tuple(interventions)
    taken: set[tuple[str, int]] = set()
    for intervention in asked:
        hookpoint, feature = intervention.hookpoint, intervention.feature
        if hookpoint not in saes:
            raise UnknownName("hookpoint", hookpoint, saes)
        if feature >= (size := saes[hookpoint].shape.num_latents):
            raise BadValue(f"feature {feature} of {hookpoint}: its SAE has features 0 to {size - 1}")
        if intervention.action == "clamp" and intervention.value < 0:
            raise BadValue(f"feature {feature} clamped to {intervention.value:g}: activations are never negative")
        if (hookpoint, feature) in taken:
            raise BadValue(f"feature {feature} of {hookpoint} is steered twice: say once what is wanted of it")
        taken.add((hookpoint, feature))
    return Steering(asked, saes) if asked else None


@torch.inference_mode()
def _steered(sae: Sae, interventions: Sequence[Intervention], generated: Tensor, vectors: Tensor) -> Tensor:
    """vectors: [rows, positions, d_in]; `generated`: [rows, positions] → [rows, positions, d_in]."""
    acting = [generated >= intervention.start for intervention in interventions]  # each [rows, positions]
    steered = torch.stack(acting).any(0)
    if not steered.any():
        return vectors
    rows = vectors[steered]  # [steered, d_in]
    features = torch.tensor([intervention.feature for intervention in interventions], device=rows.device)
    wanted = rows.new_tensor([intervention.value for intervention in interventions], dtype=sae.W_dec.dtype)
    added = torch.tensor([intervention.action == "add" for intervention in interventions], device=rows.device)
    now = torch.cat([_activations(sae, part, features) for part in chunks(sae, rows.to(sae.W_dec.dtype))])
    amounts = torch.where(added, wanted, wanted - now)  # [steered, interventions]
    amounts = amounts * torch.stack([acts[steered] for acts in acting], dim=1)
    changed = rows + (amounts @ sae.W_dec[features]).to(rows.dtype)
    result = vectors.clone()
    result[steered] = torch.where((amounts != 0).any(1, keepdim=True), changed, rows)
    return result


def _activations(sae: Sae, rows: Tensor, features: Tensor) -> Tensor:
    """The activations of some features: [positions, features]; 0 where one is not kept."""
    latents = sae.encode(rows)
    return torch.stack([(latents.activations * (latents.indices == feature)).sum(1) for feature in features], dim=1)
