"""Training the demo's three SAEs for a few steps by `train-sae`, and by sparsify's Trainer alone on the same rows.

python -m benchmarks.training [STEPS]
"""

from __future__ import annotations

import sys
import tempfile
import time
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, cast

import torch
from sparsify import SaeConfig, TrainConfig, Trainer

from benchmarks.report import machine, markdown
from bundle.train_saes import HOOKPOINTS, SETTINGS, write_documents
from kthink_core import demo
from kthink_core.model.language_model import load_model
from kthink_core.store.trainings import CHECKPOINT, Progressed, TrainingConfig
from kthink_core.training.corpus import read_corpus
from kthink_core.training.training_run import train
from kthink_core.training.windows import Rows, batches, cut, padding


class _Clock:
    """A `training_run.Heard` that notes when stages begin, and how large the checkpoint is."""

    def __init__(self, folder: Path) -> None:
        self._folder, self.checkpoint = folder, 0
        self.began: dict[str, float] = {}
        """Seconds of processor when a stage began, by its first word or what it counts."""

    def stage(self, text: str) -> None:
        self.began[text.partition(" ")[0]] = time.process_time()

    def start(self, total: int, done: int, unit: str) -> None:
        self.began.setdefault(unit, time.process_time())

    def at(self, done: int) -> None:
        path = self._folder / CHECKPOINT
        self.checkpoint = path.stat().st_size if path.exists() else self.checkpoint

    def progressed(self, lines: list[Progressed]) -> None: ...


def alone(config: TrainingConfig) -> float:
    """Seconds of processor that sparsify's Trainer takes for the same rows, nothing watched and nothing kept."""
    lm = load_model("demo", None, torch.device("cpu"))
    windows = cut(read_corpus(lm, Path("nowhere"), config), config.window, config.seed).trained
    pad = padding(windows, lm.vocabulary)
    rows = Rows(windows, batches(windows, config.batch_size, config.steps, config.seed), pad)
    with tempfile.TemporaryDirectory() as scratch, redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        settings = TrainConfig(
            SaeConfig(num_latents=config.latents, k=config.k), batch_size=config.batch_size, optimizer="adam",
            lr=config.lr, lr_warmup_steps=config.warmup or 0, exclude_tokens=[pad], hookpoints=list(config.hookpoints),
            save_every=10**9, save_dir=scratch, log_to_wandb=False,
        )  # fmt: skip
        trainer = Trainer(settings, cast(Any, rows), lm.model)
        began = time.process_time()
        trainer.fit()
        return time.process_time() - began


def main() -> None:
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    with tempfile.TemporaryDirectory() as scratch:
        file, folder = Path(scratch) / "documents.jsonl", Path(scratch) / "saes"
        write_documents(demo.MODEL, 600, file)
        given = {name.replace("-", "_"): value for name, value in SETTINGS.items()}
        config = TrainingConfig.model_validate(
            given | {"hookpoints": HOOKPOINTS, "data": (str(file),), "steps": steps, "warmup": 10}
        )
        clock = _Clock(folder)
        began = time.process_time()
        made = train(config, "cpu", Path(scratch), folder, 10, clock)
        ended = time.process_time()
        training = clock.began["measuring"] - clock.began["step"]
        rows = {
            "steps, positions, hookpoints": f"{steps}, {made.positions:,}, {len(HOOKPOINTS)}",
            "training": f"{made.seconds or 0:.1f} s ({training:.1f} s of processor)",
            "positions a second of processor": f"{made.positions / training:,.0f}",
            "sparsify's Trainer alone": f"{alone(config):.1f} s of processor",
            "held-out figures": f"{ended - clock.began['measuring']:.1f} s of processor for "
            f"{made.data.held_out_tokens:,} positions",
            "model and texts": f"{clock.began['step'] - began:.1f} s of processor",
            "checkpoint": f"{clock.checkpoint / 1e6:.1f} MB, every 10 steps",
        }
    print(markdown("Training SAEs of the demo", rows, machine()))


if __name__ == "__main__":
    main()
