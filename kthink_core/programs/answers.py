"""Answers to queries for programs: of the experiments that somebody sees, and kept for those who ask for the rest."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from kthink_core.access.person import Person
from kthink_core.config import Experiment, check_name, source_told
from kthink_core.errors import BadValue, KthinkError, UnknownName
from kthink_core.listing import Answered, answered, check_options, experiments_table
from kthink_core.store.manifest import read_experiment
from kthink_core.store.reader import Reader, open_reader, store_version
from kthink_core.store.visible_state import visible_state

READERS = 8
"""Kept open, of experiments and their states."""
_PARENT, _SOURCE = "parent_experiment", "problems_from"
"""The columns that may name another experiment than those that are asked about: of branches, of sweeps."""
MOST_ROWS = 200_000
"""Of all answers that are kept."""


class NoSuchExperiment(KthinkError):
    """One that does not exist, or not for this person: which of the two is nobody's business."""

    def __init__(self) -> None:
        super().__init__("there is no such experiment")


class Changed(KthinkError):
    """The rest of an answer is wanted, and the experiment is another by now."""

    def __init__(self) -> None:
        super().__init__("the experiment has changed since the first rows were answered: begin again with these")


class Asked(NamedTuple):
    """A query of an experiment in one state."""

    experiment: str
    query: str
    options: Mapping[str, Any]
    version: str
    """Of all that is read, the other experiment's included."""
    within: tuple[str, ...] | None = None
    """The only experiments that an answer may name; None: all."""

    @property
    def key(self) -> Hashable:
        return self.experiment, self.query, repr(sorted(self.options.items())), self.version, self.within


class Answers:
    """Of one cache folder; for threads."""

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, Answered] = OrderedDict()

    def experiments(self, person: Person) -> pd.DataFrame:
        """Those that there are for somebody, as the command line lists them."""
        return experiments_table(self._cache, person.sees)

    def experiment(self, person: Person, name: str) -> Experiment:
        """One that there is for somebody: whoever does not see it learns nothing of it, not by how long it takes
        either. Raises NoSuchExperiment, CorruptFile, SchemaTooNew, OSError."""
        try:
            check_name(name)
        except BadValue as error:
            raise NoSuchExperiment from error
        found = read_experiment(self._cache, name) if person.sees(name) else None
        if found is None:
            raise NoSuchExperiment
        return found

    def asked(self, person: Person, experiment: str, query: str, options: Mapping[str, Any]) -> Asked:
        """What is asked, and of which state. Opens nothing. Raises NoSuchExperiment, also for the other one."""
        names = [experiment, *([options["other"]] if "other" in options else [])]
        for name in names:
            self.experiment(person, name)
        version = "-".join(visible_state(self._cache, name) for name in names)
        return Asked(experiment, query, options, version, person.experiments)

    def answer(self, asked: Asked, version: str | None = None) -> Answered:
        """The answer, in the state of `version` where that is given. Raises Changed where that one is gone;
        UnknownName, OutOfRange, BadValue, NotComparable, and what opening the experiments raises."""
        wanted = asked._replace(version=version or asked.version)
        with self._lock:
            if (found := self._kept.get(wanted.key)) is not None:
                self._kept.move_to_end(wanted.key)
                return found
        if wanted.version != asked.version:
            raise Changed
        reader, options = self._reader(asked.experiment), dict(asked.options)
        check_options(reader, asked.query, options)
        if "other" in options:
            options["other"] = self._reader(options["other"])
        found = answered(reader, asked.query, options)
        return self._kept_of(asked.key, found._replace(table=_told(found.table, asked.within)))

    def _reader(self, name: str) -> Reader:
        try:
            return _reader(self._cache, name, store_version(self._cache, name))
        except UnknownName as error:
            raise NoSuchExperiment from error

    def _kept_of(self, key: Hashable, found: Answered) -> Answered:
        """What was answered first under this key, so that all pages are of one table, whatever was written since."""
        with self._lock:
            found = self._kept.setdefault(key, found)
            while sum(1 + len(each.table) for each in self._kept.values()) > MOST_ROWS:
                self._kept.popitem(last=False)
        return found


def _told(table: pd.DataFrame, within: tuple[str, ...] | None) -> pd.DataFrame:
    """Without the names of other experiments."""
    if within is None:
        return table
    if _PARENT in table:
        table = table.assign(**{_PARENT: table[_PARENT].where(table[_PARENT].isin(within), None)})
    if _SOURCE in table:
        table = table.assign(**{_SOURCE: [source_told(source, within.__contains__) for source in table[_SOURCE]]})
    return table


@lru_cache(maxsize=READERS)
def _reader(cache: Path, name: str, version: str) -> Reader:
    """One that falls out of the cache closes when its last user lets go of it."""
    return open_reader(cache, name)
