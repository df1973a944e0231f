"""The file of notes: rows are only ever added, so that two people who write at once lose nothing.

Rows of one *thread* follow each other: the newest counts, and one without a value takes back what was written. A
subject has one thread each for its label, its pattern, its flag and its rating, whoever writes them, one for every
note, and one for the label of every source that was imported.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from kthink_core.errors import BadValue, NotTheAuthor, UnknownName
from kthink_core.notes import file, labels, text
from kthink_core.notes.labels import Imported, Label
from kthink_core.notes.subjects import PLACES, FeatureSubject, Subject, columns, identity, subject

FILE = "notes.sqlite"
What = Literal["label", "pattern", "flag", "rating", "note"]

_NUMBERS = ("feature", "inference", "first", "last")
COLUMNS = (
    "thread", "kind", "experiment", *PLACES, "what", "value", "author", "created", "updated", "quote",
    "source", "score",
)  # fmt: skip
"""Of `Notebook.table`; what `Entry` says of them holds there too."""


@dataclass(frozen=True)
class Entry:
    """A label, pattern, flag, rating or note as it stands."""

    thread: int
    """Names the entry; stays when it changes."""
    subject: Subject
    experiment: str
    """In which it was written."""
    what: What
    value: str
    """The text; `1` to `5` for a rating; `1` for a flag."""
    author: str
    """Of the newest row; empty where no name was given."""
    created: str
    """When its first row was written: UTC, ISO 8601, seconds."""
    updated: str
    """When its newest row was written."""
    quote: str
    """The tokens of a span as they were when it was written about; else empty."""
    source: str
    """Of an imported label; empty where people wrote it here."""
    score: float | None
    """As the source measures it."""


_ROW = ("thread", "kind", "experiment", *PLACES, "what", "value", "author", "written", "quote", "source", "score")

_STANDING = f"""
SELECT {", ".join(f"newest.{name}" for name in COLUMNS if name not in ("created", "updated"))},
    begun.written AS created, newest.written AS updated
FROM entries AS newest JOIN entries AS begun ON begun.id = newest.thread
WHERE newest.value IS NOT NULL
    AND newest.id = (SELECT max(id) FROM entries AS any_row WHERE any_row.thread = newest.thread)
"""


class Notebook:
    """Keeps no connection between calls: safe in all threads and any number of processes.

    Every method raises NotesUnavailable, NotesTooNew or CorruptFile where the file cannot be used.
    """

    def __init__(self, path: Path, author: str = "", within: tuple[str, ...] | None = None) -> None:
        """`author`: who writes, whatever a call says; empty: whoever a call names. `within`: the only experiments whose
        notes there are, for this notebook; None: all."""
        self.path = path
        self._author, self._within = author, within

    def write(
        self, about: Subject, what: What, value: str, author: str = "", experiment: str = "", quote: str = ""
    ) -> int:
        """Adds a note, or sets label, pattern, flag or rating: an empty value takes these back. Returns the thread.

        `experiment`: in which a feature was looked at. Raises TooLong; UnknownName for an experiment that this notebook
        does not have, BadValue for what makes no sense, or would replace what was written in such a one.
        """
        row: dict[str, Any] = {"experiment": experiment} | columns(about)
        if not self._has(row["experiment"]):
            raise UnknownName("experiment", row["experiment"], self._within or ())
        author = self._author or author
        row |= {"what": what, "value": text.value(what, value), "author": text.one_line("author", author)}
        row |= {"quote": text.clean(quote)[: text.LONGEST["quote"]]}
        with file.writing(self.path) as connection:
            row["thread"] = None if what == "note" else _thread(connection, about, what)
            if row["thread"] is not None and not self._has(_written_in(connection, row["thread"])):
                raise BadValue(f"a {what} stands here that was given in an experiment that you do not see")
            return _append(connection, row)

    def delete(self, note: int, author: str) -> None:
        """Takes back the note of this thread. Raises UnknownName; NotTheAuthor unless `author` wrote it."""
        with file.writing(self.path) as connection:
            found = connection.execute(
                f"{_STANDING} AND newest.thread = ? AND newest.what = 'note'", (note,)
            ).fetchone()
            if found is None or not self._has(found["experiment"]):
                raise UnknownName("note", str(note), ())
            if found["author"] != text.one_line("author", self._author or author):
                raise NotTheAuthor(found["author"])
            _append(connection, dict(found) | {"value": None})

    def entries(self, about: Subject) -> tuple[Entry, ...]:
        """What stands about a subject, the oldest first."""
        condition, values = _same(about, "newest.")
        return self._entries(f"{_STANDING} AND {condition} ORDER BY newest.thread", values)

    def on_spans(self, experiment: str, inference: int) -> tuple[Entry, ...]:
        """What stands about the spans of an inference, by their places."""
        condition = "newest.kind = 'span' AND newest.experiment = ? AND newest.inference = ?"
        order = "newest.first, newest.last, newest.thread"
        return self._entries(f"{_STANDING} AND {condition} ORDER BY {order}", (experiment, inference))

    def history(self, about: Subject) -> pd.DataFrame:
        """Every row about a subject as it was written: thread, what, value (missing: taken back), author, written."""
        shown = ["thread", "what", "value", "author", "written"]
        condition, values = _same(about)
        rows = self._ask(f"SELECT {', '.join(shown)}, experiment FROM entries WHERE {condition} ORDER BY id", values)
        return pd.DataFrame([tuple(row)[:-1] for row in rows if self._has(row["experiment"])], columns=shown)

    def labels(
        self, sae: str, sae_revision: str, hookpoint: str, features: Iterable[int] | None = None
    ) -> dict[int, str]:
        """The label that is shown of each of one SAE's features that has one (`notes.labels` has the rule), by feature:
        of `features`, or of all."""
        shown: dict[int, str] = {}
        for label in self.all_labels(FeatureSubject(sae, sae_revision, hookpoint, 0), features):
            shown.setdefault(label.feature, label.value)
        return shown

    def all_labels(
        self, about: FeatureSubject, features: Iterable[int] | None = None, containing: str = "", *, own: bool = False
    ) -> list[Label]:
        """The labels of features beside `about`; see `labels.standing`."""
        with file.reading(self.path) as connection:
            found = labels.standing(connection, about, features, containing, own=own) if connection is not None else []
        return [label for label in found if self._has(label.experiment)]

    def take_labels(
        self, about: FeatureSubject, imported: Iterable[Imported], experiment: str, *, write: bool = True
    ) -> int:
        """Takes labels of sources in, for features beside `about`, in an experiment; see `labels.take`. Raises
        UnknownName for an experiment that this notebook does not have, BadValue, TooLong."""
        if not self._has(experiment):
            raise UnknownName("experiment", experiment, self._within or ())
        signed = [label._replace(author=self._author or label.author) for label in imported]
        with file.writing(self.path) if write else file.reading(self.path) as connection:
            if connection is None:
                return len(signed)
            return labels.take(connection, about, signed, experiment, self._has, write=write)

    def table(self, *, imported: bool = True) -> pd.DataFrame:
        """All that stands, the newest first, with `COLUMNS`. What does not belong to a kind of subject is missing.
        `imported`: with the labels of sources, of which there may be as many as features."""
        condition = "" if imported else "AND newest.source = ''"
        asked = self._ask(f"{_STANDING} {condition} ORDER BY newest.id DESC")
        rows = [row for row in asked if self._has(row["experiment"])]
        found = pd.DataFrame(map(tuple, rows), columns=rows[0].keys() if rows else list(COLUMNS))
        types = {name: "Int64" if name in _NUMBERS else "int64" if name == "thread" else "str" for name in COLUMNS}
        return found.reindex(columns=list(COLUMNS)).astype(types | {"score": "float64"})

    def _has(self, experiment: str) -> bool:
        """Whether there is for this notebook what was written in an experiment."""
        return self._within is None or experiment in self._within

    def _entries(self, sql: str, values: tuple[str | int, ...]) -> tuple[Entry, ...]:
        return tuple(_entry(row) for row in self._ask(sql, values) if self._has(row["experiment"]))

    def _ask(self, sql: str, values: tuple[str | int, ...] = ()) -> list[sqlite3.Row]:
        """No rows where nobody has written yet."""
        with file.reading(self.path) as connection:
            return connection.execute(sql, values).fetchall() if connection is not None else []


def search(table: pd.DataFrame, words: str) -> pd.DataFrame:
    """The rows of `Notebook.table` whose label, pattern, note or quote contains `words`, in whatever case."""
    wanted = text.clean(words).casefold()
    texts = table["value"].where(table["what"].isin(["label", "pattern", "note"]), "") + "\n" + table["quote"]
    return table.loc[[wanted in written.casefold() for written in texts]]


def _same(about: Subject, table: str = "") -> tuple[str, tuple[str | int, ...]]:
    """The condition that a row is about this subject."""
    named = identity(about)
    return " AND ".join(f"{table}{name} = ?" for name in named), tuple(named.values())


def _thread(connection: sqlite3.Connection, about: Subject, what: What) -> int | None:
    """The thread of a subject's label, pattern, flag or rating; None where it has none yet."""
    condition, values = _same(about)
    (thread,) = connection.execute(
        f"SELECT min(thread) FROM entries WHERE {condition} AND what = ? AND source = ''", (*values, what)
    ).fetchone()
    return thread


def _written_in(connection: sqlite3.Connection, thread: int) -> str:
    """The experiment of a thread's newest row."""
    (found,) = connection.execute(
        "SELECT experiment FROM entries WHERE thread = ? ORDER BY id DESC LIMIT 1", (thread,)
    ).fetchone()
    return found


def _append(connection: sqlite3.Connection, row: Mapping[str, Any]) -> int:
    """Adds a row; without a thread it begins one. Returns the thread."""
    (new,) = connection.execute("SELECT coalesce(max(id), 0) + 1 FROM entries").fetchone()
    thread = row["thread"] or new
    stored = {name: row.get(name) for name in _ROW} | {"id": new, "thread": thread, "source": ""}
    stored["written"] = datetime.now(UTC).isoformat(timespec="seconds")
    marks = ", ".join(f":{name}" for name in stored)
    connection.execute(f"INSERT INTO entries ({', '.join(stored)}) VALUES ({marks})", stored)
    return thread


def _entry(row: sqlite3.Row) -> Entry:
    facts = dict(row)
    own = {name: facts[name] for name in Entry.__dataclass_fields__ if name != "subject"}
    return Entry(subject=subject(facts), **own)
