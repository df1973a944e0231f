"""Makes an experiment of a received file: complete, never computed here, and otherwise like any other.

It is built in a folder of its own beside the experiments, journal and all, read once as a reader reads it, and renamed:
whenever it is killed, there is the whole experiment or none. The next import sweeps what is left.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import duckdb
from filelock import FileLock, Timeout

from kthink_core.config import GOODFIRE, IMPORTED, JOURNAL_SCHEMA, LAYOUT, MOST_NAME, Experiment, check_name
from kthink_core.errors import BadFile, BadValue, ExperimentBusy, encodable
from kthink_core.store.directions import write_rows
from kthink_core.store.fidelity_files import write_fidelity
from kthink_core.store.files import TEMPORARY, Layout, disk_full, remove, sha256_of, sync_folder
from kthink_core.store.injections import save
from kthink_core.store.journal import write_segment
from kthink_core.store.manifest import write_experiment
from kthink_core.store.reader import open_reader
from kthink_core.store.studies import trace_digest
from kthink_core.store.writer import open_writer
from kthink_core.travel import carried_lists, goodfire_files
from kthink_core.travel.carried_lists import lists_in
from kthink_core.travel.carried_notes import BESIDE, Carried, carried_in, read_carried
from kthink_core.travel.carried_studies import count_in, take_studies
from kthink_core.travel.goodfire_rules import check_goodfire, is_goodfire
from kthink_core.travel.list_files import CarriedList, read_lists
from kthink_core.travel.own_export import OwnExport
from kthink_core.travel.received import opened, tables_of, told

ENDINGS = (".duckdb", ".ddb", ".db")
"""Of database files in a folder."""
MOST_FILES = 64
"""Of one experiment: a hookpoint each."""

_BUILDING, _LOCK = f"{TEMPORARY}import", ".import.lock"

Hear = Callable[[int, int], None]
"""Hears how many inferences of how many are written."""


class Imported(NamedTuple):
    """What came of it."""

    experiment: Experiment
    inferences: int
    notes: tuple[Carried, ...]
    """Labels and notes that came along; nothing was done with them."""
    studies: int = 0
    """How many came along; stored with the experiment where that was asked for."""
    lists: tuple[CarriedList, ...] = ()
    """As the notes."""


def import_experiment(
    cache: Path, source: Path, name: str | None = None, hear: Hear = lambda *_: None, studies: bool = False
) -> Imported:
    """Makes an experiment of a database that `export` wrote, or of one or a folder of Goodfire's layout.

    `name`: its name in the cache; None: the one that the file says, or the file's own. `studies`: with those that came
    along. Raises BadFile where a file is
    not what it should be, BadValue for a name that cannot be or is taken, ExperimentBusy, SchemaTooNew, DiskFull,
    OSError.
    """
    files = _files(source)
    if name is not None:
        _check_free(cache, name)
    first = next(iter(files.values()))
    with _building(cache) as folder, opened(list(files.values()), folder / "scratch") as connection:
        with told(first):
            tables = tables_of(connection, "received_0")
        if is_goodfire(tables):
            made = _of_goodfire(cache, source, name, connection, files, folder, hear)
        elif "experiment" in tables and len(files) == 1:
            made = _of_own(cache, first, name, connection, folder, hear, studies)
        else:
            raise BadFile(first, "it is neither an export of kthink nor of Goodfire's layout (tokens, activations)")
        _publish(cache, folder, made.experiment.name)
    return made


def _of_own(
    cache: Path,
    path: Path,
    name: str | None,
    connection: duckdb.DuckDBPyConnection,
    folder: Path,
    hear: Hear,
    studies: bool,
) -> Imported:
    export = OwnExport(connection, path, "received_0")
    found, ids = export.experiment, export.inference_ids
    notes = carried_in(connection, path, "received_0", export.tables)
    lists = lists_in(connection, path, "received_0", export.tables)
    name = name or found.name
    _check_free(cache, name)
    experiment = found.model_copy(
        update={
            "schema_version": JOURNAL_SCHEMA,
            "name": name,
            "inferences": ids[-1] + 1,  # what it lacks, nobody computes
            "open_ended": False,
            "provenance": found.provenance | {IMPORTED: f"{_told_of(path)} (sha256:{sha256_of(path)})"},
        }
    )
    layout, traces = _begin(folder, experiment), dict[int, str]()
    for done, number in enumerate(ids):
        inference = export.inference(number)
        traces[number] = trace_digest(inference.token_ids.tolist())
        write_segment(layout.folder, inference, experiment.mark)
        measured = export.fidelity(inference)
        if measured is not None:
            layout.fidelity.mkdir(exist_ok=True)
            write_fidelity(layout.fidelity_of(number), inference, measured, experiment.mark)
        hear(done + 1, len(ids))
    directions = export.directions()
    if directions is not None:
        write_rows(layout.directions, directions, experiment.mark)
    for injection in export.injections():
        save(layout, injection)
    came = count_in(connection, path, "received_0", export.tables)
    if studies and came:
        take_studies(connection, path, "received_0", layout, experiment, traces.get)
    _build(folder, experiment)
    return Imported(experiment, len(ids), notes, came, lists)


def _of_goodfire(
    cache: Path,
    source: Path,
    name: str | None,
    connection: duckdb.DuckDBPyConnection,
    files: Mapping[str, Path],
    folder: Path,
    hear: Hear,
) -> Imported:
    catalogs = {hookpoint: (path, f"received_{at}") for at, (hookpoint, path) in enumerate(files.items())}
    for path, catalog in catalogs.values():
        check_goodfire(connection, path, catalog)
    name = name or re.sub(r"[^A-Za-z0-9._-]", "-", source.stem).lstrip("._-")[:MOST_NAME] or "imported"
    _check_free(cache, name)
    digests = {hookpoint: f"sha256:{sha256_of(path)}" for hookpoint, path in files.items()}
    facts = {IMPORTED: _told_of(source), LAYOUT: GOODFIRE}
    experiment = goodfire_files.experiment(connection, name, encodable(source.name), catalogs, digests, facts)
    notes = read_carried(source / BESIDE) if source.is_dir() and (source / BESIDE).exists() else ()
    beside = source / carried_lists.BESIDE
    lists = read_lists(beside) if source.is_dir() and beside.exists() else ()
    layout, count = _begin(folder, experiment), experiment.inferences
    for inference in goodfire_files.inferences(connection, catalogs):
        write_segment(layout.folder, inference, experiment.mark)
        hear(inference.inference + 1, count)
    _build(folder, experiment)
    return Imported(experiment, count, notes, lists=lists)


def _files(source: Path) -> dict[str, Path]:
    """The files by hookpoint, which is what each is called. Raises BadFile, OSError."""
    source.stat()  # the system's own error where it is missing
    if not source.is_dir():
        return {_hookpoint(source): source}
    paths = [path for path in source.iterdir() if path.suffix in ENDINGS and not path.name.startswith(".")]
    paths.sort(key=lambda path: [(len(part), part) for part in path.stem.split(".")])  # layers.2 before layers.10
    if not 1 <= len(paths) <= MOST_FILES:
        raise BadFile(source, f"it has {len(paths)} database files ({', '.join(ENDINGS)}): 1 to {MOST_FILES} are read")
    files = {_hookpoint(path): path for path in paths}
    if len(files) < len(paths):
        raise BadFile(source, "two of its files are named after one hookpoint")
    return files


def _hookpoint(path: Path) -> str:
    parts = re.sub(r"[^A-Za-z0-9_.]", "_", path.stem).split(".")
    return ".".join(part for part in parts if part)[:200].strip(".") or "imported"


def _check_free(cache: Path, name: str) -> None:
    check_name(name)
    if os.path.lexists(cache / name):
        raise BadValue(f"experiment '{name}' exists in {cache} and stays: choose another name with --experiment")


def _told_of(path: Path) -> str:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return f"{now} from {encodable(path.name)[:200]}"


@contextmanager
def _building(cache: Path) -> Iterator[Path]:
    """An empty folder in which an experiment is built; one at a time. Nothing is left of it."""
    cache.mkdir(parents=True, exist_ok=True)
    lock, folder = FileLock(cache / _LOCK, timeout=0), cache / _BUILDING
    try:
        lock.acquire()
    except Timeout as error:
        raise ExperimentBusy(_BUILDING, "another import") from error
    try:
        with disk_full(cache):
            remove(folder)  # what a killed one left
            folder.mkdir()
            yield folder
    finally:
        remove(folder)
        lock.release()


def _begin(folder: Path, experiment: Experiment) -> Layout:
    layout = Layout(folder / experiment.name)
    layout.journal.mkdir(parents=True)
    write_experiment(layout, experiment)
    return layout


def _build(folder: Path, experiment: Experiment) -> None:
    """Reads the journal once more, and builds the database as for any other."""
    with open_writer(folder, experiment, verify=False) as writer:
        writer.build()


def _publish(cache: Path, folder: Path, name: str) -> None:
    """Gives the finished experiment its place. Raises BadValue where it was taken meanwhile."""
    with open_reader(folder, name):
        pass  # as every reader will: nothing that cannot be read becomes an experiment
    try:
        (folder / name).rename(cache / name)
    except OSError as error:
        if not os.path.lexists(cache / name):
            raise
        raise BadValue(f"experiment '{name}' exists by now in {cache}, and stays") from error
    sync_folder(cache)
