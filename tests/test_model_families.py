"""Models of transformers that name their layers and their final norm in other ways than Qwen does."""

from __future__ import annotations

import pytest
import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    MptConfig,
    MptForCausalLM,
    PhiConfig,
    PhiForCausalLM,
    PreTrainedModel,
)

from kthink_core.model.generate import generate
from kthink_core.model.hookpoints import hookpoint_names
from kthink_core.model.language_model import LanguageModel
from kthink_core.model.logit_lens import unembedding
from kthink_core.model.replay import replay
from kthink_core.model.sampling import Sampling
from kthink_core.records import Problem, Prompt

IDS = [5, 9, 12, 40, 7, 8]
WIDTH = 32


def gpt2(tokens: int) -> PreTrainedModel:
    return GPT2LMHeadModel(GPT2Config(vocab_size=tokens, n_embd=WIDTH, n_layer=3, n_head=4))


def neox(tokens: int) -> PreTrainedModel:
    shape = {"hidden_size": WIDTH, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64}
    return GPTNeoXForCausalLM(GPTNeoXConfig(vocab_size=tokens, **shape))


def mpt(tokens: int) -> PreTrainedModel:
    return MptForCausalLM(MptConfig(vocab_size=tokens, d_model=WIDTH, n_layers=3, n_heads=4, max_seq_len=64))


def phi(tokens: int) -> PreTrainedModel:
    shape = {"hidden_size": WIDTH, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64}
    return PhiForCausalLM(PhiConfig(vocab_size=tokens, **shape))


FAMILIES = {
    "GPT-2": (gpt2, "h.{}.mlp", "ln_f"),
    "GPT-NeoX": (neox, "layers.{}.mlp", "final_layer_norm"),
    "MPT": (mpt, "blocks.{}.ffn", "norm_f"),
    "Phi": (phi, "layers.{}.mlp", "final_layernorm"),
}
"""How a tiny random model is made, what its MLPs and its final norm are called."""


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest, tiny_lm: LanguageModel) -> tuple[LanguageModel, str, str]:
    make, hookpoint, norm = FAMILIES[request.param]
    torch.manual_seed(1)
    model = make(len(tiny_lm.tokenizer) + 8).eval().requires_grad_(False)
    weight = getattr(model.base_model, norm).weight
    weight.copy_(torch.linspace(-1, 2, WIDTH))  # else one throughout, as if there were none
    return tiny_lm._replace(model=model), hookpoint, norm


def test_residual_is_what_enters_the_layer(family: tuple[LanguageModel, str, str]) -> None:
    lm, hookpoint, _ = family
    states = lm.model(torch.tensor([IDS]), output_hidden_states=True).hidden_states
    for layer in range(3):
        name = hookpoint.format(layer)
        vectors = replay(lm, [IDS], [name], "residual")[0].vectors[name]
        torch.testing.assert_close(vectors, states[layer][0], atol=1e-5, rtol=1e-4)
    assert {hookpoint.format(layer) for layer in range(3)} <= set(hookpoint_names(lm.model))


def test_a_row_of_a_batch_is_at_its_own_positions(family: tuple[LanguageModel, str, str]) -> None:
    """Padding comes before the shorter prompt: where positions are absolute, it must not count."""
    lm, hookpoint, _ = family
    prompts = [
        Prompt(index, Problem(index, "q", None), "think", 1, tuple(IDS[:length])) for index, length in enumerate((6, 2))
    ]

    def written(some: list[Prompt]) -> list[tuple[int, ...]]:
        made = generate(lm, some, Sampling(0, 1, 8), [hookpoint.format(1)], "hookpoint")
        return [one.token_ids for one, _ in sorted(made, key=lambda pair: pair[0].prompt.inference)]

    assert written(prompts) == [*written(prompts[:1]), *written(prompts[1:])]


def test_the_final_norms_weight_scales_a_direction(family: tuple[LanguageModel, str, str]) -> None:
    """Of a vector whose mean is 0, which these norms take away."""
    lm, _, norm = family
    row = torch.randn(WIDTH)
    row -= row.mean()
    logits = lm.model.get_output_embeddings()(getattr(lm.model.base_model, norm)(row)) * row.square().mean().sqrt()
    head = lm.model.get_output_embeddings()
    logits -= row.square().mean().sqrt() * (0 if head.bias is None else head.bias)
    unembed = unembedding(lm)
    assert unembed.weight.shape == (len(lm.tokenizer), WIDTH), "the padding of the vocabulary has no text"
    torch.testing.assert_close(
        unembed.weight @ (unembed.scale * row), logits[: len(lm.tokenizer)], atol=1e-4, rtol=1e-3
    )
