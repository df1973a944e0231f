"""Prompts become generations and captured vectors: one batch at a time, each row with its own seed and its own end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from kthink_core.config import Site
from kthink_core.growing import Growing, growing_cache
from kthink_core.hookpoints import Captured, capture
from kthink_core.model import LanguageModel
from kthink_core.records import FinishReason, Generation, Prompt
from kthink_core.sampling import Sampling, draw, uniform_table


@torch.inference_mode()
def generate(
    lm: LanguageModel,
    prompts: Sequence[Prompt],
    sampling: Sampling,
    hookpoints: Sequence[str],
    site: Site,
    on_step: Callable[[int, int], None] = lambda step, rows: None,
) -> Iterator[tuple[Generation, Captured]]:
    """One generation a prompt, as soon as it is whole: at an end token, or after `max_new_tokens`.

    Prompts are padded on the left. Every token passes through the model once, the last of a row too, so that each
    position has its vectors; then the row leaves the batch, and the rest goes on cheaper. `on_step` hears after every
    token its number, from 1, and how many rows got one; what it raises ends the generation.
    """
    uniforms = uniform_table([prompt.seed for prompt in prompts], sampling.max_new_tokens).to(lm.device)
    stops = set(lm.stop_ids.tolist())
    tokens, mask = _left_padded(prompts, lm.device)
    padding = (mask == 0).sum(-1).tolist()
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    cache = growing_cache(lm.model.config)
    seen = {hookpoint: Growing() for hookpoint in hookpoints}
    written: list[list[int]] = [[] for _ in prompts]
    logprobs: list[list[float]] = [[] for _ in prompts]
    alive = list(range(len(prompts)))  # [rows] indices of the prompts still being answered
    for step in range(sampling.max_new_tokens + 1):
        with capture(lm.model, hookpoints, site) as captured:
            logits = lm.model(
                input_ids=tokens, attention_mask=mask, position_ids=positions, past_key_values=cache, logits_to_keep=1
            ).logits[:, -1]
        for hookpoint, vectors in captured.items():
            seen[hookpoint].append(vectors)
        ended: dict[int, FinishReason] = {
            row: "stop" if written[index][-1] in stops else "length"
            for row, index in enumerate(alive)
            if step and (written[index][-1] in stops or step == sampling.max_new_tokens)
        }
        for row, reason in ended.items():
            index = alive[row]
            yield (
                Generation(prompts[index], tuple(written[index]), reason),
                Captured(
                    {hookpoint: growing.values[row, padding[index] :] for hookpoint, growing in seen.items()},
                    torch.tensor([torch.nan] * len(prompts[index].token_ids) + logprobs[index]),
                ),
            )
        if ended:
            going = [row for row in range(len(alive)) if row not in ended]
            if not going:
                return
            rows = torch.tensor(going, device=lm.device)
            cache.batch_select_indices(rows)
            for growing in seen.values():
                growing.select(rows)
            logits, mask, positions = logits[rows], mask[rows], positions[rows]
            alive = [alive[row] for row in going]
        drawn = draw(logits, uniforms[alive, step], sampling)
        chances = logits.float().log_softmax(-1).gather(-1, drawn[:, None]).squeeze(-1)
        for index, token_id, logprob in zip(alive, drawn.tolist(), chances.tolist(), strict=True):
            written[index].append(token_id)
            logprobs[index].append(logprob)
        on_step(step + 1, len(alive))
        tokens = drawn[:, None]
        mask = torch.cat([mask, mask.new_ones(len(alive), 1)], dim=-1)
        positions = positions[:, -1:] + 1


def _left_padded(prompts: Sequence[Prompt], device: torch.device) -> tuple[Tensor, Tensor]:
    """Token ids and mask, both [prompts, longest]; the mask is 0 on the padding."""
    longest = max(len(prompt.token_ids) for prompt in prompts)
    padding = [longest - len(prompt.token_ids) for prompt in prompts]
    ids = [[0] * pad + list(prompt.token_ids) for pad, prompt in zip(padding, prompts, strict=True)]
    mask = [[0] * pad + [1] * (longest - pad) for pad in padding]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)
