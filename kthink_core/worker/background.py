"""What a worker does beside the live jobs: between any two tokens of its precompute, and its other pieces, they go
first. What was kept with an older version is brought up to date in a thread of its own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from kthink_core.precompute.pipeline import Plan, plan_with, precompute
from kthink_core.precompute.progress import Silent
from kthink_core.presets import companion, preset
from kthink_core.records import Inference
from kthink_core.worker.engine import Engine, Stopped
from kthink_core.worker.keeping import Keeping

log = logging.getLogger("kthink.background")


def background(cache: Path, batch_size: int, keeping: Keeping) -> Callable[[Plan, Engine], None]:
    """What an engine runs, once all is loaded, to make the inferences that its experiment lacks, then those that its
    companion lacks."""

    def run(plan: Plan, engine: Engine) -> None:
        threading.Thread(target=keeping.renew, args=[lambda: engine.is_closing], name="renewal").start()
        precompute(plan, cache, batch_size, _Yielding(engine))
        name = companion(plan.experiment.name, plan.experiment.config)
        if name is not None:
            precompute(plan_with(plan, name, preset(name)), cache, batch_size, _Yielding(engine))

    return run


class _Yielding(Silent):
    """A `pipeline.Progress` of the background's: at each pause the live jobs go first."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._total = self._done = 0

    def stage(self, text: str) -> None:
        self._engine.say(text)

    def start(self, total: int, done: int) -> None:
        self._total, self._done = total, done
        self._count()

    def step(self, step: int, rows: int) -> None:
        self.pause()

    def pause(self) -> None:
        if not self._engine.perform_waiting():
            raise Stopped

    def committed(self, inference: Inference) -> None:
        self._done += 1
        self._count()
        self.pause()

    def notice(self, text: str) -> None:
        log.warning("%s", text)

    def _count(self) -> None:
        self._engine.say(f"precompute: {self._done} of {self._total} inferences")
