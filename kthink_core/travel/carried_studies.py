"""Studies that travel with an experiment: sweeps, ablation, attribution, sentences; a table, a document a row.

They count as they do where they come from: those of the experiment's model and SAEs, and of what is about a trace those
of that very trace.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import duckdb

from kthink_core.config import Experiment
from kthink_core.documents import checked, parse_object
from kthink_core.errors import BadFile
from kthink_core.store.causal_studies import ABLATION, ATTRIBUTION, AblationStudy, AttributionStudy
from kthink_core.store.files import Layout
from kthink_core.store.reader import Reader
from kthink_core.store.sentence_studies import KIND as SENTENCES
from kthink_core.store.sentence_studies import SentenceStudy
from kthink_core.store.studies import MOST_BYTES, Kind, Study, is_of, list_studies, save_study, trace_digest
from kthink_core.store.sweeps import Sweep
from kthink_core.travel.received import told

TABLE = "studies"
TYPES = {"kind": "VARCHAR", "id": "VARCHAR", "document": "VARCHAR"}
"""Of the table; `document`: the study, as JSON."""
MOST_STUDIES = 4000
MODELS: Mapping[Kind, type[Study]] = {
    "sweep": Sweep, ABLATION: AblationStudy, ATTRIBUTION: AttributionStudy, SENTENCES: SentenceStudy,
}  # fmt: skip

Trace = Callable[[int], str | None]
"""The digest of an inference's tokens; None where there is no such inference."""


class Carried(NamedTuple):
    kind: Kind
    study: Study


def studies_of(reader: Reader) -> tuple[list[Carried], list[str]]:
    """Those of an experiment that count, the newest first, and a line for each that does not."""
    found: list[Carried] = []
    problems: list[str] = []
    trace = _digests(reader)
    for kind, model in MODELS.items():
        stored = list_studies(reader.layout, reader.experiment, kind, model)
        problems += stored.problems
        for id, study in stored.found.items():
            if _is_of_its_trace(study, trace):
                found.append(Carried(kind, study))
            else:
                problems.append(f"{kind} {id} is of a trace that is another by now")
    return found, problems


def add_studies(path: Path, studies: list[Carried]) -> None:
    """Adds the table to a database that is being made."""
    with duckdb.connect(str(path), config={"autoinstall_known_extensions": "false"}) as connection:
        described = ", ".join(f"{column} {kind}" for column, kind in TYPES.items())
        connection.execute(f"CREATE TABLE {TABLE} ({described})")
        for kind, study in studies:
            connection.execute(f"INSERT INTO {TABLE} VALUES (?, ?, ?)", [kind, study.id, study.model_dump_json()])


def count_in(
    connection: duckdb.DuckDBPyConnection, path: Path, catalog: str, tables: Mapping[str, Mapping[str, str]]
) -> int:
    """How many came along, whatever they are. Raises BadFile."""
    if TABLE not in tables:
        return 0
    if tables[TABLE] != TYPES:
        raise BadFile(path, f"its table {TABLE} is not that of an export")
    with told(path):
        ((count,),) = connection.execute(f"SELECT count(*) FROM {catalog}.main.{TABLE}").fetchall()
    return int(count)


def take_studies(
    connection: duckdb.DuckDBPyConnection, path: Path, catalog: str, layout: Layout, experiment: Experiment,
    trace: Trace,
) -> int:  # fmt: skip
    """Stores those of a received database with an experiment that is being made, and says how many. Raises BadFile for
    one that is none, or does not belong to the experiment; DiskFull, OSError."""
    taken = 0
    for kind, id, document in _documents(connection, path, catalog):
        study = checked(path, parse_object(path, document), MODELS[kind])
        if study.id != id or not is_of(study, experiment):
            raise BadFile(path, f"{kind} {id} answers another question, or was made with another model, SAE or site")
        if not _is_of_its_trace(study, trace):
            raise BadFile(path, f"{kind} {id} is not of a trace of the experiment")
        save_study(layout, kind, id, study)
        taken += 1
    return taken


def _documents(connection: duckdb.DuckDBPyConnection, path: Path, catalog: str) -> Iterator[tuple[Kind, str, bytes]]:
    """One after the other: each may be long."""
    at = f"{catalog}.main.{TABLE}"
    with told(path):
        names = connection.execute(
            f"SELECT kind, id, count(*), max(strlen(document)) FROM {at} "
            f"GROUP BY kind, id ORDER BY min(rowid) DESC LIMIT {MOST_STUDIES + 1}"
        ).fetchall()
    if len(names) > MOST_STUDIES:
        raise BadFile(path, f"it has more than {MOST_STUDIES:,} studies")
    for kind, id, count, size in names:
        if kind not in MODELS or id is None or count != 1 or size is None or size > MOST_BYTES:
            raise BadFile(path, f"its table {TABLE} has what is no study, or is there twice, or is too long")
        with told(path):
            ((text,),) = connection.execute(
                f"SELECT document FROM {at} WHERE kind = ? AND id = ?", [kind, id]
            ).fetchall()
        yield kind, id, text.encode()


def _digests(reader: Reader) -> Trace:
    known: dict[int, str | None] = {}

    def digest(inference: int) -> str | None:
        if inference not in known:
            there = inference in reader.inference_ids
            known[inference] = trace_digest(reader.inference(inference).token_ids.tolist()) if there else None
        return known[inference]

    return digest


def _is_of_its_trace(study: Study, trace: Trace) -> bool:
    if isinstance(study, SentenceStudy):
        return trace(study.inference) == study.trace
    if isinstance(study, AblationStudy | AttributionStudy):
        return study.trace.inference is not None and trace(study.trace.inference) == study.trace.digest
    return True
