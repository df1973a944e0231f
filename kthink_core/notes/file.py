"""The file of notes itself: made whole or not at all, opened to write, and read even where nothing can be written.

SQLite writes beside a file in WAL mode even to read it, which a full disk or a folder without that right refuses. Such
a file is then read as it lies there, if nothing of it lies elsewhere.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from kthink_core.errors import CorruptFile, NotesUnavailable
from kthink_core.notes.schema import PATIENCE, migrate, missing, transaction
from kthink_core.store.files import TEMPORARY, sync_folder

_BESIDE = ("-wal", "-journal")
"""Ends of the names of files in which what was written last may still lie."""
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS)
"""Said by file systems that know no second name of a file, such as those of memory sticks."""
_IN_USE = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection | None]:
    """A connection to ask with; None where nobody has written yet: looking makes no file.

    Raises NotesUnavailable, NotesTooNew, CorruptFile.
    """
    with _told(path):
        if not _there(path):
            yield None
            return
        with closing(_readable(path)) as connection:
            yield connection


def behind(path: Path) -> list[str]:
    """The steps of the schema that a file lacks, which is left as it is; none where there is no file. Raises as
    `reading`."""
    with _told(path):
        if not _there(path):
            return []
        with closing(_connect(path, "mode=ro")) as connection:
            return missing(connection, path)


@contextmanager
def writing(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection within a transaction: all of the block is kept, and outlasts a power cut, or nothing. Makes the file
    where there is none.

    Raises NotesUnavailable, NotesTooNew, CorruptFile.
    """
    with _told(path):
        if not _there(path):
            _make(path)
        with closing(_current(path)) as connection:
            connection.execute("PRAGMA synchronous = FULL")
            with transaction(connection):
                yield connection


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turns what SQLite and the system say of a file into errors of ours."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise NotesUnavailable(path, str(error)) from error
    except sqlite3.DatabaseError as error:
        raise _damaged(path) from error
    except OSError as error:
        raise NotesUnavailable(path, error.strerror or str(error)) from error


def _damaged(path: Path) -> CorruptFile:
    return CorruptFile(path, "move it away, or put a copy of it in its place; experiments do not depend on it")


def _there(path: Path) -> bool:
    """Whether there is a file. Raises CorruptFile for an empty one, which no kthink leaves; NotesUnavailable or OSError
    for what is none, or cannot be looked at."""
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    if not path.is_file():
        raise NotesUnavailable(path, "it is no file, or a link that leads to none")
    if path.stat().st_size == 0:
        raise _damaged(path)
    return True


def _make(path: Path) -> None:
    """A new file, without notes. It has its name from the moment when it is whole, and never takes the place of one
    that somebody else has made meanwhile."""
    with tempfile.TemporaryDirectory(prefix=f"{TEMPORARY}{path.name}-", dir=path.parent) as folder:
        beside = Path(folder) / path.name
        with closing(_connect(beside, "mode=rwc")) as connection:
            migrate(connection, beside)
            # Closing does it too, but says nothing of a full disk.
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with beside.open("rb") as made:
            os.fsync(made.fileno())
        try:
            path.hardlink_to(beside)
        except FileExistsError:
            return
        except OSError as error:
            if error.errno not in _NO_LINKS or path.exists():
                raise
            beside.rename(path)  # it would replace another's, were that made in between
        sync_folder(path.parent)


def _current(path: Path) -> sqlite3.Connection:
    """A connection to a file that is there, brought to the newest schema."""
    connection = _connect(path, "mode=rw")
    try:
        migrate(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _readable(path: Path) -> sqlite3.Connection:
    """A connection that is only asked: where nothing can be written beside the file, to the file as it lies there."""
    try:
        return _current(path)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF in _IN_USE or not _is_whole(path):
            raise
    connection = _connect(path, "mode=ro&immutable=1")
    try:
        if missing(connection, path):
            raise NotesUnavailable(path, "it is of an older kthink, and what this one needs cannot be added")
    except BaseException:
        connection.close()
        raise
    return connection


def _is_whole(path: Path) -> bool:
    """Whether nothing of what was written lies in a file beside it."""
    real = path.resolve()  # SQLite, too, writes beside what a link leads to
    beside = [real.with_name(real.name + end) for end in _BESIDE]
    return not any(other.exists() and other.stat().st_size > 0 for other in beside)


def _connect(path: Path, how: str) -> sqlite3.Connection:
    """A new one: it takes 0.2 ms, and sees the file that lies there now, whatever was done to it meanwhile."""
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True, timeout=PATIENCE, isolation_level=None)
    connection.row_factory = sqlite3.Row
    return connection
