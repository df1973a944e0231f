"""Draw the next token: temperature, then top-p, then one uniform number a row.

Each inference draws from its own table of uniform numbers, so that what it samples does not depend on what shares its
batch, and the same seed picks the same tokens on a CPU and on a GPU (up to differences in the logits' last bits).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

_HEAD = 64
"""Largest logits looked at first; only where their mass falls short of top-p is the whole vocabulary sorted."""

_GREEDY = 1e-3
"""Below this temperature the most likely token is taken: a softmax as sharp picks no other, a sharper one overflows."""


class Sampling(NamedTuple):
    """How tokens are drawn."""

    temperature: float
    """0: the most likely token."""
    top_p: float
    """Keep the fewest most likely tokens whose probabilities reach this sum (nucleus sampling, arXiv 1904.09751)."""
    max_new_tokens: int


def uniform_table(seeds: Sequence[int], steps: int) -> Tensor:
    """[seeds, steps] numbers in [0, 1): row i from seed i alone."""
    return torch.stack([torch.rand(steps, generator=torch.Generator().manual_seed(seed)) for seed in seeds])


def draw(logits: Tensor, uniforms: Tensor, sampling: Sampling) -> Tensor:
    """Token ids [rows] drawn from logits [rows, vocabulary] by inverting the cumulative sum at `uniforms` [rows]."""
    if sampling.temperature < _GREEDY:
        return logits.argmax(-1)
    scaled = logits.float() / sampling.temperature
    head = min(_HEAD, scaled.shape[-1])
    largest, ids = scaled.topk(head)
    log_mass = scaled.logsumexp(-1, keepdim=True)
    if head < scaled.shape[-1] and bool(((largest - log_mass).exp().sum(-1) < sampling.top_p).any()):
        largest, ids = scaled.sort(descending=True)
    probabilities = (largest - log_mass).exp()
    cumulative = probabilities.cumsum(-1)
    kept = cumulative - probabilities < sampling.top_p  # [rows, candidates]: those that begin below top-p
    last = (kept.sum(-1, keepdim=True) - 1).clamp(min=0)  # a top-p that rounds to 0 keeps the first
    target = uniforms[:, None] * cumulative.gather(-1, last)
    choice = torch.searchsorted(cumulative, target, right=True).minimum(last)
    return ids.gather(-1, choice).squeeze(-1)
