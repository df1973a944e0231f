"""Ablation against plain forward passes with hooks of the test's own, one feature a pass, all logits in NumPy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sparsify import SparseCoder, SparseCoderConfig
from torch import Tensor

from benchmarks.stand_in import SHAPES
from kthink_core.config import Site
from kthink_core.errors import HookSkipped, OutOfMemory
from kthink_core.model import ablation as module
from kthink_core.model.ablation import Ablation, Effect, Target
from kthink_core.model.language_model import LanguageModel
from kthink_core.model.objective import Objective
from kthink_core.model.sae import Sae
from kthink_core.model.sparse_coder import KSparse
from kthink_core.model.steering import steering
from kthink_core.records import Intervention, Trigger
from tests.hooks import hooks_of
from tests.test_model_families import FAMILIES, WIDTH

HOOKPOINTS = SHAPES["tiny"].hookpoints
SITES: tuple[Site, ...] = ("hookpoint", "residual")
IDS = torch.randint(3, 1200, (40,), generator=torch.Generator().manual_seed(3)).tolist()
PROMPT = 12


@pytest.fixture(scope="module")
def saes(tiny: Path) -> dict[str, Sae]:
    return {hookpoint: loud(SparseCoder.load_from_disk(tiny / "saes" / hookpoint)) for hookpoint in HOOKPOINTS}


def loud(coder: SparseCoder) -> Sae:
    """With decoder rows so long that a random model hears of a feature."""
    assert coder.W_dec is not None
    coder.requires_grad_(False).W_dec.mul_(60)
    coder.b_dec.copy_(torch.linspace(-0.02, 0.02, len(coder.b_dec)))
    return KSparse(coder)


def activations(sae: Sae, rows: Tensor) -> Tensor:
    """[positions, num_latents]"""
    latents = sae.encode(rows)
    return torch.zeros(len(rows), sae.shape.num_latents).scatter_add(1, latents.indices, latents.activations)


@contextmanager
def hooked(lm: LanguageModel, hookpoint: str, site: Site, put: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """`put` takes [positions, width] of the one row."""
    module = lm.model.base_model.get_submodule(hookpoint)
    layer = lm.model.base_model.get_submodule(hookpoint.rpartition(".")[0])

    def output(_module: Any, _inputs: Any, given: Any) -> Any:
        return put(given[0])[None] if isinstance(given, Tensor) else (put(given[0][0])[None], *given[1:])

    def entering(_module: Any, given: Any) -> Any:
        return (put(given[0][0])[None], *given[1:])

    at_output = site == "hookpoint"
    handle = module.register_forward_hook(output) if at_output else layer.register_forward_pre_hook(entering)
    try:
        yield
    finally:
        handle.remove()


def log_probabilities(lm: LanguageModel, ids: list[int]) -> np.ndarray:
    """[positions, vocabulary] in float64."""
    with torch.inference_mode():
        logits = lm.model(torch.tensor([ids]), use_cache=False).logits[0].double().numpy()
    return (
        logits
        - np.log(np.exp(logits - logits.max(-1, keepdims=True)).sum(-1, keepdims=True))
        - logits.max(-1, keepdims=True)
    )


def plain(
    lm: LanguageModel, sae: Sae, site: Site, target: Target, ids: list[int], clamped: Callable[[Tensor], Tensor]
) -> Effect:
    """One whole pass without the feature, one with it."""
    fired: dict[int, float] = {}

    def without(h: Tensor) -> Tensor:
        h = clamped(h)
        a = activations(sae, h)[:, target.feature]
        new = h.clone()
        for position in range(len(ids)) if target.positions is None else target.positions:
            if a[position] > 0:
                fired[position] = float(a[position])
                new[position] = h[position] - a[position] * sae.W_dec[target.feature]
        return new

    with hooked(lm, target.hookpoint, site, clamped):
        before = log_probabilities(lm, ids)
    with hooked(lm, target.hookpoint, site, without):
        after = log_probabilities(lm, ids)
    kl = np.concatenate([[np.nan], (np.exp(before) * (before - after)).sum(-1)[:-1]])
    own = np.arange(len(ids) - 1), np.array(ids[1:])
    change = np.concatenate([[np.nan], (after - before)[own]])
    at = sorted(fired)
    return Effect(np.array(at), np.array([fired[position] for position in at]), kl, change)


def targets_of(sae: Sae, hookpoint: str, h: Tensor) -> list[Target]:
    """The feature that fires most often, everywhere and at a few positions; others that begin late; one that is silent;
    one where it is."""
    a = activations(sae, h)
    often = int((a > 0).sum(0).argmax())
    late = [int(feature) for feature in a[20:].max(0).values.topk(3).indices]
    silent = int((a == 0).all(0).nonzero()[0])
    fires = (a[:, often] > 0).nonzero()[:, 0].tolist()
    return [
        Target(hookpoint, often),
        Target(hookpoint, often, fires[1:3]),
        Target(hookpoint, often, range(30, 35)),
        *(Target(hookpoint, feature, range(20, 40)) for feature in late),
        Target(hookpoint, silent),
        Target(hookpoint, often, [int(position) for position in range(40) if position not in fires][:3]),
    ]


def as_it_is(h: Tensor) -> Tensor:
    return h


def assert_same(found: Effect, wanted: Effect) -> None:
    assert found.positions.tolist() == wanted.positions.tolist()
    np.testing.assert_allclose(found.activations, wanted.activations, rtol=1e-4)
    np.testing.assert_allclose(found.kl, wanted.kl, atol=3e-6, rtol=1e-2)
    np.testing.assert_allclose(found.change, wanted.change, atol=2e-5, rtol=1e-3)
    untouched = slice(0, found.positions[0] + 1) if len(found.positions) else slice(None)
    assert np.isnan([found.kl[0], found.change[0]]).all()
    assert not np.nan_to_num(found.kl[untouched]).any() and not np.nan_to_num(found.change[untouched]).any()


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("hookpoint", HOOKPOINTS)
def test_by_plain_passes(tiny_lm: LanguageModel, saes: dict[str, Sae], site: Site, hookpoint: str) -> None:
    paused: list[int] = []
    sae, before = saes[hookpoint], hooks_of(tiny_lm.model)
    found = Ablation(tiny_lm, saes, site, IDS, lambda: paused.append(1))
    h = found._vectors[hookpoint]
    targets = targets_of(sae, hookpoint, h)
    effects = dict(found.effects(targets))
    assert sorted(effects) == list(range(len(targets)))
    assert max(np.nansum(effect.kl) for effect in effects.values()) > 1e-3, "something is changed at all"
    for index, target in enumerate(targets):
        assert_same(effects[index], plain(tiny_lm, sae, site, target, IDS, as_it_is))
    assert not len(effects[len(targets) - 1].positions) and not len(effects[len(targets) - 2].positions)
    assert paused
    assert hooks_of(tiny_lm.model) == before


@pytest.mark.parametrize("site", SITES)
def test_what_was_written_under_steering(tiny_lm: LanguageModel, saes: dict[str, Sae], site: Site) -> None:
    """It acts in every pass behind the prompt, and what goes on after it is what is ablated."""
    hookpoint = HOOKPOINTS[0]
    sae, feature, value = saes[hookpoint], 5, 4.0

    def clamped(h: Tensor) -> Tensor:
        a = activations(sae, h)[:, feature]
        new = h + (value - a)[:, None] * sae.W_dec[feature]
        new[:PROMPT] = h[:PROMPT]
        return new

    steered = steering([Intervention(hookpoint, feature, "clamp", value)], saes)
    found = Ablation(tiny_lm, saes, site, IDS, steering=steered, prompt_tokens=PROMPT)
    targets = [*targets_of(sae, hookpoint, found._vectors[hookpoint]), Target(hookpoint, feature)]
    effects = dict(found.effects(targets))
    assert len(effects[len(targets) - 1].positions) > 20, "the clamped feature fires"
    for index, target in enumerate(targets):
        assert_same(effects[index], plain(tiny_lm, sae, site, target, IDS, clamped))


def test_what_waited_for_a_feature(tiny_lm: LanguageModel, saes: dict[str, Sae]) -> None:
    """Steering that a feature set off acts where it did when the trace was read, whatever is ablated."""
    first, later = HOOKPOINTS
    sae = saes[first]
    a = activations(sae, Ablation(tiny_lm, saes, "hookpoint", IDS)._vectors[first])
    fires = (a[PROMPT:] > 0).nonzero()
    feature = next(one for one in fires[:, 1].tolist() if 4 <= int(fires[fires[:, 1] == one, 0].min()) <= 12)
    onset = PROMPT + int(fires[fires[:, 1] == feature, 0].min()) + 1
    waits = Intervention(later, 5, "add", 0.05, after=Trigger(first, feature))

    def added(h: Tensor) -> Tensor:
        new = h.clone()
        new[onset:] += 0.05 * saes[later].W_dec[5]
        return new

    found = Ablation(tiny_lm, saes, "hookpoint", IDS, steering=steering([waits], saes), prompt_tokens=PROMPT)
    (_, effect), *_ = found.effects([Target(first, feature)])
    with hooked(tiny_lm, later, "hookpoint", added):
        wanted = plain(tiny_lm, sae, "hookpoint", Target(first, feature), IDS, as_it_is)
    assert_same(effect, wanted)


@pytest.mark.parametrize("objective", [Objective((25, 26)), Objective((39,), (7,)), Objective((1,))])
def test_by_how_much_an_objective_changes(tiny_lm: LanguageModel, saes: dict[str, Sae], objective: Objective) -> None:
    hookpoint = HOOKPOINTS[0]
    sae = saes[hookpoint]
    found = Ablation(tiny_lm, saes, "hookpoint", IDS)
    targets = targets_of(sae, hookpoint, found._vectors[hookpoint])
    values = dict(found.values(targets, objective))

    def value() -> float:
        logs = log_probabilities(tiny_lm, IDS)
        own = sum(logs[position - 1, IDS[position]] for position in objective.positions)
        return own - sum(logs[at - 1, rival] for at, rival in zip(objective.positions, objective.rivals, strict=False))

    base = value()
    for index, target in enumerate(targets):

        def without(h: Tensor, target: Target = target) -> Tensor:
            a = activations(sae, h)[:, target.feature]
            if target.positions is not None:
                a = a * torch.tensor([position in target.positions for position in range(len(IDS))])
            return h - a[:, None] * sae.W_dec[target.feature]

        with hooked(tiny_lm, hookpoint, "hookpoint", without):
            assert values[index] == pytest.approx(base - value(), abs=2e-5)
    assert objective.positions == (1,) or max(map(abs, values.values())) > 1e-3
    rivals = found.rivalled(objective).rivals
    logs = log_probabilities(tiny_lm, IDS)
    for position, rival in zip(objective.positions, rivals, strict=True):
        assert rival == max(set(range(logs.shape[1])) - {IDS[position]}, key=lambda token: logs[position - 1, token])


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("site", SITES)
def test_models_that_are_built_in_other_ways(tiny_lm: LanguageModel, name: str, site: Site) -> None:
    make, hookpoint, _ = FAMILIES[name]
    torch.manual_seed(1)
    lm = tiny_lm._replace(model=make(1300).eval().requires_grad_(False))
    torch.manual_seed(2)
    sae = loud(SparseCoder(WIDTH, SparseCoderConfig(num_latents=96, k=6)))
    hookpoint = hookpoint.format(1)
    found = Ablation(lm, {hookpoint: sae}, site, IDS)
    targets = targets_of(sae, hookpoint, found._vectors[hookpoint])
    effects = dict(found.effects(targets))
    assert max(np.nanmax(np.abs(effect.change)) for effect in effects.values()) > 1e-5
    for index, target in enumerate(targets):
        assert_same(effects[index], plain(lm, sae, site, target, IDS, as_it_is))


def test_batches_of_any_size(tiny_lm: LanguageModel, saes: dict[str, Sae], monkeypatch: pytest.MonkeyPatch) -> None:
    hookpoint = HOOKPOINTS[0]
    found = Ablation(tiny_lm, saes, "hookpoint", IDS)
    targets = targets_of(saes[hookpoint], hookpoint, found._vectors[hookpoint])
    targets += [target._replace(hookpoint=HOOKPOINTS[1]) for target in targets]
    wanted = dict(found.effects(targets))
    for tokens in (1, 100):
        monkeypatch.setattr(module, "_TOKENS", tokens)
        for index, effect in found.effects(targets):
            np.testing.assert_allclose(effect.kl, wanted[index].kl, atol=1e-6)
            np.testing.assert_allclose(effect.change, wanted[index].change, atol=1e-5)


@pytest.mark.parametrize("fits", [2, 0])
def test_memory_that_runs_out(tiny_lm: LanguageModel, saes: dict[str, Sae], fits: int) -> None:
    """Fewer features at once; where not even one fits, a line that says so."""
    found = Ablation(tiny_lm, saes, "hookpoint", IDS)
    targets = targets_of(saes[HOOKPOINTS[0]], HOOKPOINTS[0], found._vectors[HOOKPOINTS[0]])
    wanted = dict(found.effects(targets))
    rows: list[int] = []

    def limited(_module: Any, given: Any) -> None:
        if len(given[0]) > fits:
            raise torch.OutOfMemoryError("no room")
        rows.append(len(given[0]))

    last = tiny_lm.model.base_model.get_submodule("layers.3").register_forward_pre_hook(limited)
    try:
        if not fits:
            with pytest.raises(OutOfMemory, match="ablating one feature; take a shorter trace"):
                list(found.effects(targets))
        else:
            for index, effect in found.effects(targets):
                np.testing.assert_allclose(effect.change, wanted[index].change, atol=1e-5)
            assert max(rows) == fits
    finally:
        last.remove()


def test_a_hook_that_is_taken_away_ends_it(tiny_lm: LanguageModel, saes: dict[str, Sae]) -> None:
    found = Ablation(tiny_lm, saes, "hookpoint", IDS)
    hooked_module = tiny_lm.model.base_model.get_submodule(HOOKPOINTS[0])
    thief = tiny_lm.model.base_model.embed_tokens.register_forward_hook(lambda *_: hooked_module._forward_hooks.clear())
    try:
        targets = targets_of(saes[HOOKPOINTS[0]], HOOKPOINTS[0], found._vectors[HOOKPOINTS[0]])
        with pytest.raises(HookSkipped):
            list(found.effects(targets))
    finally:
        thief.remove()
