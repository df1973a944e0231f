"""One teacher-forced pass over tokens that are there already: captured vectors and log-probabilities of all of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kthink_core.config import Site
from kthink_core.model.hookpoints import Captured, passing
from kthink_core.model.language_model import LanguageModel
from kthink_core.model.likeliest import Likeliest, likeliest, together
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
    *,
    others: bool = False,
) -> list[Captured]:
    """Run token ids through the model, once, or until it is settled from when on what waits for a feature acts. One
    Captured a sequence, in order.

    `steering` needs `prompt_tokens`, a number a sequence: it acts behind them. `others`: with what else
    might have stood there. Vectors are those that went on. Raises HookSkipped.

    Sequences are padded on the right: under causal attention no real position can see the padding, so that no mask is
    needed and the rows equal those of each sequence alone but for the order of floating-point sums.
    """
    longest = max(map(len, sequences))
    padded = torch.tensor([[*ids, *[0] * (longest - len(ids))] for ids in sequences], device=lm.device)
    captured, last_hidden, _ = _passed(lm, padded, hookpoints, site, steering, prompt_tokens)
    given = prompt_tokens or [1] * len(sequences)
    found = []
    for row, ids in enumerate(sequences):
        vectors = {hookpoint: captured[hookpoint][row, : len(ids)] for hookpoint in hookpoints}
        first = given[row] if others else len(ids)
        logprobs, apart = _predicted(lm, last_hidden[row, : len(ids)], padded[row, : len(ids)], first)
        found.append(Captured(vectors, logprobs, likeliest=apart))
    return found


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


def _predicted(
    lm: LanguageModel, last_hidden: Tensor, token_ids: Tensor, first: int
) -> tuple[Tensor, Likeliest | None]:
    """last_hidden: [positions, hidden]; token_ids: [positions] → the log-probability of each, NaN at 0, and what else
    might have stood at the positions from `first`, 1 or later, on; None where there are none."""
    head = lm.model.get_output_embeddings()
    assert head is not None  # every causal language model has one
    own, others = [torch.full((1,), torch.nan)], list[Likeliest]()
    for start in range(0, len(token_ids) - 1, _LOGIT_ROWS):
        states = last_hidden[start : start + _LOGIT_ROWS][: len(token_ids) - 1 - start]
        chances = head(states).float().log_softmax(-1)
        targets = token_ids[start + 1 : start + 1 + len(states)]
        own.append(chances.gather(-1, targets[:, None]).squeeze(-1).cpu())
        behind = chances[max(first - 1 - start, 0) :]  # a row predicts the token after it
        if len(behind):
            others.append(likeliest(behind))
    return torch.cat(own), together(others) if others else None
