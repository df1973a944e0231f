"""A file that others may replace at any time, read again as soon as they have: looking costs one `stat`."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

Content = TypeVar("Content")


class WatchedFile(Generic[Content]):
    """For threads. `read` makes something of a path; it is called again whenever the file is another, or is gone."""

    def __init__(self, path: Path, read: Callable[[Path], Content]) -> None:
        self.path = path
        self._read = read
        self._lock = threading.Lock()
        self._state: object = ()
        self._content: Content | None = None

    def content(self) -> Content:
        """What the file says now. Raises what `read` raises, each time."""
        state = _state(self.path)
        with self._lock:
            if state != self._state or self._content is None:
                self._content = self._read(self.path)
                self._state = state  # taken before it was read: what was replaced meanwhile is read once more
            return self._content


def _state(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except FileNotFoundError:
        return (0,)
    return found.st_mtime_ns, found.st_size, found.st_ino
