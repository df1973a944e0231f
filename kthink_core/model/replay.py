"""One teacher-forced pass over tokens that are there already: captured vectors and log-probabilities of all of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from kthink_core.config import Site
from kthink_core.model.hookpoints import Captured, passing
from kthink_core.model.language_model import LanguageModel
from kthink_core.model.onset import Onset
from kthink_core.model.steering import Steering

_LOGIT_ROWS = 256
"""Positions whose logits are held at once: 256 × a vocabulary of 152k in float32 is 156 MB."""


@torch.inference_mode()
def replay(
    lm: LanguageModel,
    sequences: Sequence[Sequence[int]],
    hookpoints: Sequence[str],
    site: Site,
    steering: Steering | None = None,
    prompt_tokens: Sequence[int] = (),
) -> list[Captured]:
    """Run token ids through the model, once, or until it is settled from when on what waits for a feature acts. One
    Captured a sequence, in order.

    `steering` needs `prompt_tokens`, a number a sequence: it acts behind them. Vectors are those that went on. Raises
    HookSkipped.

    Sequences are padded on the right: under causal attention no real position can see the padding, so that no mask is
    needed and the rows equal those of each sequence alone but for the order of floating-point sums.
    """
    longest = max(map(len, sequences))
    padded = torch.tensor([[*ids, *[0] * (longest - len(ids))] for ids in sequences], device=lm.device)
    captured, last_hidden, _ = _passed(lm, padded, hookpoints, site, steering, prompt_tokens)
    return [
        Captured(
            {hookpoint: captured[hookpoint][row, : len(ids)] for hookpoint in hookpoints},
            _logprobs(lm, last_hidden[row, : len(ids)], padded[row, : len(ids)]),
        )
        for row, ids in enumerate(sequences)
    ]


@torch.inference_mode()
def onsets(
    lm: LanguageModel, token_ids: Sequence[int], site: Site, steering: Steering, prompt_tokens: int
) -> Tensor | None:
    """[1, interventions] from which generated position on each acted while a text was written, for `Steering.edits`;
    None where none waits for a feature, so that it is as they say."""
    if not steering.watched:
        return None
    ids = torch.tensor([list(token_ids)], device=lm.device)
    return _passed(lm, ids, (), site, steering, [prompt_tokens])[2]


def _passed(
    lm: LanguageModel,
    token_ids: Tensor,
    hookpoints: Sequence[str],
    site: Site,
    steering: Steering | None,
    prompt_tokens: Sequence[int],
) -> tuple[dict[str, Tensor], Tensor, Tensor | None]:
    """token_ids: [sequences, positions]. What passed, the last hidden states, and from when on each intervention acted:
    of the pass that settles that."""
    onset, generated = None, torch.empty(0)
    if steering:
        onset = Onset(steering, len(token_ids), lm.device)
        positions = torch.arange(token_ids.shape[1], device=lm.device)
        generated = positions - torch.tensor(prompt_tokens, device=lm.device)[:, None]
    seen = list(dict.fromkeys((*hookpoints, *(steering.watched if steering else ()))))
    while True:
        with passing(lm.model, seen, site, onset.edits(generated) if onset else None) as captured:
            last_hidden = lm.model.base_model(input_ids=token_ids, use_cache=False).last_hidden_state
        if onset is None or onset.settled(captured, generated):
            return captured, last_hidden, onset and onset.starts


def _logprobs(lm: LanguageModel, last_hidden: Tensor, token_ids: Tensor) -> Tensor:
    """last_hidden: [positions, hidden]; token_ids: [positions] → [positions], NaN at 0."""
    head = lm.model.get_output_embeddings()
    assert head is not None  # every causal language model has one
    parts = [
        -cross_entropy(head(states).float(), targets, reduction="none")
        for states, targets in zip(last_hidden[:-1].split(_LOGIT_ROWS), token_ids[1:].split(_LOGIT_ROWS), strict=True)
    ]
    return torch.cat([torch.full((1,), torch.nan), *(part.cpu() for part in parts)])
