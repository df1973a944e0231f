"""The current databases of an experiment, attached and put together: views with the names of their tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import duckdb

from kthink_core.config import Experiment
from kthink_core.errors import CorruptFile, LostFile
from kthink_core.store.attached import TABLES, attach, check_belongs, check_tables, shut
from kthink_core.store.damage import REMEDY, damage_told, is_damaged
from kthink_core.store.database import create_tables
from kthink_core.store.files import Layout
from kthink_core.store.manifest import DatabaseEntry, Manifest, read_manifest

# Numbers of positions and inferences add up; a mean is had from the sums.
_FEATURE_STATS = """
SELECT hookpoint, feature, scope, sum(positions)::BIGINT AS positions, sum(inferences)::BIGINT AS inferences,
    sum(relevant_inferences)::BIGINT AS relevant_inferences, max(max_activation) AS max_activation,
    sum(activation_sum) / sum(positions) AS mean_activation, sum(activation_sum) AS activation_sum,
    sum(right_positions)::BIGINT AS right_positions, sum(wrong_positions)::BIGINT AS wrong_positions
FROM ({union}) GROUP BY hookpoint, feature, scope
"""


class Views(NamedTuple):
    """What there is to see in a connection."""

    inferences: tuple[int, ...]
    """Ascending."""
    catalogs: Mapping[str, DatabaseEntry]
    """The databases that they are over, by what each is called in the connection."""
    left_out: tuple[str, ...]
    """A line for each increment that is damaged or has gone."""


def make_views(
    connection: duckdb.DuckDBPyConnection, layout: Layout, experiment: Experiment, manifest: Manifest, version: str
) -> Views:
    """Makes the views over the databases that a manifest of this version names.

    Raises FileNotFoundError where one has gone because the manifest is another by now; CorruptFile, StoreUnavailable,
    SchemaTooNew, SchemaTooOld.
    """
    left_out: list[str] = []

    @contextmanager
    def damaged_left_out(entry: DatabaseEntry) -> Iterator[None]:
        """Of what is wrong with an increment only its own inferences suffer."""
        path = layout.folder / entry.file
        try:
            with damage_told({path: entry}):
                yield
        except (CorruptFile, FileNotFoundError) as error:
            gone = isinstance(error, FileNotFoundError)
            if entry is manifest.database or (gone and read_manifest(layout)[1] != version):
                raise
            told = LostFile(path, "run `precompute` again: it builds another from the journal") if gone else error
            left_out.append(f"{_named(entry)} left out: {told}")

    attached: dict[str, DatabaseEntry] = {}
    for number, entry in enumerate(manifest.databases):
        with damaged_left_out(entry):
            path = layout.folder / entry.file
            # What is wrong with one block would else end each query; increments are small.
            if entry is not manifest.database and is_damaged(path, entry):
                raise CorruptFile(path, REMEDY)
            attach(connection, path, f"store_{number}")
            attached[f"store_{number}"] = entry
    shut(connection)
    sound: dict[str, DatabaseEntry] = {}
    for catalog, entry in attached.items():
        with damaged_left_out(entry):
            _check(connection, layout.folder / entry.file, catalog, entry, experiment)
            sound[catalog] = entry
    if sound:
        _unite(connection, list(sound))
    else:
        create_tables(connection, "memory", experiment)
    connection.execute("SET lock_configuration = true")
    inferences = sorted(inference for entry in sound.values() for inference in entry.contents())
    return Views(tuple(inferences), sound, tuple(left_out))


def _check(
    connection: duckdb.DuckDBPyConnection, path: Path, catalog: str, entry: DatabaseEntry, experiment: Experiment
) -> None:
    check_tables(connection, path, catalog, open_ended=experiment.open_ended)
    check_belongs(connection, path, experiment, catalog)
    rows = connection.execute(f"SELECT inference FROM {catalog}.inferences ORDER BY inference").fetchall()
    if [inference for (inference,) in rows] != sorted(entry.contents()):
        raise CorruptFile(path, REMEDY, "it holds other inferences than the manifest says")


def _unite(connection: duckdb.DuckDBPyConnection, catalogs: list[str]) -> None:
    for table in (*TABLES, "feature_stats"):
        union = " UNION ALL ".join(f"SELECT * FROM {catalog}.{table}" for catalog in catalogs)
        if table == "feature_stats" and len(catalogs) > 1:
            union = _FEATURE_STATS.format(union=union)
        connection.execute(f"CREATE VIEW {table} AS {union}")
    connection.execute(f"CREATE VIEW saes AS SELECT * FROM {catalogs[0]}.saes")


def _named(entry: DatabaseEntry) -> str:
    """Its inferences: `inferences 3 to 5, 7 are`."""
    names = ", ".join(f"{first} to {last}" if first < last else f"{first}" for first, last in entry.inferences)
    return f"inference {names} is" if entry.count == 1 else f"inferences {names} are"
