"""How long the engine was at the jobs of each client in the last day, by a clock that nobody sets."""

from __future__ import annotations

import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable

HOUR = 3600.0
_HOURS = 24


class DeviceTime:
    """For threads. What was spent counts until 24 hours after the hour that it was spent in began."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._hours: deque[tuple[int, defaultdict[str, float]]] = deque()
        """Ascending; one counter of seconds by client for each hour in which something was spent."""

    def spend(self, client: str, seconds: float) -> None:
        hour = int(self._now() // HOUR)
        with self._lock:
            self._forget(hour)
            if not self._hours or self._hours[-1][0] != hour:
                self._hours.append((hour, defaultdict(float)))
            self._hours[-1][1][client] += seconds

    def wait(self, client: str, most: float) -> float:
        """Seconds after which a client that has spent `most` or more has spent less; 0: it has not."""
        with self._lock:
            now = self._now()
            self._forget(int(now // HOUR))
            left = sum(seconds.get(client, 0.0) for _, seconds in self._hours)
            for hour, seconds in self._hours:
                if left < most:
                    return 0.0
                left -= seconds.get(client, 0.0)
                if left < most:
                    return (hour + _HOURS) * HOUR - now
            return 0.0

    def _forget(self, hour: int) -> None:
        while self._hours and self._hours[0][0] <= hour - _HOURS:
            self._hours.popleft()
