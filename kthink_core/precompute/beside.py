"""What is generated is encoded and committed while the next tokens are generated: in one thread beside."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self

from kthink_core.model.hookpoints import Captured
from kthink_core.records import Generation, Inference


class Beside:
    """Stores generations one after the other. For one thread, which hears what came of them when it asks.

    With `with`: what was put in is stored when the block ends, however it ends.
    """

    def __init__(
        self,
        store: Callable[[Generation, Captured], Inference],
        committed: Callable[[Inference], None],
        most: int,
    ) -> None:
        """`store` runs in the thread beside, `committed` where it is asked. `most`: generations that wait, so that
        memory is bounded."""
        self._store, self._committed, self._most = store, committed, most
        self._waiting: deque[tuple[int, Future[Inference]]] = deque()
        self._tended: Future[None] | None = None
        self._thread = ThreadPoolExecutor(1, "beside")

    def tend(self, work: Callable[[], None]) -> None:
        """Let the thread do something else after what was put in, unless it has still to. What it raises, `hear`
        raises."""
        if self._tended is None:
            self._tended = self._thread.submit(work)

    @property
    def under_way(self) -> frozenset[int]:
        """The inferences that were put in and not heard of yet."""
        return frozenset(inference for inference, _ in self._waiting)

    def put(self, generation: Generation, captured: Captured) -> None:
        """Hand one over; waits while there are too many. Raises what `hear` raises."""
        self._waiting.append((generation.prompt.inference, self._thread.submit(self._store, generation, captured)))
        while len(self._waiting) > self._most:
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
        try:
            inference = future.result()
        finally:
            if future.done():
                self._waiting.popleft()
        self._committed(inference)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown()
