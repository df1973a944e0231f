"""Steering: features of an SAE set to what one wants, while the model writes or reads.

h is what passes the hookpoint at a position, a = encode(h), all interventions of a hookpoint taken together:

    clamp to v   h + (v − aᵢ) W_dec[i]     = decode(a with aᵢ = v) + (h − decode(a)): the SAE's error is kept
    add s        h + s W_dec[i]
    ablate       clamp to 0

ReasonScore (Galichin et al. 2025, arXiv 2503.18878) clamps to a strength times the feature's maximum in the data. Where
nothing changes, h stays as it is, bit for bit.

Encoded again, a steered vector has the pre-activation zᵢ + (v − aᵢ) W_enc[i]·W_dec[i], which is v only as far as
encoder and decoder agree; the bundled SAEs give a third to four fifths of it. What came of it is in the receipt
(receipts.py), from when on it acts in onset.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property, partial
from typing import NamedTuple

import torch
from torch import Tensor

from kthink_core.errors import BadValue, UnknownName
from kthink_core.model.hookpoints import Edit
from kthink_core.model.sae import Sae, chunks
from kthink_core.records import Intervention
from kthink_core.steer_options import check_interventions

Notes = dict[str, Tensor]
"""By hookpoint, [rows, positions, 1 + 3 · interventions of the hookpoint] float32: ‖h‖ as it came; of each intervention
‖Δh‖ by it alone, whether it acted, the activation of its feature before. Zeros where none acted; absent where nothing
was done."""


class _Put(NamedTuple):
    """What is done at one hookpoint."""

    sae: Sae
    which: list[int]
    """Numbers of the interventions, of all."""
    features: Tensor
    """[interventions]"""
    wanted: Tensor
    """[interventions]"""
    replaced: Tensor
    """[interventions] 1 where the activation becomes `wanted`, 0 where `wanted` is added to it."""
    directions: Tensor
    """[interventions, d_in] their decoder rows."""
    lengths: Tensor
    """[interventions] the norms of these."""


class Steering:
    """Interventions, and the SAEs of their hookpoints. Made by `steering`."""

    def __init__(self, interventions: tuple[Intervention, ...], saes: Mapping[str, Sae]) -> None:
        self.interventions, self.saes = interventions, saes

    @cached_property
    def hookpoints(self) -> tuple[str, ...]:
        """Where something is done."""
        return tuple(dict.fromkeys(done.hookpoint for done in self.interventions))

    @cached_property
    def watched(self) -> tuple[str, ...]:
        """Hookpoints at which a feature's firing sets something off."""
        return tuple(dict.fromkeys(done.after.hookpoint for done in self.interventions if done.after))

    @cached_property
    def starts(self) -> Tensor:
        """[interventions] generated position from which on each acts, triggers left aside."""
        return torch.tensor([intervention.start for intervention in self.interventions])

    def numbers_of(self, hookpoint: str) -> list[int]:
        """Which of the interventions are at a hookpoint, in the order of its `Notes`."""
        return [number for number, done in enumerate(self.interventions) if done.hookpoint == hookpoint]

    def edits(
        self, generated: Tensor | int, starts: Tensor | None = None, notes: Notes | None = None
    ) -> dict[str, Edit]:
        """For one forward pass, by hookpoint.

        `generated`: [rows, positions] what number of generated token each position holds, from 0; negative in prompts
        and padding, which stay as they are; one number where it is that of all. `starts`: [rows, interventions] from
        which number on each acts; without it, from its own start. `notes` is filled by the pass.
        """
        edits: dict[str, Edit] = {}
        for hookpoint, put in self._puts.items():
            acting: Tensor | None = None  # None: all, everywhere
            if starts is not None or isinstance(generated, Tensor):
                own = self.starts[None] if starts is None else starts
                own = own[:, None, put.which].to(put.features.device)
                acting = own <= (generated[..., None] if isinstance(generated, Tensor) else generated)
            elif (begun := self.starts[put.which] <= generated).all():
                pass
            elif begun.any():
                acting = begun[None, None].to(put.features.device)
            else:
                continue
            edits[hookpoint] = partial(_steered, put, acting, notes, hookpoint)
        return edits

    @cached_property
    def _puts(self) -> dict[str, _Put]:
        return {hookpoint: self._put(hookpoint) for hookpoint in self.hookpoints}

    @torch.inference_mode(False)  # gradients may pass through what was first used without
    def _put(self, hookpoint: str) -> _Put:
        sae, which = self.saes[hookpoint], self.numbers_of(hookpoint)
        done = [self.interventions[number] for number in which]
        features = torch.tensor([intervention.feature for intervention in done], device=sae.W_dec.device)
        return _Put(
            sae=sae,
            which=which,
            features=features,
            wanted=sae.W_dec.new_tensor([intervention.value for intervention in done]),
            replaced=sae.W_dec.new_tensor([float(intervention.action != "add") for intervention in done]),
            directions=sae.W_dec[features],
            lengths=sae.W_dec[features].norm(dim=1),
        )


def steering(interventions: Iterable[Intervention], saes: Mapping[str, Sae]) -> Steering | None:
    """None where there is nothing to do. Raises UnknownName, BadValue for what none of the SAEs has or can do."""
    asked = tuple(interventions)
    for intervention in asked:
        _check_feature(intervention.hookpoint, intervention.feature, saes)
        if intervention.after is not None:
            _check_feature(intervention.after.hookpoint, intervention.after.feature, saes)
    check_interventions(asked)
    return Steering(asked, saes) if asked else None


def _check_feature(hookpoint: str, feature: int, saes: Mapping[str, Sae]) -> None:
    if hookpoint not in saes:
        raise UnknownName("hookpoint", hookpoint, saes)
    if feature >= (size := saes[hookpoint].shape.num_latents):
        raise BadValue(f"feature {feature} of {hookpoint}: its SAE has features 0 to {size - 1}")


def _steered(put: _Put, acting: Tensor | None, notes: Notes | None, hookpoint: str, vectors: Tensor) -> Tensor:
    """vectors: [rows, positions, d_in] → the same, steered. `acting`: what broadcasts to [rows, positions,
    interventions]; None: all act everywhere."""
    if acting is None:
        changed, noted = _changed(put, vectors.flatten(0, 1), None)
        if notes is not None:
            notes[hookpoint] = noted.view(*vectors.shape[:2], -1)
        return changed.view_as(vectors)
    acting = acting.expand(*vectors.shape[:2], -1)
    here = acting.any(-1)
    if not here.any():
        return vectors
    changed, noted = _changed(put, vectors[here], acting[here])
    if notes is not None:
        notes[hookpoint] = noted.new_zeros((*vectors.shape[:2], noted.shape[1]))
        notes[hookpoint][here] = noted
    result = vectors.clone()
    result[here] = changed
    return result


def _changed(put: _Put, rows: Tensor, acting: Tensor | None) -> tuple[Tensor, Tensor]:
    """rows: [steered, d_in]; `acting`: [steered, interventions] → the rows as they go on, and their `Notes`.

    Between two tokens of one row every operation counts: there are as few as give all that is noted.
    """
    wide = rows.to(put.directions.dtype)
    now = [activations_of(put.sae, part, put.features) for part in chunks(put.sae, wide)]
    before = now[0] if len(now) == 1 else torch.cat(now)
    amounts = torch.addcmul(put.wanted, before, put.replaced, value=-1)  # [steered, interventions]
    if acting is not None:
        amounts = amounts * acting
    changed = torch.addmm(wide, amounts, put.directions).to(rows.dtype)
    changed = torch.where((amounts != 0).any(1, keepdim=True), changed, rows)  # adding 0 to −0.0 would make it 0.0
    norm = torch.linalg.vector_norm(wide, dim=1, keepdim=True)
    acted = torch.ones_like(before) if acting is None else acting
    return changed, torch.cat((norm, amounts.abs() * put.lengths, acted, before), dim=1).float()


def activations_of(sae: Sae, rows: Tensor, features: Tensor) -> Tensor:
    """The activations of some features, [positions, features]; 0 where one is not kept. `rows`: [positions, d_in]."""
    if not rows.requires_grad and sae.quiet(rows, features):  # mostly so; an encoding reads all of the SAE's weights
        return rows.new_zeros(len(rows), len(features))
    latents = sae.encode(rows)
    own = latents.indices[:, :, None] == features
    if latents.activations.requires_grad:  # where fewer fire than are kept, the rest is 0 and moves nothing
        own = own & (latents.activations > 0)[:, :, None]
    return (latents.activations[:, :, None] * own).sum(1)
