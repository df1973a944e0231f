"""One teacher-forced pass over prompt and generation: captured vectors and log-probabilities of every position.

A generation loop sees a token's vectors one step after it was sampled, and those of the last token never; replaying
the finished text gives all of them at once, in few large matrix products.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from kthink_core.config import Site
from kthink_core.hookpoints import capture
from kthink_core.model import LanguageModel

_LOGIT_ROWS = 256
"""Positions whose logits are held at once: 256 × a vocabulary of 152k in float32 is 156 MB."""


class Replay(NamedTuple):
    """What one sequence left behind."""

    vectors: dict[str, Tensor]
    """By hookpoint, [positions, width], in the model's dtype and on its device."""
    logprobs: Tensor
    """[positions] float32 on the CPU: natural log-probability of the token at a position given those before it, at
    temperature 1 without filter; NaN at position 0."""


@torch.inference_mode()
def replay(
    lm: LanguageModel, sequences: Sequence[Sequence[int]], hookpoints: Sequence[str], site: Site
) -> list[Replay]:
    """Run token ids through the model, once. One Replay a sequence, in order.

    Sequences are padded on the right: under causal attention no real position can see the padding, so that no mask is
    needed and the rows equal those of each sequence alone but for the order of floating-point sums.
    """
    longest = max(map(len, sequences))
    padded = torch.tensor([[*ids, *[0] * (longest - len(ids))] for ids in sequences], device=lm.device)
    with capture(lm.model, hookpoints, site) as captured:
        last_hidden = lm.model.base_model(input_ids=padded, use_cache=False).last_hidden_state
    return [
        Replay(
            {hookpoint: vectors[row, : len(ids)] for hookpoint, vectors in captured.items()},
            _logprobs(lm, last_hidden[row, : len(ids)], padded[row, : len(ids)]),
        )
        for row, ids in enumerate(sequences)
    ]


def _logprobs(lm: LanguageModel, last_hidden: Tensor, token_ids: Tensor) -> Tensor:
    """last_hidden: [positions, hidden]; token_ids: [positions] → [positions], NaN at 0."""
    head = lm.model.get_output_embeddings()
    assert head is not None  # every causal language model has one
    parts = [
        -cross_entropy(head(states).float(), targets, reduction="none")
        for states, targets in zip(last_hidden[:-1].split(_LOGIT_ROWS), token_ids[1:].split(_LOGIT_ROWS), strict=True)
    ]
    return torch.cat([torch.full((1,), torch.nan), *(part.cpu() for part in parts)])
