"""Whether anybody still looks at a run: it goes on as long as a page shows it, and a while longer."""

from __future__ import annotations

import time
from collections.abc import Callable


class Audience:
    """For threads."""

    def __init__(self, is_here: Callable[[str], bool], away: float, now: Callable[[], float] = time.monotonic) -> None:
        """`is_here` says of a visit whether its page is open. `away`: seconds that a run goes on without any."""
        self._is_here, self._away, self._now = is_here, away, now
        self._visits: frozenset[str] = frozenset()
        self._seen = now()

    def join(self, visit: str) -> None:
        """One more visit shows it."""
        self._visits |= {visit}

    def wants(self) -> bool:
        """Whether it is to go on."""
        if any(map(self._is_here, self._visits)):
            self._seen = self._now()
        return self._now() - self._seen <= self._away
