"""Reads a database that `export` wrote, of this version or an older one: all of it is checked before it is believed.

Its tables are those of the store (store/database.py). Read are the ones that everything else is computed from; the
others are made anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import duckdb
import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kthink_core.config import DATABASE_SCHEMA, MOST_INFERENCES, MOST_LATENTS, Experiment
from kthink_core.documents import MOST_BYTES, checked, parse, told
from kthink_core.errors import BadFile, SchemaTooNew
from kthink_core.prompts import Mode
from kthink_core.records import Fidelity, FinishReason, Inference
from kthink_core.store.attached import connect, description
from kthink_core.store.database import create_tables
from kthink_core.store.fidelity_files import FIGURES, Measured
from kthink_core.store.injections import Injection
from kthink_core.store.intervention_rows import INTERVENTION, OLDER_INTERVENTION
from kthink_core.store.journal import misfit
from kthink_core.store.rows import COLUMN_SINCE, read_inference
from kthink_core.travel import received
from kthink_core.travel.export_rules import rules

OLDEST = 2
"""The schema from which on a database has whole inferences."""

MOST_RESULTS = 10_000
"""Of token injection that are taken."""
MOST_FACTS, LONGEST_FACT = 100, 4096
"""Of the provenance."""

_SINCE = {"interventions": 3, "fidelity": 4, "alternatives": 7}
_READ = (
    "inferences", "interventions", "tokens", "alternatives", "token_latents", "quality", "vector_sums", "fidelity",
    "neighbours", "promoted_tokens",
)  # fmt: skip

_DIRECTIONS = """
SELECT hookpoint::VARCHAR AS hookpoint, feature, 'neighbour' AS kind, rank, neighbour AS id, cosine AS value,
    NULL::VARCHAR AS text, hookpoint AS place
FROM {at}.neighbours
UNION ALL BY NAME
SELECT hookpoint::VARCHAR AS hookpoint, feature, sign AS kind, rank, token_id AS id, logit AS value, text,
    hookpoint AS place
FROM {at}.promoted_tokens
ORDER BY place, kind, feature, rank
"""

_Number = Annotated[int, Field(ge=0, lt=2**31)]
_Long = Annotated[str, Field(max_length=2_000_000)]
_Finite = Annotated[float, Field(allow_inf_nan=False)]


class _Scalars(BaseModel):
    """What one row of `inferences` may say."""

    model_config = ConfigDict(strict=True, from_attributes=True)

    problem: _Number
    question: _Long
    prompt: _Long
    mode: Mode
    seed: Annotated[int, Field(ge=0, lt=2**63)]
    prompt_tokens: _Number
    finish_reason: FinishReason
    answer: _Long | None
    reference: _Long | None
    correct: bool | None
    author: Annotated[str, Field(max_length=200)] | None
    temperature: _Finite | None
    top_p: _Finite | None
    max_new_tokens: _Number | None
    tags: Annotated[tuple[Annotated[str, Field(max_length=100)], ...], Field(max_length=32)]
    parent_experiment: Annotated[str, Field(max_length=200)] | None
    parent_inference: _Number | None
    parent_position: _Number | None


class OwnExport:
    """A checked database. Each method raises BadFile where what it reads is not what an export holds."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, path: Path, catalog: str) -> None:
        """Raises BadFile, SchemaTooNew."""
        self._connection, self._path, self._catalog = connection, path, catalog
        with received.told(path):
            self.tables = received.tables_of(connection, catalog)
            self._schema = self._version()
            self.experiment = _bounded(path, description(connection, path, f"{catalog}.main"))
            """As the file tells of it."""
            self._check_columns()
            read = [table for table in _READ if self._has(table)]
            received.check_rows(connection, path, catalog, read)
            received.check_rules(connection, path, rules(f"{catalog}.main", self.experiment, read))
            rows = connection.execute(f"SELECT inference FROM {catalog}.main.inferences ORDER BY inference").fetchall()
        self.inference_ids = [inference for (inference,) in rows]
        """Ascending; one at least."""

    def inference(self, inference: int) -> Inference:
        with received.told(self._path):
            catalog = f"{self._catalog}.main"
            found = read_inference(self._connection, self.experiment, inference, catalog, self._schema)
        room = self.experiment.model_copy(update={"inferences": MOST_INFERENCES})
        reason = "it is not there" if found is None else misfit(room, found) or _nonsense(found)
        if found is None or reason:
            raise BadFile(self._path, f"inference {inference}: {reason}")
        return found

    def directions(self) -> pa.Table | None:
        """The rows of store/directions.py; None where there are none."""
        with received.told(self._path):
            asked = self._connection.sql(_DIRECTIONS.format(at=f"{self._catalog}.main"))
            found = asked.to_arrow_table().drop_columns(["place"])
        return found if found.num_rows else None

    def fidelity(self, inference: Inference) -> Measured | None:
        """What was measured of an inference; None where nothing was."""
        if not self._has("fidelity"):
            return None
        with received.told(self._path):
            rows = self._connection.execute(
                f"SELECT hookpoint::VARCHAR, {', '.join(FIGURES)} FROM {self._catalog}.main.fidelity "
                "WHERE inference = ? ORDER BY fidelity.hookpoint, position",
                [inference.inference],
            ).fetchall()
        if not rows:
            return None
        positions = len(inference.token_ids)
        if [name for name, *_ in rows] != [name for name in self.experiment.saes for _ in range(positions)]:
            raise BadFile(self._path, f"fidelity of inference {inference.inference}: not one row a position")
        figures = np.array([row[1:] for row in rows], np.float32).reshape(-1, positions, len(FIGURES))
        if np.isinf(figures).any():
            raise BadFile(self._path, f"fidelity of inference {inference.inference}: numbers that are not finite")
        return {hookpoint: Fidelity(*figures[number].T.copy()) for number, hookpoint in enumerate(self.experiment.saes)}

    def injections(self) -> Iterator[Injection]:
        """What token injection said of features, with where it was: a document each."""
        if self.tables.get("injections", {}).get("result") != "VARCHAR":
            return
        with received.told(self._path):
            rows = self._connection.execute(
                f"SELECT result FROM {self._catalog}.main.injections "
                f"WHERE length(result) <= {MOST_BYTES // 4} LIMIT {MOST_RESULTS}"
            ).fetchall()
        for (text,) in rows:
            result = checked(self._path, parse(self._path, text.encode()), Injection)
            sae = self.experiment.saes.get(result.origin.hookpoint)
            if sae is None or result.feature >= sae.num_latents:
                raise BadFile(self._path, f"it tells of an injection at {result.origin.hookpoint[:60]} that is not its")
            yield result

    def _has(self, table: str) -> bool:
        return self._schema >= _SINCE.get(table, OLDEST)

    def _version(self) -> int:
        """Raises BadFile, SchemaTooNew."""
        wanted = {"name": "VARCHAR", "schema_version": "INTEGER", "inferences": "INTEGER"}
        wanted |= dict.fromkeys(("config", "provenance", "saes"), "VARCHAR")
        if self.tables.get("experiment") != wanted:
            raise BadFile(self._path, "its table experiment is not that of an export")
        at = f"{self._catalog}.main.experiment"
        lengths = " + ".join(f"length({column})" for column in ("name", "config", "provenance", "saes"))
        rows = self._connection.execute(f"SELECT schema_version, {lengths} FROM {at} LIMIT 2").fetchall()
        if len(rows) != 1 or rows[0][0] is None or not (rows[0][1] or MOST_BYTES) < MOST_BYTES:
            raise BadFile(self._path, "it does not say what it was made with")
        version = rows[0][0]
        if version > DATABASE_SCHEMA:
            raise SchemaTooNew(self._path, version, DATABASE_SCHEMA)
        if version < OLDEST:
            raise BadFile(self._path, f"it has store schema {version}: from {OLDEST} on an export has all it takes")
        return version

    def _check_columns(self) -> None:
        """Raises BadFile unless what is read has just the columns, of just the types, that its schema has."""
        for table, columns in _expected(self.experiment).items():
            if table not in _READ or not self._has(table):
                continue
            if table == "interventions" and self._schema < 5:
                added = {field.name for field in INTERVENTION} - {field.name for field in OLDER_INTERVENTION}
                columns = {name: kind for name, kind in columns.items() if name not in added}
            if table == "inferences":
                columns = {name: kind for name, kind in columns.items() if self._schema >= COLUMN_SINCE.get(name, 0)}
            found = self.tables.get(table, {})
            if found != columns:
                differing = sorted(dict(found.items() ^ columns.items()))
                raise BadFile(self._path, f"its table {table} is not that of an export: {', '.join(differing)[:200]}")


def _expected(experiment: Experiment) -> Mapping[str, Mapping[str, str]]:
    """The columns of an own database of the experiment."""
    with closing(connect()) as connection:
        create_tables(connection, "memory", experiment)
        return received.tables_of(connection, "memory")


def _bounded(path: Path, experiment: Experiment) -> Experiment:
    facts = experiment.facts
    if len(facts) > MOST_FACTS or any(len(name) + len(fact) > LONGEST_FACT for name, fact in facts.items()):
        raise BadFile(path, f"its provenance has more than {MOST_FACTS} facts, or longer ones than are kept")
    if set(experiment.saes) != set(experiment.config.hookpoints):
        raise BadFile(path, "its SAEs are not those of its configuration")
    if any(sae.num_latents > MOST_LATENTS for sae in experiment.saes.values()):
        raise BadFile(path, "its SAEs are larger than any")
    return experiment


def _nonsense(inference: Inference) -> str | None:
    """What no inference has, though its arrays go together; None where there is nothing."""
    try:
        _Scalars.model_validate(inference)
    except ValidationError as error:
        return told(error)
    prompt = inference.segments[: inference.prompt_tokens]
    if set(prompt) - {"prompt"} or inference.segments.count("prompt") != inference.prompt_tokens:
        return "its prompt is not the first of its segments"
    arrays: list[Any] = [inference.logprobs]
    if inference.alternatives:
        arrays += [inference.alternatives.logprobs, inference.alternatives.entropies]
    for encoding in inference.encodings.values():
        arrays += [encoding.squared_error, encoding.squared_norm, *encoding.vector_sums.values()]
        if set(encoding.vector_sums) != set(inference.segments):
            return "its sums are not those of its segments"
    if any(np.isinf(array).any() for array in arrays):
        return "it has numbers that are not finite"
    for done, receipt in zip(inference.interventions, inference.receipts, strict=False):
        if not np.isfinite(done.value) or receipt.positions < 0:
            return "it tells of an intervention that there is not"
    return None
