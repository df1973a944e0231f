"""The demo model's own answers to problems, sampled in batches, and what its MLPs put out over them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase, Qwen2ForCausalLM

from bundle.tokenizer import EOS, PAD, token_id
from kthink_core.model.chat_template import frames
from kthink_core.prompts import Mode, prompt_ids

BATCH = 64  # rows sampled together
LONGEST = 400  # new tokens


class Rollout(NamedTuple):
    """Token ids of one prompt and of what the model made of it (EOS included where it came to an end)."""

    prompt: list[int]
    generated: list[int]


@torch.no_grad()
def sample(
    model: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerBase, questions: Sequence[str], mode: Mode, seed: int
) -> list[Rollout]:
    """One rollout a question at temperature 0.6 and top-p 0.95, in the order of the questions."""
    torch.manual_seed(seed)
    chats = frames(str(tokenizer.chat_template), tokenizer.special_tokens_map)
    eos, pad = token_id(tokenizer, EOS), token_id(tokenizer, PAD)
    rollouts = []
    for start in range(0, len(questions), BATCH):
        prompts = [prompt_ids(tokenizer, chats, question, mode) for question in questions[start : start + BATCH]]
        longest = max(map(len, prompts))
        ids = torch.full((len(prompts), longest), pad)  # [rows, positions], padded on the left
        for row, prompt in enumerate(prompts):
            ids[row, longest - len(prompt) :] = torch.tensor(prompt)
        made = cast(Any, model).generate(
            input_ids=ids,
            attention_mask=(ids != pad).long(),
            do_sample=True,
            temperature=0.6,
            top_p=0.95,
            top_k=0,
            max_new_tokens=LONGEST,
        )  # [rows, positions + new]
        for prompt, row in zip(prompts, made[:, longest:].tolist(), strict=True):
            end = row.index(eos) + 1 if eos in row else len(row)
            rollouts.append(Rollout(prompt, row[:end]))
    return rollouts


@torch.no_grad()
def mlp_outputs(model: PreTrainedModel, ids: Sequence[int], hookpoints: Sequence[str]) -> dict[str, Tensor]:
    """By hookpoint the module's output at every position of one sequence, [positions, width]."""
    found: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[[nn.Module, object, Tensor], None]:
        def hook(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            found[name] = output[0].detach().float()

        return hook

    handles = [model.base_model.get_submodule(name).register_forward_hook(keep(name)) for name in hookpoints]
    try:
        model.base_model(input_ids=torch.tensor([list(ids)]), use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return found
