"""Log lines that anybody can cause from outside, as often as they like: each kind of them is told once a minute."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

QUIET = 60.0


class OnceAMinute(logging.Filter):
    """For a logger. Lines are of one kind if they have one template; `now` is a clock in seconds."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._now = now
        self._told: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        now, kind = self._now(), str(record.msg)
        if now - self._told.get(kind, -QUIET) < QUIET:
            return False
        self._told[kind] = now
        return True
