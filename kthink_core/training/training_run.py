"""A training from its settings to a folder of SAEs: the stages in order, begun or gone on with.

    corpus      sources → texts
    windows     texts → windows, some held out; which of the others each step trains on
    trainer     sparsify's Trainer on what passes the hookpoints; meanwhile lines of progress and checkpoints
    held_out    figures on the windows that were held out

Killed at any moment, the same settings go on from the last checkpoint.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

import torch

from kthink_core.config import Device
from kthink_core.errors import BadValue, ExperimentMismatch, OutOfMemory
from kthink_core.model.hookpoints import module_of
from kthink_core.model.language_model import LanguageModel, load_model, pick_device
from kthink_core.model.provenance import made_with
from kthink_core.model.sae_folders import hookpoints_in, load_saes
from kthink_core.store.files import Layout, disk_full, publish, remove, sweep, temporary
from kthink_core.store.lock import writer_lock
from kthink_core.store.trainings import (
    CHECKPOINT,
    Progressed,
    Training,
    TrainingConfig,
    append_progress,
    cut_progress,
    read_training,
    write_training,
)
from kthink_core.training.corpus import read_corpus
from kthink_core.training.held_out import held_out
from kthink_core.training.trainer import Steps, stepping
from kthink_core.training.training_state import restore_state, save_state
from kthink_core.training.windows import Rows, Window, batches, cut, described, padding

_LINES = 1_000
"""Lines of progress that a hookpoint has at most, but for those that checkpoints add."""


class Heard(Protocol):
    """Who hears how far a training is."""

    def stage(self, text: str) -> None:
        """Something that takes a while begins."""

    def start(self, total: int, done: int, unit: str) -> None:
        """`done` of `total` steps, or windows, are done."""

    def at(self, done: int) -> None:
        """So many are done."""

    def progressed(self, lines: list[Progressed]) -> None:
        """How each hookpoint does."""


class _Plan(NamedTuple):
    """A training ready to run."""

    folder: Path
    training: Training
    lm: LanguageModel
    rows: Rows
    pad: int
    held_out: list[Window]


def train(config: TrainingConfig, device: Device, cache: Path, folder: Path, save_every: int, heard: Heard) -> Training:
    """Makes, or goes on with, the training in a folder; a complete one is returned as it is.

    save_every: steps between two checkpoints. Raises BadValue, MissingFiles, UnknownName for settings and data that
    make no sense; ExperimentMismatch where a training with others lies there; BadFile, ExperimentBusy, DiskFull (what
    the last checkpoint holds is kept, and its SAEs can be used), OutOfMemory.
    """
    if save_every < 1:
        raise BadValue(f"--save-every {save_every}: at least 1")
    _stored(folder, config)  # refused before a lock file is left in a folder of others
    with _locked(folder):
        stored = _stored(folder, config)
        if stored is not None and stored.complete:
            return stored
        plan = _planned(config, stored, device, cache, folder, heard)
        seconds = _fit(plan, save_every, heard)
        return _finished(plan, seconds, heard)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with disk_full(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with writer_lock(Layout(folder), "training"):
        sweep(folder)
        yield


def _stored(folder: Path, config: TrainingConfig) -> Training | None:
    """Raises ExperimentMismatch where another training, or SAEs that none here made, lie in the folder."""
    stored = read_training(folder)
    if stored is None:
        if hookpoints_in(folder):
            raise BadValue(f"{folder} holds SAEs of other making; choose another --name or --out")
        return None
    if stored.config != config:
        raise ExperimentMismatch(folder.name, _differing(stored.config, config), "training")
    return stored


def _differing(stored: TrainingConfig, asked: TrainingConfig) -> dict[str, tuple[object, object]]:
    pairs = {name: (getattr(stored, name), getattr(asked, name)) for name in TrainingConfig.model_fields}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _planned(
    config: TrainingConfig, stored: Training | None, device: Device, cache: Path, folder: Path, heard: Heard
) -> _Plan:
    where = pick_device(device)
    heard.stage(f"loading {config.model} on {where}")
    lm = load_model(config.model, config.model_revision, where, config.dtype)
    for hookpoint in config.hookpoints:
        module_of(lm.model, hookpoint)
    if config.window > lm.context:
        raise BadValue(f"--window {config.window}: the model takes at most {lm.context} positions")
    heard.stage(f"reading {', '.join(config.data)}")
    corpus = read_corpus(lm, cache, config)
    windows = cut(corpus, config.window, config.seed)
    order = batches(windows.trained, config.batch_size, config.steps, config.seed)
    pad = padding(windows.trained, lm.vocabulary)
    training = Training(
        config=config,
        model_revision=lm.revision,
        data=described(windows, corpus.sources),
        steps=len(order),
        positions=sum(len(windows.trained[index]) for batch in order for index in batch),
        provenance=made_with(lm),
    )
    if stored is None:
        write_training(folder, training)
    else:
        facts: dict[str, tuple[object, object]] = {
            "model": (stored.model_revision, training.model_revision),
            "data": (stored.data.digest, training.data.digest),
        }
        if differing := {name: pair for name, pair in facts.items() if pair[0] != pair[1]}:
            raise ExperimentMismatch(folder.name, differing, "training")
    return _Plan(folder, stored or training, lm, Rows(windows.trained, order, pad), pad, windows.held_out)


def _fit(plan: _Plan, save_every: int, heard: Heard) -> float:
    """All steps that are not done yet; returns the seconds of all. The SAEs lie in the folder at the end."""
    training = plan.training
    with stepping(plan.lm, training.config, plan.rows, plan.pad) as steps:
        before = restore_state(plan.folder, training, steps)
        cut_progress(plan.folder, steps.done)
        heard.start(training.steps, steps.done, "step")
        every = -(-training.steps // _LINES)
        began = time.monotonic()

        def after() -> None:
            saves = steps.done % save_every == 0 or steps.done == training.steps
            seconds = before + time.monotonic() - began
            if saves or steps.done % every == 0:
                lines = _lines(steps, seconds)
                append_progress(plan.folder, lines)
                heard.progressed(lines)
            if saves:
                _save_saes(plan.folder, steps)
                save_state(plan.folder, training, steps, seconds)
            heard.at(steps.done)

        steps.after = after
        if steps.done < training.steps:
            try:
                steps.fit()
            except torch.OutOfMemoryError as error:
                remedy = "lower --batch-size or --window; what the last checkpoint holds is kept"
                raise OutOfMemory(plan.lm.device.type, "while training", remedy) from error
        return before + time.monotonic() - began


def _lines(steps: Steps, seconds: float) -> list[Progressed]:
    return [
        Progressed(
            step=steps.done, positions=steps.seen, hookpoint=hookpoint, seconds=seconds,
            **watch.stretch(steps.seen)._asdict(),
        )
        for hookpoint, watch in steps.watches.items()
    ]  # fmt: skip


def _save_saes(folder: Path, steps: Steps) -> None:
    """As sparsify writes them, each file whole. Raises DiskFull."""
    for hookpoint, sae in steps.by_hookpoint.items():
        beside = temporary(folder / hookpoint)
        with disk_full(folder / hookpoint, beside):
            remove(beside)
            sae.save_to_disk(beside)
            (folder / hookpoint).mkdir(exist_ok=True)
            for name in ("sae.safetensors", "cfg.json"):
                publish(beside / name, folder / hookpoint / name)
            shutil.rmtree(beside)


def _finished(plan: _Plan, seconds: float, heard: Heard) -> Training:
    """Measures what was saved, and says that the training is complete."""
    config, lm = plan.training.config, plan.lm
    heard.stage(f"measuring on {len(plan.held_out)} windows that were held out")
    saes = load_saes(str(plan.folder), None, config.hookpoints, lm.device).by_hookpoint
    heard.start(len(plan.held_out), 0, "window")
    figures = held_out(lm, saes, config.site, plan.held_out, heard.at)
    training = plan.training.model_copy(update={"complete": True, "seconds": seconds, "figures": tuple(figures)})
    write_training(plan.folder, training)
    (plan.folder / CHECKPOINT).unlink(missing_ok=True)
    return training
