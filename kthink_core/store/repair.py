"""What a writer finds of an experiment's files: sound, or set aside and told. Nothing is done on a guess."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from kthink_core.config import DATABASE_SCHEMA, Experiment
from kthink_core.errors import CorruptFile, LostFile
from kthink_core.store.damage import is_sound
from kthink_core.store.directions import read_directions
from kthink_core.store.files import Layout, set_aside
from kthink_core.store.manifest import (
    DatabaseEntry,
    Manifest,
    is_sealed,
    read_experiment,
    read_manifest,
    write_experiment,
)
from kthink_core.store.recovery import experiment_anywhere, has_databases

Tell = Callable[[str], None]
"""Hears in one line what was found damaged, and what was done about it."""

warn: Tell = logging.getLogger("kthink.store").warning


def known_experiment(cache: Path, name: str) -> Experiment | None:
    """Configuration and provenance, from a database where their own file is lost; None where there is nothing.

    Writes nothing. Raises LostFile or CorruptFile where they are nowhere, though there is more; StoreUnavailable,
    SchemaTooNew, OSError.
    """
    layout = Layout(cache / name)
    stored, damage = _own(cache, name)
    if stored is not None or (damage is None and not layout.has_segments() and not has_databases(layout)):
        return stored
    found = experiment_anywhere(layout)
    if found is None:
        raise damage or LostFile(layout.experiment, "restore it: it says what all the rest is")
    return found


def stored_experiment(cache: Path, name: str, tell: Tell) -> Experiment | None:
    """As `known_experiment`; afterwards its own file says so, and is sealed. Raises as that does, and DiskFull."""
    known = known_experiment(cache, name)
    if known is None:
        return None
    layout = Layout(cache / name)
    own, damage = _own(cache, name)
    if own is None:
        what = f"was damaged and is kept as {set_aside(layout.experiment).name}" if damage else "was missing"
        write_experiment(layout, known)
        tell(f"{layout.experiment.name} {what}: it is taken from a database that has it")
    elif not is_sealed(layout.experiment):  # an older version's: from now on damage will tell
        _check_unsealed(layout, own)
        write_experiment(layout, own)
    return known


def _own(cache: Path, name: str) -> tuple[Experiment | None, CorruptFile | None]:
    """What the experiment's own file says, or what is wrong with it."""
    try:
        return read_experiment(cache, name), None
    except CorruptFile as error:
        return None, error


def _check_unsealed(layout: Layout, stored: Experiment) -> None:
    """Raises CorruptFile where a file without a digest does not say what its database says."""
    found = experiment_anywhere(layout)
    if found is not None and found.mark != stored.mark:
        raise CorruptFile(layout.experiment, "restore it, or move it away: it is then taken from the database")


def sound_manifest(layout: Layout, experiment: Experiment) -> Manifest | None:
    """The manifest; None where there is none, it is damaged or another's: the journal can replace it."""
    try:
        return read_manifest(layout, experiment.mark)[0] if layout.manifest.exists() else None
    except CorruptFile:
        return None


def sound_database(layout: Layout, entry: DatabaseEntry | None, tell: Tell) -> DatabaseEntry | None:
    """The current database, unless it has gone, is of an older version, or is damaged and was set aside: then the
    journal has it all."""
    if entry is None or entry.sha256 is None or entry.schema_version < DATABASE_SCHEMA:
        return None
    path = layout.folder / entry.file
    try:
        if is_sound(path, entry):
            return entry
    except FileNotFoundError:
        tell(f"{path.name} is missing: it is built again from the journal")
        return None
    tell(f"{path.name} was damaged and is kept as {set_aside(path).name}: it is built again from the journal")
    return None


def sound_directions(layout: Layout, experiment: Experiment, tell: Tell) -> str | None:
    """The digest of the stored directions; None where there are none, or they are damaged and were set aside."""
    path = layout.directions
    try:
        return read_directions(path, experiment.mark)[1]
    except FileNotFoundError:
        return None
    except CorruptFile:
        tell(f"{path.name} was damaged and is kept as {set_aside(path).name}: it is computed again")
        return None
