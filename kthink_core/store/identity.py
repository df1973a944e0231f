"""Whether a stored experiment is the one that is asked for, and whether anything of it is missing."""

from __future__ import annotations

from pathlib import Path

from kthink_core.config import DATABASE_SCHEMA, Experiment, ExperimentConfig
from kthink_core.errors import CorruptFile, ExperimentMismatch
from kthink_core.store.damage import is_sound
from kthink_core.store.files import Layout
from kthink_core.store.manifest import read_experiment, read_manifest

_INGREDIENTS = ("model_revision", "sae_revision", "problems")
"""Facts of the provenance that must not change between the runs that make one experiment."""


def check_same(stored: Experiment, asked: Experiment) -> None:
    """Raises ExperimentMismatch unless both have the same configuration, SAEs, weights and problems."""
    _compare(stored.name, _facts(stored), _facts(asked))


def is_finished(cache: Path, name: str, config: ExperimentConfig) -> bool:
    """Whether an experiment has all its inferences, its directions, and a database of them in which readers of this
    version find all they ask for. Needs neither weights nor torch.

    The database is read as a whole, to see whether it is sound. What a writer repairs is not finished. Raises
    ExperimentMismatch where one of that name has another configuration; CorruptFile, SchemaTooNew, OSError.
    """
    try:
        stored = read_experiment(cache, name)
    except CorruptFile:
        return False
    if stored is None:
        return False
    _compare(name, stored.config.model_dump(), config.model_dump())
    layout = Layout(cache / name)
    try:
        manifest, _ = read_manifest(layout)
    except CorruptFile:
        return False
    database = manifest.database
    if (
        database is None
        or manifest.segments
        or database.schema_version < DATABASE_SCHEMA
        or database.directions is None
    ):
        return False
    path = layout.folder / database.file
    return database.count == stored.inferences and path.exists() and is_sound(path, database)


def _facts(experiment: Experiment) -> dict[str, object]:
    ingredients: dict[str, object] = {name: experiment.provenance.get(name) for name in _INGREDIENTS}
    return experiment.config.model_dump() | {"inferences": experiment.inferences, "saes": experiment.saes} | ingredients


def _compare(name: str, stored: dict[str, object], asked: dict[str, object]) -> None:
    differing = {fact: (stored[fact], asked[fact]) for fact in asked if stored[fact] != asked[fact]}
    if differing:
        raise ExperimentMismatch(name, differing)
