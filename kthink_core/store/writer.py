"""The one writer of an experiment: commits inferences, builds databases, survives being killed at any moment."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from kthink_core.config import Experiment
from kthink_core.errors import BadValue, CorruptFile
from kthink_core.records import Inference
from kthink_core.store.database import build_database
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
        journal, self.damaged = _verify(layout)
        """`damaged`: segment files that were set aside; their inferences are missing, to be computed again."""
        self._database = _usable_database(layout)
        self._in_database = Manifest(database=self._database).in_database()
        self._journal = set(journal)
        self._write_manifest()
        self._remove_old_databases()
        if self._database is None and len(self._pending) >= MINIMUM_PENDING:
            self.build()

    @property
    def committed(self) -> frozenset[int]:
        """The inferences of the journal: none of them needs computing."""
        return frozenset(self._journal)

    @property
    def _pending(self) -> set[int]:
        return self._journal - self._in_database

    def append(self, inference: Inference) -> None:
        """Commits an inference: when this returns, it outlasts any kill and readers see it.

        Builds a database when enough are pending. Raises DiskFull (what was committed is kept), ValueError where the
        inference does not belong to the experiment or is committed already.
        """
        self._check(inference)
        write_segment(self._layout.folder, inference)
        self._journal.add(inference.inference)
        if inference.inference not in self._in_database:
            self._write_manifest()
        if len(self._pending) >= max(MINIMUM_PENDING, PENDING_SHARE * len(self._in_database)):
            self.build()

    def build(self) -> Path:
        """Builds a database of all committed inferences, makes it the current one, and returns its path.

        Nothing is built where the current one has them all. Raises DiskFull, CorruptFile.
        """
        if self._database and not self._pending:
            return self._layout.folder / self._database.file
        segments = segment_inferences(self._layout.journal)
        generation = 1 + max(self._layout.databases().values(), default=0)
        path = self._layout.database(generation)
        build_database(path, self.experiment, (read_segment(segment) for segment in segments.values()))
        if self._database:
            os.utime(self._layout.folder / self._database.file)  # its grace counts from now
        self._database = DatabaseEntry(file=path.name, inferences=ranges(segments))
        self._in_database = frozenset(segments)
        self._write_manifest()
        self._remove_old_databases()
        return path

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
        if not 0 <= index < self.experiment.inferences:
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


def _verify(layout: Layout) -> tuple[list[int], tuple[Path, ...]]:
    """The inferences whose segment files are sound, and where the others were set aside."""
    sound, damaged = [], []
    for inference, path in segment_inferences(layout.journal).items():
        try:
            read_segment(path)
            sound.append(inference)
        except CorruptFile:
            damaged.append(path.replace(path.with_name(path.name + ".damaged")))
    return sound, tuple(damaged)


def _manifest(layout: Layout) -> Manifest | None:
    """The manifest; None where there is none or it is damaged: the journal can replace it."""
    try:
        return read_manifest(layout)[0] if layout.manifest.exists() else None
    except CorruptFile:
        return None


def _usable_database(layout: Layout) -> DatabaseEntry | None:
    """The current database, unless it has gone, or is damaged and was set aside: the journal has it all."""
    manifest = _manifest(layout)
    entry = manifest.database if manifest else None
    if entry is None:
        return None
    path = layout.folder / entry.file
    try:
        found = inferences_of_database(path)
    except FileNotFoundError:
        return None
    except CorruptFile:
        path.replace(path.with_name(path.name + ".damaged"))
        return None
    return entry if found == Manifest(database=entry).in_database() else None
