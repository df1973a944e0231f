"""What pages and queries open: the current databases of an experiment as one set of views.

A reader builds nothing and reads no journal: what a writer has committed shows once it is in a database.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self

import duckdb
import pandas as pd
import pyarrow as pa

from kthink_core.config import JOURNAL_SCHEMA, Experiment
from kthink_core.errors import CorruptFile, KthinkError, LostFile, SchemaTooOld, UnknownName, encodable, in_words
from kthink_core.records import Inference
from kthink_core.store.attached import connect
from kthink_core.store.damage import damage_told
from kthink_core.store.files import Layout
from kthink_core.store.manifest import Manifest, committed_count, manifest_version, read_experiment, read_manifest
from kthink_core.store.rows import read_inference
from kthink_core.store.views import make_views

ATTEMPTS = 10
"""How often a reader starts again because a writer replaced the database under its hands."""


class ExperimentStatus(NamedTuple):
    """One line in the list of experiments."""

    name: str
    experiment: Experiment | None
    """None where `problem` says why."""
    committed: int
    """Inferences that a reader sees."""
    problem: str | None


def list_experiments(cache: Path) -> list[ExperimentStatus]:
    """The experiments of a cache folder by name; those that cannot be read are listed with the reason.

    Raises OSError where the folder itself cannot be read.
    """
    if not cache.exists():
        return []
    names = sorted(path.name for path in cache.iterdir() if not path.name.startswith("."))
    return [status for name in names if (status := _status(cache, name))]


def open_reader(cache: Path, name: str) -> Reader:
    """Opens what is visible of an experiment at this moment; what a writer adds later takes another reader.

    A damaged increment is left out and told in `warnings`. Raises UnknownName, CorruptFile, StoreUnavailable,
    ForeignFile, SchemaTooNew, SchemaTooOld, OSError.
    """
    layout = Layout(cache / name)
    experiment = read_experiment(cache, name) if layout.is_inside(cache) else None
    if experiment is None:
        if layout.is_inside(cache) and layout.has_segments():
            raise LostFile(layout.experiment, "run `precompute` again: it takes it from a database, or says what to do")
        known = [status.name for status in list_experiments(cache)]
        raise UnknownName("experiment", name, known, "" if known else "run `precompute` first")
    for _ in range(ATTEMPTS):
        manifest, version = read_manifest(layout, experiment.mark)
        if manifest.segments:
            schemas = manifest.schema_version, JOURNAL_SCHEMA
            raise SchemaTooOld(layout.manifest, *schemas, open_ended=experiment.open_ended)
        try:
            return Reader(layout, experiment, manifest, version)
        except FileNotFoundError as error:
            missing = Path(error.filename or layout.folder)
            if read_manifest(layout)[1] == version:
                raise LostFile(missing, "run `precompute` again: it builds another from the journal") from error
    raise CorruptFile(layout.manifest, "try again", "it changes faster than it can be read")


def store_version(cache: Path, name: str) -> str:
    """A short text that changes whenever the visible content does, and when databases are merged: cheap to poll, made
    for cache keys.

    An experiment that does not exist, or whose manifest is damaged, has one too.
    """
    return manifest_version(Layout(cache / name))


class Reader:
    """A snapshot of one experiment. Made by `open_reader`; threads may share it."""

    def __init__(self, layout: Layout, experiment: Experiment, manifest: Manifest, version: str) -> None:
        self.experiment = experiment
        self.layout = layout
        """Where the experiment's files lie."""
        self.version = version
        """Equal to `store_version` as long as nothing was added."""
        self._guard = threading.Lock()
        self._connection = connect()
        try:
            made = make_views(self._connection, layout, experiment, manifest, version)
        except BaseException:
            self._connection.close()
            raise
        self._catalogs = made.catalogs
        self._databases = {layout.folder / entry.file: entry for entry in made.catalogs.values()}
        self.inference_ids: tuple[int, ...] = made.inferences
        self.warnings: tuple[str, ...] = (*made.left_out, *_lost(layout, manifest, set(made.inferences)))
        """What was left out, a line each."""

    @property
    def inferences(self) -> int:
        """How many inferences are visible."""
        return len(self.inference_ids)

    @property
    def is_one_database(self) -> bool:
        """Whether ranks that are stored, within each database, are those of all that is visible."""
        return len(self._catalogs) == 1

    def query(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> pd.DataFrame:
        """Runs one statement over the views: the tables of the database, with the same names and columns.

        Safe in threads: each call has its own cursor. Raises CorruptFile where the database turns out to be damaged,
        StoreUnavailable where it cannot be read.
        """
        with self._cursor() as cursor:
            return cursor.execute(sql, parameters).df()

    @contextmanager
    def stream(
        self, sql: str, parameters: Mapping[str, Any] | None = None, rows: int = 122_880
    ) -> Iterator[pa.RecordBatchReader]:
        """Runs one statement without holding its result in memory: batches of up to `rows` rows. Raises as `query`."""
        with self._cursor() as cursor:
            yield cursor.sql(sql, params=parameters).to_arrow_reader(rows)

    def inference(self, inference: int) -> Inference:
        """A visible inference, whole. Raises KeyError for another, and as `query`."""
        for catalog, entry in self._catalogs.items():
            if inference in entry:
                with self._cursor() as cursor:
                    found = read_inference(cursor, self.experiment, inference, catalog)
                if found is not None:
                    return found
        raise KeyError(inference)

    @contextmanager
    def _cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        with self._guard:
            cursor = self._connection.cursor()
        try:
            with damage_told(self._databases):
                yield cursor
        finally:
            cursor.close()

    def close(self) -> None:
        """Ends the reader; its queries fail from now on."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _status(cache: Path, name: str) -> ExperimentStatus | None:
    """None where the folder is no experiment at all."""
    if encodable(name) != name:
        return ExperimentStatus(encodable(name), None, 0, "the folder's name is no text: its bytes are not UTF-8")
    layout = Layout(cache / name)
    try:
        if not layout.folder.is_dir():
            return None
        experiment = read_experiment(cache, name)
        if experiment is not None:
            return ExperimentStatus(name, experiment, committed_count(cache, name), None)
        if layout.journal.is_dir():
            return ExperimentStatus(name, None, 0, f"{layout.experiment} is missing")
    except (KthinkError, OSError) as error:
        return ExperimentStatus(name, None, 0, in_words(error))
    return None


def _lost(layout: Layout, manifest: Manifest, visible: set[int]) -> list[str]:
    """A line for each inference of which there is nothing, or only a damaged file that was set aside."""
    aside = layout.set_aside()
    told = {inference: f"its segment file was damaged and is kept as {path}" for inference, path in aside.items()}
    told = dict.fromkeys(manifest.lost, "its segment file has gone, and no database has it") | told
    unseen = sorted(told.keys() - visible)
    return [f"inference {inference} is left out: {told[inference]}" for inference in unseen]
