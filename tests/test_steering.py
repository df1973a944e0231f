"""Interventions against the formulas written out, by what they do to a model, and by what must not change."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from benchmarks.stand_in import SHAPES
from kthink_core import demo
from kthink_core.config import ExperimentConfig, Site
from kthink_core.errors import BadValue, HookSkipped, UnknownName
from kthink_core.model.generate import generate, steps
from kthink_core.model.hookpoints import passing
from kthink_core.model.language_model import LanguageModel
from kthink_core.model.replay import replay
from kthink_core.model.sae import Sae
from kthink_core.model.sae_folders import load_saes
from kthink_core.model.sampling import Sampling
from kthink_core.model.steering import Steering, steering
from kthink_core.precompute.pipeline import plan, precompute
from kthink_core.precompute.progress import Silent
from kthink_core.records import Intervention, Problem, Prompt
from kthink_core.store.journal import read_segment
from kthink_core.store.reader import open_reader

CPU = torch.device("cpu")
HOOKPOINT = SHAPES["tiny"].hookpoints[0]
LATER = SHAPES["tiny"].hookpoints[-1]
SITES: tuple[Site, ...] = ("hookpoint", "residual")
PROMPTS = [
    Prompt(index, Problem(index, "q", None), "think", 7 + index, tuple(range(10 + index, 10 + index + length)))
    for index, length in enumerate((5, 9, 2))
]


@pytest.fixture(scope="module")
def saes(tiny: Path) -> dict[str, Sae]:
    return dict(load_saes(str(tiny / "saes"), None, SHAPES["tiny"].hookpoints, CPU).by_hookpoint)


def dense(sae: Sae, rows: Tensor) -> Tensor:
    """[positions, num_latents]"""
    latents = sae.encode(rows)
    return torch.zeros(len(rows), sae.shape.num_latents).scatter_add(1, latents.indices, latents.activations)


def edited(steered: Steering, vectors: Tensor, generated: Tensor, hookpoint: str = HOOKPOINT) -> Tensor:
    return steered.edits(generated)[hookpoint](vectors)


def made(*interventions: Intervention, saes: dict[str, Sae]) -> Steering:
    found = steering(interventions, saes)
    assert found is not None
    return found


def vectors_of(sae: Sae, positions: int = 6, rows: int = 2) -> Tensor:
    return torch.randn(rows, positions, sae.shape.d_in, generator=torch.Generator().manual_seed(5))


def test_the_formulas(saes: dict[str, Sae]) -> None:
    """Three at once, of which one begins later; the clamped reconstruction plus the error that there was."""
    sae = saes[HOOKPOINT]
    vectors = vectors_of(sae)
    a = dense(sae, vectors.flatten(0, 1)).unflatten(0, vectors.shape[:2]).numpy().astype(np.float64)
    active, silent, added = int(a[0, 2].argmax()), int((a == 0).all((0, 1)).argmax()), 3
    generated = torch.tensor([[-2, -1, 0, 1, 2, 3], [-4, -3, -2, -1, 0, 1]])
    steered = made(
        Intervention(HOOKPOINT, active, "clamp", 2.5),
        Intervention(HOOKPOINT, silent, "clamp", 0.75, 2),
        Intervention(HOOKPOINT, added, "add", -1.5, 1),
        saes=saes,
    )
    got = edited(steered, vectors, generated)
    assert got.shape == vectors.shape and got.dtype == vectors.dtype
    w, h = sae.W_dec.numpy().astype(np.float64), vectors.numpy().astype(np.float64)
    bias = sae.decode(sae.encode(torch.zeros(1, sae.shape.d_in))._replace(activations=torch.zeros(1, 1),
        indices=torch.zeros(1, 1, dtype=torch.int64))).numpy()[0]  # fmt: skip
    for row in range(2):
        for position in range(6):
            number, wanted_a = int(generated[row, position]), a[row, position].copy()
            error = h[row, position] - (wanted_a @ w + bias)
            if number >= 0:
                wanted_a[active] = 2.5
            if number >= 2:
                wanted_a[silent] = 0.75
            wanted = wanted_a @ w + bias + error + (-1.5 * w[added] if number >= 1 else 0)
            np.testing.assert_allclose(got[row, position], wanted, atol=1e-5)
            if number < 0:
                assert torch.equal(got[row, position], vectors[row, position]), "prompts stay, bit for bit"


def test_the_present_activation_changes_nothing_beyond_rounding(saes: dict[str, Sae]) -> None:
    sae = saes[HOOKPOINT]
    vectors = vectors_of(sae, positions=1, rows=1)
    a = dense(sae, vectors[0])[0]
    feature = int(a.argmax())
    steered = made(Intervention(HOOKPOINT, feature, "clamp", float(a[feature])), saes=saes)
    torch.testing.assert_close(edited(steered, vectors, torch.zeros(1, 1)), vectors, atol=1e-6, rtol=1e-6)


def test_ablating_an_inactive_feature_changes_nothing_bit_for_bit(saes: dict[str, Sae]) -> None:
    sae = saes[HOOKPOINT]
    vectors = vectors_of(sae)
    vectors[0, 0, :3] = -0.0  # adding zero would make it +0.0
    a = dense(sae, vectors.flatten(0, 1))
    silent = int((a == 0).all(0).nonzero()[0])
    got = edited(made(Intervention(HOOKPOINT, silent, "ablate"), saes=saes), vectors, torch.zeros(2, 6))
    assert torch.equal(got.view(torch.int32), vectors.view(torch.int32))


def test_bfloat16_goes_on_as_bfloat16(saes: dict[str, Sae]) -> None:
    sae = saes[HOOKPOINT]
    vectors = vectors_of(sae).bfloat16()
    got = edited(made(Intervention(HOOKPOINT, 1, "add", 2.0), saes=saes), vectors, torch.zeros(2, 6))
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got.float(), vectors.float() + 2 * sae.W_dec[1], atol=0.05, rtol=0.02)


def test_a_clamped_feature_fires_as_far_as_the_encoder_sees_the_decoder(bundle: LanguageModel) -> None:
    """Encoded again, the pre-activation z has moved by (v − a) W_enc[i]·W_dec[i]: it is v itself only where that
    product is 1 and z was a. The bundled SAE gives a third to four fifths of v, at every position."""
    sae = load_saes("demo", None, ["layers.6.mlp"], CPU).by_hookpoint["layers.6.mlp"]
    weights = load_file(demo.SAES / "layers.6.mlp" / "sae.safetensors")
    ids = bundle.tokenizer.encode("Okay, let me think. Tom has 3 apples and buys 4 more. Wait, 3 + 4 = 7.")
    h = replay(bundle, [ids], ["layers.6.mlp"], "hookpoint")[0].vectors["layers.6.mlp"]
    z = (h - weights["b_dec"]) @ weights["encoder.weight"].T + weights["encoder.bias"]
    a = dense(sae, h)
    for feature in a.max(0).values.topk(5).indices.tolist():
        v = float(2 * a[:, feature].max())
        steered = made(Intervention("layers.6.mlp", feature, "clamp", v), saes={"layers.6.mlp": sae})
        got = edited(steered, h[None], torch.zeros(1, len(ids)), "layers.6.mlp")[0]
        again = dense(sae, got)[:, feature]
        seen = weights["encoder.weight"][feature] @ weights["W_dec"][feature]
        torch.testing.assert_close(again, z[:, feature] + (v - a[:, feature]) * seen, rtol=1e-3, atol=1e-3)
        assert (again > 0.33 * v).all() and (again < 0.8 * v).all()


@pytest.mark.parametrize("site", SITES)
def test_generation_and_replay_steer_alike(tiny_lm: LanguageModel, saes: dict[str, Sae], site: Site) -> None:
    """The same vectors and log-probabilities, one token at a time or all at once; nothing before the start changes."""
    steered = made(Intervention(HOOKPOINT, 5, "clamp", 4.0, 2), Intervention(LATER, 9, "add", 3.0), saes=saes)
    hookpoints = SHAPES["tiny"].hookpoints
    sampling = Sampling(1.0, 1.0, 10)
    for generation, captured in generate(tiny_lm, PROMPTS, sampling, hookpoints, site, steering=steered):
        prompt = generation.prompt.token_ids
        ids = prompt + generation.token_ids
        once = replay(tiny_lm, [ids], hookpoints, site, steered, [len(prompt)])[0]
        plain = replay(tiny_lm, [ids], hookpoints, site)[0]
        for hookpoint in hookpoints:
            torch.testing.assert_close(captured.vectors[hookpoint], once.vectors[hookpoint], atol=2e-4, rtol=1e-3)
            assert torch.equal(once.vectors[hookpoint][: len(prompt)], plain.vectors[hookpoint][: len(prompt)])
            assert not torch.allclose(once.vectors[hookpoint], plain.vectors[hookpoint], atol=1e-2)
        first = len(prompt) + 2  # from here on the first hookpoint is steered
        before = slice(len(prompt), first)
        assert torch.equal(once.vectors[HOOKPOINT][before], plain.vectors[HOOKPOINT][before])
        assert not torch.allclose(once.vectors[HOOKPOINT][first], plain.vectors[HOOKPOINT][first], atol=1e-2)
        np.testing.assert_allclose(captured.logprobs[len(prompt) :], once.logprobs[len(prompt) :], atol=1e-4)


@pytest.mark.parametrize("site", SITES)
def test_the_same_tokens_without_a_cache(tiny_lm: LanguageModel, saes: dict[str, Sae], site: Site) -> None:
    """Greedy, against a loop of whole forward passes with hooks of its own; and other tokens than unsteered."""
    sae, feature, value = saes[HOOKPOINT], 5, 40.0
    prompt, sampling = PROMPTS[0], Sampling(0.0, 1.0, 12)
    steered = made(Intervention(HOOKPOINT, feature, "clamp", value), saes=saes)
    [(generation, _)] = generate(tiny_lm, [prompt], sampling, [HOOKPOINT], site, steering=steered)

    def put(h: Tensor) -> Tensor:
        new = h.clone()
        for position in range(len(prompt.token_ids), h.shape[1]):
            a = dense(sae, h[0, position : position + 1])[0, feature]
            new[0, position] = h[0, position] + (value - a) * sae.W_dec[feature]
        return new

    layer = tiny_lm.model.base_model.get_submodule(HOOKPOINT.rpartition(".")[0])
    if site == "hookpoint":
        handle = layer.mlp.register_forward_hook(lambda _m, _i, output: put(output))
    else:
        handle = layer.register_forward_pre_hook(lambda _m, args: (put(args[0]), *args[1:]))
    ids = list(prompt.token_ids)
    with torch.inference_mode():
        for _ in generation.token_ids:
            ids.append(int(tiny_lm.model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
    handle.remove()
    assert tuple(ids[len(prompt.token_ids) :]) == generation.token_ids
    [(plain, _)] = generate(tiny_lm, [prompt], sampling, [HOOKPOINT], site)
    assert plain.token_ids != generation.token_ids


def test_steering_that_changes_nothing_gives_the_same_run(tiny_lm: LanguageModel, saes: dict[str, Sae]) -> None:
    steered = made(Intervention(HOOKPOINT, 5, "add", 0.0), saes=saes)
    for plain, same in zip(
        steps(tiny_lm, PROMPTS, Sampling(1.0, 1.0, 8), [HOOKPOINT], "hookpoint"),
        steps(tiny_lm, PROMPTS, Sampling(1.0, 1.0, 8), [HOOKPOINT], "hookpoint", steered),
        strict=True,
    ):
        assert (plain.token_ids, plain.logprobs) == (same.token_ids, same.logprobs)
        assert torch.equal(plain.vectors[HOOKPOINT], same.vectors[HOOKPOINT])


@pytest.mark.parametrize("steered", [True, False])
def test_a_hook_that_is_taken_away_ends_the_run(tiny_lm: LanguageModel, saes: dict[str, Sae], steered: bool) -> None:
    """As where a compiled graph runs: an edit or a capture that did not happen is never passed over."""
    module = tiny_lm.model.base_model.get_submodule(HOOKPOINT)
    first = tiny_lm.model.base_model.embed_tokens
    thief = first.register_forward_hook(lambda *_: module._forward_hooks.clear())
    asked = made(Intervention(HOOKPOINT, 5, "ablate"), saes=saes) if steered else None
    try:
        with pytest.raises(HookSkipped, match=rf"without its hooks at {HOOKPOINT}"):
            list(generate(tiny_lm, PROMPTS, Sampling(0, 1, 3), [] if steered else [HOOKPOINT], "hookpoint",
                          steering=asked))  # fmt: skip
    finally:
        thief.remove()


def test_hooks_are_gone_after_an_error(tiny_lm: LanguageModel) -> None:
    module = tiny_lm.model.base_model.get_submodule(HOOKPOINT)
    before = len(module._forward_hooks)
    with pytest.raises(ZeroDivisionError), passing(tiny_lm.model, [HOOKPOINT], "hookpoint", {HOOKPOINT: lambda h: h}):
        raise ZeroDivisionError
    assert len(module._forward_hooks) == before


@pytest.mark.parametrize(
    ("interventions", "error", "message"),
    [
        ([Intervention("layers.9.mlp", 0, "ablate")], UnknownName, "hookpoint 'layers.9.mlp'"),
        ([Intervention(HOOKPOINT, SHAPES["tiny"].num_latents, "ablate")], BadValue, "its SAE has features 0 to"),
        ([Intervention(HOOKPOINT, 1, "clamp", -1.0)], BadValue, "activations are never negative"),
        ([Intervention(HOOKPOINT, 1, "ablate"), Intervention(HOOKPOINT, 1, "add", 1.0)], BadValue, "steered twice"),
    ],
)
def test_what_cannot_be_done(
    saes: dict[str, Sae], interventions: list[Intervention], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        steering(interventions, saes)
    assert steering([], saes) is None


def test_a_steered_experiment_tells_what_was_done(tiny: Path, tmp_path: Path) -> None:
    """Through the whole pipeline: in the configuration, the journal and the database; and another text comes of it."""
    problems = tmp_path / "problems.jsonl"
    problems.write_text('{"question": "Two and two?"}\n')
    done = (Intervention(HOOKPOINT, 5, "clamp", 40.0), Intervention(LATER, 2, "ablate", start=3))
    config = ExperimentConfig(
        model=str(tiny / "model"), sae=str(tiny / "saes"), hookpoints=SHAPES["tiny"].hookpoints,
        problems=str(problems), max_new_tokens=8, temperature=0.0,
    )  # fmt: skip
    found = {}
    for name, steered in (("plain", ()), ("steered", done)):
        ready = plan(name, config.model_copy(update={"steering": steered}), "cpu", Silent())
        precompute(ready, tmp_path, 1, Silent())
        found[name] = read_segment(tmp_path / name / "journal" / "000000.parquet", ready.experiment)
    assert found["plain"].interventions == () and found["steered"].interventions == done
    assert found["plain"].token_ids.tolist() != found["steered"].token_ids.tolist()
    with open_reader(tmp_path, "steered") as reader:
        assert reader.experiment.config.steering == done
        asked = "inference, hookpoint, feature, action, value, start"
        rows = reader.query(f"SELECT {asked} FROM interventions").to_dict("records")
    assert rows == [
        {"inference": 0, "hookpoint": HOOKPOINT, "feature": 5, "action": "clamp", "value": 40.0, "start": 0},
        {"inference": 0, "hookpoint": LATER, "feature": 2, "action": "ablate", "value": 0.0, "start": 3},
    ]
