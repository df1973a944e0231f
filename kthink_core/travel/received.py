"""DuckDB files that somebody else made, opened so that nothing in them runs.

They are attached read-only to a connection that opens no other file and loads no extension, and may have nothing but
tables of plain columns: no view, no macro, no computed column. Only tables of known columns and types are asked.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import duckdb

from kthink_core.errors import BadFile, CorruptFile, DiskFull, in_words
from kthink_core.store.attached import attach, connect, shut
from kthink_core.store.files import is_disk_full

MEMORY_LIMIT = "2GB"
"""What DuckDB may take; what it sorts beyond goes to the scratch folder."""

MOST_TABLES = 100
MOST_ROWS = 2**34
"""Of one table: far above what there is."""

Columns = Mapping[str, str]
"""Types by column."""


@contextmanager
def opened(paths: Sequence[Path], scratch: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection in which the files are `received_0`, `received_1`, … and nothing else can be opened. What is sorted
    on disk is sorted in `scratch`.

    Raises BadFile for a file that is no DuckDB database or has more in it than tables, OSError. What DuckDB says later
    is to be told by `told`.
    """
    with closing(connect(scratch)) as connection:
        connection.execute(f"SET memory_limit = '{MEMORY_LIMIT}'")
        for number, path in enumerate(paths):
            with told(path):
                if not stat.S_ISREG(path.stat().st_mode):
                    raise BadFile(path, "it is no plain file")
                attach(connection, path, f"received_{number}")
        shut(connection)
        connection.execute("SET lock_configuration = true")
        for number, path in enumerate(paths):
            with told(path):
                _check_inert(connection, path, f"received_{number}")
        yield connection


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Turns what DuckDB and Python say of a received file into BadFile; a full disk into DiskFull."""
    try:
        yield
    except CorruptFile as error:
        raise BadFile(path, "it does not say what it was made with") from error
    except (duckdb.Error, ValueError, OverflowError) as error:  # a text that is none, a number that no array holds
        if is_disk_full(error):
            raise DiskFull(path) from error
        raise BadFile(path, f"it cannot be read: {in_words(error)[:200]}") from error


def tables_of(connection: duckdb.DuckDBPyConnection, catalog: str) -> dict[str, dict[str, str]]:
    """The tables of a received file, with the types of their columns by name."""
    rows = connection.execute(
        "SELECT table_name, column_name, data_type FROM duckdb_columns() WHERE database_name = ? "
        "ORDER BY table_name, column_index",
        [catalog],
    ).fetchall()
    found: dict[str, dict[str, str]] = {}
    for table, column, kind in rows:
        found.setdefault(table, {})[column] = kind
    return found


def check_rows(connection: duckdb.DuckDBPyConnection, path: Path, catalog: str, tables: Sequence[str]) -> None:
    """Raises BadFile for a table with more rows than are read."""
    for table in tables:
        ((rows,),) = connection.execute(f"SELECT count(*) FROM {catalog}.main.{table}").fetchall()
        if rows > MOST_ROWS:
            raise BadFile(path, f"its table {table} has {rows:,} rows: at most {MOST_ROWS:,} are read")


def check_rules(connection: duckdb.DuckDBPyConnection, path: Path, rules: Sequence[tuple[str, str]]) -> None:
    """`rules`: a query, and what its rows are. Raises BadFile, naming the first of them, where it has any."""
    for query, what in rules:
        found = connection.execute(f"{query} LIMIT 1").fetchall()
        if found:
            shown = ", ".join(str(value)[:60] for value in found[0])
            raise BadFile(path, f"{what} ({shown})")


def _check_inert(connection: duckdb.DuckDBPyConnection, path: Path, catalog: str) -> None:
    """Raises BadFile for what is more than tables of columns, and would compute what its author wrote."""
    kinds = {
        "a view": "SELECT view_name FROM duckdb_views() WHERE NOT internal AND database_name = ?",
        "a macro": "SELECT function_name FROM duckdb_functions() WHERE NOT internal AND database_name = ?",
        "a computed column": "SELECT column_name FROM duckdb_columns() WHERE is_generated AND database_name = ?",
        "a table in a schema of its own": (
            "SELECT table_name FROM duckdb_tables() WHERE schema_name <> 'main' AND database_name = ?"
        ),
    }
    for kind, query in kinds.items():
        found = connection.execute(f"{query} LIMIT 1", [catalog]).fetchone()
        if found:
            raise BadFile(path, f"it has {kind}, '{str(found[0])[:60]}': only plain tables are read")
    tables = "SELECT count(*) FROM duckdb_tables() WHERE database_name = ?"
    ((count,),) = connection.execute(tables, [catalog]).fetchall()
    if count > MOST_TABLES:
        raise BadFile(path, f"it has {count:,} tables: at most {MOST_TABLES} are read")
