"""An inference whose segment file is lost, or the experiment's own file, taken from a database that has it.

The blocks of a database have checksums: what is read of it is what was written, even where other blocks of it are
damaged.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import duckdb

from kthink_core.config import DATABASE_SCHEMA, Experiment
from kthink_core.errors import CorruptFile, SchemaTooNew, SchemaTooOld, StoreUnavailable, in_words
from kthink_core.records import Inference
from kthink_core.store.attached import STORE, attach, check_belongs, check_tables, connect, description, shut
from kthink_core.store.damage import is_of_content
from kthink_core.store.files import DAMAGED, DATABASE_NAME, Layout
from kthink_core.store.journal import misfit
from kthink_core.store.rows import read_inference

_UNUSABLE = (CorruptFile, SchemaTooOld, SchemaTooNew, FileNotFoundError, ValueError)
"""Of a database: it is damaged, another's or of a version that is not known, and will not be more."""

_OLDEST = 2
"""The schema from which on a database has whole inferences."""

Found = TypeVar("Found")


def recovered(layout: Layout, experiment: Experiment, inference: int) -> Inference | None:
    """The inference as the newest database that has it sound holds it; None where none has.

    Raises StoreUnavailable where one that may have it cannot be asked now.
    """

    def ask(connection: duckdb.DuckDBPyConnection, path: Path, schema: int) -> Inference | None:
        check_belongs(connection, path, experiment)
        found = read_inference(connection, experiment, inference, STORE, schema)
        return found if found is not None and misfit(experiment, found) is None else None

    return _first(layout, ask)


def outcome_of(experiment: Experiment, inference: int, *, is_found: bool) -> str:
    """What becomes of an inference that its journal lacks, in words."""
    if is_found:
        return f"inference {inference} is taken from a database that has it"
    if experiment.open_ended:
        return f"inference {inference} of '{experiment.name}' IS LOST, no database has it"
    return f"inference {inference} is computed again"


def inferences_anywhere(layout: Layout, experiment: Experiment) -> frozenset[int]:
    """The inferences of all databases that can be read: all that is known of them where the manifest is lost.
    Raises StoreUnavailable."""
    found = set[int]()

    def ask(connection: duckdb.DuckDBPyConnection, path: Path, _: int) -> None:
        check_belongs(connection, path, experiment)
        rows = connection.execute(f"SELECT inference FROM {STORE}.inferences").fetchall()
        found.update(inference for (inference,) in rows)

    _first(layout, ask)
    return frozenset(found)


def experiment_anywhere(layout: Layout) -> Experiment | None:
    """The configuration and provenance that the newest readable database was built with. Raises StoreUnavailable."""
    return _first(layout, lambda connection, path, _: description(connection, path))


def is_current(path: Path) -> bool:
    """Whether a database can be read now and is of this version's schema: any other may hold what this version, or
    this moment, does not show."""
    with closing(connect()) as connection:
        try:
            attach(connection, path)
            shut(connection)
            return check_tables(connection, path) == DATABASE_SCHEMA
        except (*_UNUSABLE, duckdb.Error, OSError):
            return False


def has_databases(layout: Layout) -> bool:
    """Whether there is any, sound or set aside."""
    return next(_databases(layout), None) is not None


def _first(layout: Layout, ask: Callable[[duckdb.DuckDBPyConnection, Path, int], Found | None]) -> Found | None:
    """The first answer that is one, the newest database's first; `ask` hears of its schema, too. Raises
    StoreUnavailable where none has one and one could not be asked: that is no loss."""
    busy: StoreUnavailable | None = None
    for path in _databases(layout):
        with closing(connect()) as connection:
            try:
                attach(connection, path)
                shut(connection)
                found = ask(connection, path, check_tables(connection, path, oldest=_OLDEST))
            except _UNUSABLE:
                continue
            except (duckdb.Error, OSError) as error:
                if not is_of_content(error):
                    busy = busy or StoreUnavailable(path, in_words(error))
                continue
        if found is not None:
            return found
    if busy is not None:
        raise busy
    return None


def _databases(layout: Layout) -> Iterator[Path]:
    """The newest first, then those that were set aside."""
    yield from reversed(layout.databases())
    for path in sorted(layout.folder.glob(f"latents-*{DAMAGED}*"), reverse=True):
        if re.fullmatch(DATABASE_NAME, path.name.partition(DAMAGED)[0]):
            yield path
