"""Whether a database is damaged: its checksum says so, nothing else does.

DuckDB has a checksum in every block, which it checks when it reads the block; a writer keeps one of the whole file in
the manifest. Whatever else DuckDB complains of (another process that has the file open for writing, memory, rights) is
told as what it is, and nothing is renamed or to be deleted for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import duckdb

from kthink_core.errors import CorruptFile, StoreUnavailable, in_words
from kthink_core.store.files import sha256_of
from kthink_core.store.manifest import DatabaseEntry

REMEDY = "run `precompute` again: it sets the file aside and builds another from the journal"

_DAMAGE = ("Corrupt database file", "not a valid DuckDB database file", "Could not read enough bytes")
"""What DuckDB 2.0 says where a block's checksum, the file's mark or its length is wrong."""

_OF_THE_FILE = (duckdb.OperationalError, duckdb.FatalException, duckdb.InternalError)


def is_sound(path: Path, entry: DatabaseEntry) -> bool:
    """Whether a database is, byte for byte, the one that was built. One that did not change meanwhile is read once.

    Of one that an older version built nothing is known, and it is not. Raises OSError.
    """
    state = _state(path)
    return entry.sha256 is not None and path.is_file() and _sha256(path, state) == entry.sha256


@contextmanager
def damage_told(databases: Mapping[Path, DatabaseEntry]) -> Iterator[None]:
    """Turns what DuckDB says of some databases into CorruptFile or StoreUnavailable; mistakes of a statement stay."""
    try:
        yield
    except duckdb.Error as error:
        says_damage = _says_damage(error)
        if not databases or (is_of_content(error) and not says_damage):
            raise
        damaged = next((path for path, entry in databases.items() if is_damaged(path, entry)), None)
        if damaged is None and not says_damage:
            raise StoreUnavailable(next(iter(databases)), in_words(error)) from error
        raise CorruptFile(damaged or next(iter(databases)), REMEDY) from error


def is_damaged(path: Path, entry: DatabaseEntry) -> bool:
    """Whether a database is another than was built. False where it cannot be told: of one that has gone, or of which no
    digest is known. Raises OSError."""
    return entry.sha256 is not None and path.is_file() and not is_sound(path, entry)


def is_of_content(error: duckdb.Error | OSError) -> bool:
    """Whether an error says something of what is in a file, not of the moment: a lock, memory, rights."""
    if isinstance(error, OSError):
        return False
    return _says_damage(error) or not isinstance(error, _OF_THE_FILE)


def _says_damage(error: duckdb.Error) -> bool:
    return any(words in str(error) for words in _DAMAGE)


def _state(path: Path) -> tuple[int, ...]:
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


@lru_cache(maxsize=1024)
def _sha256(path: Path, _state: tuple[int, ...]) -> str:
    """`_state` is what it is remembered by."""
    return sha256_of(path)
