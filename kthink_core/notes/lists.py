"""Lists of features: named, ordered, kept beside the notes, and shown in every experiment with the same SAEs.

A list has a name of its own in links, its id, which no other list of any cache has. What it holds is changed in place,
each change whole: two who add at once both find theirs. A list that was deleted keeps its id and its name, so that a
link to it can say so, and nothing else.
"""

from __future__ import annotations

import json
import re
import secrets
import sqlite3
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from kthink_core.errors import BadValue, UnknownName
from kthink_core.notes import file, text
from kthink_core.notes.subjects import FeatureSubject, identity

MOST = 10_000
"""Features of one list."""
ID = re.compile(r"[a-z0-9]{12}", re.ASCII)

_HEADS = """
SELECT lists.*, (
    SELECT count(*) FROM list_features AS held WHERE held.list = lists.id
        AND (:within IS NULL OR held.experiment IN (SELECT value FROM json_each(:within)))
) AS features FROM lists WHERE (:within IS NULL OR lists.experiment IN (SELECT value FROM json_each(:within)))
"""
_HELD = """
FROM list_features AS held JOIN lists ON lists.id = held.list
WHERE lists.deleted IS NULL AND (:within IS NULL OR (
    held.experiment IN (SELECT value FROM json_each(:within))
    AND lists.experiment IN (SELECT value FROM json_each(:within))
))
"""

_ORDER = "held.place, held.hookpoint, held.feature, held.sae_revision, held.sae_named"
_BESIDE = "held.hookpoint = :hookpoint AND held.sae_revision = :sae_revision AND held.sae_named = :sae_named"
_SEEN = "(:within IS NULL OR held.experiment IN (SELECT value FROM json_each(:within)))"


class FeatureList(NamedTuple):
    """A list, without what it holds."""

    id: str
    name: str
    note: str
    experiment: str
    """In which it was begun."""
    author: str
    """Who began it; empty where no name was given."""
    created: str
    """UTC, ISO 8601, seconds."""
    updated: str
    """When it was last changed, or deleted."""
    deleted: bool
    features: int
    """How many it holds, of whatever SAE and hookpoint."""


class FeatureLists:
    """The lists of a file of notes. Keeps no connection between calls: safe in all threads and processes.

    Every method raises NotesUnavailable, NotesTooNew or CorruptFile where the file cannot be used; those that change a
    list raise BadValue where there is none of this id for whoever asks.
    """

    def __init__(self, path: Path, author: str = "", within: tuple[str, ...] | None = None) -> None:
        """`author`: who begins lists, whatever a call says; empty: whoever a call names. `within`: the only experiments
        in which lists were begun, and features put on them, that there are here; None: all."""
        self.path = path
        self._author, self._within = author, within

    def all(self) -> list[FeatureList]:
        """Those that stand, the one changed last first."""
        return self._heads("AND lists.deleted IS NULL ORDER BY lists.updated DESC, lists.name, lists.id")

    def find(self, id: str) -> FeatureList | None:
        """Also one that was deleted; None where there is none of this id."""
        return next(iter(self._heads("AND lists.id = :id", id=id)), None)

    def features(self, id: str) -> tuple[FeatureSubject, ...]:
        """All that a list holds, in its order."""
        rows = self._ask(f"SELECT held.* {_HELD} AND held.list = :id ORDER BY {_ORDER}", id=id)
        return tuple(map(_subject, rows))

    def beside(self, id: str, about: FeatureSubject) -> tuple[int, ...]:
        """What a list holds of the SAE and hookpoint of `about`, in its order."""
        sql = f"SELECT held.feature {_HELD} AND held.list = :id AND {_BESIDE} ORDER BY {_ORDER}"
        return tuple(row["feature"] for row in self._ask(sql, id=id, **_key(about)))

    def counts(self, about: FeatureSubject, features: Iterable[int] | None = None) -> dict[str, int]:
        """How many features of the SAE and hookpoint of `about` each list holds that holds any: of `features`, or of
        all; by id."""
        sql, values = f"SELECT held.list, count(*) AS features {_HELD} AND {_BESIDE}", _key(about)
        if features is not None:
            sql += " AND held.feature IN (SELECT value FROM json_each(:features))"
            values["features"] = json.dumps(sorted(set(map(int, features))))
        return {row["list"]: row["features"] for row in self._ask(f"{sql} GROUP BY held.list", **values)}

    def begin(self, name: str, author: str = "", experiment: str = "", note: str = "", id: str = "") -> str:
        """A new list without features, or the one that has this name already; returns its id. `id`: that of a list from
        elsewhere, which it keeps. Raises BadValue for no name, or an id that is none; TooLong; UnknownName for an
        experiment that there is not here."""
        name, note = _name(name), text.note(note)
        author, now = text.one_line("author", self._author or author), _now()
        if id and not ID.fullmatch(id):
            raise BadValue("an id of a list is twelve small letters or digits")
        self._check(experiment)
        with file.writing(self.path) as connection:
            same = [] if id else self._named(connection, name)
            if same:
                return same[0]
            id = id or secrets.token_hex(6)
            connection.execute(
                "INSERT INTO lists VALUES (?, ?, ?, ?, ?, ?, ?, NULL) ON CONFLICT (id) DO UPDATE SET"
                " name = excluded.name, note = excluded.note, experiment = excluded.experiment,"
                " author = excluded.author, created = excluded.created, updated = excluded.updated, deleted = NULL"
                " WHERE deleted IS NOT NULL",
                (id, name, note, experiment, author, now, now),
            )
        return id

    def add(self, id: str, features: Sequence[FeatureSubject], experiment: str = "") -> int:
        """Puts features at the end of a list, in their order; how many were not on it. Raises BadValue where it would
        hold more than `MOST`; UnknownName for an experiment that there is not here."""
        self._check(experiment)
        with file.writing(self.path) as connection:
            self._standing(connection, id)
            (held, last) = connection.execute(
                "SELECT count(*), coalesce(max(place), 0) FROM list_features WHERE list = ?", (id,)
            ).fetchone()
            rows = [
                _key(about) | {"list": id, "sae": about.sae, "place": place, "experiment": experiment}
                for place, about in enumerate(features, start=last + 1)
            ]
            before = connection.total_changes
            connection.executemany(
                "INSERT OR IGNORE INTO list_features VALUES"
                " (:list, :hookpoint, :feature, :sae_revision, :sae_named, :sae, :place, :experiment)",
                rows,
            )
            added = connection.total_changes - before
            if held + added > MOST:
                raise BadValue(f"a list holds at most {MOST:,} features: it would have {held + added:,}")
            self._changed(connection, id, added)
        return added

    def take_off(self, id: str, features: Sequence[FeatureSubject]) -> int:
        """How many of them were on it."""
        with file.writing(self.path) as connection:
            self._standing(connection, id)
            before = connection.total_changes
            connection.executemany(
                f"DELETE FROM list_features AS held WHERE list = :list AND {_BESIDE} AND feature = :feature"
                f" AND {_SEEN}",
                [_key(about) | {"list": id, "within": self._seen} for about in features],
            )
            gone = connection.total_changes - before
            self._changed(connection, id, gone)
        return gone

    def reorder(self, id: str, features: Sequence[FeatureSubject]) -> None:
        """Gives those of `features` that a list holds the order that they have there; the others, which somebody may
        have added meanwhile, keep their places."""
        with file.writing(self.path) as connection:
            self._standing(connection, id)
            rows = connection.execute("SELECT * FROM list_features AS held WHERE list = ?", (id,)).fetchall()
            places = {_same(_subject(row)): row["place"] for row in rows}
            wanted = {_same(about): about for about in features if _same(about) in places}
            free = sorted(places[key] for key in wanted)
            moved = [
                _key(about) | {"list": id, "place": place}
                for (key, about), place in zip(wanted.items(), free, strict=True)
                if places[key] != place
            ]
            connection.executemany(
                f"UPDATE list_features AS held SET place = :place WHERE list = :list AND {_BESIDE}"
                " AND feature = :feature",
                moved,
            )
            self._changed(connection, id, len(moved))

    def describe(self, id: str, name: str, note: str) -> None:
        """Another name and note. Raises BadValue for no name, or that of another list; TooLong."""
        name, note = _name(name), text.note(note)
        with file.writing(self.path) as connection:
            self._standing(connection, id)
            if set(self._named(connection, name)) - {id}:
                raise BadValue(f"there is a list '{name}' already: give this one another name")
            connection.execute(
                "UPDATE lists SET name = ?, note = ?, updated = ? WHERE id = ?", (name, note, _now(), id)
            )

    def delete(self, id: str) -> None:
        """Raises BadValue where it holds what was put on it in an experiment that there is not here."""
        with file.writing(self.path) as connection:
            self._standing(connection, id)
            values = {"list": id, "within": self._seen}
            hidden = f"SELECT 1 FROM list_features AS held WHERE list = :list AND NOT {_SEEN}"
            if connection.execute(hidden, values).fetchone():
                raise BadValue("features stand on this list that were put there in an experiment that you do not see")
            connection.execute("DELETE FROM list_features WHERE list = :list", values)
            now = _now()
            connection.execute("UPDATE lists SET note = '', updated = ?, deleted = ? WHERE id = ?", (now, now, id))

    @property
    def _seen(self) -> str | None:
        return None if self._within is None else json.dumps(self._within)

    def _check(self, experiment: str) -> None:
        if self._within is not None and experiment not in self._within:
            raise UnknownName("experiment", experiment, self._within)

    def _heads(self, condition: str, **values: str) -> list[FeatureList]:
        return [_head(row) for row in self._ask(f"{_HEADS} {condition}", **values)]

    def _ask(self, sql: str, **values: str | int) -> list[sqlite3.Row]:
        """No rows where nobody has written yet."""
        with file.reading(self.path) as connection:
            return [] if connection is None else connection.execute(sql, values | {"within": self._seen}).fetchall()

    def _named(self, connection: sqlite3.Connection, name: str) -> list[str]:
        """The ids of the lists of this name, in whatever case."""
        rows = connection.execute(f"{_HEADS} AND lists.deleted IS NULL ORDER BY lists.id", {"within": self._seen})
        return [row["id"] for row in rows if row["name"].casefold() == name.casefold()]

    def _standing(self, connection: sqlite3.Connection, id: str) -> None:
        asked = f"{_HEADS} AND lists.id = :id AND lists.deleted IS NULL"
        if connection.execute(asked, {"within": self._seen, "id": id}).fetchone() is None:
            raise BadValue(f"there is no list {id} here any more: it may have been deleted in another window")

    def _changed(self, connection: sqlite3.Connection, id: str, how_many: int) -> None:
        if how_many:
            connection.execute("UPDATE lists SET updated = ? WHERE id = ?", (_now(), id))


def _key(about: FeatureSubject) -> dict[str, Any]:
    """The columns by which a feature is found on a list."""
    named = identity(about)
    return {
        "hookpoint": about.hookpoint, "feature": int(about.feature), "sae_revision": about.sae_revision,
        "sae_named": named.get("sae", ""),
    }  # fmt: skip


def _same(about: FeatureSubject) -> tuple[object, ...]:
    return tuple(_key(about).values())


def _subject(row: sqlite3.Row) -> FeatureSubject:
    return FeatureSubject(row["sae"], row["sae_revision"], row["hookpoint"], row["feature"])


def _head(row: sqlite3.Row) -> FeatureList:
    facts: dict = {name: row[name] for name in FeatureList._fields}
    facts["deleted"] = row["deleted"] is not None
    return FeatureList(**facts)


def _name(given: str) -> str:
    name = text.one_line("list", given)
    if not name:
        raise BadValue("a list without a name: give it one")
    return name


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
