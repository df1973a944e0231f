"""The one writer of an experiment: commits inferences, builds databases, survives being killed at any moment."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kthink_core.config import SCHEMA, Experiment
from kthink_core.errors import BadValue, CorruptFile, SchemaTooOld
from kthink_core.records import Directions, Inference
from kthink_core.store.database import build_database
from kthink_core.store.directions import read_directions, write_directions
from kthink_core.store.files import Layout, disk_full, remove, sweep
from kthink_core.store.identity import check_same
from kthink_core.store.journal import read_segment, segment_inferences, write_segment
from kthink_core.store.lock import writer_lock
from kthink_core.store.manifest import (
    DatabaseEntry,
    Manifest,
    ranges,
    read_experiment,
    read_manifest,
    write_experiment,
    write_manifest,
)
from kthink_core.store.reader import inferences_of_database

GRACE = 60.0
"""Seconds for which a replaced database stays, for readers that have read its name but not yet opened it."""

MINIMUM_PENDING = 32
"""No database is built for fewer new inferences, unless asked for."""

PENDING_SHARE = 0.25
"""Nor for fewer than this share of those already in one: the work of all builds together stays near-linear."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@contextmanager
def open_writer(cache: Path, experiment: Experiment) -> Iterator[Writer]:
    """Opens an experiment for writing, making or resuming it.

    An experiment stored with an equal configuration is resumed and keeps its provenance. Segment files that a killed
    writer committed are found, those that are damaged are set aside. Raises ExperimentBusy, ExperimentMismatch,
    BadValue (a name that is no plain folder name), CorruptFile, SchemaTooNew, DiskFull.
    """
    if not _NAME.fullmatch(experiment.name):
        raise BadValue(f"experiment name '{experiment.name}': use letters, digits, '.', '-' and '_'")
    layout = Layout(cache / experiment.name)
    with disk_full(layout.folder):
        layout.journal.mkdir(parents=True, exist_ok=True)
    with writer_lock(layout):
        stored = read_experiment(cache, experiment.name)
        if stored is None:
            write_experiment(layout, experiment)
        else:
            check_same(stored, experiment)
        yield Writer(layout, stored or experiment)


class Writer:
    """Appends inferences to one experiment. Made by `open_writer`; for one thread."""

    def __init__(self, layout: Layout, experiment: Experiment) -> None:
        """Sweeps, verifies and reconciles what is stored; the lock must be held."""
        self.experiment = experiment
        """As stored: its provenance is that of the first run."""
        self._layout = layout
        for folder in (layout.folder, layout.journal):
            sweep(folder)
        self._active = {name: np.zeros(sae.num_latents, bool) for name, sae in self.experiment.saes.items()}
        self._journal: set[int] = set()
        self.damaged = self._verify_journal()
        """Segment files that were set aside; their inferences are missing, to be computed again."""
        self._directions = _sound_directions(layout)
        self._database = _usable_database(layout)
        self._in_database = Manifest(database=self._database).in_database()
        if self._database or len(self._pending) < MINIMUM_PENDING:
            self._write_manifest()
            self._remove_old_databases()
        elif not self._complete:  # else its last build is near, and readers keep what they have until then
            self.build()

    @property
    def committed(self) -> frozenset[int]:
        """The inferences of the journal: none of them needs computing."""
        return frozenset(self._journal)

    @property
    def has_directions(self) -> bool:
        """Whether the directions of the experiment are stored."""
        return self._directions is not None

    @property
    def active_features(self) -> dict[str, NDArray[np.int32]]:
        """The features that are active anywhere in the committed inferences, ascending, by hookpoint."""
        return {name: np.flatnonzero(active).astype(np.int32) for name, active in self._active.items()}

    @property
    def _complete(self) -> bool:
        return len(self._journal) == self.experiment.inferences and not self.experiment.open_ended

    @property
    def _pending(self) -> set[int]:
        return self._journal - self._in_database

    def append(self, inference: Inference) -> None:
        """Commits an inference: when this returns, it outlasts any kill and readers see it.

        Builds a database when enough are pending and more are to come. Raises DiskFull (what was committed is kept),
        ValueError where the inference does not belong to the experiment or is committed already.
        """
        self._check(inference)
        write_segment(self._layout.folder, inference)
        self._take(inference)
        if inference.inference not in self._in_database:
            self._write_manifest()
        enough = max(MINIMUM_PENDING, PENDING_SHARE * len(self._in_database))
        if len(self._pending) >= enough and not self._complete:  # the last build is asked for, with the directions
            self.build()

    def put_directions(self, directions: Mapping[str, Directions], texts: Mapping[int, str]) -> None:
        """Stores directions by hookpoint and the texts of their tokens, for the next database. Raises DiskFull."""
        self._directions = write_directions(self._layout.directions, directions, texts)

    def build(self) -> Path:
        """Builds a database of all committed inferences and the directions, makes it the current one, and returns its
        path.

        Nothing is built where the current one has them all. Raises DiskFull, CorruptFile.
        """
        if self._database and not self._pending and self._database.directions == self._directions:
            return self._layout.folder / self._database.file
        segments = segment_inferences(self._layout.journal)
        generation = 1 + max(self._layout.databases().values(), default=0)
        path = self._layout.database(generation)
        directions, digest = read_directions(self._layout.directions) if self._directions else (None, None)
        inferences = (read_segment(segment) for segment in segments.values())
        build_database(path, self.experiment, inferences, directions)
        if self._database:
            os.utime(self._layout.folder / self._database.file)  # its grace counts from now
        self._database = DatabaseEntry(
            file=path.name, inferences=ranges(segments), schema_version=SCHEMA, directions=digest
        )
        self._in_database = frozenset(segments)
        self._write_manifest()
        self._remove_old_databases()
        return path

    def _take(self, inference: Inference) -> None:
        """Counts a committed inference in."""
        self._journal.add(inference.inference)
        for hookpoint, encoding in inference.encodings.items():
            self._active[hookpoint][encoding.features[encoding.activations > 0]] = True

    def _verify_journal(self) -> tuple[Path, ...]:
        """Counts in what is sound; sets the other segment files aside and returns where they are now."""
        damaged = []
        for path in segment_inferences(self._layout.journal).values():
            try:
                self._take(read_segment(path))
            except CorruptFile:
                damaged.append(_set_aside(path))
        return tuple(damaged)

    def _write_manifest(self) -> None:
        manifest = _manifest(self._layout)
        if manifest is None or (manifest.database, manifest.pending()) != (self._database, self._pending):
            write_manifest(self._layout, self._database, self._pending)

    def _remove_old_databases(self) -> None:
        current = self._database.file if self._database else None
        for path in self._layout.databases():
            if path.name != current and time.time() - path.stat().st_mtime > GRACE:
                remove(path)

    def _check(self, inference: Inference) -> None:
        index = inference.inference
        if index in self._journal:
            raise ValueError(f"inference {index} is committed already")
        if not (0 <= index < self.experiment.inferences or (self.experiment.open_ended and index >= 0)):
            raise ValueError(f"inference {index} of {self.experiment.inferences}")
        if set(inference.encodings) != set(self.experiment.saes):
            raise ValueError(f"hookpoints {list(inference.encodings)}, expected {list(self.experiment.saes)}")
        shapes = {encoding.features.shape[0] for encoding in inference.encodings.values()}
        shapes |= {len(inference.token_ids), len(inference.texts), len(inference.segments), len(inference.logprobs)}
        if len(shapes) != 1:
            raise ValueError(f"inference {index} has arrays of different lengths: {sorted(shapes)}")
        for hookpoint, encoding in inference.encodings.items():
            size = self.experiment.saes[hookpoint].num_latents
            if np.any((encoding.features < 0) | (encoding.features >= size)):
                raise ValueError(f"inference {index} has features outside 0 … {size - 1} at {hookpoint}")


def _set_aside(path: Path) -> Path:
    return path.replace(path.with_name(path.name + ".damaged"))


def _sound_directions(layout: Layout) -> str | None:
    """The digest of the stored directions; None where there are none, or they are damaged and were set aside."""
    try:
        return read_directions(layout.directions)[1]
    except FileNotFoundError:
        return None
    except CorruptFile:
        _set_aside(layout.directions)
        return None


def _manifest(layout: Layout) -> Manifest | None:
    """The manifest; None where there is none or it is damaged: the journal can replace it."""
    try:
        return read_manifest(layout)[0] if layout.manifest.exists() else None
    except CorruptFile:
        return None


def _usable_database(layout: Layout) -> DatabaseEntry | None:
    """The current database, unless it has gone, is of an older schema, or is damaged and was set aside: the journal
    has it all."""
    manifest = _manifest(layout)
    entry = manifest.database if manifest else None
    if entry is None:
        return None
    path = layout.folder / entry.file
    try:
        found = inferences_of_database(path)
    except (FileNotFoundError, SchemaTooOld):
        return None
    except CorruptFile:
        _set_aside(path)
        return None
    return entry if found == Manifest(database=entry).in_database() else None
