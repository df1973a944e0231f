"""How much programs may have computed at once, so that pages stay quick: few threads of their own, a short queue, and
so many requests of a person."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import NamedTuple, ParamSpec, TypeVar

from anyio import CapacityLimiter, to_thread

from kthink_core.access.person import Person
from kthink_core.access.request_rate import RequestRate
from kthink_core.errors import Busy

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class Bounds(NamedTuple):
    threads: int = 2
    """Queries that are computed at once."""
    waiting: int = 16
    """Queries that wait for these."""
    of_one: int = 4
    """Of these all, of one person."""
    a_minute: int = 600
    """Requests of one person. Whoever comes without being asked who they are is not counted."""


class TooMany(Busy):
    """More than one person may ask at once, or in a minute."""


class WorkLimits:
    """Of one server; used on its event loop."""

    def __init__(self, bounds: Bounds | None = None) -> None:
        self._bounds = bounds or Bounds()
        self._rate = RequestRate(self._bounds.a_minute)
        self._limiter: CapacityLimiter | None = None
        self._under_way: Counter[str] = Counter()

    def count(self, person: Person) -> None:
        """Counts a request. Raises TooMany."""
        wait = 0.0 if person.way == "open" else self._rate.wait(person.id)
        if wait:
            raise TooMany(f"{self._bounds.a_minute} requests a minute are answered; wait", wait)

    async def computed(
        self, person: Person, work: Callable[Arguments, Result], *args: Arguments.args, **named: Arguments.kwargs
    ) -> Result:
        """What work makes, in a thread. Raises TooMany, Busy, and what it raises."""
        bounds = self._bounds
        if person.way != "open" and self._under_way[person.id] >= bounds.of_one:
            raise TooMany(f"{bounds.of_one} requests of yours are being computed: wait for one of them", 1)
        if self._under_way.total() >= bounds.threads + bounds.waiting:
            raise Busy("too much is being computed: try again in a moment")
        if self._limiter is None:
            self._limiter = CapacityLimiter(bounds.threads)  # belongs to a loop, which there is none of at import
        self._under_way[person.id] += 1
        try:
            return await to_thread.run_sync(partial(work, *args, **named), limiter=self._limiter)
        finally:
            self._under_way[person.id] -= 1
            if not self._under_way[person.id]:
                del self._under_way[person.id]
