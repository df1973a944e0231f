"""sparsify's Trainer on what passes this project's hookpoints, one step after another, watched.

The vectors that train an SAE are those that `model.hookpoints` captures and every experiment encodes: they pass a tap,
a module that does nothing, and the Trainer trains at the taps. So every hookpoint and either site can be trained, and
the language model's head is never run.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.optim import Adam
from torch.optim.lr_scheduler import LambdaLR
from transformers import PreTrainedModel

from kthink_core.errors import BadValue
from kthink_core.model.hookpoints import Edit, passing
from kthink_core.model.language_model import LanguageModel
from kthink_core.store.trainings import DEAD_AFTER, TrainingConfig
from kthink_core.training.windows import Rows

with redirect_stdout(io.StringIO()):  # it prints a line where triton is absent
    from sparsify import SaeConfig, SparseCoder, TrainConfig, Trainer, sparse_coder
    from sparsify.utils import eager_decode

_TAPS = "kthink_taps"
_MOST_WARMUP = 1_000


class Stretch(NamedTuple):
    """One hookpoint over some steps."""

    loss: float
    fvu: float
    dead_share: float


class Watch:
    """How one SAE does, told by its forward passes."""

    def __init__(self, sae: SparseCoder, auxk_alpha: float) -> None:
        self._auxk_alpha = auxk_alpha
        self.silent = torch.zeros(sae.num_latents, dtype=torch.int64, device=sae.device)
        """[latents] positions since a feature last fired; all there were, where it never has."""
        self._fired = torch.zeros(sae.num_latents, dtype=torch.bool, device=sae.device)
        self._losses: list[float] = []
        self._fvus: list[float] = []
        self.positions = 0
        """Of the last step."""
        sae.register_forward_hook(self._passed)

    def _passed(self, _module: nn.Module, _given: object, out: Any) -> None:
        self._fired[out.latent_indices[out.latent_acts > 0]] = True
        self.positions = len(out.sae_out)
        fvu, auxk = out.fvu.item(), out.auxk_loss.item()
        self._fvus.append(fvu)
        self._losses.append(fvu + self._auxk_alpha * auxk)

    @property
    def diverged(self) -> bool:
        """Whether the last loss is no number, or none that anything can come of."""
        return not math.isfinite(self._losses[-1])

    def step(self) -> None:
        """A step has ended."""
        self.silent += self.positions
        self.silent[self._fired] = 0
        self._fired.zero_()

    def stretch(self, seen: int) -> Stretch:
        """Since the last one; `seen`: positions so far."""
        count, losses, fvus = len(self._losses), sum(self._losses), sum(self._fvus)
        self._losses.clear()
        self._fvus.clear()
        dead = (self.silent >= min(DEAD_AFTER, seen)).float().mean().item()
        return Stretch(losses / count, fvus / count, dead)


class Steps(Trainer):
    """The Trainer, telling of each step."""

    def __init__(self, config: TrainConfig, rows: Rows, lm: LanguageModel, hookpoints: tuple[str, ...]) -> None:
        super().__init__(config, cast(Any, rows), cast(PreTrainedModel, lm.model.base_model))
        [chosen], [schedule] = self.optimizers, self.lr_schedulers
        # In full precision: sparsify takes an 8-bit one where such is installed.
        adam = Adam([{"params": group["params"], "lr": group["initial_lr"]} for group in chosen.param_groups])
        self.optimizers, self.lr_schedulers = [adam], [LambdaLR(adam, cast(Any, schedule).lr_lambdas)]
        self.by_hookpoint: dict[str, SparseCoder] = {
            hookpoint: self.saes[f"{_TAPS}.{index}"] for index, hookpoint in enumerate(hookpoints)
        }
        self.watches = {name: Watch(sae, config.auxk_alpha) for name, sae in self.by_hookpoint.items()}
        self.steps = len(rows) // config.batch_size
        self.done = 0
        """Steps that are done with: the Trainer's own count is one behind while it tells of one."""
        self.seen = 0
        """Positions trained on."""
        self.after: Callable[[], None] = lambda: None
        """Called after each step."""

    def save(self) -> None:
        """sparsify calls this where it would write its own checkpoint, as pickles: after every step, and at the end."""
        if self.done == self.steps:
            return
        self.done += 1
        watches = self.watches.values()
        self.seen += next(iter(watches)).positions
        for watch in watches:
            if watch.diverged:
                rate = self.optimizers[0].param_groups[0]["lr"]
                raise BadValue(f"at step {self.done}, learning rate {rate:.3g}, the loss is no number: lower --lr")
            watch.step()
        self.after()


def trainer_config(config: TrainingConfig, steps: int, pad: int) -> TrainConfig:
    """sparsify's settings: Adam on the share of the variance of a batch that is left unexplained."""
    warmup = min(_MOST_WARMUP, steps // 10) if config.warmup is None else config.warmup
    return TrainConfig(
        SaeConfig(num_latents=config.latents, k=config.k),
        batch_size=config.batch_size,
        optimizer="adam",
        lr=config.lr,
        lr_warmup_steps=warmup,
        auxk_alpha=config.auxk_alpha,
        dead_feature_threshold=DEAD_AFTER,
        exclude_tokens=[pad],
        hookpoints=[f"{_TAPS}.{index}" for index in range(len(config.hookpoints))],
        init_seeds=[config.seed],
        save_every=1,
        log_to_wandb=False,
    )


@contextmanager
def stepping(lm: LanguageModel, config: TrainingConfig, rows: Rows, pad: int) -> Iterator[Steps]:
    """A Trainer with new SAEs, to be used in this block, in which all that passes the hookpoints passes its taps.

    What it prints goes nowhere. Raises UnknownName for a hookpoint that is no module; HookSkipped, at the end, where
    the model ran past one.
    """
    base: Any = lm.model.base_model
    taps = nn.ModuleList(nn.Identity() for _ in config.hookpoints)
    base.add_module(_TAPS, taps)
    cached, precision = base.config.use_cache, torch.get_float32_matmul_precision()
    base.config.use_cache = False
    edits = {name: _through(tap) for name, tap in zip(config.hookpoints, taps, strict=True)}
    try:
        with _silence(), _decoding(lm.device), passing(lm.model, (), config.site, edits):
            settings = trainer_config(config, len(rows) // config.batch_size, pad)
            yield Steps(settings, rows, lm, config.hookpoints)
    finally:
        del base._modules[_TAPS]
        base.config.use_cache = cached
        torch.set_float32_matmul_precision(precision)  # the Trainer changes it for the whole process


@contextmanager
def _silence() -> Iterator[None]:
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield


@contextmanager
def _decoding(device: torch.device) -> Iterator[None]:
    """Where triton is installed sparsify decodes with it, also what lies on a CPU, which triton cannot."""
    before = sparse_coder.decoder_impl
    if device.type == "cpu":
        sparse_coder.decoder_impl = eager_decode
    try:
        yield
    finally:
        sparse_coder.decoder_impl = before


def _through(tap: nn.Module) -> Edit:
    def edit(vectors: Tensor) -> Tensor:
        tap(vectors.float())  # losses of half-precision vectors are none
        return vectors

    return edit


def rates(steps: Steps) -> None:
    """Sets the learning rates to those of the next step, as the schedule has them."""
    for scheduler in steps.lr_schedulers:
        scheduler.last_epoch = steps.done
        factors: Any = scheduler
        for group, base, factor in zip(
            scheduler.optimizer.param_groups, factors.base_lrs, factors.lr_lambdas, strict=True
        ):
            group["lr"] = base * factor(steps.done)
