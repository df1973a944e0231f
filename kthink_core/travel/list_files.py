"""Files of lists of features: a JSON object a line, each a list with what it holds.

`list` is its id, which it keeps wherever it is taken in: a link to it then leads to the same list there. Features are
named by hookpoint and number, and are those of the SAEs of the experiment that they are taken into.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from kthink_core.config import Experiment
from kthink_core.documents import checked, parse, read_bounded
from kthink_core.errors import BadFile, BadValue, TooLong, UnknownName, in_words, short
from kthink_core.notes import FeatureLists, FeatureSubject, identity, of_feature
from kthink_core.notes.lists import MOST

MOST_LISTS = 10_000
MOST_BYTES = 200_000_000


class Held(BaseModel):
    """A feature of a list."""

    model_config = ConfigDict(frozen=True)

    hookpoint: Annotated[str, Field(max_length=200)]
    feature: Annotated[int, Field(ge=0, lt=2**31)]


class CarriedList(BaseModel):
    """A list as a file has it."""

    model_config = ConfigDict(frozen=True)

    list: Annotated[str, Field(pattern=r"^[a-z0-9]{12}$")] | None = None
    """None: it is new wherever it is taken in."""
    name: Annotated[str, Field(max_length=1000)]
    note: Annotated[str, Field(max_length=20_000)] = ""
    author: Annotated[str, Field(max_length=200)] = ""
    features: Annotated[tuple[Held, ...], Field(max_length=MOST)]


class TakenLists(NamedTuple):
    """What came of lists that were taken in."""

    lists: int
    """Those that were not here, or of which something was not."""
    features: int
    """Those that were put on a list."""
    remarks: tuple[str, ...]


def _is_of(experiment: Experiment, about: FeatureSubject) -> bool:
    if about.hookpoint not in experiment.saes:
        return False
    return identity(of_feature(experiment, about.hookpoint, about.feature)) == identity(about)


def list_lines(
    lists: FeatureLists, ids: Iterable[str] | None = None, experiment: Experiment | None = None
) -> Iterator[str]:
    """Lists, those of `ids` or all, a line each; of an experiment, only what they hold of its SAEs, if anything. Raises
    NotesUnavailable, NotesTooNew, CorruptFile."""
    wanted = None if ids is None else set(ids)
    for one in lists.all():
        if wanted is not None and one.id not in wanted:
            continue
        features = [about for about in lists.features(one.id) if experiment is None or _is_of(experiment, about)]
        if experiment is not None and not features:
            continue
        held = tuple(Held(hookpoint=about.hookpoint, feature=about.feature) for about in features)
        line = CarriedList(list=one.id, name=one.name, note=one.note, author=one.author, features=held)
        yield json.dumps(line.model_dump(exclude_none=True), ensure_ascii=False) + "\n"


def read_lists(path: Path) -> tuple[CarriedList, ...]:
    """The lists of a file. Raises BadFile, OSError."""
    lines = [line for line in read_bounded(path, MOST_BYTES).splitlines() if line.strip()]
    if len(lines) > MOST_LISTS:
        raise BadFile(path, f"it has {len(lines):,} lists: at most {MOST_LISTS:,} are read")
    return tuple(checked(path, parse(path, line), CarriedList) for line in lines)


def take_lists(lists: FeatureLists, experiment: Experiment, carried: Iterable[CarriedList]) -> TakenLists:
    """Puts what lists hold of an experiment's SAEs on the lists of the same ids, or else names, which are begun where
    there are none; what stands here stays, name, note and order too. Raises NotesUnavailable, NotesTooNew,
    CorruptFile."""
    taken, put, remarks = 0, 0, []
    for one in carried:
        features = [
            of_feature(experiment, held.hookpoint, held.feature)
            for held in one.features
            if held.hookpoint in experiment.saes and held.feature < experiment.saes[held.hookpoint].num_latents
        ]
        if left := len(one.features) - len(features):
            remarks.append(
                f"list '{short(one.name)}': {left:,} features that the experiment does not have are left out"
            )
        if not features and one.features:
            continue
        try:
            before = lists.find(one.list) if one.list else None
            id = lists.begin(one.name, one.author, experiment.name, one.note, one.list or "")
            added = lists.add(id, features, experiment.name)
        except (BadValue, TooLong, UnknownName) as error:
            remarks.append(f"list '{short(one.name)}': {in_words(error)}")
            continue
        put += added
        taken += bool(added or before is None or before.deleted)
    return TakenLists(taken, put, tuple(remarks))
