"""The two small JSON files of an experiment: its configuration, and the manifest that says what readers see.

`manifest.json` names the current database, the inferences in it, and the segment files beside it. It is replaced
atomically; readers believe it alone, so that they see whole inferences only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from kthink_core.config import SCHEMA, Experiment
from kthink_core.errors import CorruptFile, SchemaTooNew
from kthink_core.store.files import Layout, write_atomically

_NONE = "empty"
"""The version of an experiment without a manifest."""

_Model = TypeVar("_Model", bound=BaseModel)


class DatabaseEntry(BaseModel):
    """The current database, and the inferences in it as ranges of first and last."""

    model_config = ConfigDict(frozen=True)

    file: str
    inferences: tuple[tuple[int, int], ...]
    schema_version: int = 1
    """Of its tables; version 1 did not say so."""
    directions: str | None = None
    """Digest of the directions that are in it; None where it has none."""


class Manifest(BaseModel):
    """What readers see: one database or none, and the committed segment files that are not in it."""

    model_config = ConfigDict(frozen=True)

    schema_version: int = SCHEMA
    written: str = ""
    database: DatabaseEntry | None = None
    segments: tuple[str, ...] = ()

    def in_database(self) -> frozenset[int]:
        """The inferences in the current database."""
        ranges = self.database.inferences if self.database else ()
        return frozenset(inference for first, last in ranges for inference in range(first, last + 1))

    def pending(self) -> frozenset[int]:
        """The inferences that are in segment files only."""
        return frozenset(int(Path(segment).stem) for segment in self.segments)


def ranges(inferences: Iterable[int]) -> tuple[tuple[int, int], ...]:
    """Numbers as ranges of first and last: {0, 1, 2, 5} → ((0, 2), (5, 5))."""
    found: list[tuple[int, int]] = []
    for inference in sorted(inferences):
        if found and found[-1][1] == inference - 1:
            found[-1] = (found[-1][0], inference)
        else:
            found.append((inference, inference))
    return tuple(found)


def write_manifest(layout: Layout, database: DatabaseEntry | None, pending: Iterable[int]) -> None:
    """Replaces the manifest. Raises DiskFull."""
    segments = tuple(layout.segment(inference).name for inference in sorted(pending))
    written = datetime.now(UTC).isoformat(timespec="microseconds")
    manifest = Manifest(written=written, database=database, segments=segments)
    write_atomically(layout.manifest, manifest.model_dump_json(indent=1).encode())


def read_manifest(layout: Layout) -> tuple[Manifest, str]:
    """The manifest and its version: a short text that differs whenever readers would see something else.

    Before the first inference is committed there is no manifest, and an empty one is returned.
    Raises CorruptFile, SchemaTooNew.
    """
    try:
        content = layout.manifest.read_bytes()
    except FileNotFoundError:
        return Manifest(), _NONE
    remedy = "delete it and run `precompute` again: it writes another from the journal"
    manifest = _parse(layout.manifest, content, Manifest, remedy)
    return manifest, _digest(content)


def manifest_version(layout: Layout) -> str:
    """The version that `read_manifest` would give, without reading what the manifest says."""
    try:
        return _digest(layout.manifest.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return _NONE


def write_experiment(layout: Layout, experiment: Experiment) -> None:
    """Writes `experiment.json`. Raises DiskFull."""
    write_atomically(layout.experiment, experiment.model_dump_json(indent=1).encode())


def read_experiment(cache: Path, name: str) -> Experiment | None:
    """Configuration and provenance of a stored experiment; None if there is none. Raises CorruptFile, SchemaTooNew."""
    path = Layout(cache / name).experiment
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return _parse(path, content, Experiment, f"restore it, or remove the folder {path.parent} and precompute it again")


def committed(cache: Path, name: str) -> frozenset[int]:
    """The inferences that readers of an experiment see, told from the manifest alone; empty if there is none.

    A database that has gone does not count: a writer builds it again. Raises CorruptFile, SchemaTooNew.
    """
    layout = Layout(cache / name)
    manifest, _ = read_manifest(layout)
    if manifest.database and not (layout.folder / manifest.database.file).exists():
        return manifest.pending()
    return manifest.in_database() | manifest.pending()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _parse(path: Path, content: bytes, model: type[_Model], remedy: str) -> _Model:
    """Reads JSON of this schema version or an older one."""
    try:
        fields: Any = json.loads(content)
    except ValueError as error:
        raise CorruptFile(path, remedy) from error
    version = fields.get("schema_version") if isinstance(fields, dict) else None
    if not isinstance(version, int):
        raise CorruptFile(path, remedy)
    if version > SCHEMA:
        raise SchemaTooNew(path, version, SCHEMA)
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise CorruptFile(path, remedy) from error
