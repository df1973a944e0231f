"""The current databases of an experiment, as its writer keeps them.

The main one has nearly all. What was committed since is in increments: small databases that are merged as a
log-structured tree is, so that each is at least twice as large as the next. A reader attaches few of them, and an
inference is built anew but a few times. All are named `latents-GGGG.duckdb`, by the order in which they were built.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from contextlib import suppress
from pathlib import Path

from kthink_core.config import DATABASE_SCHEMA, Experiment
from kthink_core.records import Inference
from kthink_core.store.database import build_database, no_pause
from kthink_core.store.directions import read_directions
from kthink_core.store.fidelity_files import FidelityFiles, Measured
from kthink_core.store.files import DAMAGED, Layout, remove
from kthink_core.store.manifest import DatabaseEntry, Manifest, ranges
from kthink_core.store.recovery import is_current
from kthink_core.store.repair import Tell, sound_database

GRACE = 60.0
"""Seconds for which a replaced database stays, for readers that have read its name but not yet opened it."""

TYPICAL = 0.05
"""Seconds that a small build takes, as long as none has been measured."""

MINIMUM_UNMERGED = 32
"""The main database is not built anew for fewer inferences, unless asked for."""

UNMERGED_SHARE = 0.25
"""Nor for fewer than this share of those already in it: the work of all builds together stays near-linear."""

Read = Callable[[int], Inference | None]
"""An inference of the journal by its number; None where it is lost."""


class Built:
    """For one thread that holds the writer's lock."""

    def __init__(self, layout: Layout, experiment: Experiment, fidelity: FidelityFiles) -> None:
        self._layout, self._experiment, self._fidelity = layout, experiment, fidelity
        self.main: DatabaseEntry | None = None
        self.increments: tuple[DatabaseEntry, ...] = ()
        """The oldest first."""
        self.in_main = self.contents = frozenset[int]()
        self._replaced: list[Path] = []
        """Increments that were merged."""

    def find(self, manifest: Manifest, tell: Tell) -> None:
        """Takes from a manifest what is sound; the rest is set aside and told."""
        main = sound_database(self._layout, manifest.database, tell)
        increments = (sound_database(self._layout, entry, tell) for entry in manifest.increments)
        self._take(main, tuple(entry for entry in increments if entry))

    def is_due(self, inferences: int) -> bool:
        """Whether so many inferences outside the main database are enough to build it anew."""
        return inferences >= max(MINIMUM_UNMERGED, UNMERGED_SHARE * len(self.in_main))

    def build(
        self, inferences: Iterable[int], read: Read, directions: bool, pause: Callable[[], None]
    ) -> DatabaseEntry:
        """Builds a main database of all inferences and, where there are any, the directions."""
        mark = self._experiment.mark
        rows, digest = read_directions(self._layout.directions, mark) if directions else (None, None)
        path = self._next()
        built = _Reading(inferences, read, self._fidelity)
        sha256 = build_database(path, self._experiment, built, rows, pause, built.fidelity)
        before, increments = self.main, self.increments
        main = _entry(path, built, digest, sha256)
        self._take(main, ())
        self._retire([before] if before else [])
        self._retire_increments(increments)
        return main

    def add(self, inferences: Iterable[int], read: Read, first: int, pause: Callable[[], None] = no_pause) -> None:
        """Builds one increment of some inferences and of all increments from number `first` on."""
        path = self._next()
        replaced = self.increments[first:]
        built = _Reading({*inferences}.union(*(entry.contents() for entry in replaced)), read, self._fidelity)
        sha256 = build_database(path, self._experiment, built, pause=pause, fidelity=built.fidelity)
        added = (_entry(path, built, None, sha256),) if built.found else ()
        self._take(self.main, (*self.increments[:first], *added))
        self._retire_increments(replaced)

    def purge(self, deleted: Set[int], inferences: Iterable[int], read: Read, directions: bool) -> None:
        """Builds anew, of `inferences`, whatever has one that is deleted."""
        if self.in_main & deleted:
            self.build(inferences, read, directions, no_pause)
        else:
            having = (first for first, entry in enumerate(self.increments) if entry.contents() & deleted)
            if (first := next(having, None)) is not None:
                self.add([], read, first)

    def entries(self) -> tuple[DatabaseEntry, ...]:
        """The main one, where there is one, then the increments."""
        return (*([self.main] if self.main else []), *self.increments)

    def path(self, entry: DatabaseEntry) -> Path:
        return self._layout.folder / entry.file

    def remove_old(self, *, is_whole: bool, at_once: bool = False) -> None:
        """Those that these have replaced, after their grace; or `at_once` all others, set aside or not, but the newest,
        which keeps its number from being given again. To be called where they have the whole journal: any other may
        else be all there is. Unless it `is_whole`, as it ever was, those of another schema stay."""
        databases = self._layout.databases()
        current = {self.path(entry) for entry in self.entries()} & databases.keys()
        known = databases if at_once else current
        newest = max((databases[path] for path in known), default=0)
        for path in databases.keys() - current:
            is_over = at_once or time.time() - path.stat().st_mtime >= GRACE
            if databases[path] < newest and is_over and (is_whole or is_current(path)):
                remove(path)
        if at_once and is_whole:  # what is in those that were set aside is elsewhere, too, or deleted
            for path in self._layout.folder.glob(f"latents-*{DAMAGED}*"):
                remove(path)

    def _next(self) -> Path:
        return self._layout.database(1 + max(self._layout.databases().values(), default=0))

    def _take(self, main: DatabaseEntry | None, increments: tuple[DatabaseEntry, ...]) -> None:
        self.main, self.increments = main, increments
        self.in_main = main.contents() if main else frozenset()
        self.contents = self.in_main.union(*(entry.contents() for entry in increments))

    def remove_replaced_increments(self) -> None:
        """To be called at the writer's end, so that none is left beside a finished experiment: who finds one missing
        reads the manifest again, and that changes no more."""
        for path in self._replaced:
            remove(path)

    def _retire_increments(self, replaced: Sequence[DatabaseEntry]) -> None:
        self._retire(replaced)
        self._replaced += [self.path(entry) for entry in replaced]

    def _retire(self, replaced: Iterable[DatabaseEntry]) -> None:
        for entry in replaced:
            with suppress(FileNotFoundError):
                os.utime(self.path(entry))  # its grace counts from now


class _Reading:
    """Inferences as they are read, in order, which were found, and which of them are measured."""

    def __init__(self, inferences: Iterable[int], read: Read, fidelity: FidelityFiles) -> None:
        self._inferences, self._read, self._fidelity = sorted(inferences), read, fidelity
        self.found: list[int] = []
        self.measured: list[int] = []

    def fidelity(self, inference: Inference) -> Measured | None:
        found = self._fidelity.of(inference)
        if found is not None:
            self.measured.append(inference.inference)
        return found

    def __iter__(self) -> Iterator[Inference]:
        for inference in self._inferences:
            found = self._read(inference)
            if found is not None:
                self.found.append(inference)
                yield found


def mergeable(increments: Sequence[DatabaseEntry], added: int) -> int:
    """The number of the first increment that is merged where `added` inferences come after the last: from there on none
    is twice as large as all that follow."""
    first = len(increments)
    while first and increments[first - 1].count < 2 * added:
        first -= 1
        added += increments[first].count
    return first


def _entry(path: Path, built: _Reading, directions: str | None, sha256: str) -> DatabaseEntry:
    return DatabaseEntry(
        file=path.name,
        inferences=ranges(built.found),
        schema_version=DATABASE_SCHEMA,
        directions=directions,
        fidelity=ranges(built.measured),
        sha256=sha256,
    )
