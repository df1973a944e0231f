"""Labels and notes: what is written comes back, whoever writes at the same time and whatever was there before."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import unicodedata
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some

from kthink_core import notes
from kthink_core.errors import (
    BadValue,
    CorruptFile,
    NotesTooNew,
    NotesUnavailable,
    NotTheAuthor,
    TooLong,
    UnknownName,
)
from kthink_core.model.sae_folders import load_saes
from kthink_core.notes import FeatureSubject, InferenceSubject, Notebook, SpanSubject, clean, search
from kthink_core.notes.schema import MIGRATIONS
from tests.app_samples import HOOKPOINTS, sample_experiment, write_experiment
from tests.writer_processes import run_together

FEATURE = FeatureSubject("org/saes", "abc123", "layers.10.mlp", 32456)
INFERENCE = InferenceSubject("demo", 3)
SPAN = SpanSubject("demo", 3, 40, 44)
ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def notebook(tmp_path: Path) -> Notebook:
    return Notebook(tmp_path / "notes.sqlite")


def standing(notebook: Notebook, about: notes.Subject) -> list[tuple[str, str, str]]:
    return [(entry.what, entry.value, entry.author) for entry in notebook.entries(about)]


def test_looking_makes_no_file(notebook: Notebook) -> None:
    assert notebook.entries(FEATURE) == ()
    assert notebook.labels("a", "b", "c") == {}
    assert notebook.history(FEATURE).empty
    assert notebook.on_spans("demo", 3) == ()
    assert tuple(notebook.table().columns) == notes.COLUMNS
    assert search(notebook.table(), "x").empty
    assert not notebook.path.exists()


@pytest.mark.parametrize("about", [FEATURE, INFERENCE, SPAN])
def test_what_is_written_about_a_subject_stands(notebook: Notebook, about: notes.Subject) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    notebook.write(about, "label", "says Hmm", "Ann", "demo")
    notebook.write(about, "flag", "1", "Ann", "demo")
    notebook.write(about, "rating", "4", "Bob", "demo")
    first = notebook.write(about, "note", "one\ntwo", "Ann", "demo", quote=" so")
    second = notebook.write(about, "note", "three", "Bob", "demo")
    assert standing(notebook, about) == [
        ("label", "says Hmm", "Ann"), ("flag", "1", "Ann"), ("rating", "4", "Bob"),
        ("note", "one\ntwo", "Ann"), ("note", "three", "Bob"),
    ]  # fmt: skip
    entries = notebook.entries(about)
    assert [entry.thread for entry in entries][-2:] == [first, second]
    assert {entry.subject for entry in entries} == {about}
    assert {entry.experiment for entry in entries} == {"demo"}
    assert entries[3].quote == "so"
    for entry in entries:
        assert before <= datetime.fromisoformat(entry.created) == datetime.fromisoformat(entry.updated)
        assert datetime.fromisoformat(entry.updated).utcoffset() == UTC.utcoffset(None)


def test_subjects_do_not_mix(notebook: Notebook) -> None:
    subjects = [
        FEATURE,
        FeatureSubject("org/saes", "abc123", "layers.10.mlp", 1),
        FeatureSubject("org/saes", "abc123", "layers.5.mlp", 32456),
        FeatureSubject("org/saes", "other", "layers.10.mlp", 32456),
        FeatureSubject("org/others", "abc123", "layers.10.mlp", 32456),
        INFERENCE, InferenceSubject("demo", 4), InferenceSubject("more", 3),
        SPAN, SpanSubject("demo", 3, 40, 45), SpanSubject("demo", 3, 39, 44), SpanSubject("more", 3, 40, 44),
    ]  # fmt: skip
    for number, about in enumerate(subjects):
        notebook.write(about, "label", f"label {number}", experiment="demo")
        notebook.write(about, "note", f"note {number}", experiment="demo")
    for number, about in enumerate(subjects):
        assert standing(notebook, about) == [("label", f"label {number}", ""), ("note", f"note {number}", "")]
    assert notebook.labels("org/saes", "abc123", "layers.10.mlp") == {1: "label 1", 32456: "label 0"}


def test_the_spans_of_an_inference_are_found_by_their_places(notebook: Notebook) -> None:
    later = SpanSubject("demo", 3, 41, 41)
    notebook.write(later, "note", "later", "Bob")
    notebook.write(SPAN, "label", "old")
    notebook.write(SPAN, "label", "new", "Ann")
    gone = notebook.write(SPAN, "note", "taken back", "Ann")
    notebook.delete(gone, "Ann")
    for other in (INFERENCE, SpanSubject("demo", 4, 40, 44), SpanSubject("other", 3, 40, 44), FEATURE):
        notebook.write(other, "note", "elsewhere")
    found = [(entry.subject, entry.value) for entry in notebook.on_spans("demo", 3)]
    assert found == [(SPAN, "new"), (later, "later")]


def test_the_newest_label_counts_and_the_older_stay_in_the_history(notebook: Notebook) -> None:
    for label, author in (("first", "Ann"), ("second", "Bob"), ("", "Ann"), ("third", "Cy")):
        notebook.write(FEATURE, "label", label, author)
        there = {32456: label} if label else {}
        assert notebook.labels(FEATURE.sae, FEATURE.sae_revision, FEATURE.hookpoint) == there
    history = notebook.history(FEATURE)
    assert history["value"].fillna("–").tolist() == ["first", "second", "–", "third"]
    assert history["author"].tolist() == ["Ann", "Bob", "Ann", "Cy"]
    assert history["thread"].nunique() == 1


def test_only_the_author_takes_a_note_back(notebook: Notebook) -> None:
    note = notebook.write(FEATURE, "note", "mine", "Ann")
    other = notebook.write(FEATURE, "note", "yours", "Bob")
    label = notebook.write(FEATURE, "label", "a name", "Ann")
    with pytest.raises(NotTheAuthor, match="Ann"):
        notebook.delete(note, "Bob")
    for missing in (999, label):
        with pytest.raises(UnknownName, match=str(missing)):
            notebook.delete(missing, "Ann")
    notebook.delete(note, " Ann ")
    assert standing(notebook, FEATURE) == [("note", "yours", "Bob"), ("label", "a name", "Ann")]
    with pytest.raises(UnknownName):
        notebook.delete(note, "Ann")
    assert notebook.history(FEATURE)["value"].fillna("–").tolist() == ["mine", "yours", "a name", "–"]
    assert notebook.entries(FEATURE)[0].thread == other


@pytest.mark.parametrize(("what", "most"), [("label", 120), ("pattern", 200), ("note", 10_000)])
def test_sizes_are_bounded(notebook: Notebook, what: Any, most: int) -> None:
    notebook.write(FEATURE, what, "x" * most)
    with pytest.raises(TooLong, match=rf"{what} of {most + 1:,} characters: at most {most:,}"):
        notebook.write(FEATURE, what, "x" * (most + 1))
    with pytest.raises(TooLong, match="author of 61"):
        notebook.write(FEATURE, what, "x", author="x" * 61)
    assert len(standing(notebook, FEATURE)) == 1
    notebook.write(FEATURE, "note", "long quote", quote="x" * 900)
    assert len(notebook.entries(FEATURE)[-1].quote) == 500


@pytest.mark.parametrize(
    ("what", "value"),
    [("rating", "0"), ("rating", "6"), ("rating", "2.5"), ("rating", "many"), ("flag", "yes"), ("note", " \n\x07")],
)
def test_values_that_make_no_sense(notebook: Notebook, what: Any, value: str) -> None:
    with pytest.raises(BadValue, match=what):
        notebook.write(FEATURE, what, value)
    assert not notebook.path.exists()


@given(some.text(max_size=200), some.sampled_from(["label", "pattern", "note"]), some.text(max_size=30))
def test_any_text_comes_back_clean(
    tmp_path_factory: pytest.TempPathFactory, text: str, what: notes.What, author: str
) -> None:
    notebook = Notebook(tmp_path_factory.mktemp("any") / "notes.sqlite")
    cleaned = clean(text)
    assert clean(cleaned) == cleaned
    for character in cleaned.replace("\n", "").replace("\t", ""):
        assert unicodedata.category(character) not in ("Cc", "Cs")
    visible = [character for character in text if unicodedata.category(character)[0] in "LNPS"]
    assert [character for character in cleaned if unicodedata.category(character)[0] in "LNPS"] == visible
    expected = cleaned if what == "note" else " ".join(cleaned.split())
    if what == "label" and len(expected) > 120:
        with pytest.raises(TooLong):
            notebook.write(FEATURE, what, text, author)
    elif what == "note" and not expected:
        with pytest.raises(BadValue):
            notebook.write(FEATURE, what, text, author)
    else:
        notebook.write(FEATURE, what, text, author)
        by = " ".join(clean(author).split())
        assert standing(notebook, FEATURE) == ([(what, expected, by)] if expected else [])
        assert notebook.table()["value"].tolist() == ([expected] if expected else [])


def test_the_search_finds_parts_of_labels_notes_and_quotes_in_any_case(notebook: Notebook) -> None:
    notebook.write(FEATURE, "label", "Überlegung: STRASSE", "Ann", "demo")
    notebook.write(FEATURE, "rating", "4", "Ann", "demo")
    notebook.write(INFERENCE, "note", "100 % wrong_turn\nin line two", "Bob")
    notebook.write(SPAN, "note", "see", "Bob", quote=" Wait, maybe")
    table = notebook.table()
    found = {
        "überl": ["feature"],
        "straße": ["feature"],
        "%": ["inference"],
        "g_t": ["inference"],
        "LINE TWO": ["inference"],
        "wait": ["span"],
        "4": [],
        "'; DROP TABLE entries; --": [],
        "": ["span", "inference", "feature", "feature"],
    }
    for words, kinds in found.items():
        assert search(table, words)["kind"].tolist() == kinds, words


def test_the_table_names_every_subject(notebook: Notebook) -> None:
    notebook.write(FEATURE, "label", "a", "Ann", "demo")
    notebook.write(SPAN, "note", "b", "Bob")
    table = notebook.table()
    assert tuple(table.columns) == notes.COLUMNS
    shown = json.loads(table.drop(columns=["created", "updated"]).to_json(orient="records") or "")
    assert shown == [
        {"thread": 2, "kind": "span", "experiment": "demo", "sae": None, "sae_revision": None, "hookpoint": None,
         "feature": None, "inference": 3, "first": 40, "last": 44, "what": "note", "value": "b", "author": "Bob",
         "quote": "", "source": "", "score": None},
        {"thread": 1, "kind": "feature", "experiment": "demo", "sae": "org/saes", "sae_revision": "abc123",
         "hookpoint": "layers.10.mlp", "feature": 32456, "inference": None, "first": None, "last": None,
         "what": "label", "value": "a", "author": "Ann", "quote": "", "source": "", "score": None},
    ]  # fmt: skip


WRITER = """
import sys
from kthink_core.notes import FeatureSubject, Notebook
from pathlib import Path
path, author, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
about = FeatureSubject("org/saes", "abc123", "layers.10.mlp", 32456)
print("ready", flush=True)
sys.stdin.readline()
for number in range(count):
    Notebook(path).write(about, "note", f"{author} {number}", author)
    Notebook(path).write(about, "label", f"{author} {number}", author)
    assert f"{author} {number}" in {entry.value for entry in Notebook(path).entries(about)}
"""


def test_several_processes_write_at_once_and_nothing_is_lost(notebook: Notebook) -> None:
    """They begin together where there is no file yet."""
    count, authors = 25, ["Ann", "Bob", "Cy", "Dee", "Eve"]
    run_together(WRITER, [(str(notebook.path), author, str(count)) for author in authors])
    found = [entry for entry in notebook.entries(FEATURE) if entry.what == "note"]
    assert sorted((entry.author, entry.value) for entry in found) == sorted(
        (author, f"{author} {number}") for author in authors for number in range(count)
    )
    labels = notebook.history(FEATURE).query("what == 'label'")
    assert len(labels) == count * len(authors)
    assert labels["thread"].nunique() == 1
    assert notebook.labels("org/saes", "abc123", "layers.10.mlp") == {32456: labels["value"].iloc[-1]}
    with closing(sqlite3.connect(notebook.path)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_many_open_a_new_file_at_the_same_moment(tmp_path: Path) -> None:
    people = 8
    for attempt in range(15):
        notebook, start = Notebook(tmp_path / f"{attempt}.sqlite"), Barrier(people)

        def write(number: int, notebook: Notebook = notebook, start: Barrier = start) -> None:
            start.wait()
            notebook.write(FEATURE, "note", f"note {number}")

        with ThreadPoolExecutor(people) as pool:
            list(pool.map(write, range(people)))
        assert {entry.value for entry in notebook.entries(FEATURE)} == {f"note {number}" for number in range(people)}


def version_1(path: Path) -> None:
    """A file as the first migration alone made it, with a label."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE migrations (name TEXT PRIMARY KEY)")
        connection.execute("INSERT INTO migrations VALUES ('001 entries')")
        for statement in MIGRATIONS["001 entries"]:
            connection.execute(statement)
        connection.execute(
            "INSERT INTO entries VALUES (1, 1, 'feature', 'demo', 'org/saes', 'abc123', 'layers.10.mlp', 32456,"
            " NULL, NULL, NULL, 'label', 'kept', 'Ann', '2026-01-02T03:04:05+00:00')"
        )


def test_a_file_of_the_first_version_is_brought_up(notebook: Notebook) -> None:
    version_1(notebook.path)
    (entry,) = notebook.entries(FEATURE)
    assert (entry.value, entry.quote, entry.created) == ("kept", "", "2026-01-02T03:04:05+00:00")
    notebook.write(FEATURE, "label", "newer", "Bob", "demo", quote="q")
    (entry,) = notebook.entries(FEATURE)
    assert (entry.value, entry.quote, entry.created) == ("newer", "q", "2026-01-02T03:04:05+00:00")
    assert entry.updated > entry.created


def test_an_empty_file_is_none_of_ours(notebook: Notebook) -> None:
    notebook.path.touch()
    for attempt in (lambda: notebook.entries(FEATURE), lambda: notebook.write(FEATURE, "label", "a")):
        with pytest.raises(CorruptFile, match="move it away"):
            attempt()
    assert notebook.path.stat().st_size == 0
    notebook.path.unlink()
    notebook.write(FEATURE, "label", "a")
    assert [path.name for path in notebook.path.parent.iterdir()] == [notebook.path.name]
    with closing(sqlite3.connect(notebook.path)) as connection:
        applied = connection.execute("SELECT name FROM migrations ORDER BY name").fetchall()
    assert [name for (name,) in applied] == list(MIGRATIONS)


def test_what_is_no_file_is_one_line(notebook: Notebook, tmp_path: Path) -> None:
    def refused() -> None:
        for attempt in (lambda: notebook.entries(FEATURE), lambda: notebook.write(FEATURE, "label", "a")):
            with pytest.raises(NotesUnavailable, match="it is no file"):
                attempt()

    notebook.path.mkdir()
    refused()
    notebook.path.rmdir()
    notebook.path.symlink_to(tmp_path / "nowhere")
    refused()
    notebook.path.unlink()
    notebook.path.symlink_to(notebook.path)
    refused()
    notebook.path.unlink()
    notebook.path.symlink_to(tmp_path / "elsewhere.sqlite")
    Notebook(tmp_path / "elsewhere.sqlite").write(FEATURE, "label", "behind a link")
    assert standing(notebook, FEATURE) == [("label", "behind a link", "")]


CONFINED = """
import os, resource, signal, sys
from kthink_core.errors import KthinkError
from kthink_core.notes import FeatureSubject, Notebook
from pathlib import Path
book, how = Notebook(Path(sys.argv[1])), sys.argv[2]
about = FeatureSubject("org/saes", "abc123", "layers.10.mlp", 32456)
if how == "full disk":
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
elif os.geteuid() == 0:  # whom permissions do not bind
    os.setresuid(65534, 65534, 65534)
for attempt in (lambda: [entry.value for entry in book.entries(about)], lambda: book.write(about, "label", "new")):
    try:
        print(attempt())
    except KthinkError as error:
        print(type(error).__name__, error)
"""


def confined(path: Path, how: str) -> tuple[str, str]:
    """What reading and writing come to in a process that can write nothing there."""
    command = [sys.executable, "-W", "error", "-c", CONFINED, str(path), how]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    read, wrote = done.stdout.splitlines()
    return read, wrote


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that every user can get to."""
    with tempfile.TemporaryDirectory() as made:
        path = Path(made)
        path.chmod(0o755)
        yield path
        path.chmod(0o755)


@pytest.mark.parametrize("how", ["full disk", "read-only folder"])
def test_notes_are_read_where_nothing_can_be_written(folder: Path, how: str) -> None:
    notebook = Notebook(folder / "notes#1 %41?.sqlite")
    notebook.write(FEATURE, "label", "still there")
    before = notebook.path.read_bytes()
    folder.chmod(0o555)
    read, wrote = confined(notebook.path, how)
    assert read == "['still there']"
    assert wrote.startswith("NotesUnavailable") and "can be written" in wrote
    assert notebook.path.read_bytes() == before


@pytest.mark.parametrize("how", ["full disk", "read-only folder"])
def test_what_was_not_merged_yet_is_not_passed_over(folder: Path, how: str) -> None:
    notebook, left = Notebook(folder / "whole.sqlite"), folder / "notes.sqlite"
    notebook.write(FEATURE, "label", "old")
    with closing(sqlite3.connect(notebook.path)) as connection:
        connection.execute("SELECT count(*) FROM entries").fetchall()
        notebook.write(FEATURE, "label", "newer")
        for end in ("", "-wal"):  # as a machine that lost its power leaves them
            shutil.copy(f"{notebook.path}{end}", f"{left}{end}")
    folder.chmod(0o555)
    read, wrote = confined(left, how)
    assert read.startswith("NotesUnavailable") and wrote.startswith("NotesUnavailable")
    folder.chmod(0o755)
    assert standing(Notebook(left), FEATURE) == [("label", "newer", "")]


@pytest.mark.parametrize("how", ["full disk", "read-only folder"])
def test_a_file_of_the_first_version_stays_as_it_is_where_nothing_can_be_written(folder: Path, how: str) -> None:
    path = folder / "notes.sqlite"
    version_1(path)
    before = path.read_bytes()
    folder.chmod(0o555)
    read, wrote = confined(path, how)
    assert "older kthink" in read and read.startswith("NotesUnavailable") and wrote.startswith("NotesUnavailable")
    assert path.read_bytes() == before


def test_no_file_is_begun_where_it_cannot_be_finished(folder: Path) -> None:
    read, wrote = confined(folder / "notes.sqlite", "full disk")
    assert read == "[]" and wrote.startswith("NotesUnavailable")
    assert list(folder.iterdir()) == []


def test_a_file_that_may_not_be_read_is_one_line(folder: Path) -> None:
    notebook = Notebook(folder / "notes.sqlite")
    notebook.write(FEATURE, "label", "secret")
    for closed in (notebook.path, folder):
        mode = closed.stat().st_mode
        closed.chmod(0)
        for told in confined(notebook.path, "other user"):
            assert told.startswith("NotesUnavailable")
        closed.chmod(mode)


KILLED = """
import os, sys
from kthink_core.notes import FeatureSubject, Notebook
from pathlib import Path
os.fsync = lambda _: os.kill(os.getpid(), 9)
Notebook(Path(sys.argv[1])).write(FeatureSubject("org/saes", "abc123", "layers.10.mlp", 32456), "label", "a")
"""


def test_one_who_is_killed_while_a_file_is_made_leaves_none(notebook: Notebook) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(notebook.path)], cwd=ROOT)
    assert done.returncode == -9 and not notebook.path.exists()
    assert notebook.entries(FEATURE) == ()
    notebook.write(FEATURE, "label", "b")
    assert standing(notebook, FEATURE) == [("label", "b", "")]


def test_a_file_that_cannot_be_used_is_one_line(tmp_path: Path, notebook: Notebook) -> None:
    missing = Notebook(tmp_path / "missing" / "notes.sqlite")
    assert missing.entries(FEATURE) == ()
    with pytest.raises(NotesUnavailable, match="check that the folder"):
        missing.write(FEATURE, "label", "a")
    notebook.write(FEATURE, "label", "a")
    with closing(sqlite3.connect(notebook.path)) as connection, connection:
        connection.execute("INSERT INTO migrations VALUES ('900 later')")
    with pytest.raises(NotesTooNew, match="900 later"):
        notebook.entries(FEATURE)
    notebook.path.write_bytes(b"?" * 5000)
    with pytest.raises(CorruptFile, match="move it away"):
        notebook.entries(FEATURE)
    with pytest.raises(CorruptFile, match="move it away"):
        notebook.write(FEATURE, "label", "a")


def test_a_file_put_in_the_place_of_another_is_seen(tmp_path: Path, notebook: Notebook) -> None:
    other = Notebook(tmp_path / "backup.sqlite")
    other.write(FEATURE, "label", "from the backup")
    notebook.write(FEATURE, "label", "gone")
    other.path.replace(notebook.path)
    assert standing(notebook, FEATURE) == [("label", "from the backup", "")]


def test_notes_outlive_an_experiment_that_is_deleted_and_computed_again(tmp_path: Path) -> None:
    experiment = sample_experiment("demo", 3)
    write_experiment(tmp_path, experiment)
    notebook = Notebook(tmp_path / notes.FILE)
    about = notes.of_feature(experiment, HOOKPOINTS[0], 5)
    for subject in (about, INFERENCE, SPAN):
        notebook.write(subject, "note", "stays", "Ann", "demo")
    before = notebook.table()
    for path in sorted((tmp_path / "demo").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    write_experiment(tmp_path, sample_experiment("demo", 4))
    write_experiment(tmp_path, sample_experiment("more", 2, site="residual"))
    assert notebook.table().equals(before)
    assert standing(notebook, about) == [("note", "stays", "Ann")]


def test_files_that_are_known_by_content_may_lie_elsewhere(notebook: Notebook) -> None:
    here = FeatureSubject("/old/saes", "sha256:abc", "layers.10.mlp", 5)
    moved = FeatureSubject("/new/saes", "sha256:abc", "layers.10.mlp", 5)
    notebook.write(here, "label", "the same", "Ann", "demo")
    assert standing(notebook, moved) == [("label", "the same", "Ann")]
    assert notebook.labels("/new/saes", "sha256:abc", "layers.10.mlp") == {5: "the same"}
    assert notebook.entries(moved)[0].subject == here
    notebook.write(moved, "label", "renamed")
    assert notebook.history(here)["value"].tolist() == ["the same", "renamed"]
    assert notebook.history(here)["thread"].nunique() == 1


def test_an_sae_has_the_same_revision_whichever_others_are_loaded_with_it(tiny: Path) -> None:
    folder = str(tiny / "saes")
    hookpoints = sorted(path.parent.name for path in (tiny / "saes").glob("*/cfg.json"))
    assert len(hookpoints) > 1
    all_of_them = load_saes(folder, None, hookpoints, torch.device("cpu"))
    assert set(all_of_them.own_revisions()) == set(hookpoints)
    for hookpoint in hookpoints:
        alone = load_saes(folder, None, [hookpoint], torch.device("cpu"))
        assert alone.own_revisions() == {}
        assert alone.revision == all_of_them.revisions[hookpoint] != all_of_them.revision
