"""Where the files of an experiment lie, and how a file is replaced so that no reader ever sees half of it."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from kthink_core.errors import DiskFull

TEMPORARY = ".tmp-"
"""Prefix of files and folders that are not committed; a writer sweeps what an earlier one left."""

_FULL = (errno.ENOSPC, errno.EDQUOT)


class Layout(NamedTuple):
    """The paths of one experiment."""

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

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
    def directions(self) -> Path:
        return self.folder / "directions.parquet"

    @property
    def lock(self) -> Path:
        return self.folder / "writer.lock"

    @property
    def owner(self) -> Path:
        return self.folder / "writer.json"

    def segment(self, inference: int) -> Path:
        return self.journal / f"{inference:06d}.parquet"

    def database(self, generation: int) -> Path:
        return self.folder / f"latents-{generation:04d}.duckdb"

    def databases(self) -> dict[Path, int]:
        """Every database that was ever finished and still lies there, with its generation."""
        stems = ((path, path.stem.removeprefix("latents-")) for path in self.folder.glob("latents-*.duckdb"))
        return {path: int(number) for path, number in sorted(stems) if number.isdigit()}


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


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Replaces `path` by `content` as a whole or not at all. Raises DiskFull."""
    beside = temporary(path)
    with disk_full(path, beside):
        with beside.open("wb") as file:
            file.write(content)
        publish(beside, path)


def remove(path: Path) -> None:
    """Removes a file or a folder if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


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
