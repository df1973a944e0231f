"""Which features of a trace, at which positions, what the model predicts there rests on: gradient × activation.

h is what passes a hookpoint at position t, a = encode(h), g = ∂m/∂h the gradient of an objective m (objective.py):

    A_{i,t} = a_{i,t} (W_dec[i] · g_t)          a feature, as if it were taken away and all answered in proportion
    E_t     = (h_t − decode(a_t)) · g_t         what the SAE does not reconstruct: a node of its own
    C_t     = decode(0) · g_t                   the decoder's bias, which is there whatever fires

Σ_i A_{i,t} + E_t + C_t = h_t · g_t. The error kept as a node is that of Sparse Feature Circuits (Marks et al. 2024,
arXiv 2403.19647). One forward and one backward pass give all features at all positions of all hookpoints. It is a
first-order estimate; ablation.py is exact.

Memory: the graph begins at the lowest hookpoint, and no parameter takes part. Of long traces, and where memory runs
out, only what enters each layer is kept, and a layer is computed again when its turn in the backward pass comes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from kthink_core.config import Site
from kthink_core.errors import HookSkipped, OutOfMemory
from kthink_core.model.hookpoints import Edit, decoder_layers, passing
from kthink_core.model.language_model import LanguageModel
from kthink_core.model.objective import Objective, value_of
from kthink_core.model.out_of_memory import out_of_memory
from kthink_core.model.replay import onsets
from kthink_core.model.sae import Latents, Sae, chunks, stacked
from kthink_core.model.steering import Steering

_WHOLE = 2**25
"""Numbers of the residual stream, positions × width × layers, up to which the whole graph is kept: it holds some twenty
times as many, 3 GB in float32."""
_GATHERED = 2**25
"""Numbers of decoder rows that are looked at together."""


class Attributed(NamedTuple):
    """At one hookpoint. Arrays hold what each position contributes, in the units of the objective."""

    features: NDArray[np.int32]
    """[positions, kept] unsorted; those with activation 0 contribute 0."""
    activations: NDArray[np.float32]
    """[positions, kept]"""
    contributions: NDArray[np.float32]
    """[positions, kept] A."""
    error: NDArray[np.float32]
    """[positions] E."""
    constant: NDArray[np.float32]
    """[positions] C."""


class Attribution(NamedTuple):
    """Of one objective."""

    value: float
    """m, with the trace as it was."""
    by_hookpoint: dict[str, Attributed]


def attribution(
    lm: LanguageModel,
    saes: Mapping[str, Sae],
    site: Site,
    token_ids: Sequence[int],
    objectives: Sequence[Objective],
    pause: Callable[[], None] = lambda: None,
    steering: Steering | None = None,
    prompt_tokens: int = 0,
    *,
    by_layer: bool | None = None,
) -> list[Attribution]:
    """One for each objective; they share the forward pass.

    `steering`, which acts behind `prompt_tokens`, acts in the pass, and gradients pass through it; h is what goes on
    after it. `by_layer`: whether layers are computed again, None: where the trace is long. `pause` is called between
    two passes; what it raises ends the work. Raises HookSkipped, OutOfMemory.
    """
    if by_layer is None:
        layers = len(decoder_layers(lm.model))
        by_layer = len(token_ids) * layers * next(iter(saes.values())).shape.d_in > _WHOLE
    pause()
    found = None
    try:
        with out_of_memory():
            found = _gradients(lm, list(saes), site, token_ids, objectives, steering, prompt_tokens, by_layer=by_layer)
    except torch.OutOfMemoryError as error:
        if by_layer:
            remedy = "take a shorter trace or another --device"
            raise OutOfMemory(lm.device.type, "in the backward pass, a layer at a time", remedy) from error
    if found is None:  # outside the handler, which holds what did not fit
        torch.cuda.empty_cache()
        return attribution(lm, saes, site, token_ids, objectives, pause, steering, prompt_tokens, by_layer=True)
    values, vectors, gradients = found
    pause()
    return [
        Attribution(value, {name: _attributed(saes[name], vectors[name], own[name]) for name in saes})
        for value, own in zip(values, gradients, strict=True)
    ]


def _gradients(
    lm: LanguageModel,
    hookpoints: Sequence[str],
    site: Site,
    token_ids: Sequence[int],
    objectives: Sequence[Objective],
    steering: Steering | None,
    prompt_tokens: int,
    *,
    by_layer: bool,
) -> tuple[list[float], dict[str, Tensor], list[dict[str, Tensor]]]:
    """m of each objective; by hookpoint h, and for each objective g: [positions, width] each.

    Nobody else may use the model meanwhile: its hooks stay until the last backward pass.
    """
    ids = torch.tensor([list(token_ids)], device=lm.device)
    generated = torch.arange(len(token_ids), device=lm.device)[None] - prompt_tokens
    starts = onsets(lm, token_ids, site, steering, prompt_tokens) if steering else None
    seen: dict[str, Tensor] = {}

    def watched(hookpoint: str, before: Edit | None) -> Edit:
        def edit(vectors: Tensor) -> Tensor:
            passed = before(vectors) if before else vectors
            if not passed.requires_grad:  # the lowest: the graph begins here
                passed = passed.detach().requires_grad_()
            seen.setdefault(hookpoint, passed)  # a layer that is computed again comes here again
            return passed

        return edit

    with torch.inference_mode(False), torch.enable_grad():
        edits = dict(steering.edits(generated, starts)) if steering else {}
        edits |= {hookpoint: watched(hookpoint, edits.get(hookpoint)) for hookpoint in hookpoints}
        with passing(lm.model, (), site, edits), _layers_again(lm) if by_layer else _as_they_are():
            hidden = lm.model.base_model(input_ids=ids, use_cache=False).last_hidden_state[0]
            if skipped := [name for name in hookpoints if name not in seen]:  # before `passing`: it looks at the end
                raise HookSkipped(skipped)
            values, gradients = [], []
            for number, objective in enumerate(objectives, 1):
                value = value_of(lm, hidden, ids[0], objective)
                kept = number < len(objectives)
                found = torch.autograd.grad(value, [seen[name] for name in hookpoints], retain_graph=kept)
                values.append(float(value.detach()))
                gradients.append({name: own[0] for name, own in zip(hookpoints, found, strict=True)})
    return values, {name: vectors.detach()[0] for name, vectors in seen.items()}, gradients


@contextmanager
def _layers_again(lm: LanguageModel) -> Iterator[None]:
    """In this block a decoder layer keeps nothing but what enters it, and is computed again in a backward pass."""
    layers = decoder_layers(lm.model)
    forwards: list[Callable[..., object]] = [layer.forward for layer in layers]
    try:
        for layer, forward in zip(layers, forwards, strict=True):
            layer.forward = partial(checkpoint, forward, use_reentrant=False, preserve_rng_state=False)
        yield
    finally:
        for layer in layers:
            del layer.forward  # the instance's, which hides that of its class


@contextmanager
def _as_they_are() -> Iterator[None]:
    yield


@torch.inference_mode()
def _attributed(sae: Sae, vectors: Tensor, gradients: Tensor) -> Attributed:
    """vectors, gradients: [positions, d_in]."""
    rows, slopes = vectors.to(sae.W_dec.dtype), gradients.to(sae.W_dec.dtype)
    parts: list[tuple[Tensor, ...]] = []
    bias = sae.decode(Latents(rows.new_zeros(1, 1), torch.zeros(1, 1, dtype=torch.int64, device=rows.device)))[0]
    for part, slope in zip(chunks(sae, rows), chunks(sae, slopes), strict=True):
        latents = sae.encode(part)
        step = max(1, _GATHERED // (latents.indices.shape[1] * rows.shape[1]))
        turned = [
            (sae.W_dec[indices] @ some[:, :, None])[..., 0]  # [positions, kept] W_dec[i] · g
            for indices, some in zip(latents.indices.split(step), slope.split(step), strict=True)
        ]
        error = ((part - sae.decode(latents)) * slope).sum(-1)
        contributions = latents.activations * torch.cat(turned)
        parts.append((latents.indices, latents.activations, contributions, error, slope @ bias))
    indices, activations, contributions = (stacked(each) for each in zip(*(part[:3] for part in parts), strict=True))
    error, constant = (
        torch.cat(each).float().cpu().numpy() for each in zip(*(part[3:] for part in parts), strict=True)
    )
    return Attributed(
        indices.int().cpu().numpy(),
        activations.float().cpu().numpy(),
        contributions.float().cpu().numpy(),
        error,
        constant,
    )
