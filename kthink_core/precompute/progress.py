"""What a run of the pipeline says on a terminal: a bar with rate and remaining time."""

from __future__ import annotations

import sys
import time

from tqdm import tqdm

from kthink_core import signs
from kthink_core.records import Inference


class TerminalProgress:
    """A `pipeline.Progress` on stderr. The bar counts inferences; behind it stands what the current batch does."""

    def __init__(self) -> None:
        self._bar: tqdm | None = None
        self._batch_began = 0.0
        self._batch_tokens = 0

    def stage(self, text: str) -> None:
        self._say(text)

    def start(self, total: int, done: int) -> None:
        self._bar = tqdm(total=total, initial=done, unit="inference", file=sys.stderr, dynamic_ncols=True)

    def step(self, step: int, rows: int) -> None:
        if step == 1:  # it read the prompts: not the pace of what follows
            self._batch_began, self._batch_tokens = time.monotonic(), 0
            return
        self._batch_tokens += rows
        if self._bar is not None:
            rate = self._batch_tokens / (time.monotonic() - self._batch_began)
            self._bar.set_postfix_str(f"token {step} × {rows}, {rate:,.0f} tokens/s", refresh=False)
            self._bar.update(0)

    def pause(self) -> None: ...

    def committed(self, inference: Inference) -> None:
        if self._bar is not None:
            self._bar.update()

    def notice(self, text: str) -> None:
        self._say(text)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _say(self, text: str) -> None:
        tqdm.write(signs.revealed(text), file=sys.stderr)


class Silent:
    """A `pipeline.Progress` that says nothing."""

    def stage(self, text: str) -> None: ...

    def start(self, total: int, done: int) -> None: ...

    def step(self, step: int, rows: int) -> None: ...

    def pause(self) -> None: ...

    def committed(self, inference: Inference) -> None: ...

    def notice(self, text: str) -> None: ...
