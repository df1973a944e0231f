"""The two small JSON files of an experiment: its configuration, and the manifest that says what readers see.

`manifest.json` names the current databases, the main one and the increments beside it, and the inferences in each. It
is replaced atomically; readers believe it alone, so that they see whole inferences only. Both files are sealed
(sealed.py), and what they say is checked: names are plain names of the experiment's own files, ranges are ranges.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from kthink_core.config import JOURNAL_SCHEMA, MOST_INFERENCES, Experiment
from kthink_core.documents import MOST_BYTES, read_bounded, told
from kthink_core.errors import BadFile, CorruptFile, ForeignFile, LostFile, SchemaTooNew
from kthink_core.store.files import DATABASE_NAME, SEGMENT_NAME, Layout, write_atomically
from kthink_core.store.sealed import open_sealed_json, sealed_json

_NONE = "empty"
"""The version of an experiment without a manifest."""

_MOST_MANIFEST_BYTES = 64_000_000
"""A million names of segment files, which older versions wrote, are a third of that."""

_MOST_INCREMENTS = 1_000
"""Far above what there is: a writer merges them long before."""

_Model = TypeVar("_Model", bound=BaseModel)


def _are_ranges(given: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
    ends = [end for pair in given for end in pair]
    backwards = any(first > last for first, last in given)
    if backwards or any(last >= first for (_, last), (first, _) in pairwise(given)) or min(ends, default=0) < 0:
        raise ValueError("ranges of first and last number, ascending, that do not overlap")
    if sum(last - first + 1 for first, last in given) > MOST_INFERENCES:
        raise ValueError(f"more than {MOST_INFERENCES:,} inferences")
    return given


def _are_distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        raise ValueError("a name twice")
    return names


class DatabaseEntry(BaseModel):
    """A current database, and the inferences in it as ranges of first and last."""

    model_config = ConfigDict(frozen=True)

    file: str = Field(pattern=DATABASE_NAME)
    inferences: Annotated[tuple[tuple[int, int], ...], AfterValidator(_are_ranges)]
    schema_version: int = 1
    """Of its tables; version 1 did not say so."""
    directions: str | None = Field(default=None, max_length=100)
    """Digest of the directions that are in it; None where it has none."""
    fidelity: Annotated[tuple[tuple[int, int], ...], AfterValidator(_are_ranges)] = ()
    """The inferences whose fidelity is in it, as ranges; none where an older version built it."""
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    """Of the whole file; None where an older version built it."""

    @property
    def count(self) -> int:
        """How many inferences are in it."""
        return sum(last - first + 1 for first, last in self.inferences)

    def __contains__(self, inference: int) -> bool:
        return any(first <= inference <= last for first, last in self.inferences)

    def contents(self) -> frozenset[int]:
        """The inferences in it."""
        return _numbers(self.inferences)

    def measured(self) -> frozenset[int]:
        """Those whose fidelity is in it."""
        return _numbers(self.fidelity)


class Manifest(BaseModel):
    """What readers see: one database or none, and increments, small databases of what was committed since."""

    model_config = ConfigDict(frozen=True)

    schema_version: int = JOURNAL_SCHEMA
    experiment: str | None = Field(default=None, max_length=100)
    """Mark of the experiment; None where an older version wrote it."""
    written: str = Field(default="", max_length=100)
    database: DatabaseEntry | None = None
    increments: Annotated[tuple[DatabaseEntry, ...], Field(max_length=_MOST_INCREMENTS)] = ()
    """The oldest first. No inference is in two databases."""
    segments: Annotated[
        tuple[Annotated[str, Field(pattern=SEGMENT_NAME)], ...],
        Field(max_length=MOST_INFERENCES),
        AfterValidator(_are_distinct),
    ]
    """Of an older version: segment files that are in no database. Readers do not see them until a writer has built
    one."""
    lost: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(max_length=MOST_INFERENCES)] = ()
    """Kept inferences of which nothing sound is left; their numbers are not given again."""

    @model_validator(mode="after")
    def _apart(self) -> Self:
        _are_distinct(tuple(entry.file for entry in self.databases))
        _are_ranges(tuple(sorted(pair for entry in self.databases for pair in entry.inferences)))
        return self

    @property
    def databases(self) -> tuple[DatabaseEntry, ...]:
        """The main one, where there is one, then the increments."""
        return (*([self.database] if self.database else []), *self.increments)

    def in_databases(self) -> frozenset[int]:
        """The inferences in any of them: what readers see."""
        return frozenset[int]().union(*(entry.contents() for entry in self.databases))

    def unbuilt(self) -> frozenset[int]:
        """The inferences that an older version left in segment files only."""
        return frozenset(int(Path(segment).stem) for segment in self.segments)


def _numbers(given: tuple[tuple[int, int], ...]) -> frozenset[int]:
    return frozenset(number for first, last in given for number in range(first, last + 1))


def ranges(inferences: Iterable[int]) -> tuple[tuple[int, int], ...]:
    """Numbers as ranges of first and last: {0, 1, 2, 5} → ((0, 2), (5, 5))."""
    found: list[tuple[int, int]] = []
    for inference in sorted(inferences):
        if found and found[-1][1] == inference - 1:
            found[-1] = (found[-1][0], inference)
        else:
            found.append((inference, inference))
    return tuple(found)


def write_manifest(
    layout: Layout,
    mark: str,
    database: DatabaseEntry | None,
    increments: Iterable[DatabaseEntry],
    lost: Iterable[int],
) -> None:
    """Replaces the manifest; `mark` is the experiment's. Raises DiskFull."""
    written = datetime.now(UTC).isoformat(timespec="microseconds")
    manifest = Manifest(
        experiment=mark,
        written=written,
        database=database,
        increments=tuple(increments),
        segments=(),
        lost=tuple(sorted(lost)),
    )
    write_atomically(layout.manifest, sealed_json(manifest.model_dump(mode="json")))


def read_manifest(layout: Layout, mark: str | None = None) -> tuple[Manifest, str]:
    """The manifest and its version: a short text that differs whenever readers would see something else.

    mark: of the experiment that it should belong to; None: to any. A writer makes one before it commits anything;
    before that an empty one is returned. Raises CorruptFile, also where it has gone, ForeignFile, SchemaTooNew,
    OSError.
    """
    remedy = "run `precompute` again: it writes another from the journal"
    try:
        content = _read(layout.manifest, remedy, _MOST_MANIFEST_BYTES)
    except FileNotFoundError:
        if layout.has_segments():
            raise LostFile(layout.manifest, remedy) from None
        return Manifest(segments=()), _NONE
    manifest = _parse(layout.manifest, content, Manifest, remedy)
    if mark is not None and manifest.experiment not in (None, mark):
        raise ForeignFile(layout.manifest)
    return manifest, _digest(content)


def manifest_version(layout: Layout) -> str:
    """The version that `read_manifest` would give, without reading what the manifest says."""
    try:
        return _digest(read_bounded(layout.manifest, _MOST_MANIFEST_BYTES))
    except (BadFile, OSError):
        return _NONE


def write_experiment(layout: Layout, experiment: Experiment) -> None:
    """Writes `experiment.json`. Raises DiskFull."""
    write_atomically(layout.experiment, sealed_json(experiment.model_dump(mode="json")))


def read_experiment(cache: Path, name: str) -> Experiment | None:
    """Configuration and provenance of a stored experiment; None if there is none. Raises CorruptFile, SchemaTooNew,
    OSError."""
    path = Layout(cache / name).experiment
    remedy = f"restore it, or move the folder {path.parent} away and precompute it again"
    try:
        content = _read(path, remedy, MOST_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return _parse(path, content, Experiment, remedy)


def is_sealed(path: Path) -> bool:
    """Whether one of these files has a digest: older versions wrote none. Raises BadFile, OSError."""
    return open_sealed_json(path, read_bounded(path, _MOST_MANIFEST_BYTES))[1]


def committed_count(cache: Path, name: str) -> int:
    """How many inferences readers of an experiment see, told from the manifest alone; 0 if there is none.

    A database that has gone does not count: a writer builds it again. What an older version left unbuilt does: readers
    are told what to do. Raises CorruptFile, SchemaTooNew, OSError.
    """
    layout = Layout(cache / name)
    manifest, _ = read_manifest(layout)
    there = (entry.count for entry in manifest.databases if (layout.folder / entry.file).exists())
    return sum(there) + len(manifest.segments)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _read(path: Path, remedy: str, most: int) -> bytes:
    try:
        return read_bounded(path, most)
    except BadFile as error:
        raise CorruptFile(path, remedy, error.reason) from error


def _parse(path: Path, content: bytes, model: type[_Model], remedy: str) -> _Model:
    """Reads JSON of this schema version or an older one."""
    try:
        fields, is_sealed = open_sealed_json(path, content)
        version = fields.get("schema_version")
        if not isinstance(version, int):
            raise BadFile(path, "schema_version: it is missing")
        if version > JOURNAL_SCHEMA:
            raise SchemaTooNew(path, version, JOURNAL_SCHEMA)
        # Without a digest, a field that nobody knows may be one whose name was damaged.
        return model.model_validate(fields, extra=None if is_sealed else "forbid")
    except BadFile as error:
        raise CorruptFile(path, remedy, error.reason) from error
    except ValidationError as error:
        raise CorruptFile(path, remedy, told(error)) from error
