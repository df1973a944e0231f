"""Where the files of an experiment lie, and how a file is replaced so that no reader ever sees half of it."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from kthink_core.errors import BadFile, DiskFull

TEMPORARY = ".tmp-"
"""Prefix of files and folders that are not committed; a writer sweeps what an earlier one left."""

DATABASE_NAME = r"^latents-\d{4,9}\.duckdb$"
SEGMENT_NAME = r"^\d{6,9}\.parquet$"
"""What such a file is called in its folder, and nothing else is."""

DAMAGED = ".damaged"
"""Suffix of files that were set aside: nothing reads them but a search for what is nowhere else."""

BACKUP = "backup"
"""Folders of backups in a cache are called `backup-DATE`, then `backup-DATE-2`, …"""

_FULL = (errno.ENOSPC, errno.EDQUOT)


class Layout(NamedTuple):
    """The paths of one experiment."""

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    def is_inside(self, cache: Path) -> bool:
        """Whether the folder is one of a cache's own, whatever name was asked for."""
        name = self.name
        plain = name not in ("", ".", "..") and "\0" not in name and len(os.fsencode(name)) <= 255
        return plain and self.folder.parent == cache

    @property
    def experiment(self) -> Path:
        return self.folder / "experiment.json"

    @property
    def manifest(self) -> Path:
        return self.folder / "manifest.json"

    @property
    def journal(self) -> Path:
        return self.folder / "journal"

    @property
    def kept(self) -> Path:
        """What is remembered beside kept runs (kept_memory.py)."""
        return self.folder / "kept"

    @property
    def swept(self) -> list[Path]:
        """Folders in which nothing unfinished stays, whoever left it; links lead to what is somebody else's."""
        return [self.folder, *(folder for folder in (self.journal, self.kept) if not folder.is_symlink())]

    @property
    def directions(self) -> Path:
        return self.folder / "directions.parquet"

    @property
    def fidelity(self) -> Path:
        return self.folder / "fidelity"

    @property
    def lock(self) -> Path:
        return self.folder / "writer.lock"

    @property
    def owner(self) -> Path:
        return self.folder / "writer.json"

    def segment(self, inference: int) -> Path:
        return self.journal / f"{inference:06d}.parquet"

    def fidelity_of(self, inference: int) -> Path:
        return self.fidelity / f"{inference:06d}.parquet"

    def database(self, generation: int) -> Path:
        return self.folder / f"latents-{generation:04d}.duckdb"

    def databases(self) -> dict[Path, int]:
        """Every database that was ever finished and still lies there, with its generation."""
        paths = sorted(path for path in self.folder.glob("latents-*.duckdb") if re.fullmatch(DATABASE_NAME, path.name))
        return {path: int(path.stem.removeprefix("latents-")) for path in paths}

    def segments(self) -> dict[int, Path]:
        """The committed segment files by inference, in order."""
        if not self.journal.is_dir():
            return {}
        paths = (path for path in self.journal.iterdir() if re.fullmatch(SEGMENT_NAME, path.name))
        return dict(sorted((int(path.stem), path) for path in paths))

    def has_segments(self) -> bool:
        """Whether there is a committed segment file."""
        return self.journal.is_dir() and any(re.fullmatch(SEGMENT_NAME, path.name) for path in self.journal.iterdir())

    def set_aside(self) -> dict[int, Path]:
        """The damaged segment files that were set aside, by inference."""
        paths = sorted(self.journal.glob(f"*.parquet{DAMAGED}*"))
        return {int(stem): path for path in paths if (stem := path.name.partition(".")[0]).isdecimal()}


def make_journal(layout: Layout) -> None:
    """Where there is none. Raises BadFile where it is a link, DiskFull."""
    if layout.journal.is_symlink():  # a stranger's folder must not lead out of itself
        raise BadFile(layout.journal, "it is a link: put the folder itself in its place")
    with disk_full(layout.folder):
        layout.journal.mkdir(parents=True, exist_ok=True)


def temporary(path: Path) -> Path:
    """Where a file is written before it is renamed to `path`: same folder, outside every pattern that is read."""
    return path.with_name(f"{TEMPORARY}{path.name}")


def sync_folder(folder: Path) -> None:
    """Makes renames in a folder outlast a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def publish(beside: Path, path: Path) -> None:
    """Gives a finished file its name, replacing what had it. After this it is committed."""
    descriptor = os.open(beside, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    beside.replace(path)
    sync_folder(path.parent)


def sha256_of(path: Path) -> str:
    """Of a whole file. Raises OSError."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Replaces `path` by `content` as a whole or not at all. Raises DiskFull."""
    beside = temporary(path)
    with disk_full(path, beside):
        remove(beside)
        with beside.open("xb") as file:  # never through a link that somebody left in its place
            file.write(content)
        publish(beside, path)


def remove(path: Path) -> None:
    """Removes a file or a folder if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def set_aside(path: Path) -> Path:
    """Takes a damaged file out of the way, and returns where it is now. What was set aside before stays."""
    aside = path.with_name(path.name + DAMAGED)
    number = 1
    while os.path.lexists(aside):
        number += 1
        aside = path.with_name(f"{path.name}{DAMAGED}-{number}")
    path.rename(aside)
    sync_folder(path.parent)
    return aside


def backup_folder(cache: Path) -> Path:
    """The name of today's next one, which is not there yet."""
    date = datetime.now(UTC).date().isoformat()
    number, target = 1, cache / f"{BACKUP}-{date}"
    while os.path.lexists(target):
        number += 1
        target = cache / f"{BACKUP}-{date}-{number}"
    return target


def sweep(folder: Path) -> None:
    """Removes what a killed writer left unfinished in a folder."""
    for path in folder.glob(f"{TEMPORARY}*"):
        remove(path)


@contextmanager
def disk_full(path: Path, *leftovers: Path) -> Iterator[None]:
    """Turns a full disk into DiskFull, naming `path`; removes `leftovers` whatever error ends the block."""
    try:
        yield
    except BaseException as error:
        for leftover in leftovers:
            remove(leftover)
        if is_disk_full(error):
            raise DiskFull(path) from error
        raise


def is_disk_full(error: BaseException) -> bool:
    """Whether an error, DuckDB's included (it has no errno, only the system's words), tells of a full disk."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in _FULL
    words = str(error)
    return any(os.strerror(code) in words for code in _FULL) or "max_temp_directory_size" in words
