"""Builds DuckDB databases from segment files.

A database is immutable once it has its name. It opens in the plain `duckdb` shell, needs no extension, and holds
the tables below: `latents` sorted for asking by feature, `token_latents` the same facts for asking by inference.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

import duckdb
import pyarrow as pa

from kthink_core.config import DATABASE_SCHEMA, Experiment
from kthink_core.records import Inference
from kthink_core.store.batches import batches, fidelity_rows
from kthink_core.store.feature_stats import fill_feature_stats
from kthink_core.store.fidelity_files import Measured
from kthink_core.store.files import disk_full, publish, remove, sha256_of, temporary
from kthink_core.store.scopes import SEGMENTS
from kthink_core.store.segment_sums import SegmentSums

MEMORY_LIMIT = "2GB"
"""What DuckDB may take while it builds; what does not fit is sorted on disk."""

STORAGE_VERSION = "v1.2.0"
"""Every DuckDB from this version on opens the file; a newer format measured neither smaller nor faster."""

CHUNK = 16
"""Inferences held in memory at once while a database is filled."""

TABLES = """
CREATE TABLE experiment (
    name VARCHAR, schema_version INTEGER, inferences INTEGER, config VARCHAR, provenance VARCHAR, saes VARCHAR
);
CREATE TABLE saes (hookpoint hookpoint, num_latents INTEGER, k INTEGER, d_in INTEGER, activation VARCHAR);
CREATE TABLE inferences (
    inference INTEGER, problem INTEGER, question VARCHAR, prompt VARCHAR, mode VARCHAR, seed BIGINT,
    prompt_tokens INTEGER, generated_tokens INTEGER, finish_reason VARCHAR, answer VARCHAR, reference VARCHAR,
    correct BOOLEAN, author VARCHAR, temperature DOUBLE, top_p DOUBLE,
    max_new_tokens INTEGER, tags VARCHAR[], parent_experiment VARCHAR, parent_inference INTEGER,
    parent_position INTEGER
);
CREATE TABLE interventions (
    inference INTEGER, hookpoint VARCHAR, feature INTEGER, action VARCHAR, value DOUBLE, start INTEGER,
    after_hookpoint VARCHAR, after_feature INTEGER, began INTEGER, positions INTEGER,
    change_median DOUBLE, change_max DOUBLE, before_median DOUBLE, before_max DOUBLE,
    after_median DOUBLE, after_max DOUBLE, checks STRUCT(name VARCHAR, value DOUBLE, most DOUBLE)[]
);
CREATE TABLE tokens (
    inference INTEGER, position INTEGER, token_id INTEGER, text VARCHAR, segment segment, logprob FLOAT
);
CREATE TABLE alternatives (
    inference INTEGER, position INTEGER, token_ids INTEGER[], texts VARCHAR[], logprobs FLOAT[], entropy FLOAT
);
CREATE TABLE latents (
    hookpoint hookpoint, feature INTEGER, inference INTEGER, position INTEGER, activation FLOAT, segment segment
);
CREATE TABLE token_latents (
    inference INTEGER, hookpoint hookpoint, position INTEGER, features INTEGER[], activations FLOAT[], segment segment
);
CREATE TABLE quality (
    inference INTEGER, hookpoint hookpoint, position INTEGER, squared_error FLOAT, squared_norm FLOAT, segment segment
);
CREATE TABLE fidelity (
    inference INTEGER, hookpoint hookpoint, position INTEGER, logprob FLOAT, spliced_logprob FLOAT,
    zeroed_logprob FLOAT, kl FLOAT, segment segment
);
CREATE TABLE vector_sums (inference INTEGER, hookpoint hookpoint, segment segment, positions INTEGER, sum DOUBLE[]);
CREATE TABLE feature_stats (
    hookpoint hookpoint, feature INTEGER, scope VARCHAR, positions BIGINT, inferences BIGINT,
    relevant_inferences BIGINT, max_activation FLOAT, mean_activation DOUBLE, activation_sum DOUBLE,
    right_positions BIGINT, wrong_positions BIGINT
);
CREATE TABLE feature_inferences (
    hookpoint hookpoint, feature INTEGER, inference INTEGER, segment segment, positions INTEGER, max_activation FLOAT,
    activation_sum FLOAT, peak_position INTEGER
);
CREATE TABLE relevant_features (
    hookpoint hookpoint, scope VARCHAR, inference INTEGER, rank INTEGER, feature INTEGER, max_activation FLOAT
);
CREATE TABLE feature_tokens (
    hookpoint hookpoint, scope VARCHAR, feature INTEGER, rank INTEGER, token_id INTEGER, text VARCHAR,
    max_activation FLOAT
);
CREATE TABLE segment_sums (
    hookpoint hookpoint, segment segment, positions BIGINT, squared_error DOUBLE, squared_norm DOUBLE, sum DOUBLE[]
);
CREATE TABLE neighbours (hookpoint hookpoint, feature INTEGER, rank INTEGER, neighbour INTEGER, cosine FLOAT);
CREATE TABLE promoted_tokens (
    hookpoint hookpoint, feature INTEGER, sign VARCHAR, rank INTEGER, token_id INTEGER, text VARCHAR, logit FLOAT
);
"""

# The order by feature is what makes `latents` quick: a feature is one short run of rows, and they compress well.
LATENTS = """
INSERT INTO latents BY NAME
SELECT hookpoint, unnest(features) AS feature, inference, position, unnest(activations) AS activation, segment
FROM token_latents
ORDER BY hookpoint, feature, inference, position
"""

# DuckDB reads 2,048 rows to find one: of other tables that is little, of this one some 25 MB. Older databases have no
# index, nor have small ones, in which it would be a block of its own.
_INDEX = "CREATE INDEX vector_sums_by_inference ON vector_sums (inference)"
INDEXED = 500
"""Rows of `vector_sums` from which on they have an index."""

_DIRECTIONS = """
INSERT INTO neighbours
SELECT hookpoint, feature, rank, id, value FROM incoming WHERE kind = 'neighbour' ORDER BY hookpoint, feature, rank;
INSERT INTO promoted_tokens
SELECT hookpoint, feature, kind, rank, id, text, value FROM incoming WHERE kind <> 'neighbour'
ORDER BY hookpoint, feature, kind, rank
"""


def no_pause() -> None:
    """Nothing waits for what is built."""


def not_measured(_: Inference) -> Measured | None:
    """Of no inference is the fidelity known."""
    return None


def build_database(
    target: Path,
    experiment: Experiment,
    inferences: Iterable[Inference],
    directions: pa.Table | None = None,
    pause: Callable[[], None] = no_pause,
    fidelity: Callable[[Inference], Measured | None] = not_measured,
) -> str:
    """Writes the database of some inferences, given in order, beside `target`; then gives it that name. Returns the
    SHA-256 of the file.

    `directions`: the rows of store/directions.py, where there are any yet. `fidelity`: what was measured of an
    inference. `pause` is called between the parts of the
    work; what it raises ends the build, and nothing is left of it. Memory is bounded whatever the number of
    inferences. Raises DiskFull; CorruptFile where reading them does.
    """
    beside = temporary(target)
    scratch = beside.with_suffix(".scratch")
    leftovers = (beside, beside.with_name(beside.name + ".wal"), scratch)
    for leftover in leftovers:
        remove(leftover)
    with disk_full(target, *leftovers):
        connection = duckdb.connect(config={"memory_limit": MEMORY_LIMIT, "temp_directory": str(scratch)})
        try:
            draw_nothing(connection)
            file = quoted(str(beside.absolute()))
            # A file that is whole or removed needs no log beside it.
            connection.execute(
                f"ATTACH {file} AS built (STORAGE_VERSION '{STORAGE_VERSION}', RECOVERY_MODE no_wal_writes)"
            )
            _fill(connection, experiment, inferences, directions, pause, fidelity)
            connection.execute("CHECKPOINT built")
            connection.execute("USE memory; DETACH built")
        finally:
            connection.close()
        sha256 = sha256_of(beside)
        publish(beside, target)
    remove(scratch)
    return sha256


def create_tables(connection: duckdb.DuckDBPyConnection, catalog: str, experiment: Experiment) -> None:
    """Creates all tables in an attached, empty database, describes the experiment in it, and leaves it the current
    one."""
    connection.execute(f"USE {catalog}")
    connection.execute(f"CREATE TYPE hookpoint AS ENUM ({', '.join(map(quoted, experiment.saes))})")
    connection.execute(f"CREATE TYPE segment AS ENUM ({', '.join(map(quoted, SEGMENTS))})")
    connection.execute(TABLES)
    _describe(connection, experiment)


def _fill(
    connection: duckdb.DuckDBPyConnection,
    experiment: Experiment,
    inferences: Iterable[Inference],
    directions: pa.Table | None,
    pause: Callable[[], None],
    fidelity: Callable[[Inference], Measured | None],
) -> None:
    create_tables(connection, "built", experiment)
    connection.execute("BEGIN")
    sums = SegmentSums()
    for chunk in _chunks(inferences):
        for table, rows in batches(chunk, list(experiment.saes)).items():
            _insert(connection, rows, f"INSERT INTO {table} BY NAME FROM incoming")
        for inference in chunk:
            sums.add(inference)
            if found := fidelity(inference):
                rows = fidelity_rows(inference, found, list(experiment.saes))
                _insert(connection, rows, "INSERT INTO fidelity BY NAME FROM incoming")
        pause()
    _insert(connection, sums.table(list(experiment.saes)), "INSERT INTO segment_sums BY NAME FROM incoming")
    if directions is not None:
        _insert(connection, directions, _DIRECTIONS)
    connection.execute("COMMIT")
    [(vector_sums,)] = connection.execute("SELECT count(*) FROM vector_sums").fetchall()
    if vector_sums >= INDEXED:
        connection.execute(_INDEX)
    pause()
    connection.execute(LATENTS)
    pause()
    fill_feature_stats(connection, experiment.saes, pause)


def _insert(connection: duckdb.DuckDBPyConnection, rows: pa.Table, statement: str) -> None:
    connection.register("incoming", rows)
    connection.execute(statement)
    connection.unregister("incoming")


def draw_nothing(connection: duckdb.DuckDBPyConnection) -> None:
    """No bar of a long statement's progress. Where none is drawn anyway nothing is set: in a notebook without
    ipywidgets that would be an error."""
    [drawn] = connection.execute("SELECT current_setting('enable_progress_bar')").fetchall()
    if drawn[0]:
        connection.execute("SET enable_progress_bar = false")


def quoted(text: str) -> str:
    """A text as an SQL literal, for the statements that take no parameters."""
    return "'" + text.replace("'", "''") + "'"


def _describe(connection: duckdb.DuckDBPyConnection, experiment: Experiment) -> None:
    connection.execute(
        "INSERT INTO experiment VALUES (?, ?, ?, ?, ?, ?)",
        [
            experiment.name,
            DATABASE_SCHEMA,
            experiment.inferences,
            experiment.config.model_dump_json(),
            json.dumps(experiment.facts),
            json.dumps({hookpoint: sae.model_dump() for hookpoint, sae in experiment.saes.items()}),
        ],
    )
    for hookpoint, sae in experiment.saes.items():
        connection.execute(
            "INSERT INTO saes VALUES (?, ?, ?, ?, ?)", [hookpoint, sae.num_latents, sae.k, sae.d_in, sae.activation]
        )


def _chunks(inferences: Iterable[Inference]) -> Iterator[list[Inference]]:
    remaining = iter(inferences)
    while chunk := list(islice(remaining, CHUNK)):
        yield chunk
