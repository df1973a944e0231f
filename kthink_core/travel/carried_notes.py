"""Labels and notes that travel with an experiment: a JSON object a line, or a table `notes` with the same columns.

Whoever receives them gives them to features, inferences and spans of the imported experiment, and to nothing else; what
somebody has written here stays.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import duckdb
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from kthink_core.config import Experiment
from kthink_core.documents import checked, parse, read_bounded
from kthink_core.errors import BadFile, KthinkError, in_words
from kthink_core.identity import sae_revision, source
from kthink_core.notes.notebook import FILE, Notebook, What
from kthink_core.notes.subjects import InferenceSubject, SpanSubject, Subject, of_feature
from kthink_core.store.files import write_atomically
from kthink_core.travel.received import told

BESIDE = "notes.jsonl"
"""What the file is called in a folder of Goodfire's layout."""
TABLE = "notes"

MOST_NOTES = 100_000
MOST_BYTES = 200_000_000

_Place = Annotated[int, Field(ge=0, lt=2**31)]


class Carried(BaseModel):
    """One label, pattern, flag, rating or note, as it stood where it comes from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["feature", "inference", "span"]
    hookpoint: Annotated[str, Field(max_length=200)] | None = None
    feature: _Place | None = None
    inference: _Place | None = None
    first: _Place | None = None
    last: _Place | None = None
    what: What
    value: Annotated[str, Field(max_length=20_000)]
    author: Annotated[str, Field(max_length=200)] = ""
    created: Annotated[str, Field(max_length=40)] = ""
    updated: Annotated[str, Field(max_length=40)] = ""
    quote: Annotated[str, Field(max_length=2_000)] = ""


COLUMNS = tuple(Carried.model_fields)
_INTEGERS = ("feature", "inference", "first", "last")
TYPES = {column: "INTEGER" if column in _INTEGERS else "VARCHAR" for column in COLUMNS}
"""Of the table."""


def notes_of(cache: Path, experiment: Experiment) -> list[Carried]:
    """What people wrote about an experiment's inferences and spans, and about the features of its SAEs, the newest
    first; imported labels have a file of their own (`label_files`). Raises NotesUnavailable, NotesTooNew,
    CorruptFile."""
    table = Notebook(cache / FILE).table(imported=False)
    return [
        Carried.model_validate({column: _plain(row[column]) for column in COLUMNS})
        for row in table.to_dict("records")
        if _is_of(experiment, row)
    ]


def write_carried(path: Path, notes: Iterable[Carried]) -> None:
    """Writes a line each. Raises DiskFull."""
    lines = (json.dumps(note.model_dump(exclude_none=True), ensure_ascii=False) + "\n" for note in notes)
    write_atomically(path, "".join(lines).encode())


def add_table(path: Path, notes: Iterable[Carried]) -> None:
    """Adds the table to a database that is being made."""
    rows = [tuple(note.model_dump().values()) for note in notes]
    with duckdb.connect(str(path), config={"autoinstall_known_extensions": "false"}) as connection:
        described = ", ".join(f'"{column}" {kind}' for column, kind in TYPES.items())
        connection.execute(f"CREATE TABLE {TABLE} ({described})")
        if rows:
            connection.executemany(f"INSERT INTO {TABLE} VALUES ({', '.join('?' * len(COLUMNS))})", rows)


def read_carried(path: Path) -> tuple[Carried, ...]:
    """The lines of a file. Raises BadFile, OSError."""
    lines = read_bounded(path, MOST_BYTES).splitlines()
    if len(lines) > MOST_NOTES:
        raise BadFile(path, f"it has {len(lines):,} notes: at most {MOST_NOTES:,} are read")
    return tuple(checked(path, parse(path, line), Carried) for line in lines if line.strip())


def carried_in(
    connection: duckdb.DuckDBPyConnection, path: Path, catalog: str, tables: Mapping[str, Mapping[str, str]]
) -> tuple[Carried, ...]:
    """The rows of a received database's table; none where it has no such table. Raises BadFile."""
    if TABLE not in tables:
        return ()
    if tables[TABLE] != TYPES:
        raise BadFile(path, "its table notes is not that of an export")
    with told(path):
        texts = [column for column in COLUMNS if column not in _INTEGERS]
        longest = " OR ".join(f'length("{column}") > 20000' for column in texts)
        asked = f"SELECT count(*), count(*) FILTER ({longest}) FROM {catalog}.main.{TABLE}"
        ((count, long),) = connection.execute(asked).fetchall()
        if count > MOST_NOTES or long:
            raise BadFile(path, f"more notes than {MOST_NOTES:,}, or longer ones than are kept")
        columns = ", ".join(f'"{column}"' for column in COLUMNS)
        rows = connection.execute(f"SELECT {columns} FROM {catalog}.main.{TABLE} ORDER BY rowid").fetchall()
    return tuple(checked(path, dict(zip(COLUMNS, row, strict=True)), Carried) for row in rows)


def take(cache: Path, experiment: Experiment, notes: Iterable[Carried]) -> tuple[int, list[str]]:
    """Writes what came along into this cache's notes, about the imported experiment: how many, and a line for each that
    was not taken. A label, pattern, flag or rating that stands here stays, and a note is not written twice. Raises
    NotesUnavailable, NotesTooNew, CorruptFile."""
    notebook, taken, left = Notebook(cache / FILE), 0, []
    for note in reversed(list(notes)):  # the oldest first
        about = _subject(experiment, note)
        if about is None:
            left.append(f"a {note.what} is about nothing in the experiment")
            continue
        try:
            standing = [entry for entry in notebook.entries(about) if entry.what == note.what and not entry.source]
            same = [entry for entry in standing if note.what != "note" or entry.value == note.value]
            if same and same[0].value == note.value:
                continue
            if same:
                left.append(f"the {note.what} that stands here stays")
                continue
            notebook.write(about, note.what, note.value, note.author, experiment.name, note.quote)
            taken += 1
        except KthinkError as error:
            left.append(in_words(error))
    return taken, left


def _subject(experiment: Experiment, note: Carried) -> Subject | None:
    """What a note is about, in the experiment; None where there is no such thing."""
    if note.kind == "feature":
        if note.hookpoint not in experiment.saes or note.feature is None:
            return None
        there = note.feature < experiment.saes[note.hookpoint].num_latents
        return of_feature(experiment, note.hookpoint, note.feature) if there else None
    if note.inference is None or note.inference >= experiment.inferences:
        return None
    if note.kind == "inference":
        return InferenceSubject(experiment.name, note.inference)
    if note.first is None or note.last is None or note.first > note.last:
        return None
    return SpanSubject(experiment.name, note.inference, note.first, note.last)


def _is_of(experiment: Experiment, row: Mapping[str, Any]) -> bool:
    if row["kind"] != "feature":
        return row["experiment"] == experiment.name
    hookpoint = row["hookpoint"]
    own = source(experiment.config.sae, sae_revision(experiment, hookpoint))
    return hookpoint in experiment.saes and source(row["sae"], row["sae_revision"]) == own


def _plain(value: Any) -> Any:
    """Of a cell: missing ones as None, whole numbers as such."""
    if value is None or pd.isna(value):
        return None
    return int(value) if isinstance(value, float) else value
