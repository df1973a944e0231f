"""Databases of an experiment, attached read-only to a connection that reaches nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import duckdb

from kthink_core.config import DATABASE_SCHEMA, Experiment
from kthink_core.documents import parse_object
from kthink_core.errors import BadFile, CorruptFile, SchemaTooNew, SchemaTooOld
from kthink_core.store.damage import REMEDY
from kthink_core.store.database import draw_nothing, quoted

TABLES = (
    "inferences", "interventions", "tokens", "alternatives", "latents", "token_latents", "quality", "vector_sums",
    "feature_inferences", "relevant_features", "feature_tokens", "segment_sums", "neighbours", "promoted_tokens",
    "fidelity",
)  # fmt: skip
"""Of several databases of one experiment, the rows of all."""

_SINCE = {"interventions": 3, "fidelity": 4, "alternatives": 7}
"""The schema that brought a table, of those that younger ones brought."""

STORE = "store"
"""What a database is called in a connection that has one."""


def connect(scratch: Path | None = None) -> duckdb.DuckDBPyConnection:
    """A connection that downloads nothing and writes nothing anywhere; but to `scratch`, if given, what it sorts and
    has no memory for."""
    connection = duckdb.connect(
        config={
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "temp_directory": str(scratch or ""),
            "threads": str(min(4, os.cpu_count() or 1)),
        }
    )
    draw_nothing(connection)
    return connection


def attach(connection: duckdb.DuckDBPyConnection, path: Path, catalog: str = STORE) -> None:
    """Attaches a database. Nothing in it may be asked before `shut`. Raises FileNotFoundError, duckdb.Error."""
    path.stat()  # the system's own error where it is missing
    try:
        connection.execute(f"ATTACH {quoted(str(path.absolute()))} AS {catalog} (READ_ONLY)")
    except duckdb.Error:
        path.stat()  # it may have gone in between
        raise


def shut(connection: duckdb.DuckDBPyConnection) -> None:
    """From now on the connection opens no other file, whatever a database asks for."""
    connection.execute("SET enable_external_access = false")


def check_tables(
    connection: duckdb.DuckDBPyConnection,
    path: Path,
    catalog: str = STORE,
    oldest: int = DATABASE_SCHEMA,
    *,
    open_ended: bool = False,
) -> int:
    """The schema of an attached database. Raises CorruptFile, SchemaTooNew, SchemaTooOld, which says what to do about
    an experiment that may be `open_ended`, unless it has all tables of its schema, which is `oldest` or a later one
    that this version knows."""
    # A table that is a view computes what its author wrote.
    own = "SELECT table_name FROM duckdb_tables() WHERE database_name = ?"
    tables = {name for (name,) in connection.execute(own, [catalog]).fetchall()}
    found = connection.execute(f"FROM {catalog}.experiment LIMIT 2").fetchall() if "experiment" in tables else []
    version = found[0][1] if len(found) == 1 else None
    if not isinstance(version, int):
        raise CorruptFile(path, REMEDY, "it is no database of an experiment")
    if version > DATABASE_SCHEMA:
        raise SchemaTooNew(path, version, DATABASE_SCHEMA)
    if version < oldest:
        raise SchemaTooOld(path, version, DATABASE_SCHEMA, open_ended=open_ended)
    missing = {*TABLES, "feature_stats", "saes"} - tables
    missing -= {table for table, since in _SINCE.items() if version < since}
    if missing:
        raise CorruptFile(path, REMEDY, f"it lacks {', '.join(sorted(missing))}")
    return version


def description(connection: duckdb.DuckDBPyConnection, path: Path, catalog: str = STORE) -> Experiment:
    """The experiment that the attached database says it was built for. Raises CorruptFile."""
    columns = "name, inferences, config, provenance, saes"
    [(name, inferences, *documents)] = connection.execute(f"SELECT {columns} FROM {catalog}.experiment").fetchall()
    try:
        config, provenance, saes = (parse_object(path, str(text).encode()) for text in documents)
        facts = {"name": name, "inferences": inferences, "open_ended": inferences == 0}
        return Experiment.model_validate(facts | {"config": config, "provenance": provenance, "saes": saes})
    except (BadFile, ValueError) as error:
        raise CorruptFile(path, REMEDY, "it does not say what it was made with") from error


def check_belongs(
    connection: duckdb.DuckDBPyConnection, path: Path, experiment: Experiment, catalog: str = STORE
) -> None:
    """Raises CorruptFile unless the attached database was built for this experiment."""
    found = description(connection, path, catalog)
    if (found.mark, found.config) != (experiment.mark, experiment.config):
        raise CorruptFile(path, REMEDY, "it belongs to another experiment")
