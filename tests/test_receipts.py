"""What a steered run says that was done to it, counted again from its vectors; and what must hold of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.stand_in import SHAPES
from kthink_core import queries
from kthink_core.config import ExperimentConfig
from kthink_core.model.generate import generate
from kthink_core.model.language_model import LanguageModel
from kthink_core.model.receipts import receipts, tried
from kthink_core.model.replay import replay
from kthink_core.model.sae import Sae
from kthink_core.model.sae_folders import load_saes
from kthink_core.model.sampling import Sampling
from kthink_core.model.steering import Steering, steering
from kthink_core.precompute.pipeline import plan, precompute
from kthink_core.precompute.progress import Silent
from kthink_core.records import Check, Intervention, Problem, Prompt, Receipt, Trigger
from kthink_core.store.journal import read_segment
from kthink_core.store.reader import open_reader

CPU = torch.device("cpu")
HOOKPOINT, LATER = SHAPES["tiny"].hookpoints[0], SHAPES["tiny"].hookpoints[-1]
DONE = (
    Intervention(HOOKPOINT, 5, "clamp", 3.0, 2),
    Intervention(HOOKPOINT, 7, "add", 1.5),
    Intervention(LATER, 2, "ablate", start=3),
    Intervention(LATER, 9, "clamp", 1.0, 0, Trigger(LATER, 2**0)),
)


@pytest.fixture(scope="module")
def saes(tiny: Path) -> dict[str, Sae]:
    return dict(load_saes(str(tiny / "saes"), None, SHAPES["tiny"].hookpoints, CPU).by_hookpoint)


@pytest.fixture(scope="module")
def cache(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With one experiment, steered: of two problems, at random."""
    folder = tmp_path_factory.mktemp("steered")
    problems = folder / "problems.jsonl"
    problems.write_text('{"question": "Two and two?"}\n{"question": "And three and four more?"}\n')
    config = ExperimentConfig(
        model=str(tiny / "model"), sae=str(tiny / "saes"), hookpoints=SHAPES["tiny"].hookpoints,
        problems=str(problems), max_new_tokens=8, steering=DONE,
    )  # fmt: skip
    precompute(plan("steered", config, "cpu", Silent()), folder / "cache", 2, Silent())
    return folder / "cache"


def dense(sae: Sae, rows: Tensor) -> Tensor:
    """[positions, num_latents]"""
    latents = sae.encode(rows)
    return torch.zeros(len(rows), sae.shape.num_latents).scatter_add(1, latents.indices, latents.activations)


def test_figures_are_those_of_the_vectors(tiny_lm: LanguageModel, saes: dict[str, Sae], cache: Path) -> None:
    """At the first hookpoint nothing before it is steered: what came is known from a pass steered nowhere else."""
    with open_reader(cache, "steered") as reader:
        found = read_segment(cache / "steered" / "journal" / "000001.parquet", reader.experiment)
    assert found.interventions == DONE and len(found.receipts) == len(DONE)
    ids, given = found.token_ids.tolist(), found.prompt_tokens
    sae = saes[HOOKPOINT]
    steered = replay(tiny_lm, [ids], [HOOKPOINT], "hookpoint", steering(DONE, saes), [given])[0].vectors[HOOKPOINT]
    late = Steering(DONE[2:], saes)  # changes what comes later only, and nothing at the first hookpoint
    plain = replay(tiny_lm, [ids], [HOOKPOINT], "hookpoint", late, [given])[0].vectors[HOOKPOINT]
    before, after = dense(sae, plain)[given:].numpy(), dense(sae, steered)[given:].numpy()
    for done, receipt in list(zip(DONE, found.receipts, strict=True))[:2]:
        at = slice(done.start, None)
        amounts = 3.0 - before[:, 5] if done.feature == 5 else np.full(len(before), 1.5)
        change = np.abs(amounts) * sae.W_dec[done.feature].norm().item() / plain.norm(dim=1)[given:].numpy()
        assert (receipt.began, receipt.positions) == (done.start, len(ids) - given - done.start)
        wanted = {
            "change_median": np.median(change[at]), "change_max": change[at].max(),
            "before_median": np.median(before[at, done.feature]), "before_max": before[at, done.feature].max(),
            "after_median": np.median(after[at, done.feature]), "after_max": after[at, done.feature].max(),
        }  # fmt: skip
        for name, value in wanted.items():
            assert getattr(receipt, name) == pytest.approx(value, rel=1e-3, abs=1e-4), name


def test_the_checks_hold_and_are_told(cache: Path) -> None:
    with open_reader(cache, "steered") as reader:
        table = queries.interventions(reader)
        one = queries.interventions(reader, 1)
    assert len(table) == 2 * len(DONE) and one["inference"].unique().tolist() == [1]
    with open_reader(cache, "steered") as reader:
        stored = read_segment(cache / "steered" / "journal" / "000000.parquet", reader.experiment)
    for receipt in stored.receipts:
        assert [check.name for check in receipt.checks] == ["as it is", "silent", "cached"]
        assert all(check.holds for check in receipt.checks)
    assert table["checks"].str.fullmatch(r"as it is \S+ of 1e-06; silent 0 of 0; cached \S+ of 0.001").all()
    waiting = one[one["after_feature"].notna()]
    assert waiting["after_hookpoint"].tolist() == [LATER] and waiting["after_feature"].tolist() == [1]


def test_what_never_acted_has_no_figures(tiny_lm: LanguageModel, saes: dict[str, Sae]) -> None:

    prompt = Prompt(0, Problem(0, "q", None), "think", 1, (10, 11, 12))
    late = steering([Intervention(HOOKPOINT, 5, "clamp", 3.0, 99)], saes)
    assert late is not None
    [(_, captured)] = generate(tiny_lm, [prompt], Sampling(0, 1, 4), [], "hookpoint", steering=late)
    (receipt,) = receipts(late, captured.notes, {}, 3, ())
    assert receipt == Receipt(None, 0, None, None, None, None, None, None)


def test_a_cache_that_changes_the_text_is_told(tiny_lm: LanguageModel, saes: dict[str, Sae]) -> None:
    """As where log-probabilities come of a run that was steered otherwise."""
    asked = steering(DONE[:1], saes)
    assert asked is not None
    prompt = Prompt(0, Problem(0, "q", None), "think", 1, (10, 11, 12))
    [(generation, captured)] = generate(tiny_lm, [prompt], Sampling(1, 1, 8), [], "hookpoint", steering=asked)
    held = tried(tiny_lm, generation, captured.logprobs, "hookpoint", asked)
    assert all(check.holds for check in held)
    moved = captured.logprobs.clone()
    moved[-1] += 0.01
    told = {check.name: check.holds for check in tried(tiny_lm, generation, moved, "hookpoint", asked)}
    assert told == {"as it is": True, "silent": True, "cached": False}


def test_an_edit_that_does_more_than_it_should_is_told(
    tiny_lm: LanguageModel, saes: dict[str, Sae], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that puts the reconstruction in the place of the vector: the SAE's error is lost."""
    asked = steering(DONE[:1], saes)
    assert asked is not None
    prompt = Prompt(0, Problem(0, "q", None), "think", 1, (10, 11, 12))
    [(generation, captured)] = generate(tiny_lm, [prompt], Sampling(1, 1, 8), [], "hookpoint", steering=asked)
    honest = Steering.edits

    def lossy(self: Steering, *arguments: object) -> dict[str, object]:
        def lose(name: str, vectors: Tensor) -> Tensor:
            kept = honest(self, *arguments)[name](vectors)  # type: ignore[arg-type]
            return kept * 1.001

        return {name: (lambda vectors, name=name: lose(name, vectors)) for name in honest(self, *arguments)}  # type: ignore[arg-type]

    monkeypatch.setattr(Steering, "edits", lossy)
    found = {check.name: check.holds for check in tried(tiny_lm, generation, captured.logprobs, "hookpoint", asked)}
    assert not found["as it is"] and not found["silent"]


def test_a_check_holds_up_to_its_limit() -> None:
    assert Check("x", 1.0, 1.0).holds and not replace(Check("x", 1.0, 1.0), value=1.1).holds
