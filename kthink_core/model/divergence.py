"""What the model predicts of a text in one pass, compared with what it predicts in others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kthink_core.model.language_model import LanguageModel

_LOGITS = 2**25
"""Logits of one row held at once, 128 MB in float32; there are up to four such at a time."""


class Predicted(NamedTuple):
    """Of every token of a text, as one pass predicts it. Position t holds what concerns the prediction *of* the token
    at t, made at t − 1; NaN at 0."""

    logprob: NDArray[np.float32]
    """[positions] log-probability of the token that stands there; natural, temperature 1, no filter."""
    kl: NDArray[np.float32]
    """[positions] KL(p ‖ p̂), p the distribution of the first pass, p̂ of this one; in nats."""


def compared(lm: LanguageModel, hidden: Sequence[Tensor], token_ids: Tensor) -> list[Predicted]:
    """One for each pass. `hidden`: last hidden states, [positions, width] each; `token_ids`: [positions]."""
    head = lm.model.get_output_embeddings()
    assert head is not None  # every causal language model has one
    found = torch.full((len(hidden), 2, len(token_ids)), torch.nan)
    step = max(1, _LOGITS // head.weight.shape[0])
    for first in range(0, len(token_ids) - 1, step):
        made_at = slice(first, min(first + step, len(token_ids) - 1))
        predicted = slice(made_at.start + 1, made_at.stop + 1)
        own = head(hidden[0][made_at]).float().log_softmax(-1)
        probabilities = own.exp()
        for row, states in enumerate(hidden):
            other = own if row == 0 else head(states[made_at]).float().log_softmax(-1)
            found[row, 0, predicted] = other.gather(1, token_ids[predicted, None])[:, 0].cpu()
            divergence = (probabilities * (own - other)).sum(-1).clamp_min_(0)  # rounding alone takes it below
            found[row, 1, predicted] = divergence.cpu()
    return [Predicted(row[0], row[1]) for row in found.numpy()]
