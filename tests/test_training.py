"""Training SAEs: what each step learns from, going on after a kill, figures, what is refused, and what comes out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sparsify import SparseCoder, SparseCoderConfig, sparse_coder

from benchmarks.stand_in import SHAPES
from kthink_core.cli import main
from kthink_core.config import Site
from kthink_core.errors import (
    BadFile,
    BadValue,
    DiskFull,
    ExperimentBusy,
    ExperimentMismatch,
    KthinkError,
    UnknownName,
)
from kthink_core.model.language_model import LanguageModel
from kthink_core.queries import quality
from kthink_core.store.files import Layout
from kthink_core.store.lock import writer_lock
from kthink_core.store.reader import open_reader
from kthink_core.store.trainings import (
    COLUMNS,
    DEAD_AFTER,
    Progressed,
    Training,
    TrainingConfig,
    list_trainings,
    read_progress,
    read_training,
)
from kthink_core.training.corpus import read_corpus
from kthink_core.training.training_run import train
from kthink_core.training.windows import batches, cut
from tests.store_samples import full_disk

HOOKPOINTS = SHAPES["tiny"].hookpoints
ROOT = Path(__file__).resolve().parent.parent


class Heard:
    """A `training_run.Heard` that stops the training at a step, if asked to."""

    def __init__(self, until: int | None = None) -> None:
        self.until, self.lines = until, list[Progressed]()

    def stage(self, text: str) -> None: ...

    def start(self, total: int, done: int, unit: str) -> None:
        self.began = done if unit == "step" else self.began

    def at(self, done: int) -> None:
        if done == self.until:
            raise KeyboardInterrupt

    def progressed(self, lines: list[Progressed]) -> None:
        self.lines += lines


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts of different lengths, in token ids that are random."""
    path = tmp_path_factory.mktemp("texts") / "texts.jsonl"
    random = np.random.default_rng(0)
    rows = [random.integers(0, 1_400, random.integers(9, 60)).tolist() for _ in range(60)]
    path.write_text("".join(json.dumps({"token_ids": row}) + "\n" for row in rows))
    return path


@pytest.fixture
def config(tiny: Path, texts: Path) -> TrainingConfig:
    return configured(tiny, texts)


def configured(tiny: Path, texts: Path, **more: Any) -> TrainingConfig:
    given = {
        "model": str(tiny / "model"), "hookpoints": HOOKPOINTS, "data": (str(texts),), "window": 32, "latents": 96,
        "k": 6, "batch_size": 4, "steps": 12, "lr": 1e-3,
    }  # fmt: skip
    return TrainingConfig.model_validate(given | more)


def trained(config: TrainingConfig, folder: Path, heard: Heard | None = None, save_every: int = 5) -> Training:
    return train(config, "cpu", folder.parent, folder, save_every, heard or Heard())


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return {
        f"{path.parent.name} {name}": tensor
        for path in sorted(folder.glob("*/sae.safetensors"))
        for name, tensor in load_file(path).items()
    }


def without_time(folder: Path) -> list[dict[str, Any]]:
    return read_progress(folder).drop(columns="seconds").to_dict("records")


def first_batch(config: TrainingConfig, lm: LanguageModel) -> list[list[int]]:
    windows = cut(read_corpus(lm, Path("nowhere"), config), config.window, config.seed).trained
    return [windows[index].tolist() for index in batches(windows, config.batch_size, config.steps, config.seed)[0]]


def hidden(lm: LanguageModel, ids: list[int], hookpoint: str, site: Site) -> torch.Tensor:
    """What passes there, [positions, width], each text alone: by transformers' own hidden states or a plain hook."""
    found = []
    module = lm.model.base_model.get_submodule(hookpoint)
    handle = module.register_forward_hook(
        lambda _m, _i, out: found.append(out if isinstance(out, torch.Tensor) else out[0])
    )
    try:
        states = lm.model(torch.tensor([ids]), output_hidden_states=True).hidden_states
    finally:
        handle.remove()
    return (found[0] if site == "hookpoint" else states[int(hookpoint.split(".")[1])])[0].float()


@pytest.mark.parametrize(
    ("hookpoint", "site"), [("layers.2.mlp", "hookpoint"), ("layers.1", "hookpoint"), ("layers.2.mlp", "residual")]
)
def test_the_first_step_is_what_it_should_be(
    tiny: Path, texts: Path, tiny_lm: LanguageModel, tmp_path: Path, hookpoint: str, site: Site
) -> None:
    """Its loss, its dead features and the first weights, from vectors that are captured otherwise, padding left out."""
    config = configured(tiny, texts, hookpoints=(hookpoint,), site=site, steps=1, warmup=0)
    trained(config, tmp_path / "one")
    batch = first_batch(config, tiny_lm)
    assert len({len(ids) for ids in batch}) > 1, "there is padding"
    with torch.no_grad():
        vectors = torch.cat([hidden(tiny_lm, ids, hookpoint, site) for ids in batch])
    torch.manual_seed(config.seed)
    sae = SparseCoder(vectors.shape[1], SparseCoderConfig(num_latents=config.latents, k=config.k))
    sae.b_dec.data = vectors.mean(0)
    sae.set_decoder_norm_to_unit_norm()
    code = torch.relu((vectors - sae.b_dec) @ sae.encoder.weight.T + sae.encoder.bias)
    values, indices = code.topk(config.k)
    rebuilt = torch.zeros_like(code).scatter(1, indices, values) @ sae.W_dec + sae.b_dec
    loss = (vectors - rebuilt).square().sum() / (vectors - vectors.mean(0)).square().sum()
    [line] = read_progress(tmp_path / "one").to_dict("records")
    assert (line["step"], line["positions"], line["hookpoint"]) == (1, len(vectors), hookpoint)
    assert line["loss"] == line["fvu"] == pytest.approx(loss.item(), rel=1e-4)
    silent = torch.ones(config.latents, dtype=torch.bool)
    silent[indices[values > 0]] = False
    assert line["dead_share"] == pytest.approx(silent.float().mean().item())
    loss.backward()  # Adam's first step is the rate times the sign of the gradient
    kept = load_file(tmp_path / "one" / hookpoint / "sae.safetensors")
    gradient = sae.encoder.weight.grad
    moved = gradient.abs() > 1e-4
    step = (kept["encoder.weight"] - sae.encoder.weight.detach())[moved]
    assert moved.sum() > 100
    assert torch.allclose(step, -config.lr * gradient[moved].sign(), rtol=0.01)


@pytest.mark.parametrize("until", [3, 5, 7, 11, 12])
def test_going_on_ends_as_if_it_had_never_stopped(config: TrainingConfig, tmp_path: Path, until: int) -> None:
    whole = trained(config, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        trained(config, tmp_path / "parts", Heard(until))
    stopped = read_training(tmp_path / "parts")
    assert stopped is not None and not stopped.complete and not stopped.figures
    heard = Heard()
    parts = trained(config, tmp_path / "parts", heard)
    assert heard.began == (12 if until == 12 else until // 5 * 5), "from the last checkpoint"
    ours, theirs = weights(tmp_path / "parts"), weights(tmp_path / "whole")
    assert ours.keys() == theirs.keys() and len(ours) == 8
    assert all(torch.equal(ours[name], theirs[name]) for name in ours), "bit for bit"
    assert without_time(tmp_path / "parts") == without_time(tmp_path / "whole")
    assert parts.figures == whole.figures and parts.data == whole.data
    assert sorted(path.name for path in (tmp_path / "parts").iterdir()) == sorted(
        path.name for path in (tmp_path / "whole").iterdir()
    ), "no checkpoint is left, nor what was not finished"


def test_killed_without_warning(config: TrainingConfig, tmp_path: Path, tiny: Path, texts: Path) -> None:
    """A process of its own, by SIGKILL, once a checkpoint lies there."""
    config = configured(tiny, texts, steps=2_000)
    options = ["--model", config.model, "--hookpoints", *HOOKPOINTS, "--data", str(texts), "--window", "32"]
    options += ["--latents", "96", "--k", "6", "--batch-size", "4", "--steps", "2000", "--lr", "1e-3"]
    folder = tmp_path / "saes" / "trained"
    command = [
        sys.executable,
        "-m",
        "kthink_core",
        "train-sae",
        *options,
        "--cache",
        str(tmp_path),
        "--save-every",
        "7",
    ]
    running = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while not (folder / "checkpoint.safetensors").exists() and running.poll() is None:
        time.sleep(0.01)
    running.send_signal(signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    heard = Heard(until=read_progress(folder)["step"].max() + 20)
    with pytest.raises(KeyboardInterrupt):
        trained(config, folder, heard)
    assert heard.began > 0 and heard.began % 7 == 0
    steps = read_progress(folder).query("hookpoint == @HOOKPOINTS[0]")["step"].tolist()
    assert steps == sorted(set(steps)), "no line twice"


def test_held_out_figures(config: TrainingConfig, tiny_lm: LanguageModel, tmp_path: Path) -> None:
    """From the saved weights, with plain code of its own, over texts that no step saw."""
    training = trained(config, tmp_path / "one")
    windows = cut(read_corpus(tiny_lm, Path("nowhere"), config), config.window, config.seed).held_out
    sequences = [window.tolist() for window in windows]
    assert training.data.held_out_tokens == sum(map(len, sequences)) > 100
    for figures in training.figures:
        sae = load_file(tmp_path / "one" / figures.hookpoint / "sae.safetensors")

        def rebuild(vectors: torch.Tensor, sae: dict[str, torch.Tensor] = sae) -> tuple[torch.Tensor, torch.Tensor]:
            code = torch.relu((vectors - sae["b_dec"]) @ sae["encoder.weight"].T + sae["encoder.bias"])
            kept = torch.zeros_like(code).scatter(-1, code.topk(config.k).indices, 1) * code
            return kept @ sae["W_dec"] + sae["b_dec"], kept

        with torch.no_grad():
            vectors = torch.cat([hidden(tiny_lm, ids, figures.hookpoint, "hookpoint") for ids in sequences])
            rebuilt, kept = rebuild(vectors)
            fvu = (vectors - rebuilt).square().sum() / (vectors - vectors.mean(0)).square().sum()
            module = tiny_lm.model.base_model.get_submodule(figures.hookpoint)
            losses = []
            for change in (lambda out: out, lambda out: rebuild(out)[0], torch.zeros_like):
                handle = module.register_forward_hook(lambda _m, _i, out, change=change: change(out))
                losses.append(sum(cross_entropy(tiny_lm, ids) for ids in sequences))
                handle.remove()
        assert figures.positions == len(vectors)
        assert figures.fvu == pytest.approx(fvu.item(), rel=1e-4)
        assert figures.l0 == pytest.approx((kept > 0).sum(-1).float().mean().item())
        assert figures.dead_share == pytest.approx((kept.sum(0) == 0).float().mean().item())
        assert figures.predictions == sum(len(ids) - 1 for ids in sequences)
        model, spliced, zero = losses
        if figures.loss_recovered is None:
            assert zero <= model
        else:
            assert figures.loss_recovered == pytest.approx((zero - spliced) / (zero - model), rel=1e-2)


def cross_entropy(lm: LanguageModel, ids: list[int]) -> float:
    logits = lm.model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
    return -sum(logits[position - 1, ids[position]].item() for position in range(1, len(ids)))


def test_progress(tiny: Path, texts: Path, tmp_path: Path) -> None:
    """A line for each hookpoint and step of so few; the features of an AuxK loss are woken by it, and it counts."""
    config = configured(tiny, texts, steps=11, auxk_alpha=0.5)
    heard = Heard()
    training = trained(config, tmp_path / "one", heard)
    table = read_progress(tmp_path / "one")
    [first, *_] = (tmp_path / "one" / "progress.jsonl").read_text().splitlines()
    assert tuple(table.columns) == COLUMNS == tuple(json.loads(first))
    assert table["step"].tolist() == [step for step in range(1, 12) for _ in HOOKPOINTS]
    assert table["hookpoint"].tolist() == 11 * list(HOOKPOINTS)
    assert int(table["positions"].max()) == training.positions < DEAD_AFTER
    dead = table.query("hookpoint == @HOOKPOINTS[0]")["dead_share"]
    assert (dead.diff().dropna() <= 0).all(), "while there were fewer positions: never fired so far"
    assert (table["loss"] >= table["fvu"]).all()
    assert [line.model_dump() for line in heard.lines] == table.to_dict("records")


def test_where_triton_is_installed(config: TrainingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There sparsify decodes with triton's kernel, which refuses tensors on a CPU; so it does again afterwards."""
    plain = trained(config, tmp_path / "plain")

    def kernel(*_given: object) -> None:
        raise ValueError("Pointer argument (at 0) cannot be accessed from Triton (cpu tensor?)")

    monkeypatch.setattr(sparse_coder, "decoder_impl", kernel)
    assert trained(config, tmp_path / "triton").figures == plain.figures
    assert sparse_coder.decoder_impl is kernel


def test_a_complete_one_is_left_alone(config: TrainingConfig, tmp_path: Path, tiny: Path, texts: Path) -> None:
    training = trained(config, tmp_path / "one")
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "one").glob("**/*.safetensors")}
    assert trained(config, tmp_path / "one") == training
    assert {path: path.stat().st_mtime_ns for path in times} == times
    with pytest.raises(
        ExperimentMismatch, match=r"k: 6 stored, 5 asked, seed: 0 stored, 1 asked\); choose --name NAME"
    ):
        trained(configured(tiny, texts, k=5, seed=1), tmp_path / "one")


def test_other_data_under_the_same_name(config: TrainingConfig, tmp_path: Path, texts: Path) -> None:
    file = tmp_path / "texts.jsonl"
    file.write_text(texts.read_text())
    own = config.model_copy(update={"data": (str(file),)})
    with pytest.raises(KeyboardInterrupt):
        trained(own, tmp_path / "one", Heard(6))
    file.write_text('{"token_ids": [1, 2, 3]}\n' + file.read_text())
    with pytest.raises(ExperimentMismatch, match="data: 'sha256:"):
        trained(own, tmp_path / "one")


def test_what_lies_there_of_others(config: TrainingConfig, tmp_path: Path, tiny: Path) -> None:
    before = sorted((tiny / "saes").rglob("*"))
    with pytest.raises(BadValue, match="holds SAEs of other making"):
        trained(config, tiny / "saes")
    assert sorted((tiny / "saes").rglob("*")) == before
    (tmp_path / "busy").mkdir()
    with (
        writer_lock(Layout(tmp_path / "busy"), "training"),
        pytest.raises(ExperimentBusy, match="training 'busy' is being written by process"),
    ):
        trained(config, tmp_path / "busy")


@pytest.mark.parametrize("harm", ["cut", "other", "weights", "nan"])
def test_a_damaged_checkpoint_is_told_and_kept(config: TrainingConfig, tmp_path: Path, harm: str) -> None:
    from safetensors import safe_open
    from safetensors.torch import save_file

    with pytest.raises(KeyboardInterrupt):
        trained(config, tmp_path / "one", Heard(6))
    path = tmp_path / "one" / "checkpoint.safetensors"
    with safe_open(path, "pt") as file:
        about = dict(file.metadata())
    tensors = load_file(path)
    name = f"{HOOKPOINTS[0]}/sae/b_dec"
    if harm == "cut":
        path.write_bytes(path.read_bytes()[:-5])
    elif harm == "other":
        save_file(tensors, path, about | {"mark": "sha256:another"})
    elif harm == "weights":
        save_file({key: tensor for key, tensor in tensors.items() if key != name}, path, about)
    else:
        tensors[name][0] = torch.nan
        save_file(tensors, path, about)
    told = {"cut": "no whole safetensors", "other": "another training", "weights": f"missing: {name}", "nan": "finite"}
    content = path.read_bytes()
    with pytest.raises(BadFile, match=f"checkpoint.safetensors: .*{told[harm]}.*delete it to begin anew"):
        trained(config, tmp_path / "one")
    assert path.read_bytes() == content
    path.unlink()
    assert trained(config, tmp_path / "one").complete


def test_a_disk_that_fills(
    config: TrainingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_lm: LanguageModel
) -> None:
    """The SAEs of the last checkpoint can be used, and the training goes on once there is space."""
    whole = trained(config, tmp_path / "whole")
    folder = tmp_path / "one"

    class Filling(Heard):
        def at(self, done: int) -> None:
            if done == 5:
                monkeypatch.setattr(os, "fsync", full_disk)

    with pytest.raises(DiskFull, match=r"no space left writing .*what was committed is kept") as caught:
        trained(config, folder, Filling())
    assert "\n" not in str(caught.value)
    monkeypatch.undo()
    assert len(weights(folder)) == 8 and not list(folder.glob(".tmp-*"))
    assert trained(config, folder).figures == whole.figures


def test_a_loss_that_is_no_number(tiny: Path, texts: Path, tmp_path: Path) -> None:
    with pytest.raises(BadValue, match=r"at step \d+, learning rate .* lower --lr"):
        trained(configured(tiny, texts, lr=1e30, warmup=0), tmp_path / "one")


@pytest.mark.parametrize(
    ("more", "error", "told"),
    [
        ({"hookpoints": ("layers.9.mlp",)}, UnknownName, "layers.9.mlp"),
        ({"window": 2**18}, BadValue, "at most 131072 positions"),
        ({"batch_size": 1_000}, BadValue, "lower --batch-size 1000"),
    ],
)
def test_settings_that_do_not_fit(
    tiny: Path, texts: Path, tmp_path: Path, more: dict[str, Any], error: type[KthinkError], told: str
) -> None:
    with pytest.raises(error, match=told):
        trained(configured(tiny, texts, **more), tmp_path / "one")
    assert read_training(tmp_path / "one") is None


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny: Path, texts: Path) -> Run:
    """The command with the tiny model and few steps: status, stdout, stderr."""

    def called(*options: str) -> tuple[int, str, str]:
        given = ["--model", str(tiny / "model"), "--data", str(texts), "--cache", str(tmp_path), "--device", "cpu"]
        few = ["--latents", "96", "--k", "6", "--steps", "3", "--batch-size", "4"]
        status = main(["train-sae", *given, *few, *options])
        return status, *capsys.readouterr()

    return called


@pytest.mark.parametrize(
    ("hookpoint", "site"), [("layers.1.mlp", "hookpoint"), ("layers.2", "hookpoint"), ("layers.2.mlp", "residual")]
)
def test_the_folder_is_one_that_precompute_takes(
    run: Run, tiny: Path, tmp_path: Path, hookpoint: str, site: Site
) -> None:
    status, out, _ = run("--hookpoints", hookpoint, "--site", site, "--name", "mine", "--format", "json")
    [row] = json.loads(out)
    assert status == 0 and (row["hookpoint"], row["l0"]) == (hookpoint, 6)
    folder = tmp_path / "saes" / "mine"
    made = ["--model", str(tiny / "model"), "--sae", str(folder), "--hookpoints", hookpoint, "--site", site]
    few = ["--limit", "2", "--max-new-tokens", "8", "--device", "cpu", "--cache", str(tmp_path)]
    assert main(["precompute", "--experiment", "e", *made, *few]) == 0
    with open_reader(tmp_path, "e") as reader:
        assert reader.experiment.saes[hookpoint].num_latents == 96
        [figures] = quality(reader, "all").to_dict("records")
        assert figures["l0"] == 6
    [status_of] = list_trainings(tmp_path)
    assert status_of.name == "mine" and status_of.training is not None


def test_the_command_says_how_it_went_and_what_is_next(run: Run, tmp_path: Path) -> None:
    status, out, err = run("--hookpoints", *HOOKPOINTS)
    assert status == 0 and [line.split()[0] for line in out.splitlines()] == ["hookpoint", *HOOKPOINTS]
    folder = tmp_path / "saes" / "trained"
    assert f"use it: --sae {folder} --hookpoints {' '.join(HOOKPOINTS)}\n" in err
    assert "3/3" in err and "FVU" in err and "Number of SAE parameters" not in out + err


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--k", "97"], "k is 97, more than the 96 latents"),
        (["--lr", "nan"], "--lr: "),
        (["--lr", "-1"], "--lr: "),
        (["--steps", "0"], "--steps: "),
        (["--save-every", "0"], "--save-every 0: at least 1"),
        (["--name", "../up"], "training name '../up'"),
        (["--hookpoints", "layers.1.mlp", "layers.1.mlp"], "named twice"),
        (["--hookpoints", "../x"], "no name of a module"),
        (["--data", "none.jsonl"], "No such file"),
    ],
)
def test_a_mistake_is_one_line(run: Run, options: list[str], told: str) -> None:
    status, out, err = run("--hookpoints", "layers.1.mlp", *options)
    last = err.splitlines()[-1]
    assert status == 2 and not out and last.startswith("kthink: ") and told in last
