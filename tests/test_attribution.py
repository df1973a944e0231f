"""Gradient × activation against finite differences with hooks of the test's own, in float64."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sparsify import SparseCoder, SparseCoderConfig
from torch import Tensor

from benchmarks.stand_in import SHAPES
from kthink_core.config import Site
from kthink_core.errors import BadValue, HookSkipped, OutOfMemory
from kthink_core.model.attribution import Attribution, attribution
from kthink_core.model.hookpoints import decoder_layers
from kthink_core.model.language_model import LanguageModel
from kthink_core.model.objective import Objective, of_answer, of_token
from kthink_core.model.sae import Sae
from kthink_core.model.sparse_coder import KSparse
from kthink_core.model.steering import activations_of, steering
from kthink_core.records import Intervention
from tests.hooks import hooks_of
from tests.test_ablation import IDS, PROMPT, hooked, log_probabilities, loud

HOOKPOINTS = SHAPES["tiny"].hookpoints
SITES: tuple[Site, ...] = ("hookpoint", "residual")
OBJECTIVES = (Objective((25, 26)), Objective((30,), (7,)))
STEP = 1e-5


@pytest.fixture(scope="module")
def exact(tiny_lm: LanguageModel) -> LanguageModel:
    model = copy.deepcopy(tiny_lm.model).double()
    for layer in decoder_layers(model):
        for weights in layer.parameters():
            if weights.ndim == 2:
                weights.mul_(8)  # as made, a random model says next to nothing
    for name, norm in list(model.named_modules()):
        if name.rpartition(".")[2].endswith("norm"):  # transformers' own reckons in float32
            whole = torch.nn.RMSNorm(norm.weight.shape, norm.variance_epsilon, dtype=torch.float64)
            whole.weight = norm.weight
            model.set_submodule(name, whole)
    return tiny_lm._replace(model=model)


@pytest.fixture(scope="module")
def saes(tiny: Path) -> dict[str, Sae]:
    return {hookpoint: loud(SparseCoder.load_from_disk(tiny / "saes" / hookpoint).double()) for hookpoint in HOOKPOINTS}


def value(lm: LanguageModel, objective: Objective) -> float:
    logs = log_probabilities(lm, IDS)
    own = sum(logs[position - 1, IDS[position]] for position in objective.positions)
    return own - sum(logs[at - 1, rival] for at, rival in zip(objective.positions, objective.rivals, strict=False))


def slope(
    lm: LanguageModel,
    hookpoint: str,
    site: Site,
    objective: Objective,
    position: int,
    direction: Tensor,
    also: dict[str, Callable[[Tensor], Tensor]],
) -> float:
    """dm/dε where ε times a direction is added to what passes at a position, after what `also` does there."""

    def at(step: float) -> float:
        def moved(h: Tensor) -> Tensor:
            new = also.get(hookpoint, lambda same: same)(h).clone()
            new[position] += step * direction
            return new

        with ExitStack() as hooks:
            for name in HOOKPOINTS:
                put = moved if name == hookpoint else also.get(name)
                if put is not None:
                    hooks.enter_context(hooked(lm, name, site, put))
            return value(lm, objective)

    return (at(STEP) - at(-STEP)) / (2 * STEP)


def check(
    found: Attribution,
    lm: LanguageModel,
    saes: dict[str, Sae],
    site: Site,
    objective: Objective,
    also: dict[str, Callable[[Tensor], Tensor]],
) -> None:
    with ExitStack() as hooks:
        for name, put in also.items():
            hooks.enter_context(hooked(lm, name, site, put))
        assert found.value == pytest.approx(value(lm, objective), abs=1e-6)
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[[Tensor], Tensor]:
        def put(h: Tensor) -> Tensor:
            seen[name] = also.get(name, lambda same: same)(h)
            return seen[name]

        return put

    with ExitStack() as hooks:
        for name in HOOKPOINTS:
            hooks.enter_context(hooked(lm, name, site, keep(name)))
        log_probabilities(lm, IDS)
    for hookpoint, own in found.by_hookpoint.items():
        sae = saes[hookpoint]
        h = seen[hookpoint]
        latents = sae.encode(h)
        bias = sae._coder.b_dec  # type: ignore[attr-defined]
        for position in (3, 14, 24):
            dense = torch.zeros(sae.shape.num_latents, dtype=torch.float64)
            dense[latents.indices[position]] = latents.activations[position]
            told = dict(zip(own.features[position].tolist(), own.contributions[position].tolist(), strict=True))
            strongest = sorted(told, key=lambda feature: -abs(told[feature]))[:3]
            for feature in strongest:
                wanted = float(dense[feature]) * slope(
                    lm, hookpoint, site, objective, position, sae.W_dec[feature], also
                )
                assert told[feature] == pytest.approx(wanted, rel=1e-3, abs=1e-6)
            rest = h[position] - dense @ sae.W_dec - bias
            error = slope(lm, hookpoint, site, objective, position, rest, also)
            assert own.error[position] == pytest.approx(error, rel=1e-3, abs=1e-6)
            constant = slope(lm, hookpoint, site, objective, position, bias, also)
            assert own.constant[position] == pytest.approx(constant, rel=1e-3, abs=1e-6)
            whole = slope(lm, hookpoint, site, objective, position, h[position], also)
            parts = sum(told.values()) + own.error[position] + own.constant[position]
            assert parts == pytest.approx(whole, rel=1e-3, abs=1e-6), "all nodes together are all there is"
        last = max(objective.positions)
        assert np.abs(own.contributions[:last]).max() > 1e-3
        for part in (own.contributions, own.error, own.constant):
            assert not part[last:].any(), "what comes later cannot matter: exactly 0"


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("by_layer", [False, True])
def test_by_finite_differences(exact: LanguageModel, saes: dict[str, Sae], site: Site, by_layer: bool) -> None:
    before = hooks_of(exact.model)
    found = attribution(exact, saes, site, IDS, OBJECTIVES, by_layer=by_layer)
    for one, objective in zip(found, OBJECTIVES, strict=True):
        check(one, exact, saes, site, objective, {})
    assert hooks_of(exact.model) == before
    assert not any("forward" in vars(layer) for layer in decoder_layers(exact.model))


@pytest.mark.parametrize("by_layer", [False, True])
@pytest.mark.parametrize("steered", HOOKPOINTS)
def test_through_what_is_clamped(exact: LanguageModel, saes: dict[str, Sae], steered: str, by_layer: bool) -> None:
    """A clamped feature passes nothing on: whatever would raise it is taken away again."""
    sae, feature, wanted = saes[steered], 5, 4.0

    def clamped(h: Tensor) -> Tensor:
        latents = sae.encode(h)
        a = (latents.activations * (latents.indices == feature)).sum(1)
        new = h + (wanted - a)[:, None] * sae.W_dec[feature]
        new[:PROMPT] = h[:PROMPT]
        return new

    done = steering([Intervention(steered, feature, "clamp", wanted)], saes)
    found = attribution(
        exact, saes, "hookpoint", IDS, OBJECTIVES, steering=done, prompt_tokens=PROMPT, by_layer=by_layer
    )
    for one, objective in zip(found, OBJECTIVES, strict=True):
        check(one, exact, saes, "hookpoint", objective, {steered: clamped})


def test_a_feature_that_is_kept_at_0_passes_no_gradient() -> None:
    """An SAE of which every feature is kept: those below 0 are at 0, and stay there whichever way the vector moves."""
    torch.manual_seed(4)
    coder = SparseCoder(16, SparseCoderConfig(num_latents=8, k=8)).requires_grad_(False)
    rows = torch.randn(12, 16, requires_grad=True)
    found = activations_of(KSparse(coder), rows, torch.tensor([2, 5]))
    fires = (rows - coder.b_dec) @ coder.encoder.weight.T + coder.encoder.bias > 0
    assert 0 < int((found == 0).sum()) < found.numel()
    (slope_of,) = torch.autograd.grad(found.sum(), rows)
    wanted = sum(fires[:, feature, None] * coder.encoder.weight[feature] for feature in (2, 5))
    torch.testing.assert_close(slope_of, wanted)


def test_a_layer_at_a_time_gives_the_same(tiny_lm: LanguageModel, saes: dict[str, Sae]) -> None:
    whole, parts = (
        attribution(tiny_lm, saes, "hookpoint", IDS, OBJECTIVES, by_layer=by_layer) for by_layer in (False, True)
    )
    for one, other in zip(whole, parts, strict=True):
        assert one.value == other.value
        for hookpoint in HOOKPOINTS:
            for a, b in zip(one.by_hookpoint[hookpoint], other.by_hookpoint[hookpoint], strict=True):
                np.testing.assert_allclose(a, b, atol=1e-7)


def test_where_memory_runs_out_layers_go_one_at_a_time(tiny_lm: LanguageModel, saes: dict[str, Sae]) -> None:
    wanted = attribution(tiny_lm, saes, "hookpoint", IDS, OBJECTIVES)
    layer = tiny_lm.model.base_model.get_submodule("layers.3")

    def limited(given_module: Any, _given: Any) -> None:
        if "forward" not in vars(given_module):
            raise torch.OutOfMemoryError("no room")

    handle = layer.register_forward_pre_hook(limited)
    try:
        found = attribution(tiny_lm, saes, "hookpoint", IDS, OBJECTIVES)
    finally:
        handle.remove()
    assert [one.value for one in found] == [one.value for one in wanted]

    def never(*_: Any) -> None:
        raise torch.OutOfMemoryError("no room")

    handle = layer.register_forward_pre_hook(never)
    try:
        with pytest.raises(OutOfMemory, match="a layer at a time; take a shorter trace"):
            attribution(tiny_lm, saes, "hookpoint", IDS, OBJECTIVES)
    finally:
        handle.remove()
    assert not any("forward" in vars(layer) for layer in decoder_layers(tiny_lm.model))


def test_a_hook_that_is_taken_away_ends_it(tiny_lm: LanguageModel, saes: dict[str, Sae]) -> None:
    module = tiny_lm.model.base_model.get_submodule(HOOKPOINTS[0])
    thief = tiny_lm.model.base_model.embed_tokens.register_forward_hook(lambda *_: module._forward_hooks.clear())
    try:
        with pytest.raises(HookSkipped, match=re.escape(HOOKPOINTS[0])):
            attribution(tiny_lm, saes, "hookpoint", IDS, OBJECTIVES)
    finally:
        thief.remove()


ANSWERS = [
    ("so it is \\boxed{42}.", "42"),
    ("\\boxed{7} no, \\boxed{ 1,250 }", "1,250"),
    ("\\boxed{\\frac{3}{4}} and \\boxed{open", "\\frac{3}{4}"),
    ("é ü 😀 \\boxed{12 😀 apples}", "12 😀 apples"),
]


@pytest.mark.parametrize(("text", "answer"), ANSWERS)
def test_the_tokens_of_the_answer(bundle: LanguageModel, text: str, answer: str) -> None:
    prompt = bundle.tokenizer.encode("How many? \\boxed{99}", add_special_tokens=False)
    ids = [*prompt, *bundle.tokenizer.encode(text, add_special_tokens=False), bundle.tokenizer.eos_token_id]
    found = of_answer(bundle, ids, len(prompt))
    first, last = found.positions[0], found.positions[-1]
    assert found == Objective(tuple(range(first, last + 1)))
    assert answer in bundle.tokenizer.decode(ids[first : last + 1]), "the last one, and none of the prompt's"
    assert not any(answer in bundle.tokenizer.decode(part) for part in (ids[first + 1 : last + 1], ids[first:last]))


@pytest.mark.parametrize("text", ["no answer", "\\boxed{}", "\\boxed{cut off", "\\boxed{  }"])
def test_a_trace_without_an_answer(bundle: LanguageModel, text: str) -> None:
    ids = bundle.tokenizer.encode("\\boxed{99}" + text, add_special_tokens=False)
    prompt = len(bundle.tokenizer.encode("\\boxed{99}", add_special_tokens=False))
    with pytest.raises(BadValue, match="no token to attribute to: choose a position"):
        of_answer(bundle, ids, prompt)


@pytest.mark.parametrize(
    ("position", "rival", "message"),
    [(0, None, "from 1 to 39"), (40, None, "from 1 to 39"), (5, 10**6, "the model has 0 to"), (5, IDS[5], "stands at")],
)
def test_tokens_that_make_no_objective(tiny_lm: LanguageModel, position: int, rival: int | None, message: str) -> None:
    with pytest.raises(BadValue, match=message):
        of_token(tiny_lm, IDS, position, rival)


@pytest.mark.parametrize("by_layer", [False, True])
def test_whoever_comes_in_a_pause_meets_none_of_its_hooks(
    exact: LanguageModel, saes: dict[str, Sae], by_layer: bool
) -> None:
    """A worker's live prompts run then, on the same model: unsteered, whatever the trace was written under."""
    asked = steering([Intervention(HOOKPOINTS[0], 5, "clamp", 4.0)], saes)
    before, pauses, hooks = log_probabilities(exact, IDS), [], hooks_of(exact.model)

    def pause() -> None:
        pauses.append(log_probabilities(exact, IDS))
        assert hooks_of(exact.model) == hooks

    attribution(exact, saes, "hookpoint", IDS, OBJECTIVES, pause, asked, PROMPT, by_layer=by_layer)
    assert pauses and all(np.array_equal(found, before) for found in pauses)
