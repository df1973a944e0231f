"""How often each caller may ask, by a clock that nobody sets."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable


class RequestRate:
    """Counts callers in windows of a fixed length, the same for all; holds no more of them than asked in one window."""

    def __init__(self, most: int, window: float = 60.0, now: Callable[[], float] = time.monotonic) -> None:
        """`most` requests of a caller in `window` seconds of the clock `now`."""
        self._most, self._window, self._now = most, window, now
        self._lock = threading.Lock()
        self._ends = now() + window
        self._counts: Counter[str] = Counter()

    def wait(self, caller: str) -> float:
        """Counts a request. Returns the seconds, at most the window, after which the caller may ask; 0: it may now."""
        with self._lock:
            now = self._now()
            if now >= self._ends:
                self._ends = now + self._window
                self._counts.clear()
            self._counts[caller] += 1
            return self._ends - now if self._counts[caller] > self._most else 0.0
