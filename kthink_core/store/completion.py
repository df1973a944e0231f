"""Whether anything of a stored experiment is missing, or is still as an older version left it."""

from __future__ import annotations

from pathlib import Path

from kthink_core.config import DATABASE_SCHEMA, ExperimentConfig
from kthink_core.errors import CorruptFile, ImportedExperiment, KthinkError
from kthink_core.identity import check_same_config
from kthink_core.store.damage import is_sound
from kthink_core.store.files import Layout
from kthink_core.store.manifest import read_experiment, read_manifest


def is_finished(cache: Path, name: str, config: ExperimentConfig) -> bool:
    """Whether an experiment has all its inferences, directions and fidelity, and a database of them in which readers
    of this version find all they ask for. Needs neither weights nor torch.

    The database is read as a whole, to see whether it is sound. What a writer repairs is not finished. Raises
    ExperimentMismatch where one of that name has another configuration; CorruptFile, SchemaTooNew, OSError.
    """
    try:
        stored = read_experiment(cache, name)
    except CorruptFile:
        return False
    if stored is None:
        return False
    check_same_config(name, stored.config, config)
    layout = Layout(cache / name)
    try:
        manifest, _ = read_manifest(layout)
    except CorruptFile:
        return False
    database = manifest.database
    if (
        database is None
        or manifest.increments
        or manifest.segments
        or database.schema_version < DATABASE_SCHEMA
        or database.directions is None
        or database.fidelity != database.inferences
    ):
        return False
    path = layout.folder / database.file
    return database.count == stored.inferences and path.exists() and is_sound(path, database)


def check_not_imported(cache: Path, name: str) -> None:
    """Raises ImportedExperiment where there is one of that name, which nobody computes further. One that cannot be read
    is left to who will write it."""
    try:
        stored = read_experiment(cache, name)
    except (KthinkError, OSError):
        return
    if stored is not None and stored.is_imported:
        raise ImportedExperiment(name)


def is_outdated(cache: Path, name: str) -> bool:
    """Whether an experiment has databases of an older schema, or segment files that an older version left in none: no
    reader reads them before a writer has been there. Raises CorruptFile, SchemaTooNew, OSError."""
    manifest, _ = read_manifest(Layout(cache / name))
    return bool(manifest.segments) or any(entry.schema_version < DATABASE_SCHEMA for entry in manifest.databases)


def has_begun(cache: Path, name: str) -> bool:
    """Whether there is anything of an experiment, be it damaged."""
    layout = Layout(cache / name)
    return layout.experiment.exists() or layout.has_segments()
