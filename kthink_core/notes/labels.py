"""The labels of an SAE's features: which of several is shown, which contain a text, and many taken in at once.

A feature has one label that people here write, and one of each *source*: a file of labels that was imported. All stay
beside each other. The one that people wrote comes first; then the others by their score, the highest first, those
without a score last, then by the source's name. Scores of different sources may measure different things.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import NamedTuple, Protocol

from kthink_core.errors import BadValue
from kthink_core.notes import text
from kthink_core.notes.subjects import FeatureSubject, identity

_COLUMNS = ("hookpoint", "feature", "value", "source", "score", "author", "updated", "experiment")
_BY_RULE = "feature, source <> '', score IS NULL, score DESC, source"
"""The order of labels: the first of a feature's is the one that is shown."""
_STANDING = """
SELECT newest.hookpoint, newest.feature, newest.value, newest.source, newest.score, newest.author,
    newest.written AS updated, newest.experiment, newest.thread
FROM entries AS newest
WHERE newest.kind = 'feature' AND newest.what = 'label' AND newest.value IS NOT NULL AND newest.id = (
    SELECT max(id) FROM entries AS any_row WHERE any_row.thread = newest.thread
)
"""


class Scored(Protocol):
    """What has a source and a score."""

    @property
    def source(self) -> str: ...
    @property
    def score(self) -> float | None: ...


class Label(NamedTuple):
    """A label of a feature as it stands."""

    hookpoint: str
    feature: int
    value: str
    source: str
    """Empty: people wrote it here."""
    score: float | None
    """How good it is by its source's own measure; None where that says nothing."""
    author: str
    """Who wrote it here, or took it in."""
    updated: str
    """UTC, ISO 8601, seconds."""
    experiment: str
    """In which it was written, or into which it was taken."""


class Imported(NamedTuple):
    """A label of a source, to be taken in."""

    feature: int
    value: str
    source: str
    """Not empty."""
    score: float | None
    author: str


def standing(
    connection: sqlite3.Connection,
    about: FeatureSubject,
    features: Iterable[int] | None = None,
    containing: str = "",
    *,
    own: bool = False,
) -> list[Label]:
    """The labels of the features beside `about`, those of its SAE at its hookpoint: by feature, then by the rule.
    `features`: the only ones asked about; None: all. `containing`: what a label contains, in whatever case; empty:
    anything. `own`: only those that people wrote here."""
    condition, values = _beside(about)
    sql = f"{_STANDING} AND {condition}"
    if features is not None:
        sql += " AND newest.feature IN (SELECT value FROM json_each(:features))"
        values["features"] = json.dumps(sorted(set(map(int, features))))
    if containing:
        connection.create_function("folded", 1, str.casefold, deterministic=True)
        sql += " AND instr(folded(newest.value), :containing) > 0"
        values["containing"] = containing.casefold()
    if own:
        sql += " AND newest.source = ''"
    rows = connection.execute(f"{sql} ORDER BY {_BY_RULE}", values).fetchall()
    return [Label(*(row[name] for name in _COLUMNS)) for row in rows]


def take(
    connection: sqlite3.Connection,
    about: FeatureSubject,
    labels: Iterable[Imported],
    experiment: str,
    sees: Callable[[str], bool],
    *,
    write: bool = True,
) -> int:
    """Adds labels of sources to the features beside `about`, at most one a feature and source: how many. One that
    stands there with the same text and score is not written again; another of the same source takes its place. Without
    `write` none is added, only counted. Raises BadValue where that one was taken into an experiment that somebody does
    not see."""
    condition, values = _beside(about)
    found = connection.execute(f"{_STANDING} AND newest.source <> '' AND {condition}", values).fetchall()
    there = {(row["feature"], row["source"]): row for row in found}
    (last,) = connection.execute("SELECT coalesce(max(id), 0) FROM entries").fetchone()
    written, rows = datetime.now(UTC).isoformat(timespec="seconds"), []
    for label in labels:
        old = there.get((label.feature, label.source))
        if old is not None and not sees(old["experiment"]):
            raise BadValue("labels of this source stand here that were taken into an experiment that you do not see")
        if old is not None and (old["value"], old["score"]) == (label.value, label.score):
            continue
        last += 1
        rows.append(
            {
                "id": last, "thread": last if old is None else old["thread"], "experiment": experiment,
                "sae": about.sae, "sae_revision": about.sae_revision, "hookpoint": about.hookpoint,
                "feature": label.feature, "value": label.value, "source": label.source, "score": label.score,
                "author": text.one_line("author", label.author), "written": written,
            }
        )  # fmt: skip
    connection.executemany(
        "INSERT INTO entries (id, thread, kind, experiment, sae, sae_revision, hookpoint, feature, what, value, author,"
        " written, source, score) VALUES (:id, :thread, 'feature', :experiment, :sae, :sae_revision, :hookpoint,"
        " :feature, 'label', :value, :author, :written, :source, :score)",
        rows if write else [],
    )
    return len(rows)


def by_score(label: Scored) -> tuple[bool, bool, float, str]:
    """A key that sorts labels of one feature by the rule."""
    return label.source != "", label.score is None, -(label.score or 0.0), label.source


def _beside(about: FeatureSubject) -> tuple[str, dict[str, str | int]]:
    """The condition that a row is about a feature of the same SAE and hookpoint."""
    named = identity(about)
    del named["feature"]
    return " AND ".join(f"newest.{name} = :{name}" for name in named), named
