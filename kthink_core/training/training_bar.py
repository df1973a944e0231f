"""What a training says on a terminal: a bar with how each hookpoint does."""

from __future__ import annotations

import sys

from tqdm import tqdm

from kthink_core.store.trainings import Progressed


class TrainingBar:
    """A `training_run.Heard` on stderr, whatever is put in its place meanwhile."""

    def __init__(self) -> None:
        self._stream = sys.stderr
        self._bar: tqdm | None = None

    def stage(self, text: str) -> None:
        self.close()
        tqdm.write(text, file=self._stream)

    def start(self, total: int, done: int, unit: str) -> None:
        self.close()
        self._bar = tqdm(total=total, initial=done, unit=unit, file=self._stream, dynamic_ncols=True)

    def at(self, done: int) -> None:
        if self._bar is not None:
            self._bar.update(done - self._bar.n)

    def progressed(self, lines: list[Progressed]) -> None:
        if self._bar is not None:
            fvu = " ".join(f"{line.fvu:.3f}" for line in lines)
            dead = " ".join(f"{100 * line.dead_share:.0f}" for line in lines)
            self._bar.set_postfix_str(f"FVU {fvu}, dead {dead} %", refresh=False)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
