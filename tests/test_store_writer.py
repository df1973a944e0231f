"""The writer: commits, resumes, rebuilds, recovers; one at a time; what a full disk or a kill leaves behind."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import duckdb
import pytest
from store_process import INFERENCES
from store_samples import (
    committed,
    full_disk,
    rewrite,
    same,
    sample_experiment,
    sample_inference,
    sample_inferences,
    write_sample,
)

from kthink_core.config import DATABASE_SCHEMA, JOURNAL_SCHEMA
from kthink_core.errors import BadValue, CorruptFile, DiskFull, ExperimentBusy, ExperimentMismatch, SchemaTooNew
from kthink_core.store import built
from kthink_core.store import writer as module
from kthink_core.store.built import Built, Read
from kthink_core.store.files import TEMPORARY, Layout
from kthink_core.store.journal import read_segment, write_segment
from kthink_core.store.manifest import ranges, read_experiment, read_manifest, write_manifest
from kthink_core.store.reader import open_reader
from kthink_core.store.writer import open_writer

EXPERIMENT = sample_experiment()
DRAWN = sample_inferences(EXPERIMENT)
ALL = frozenset(range(len(DRAWN)))
NAME = EXPERIMENT.name


@contextmanager
def process(cache: Path, task: str) -> Iterator[subprocess.Popen[str]]:
    folder = Path(__file__).parent
    environment = os.environ | {"PYTHONPATH": f"{folder.parent}{os.pathsep}{folder}"}
    command = [sys.executable, str(folder / "store_process.py"), str(cache), task]
    with subprocess.Popen(command, stdin=-1, stdout=-1, text=True, env=environment) as started:
        try:
            yield started
        finally:
            started.kill()


def test_what_is_appended_is_committed(tmp_path: Path) -> None:
    with open_writer(tmp_path, EXPERIMENT) as writer:
        assert writer.committed == frozenset()
        for inference in DRAWN:
            writer.append(inference)
            assert writer.committed == frozenset(range(inference.inference + 1))
            assert inference.inference in Layout(tmp_path / NAME).segments()
        assert committed(tmp_path, NAME) == frozenset(), "readers are behind"
        writer.publish()
        assert committed(tmp_path, NAME) == ALL
    assert read_experiment(tmp_path, NAME) == EXPERIMENT


def test_increments_are_merged_so_that_each_is_twice_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.0)
    sizes: list[int] = []
    with open_writer(tmp_path, EXPERIMENT) as writer:
        for inference in DRAWN[:-1]:
            writer.append(inference)
            manifest, _ = read_manifest(Layout(tmp_path / NAME))
            sizes = [entry.count for entry in manifest.increments]
            assert manifest.in_databases() == writer.committed and manifest.database is None
            assert all(one >= 2 * other for one, other in pairwise(sizes))
        writer.append(DRAWN[-1])
    assert sizes == [8, 2, 1]
    manifest, _ = read_manifest(Layout(tmp_path / NAME))
    assert [entry.count for entry in manifest.increments] == [8, 2, 1, 1], "the last build, which takes all, is near"


def test_increments_that_nobody_merges_do_not_pile_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_INCREMENTS", 4)
    sizes: list[list[int]] = []
    for inference in DRAWN[:7]:
        with open_writer(tmp_path, EXPERIMENT, verify=False, merge=False) as writer:
            writer.append(inference)
        manifest, _ = read_manifest(Layout(tmp_path / NAME))
        assert manifest.in_databases() == set(range(inference.inference + 1))
        sizes.append([entry.count for entry in manifest.increments])
    assert sizes[3:] == [[1] * 4, [5], [5, 1], [5, 1, 1]]


def test_what_is_committed_waits_for_ten_times_what_a_build_took(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock on which a build takes a second and nothing else any time."""
    now = 0.0
    build = Built.add

    def slow(built: Built, inferences: Iterable[int], read: Read, first: int) -> None:
        nonlocal now
        now += 1
        build(built, inferences, read, first)

    monkeypatch.setattr(module, "PATIENCE", 10.0)
    monkeypatch.setattr(Built, "add", slow)
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    with open_writer(tmp_path, EXPERIMENT) as writer:
        seen = []
        for inference, moment in zip(DRAWN, (0, 1, 2, 11.5, 12, 20), strict=False):
            now = moment
            writer.append(inference)
            seen.append(len(committed(tmp_path, NAME)))
        assert seen == [0, 2, 2, 2, 5, 5], "the first build ends at 2, the second at 13"
        now = 23.0
        writer.catch_up()
        assert len(committed(tmp_path, NAME)) == 6, "though nothing new is committed"


def test_what_was_committed_before_an_error_is_seen(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), open_writer(tmp_path, EXPERIMENT) as writer:
        writer.append(DRAWN[0])
        raise KeyboardInterrupt
    assert committed(tmp_path, NAME) == {0}


def test_small_databases_are_merged_when_somebody_has_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(built, "MINIMUM_UNMERGED", 8)

    def interrupt() -> None:
        raise KeyboardInterrupt

    for inference in DRAWN[:10]:
        with open_writer(tmp_path, EXPERIMENT, merge=False) as writer:
            writer.append(inference)
    before = (tmp_path / NAME / "manifest.json").read_bytes()
    with pytest.raises(KeyboardInterrupt), open_writer(tmp_path, EXPERIMENT, merge=False) as writer:
        writer.tidy(interrupt)
    assert (tmp_path / NAME / "manifest.json").read_bytes() == before and not list(tmp_path.rglob(f"{TEMPORARY}*"))
    manifest, _ = read_manifest(Layout(tmp_path / NAME))
    assert [entry.count for entry in manifest.databases] == [1] * 10
    with open_writer(tmp_path, EXPERIMENT, merge=False) as writer:
        writer.tidy(lambda: None)
    manifest, _ = read_manifest(Layout(tmp_path / NAME))
    assert manifest.database and manifest.database.count == 10 and manifest.increments == ()


def test_a_build_takes_everything_and_is_not_repeated(tmp_path: Path) -> None:
    with open_writer(tmp_path, EXPERIMENT) as writer:
        for inference in DRAWN[:5]:
            writer.append(inference)
        first = writer.build()
        assert first.name == "latents-0001.duckdb"
        with duckdb.connect(first, read_only=True) as connection:
            assert connection.execute("SELECT list(inference) FROM inferences").fetchall() == [([0, 1, 2, 3, 4],)]
        assert writer.build() == first
        writer.append(DRAWN[5])
        assert writer.build().name == "latents-0002.duckdb"
    manifest = json.loads((tmp_path / NAME / "manifest.json").read_text())
    assert manifest["database"] == {
        "file": "latents-0002.duckdb", "inferences": [[0, 5]], "schema_version": DATABASE_SCHEMA, "directions": None,
        "fidelity": [],
        "sha256": hashlib.sha256((tmp_path / NAME / "latents-0002.duckdb").read_bytes()).hexdigest(),
    }  # fmt: skip
    assert manifest["segments"] == []
    assert committed(tmp_path, NAME) == frozenset(range(6))


def test_an_old_database_goes_after_its_grace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / NAME
    with open_writer(tmp_path, EXPERIMENT) as writer:
        writer.append(DRAWN[0])
        writer.build()
        os.utime(folder / "latents-0001.duckdb", (0, 0))  # grace counts from its replacement, not from its birth
        writer.append(DRAWN[1])
        writer.build()
        assert len(list(folder.glob("*.duckdb"))) == 2
    monkeypatch.setattr(built, "GRACE", -1.0)
    with open_writer(tmp_path, EXPERIMENT):
        assert [path.name for path in folder.glob("*.duckdb")] == ["latents-0002.duckdb"]


def test_rebuilds_are_geometric(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(built, "MINIMUM_UNMERGED", 2)
    monkeypatch.setattr(module, "PATIENCE", 0.0)
    experiment = sample_experiment(inferences=24)
    sizes = [0]
    with open_writer(tmp_path, experiment) as writer:
        for inference in sample_inferences(experiment):
            writer.append(inference)
            manifest, _ = read_manifest(Layout(tmp_path / NAME))
            stored = manifest.database.count if manifest.database else 0
            sizes += [stored] if stored != sizes[-1] else []
            assert len(writer.committed) - stored <= max(2, stored / 4)
    assert sum(sizes) <= 6 * experiment.inferences, "the work of all builds is a small multiple of the last one's"


def test_an_experiment_is_resumed_and_keeps_its_provenance(tmp_path: Path) -> None:
    write_sample(tmp_path, EXPERIMENT, DRAWN[:3])
    later = EXPERIMENT.model_copy(update={"provenance": {"created": "later"}})
    told: list[str] = []
    with open_writer(tmp_path, later, told.append) as writer:
        assert writer.committed == frozenset(range(3)) and writer.experiment == EXPERIMENT
    assert told == []
    assert read_experiment(tmp_path, NAME) == EXPERIMENT


def test_another_configuration_is_refused_by_its_differing_fields(tmp_path: Path) -> None:
    write_sample(tmp_path, EXPERIMENT, DRAWN[:1])
    with (
        pytest.raises(ExperimentMismatch, match=r"\(temperature: 0\.6 stored, 0\.0 asked\); choose --experiment"),
        open_writer(tmp_path, sample_experiment(temperature=0)),
    ):
        pass
    with (
        pytest.raises(ExperimentMismatch, match=r"limit: 12 stored, 13 asked, inferences: 12 stored, 13 asked"),
        open_writer(tmp_path, sample_experiment(inferences=13)),
    ):
        pass


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "a b", "/abs"])
def test_a_name_that_is_no_folder_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadValue, match="use letters, digits"), open_writer(tmp_path / "cache", sample_experiment(name)):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_newer_experiment_is_refused(tmp_path: Path) -> None:
    write_sample(tmp_path, EXPERIMENT, [])
    path = tmp_path / NAME / "experiment.json"
    rewrite(path, schema_version=JOURNAL_SCHEMA + 1)
    with pytest.raises(SchemaTooNew), open_writer(tmp_path, EXPERIMENT):
        pass


def test_a_damaged_experiment_file_is_told(tmp_path: Path) -> None:
    write_sample(tmp_path, EXPERIMENT, [])
    (tmp_path / NAME / "experiment.json").write_text('{"schema_version": 1')
    with (
        pytest.raises(CorruptFile, match=r"experiment\.json is damaged \(it is no JSON: .*\); restore it"),
        open_writer(tmp_path, EXPERIMENT),
    ):
        pass


@pytest.mark.parametrize("built", [0, 3])
def test_a_segment_file_that_the_manifest_misses_counts(tmp_path: Path, built: int) -> None:
    """As after a kill between the rename of a segment file and the replacement of the manifest."""
    write_sample(tmp_path, EXPERIMENT, DRAWN[:4], built)
    write_segment(tmp_path / NAME, DRAWN[4])
    assert committed(tmp_path, NAME) == frozenset(range(4)), "readers do not see it yet"
    with open_writer(tmp_path, EXPERIMENT) as writer:
        assert writer.committed == frozenset(range(5))
    assert committed(tmp_path, NAME) == frozenset(range(5))


def test_a_database_that_the_manifest_misses_is_not_used(tmp_path: Path) -> None:
    """As after a kill between the rename of a database and the replacement of the manifest."""
    write_sample(tmp_path, EXPERIMENT, DRAWN[:4], 4)
    shutil.copy(tmp_path / NAME / "latents-0001.duckdb", tmp_path / NAME / "latents-0002.duckdb")
    with open_writer(tmp_path, EXPERIMENT) as writer:
        writer.append(DRAWN[4])
        assert writer.build().name == "latents-0003.duckdb"


def test_temporaries_are_swept(tmp_path: Path) -> None:
    write_sample(tmp_path, EXPERIMENT, DRAWN[:1])
    folder = tmp_path / NAME
    for path in (folder / f"{TEMPORARY}latents-0001.duckdb", folder / "journal" / f"{TEMPORARY}000001.parquet"):
        path.write_bytes(b"half")
    (folder / f"{TEMPORARY}latents-0001.scratch").mkdir()
    with open_writer(tmp_path, EXPERIMENT) as writer:
        assert writer.committed == {0}
    assert not list(folder.rglob(f"{TEMPORARY}*"))


def damage(path: Path) -> None:
    """Ends a file seven bytes early."""
    path.write_bytes(path.read_bytes()[:-7])


def test_a_damaged_segment_file_is_set_aside_and_computed_again(tmp_path: Path) -> None:
    write_sample(tmp_path, EXPERIMENT, DRAWN[:2])
    for inference in DRAWN[2:4]:
        write_segment(tmp_path / NAME, inference, EXPERIMENT.mark)  # killed before they were in a database
    path = tmp_path / NAME / "journal" / "000002.parquet"
    damage(path)
    told: list[str] = []
    with open_writer(tmp_path, EXPERIMENT, told.append) as writer:
        assert path.with_name("000002.parquet.damaged").exists()
        assert told == [
            "000002.parquet was damaged and is kept as 000002.parquet.damaged: inference 2 is computed again",
        ]
        assert writer.committed == {0, 1, 3}
        with open_reader(tmp_path, NAME) as reader:
            assert reader.inference_ids == (0, 1, 3)
            assert [warning[:26] for warning in reader.warnings] == ["inference 2 is left out: i"]
        writer.append(DRAWN[2])
        writer.build()
    assert same(read_segment(path), DRAWN[2])
    with open_reader(tmp_path, NAME) as reader:
        assert reader.inference_ids == (0, 1, 2, 3) and reader.warnings == ()


@pytest.mark.parametrize("harm", ["remove", "truncate", "overwrite"])
def test_a_lost_database_is_built_again_from_the_journal(tmp_path: Path, harm: str) -> None:
    write_sample(tmp_path, EXPERIMENT, DRAWN, len(DRAWN))
    path = tmp_path / NAME / "latents-0001.duckdb"
    if harm == "remove":
        path.unlink()
        assert committed(tmp_path, NAME) == frozenset(), "so that a run opens the writer"
    else:
        content = path.read_bytes()
        path.write_bytes(content[:5000] if harm == "truncate" else b"\0" * len(content))
    with open_writer(tmp_path, EXPERIMENT) as writer:
        assert writer.committed == ALL
        writer.build()
    with open_reader(tmp_path, NAME) as reader:
        assert reader.inferences == len(DRAWN)


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b'{"schema_version": 1, "segments": 3}'])
def test_a_lost_manifest_is_made_again_from_the_journal(tmp_path: Path, content: bytes | None) -> None:
    write_sample(tmp_path, EXPERIMENT, DRAWN, 6)
    path = tmp_path / NAME / "manifest.json"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CorruptFile, match="run `precompute` again: it writes another from the journal"):
        open_reader(tmp_path, NAME)
    with open_writer(tmp_path, EXPERIMENT) as writer:
        assert writer.committed == ALL
    with open_reader(tmp_path, NAME) as reader:
        assert reader.inferences == len(DRAWN)


def test_what_does_not_belong_is_refused(tmp_path: Path) -> None:
    other = sample_experiment(latents=200)
    with open_writer(tmp_path, EXPERIMENT) as writer:
        writer.append(DRAWN[0])
        for wrong in (DRAWN[0], sample_inference(EXPERIMENT, len(DRAWN)), sample_inference(other, 1)):
            with pytest.raises(ValueError, match="inference"):
                writer.append(wrong)
        assert writer.committed == {0}


def test_a_second_writer_is_refused_by_the_owners_name(tmp_path: Path) -> None:
    with open_writer(tmp_path, EXPERIMENT) as first:
        with (
            pytest.raises(ExperimentBusy, match=f"'{NAME}' is being written by process {os.getpid()} on .+ since 20"),
            open_writer(tmp_path, EXPERIMENT),
        ):
            pass
        first.append(DRAWN[0])
    with open_writer(tmp_path, EXPERIMENT) as writer:
        assert writer.committed == {0}


def test_a_dead_owners_lock_is_taken_over(tmp_path: Path) -> None:
    experiment = sample_experiment(inferences=INFERENCES)
    with process(tmp_path, "hold") as owner:
        assert owner.stdout and owner.stdout.readline() == "ready\n"
        with pytest.raises(ExperimentBusy, match=f"process {owner.pid} on"), open_writer(tmp_path, experiment):
            pass
        owner.kill()
        owner.wait()
        with open_writer(tmp_path, experiment) as writer:
            writer.append(sample_inference(experiment, 0))


def test_a_killed_writer_loses_nothing_committed(tmp_path: Path) -> None:
    experiment = sample_experiment(inferences=INFERENCES)
    told: set[int] = set()
    seen: set[int] = set()
    for lines in (1, 12, 5):
        with process(tmp_path, "append") as running:
            assert running.stdout
            told |= {int(running.stdout.readline()) for _ in range(lines)}
            running.kill()
            told |= {int(line) for line in running.stdout}
        with open_reader(tmp_path, NAME) as reader:
            seen |= set(reader.inference_ids)
            assert seen == set(reader.inference_ids) <= set(Layout(tmp_path / NAME).segments()), "none goes again"
            assert reader.warnings == ()
    repaired: list[str] = []
    with open_writer(tmp_path, experiment, repaired.append) as writer:
        assert told <= writer.committed == committed(tmp_path, NAME) and repaired == []
        for inference in writer.committed:
            assert same(
                read_segment(Layout(tmp_path / NAME).segment(inference)), sample_inference(experiment, inference)
            )


def test_a_full_disk_keeps_what_was_committed(tmp_path: Path) -> None:
    """In a real file system of 1.5 MB, which needs a mount in a namespace of its own."""
    folder = Path(__file__).parent
    code = (
        f"mount -t tmpfs -o size=1500k tmpfs '{tmp_path}' && echo mounted && "
        f"'{sys.executable}' '{folder / 'store_process.py'}' '{tmp_path}' append; ls -A '{tmp_path}/{NAME}'"
    )
    environment = os.environ | {"PYTHONPATH": f"{folder.parent}{os.pathsep}{folder}"}
    if not shutil.which("unshare"):
        pytest.skip("needs `unshare` for a small file system")
    ran = subprocess.run(["unshare", "-rm", "sh", "-c", code], capture_output=True, text=True, env=environment)
    if "mounted" not in ran.stdout:
        pytest.skip(f"needs a small file system, and may not mount one: {ran.stderr.strip()}")
    assert f"DiskFull: no space left writing {tmp_path}/{NAME}/" in ran.stderr.replace("kthink_core.errors.", "")
    assert TEMPORARY not in ran.stdout


def test_a_full_disk_leaves_the_manifest_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_writer(tmp_path, EXPERIMENT) as writer:
        writer.append(DRAWN[0])
        writer.publish()
        with monkeypatch.context() as full, pytest.raises(DiskFull, match=r"no space left writing .*manifest\.json"):
            full.setattr(os, "fsync", full_disk)
            write_manifest(Layout(tmp_path / NAME), EXPERIMENT.mark, None, [], [7])
        assert committed(tmp_path, NAME) == {0}
        writer.append(DRAWN[1])
        with monkeypatch.context() as full, pytest.raises(DiskFull, match=r"no space left writing .*\.duckdb"):
            full.setattr(os, "fsync", full_disk)
            writer.publish()
        assert committed(tmp_path, NAME) == {0}
    with open_writer(tmp_path, EXPERIMENT) as writer:
        assert writer.committed == {0, 1}


def test_ranges() -> None:
    assert ranges([]) == ()
    assert ranges([5, 0, 1, 2, 7]) == ((0, 2), (5, 5), (7, 7))
