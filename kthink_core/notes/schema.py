"""The tables of `notes.sqlite`, as a list of steps that each file goes through once."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kthink_core.errors import NotesTooNew

PATIENCE = 20.0
"""Seconds that one writer waits for the others."""

MIGRATIONS: dict[str, tuple[str, ...]] = {
    "001 entries": (
        """
        CREATE TABLE entries (
            id INTEGER PRIMARY KEY, thread INTEGER NOT NULL, kind TEXT NOT NULL, experiment TEXT NOT NULL,
            sae TEXT, sae_revision TEXT, hookpoint TEXT, feature INTEGER,
            inference INTEGER, first INTEGER, last INTEGER,
            what TEXT NOT NULL, value TEXT, author TEXT NOT NULL, written TEXT NOT NULL
        )
        """,
        "CREATE INDEX entries_by_thread ON entries (thread, id)",
        "CREATE INDEX entries_by_feature ON entries (hookpoint, feature)",
        "CREATE INDEX entries_by_inference ON entries (experiment, inference)",
    ),
    "002 quote": ("ALTER TABLE entries ADD COLUMN quote TEXT NOT NULL DEFAULT ''",),
    "003 source": (
        "ALTER TABLE entries ADD COLUMN source TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE entries ADD COLUMN score REAL",
        # What people wrote, among imported labels of which there may be hundreds of thousands.
        "CREATE INDEX entries_written_here ON entries (hookpoint, feature) WHERE source = ''",
    ),
    "004 lists": (
        """
        CREATE TABLE lists (
            id TEXT PRIMARY KEY, name TEXT NOT NULL, note TEXT NOT NULL, experiment TEXT NOT NULL,
            author TEXT NOT NULL, created TEXT NOT NULL, updated TEXT NOT NULL, deleted TEXT
        ) WITHOUT ROWID
        """,
        # `sae_named` is empty where the revision says which SAE it is, wherever its files lie.
        """
        CREATE TABLE list_features (
            list TEXT NOT NULL, hookpoint TEXT NOT NULL, feature INTEGER NOT NULL, sae_revision TEXT NOT NULL,
            sae_named TEXT NOT NULL, sae TEXT NOT NULL, place INTEGER NOT NULL, experiment TEXT NOT NULL,
            PRIMARY KEY (list, hookpoint, feature, sae_revision, sae_named)
        ) WITHOUT ROWID
        """,
        "CREATE INDEX lists_of_feature ON list_features (hookpoint, feature)",
    ),
}
"""By name, in order. One that was ever released stays as it is."""


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Brings a file, a new one too, to the state of the last migration. Raises NotesTooNew."""
    if not missing(connection, path):
        return
    _write_ahead(connection)
    with transaction(connection):
        connection.execute("CREATE TABLE IF NOT EXISTS migrations (name TEXT PRIMARY KEY)")
        for name in missing(connection, path):  # asked again: another process may have been quicker
            for statement in MIGRATIONS[name]:
                connection.execute(statement)
            connection.execute("INSERT INTO migrations VALUES (?)", (name,))


def missing(connection: sqlite3.Connection, path: Path) -> list[str]:
    """The migrations that a file has not gone through yet. Raises NotesTooNew."""
    applied = _applied(connection)
    if applied - MIGRATIONS.keys():
        raise NotesTooNew(path, max(applied))
    return [name for name in MIGRATIONS if name not in applied]


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Writes of nobody else come between; all of the block is kept, and on the disk, or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.rollback()
        raise
    connection.commit()


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Readers and a writer do not wait for each other from now on: it stays with the file."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            # For this change alone SQLite does not wait when others open the same new file.
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
            time.sleep(0.01)


def _applied(connection: sqlite3.Connection) -> set[str]:
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'migrations'").fetchone():
        return set()
    return {name for (name,) in connection.execute("SELECT name FROM migrations")}
