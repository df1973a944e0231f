"""What a kept run has beside its inference: who kept it, what was watched, and what it was compared with then.

A small sealed file each, written before the inference is committed: without that one it says nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kthink_core.config import JOURNAL_SCHEMA
from kthink_core.documents import read_bounded
from kthink_core.errors import BadFile
from kthink_core.store.files import Layout, remove, write_atomically
from kthink_core.store.scopes import Scope
from kthink_core.store.sealed import open_sealed_json, sealed_json

MOST_ROWS = 50
"""Features of a comparison."""
MOST_WATCHED = 200
MOST_COMPARED = 16
_Name = Annotated[str, Field(max_length=200)]


class Watched(NamedTuple):
    """A feature whose firings above a threshold were reported."""

    hookpoint: _Name
    feature: Annotated[int, Field(ge=0, lt=2**31)]
    threshold: float


class Unusual(NamedTuple):
    """A feature of the run beside those of the stored inferences, as `queries.feature_percentiles` tells it."""

    feature: Annotated[int, Field(ge=0, lt=2**31)]
    percentile: float
    max_activation: float
    stored_maximum: float | None
    active_inferences: int


class Comparison(BaseModel):
    """What was unusual at a hookpoint, the most unusual first."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    experiment: _Name
    inferences: int = Field(ge=0)
    """It had then."""
    hookpoint: _Name
    scope: Scope
    features: tuple[Unusual, ...] = Field(max_length=MOST_ROWS)


class KeptMemory(BaseModel):
    """Of one kept run."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    run: str | None = Field(default=None, pattern=r"^[0-9a-f]{32}$")
    """Its id, by which links find it."""
    keeper: str = Field(default="", max_length=1000)
    """The id of the person who kept it."""
    kept: str = Field(default="", max_length=100)
    """When."""
    watched: tuple[Watched, ...] = Field(default=(), max_length=MOST_WATCHED)
    compared: tuple[Comparison, ...] = Field(default=(), max_length=MOST_COMPARED)


def write_memory(layout: Layout, inference: int, memory: KeptMemory) -> None:
    """In the place of what was begun under that number, and never committed. Raises DiskFull."""
    forget_memory(layout, inference)
    layout.kept.mkdir(exist_ok=True)
    named = f"{inference:06d}" + (f"-{memory.run}" if memory.run else "")
    fields = memory.model_dump(mode="json") | {"schema_version": JOURNAL_SCHEMA}
    write_atomically(layout.kept / f"{named}.json", sealed_json(fields))


def read_memory(layout: Layout, inference: int) -> KeptMemory | None:
    """None where an older version kept it, or it is damaged."""
    for path in _files(layout, inference):
        try:
            return KeptMemory.model_validate(open_sealed_json(path, read_bounded(path))[0])
        except (BadFile, ValidationError, OSError):
            continue
    return None


def kept_as(layout: Layout, run: str) -> int | None:
    """The number under which a run was kept; None where it was not. `run`: an id, checked."""
    found = next(iter(layout.kept.glob(f"*-{run}.json")), None)
    number = "" if found is None else found.name.partition("-")[0]
    return int(number) if number.isdecimal() and layout.segment(int(number)).exists() else None


def forget_memory(layout: Layout, inference: int) -> None:
    """Raises OSError."""
    for path in _files(layout, inference):
        remove(path)


def _files(layout: Layout, inference: int) -> list[Path]:
    return [*layout.kept.glob(f"{inference:06d}.json"), *layout.kept.glob(f"{inference:06d}-*.json")]
