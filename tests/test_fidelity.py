"""What the reconstruction costs the model, against plain torch; and its way through the pipeline and the store."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sparsify import SparseCoder
from store_samples import (
    HOOKPOINTS,
    as_schema_3,
    sample_experiment,
    sample_fidelity,
    sample_inferences,
    write_sample,
)
from torch import Tensor

from benchmarks.stand_in import SHAPES
from kthink_core.config import SaeShape, Site
from kthink_core.errors import BadFile, OutOfMemory, SchemaTooOld
from kthink_core.evidence.passport import passport
from kthink_core.model import divergence
from kthink_core.model import fidelity as module
from kthink_core.model.fidelity import fidelity
from kthink_core.model.language_model import LanguageModel
from kthink_core.model.sae import Latents
from kthink_core.model.sae_folders import load_saes
from kthink_core.model.steering import steering
from kthink_core.precompute.pipeline import Plan, precompute
from kthink_core.precompute.progress import Silent
from kthink_core.records import Fidelity, Intervention
from kthink_core.store import built
from kthink_core.store.completion import is_finished
from kthink_core.store.export import export
from kthink_core.store.fidelity_files import read_fidelity
from kthink_core.store.files import Layout
from kthink_core.store.manifest import read_manifest
from kthink_core.store.reader import open_reader
from kthink_core.store.writer import open_writer

TINY = SHAPES["tiny"].hookpoints
TOKENS = [5, 9, 12, 40, 7, 8, 9, 12, 300, 2, 2, 77]
CPU = torch.device("cpu")
Put = Callable[[Tensor], Tensor]


def nothing() -> None:
    """Nobody waits."""


def predicted(lm: LanguageModel, hookpoint: str, site: Site, put: Put) -> Tensor:
    """[positions, vocabulary] log-probabilities of the token after each position, by a hook of torch's own."""
    if site == "hookpoint":
        model = lm.model.base_model.get_submodule(hookpoint)
        handle = model.register_forward_hook(lambda _m, _i, output: put(output[0])[None])
    else:
        layer = lm.model.base_model.layers[int(hookpoint.split(".")[1])]
        handle = layer.register_forward_pre_hook(lambda _m, given: (put(given[0][0])[None], *given[1:]))
    try:
        with torch.no_grad():
            return lm.model(torch.tensor([TOKENS])).logits[0].double().log_softmax(-1)
    finally:
        handle.remove()


def wanted(lm: LanguageModel, hookpoint: str, site: Site, reconstruct: Put, first: Put = lambda x: x) -> Fidelity:
    """One token after the other, in float64."""
    own = predicted(lm, hookpoint, site, first)
    with_sae = predicted(lm, hookpoint, site, lambda x: reconstruct(first(x)))
    without = predicted(lm, hookpoint, site, torch.zeros_like)
    rows: list[list[float]] = [[np.nan] * 4]
    for position in range(1, len(TOKENS)):
        before, token = position - 1, TOKENS[position]
        p, log_p, log_q = own[before].exp(), own[before], with_sae[before]
        kl = sum(float(p[word] * (log_p[word] - log_q[word])) for word in range(len(p)))
        rows.append([float(own[before, token]), float(log_q[token]), float(without[before, token]), kl])
    return Fidelity(*np.array(rows, np.float32).T)


def assert_same(found: Fidelity, expected: Fidelity) -> None:
    for name in Fidelity._fields:
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), atol=2e-6, rtol=2e-4, err_msg=name)


@pytest.mark.parametrize("site", ["hookpoint", "residual"])
@pytest.mark.parametrize("tokens", [1, 30, 2048])
def test_every_figure(
    tiny: Path, tiny_lm: LanguageModel, monkeypatch: pytest.MonkeyPatch, site: Site, tokens: int
) -> None:
    """However many go through the model at once, and however few logits are held."""
    monkeypatch.setattr(module, "_TOKENS", tokens)
    monkeypatch.setattr(divergence, "_LOGITS", 5000 if tokens == 30 else 2**25)
    saes = load_saes(str(tiny / "saes"), None, TINY, CPU).by_hookpoint
    found = fidelity(tiny_lm, saes, site, TOKENS, nothing)
    assert list(found) == list(TINY)
    for hookpoint in TINY:
        coder = SparseCoder.load_from_disk(tiny / "saes" / hookpoint).requires_grad_(False)
        expected = wanted(tiny_lm, hookpoint, site, lambda x, coder=coder: coder(x).sae_out)
        assert_same(found[hookpoint], expected)
        assert np.nanmax(np.abs(expected.spliced_logprob - expected.logprob)) > 1e-3, "it says something"
        assert all(np.isnan(getattr(found[hookpoint], name)).tolist() == [True] + 11 * [False] for name in ("kl",))


class _Linear:
    """An SAE-like that gives back a part of what it is given."""

    def __init__(self, width: int, part: float) -> None:
        self.shape = SaeShape(num_latents=width, k=width, d_in=width, activation="topk")
        self.W_dec = part * torch.eye(width)

    def quiet(self, vectors: Tensor, features: Tensor) -> bool:
        return False

    def encode(self, vectors: Tensor) -> Latents:
        return Latents(vectors, torch.arange(vectors.shape[1]).expand_as(vectors))

    def decode(self, latents: Latents) -> Tensor:
        return latents.activations @ self.W_dec


@pytest.mark.parametrize("site", ["hookpoint", "residual"])
def test_a_perfect_one_costs_nothing_and_an_empty_one_all(bundle: LanguageModel, site: Site) -> None:
    text = bundle.tokenizer.encode("Tom has 3 apples and buys 4 more. How many apples does Tom have now? Okay, so")
    hookpoint, width = "layers.4.mlp", bundle.model.config.hidden_size
    found = fidelity(bundle, {hookpoint: _Linear(width, 1)}, site, text, nothing)[hookpoint]
    np.testing.assert_allclose(found.spliced_logprob, found.logprob, atol=1e-5)
    assert np.nanmax(found.kl) < 1e-5 and np.nanmin(found.kl) >= 0
    losses = [-np.nansum(values, dtype=np.float64) for values in found[:3]]
    assert (losses[2] - losses[1]) / (losses[2] - losses[0]) == pytest.approx(1, abs=1e-3)
    found = fidelity(bundle, {hookpoint: _Linear(width, 0)}, site, text, nothing)[hookpoint]
    np.testing.assert_allclose(found.spliced_logprob, found.zeroed_logprob, atol=1e-5)
    assert np.nanmax(found.kl) > 0.01


def test_what_is_replaced_is_what_a_steered_model_passes_on(tiny: Path, tiny_lm: LanguageModel) -> None:
    saes = load_saes(str(tiny / "saes"), None, TINY, CPU).by_hookpoint
    steered = steering([Intervention(TINY[0], 3, "add", 2.0)], saes)
    found = fidelity(tiny_lm, saes, "hookpoint", TOKENS, nothing, steered, 4)
    coder = SparseCoder.load_from_disk(tiny / "saes" / TINY[0]).requires_grad_(False)
    assert coder.W_dec is not None
    push = torch.zeros(len(TOKENS), 32)
    push[4:] = 2 * coder.W_dec[3]
    expected = wanted(tiny_lm, TINY[0], "hookpoint", lambda x: coder(x).sae_out, lambda x: x + push)
    assert_same(found[TINY[0]], expected)


def test_who_goes_first_meets_the_model_as_it_is(tiny: Path, tiny_lm: LanguageModel) -> None:
    ids = torch.tensor([TOKENS])
    clean = tiny_lm.model(ids).logits
    paused: list[bool] = []

    def pause() -> None:
        paused.append(torch.equal(tiny_lm.model(ids).logits, clean))

    fidelity(tiny_lm, load_saes(str(tiny / "saes"), None, TINY, CPU).by_hookpoint, "hookpoint", TOKENS, pause)
    assert len(paused) >= 2 and all(paused)


def test_out_of_memory_halves_what_goes_through_at_once(tiny: Path, tiny_lm: LanguageModel) -> None:
    saes = load_saes(str(tiny / "saes"), None, TINY, CPU).by_hookpoint
    roomy = fidelity(tiny_lm, saes, "hookpoint", TOKENS, nothing)
    most = 2

    def limited(_module: torch.nn.Module, _args: Any, kwargs: dict[str, Any]) -> None:
        if len(kwargs["input_ids"]) > most:
            raise torch.OutOfMemoryError("no memory left")

    handle = tiny_lm.model.base_model.register_forward_pre_hook(limited, with_kwargs=True)
    try:
        for hookpoint, found in fidelity(tiny_lm, saes, "hookpoint", TOKENS, nothing).items():
            assert_same(found, roomy[hookpoint])
        most = 0
        with pytest.raises(OutOfMemory, match=r"measuring what the reconstruction costs; what was generated is kept"):
            fidelity(tiny_lm, saes, "hookpoint", TOKENS, nothing)
    finally:
        handle.remove()


class Watched(Silent):
    """Counts what is generated and measured; Ctrl-C at so many pauses of the measuring."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.stop_at, self.steps, self.pauses = stop_at, 0, 0
        self.measuring = False
        self.at_measuring: Callable[[], None] = nothing

    def stage(self, text: str) -> None:
        self.measuring = text.startswith("measuring")
        if self.measuring:
            self.at_measuring()

    def step(self, step: int, rows: int) -> None:
        self.steps += 1

    def pause(self) -> None:
        self.pauses += self.measuring
        if self.pauses == self.stop_at:
            raise KeyboardInterrupt


def states(folder: Path) -> dict[str, tuple[int, int]]:
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.glob("*.parquet")}


def test_a_killed_measuring_goes_on_where_it_was(tiny_plan: Plan, tmp_path: Path) -> None:
    layout = Layout(tmp_path / "tiny")
    with pytest.raises(KeyboardInterrupt):
        precompute(tiny_plan, tmp_path, 3, Watched(stop_at=3))
    before = states(layout.fidelity)
    assert list(before) == ["000000.parquet"], "two pauses an inference: the first is stored"
    assert not is_finished(tmp_path, "tiny", tiny_plan.experiment.config)
    with open_reader(tmp_path, "tiny") as reader:
        assert reader.inferences == 3
        assert passport(reader)["inferences"].tolist() == [1, 1], "what was measured is seen"
    resumed = Watched()
    precompute(tiny_plan, tmp_path, 3, resumed)
    assert resumed.steps == 0 and resumed.pauses == 4
    assert states(layout.fidelity)["000000.parquet"] == before["000000.parquet"] and len(states(layout.fidelity)) == 3
    assert is_finished(tmp_path, "tiny", tiny_plan.experiment.config)
    with open_reader(tmp_path, "tiny") as reader:
        table = passport(reader)
        assert table["inferences"].tolist() == [3, 3] and table["kl"].notna().all()
        for index in range(3):
            inference = reader.inference(index)
            own = fidelity(
                tiny_plan.lm, tiny_plan.saes.by_hookpoint, "hookpoint", inference.token_ids.tolist(), nothing
            )
            for hookpoint, figures in own.items():
                columns = ", ".join(Fidelity._fields)
                stored = reader.query(
                    f"SELECT position, segment, {columns} FROM fidelity WHERE inference = ? AND hookpoint = ? "
                    "ORDER BY position",
                    [index, hookpoint],
                )
                assert stored["segment"].tolist() == list(inference.segments)
                assert_same(Fidelity(*(stored[name].to_numpy(np.float32) for name in Fidelity._fields)), figures)
                generated = ~np.isnan(inference.logprobs)
                np.testing.assert_allclose(figures.logprob[generated], inference.logprobs[generated], atol=1e-4)


def test_what_an_older_version_finished_is_measured_and_nothing_generated(
    tiny_plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    precompute(tiny_plan, tmp_path, 3, Silent())
    layout = Layout(tmp_path / "tiny")
    with open_reader(tmp_path, "tiny") as reader:
        right = passport(reader, "all")
    as_schema_3(layout.folder)
    journal = states(layout.journal)
    assert not is_finished(tmp_path, "tiny", tiny_plan.experiment.config)
    with pytest.raises(SchemaTooOld):
        open_reader(tmp_path, "tiny")
    monkeypatch.setattr(built, "MINIMUM_UNMERGED", 3)  # so many wait for the last build
    again, seen = Watched(), list[int]()

    def look() -> None:
        with open_reader(tmp_path, "tiny") as reader:
            seen.append(reader.inferences)

    again.at_measuring = look
    precompute(tiny_plan, tmp_path, 3, again)
    assert seen == [3], "readers need not wait for the measuring"
    assert again.steps == 0 and states(layout.journal) == journal
    with open_reader(tmp_path, "tiny") as reader:
        assert passport(reader, "all").equals(right)


EXPERIMENT = sample_experiment(inferences=6)
DRAWN = sample_inferences(EXPERIMENT)
NAME = EXPERIMENT.name


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    """The folder of an experiment all of whose inferences are measured."""
    write_sample(tmp_path, EXPERIMENT, DRAWN)
    with open_writer(tmp_path, EXPERIMENT) as writer:
        for inference in writer.unmeasured():
            writer.fidelity.put(inference, sample_fidelity(inference))
        writer.build()
    return tmp_path / NAME


def lacking(cache: Path, told: list[str]) -> list[int]:
    with open_writer(cache, EXPERIMENT, told.append) as writer:
        return [inference.inference for inference in writer.unmeasured()]


def test_what_is_measured_is_stored_as_it_is(measured: Path) -> None:
    assert lacking(measured.parent, []) == []
    entry = read_manifest(Layout(measured))[0].database
    assert entry and entry.fidelity == entry.inferences == ((0, 5),)
    for inference in DRAWN:
        found = read_fidelity(Layout(measured).fidelity_of(inference.inference), inference, EXPERIMENT.mark)
        assert found is not None and list(found) == list(HOOKPOINTS)
        for hookpoint, figures in sample_fidelity(inference).items():
            for name in Fidelity._fields:
                assert np.array_equal(getattr(found[hookpoint], name), getattr(figures, name), equal_nan=True)


@pytest.mark.parametrize("place", [0.0, 0.3, 0.7, 0.999])
def test_a_damaged_file_is_set_aside_and_measured_again(measured: Path, place: float) -> None:
    path = Layout(measured).fidelity_of(3)
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1
    path.write_bytes(content)
    told: list[str] = []
    assert lacking(measured.parent, told) == [3]
    assert told == ["000003.parquet was damaged and is kept as 000003.parquet.damaged: it is measured again"]
    assert path.with_name("000003.parquet.damaged").exists()


def test_what_is_deleted_is_measured_again(measured: Path) -> None:
    shutil.rmtree(Layout(measured).fidelity)
    assert lacking(measured.parent, []) == list(range(6))
    with open_reader(measured.parent, NAME) as reader:
        assert passport(reader)["kl"].notna().all(), "the database has it all the while"


def test_what_was_measured_on_other_tokens_is_not_taken(measured: Path) -> None:
    other = replace(DRAWN[2], token_ids=(DRAWN[2].token_ids + 1) % 5)
    with open_writer(measured.parent, EXPERIMENT) as writer:
        writer.fidelity.put(other, sample_fidelity(other))
    assert lacking(measured.parent, []) == [2]
    path = Layout(measured).fidelity_of(2)
    shutil.copyfile(Layout(measured).fidelity_of(1), path)
    assert lacking(measured.parent, []) == [2]


def test_a_folder_that_leads_elsewhere_is_refused(measured: Path, tmp_path: Path) -> None:
    Layout(measured).fidelity.rename(tmp_path / "elsewhere")
    Layout(measured).fidelity.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BadFile, match="it is a link"), open_writer(measured.parent, EXPERIMENT):
        pass


def test_an_export_of_what_is_pending_has_it(measured: Path) -> None:
    (measured / "manifest.json").unlink()
    with open_writer(measured.parent, EXPERIMENT):
        pass
    target = export(measured.parent, NAME, measured.parent / "out.duckdb")
    assert target.exists()
    with open_reader(measured.parent, NAME) as reader:
        rows = reader.query("SELECT count(*) AS rows, count(kl) AS known FROM fidelity").iloc[0]
        assert rows["rows"] == 3 * sum(len(inference.token_ids) for inference in DRAWN)
        assert rows["known"] == rows["rows"] - 3 * len(DRAWN)
    assert json.loads((measured / "manifest.json").read_text())["increments"][0]["fidelity"] == [[0, 5]]
