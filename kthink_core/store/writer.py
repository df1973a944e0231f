"""The one writer of an experiment: commits inferences, builds databases, survives being killed at any moment."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kthink_core.config import DATABASE_SCHEMA, Experiment, check_name
from kthink_core.errors import BadFile, CorruptFile, ForeignFile
from kthink_core.identity import check_same
from kthink_core.records import Directions, Inference
from kthink_core.store.database import build_database
from kthink_core.store.directions import read_directions, write_directions
from kthink_core.store.files import Layout, disk_full, remove, set_aside, sweep
from kthink_core.store.journal import misfit, read_segment, write_segment
from kthink_core.store.lock import writer_lock
from kthink_core.store.manifest import DatabaseEntry, ranges, write_experiment, write_manifest
from kthink_core.store.recovery import inferences_anywhere, recovered
from kthink_core.store.repair import Tell, sound_database, sound_directions, sound_manifest, stored_experiment, warn

GRACE = 60.0
"""Seconds for which a replaced database stays, for readers that have read its name but not yet opened it."""

MINIMUM_PENDING = 32
"""No database is built for fewer new inferences, unless asked for."""

PENDING_SHARE = 0.25
"""Nor for fewer than this share of those already in one: the work of all builds together stays near-linear."""


@contextmanager
def open_writer(cache: Path, experiment: Experiment, tell: Tell = warn, *, verify: bool = True) -> Iterator[Writer]:
    """Opens an experiment for writing, making or resuming it.

    An experiment stored with an equal configuration is resumed and keeps its provenance. Segment files that a killed
    writer committed are found. What is damaged is set aside and, where another file has it sound, taken from there;
    `tell` hears of it. With `verify` the whole journal is read at once, else each file when a database is built of it.
    Raises ExperimentBusy, ExperimentMismatch, BadValue (a name that is no plain folder name), ForeignFile (nothing is
    changed then), BadFile (a journal that is a link), CorruptFile, StoreUnavailable, SchemaTooNew, DiskFull, OSError.
    """
    check_name(experiment.name)
    layout = Layout(cache / experiment.name)
    if layout.journal.is_symlink():  # a stranger's folder must not lead out of itself
        raise BadFile(layout.journal, "it is a link: put the folder itself in its place")
    with disk_full(layout.folder):
        layout.journal.mkdir(parents=True, exist_ok=True)
    with writer_lock(layout):
        stored = stored_experiment(cache, experiment.name, tell)
        if stored is None:
            write_experiment(layout, experiment)
        else:
            check_same(stored, experiment)
        writer = Writer(layout, stored or experiment, tell)
        writer.reconcile(verify=verify)
        yield writer


class Writer:
    """Appends inferences to one experiment. Made by `open_writer`; for one thread."""

    def __init__(self, layout: Layout, experiment: Experiment, tell: Tell) -> None:
        """Sweeps, and finds what is stored; the lock must be held."""
        self.experiment = experiment
        """As stored: its provenance is that of the first run."""
        self._layout, self._tell = layout, tell
        for folder in (layout.folder, layout.journal):
            sweep(folder)
        self._active = {name: np.zeros(sae.num_latents, bool) for name, sae in self.experiment.saes.items()}
        self._journal = set(layout.segments())
        self._lost = set[int]()
        """Kept inferences of which nothing sound is left."""
        self._directions: str | None = None
        self._database: DatabaseEntry | None = None
        self._in_database = frozenset[int]()

    @property
    def committed(self) -> frozenset[int]:
        """The inferences of the journal: none of them needs computing."""
        return frozenset(self._journal)

    @property
    def next_inference(self) -> int:
        """The smallest number that no inference ever had, be it one that is lost."""
        return 1 + max(*self._journal, *self._lost, *self._layout.set_aside(), -1, -1)

    @property
    def has_directions(self) -> bool:
        """Whether the directions of the experiment are stored."""
        return self._directions is not None

    @property
    def active_features(self) -> dict[str, NDArray[np.int32]]:
        """The features that are active anywhere in the verified and the appended inferences, ascending, by
        hookpoint."""
        return {name: np.flatnonzero(active).astype(np.int32) for name, active in self._active.items()}

    @property
    def _complete(self) -> bool:
        return len(self._journal) == self.experiment.inferences and not self.experiment.open_ended

    @property
    def _pending(self) -> set[int]:
        return self._journal - self._in_database

    def reconcile(self, *, verify: bool) -> None:
        """Finds what there is, mends what can be mended, and makes readers see it.

        With `verify`, or where the manifest is lost, every segment file is read first. One that is damaged is set
        aside; its inference is taken from a database, or it is missing from now on.
        """
        manifest = sound_manifest(self._layout, self.experiment)
        self._lost = set(manifest.lost) if manifest else set()
        listed = set(self._journal)
        if verify or manifest is None:
            for inference in sorted(listed):
                found = self._read(inference)
                if found is not None:
                    self._count(found)
        self._directions = sound_directions(self._layout, self.experiment, self._tell)
        if manifest:
            stored = manifest.in_database() | manifest.pending()
        else:
            stored = inferences_anywhere(self._layout, self.experiment)
        for inference in sorted(stored - listed - self._lost):
            self._recover(inference, f"the segment file of inference {inference} was missing")
        self._database = sound_database(self._layout, manifest.database if manifest else None, self._tell)
        self._in_database = self._database.contents() if self._database else frozenset()
        self._lost -= self._journal  # somebody had a copy
        if self._database or len(self._pending) < MINIMUM_PENDING:
            self._write_manifest()
            self._remove_old_databases()
        elif not self._complete:  # else its last build is near, and readers keep what they have until then
            self.build()

    def append(self, inference: Inference) -> None:
        """Commits an inference: when this returns, it outlasts any kill and readers see it.

        Builds a database when enough are pending and more are to come. Raises DiskFull (what was committed is kept),
        ValueError where the inference does not belong to the experiment or is committed already.
        """
        if inference.inference in self._journal:
            raise ValueError(f"inference {inference.inference} is committed already")
        if reason := misfit(self.experiment, inference):
            raise ValueError(reason)
        self._commit(inference)
        if inference.inference not in self._in_database:
            self._write_manifest()
        enough = max(MINIMUM_PENDING, PENDING_SHARE * len(self._in_database))
        if len(self._pending) >= enough and not self._complete:  # the last build is asked for, with the directions
            self.build()

    def put_directions(self, directions: Mapping[str, Directions], texts: Mapping[int, str]) -> None:
        """Stores directions by hookpoint and the texts of their tokens, for the next database. Raises DiskFull."""
        self._directions = write_directions(self._layout.directions, directions, texts, self.experiment.mark)

    def build(self) -> Path:
        """Builds a database of all committed inferences and the directions, makes it the current one, and returns its
        path.

        Nothing is built where the current one has them all. Raises DiskFull, SchemaTooNew.
        """
        if self._database and not self._pending and self._database.directions == self._directions:
            return self._layout.folder / self._database.file
        generation = 1 + max(self._layout.databases().values(), default=0)
        path = self._layout.database(generation)
        mark = self.experiment.mark
        directions, digest = read_directions(self._layout.directions, mark) if self._directions else (None, None)
        read = (self._read(inference) for inference in sorted(self._journal))
        sha256 = build_database(path, self.experiment, (found for found in read if found is not None), directions)
        if self._database:
            os.utime(self._layout.folder / self._database.file)  # its grace counts from now
        self._database = DatabaseEntry(
            file=path.name,
            inferences=ranges(self._journal),
            schema_version=DATABASE_SCHEMA,
            directions=digest,
            sha256=sha256,
        )
        self._in_database = frozenset(self._journal)
        self._write_manifest()
        self._remove_old_databases()
        return path

    def _commit(self, inference: Inference) -> None:
        write_segment(self._layout.folder, inference, self.experiment.mark)
        self._journal.add(inference.inference)
        self._count(inference)

    def _count(self, inference: Inference) -> None:
        for hookpoint, encoding in inference.encodings.items():
            self._active[hookpoint][encoding.features[encoding.activations > 0]] = True

    def _read(self, inference: int) -> Inference | None:
        """An inference of the journal, in the last resort from a database; None where it is lost."""
        path = self._layout.segment(inference)
        try:
            return read_segment(path, self.experiment)
        except ForeignFile:
            raise  # whether it or experiment.json was replaced cannot be told: nothing of either is touched
        except CorruptFile:
            what = f"{path.name} was damaged and is kept as {set_aside(path).name}"
        except FileNotFoundError:
            what = f"{path.name} has gone"
        self._journal.discard(inference)
        return self._recover(inference, what)

    def _recover(self, inference: int, what: str) -> Inference | None:
        """Takes an inference that the journal lacks from wherever it is sound, and tells what came of it."""
        found = recovered(self._layout, self.experiment, inference)
        if found is not None:
            self._tell(f"{what}: inference {inference} is taken from a database that has it")
            self._commit(found)
        elif self.experiment.open_ended:
            self._lost.add(inference)
            self._tell(f"{what}: inference {inference} of '{self.experiment.name}' IS LOST, no database has it")
        else:
            self._tell(f"{what}: inference {inference} is computed again")
        return found

    def _write_manifest(self) -> None:
        manifest = sound_manifest(self._layout, self.experiment)
        now = (self._database, self._pending, self._lost)
        if manifest is None or (manifest.database, manifest.pending(), set(manifest.lost)) != now:
            write_manifest(self._layout, self.experiment.mark, *now)

    def _remove_old_databases(self) -> None:
        """Those that the current one has replaced, after their grace. Without one, any may be all there is."""
        databases = self._layout.databases()
        current = databases.get(self._layout.folder / self._database.file, 0) if self._database else 0
        for path, generation in databases.items():
            if generation < current and time.time() - path.stat().st_mtime > GRACE:
                remove(path)
