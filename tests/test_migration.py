"""A cache that the released 0.3.0 left, brought up to date: nothing is lost, everything is answered as it was."""

from __future__ import annotations

import json
import os
import sqlite3
import tarfile
from contextlib import closing, suppress
from pathlib import Path

import pandas as pd
import pytest
from store_samples import full_disk, sample_experiment, sample_inferences, write_sample

from kthink_core.cli import main
from kthink_core.config import DATABASE_SCHEMA, JOURNAL_SCHEMA
from kthink_core.errors import DiskFull, SchemaTooOld
from kthink_core.listing import query_table
from kthink_core.notes import FILE, Notebook
from kthink_core.notes.schema import MIGRATIONS
from kthink_core.store.files import BACKUP, Layout
from kthink_core.store.journal import read_segment
from kthink_core.store.lock import writer_lock
from kthink_core.store.manifest import is_sealed, read_experiment, read_manifest
from kthink_core.store.reader import list_experiments, open_reader
from kthink_core.store.sealed import is_of_this_version
from kthink_core.travel.imports import import_experiment
from kthink_core.travel.migration import migrate

STORED = Path(__file__).parent / "data" / "store-0.3.0" / "store.tar.xz"
NAMES = ["half", "live", "tiny"]


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The cache, and `answers.json` beside it."""
    with tarfile.open(STORED) as packed:
        packed.extractall(tmp_path, filter="data")
    return tmp_path / "cache"


def contents(folder: Path) -> dict[str, bytes]:
    """Every file but locks and what SQLite leaves."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name not in ("writer.lock", "writer.json"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files if not path.name.startswith("notes.")}


def records(table: pd.DataFrame) -> list[dict[str, object]]:
    return json.loads(table.to_json(None, orient="records", double_precision=15) or "")


def check_migrated(cache: Path) -> None:
    for name in NAMES:
        layout, experiment = Layout(cache / name), read_experiment(cache, name)
        assert experiment and experiment.schema_version == JOURNAL_SCHEMA and is_sealed(layout.experiment)
        assert experiment.revisions.sae_of("layers.1.mlp") and experiment.provenance["kthink"] == "0.3.0"
        for path in layout.segments().values():
            assert is_of_this_version(path, experiment.mark)
        manifest, _ = read_manifest(layout, experiment.mark)
        assert manifest.schema_version == JOURNAL_SCHEMA and manifest.segments == () and manifest.databases
        assert all(entry.schema_version == DATABASE_SCHEMA and entry.sha256 for entry in manifest.databases)
    answered = json.loads((cache.parent / "answers.json").read_text())
    for asked in answered["queries"]:
        top = {} if asked["query"] in ("inferences", "transcript") else {"top": 20}
        table = query_table(
            cache, asked["experiment"], asked["query"], "all", lambda _: None, **asked["options"], **top
        )
        assert records(table) == asked["rows"], asked["query"]
    notes = Notebook(cache / FILE).table().drop(columns=["created", "updated", "source", "score"])
    assert records(notes) == answered["notes"]
    with open_reader(cache, "tiny") as reader:
        for table in ("neighbours", "promoted_tokens"):
            assert reader.query(f"SELECT count(*) FROM {table}").iloc[0, 0] > 0
    with open_reader(cache, "live") as reader:
        [kept] = reader.inference_ids
        assert (reader.inference(kept).author, reader.inference(kept).temperature) == ("Ada", 0.5)


def test_a_cache_of_0_3_0_is_brought_up_to_date(old: Path) -> None:
    with pytest.raises(SchemaTooOld):
        open_reader(old, "tiny")
    before = contents(old)
    journals = {path: read_segment(path) for name in NAMES for path in Layout(old / name).segments().values()}
    told: list[str] = []
    made = migrate(old, told.append)
    assert made.done == (*NAMES, FILE) and made.failed == () and made.backup
    check_migrated(old)
    assert contents(made.backup) == before, "the backup is what was there"
    for path, inference in journals.items():
        assert read_segment(path).texts == inference.texts
    assert any(line.startswith("tiny: what the SAEs cost the model is not measured of 3") for line in told)
    assert [status.name for status in list_experiments(old)] == NAMES, "a backup is no experiment"


def test_its_database_as_0_3_0_exported_it_is_imported(old: Path, tmp_path: Path) -> None:
    """`export` copied the database of a finished experiment as it was."""
    import_experiment(tmp_path / "here", old / "tiny" / "latents-0001.duckdb")
    migrate(old, print)
    with open_reader(tmp_path / "here", "tiny") as imported, open_reader(old, "tiny") as migrated:
        for table in ("inferences", "latents", "quality", "vector_sums", "feature_stats", "promoted_tokens"):
            asked = f"FROM {table} ORDER BY ALL"
            pd.testing.assert_frame_equal(imported.query(asked), migrated.query(asked), check_exact=True)


def test_a_second_run_does_nothing(old: Path) -> None:
    migrate(old, print)
    before = contents(old)
    made = migrate(old, print)
    assert (made.backup, made.done, made.failed) == (None, (), ()) and contents(old) == before


def test_the_backup_put_back_is_the_old_cache(old: Path) -> None:
    made = migrate(old, print)
    assert made.backup
    for name in NAMES:
        (old / name).rename(old.parent / name)
        (made.backup / name).rename(old / name)
    again = migrate(old, print)
    assert again.done == tuple(NAMES) and again.backup and again.backup.name == f"{made.backup.name}-2"
    check_migrated(old)


class _Killed(BaseException):
    pass


@pytest.mark.parametrize("after", range(1, 30, 6))
def test_one_that_is_killed_goes_on(old: Path, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """At any file that is given its name, the backup's included."""
    before, replace, count = contents(old), os.replace, [0]

    def dying(source: str | Path, target: str | Path) -> None:
        count[0] += 1
        if count[0] == after:
            raise _Killed
        replace(source, target)

    def die(path: Path, target: Path) -> Path:
        dying(path, target)
        return Path(target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", die)
        patch.setattr(Path, "rename", die)
        with suppress(_Killed):
            migrate(old, print)
    made = migrate(old, print)
    assert made.failed == ()
    check_migrated(old)
    backups = sorted(old.glob("backup-*"))
    assert backups and contents(backups[0]) == before
    assert migrate(old, print).backup is None
    assert not list(old.glob(".tmp-*"))


def test_a_full_disk_changes_nothing_before_the_backup(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(old)

    def full(source: str, target: str, **_: object) -> None:
        full_disk(0)

    monkeypatch.setattr(os, "link", full)
    with pytest.raises(DiskFull):
        migrate(old, print)
    assert contents(old) == before


def test_a_disk_without_links_has_copies(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(source: str, target: str, **_: object) -> None:
        raise PermissionError(1, os.strerror(1))

    before = contents(old)
    monkeypatch.setattr(os, "link", refused)
    made = migrate(old, print)
    assert made.backup and contents(made.backup) == before
    check_migrated(old)


def test_notes_of_an_older_schema_are_copied_first(tmp_path: Path) -> None:
    path = tmp_path / FILE
    with closing(sqlite3.connect(path)) as connection, connection:
        first = next(iter(MIGRATIONS))
        for statement in MIGRATIONS[first]:
            connection.execute(statement)
        connection.execute("CREATE TABLE migrations (name TEXT PRIMARY KEY)")
        connection.execute("INSERT INTO migrations VALUES (?)", [first])
        connection.execute(
            "INSERT INTO entries VALUES "
            "(1, 1, 'inference', 'x', NULL, NULL, NULL, NULL, 2, NULL, NULL, 'note', 'old', 'Ada', '2026-01-01')"
        )
    told: list[str] = []
    made = migrate(tmp_path, told.append)
    assert made.done == (FILE,) and made.backup and "notes.sqlite: 002 quote, 003 source, 004 lists" in told
    [note] = Notebook(path).table().to_dict("records")
    assert (note["value"], note["author"], note["quote"]) == ("old", "Ada", "")
    with closing(sqlite3.connect(made.backup / FILE)) as copy:
        assert copy.execute("SELECT value FROM entries").fetchall() == [("old",)]
        assert copy.execute("SELECT name FROM migrations").fetchall() == [(first,)]
    assert migrate(tmp_path, told.append).backup is None


def test_what_cannot_be_migrated_is_told_and_disables_nothing(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (old / "half" / "experiment.json").write_text('{"schema_version": 99}')
    with writer_lock(Layout(old / "live")):
        assert main(["migrate", "--cache", str(old)]) == 2
    captured = capsys.readouterr()
    assert "half is left as it is: " in captured.out and "upgrade kthink" in captured.out
    assert "experiment 'live' is being written by process" in captured.out + captured.err
    assert captured.err.count("\n") == 1


def test_the_command_says_what_it_did(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["migrate", "--cache", str(old)]) == 0
    out = capsys.readouterr().out
    assert "tiny: 3 segment files of an older version, directions of an older version" in out
    assert "once you are content, remove " in out
    assert main(["migrate", "--cache", str(old)]) == 0
    assert capsys.readouterr().out == "all is up to date\n"
    assert main(["migrate", "--cache", str(old / "nowhere")]) == 0


def test_what_is_up_to_date_is_left_alone(tmp_path: Path) -> None:
    experiment = sample_experiment(inferences=3)
    write_sample(tmp_path, experiment, sample_inferences(experiment), 3)
    before = contents(tmp_path)
    assert migrate(tmp_path, print).backup is None and contents(tmp_path) == before
    assert BACKUP not in " ".join(path.name for path in tmp_path.iterdir())
