"""What pages and queries open: the current database and the segment files beside it as one set of views."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self

import duckdb
import pandas as pd
import pyarrow as pa

from kthink_core.config import SCHEMA, Experiment
from kthink_core.errors import CorruptFile, KthinkError, SchemaTooNew, SchemaTooOld, UnknownName
from kthink_core.records import Inference
from kthink_core.store.database import fill, quoted
from kthink_core.store.files import Layout
from kthink_core.store.journal import read_segment
from kthink_core.store.manifest import Manifest, committed, manifest_version, read_experiment, read_manifest

REMEDY = "delete it and run `precompute` again: it builds another from the journal"

ATTEMPTS = 10
"""How often a reader starts again because a writer replaced the database under its hands."""

_TABLES = (
    "inferences", "tokens", "latents", "token_latents", "quality", "vector_sums", "feature_inferences",
    "relevant_features", "feature_tokens", "segment_sums", "neighbours", "promoted_tokens",
)  # fmt: skip
"""Of a database and what is pending beside it, the rows of both."""

# Numbers of positions and inferences add up; a mean is had from the sums.
_FEATURE_STATS = """
SELECT hookpoint, feature, scope, sum(positions)::BIGINT AS positions, sum(inferences)::BIGINT AS inferences,
    sum(relevant_inferences)::BIGINT AS relevant_inferences, max(max_activation) AS max_activation,
    sum(activation_sum) / sum(positions) AS mean_activation, sum(activation_sum) AS activation_sum,
    sum(right_positions)::BIGINT AS right_positions, sum(wrong_positions)::BIGINT AS wrong_positions
FROM (SELECT * FROM store.feature_stats UNION ALL SELECT * FROM pending.feature_stats)
GROUP BY hookpoint, feature, scope
"""


class ExperimentStatus(NamedTuple):
    """One line in the list of experiments."""

    name: str
    experiment: Experiment | None
    """None where `problem` says why."""
    committed: int
    """Inferences that a reader sees."""
    problem: str | None


def list_experiments(cache: Path) -> list[ExperimentStatus]:
    """The experiments of a cache folder by name; those that cannot be read are listed with the reason."""
    if not cache.is_dir():
        return []
    folders = sorted(path for path in cache.iterdir() if path.is_dir() and not path.name.startswith("."))
    return [status for folder in folders if (status := _status(cache, folder.name))]


def open_reader(cache: Path, name: str) -> Reader:
    """Opens what is visible of an experiment at this moment; what a writer adds later takes another reader.

    A damaged segment file is left out and told in `warnings`. Raises UnknownName, CorruptFile, SchemaTooNew,
    SchemaTooOld.
    """
    known = [status.name for status in list_experiments(cache)]
    experiment = read_experiment(cache, name) if name in known else None
    if experiment is None:
        raise UnknownName("experiment", name, known, "" if known else "run `precompute` first")
    layout = Layout(cache / name)
    for _ in range(ATTEMPTS):
        manifest, version = read_manifest(layout)
        try:
            return Reader(layout, experiment, manifest, version)
        except FileNotFoundError as error:
            missing = Path(error.filename or layout.folder)
            if read_manifest(layout)[1] == version:
                raise CorruptFile(missing, "it is missing; run `precompute` again") from error
    raise CorruptFile(layout.manifest, "it changes faster than it can be read")


def store_version(cache: Path, name: str) -> str:
    """A short text that changes whenever the visible content does: cheap to poll, made for cache keys.

    An experiment that does not exist, or whose manifest is damaged, has one too.
    """
    return manifest_version(Layout(cache / name))


def inferences_of_database(path: Path) -> frozenset[int]:
    """The inferences in a database. Raises FileNotFoundError, CorruptFile, SchemaTooNew, SchemaTooOld."""
    connection = _connect()
    try:
        _attach(connection, path)
        rows = connection.execute("SELECT inference FROM store.inferences").fetchall()
    except duckdb.Error as error:
        raise CorruptFile(path, REMEDY) from error
    finally:
        connection.close()
    return frozenset(inference for (inference,) in rows)


class Reader:
    """A snapshot of one experiment. Made by `open_reader`; threads may share it."""

    def __init__(self, layout: Layout, experiment: Experiment, manifest: Manifest, version: str) -> None:
        self.experiment = experiment
        self.version = version
        """Equal to `store_version` as long as nothing was added."""
        self._path = layout.folder / manifest.database.file if manifest.database else None
        self._guard = threading.Lock()
        pending, self.warnings = _read_pending(layout, manifest)
        """`warnings`: what was left out, a line each."""
        self._connection = _connect()
        try:
            self._make_views(pending)
        except BaseException:
            self._connection.close()
            raise
        rows = self.query("SELECT inference FROM inferences ORDER BY inference")
        self.inference_ids: tuple[int, ...] = tuple(int(inference) for inference in rows["inference"])

    @property
    def inferences(self) -> int:
        """How many inferences are visible."""
        return len(self.inference_ids)

    def query(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> pd.DataFrame:
        """Runs one statement over the views: the tables of the database, with the same names and columns.

        Safe in threads: each call has its own cursor. Raises CorruptFile where the database turns out to be damaged.
        """
        with self._guard:
            cursor = self._connection.cursor()
        try:
            return cursor.execute(sql, parameters).df()
        except duckdb.Error as error:
            if self._path and _is_damage(error):
                raise CorruptFile(self._path, REMEDY) from error
            raise
        finally:
            cursor.close()

    @contextmanager
    def stream(
        self, sql: str, parameters: Mapping[str, Any] | None = None, rows: int = 122_880
    ) -> Iterator[pa.RecordBatchReader]:
        """Runs one statement without holding its result in memory: batches of up to `rows` rows."""
        with self._guard:
            cursor = self._connection.cursor()
        try:
            yield cursor.sql(sql, params=parameters).to_arrow_reader(rows)
        except duckdb.Error as error:
            if self._path and _is_damage(error):
                raise CorruptFile(self._path, REMEDY) from error
            raise
        finally:
            cursor.close()

    def close(self) -> None:
        """Ends the reader; its queries fail from now on."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _make_views(self, pending: list[Inference]) -> None:
        sources = []
        try:
            if self._path:
                _attach(self._connection, self._path)
                sources.append("store")
            if pending or not self._path:
                self._connection.execute("ATTACH ':memory:' AS pending")
                fill(self._connection, "pending", self.experiment, pending)
                self._connection.execute("USE memory")
                sources.append("pending")
            for table in _TABLES:
                union = " UNION ALL ".join(f"SELECT * FROM {source}.{table}" for source in sources)
                self._connection.execute(f"CREATE VIEW {table} AS {union}")
        except duckdb.Error as error:
            if self._path and _is_damage(error):
                raise CorruptFile(self._path, REMEDY) from error
            raise
        stats = _FEATURE_STATS if len(sources) == 2 else f"SELECT * FROM {sources[0]}.feature_stats"
        self._connection.execute(f"CREATE VIEW feature_stats AS {stats}")
        self._connection.execute(f"CREATE VIEW saes AS SELECT * FROM {sources[0]}.saes")
        self._connection.execute("SET enable_external_access = false")
        self._connection.execute("SET lock_configuration = true")


def _status(cache: Path, name: str) -> ExperimentStatus | None:
    """None where the folder is no experiment at all."""
    layout = Layout(cache / name)
    try:
        experiment = read_experiment(cache, name)
        count = len(committed(cache, name))
    except KthinkError as error:
        return ExperimentStatus(name, None, 0, str(error))
    if experiment is not None:
        return ExperimentStatus(name, experiment, count, None)
    if layout.journal.is_dir():
        return ExperimentStatus(name, None, 0, f"{layout.experiment} is missing")
    return None


def _connect() -> duckdb.DuckDBPyConnection:
    """A connection that downloads nothing and writes nothing anywhere."""
    connection = duckdb.connect(
        config={
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "temp_directory": "",
            "threads": str(min(4, os.cpu_count() or 1)),
        }
    )
    connection.execute("SET enable_progress_bar = false")
    return connection


def _attach(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Attaches a database read-only as `store`. Raises FileNotFoundError, CorruptFile, SchemaTooNew, SchemaTooOld."""
    path.stat()  # the system's own error where it is missing
    try:
        connection.execute(f"ATTACH {quoted(str(path.absolute()))} AS store (READ_ONLY)")
        found = connection.execute("SELECT schema_version FROM store.experiment").fetchall()[0][0]
    except (duckdb.Error, IndexError) as error:
        path.stat()
        raise CorruptFile(path, REMEDY) from error
    if found > SCHEMA:
        raise SchemaTooNew(path, found, SCHEMA)
    if found < SCHEMA:
        raise SchemaTooOld(path, found, SCHEMA)


def _read_pending(layout: Layout, manifest: Manifest) -> tuple[list[Inference], tuple[str, ...]]:
    inferences, warnings = [], []
    for inference in sorted(manifest.pending()):
        try:
            inferences.append(read_segment(layout.segment(inference)))
        except (CorruptFile, SchemaTooNew) as error:
            warnings.append(f"inference {inference} is left out: {error}")
        except FileNotFoundError:
            warnings.append(f"inference {inference} is left out: {layout.segment(inference)} is missing")
    return inferences, tuple(warnings)


def _is_damage(error: duckdb.Error) -> bool:
    """Whether DuckDB complains of the file, not of the statement."""
    return isinstance(error, duckdb.IOException | duckdb.FatalException | duckdb.SerializationException)
