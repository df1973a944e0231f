"""Brings what older versions left in a cache up to date, with a backup first; nothing is generated again.

Of an experiment: segment files, directions and its two JSON files are written anew in this version's schema, and its
databases built of them. Of the notes: the steps of their schema that are missing. What is up to date is left alone, so
that a second run does nothing, and one that was killed goes on.
"""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from kthink_core.config import DATABASE_SCHEMA, JOURNAL_SCHEMA, Experiment
from kthink_core.errors import BadFile, CorruptFile, KthinkError, in_words
from kthink_core.notes import FILE
from kthink_core.notes.file import behind, writing
from kthink_core.store.damage import is_sound
from kthink_core.store.directions import read_directions, write_rows
from kthink_core.store.files import BACKUP, TEMPORARY, Layout, backup_folder, disk_full, remove, sync_folder
from kthink_core.store.journal import read_segment, write_segment
from kthink_core.store.lock import writer_lock
from kthink_core.store.manifest import DatabaseEntry, is_sealed, read_manifest, write_experiment
from kthink_core.store.reader import list_experiments
from kthink_core.store.repair import known_experiment, stored_experiment
from kthink_core.store.sealed import is_of_this_version
from kthink_core.store.writer import open_writer

_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EXDEV, errno.EMLINK)
_LEFT = {"writer.lock", "writer.json"}
"""Of no use in a backup."""

Tell = Callable[[str], None]


class Migrated(NamedTuple):
    """What came of it."""

    backup: Path | None
    """None where nothing was to be done."""
    done: tuple[str, ...]
    """The experiments that were brought up to date; `notes.sqlite` for the notes."""
    failed: tuple[str, ...]
    """Those that were not; `tell` has heard why."""


def migrate(cache: Path, tell: Tell) -> Migrated:
    """Brings all of a cache up to date. `tell` hears, in a line each, what was found and what was done.

    What cannot be read or is being written is told and left as it is. Raises DiskFull, OSError; nothing is changed
    before the backup is whole.
    """
    if not cache.is_dir():
        return Migrated(None, (), ())
    names, failed = [], []
    for status in list_experiments(cache):
        with _told(status.name, failed, tell):
            if reasons := _outdated(cache, status.name):
                tell(f"{status.name}: {', '.join(reasons)}")
                names.append(status.name)
    notes = cache / FILE
    steps: list[str] = []
    with _told(FILE, failed, tell):
        steps = behind(notes)
    if not names and not steps:
        return Migrated(None, (), tuple(failed))
    backup = _backup(cache, names, notes if steps else None)
    tell(f"backup: {backup}")
    done = []
    for name in names:
        with _told(name, failed, tell):
            for line in _upgrade(cache, name, tell):
                tell(f"{name}: {line}")
            done.append(name)
    if steps:
        with _told(FILE, failed, tell), writing(notes):
            done.append(FILE)
            tell(f"{FILE}: {', '.join(steps)}")
    return Migrated(backup, tuple(done), tuple(failed))


@contextmanager
def _told(name: str, failed: list[str], tell: Tell) -> Iterator[None]:
    try:
        yield
    except KthinkError as error:
        failed.append(name)
        tell(f"{name} is left as it is: {in_words(error)}")


def _outdated(cache: Path, name: str) -> list[str]:
    """What of an experiment is of an older version, or, of an imported one, is damaged; empty: nothing. Raises as
    `known_experiment` and `read_manifest`."""
    layout = Layout(cache / name)
    experiment = known_experiment(cache, name)
    if experiment is None:
        return []
    found = []
    older = [path for path in layout.segments().values() if not is_of_this_version(path, experiment.mark)]
    if older:
        found.append(f"{len(older)} segment files of an older version")
    if layout.directions.exists() and not is_of_this_version(layout.directions, experiment.mark):
        found.append("directions of an older version")
    try:
        sealed = is_sealed(layout.experiment)
    except (BadFile, FileNotFoundError):
        found.append("experiment.json is damaged or lost")
    else:
        if not sealed or experiment.schema_version < JOURNAL_SCHEMA:
            found.append("experiment.json of an older version")
    try:
        manifest, _ = read_manifest(layout)
    except CorruptFile:
        return [*found, "a damaged manifest"]
    if manifest.segments or manifest.schema_version < JOURNAL_SCHEMA:
        found.append("a manifest of an older version")
    if any(entry.schema_version < DATABASE_SCHEMA or entry.sha256 is None for entry in manifest.databases):
        found.append("databases of an older version")
    elif layout.directions.exists() and (manifest.database is None or manifest.database.directions is None):
        found.append("directions that are in no database")  # somebody ended it before the last build
    elif experiment.is_imported and not all(_is_whole(layout, entry) for entry in manifest.databases):
        found.append("a damaged database")
    return found


def _is_whole(layout: Layout, entry: DatabaseEntry) -> bool:
    path = layout.folder / entry.file
    return path.exists() and is_sound(path, entry)


def _upgrade(cache: Path, name: str, tell: Tell) -> Iterator[str]:
    """Yields what was done. Raises ExperimentBusy, CorruptFile, DiskFull."""

    def hear(line: str) -> None:
        tell(f"{name}: {line}")

    layout = Layout(cache / name)
    with writer_lock(layout):
        stored = stored_experiment(cache, name, hear)  # seals it, if its database says the same
        if stored is None:
            return
        experiment = stored.model_copy(update={"schema_version": JOURNAL_SCHEMA})
        write_experiment(layout, experiment)
        rewritten = sum(_rewritten(layout, path, experiment) for path in layout.segments().values())
        if rewritten:
            yield f"{rewritten} segment files written anew"
        if _renewed_directions(layout, experiment):
            yield "directions written anew"
    with open_writer(cache, experiment, hear) as writer:  # builds the databases, and mends what is damaged
        writer.build()
        count, measured = len(writer.committed), len(writer.fidelity.known)
    yield f"{count} inferences in a database of schema {DATABASE_SCHEMA}"
    if measured < count and not experiment.open_ended and not experiment.is_imported:
        yield f"what the SAEs cost the model is not measured of {count - measured}: `precompute` or `up` does it"


def _rewritten(layout: Layout, path: Path, experiment: Experiment) -> bool:
    """Whether a segment file was of an older version and is one of this. A damaged one is left to the writer."""
    if is_of_this_version(path, experiment.mark):
        return False
    try:
        inference = read_segment(path, experiment)
    except CorruptFile:
        return False
    write_segment(layout.folder, inference, experiment.mark)
    return True


def _renewed_directions(layout: Layout, experiment: Experiment) -> bool:
    if not layout.directions.exists() or is_of_this_version(layout.directions, experiment.mark):
        return False
    try:
        rows, _ = read_directions(layout.directions, experiment.mark)
    except CorruptFile:
        return False
    write_rows(layout.directions, rows, experiment.mark)
    return True


def _backup(cache: Path, names: list[str], notes: Path | None) -> Path:
    """A new folder with all files of these experiments, as links where the disk has them, and a copy of the notes. It
    has its name once it is whole."""
    beside = cache / f"{TEMPORARY}{BACKUP}"
    with disk_full(cache, beside):
        remove(beside)
        beside.mkdir()
        for name in names:
            with writer_lock(Layout(cache / name)):
                shutil.copytree(cache / name, beside / name, symlinks=True, copy_function=_linked, ignore=_unfinished)
        if notes is not None:
            _copy_notes(notes, beside / notes.name)
        target = backup_folder(cache)
        beside.rename(target)
        sync_folder(cache)
    return target


def _unfinished(_: str, names: list[str]) -> set[str]:
    return {name for name in names if name in _LEFT or name.startswith(TEMPORARY)}


def _linked(source: str, target: str) -> str:
    """Files of the store are replaced, never changed: a second name keeps the first content."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        shutil.copy2(source, target, follow_symlinks=False)
    return target


def _copy_notes(path: Path, target: Path) -> None:
    """With what lies in the files beside it."""
    reading = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    with closing(reading) as source, closing(sqlite3.connect(target)) as copy:
        source.backup(copy)
