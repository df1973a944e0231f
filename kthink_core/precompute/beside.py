"""What is generated is encoded and committed while the next tokens are generated: in one thread beside."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from typing import Any, Self, TypeVar

from kthink_core.model.hookpoints import Captured
from kthink_core.records import Generation, Inference

_Made = TypeVar("_Made")

_BREATH = 0.02
"""Seconds between two pauses of who waits."""


class Beside:
    """Stores generations one after the other. For one thread, which hears what came of them when it asks.

    With `with`: a block that ends well has stored and told of all that was put in. Where an error ends it, what is
    being stored is finished and the rest is dropped. The thread has ended in any case, however often one interrupts.
    """

    def __init__(
        self,
        store: Callable[[Generation, Captured], Inference],
        committed: Callable[[Inference], None],
        most: int,
        pause: Callable[[], None],
    ) -> None:
        """`store` runs in the thread beside, `committed` where it is asked. `most`: generations that wait, so that
        memory is bounded. `pause` is called again and again where it is waited for the thread; it may raise."""
        self._store, self._committed, self._pause = store, committed, pause
        self.most = most
        self._waiting: deque[tuple[int, Future[Inference]]] = deque()
        self._tended: Future[None] | None = None
        self._thread = ThreadPoolExecutor(1, "beside")
        self._busy = threading.Lock()
        self._ending = False

    def tend(self, work: Callable[[], None]) -> None:
        """Let the thread do something else after what was put in, unless it has still to. What it raises, `hear`
        raises."""
        if self._tended is None:
            self._tended = self._thread.submit(self._unless_ending, work)

    @property
    def under_way(self) -> frozenset[int]:
        """The inferences that were put in and not heard of yet."""
        return frozenset(inference for inference, _ in self._waiting)

    def put(self, generation: Generation, captured: Captured) -> None:
        """Hand one over; waits while there are too many. Raises what `hear` raises."""
        future = self._thread.submit(self._unless_ending, lambda: self._store(generation, captured))
        self._waiting.append((generation.prompt.inference, future))
        while len(self._waiting) > self.most:
            self._hear_next()

    def hear(self) -> None:
        """Tell of those that are stored by now. Raises what `store` raised for one: it is not under way any more."""
        while self._waiting and self._waiting[0][1].done():
            self._hear_next()
        if self._tended is not None and self._tended.done():
            tended, self._tended = self._tended, None
            tended.result()

    def finish(self) -> None:
        """Wait for all, and tell of them. Raises as `hear` does."""
        while self._waiting:
            self._hear_next()

    def _hear_next(self) -> None:
        _, future = self._waiting[0]
        self._wait_for(future)
        self._waiting.popleft()
        self._committed(future.result())

    def _unless_ending(self, work: Callable[[], _Made]) -> _Made:
        with self._busy:
            if self._ending:
                raise CancelledError
            return work()

    def _wait_for(self, future: Future[Any]) -> None:
        while not future.done():
            self._pause()
            wait([future], _BREATH)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, raised: type[BaseException] | None, *_: object) -> None:
        try:
            if raised is None:
                self.finish()
                if self._tended is not None:
                    self._wait_for(self._tended)
                    self.hear()
        finally:
            self._end()

    def _end(self) -> None:
        held: KeyboardInterrupt | None = None
        ended = False
        while not ended:
            try:
                self._ending = True
                self._wait_until_idle()
                self._thread.shutdown(cancel_futures=True)
                ended = True
            except KeyboardInterrupt as interrupt:  # whoever comes next has what the thread uses to itself
                held = interrupt
        if held is not None:
            raise held

    def _wait_until_idle(self) -> None:
        """Apart from `shutdown`, because a thread whose `join` is interrupted counts as ended."""
        with self._busy:
            pass
