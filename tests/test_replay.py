"""Captured vectors and log-probabilities against what transformers itself returns."""

from __future__ import annotations

import pytest
import torch
from transformers import LogitsProcessorList

from kthink_core.errors import UnknownName
from kthink_core.model.hookpoints import hookpoint_names, passing
from kthink_core.model.language_model import LanguageModel
from kthink_core.model.replay import replay
from tests.hooks import hooks_of

SEQUENCES = [[5, 9, 12, 40, 7, 8], [6, 10], [11, 30, 31, 32]]


@pytest.mark.parametrize("layer", [0, 1, 3])
def test_residual_is_hidden_states_n(tiny_lm: LanguageModel, layer: int) -> None:
    replays = replay(tiny_lm, SEQUENCES, [f"layers.{layer}.mlp"], "residual")
    for ids, one in zip(SEQUENCES, replays, strict=True):
        states = tiny_lm.model(torch.tensor([ids]), output_hidden_states=True).hidden_states
        torch.testing.assert_close(one.vectors[f"layers.{layer}.mlp"], states[layer][0], atol=1e-5, rtol=1e-4)


def test_hookpoint_is_the_modules_output(tiny_lm: LanguageModel) -> None:
    """A decoder layer adds its MLP's output last: output − attention's residual, computed here by hand."""
    one = replay(tiny_lm, SEQUENCES, ["layers.2.mlp", "layers.2"], "hookpoint")[0]
    ids = torch.tensor([SEQUENCES[0]])
    states = tiny_lm.model(ids, output_hidden_states=True).hidden_states
    torch.testing.assert_close(one.vectors["layers.2"], states[3][0], atol=1e-5, rtol=1e-4)
    layer = tiny_lm.model.base_model.layers[2]
    positions = torch.arange(ids.shape[1])[None]
    rotary = tiny_lm.model.base_model.rotary_emb(states[2], positions)
    middle = (
        states[2]
        + layer.self_attn(layer.input_layernorm(states[2]), position_embeddings=rotary, attention_mask=None)[0]
    )
    torch.testing.assert_close(one.vectors["layers.2.mlp"], (states[3] - middle)[0], atol=1e-5, rtol=1e-3)


def test_logprobs_are_the_models_own(tiny_lm: LanguageModel) -> None:
    for ids, one in zip(SEQUENCES, replay(tiny_lm, SEQUENCES, ["layers.1.mlp"], "hookpoint"), strict=True):
        logits = tiny_lm.model(torch.tensor([ids])).logits[0].double()
        wanted = [float(logits[at - 1].log_softmax(-1)[ids[at]]) for at in range(1, len(ids))]
        assert torch.isnan(one.logprobs[0])
        torch.testing.assert_close(one.logprobs[1:].double(), torch.tensor(wanted).double(), atol=1e-5, rtol=1e-5)


def test_replay_gives_what_generation_saw(tiny_lm: LanguageModel) -> None:
    """The vectors of transformers' own step-by-step generation, gathered by hook, equal the replay's."""
    rows: list[torch.Tensor] = []
    module = tiny_lm.model.base_model.layers[1].mlp
    handle = module.register_forward_hook(lambda _m, _i, output: rows.append(output[0]))
    ids = tiny_lm.model.generate(
        torch.tensor([SEQUENCES[0]]), max_new_tokens=8, do_sample=False, logits_processor=LogitsProcessorList()
    )[0]
    handle.remove()
    seen = torch.cat(rows)  # every position but the last
    vectors = replay(tiny_lm, [ids.tolist()], ["layers.1.mlp"], "hookpoint")[0].vectors["layers.1.mlp"]
    assert len(vectors) == len(ids) == len(seen) + 1
    torch.testing.assert_close(vectors[:-1], seen, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["layers.9.mlp", "layers.1.mpl", "", "norm.x"])
def test_unknown_hookpoint_is_named(tiny_lm: LanguageModel, name: str) -> None:
    with pytest.raises(UnknownName, match=f"unknown hookpoint '{name}'"), passing(tiny_lm.model, [name], "hookpoint"):
        pass


def test_residual_needs_a_layer(tiny_lm: LanguageModel) -> None:
    with pytest.raises(UnknownName, match="residual"), passing(tiny_lm.model, ["norm"], "residual"):
        pass


def test_hooks_are_gone_afterwards(tiny_lm: LanguageModel) -> None:
    before = hooks_of(tiny_lm.model)
    with passing(tiny_lm.model, ["layers.1.mlp", "layers.2.mlp"], "residual"):
        assert sum(hooks_of(tiny_lm.model)) == sum(before) + 2
        tiny_lm.model(torch.tensor([[5]]))
    assert hooks_of(tiny_lm.model) == before


def test_names_of_hookpoints(tiny_lm: LanguageModel) -> None:
    inside = ["", ".input_layernorm", ".mlp", ".post_attention_layernorm", ".self_attn"]
    assert sorted(hookpoint_names(tiny_lm.model)) == [f"layers.{layer}{name}" for layer in range(4) for name in inside]
