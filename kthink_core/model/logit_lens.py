"""Decoder directions: which features write nearly the same, and which tokens a feature promotes.

    cosine(i, j) = W_dec[i] · W_dec[j] / (‖W_dec[i]‖ ‖W_dec[j]‖)
    logit(i, t)  = W_U[t] · (γ ∘ W_dec[i])        the logit lens (nostalgebraist 2020)

γ is the weight of the model's final norm, W_U its unembedding. The norm's own scale is left out: it depends on all that
is at a position, and is the same for all tokens there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kthink_core.errors import OutOfMemory
from kthink_core.model.language_model import LanguageModel, token_text
from kthink_core.model.sae import Sae
from kthink_core.records import Directions

RANKS = 10
"""Neighbours, promoted and suppressed tokens that are kept of each feature."""

_SCORES = 2**26
"""Scores held at once, 256 MB in float32; ranking them takes about as much again."""

_NORMS = ("norm", "final_layer_norm", "ln_f", "norm_f", "final_layernorm")
"""What the final norm is called in the models of transformers: Llama and Qwen, GPT-NeoX, GPT-2, MPT, Phi."""


class Unembedding(NamedTuple):
    """How a vector of the residual stream becomes logits."""

    scale: Tensor
    """[width] γ, float32"""
    weight: Tensor
    """[tokens, width] W_U, in the model's dtype; only tokens that the tokenizer knows."""


class _Ranked(NamedTuple):
    """Of some features, a row each: values, largest first, and the indices of what has them."""

    near: tuple[Tensor, Tensor]
    """Cosines, and the features that have them."""
    high: tuple[Tensor, Tensor]
    """Logits, and the tokens that they promote."""
    low: tuple[Tensor, Tensor]
    """Negated logits, and the tokens that they suppress."""


def directions(
    lm: LanguageModel,
    saes: Mapping[str, Sae],
    features: Mapping[str, NDArray[np.int32]],
    pause: Callable[[], None] = lambda: None,
) -> tuple[dict[str, Directions], dict[int, str]]:
    """Directions of the given features, by hookpoint, and the texts of the tokens in them.

    `features`: [features] ascending, by hookpoint. Memory is bounded whatever their number and the vocabulary. `pause`
    is called between two parts of the work; what it raises ends it. Raises OutOfMemory.
    """
    unembed = unembedding(lm)
    found = {hookpoint: _directions(sae.W_dec, unembed, features[hookpoint], pause) for hookpoint, sae in saes.items()}
    ids = [ids for kept in found.values() for ids in (kept.promoted, kept.suppressed)]
    named = np.unique(np.concatenate([part.ravel() for part in ids])) if ids else []
    return found, {int(token_id): token_text(lm.tokenizer, int(token_id)) for token_id in named}


def unembedding(lm: LanguageModel) -> Unembedding:
    """Of a model of transformers. The vocabulary's padding, which has no text, is left out."""
    head = lm.model.get_output_embeddings()
    assert head is not None  # language_model.py loads models that have one
    weight = head.weight[: len(lm.tokenizer)]
    norm = next((getattr(lm.model.base_model, name) for name in _NORMS if hasattr(lm.model.base_model, name)), None)
    scale = torch.ones(weight.shape[1], device=weight.device) if norm is None else norm.weight.float()
    return Unembedding(scale, weight)


@torch.inference_mode()
def _directions(
    decoder: Tensor, unembed: Unembedding, features: NDArray[np.int32], pause: Callable[[], None]
) -> Directions:
    """Of one hookpoint; `decoder`: [latents, width]. Out of memory on a GPU halves the chunk and goes on."""
    norms = decoder.norm(dim=1).float().clamp_min(torch.finfo(torch.float32).tiny)
    chunk = max(1, _SCORES // max(len(decoder), len(unembed.weight)))
    asked = torch.from_numpy(features).long().to(decoder.device)
    parts: list[_Ranked] = []
    at = 0
    while at < len(asked):
        pause()
        ids = asked[at : at + chunk]
        try:
            parts.append(_ranked(decoder, norms, unembed, ids))
            at += len(ids)
        except torch.OutOfMemoryError as error:
            if len(ids) == 1:
                remedy = "what was generated is kept: free memory there, or run again with another --device"
                raise OutOfMemory(decoder.device.type, "comparing decoder directions one by one", remedy) from error
            chunk = (len(ids) + 1) // 2
            torch.cuda.empty_cache()
    near, high, low = zip(*parts, strict=True) if parts else ((), (), ())
    (cosine, neighbour), (logit, promoted), (negated, suppressed) = map(_joined, (near, high, low))
    return Directions(features, neighbour, cosine, promoted, logit, suppressed, -negated)


def _ranked(decoder: Tensor, norms: Tensor, unembed: Unembedding, ids: Tensor) -> _Ranked:
    """Of some features at once."""
    rows = decoder[ids].float()
    cosines = _products(rows / norms[ids, None], decoder) / norms
    cosines[torch.arange(len(ids), device=ids.device), ids] = -torch.inf
    near = _largest(cosines, min(RANKS, len(decoder) - 1))
    del cosines  # the logits take as much again
    logits = _products(rows * unembed.scale, unembed.weight)
    high = _largest(logits, min(RANKS, logits.shape[1]))
    return _Ranked(near, high, _largest(logits.neg_(), min(RANKS, logits.shape[1])))


def _products(rows: Tensor, matrix: Tensor) -> Tensor:
    """rows · matrixᵀ in float32; a matrix of another dtype is widened a part at a time."""
    if matrix.dtype == torch.float32:
        return rows @ matrix.T
    return torch.cat([rows @ part.float().T for part in matrix.split(2**14)], dim=1)


def _largest(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The largest scores of each row and where they are, largest first, equal ones by the smaller index.

    `topk` alone takes any of equal ones: the rows in which that matters are sorted whole.
    """
    values, indices = scores.topk(min(count + 1, scores.shape[1]))
    ambiguous = values[:, count - 1 : count] == values[:, count:]  # without columns where nothing is left out
    values, indices = values[:, :count], indices[:, :count]
    for row in ambiguous.any(1).nonzero().flatten().tolist():
        ordered = scores[row].sort(descending=True, stable=True)
        values[row], indices[row] = ordered.values[:count], ordered.indices[:count]
    indices, order = indices.sort(dim=1)
    values, order = values.gather(1, order).sort(dim=1, descending=True, stable=True)
    return values, indices.gather(1, order)


def _joined(parts: Sequence[tuple[Tensor, Tensor]]) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Values and indices of all chunks as arrays [features, ranks]."""
    if not parts:
        return np.empty((0, 0), np.float32), np.empty((0, 0), np.int32)
    values, indices = (torch.cat(column).cpu().numpy() for column in zip(*parts, strict=True))
    return values, indices.astype(np.int32)
