"""What a power cut finds: a file has its name only once its content is on the disk, and then the name is there, too."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from kthink_core.notes import InferenceSubject
from kthink_core.notes.notebook import Notebook
from kthink_core.records import Directions
from kthink_core.store.directions import write_directions
from kthink_core.store.export import export
from kthink_core.store.files import Layout, write_atomically
from kthink_core.store.writer import open_writer
from tests.store_samples import HOOKPOINTS, sample_experiment, sample_inferences, write_anew, write_sample

EXPERIMENT = sample_experiment()
DRAWN = sample_inferences(EXPERIMENT, 4)
NAME = EXPERIMENT.name


class Content(NamedTuple):
    """A file as it is at one moment, or a folder."""

    inode: int
    size: int
    changed: int


class Named(NamedTuple):
    """A file got a name, in a folder."""

    path: Path
    content: Content
    folder: Content
    is_new: bool
    """Else it was set aside, whatever was in it."""


Disk = list[Content | Named]
"""What reached the disk (as Content) and what got a name, in order."""


def content_of(status: os.stat_result) -> Content:
    if stat.S_ISDIR(status.st_mode):  # that one that is named in it changes it is just what is synced
        return Content(status.st_ino, 0, 0)
    return Content(status.st_ino, status.st_size, status.st_mtime_ns)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    events: Disk = []
    sync = os.fsync

    def synced(descriptor: int) -> None:
        sync(descriptor)
        events.append(content_of(os.fstat(descriptor)))

    def naming(name: str, is_new: bool) -> Callable[..., None]:
        call = getattr(os, name)

        def named(source: Path, target: Path, **options: object) -> None:
            content = content_of(Path(source).stat())
            call(source, target, **options)
            events.append(Named(Path(target), content, content_of(Path(target).parent.stat()), is_new))

        return named

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", naming("replace", True))
    monkeypatch.setattr(os, "link", naming("link", True))
    monkeypatch.setattr(os, "rename", naming("rename", False))
    return events


def names(disk: Disk) -> list[str]:
    """Of what got one, each of which must have been safe before and after."""
    at = [index for index, event in enumerate(disk) if isinstance(event, Named)]
    for index, following in zip(at, [*at[1:], len(disk)], strict=True):
        event = disk[index]
        assert isinstance(event, Named)
        assert not event.is_new or event.content in disk[:index], f"{event.path} was named before its content was safe"
        assert event.folder in disk[index:following], f"{event.path} may lose its name"
    return [event.path.name for event in disk if isinstance(event, Named)]


def test_a_file_that_is_replaced(tmp_path: Path, disk: Disk) -> None:
    path = tmp_path / "some.json"
    for content in (b"one", b"another"):
        write_atomically(path, content)
    assert names(disk) == ["some.json", "some.json"]
    assert path.read_bytes() == b"another"


def test_inferences_a_database_and_what_names_them(tmp_path: Path, disk: Disk) -> None:
    write_anew(tmp_path, EXPERIMENT, DRAWN, built=3)
    found = names(disk)
    assert found.index("experiment.json") < found.index("000000.parquet")
    for file in ("000003.parquet", "latents-0001.duckdb"):
        assert "manifest.json" in found[found.index(file) :], "what is not safe is never named"


def test_directions_and_exports(tmp_path: Path, disk: Disk) -> None:
    write_sample(tmp_path, EXPERIMENT, DRAWN, built=3)
    none = np.empty((0, 0), np.float32)
    nothing = Directions(np.empty(0, np.int32), *[none] * 6)
    write_directions(Layout(tmp_path / NAME).directions, {HOOKPOINTS[0]: nothing}, {})
    for file in ("out.duckdb", "out.parquet"):
        export(tmp_path, NAME, tmp_path / file)
    named = [name for name in names(disk) if not name.startswith(".tmp-")]
    assert named[-3:] == ["directions.parquet", "out.duckdb", "out.parquet"]


def test_what_is_set_aside(tmp_path: Path, disk: Disk) -> None:
    write_sample(tmp_path, EXPERIMENT, DRAWN)
    path = Layout(tmp_path / NAME).segment(2)
    path.write_bytes(path.read_bytes()[:-7])
    with open_writer(tmp_path, EXPERIMENT):
        pass
    assert "000002.parquet.damaged" in names(disk)


def test_a_new_file_of_notes(tmp_path: Path, disk: Disk) -> None:
    Notebook(tmp_path / "notes.sqlite").write(InferenceSubject("demo", 3), "note", "Look.", "Ann", "demo")
    assert names(disk) == ["notes.sqlite"]
