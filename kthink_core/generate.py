"""Prompts become generations: one batch at a time, each row with its own seed and its own end."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from transformers import DynamicCache

from kthink_core.model import LanguageModel
from kthink_core.records import Generation, Prompt
from kthink_core.sampling import Sampling, draw, uniform_table


@torch.inference_mode()
def generate(
    lm: LanguageModel,
    prompts: Sequence[Prompt],
    sampling: Sampling,
    on_step: Callable[[int, int], None] = lambda step, rows: None,
) -> list[Generation]:
    """One generation a prompt, in order; stops at an end token or after `max_new_tokens`.

    Prompts are padded on the left. A finished row leaves the batch, so that the rest goes on cheaper. `on_step` hears
    after every step its number, from 1, and how many rows took it; what it raises ends the generation.
    """
    uniforms = uniform_table([prompt.seed for prompt in prompts], sampling.max_new_tokens).to(lm.device)
    tokens, mask = _left_padded(prompts, lm.device)
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    cache = DynamicCache(config=lm.model.config)
    written: list[list[int]] = [[] for _ in prompts]
    alive = torch.arange(len(prompts), device=lm.device)  # [rows] indices of the prompts still being answered
    for step in range(sampling.max_new_tokens):
        logits = lm.model(
            input_ids=tokens, attention_mask=mask, position_ids=positions, past_key_values=cache, logits_to_keep=1
        ).logits[:, -1]
        drawn = draw(logits, uniforms[alive, step], sampling)
        for row, token_id in zip(alive.tolist(), drawn.tolist(), strict=True):
            written[row].append(token_id)
        on_step(step + 1, len(alive))
        going = ~torch.isin(drawn, lm.stop_ids)
        if not bool(going.all()):
            rows = going.nonzero().squeeze(-1)
            if not len(rows):
                break
            cache.batch_select_indices(rows)
            alive, drawn, mask, positions = alive[rows], drawn[rows], mask[rows], positions[rows]
        tokens = drawn[:, None]
        mask = torch.cat([mask, mask.new_ones(len(alive), 1)], dim=-1)
        positions = positions[:, -1:] + 1
    stops = set(lm.stop_ids.tolist())
    return [
        Generation(prompt, tuple(ids), "stop" if ids[-1] in stops else "length")
        for prompt, ids in zip(prompts, written, strict=True)
    ]


def _left_padded(prompts: Sequence[Prompt], device: torch.device) -> tuple[Tensor, Tensor]:
    """Token ids and mask, both [prompts, longest]; the mask is 0 on the padding."""
    longest = max(len(prompt.token_ids) for prompt in prompts)
    padding = [longest - len(prompt.token_ids) for prompt in prompts]
    ids = [[0] * pad + list(prompt.token_ids) for pad, prompt in zip(padding, prompts, strict=True)]
    mask = [[0] * pad + [1] * (longest - pad) for pad in padding]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)
