"""Where live runs are remembered: a file each, in a folder for each owner, bounded in number, bytes and age.

What is written is whole or not there, whenever the app is killed. A file is named by when the run began and by its id.
An owner is a digest (access/visitor_cookie.py): nothing here tells whose cookie it is.
"""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from kthink_core.errors import in_words
from kthink_core.live.api import Kept
from kthink_core.live.live_trace import LiveTrace
from kthink_core.live.remembered import RUN_ID, Remembered, header, read_header, read_trace, written
from kthink_core.settings import HistorySettings
from kthink_core.store.files import TEMPORARY, disk_full, publish, temporary

FOLDER = ".runs"
"""Beside the experiments of a cache: no experiment has such a name."""
_NAME = re.compile(rf"(\d{{12}})-({RUN_ID.pattern})\.run", re.ASCII)
_OWNER = re.compile(r"[0-9a-f]{64}", re.ASCII)
_MOST_HEADER = 4_000_000
"""Bytes: a prompt of the longest text in the widest characters."""
_BLOCK = 4096
_ABANDONED = 3600.0
"""Seconds after which what was begun to be written never will be."""
_KNOWN_FOR = 60.0
"""Seconds after which all owners are looked at again, where one writes."""
log = logging.getLogger("kthink.runs")


class _File(NamedTuple):
    began: int
    """Seconds since 1970."""
    run: str
    path: Path


class RunShelf:
    """For threads."""

    def __init__(self, cache: Path, bounds: HistorySettings, now: Callable[[], float] = time.time) -> None:
        """`now`: seconds since 1970."""
        self.folder = cache / FOLDER
        self._bounds, self._now = bounds, now
        self._guard = threading.Lock()
        self._sizes: dict[str, int] = {}
        """Bytes of each owner, as far as this shelf knows: another process may have written since."""
        self._swept: float | None = None
        """When all owners were looked at."""

    @property
    def remembers(self) -> bool:
        """Whether anything is remembered at all."""
        return self._bounds.days > 0

    @property
    def days(self) -> float:
        """How long."""
        return self._bounds.days

    def begin(self, owner: str, remembered: Remembered) -> None:
        """Remember a run that has begun; what is too much goes. Raises DiskFull, OSError."""
        if not self.remembers:
            return
        folder = self.folder / owner
        with self._guard:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            folder.mkdir(exist_ok=True, mode=0o700)
            _write(folder / f"{int(remembered.began):012d}-{remembered.run}.run", header(remembered))
        self._tidy(owner)

    def end(self, owner: str, remembered: Remembered, trace: LiveTrace) -> bool:
        """How it came out, and all that came. False where it has been forgotten meanwhile, and stays so. Raises
        DiskFull, OSError."""
        content = written(remembered, trace)
        with self._guard:
            found = self._file(owner, remembered.run)
            if found is None:
                return False
            _write(found.path, content)
        self._tidy(owner)
        return True

    def keep(self, owner: str, run: str, kept: Kept) -> None:
        """It is stored for good. Raises DiskFull, OSError."""
        with self._guard:
            found = self._file(owner, run)
            before = None if found is None else _parts(found.path)
            if found is not None and before is not None:
                _write(found.path, header(before[0].model_copy(update={"kept": kept})) + before[1])
        self._tidy(owner)

    def of(self, owner: str) -> list[Remembered]:
        """An owner's runs, the newest first, but for those that cannot be read."""
        found: list[Remembered] = []
        for file in sorted(self._files(owner), reverse=True):
            try:
                told = None if self._is_over(file) else _header(file.path)
            except OSError as error:
                log.warning("a run is left out: %s", in_words(error))
                continue
            found += [] if told is None else [told]
        return found

    def find(self, run: str) -> tuple[str, Remembered] | None:
        """A run, whoever asks, and whose it is; None where there is none, any more. Raises OSError."""
        for owner in self._owners():
            file = self._file(owner, run)
            if file is not None and not self._is_over(file):
                told = _header(file.path)
                return None if told is None else (owner, told)
        return None

    def trace(self, owner: str, run: str) -> LiveTrace | None:
        """All that came of a run; None where it is gone or damaged. Raises OSError."""
        file = self._file(owner, run)
        parts = None if file is None else _parts(file.path)
        return None if parts is None else read_trace(parts[1])

    def forget(self, owner: str, run: str | None = None) -> None:
        """One run of an owner, or all. Raises OSError."""
        with self._guard:
            for file in list(self._files(owner)):
                if run in (None, file.run):
                    file.path.unlink(missing_ok=True)
            self._bound(owner)

    def sweep(self) -> None:
        """Forget what is too old, too many of one owner, or too much of all: then the oldest of whoever has most.
        Raises OSError."""
        with self._guard:
            self._sizes.clear()
            for owner in list(self._owners()):
                self._bound(owner)
            self._evict()
            self._swept = self._now()

    def _tidy(self, owner: str) -> None:
        """As `sweep`, but of one owner, who has just written; of the others what is known of them counts, unless that
        is old."""
        if self._swept is None or not 0 <= self._now() - self._swept < _KNOWN_FOR:
            self.sweep()
            return
        with self._guard:
            self._bound(owner)
            self._evict()

    def _bound(self, owner: str) -> None:
        """Under the guard: what is too old, too many or unfinished of an owner goes; the rest is measured."""
        files = sorted(self._files(owner))
        over = [file for file in files if self._is_over(file)]
        over += [file for file in files if file not in over][: -self._bounds.runs]
        for file in over:
            file.path.unlink(missing_ok=True)
        self._sizes[owner] = sum(_size(file.path) for file in files if file not in over)
        self._sweep_unfinished(self.folder / owner)
        self._close(owner)

    def _evict(self) -> None:
        """Under the guard: the oldest of whoever has most goes, as long as all have too much."""
        left: dict[str, list[tuple[_File, int]]] = {}
        while sum(self._sizes.values()) > self._bounds.bytes:
            most = max(sorted(self._sizes), key=lambda owner: self._sizes[owner])
            if most not in left:  # that is not what is known of them, but what is
                left[most] = [(file, _size(file.path)) for file in sorted(self._files(most))]
                self._sizes[most] = sum(size for _, size in left[most])
                continue
            file, size = left[most].pop(0)
            file.path.unlink(missing_ok=True)
            self._sizes[most] -= size
        for owner in left:
            self._close(owner)

    def _close(self, owner: str) -> None:
        """Of an owner who has nothing nothing is left."""
        if not self._sizes[owner]:
            del self._sizes[owner]
            _remove_empty(self.folder / owner)

    def _is_over(self, file: _File) -> bool:
        return self._now() >= file.began + self._bounds.days * 86_400

    def _owners(self) -> Iterator[str]:
        try:
            names = [path.name for path in self.folder.iterdir()]
        except FileNotFoundError:
            return
        yield from sorted(name for name in names if _OWNER.fullmatch(name))

    def _files(self, owner: str) -> Iterator[_File]:
        try:
            paths = list((self.folder / owner).iterdir())
        except FileNotFoundError:
            return
        for path in paths:
            if named := _NAME.fullmatch(path.name):
                yield _File(int(named[1]), named[2], path)

    def _file(self, owner: str, run: str) -> _File | None:
        return next((file for file in self._files(owner) if file.run == run), None)

    def _sweep_unfinished(self, folder: Path) -> None:
        """What another process writes at the moment stays."""
        for path in folder.glob(f"{TEMPORARY}*"):
            with suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > _ABANDONED:
                    path.unlink()


def _write(path: Path, content: bytes) -> None:
    """For its owner's eyes only."""
    beside = temporary(path)
    with disk_full(path, beside):
        beside.unlink(missing_ok=True)
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
        publish(beside, path)


def _header(path: Path) -> Remembered | None:
    try:
        with path.open("rb") as file:
            found = read_header(file.readline(_MOST_HEADER))
    except FileNotFoundError:  # forgotten meanwhile
        return None
    if found is None:
        log.warning("%s is damaged and left out", path.name.partition("-")[0])
    return found


def _parts(path: Path) -> tuple[Remembered, bytes] | None:
    """What the first line says, and what follows it."""
    try:
        line, _, body = path.read_bytes().partition(b"\n")
    except FileNotFoundError:
        return None
    found = read_header(line)
    return None if found is None else (found, body)


def _size(path: Path) -> int:
    """What it takes of a disk, in whole blocks, its place in a folder included: many that are small are much, too."""
    try:
        return (-(-path.stat().st_size // _BLOCK) + 1) * _BLOCK
    except FileNotFoundError:
        return 0


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):  # something was put there meanwhile, or nothing ever was
        folder.rmdir()
