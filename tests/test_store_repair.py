"""What is lost in one file is taken from another that has it; what is nowhere is said and kept aside."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pytest
from store_samples import (
    HOOKPOINTS,
    as_schema_2,
    committed,
    rewrite,
    sample_experiment,
    sample_inferences,
    write_sample,
)

from kthink_core import queries
from kthink_core.config import DATABASE_SCHEMA, Experiment
from kthink_core.errors import BadFile, CorruptFile, ForeignFile, LostFile, StoreUnavailable
from kthink_core.records import Inference
from kthink_core.store import damage
from kthink_core.store.batches import batches
from kthink_core.store.completion import is_finished
from kthink_core.store.export import export
from kthink_core.store.files import Layout
from kthink_core.store.journal import read_segment, write_segment
from kthink_core.store.manifest import read_manifest
from kthink_core.store.reader import list_experiments, open_reader
from kthink_core.store.writer import open_writer

EXPERIMENT = sample_experiment()
KEPT = EXPERIMENT.model_copy(update={"name": "live", "inferences": 0, "open_ended": True})
DRAWN = sample_inferences(EXPERIMENT)
NAME = EXPERIMENT.name


def cut(path: Path) -> None:
    """Ends a file seven bytes early."""
    path.write_bytes(path.read_bytes()[:-7])


def rows(inferences: list[Inference]) -> dict[str, list[dict[str, object]]]:
    """All that a database would hold of them, NaN as None."""
    return {name: table.to_pylist() for name, table in batches(inferences, HOOKPOINTS).items()}


@pytest.mark.parametrize("experiment", [EXPERIMENT, KEPT], ids=["computed", "kept"])
@pytest.mark.parametrize("harm", ["damage", "remove"])
def test_a_lost_segment_file_is_taken_from_the_database(tmp_path: Path, experiment: Experiment, harm: str) -> None:
    write_sample(tmp_path, experiment, DRAWN[:4], 4)
    path = Layout(tmp_path / experiment.name).segment(2)
    cut(path) if harm == "damage" else path.unlink()
    told: list[str] = []
    with open_writer(tmp_path, experiment, told.append) as writer:
        assert writer.committed == {0, 1, 2, 3}
        assert len(told) == 1 and told[0].endswith("inference 2 is taken from a database that has it")
        writer.append(DRAWN[4])
        writer.build()
    assert rows([read_segment(path, experiment)]) == rows([DRAWN[2]])
    with open_reader(tmp_path, experiment.name) as reader:
        assert reader.inference_ids == (0, 1, 2, 3, 4) and reader.warnings == ()


def test_a_keep_reads_no_journal_and_the_build_mends_what_is_damaged(tmp_path: Path) -> None:
    write_sample(tmp_path, KEPT, DRAWN[:4], 4)
    cut(Layout(tmp_path / KEPT.name).segment(2))
    told: list[str] = []
    with open_writer(tmp_path, KEPT, told.append, verify=False) as writer:
        assert writer.next_inference == 4 and told == []
        writer.append(DRAWN[4])
        writer.build()
    assert [line[-46:] for line in told] == ["inference 2 is taken from a database that has it"[-46:]]
    with open_reader(tmp_path, KEPT.name) as reader:
        assert reader.inference_ids == (0, 1, 2, 3, 4)


@pytest.mark.parametrize("verify", [True, False])
def test_a_kept_inference_that_is_nowhere_is_said_and_its_number_is_not_given_again(
    tmp_path: Path, verify: bool
) -> None:
    write_sample(tmp_path, KEPT, DRAWN[:2])
    path = write_segment(tmp_path / KEPT.name, DRAWN[2], KEPT.mark)  # killed before it was in a database
    cut(path)
    told: list[str] = []
    with open_writer(tmp_path, KEPT, told.append, verify=verify) as writer:
        writer.build()
        assert told == [
            "000002.parquet was damaged and is kept as 000002.parquet.damaged: inference 2 of 'live' IS LOST, "
            "no database has it"
        ]
        assert writer.next_inference == 3
    assert path.with_name("000002.parquet.damaged").exists()
    with open_reader(tmp_path, KEPT.name) as reader:
        assert reader.inference_ids == (0, 1)
        assert reader.warnings == (
            f"inference 2 is left out: its segment file was damaged and is kept as {path}.damaged",
        )


def test_the_journal_is_made_again_from_a_database_alone(tmp_path: Path) -> None:
    write_sample(tmp_path, KEPT, DRAWN[:4], 4)
    layout = Layout(tmp_path / KEPT.name)
    layout.manifest.unlink()
    for path in layout.segments().values():
        path.unlink()
    told: list[str] = []
    with open_writer(tmp_path, KEPT, told.append) as writer:
        assert writer.committed == {0, 1, 2, 3} and len(told) == 4
    with open_reader(tmp_path, KEPT.name) as reader:
        assert reader.inference_ids == (0, 1, 2, 3)


@pytest.mark.parametrize("harm", ["damage", "remove"])
@pytest.mark.parametrize("experiment", [EXPERIMENT, KEPT], ids=["computed", "kept"])
def test_what_an_experiment_was_made_with_is_taken_from_the_database(
    tmp_path: Path, experiment: Experiment, harm: str
) -> None:
    write_sample(tmp_path, experiment, DRAWN[:4], 3)
    path = tmp_path / experiment.name / "experiment.json"
    cut(path) if harm == "damage" else path.unlink()
    told: list[str] = []
    later = experiment.model_copy(update={"provenance": experiment.provenance | {"created": "later"}})
    with open_writer(tmp_path, later, told.append) as writer:
        assert writer.experiment == experiment and writer.committed == {0, 1, 2, 3}
    assert len(told) == 1 and told[0].endswith("it is taken from a database that has it")
    with open_reader(tmp_path, experiment.name) as reader:
        assert reader.inferences == 4 and reader.experiment == experiment


def test_what_an_experiment_was_made_with_may_be_nowhere(tmp_path: Path) -> None:
    write_sample(tmp_path, KEPT, DRAWN[:2])
    (tmp_path / KEPT.name / "latents-0001.duckdb").unlink()
    path = tmp_path / KEPT.name / "experiment.json"
    path.unlink()
    with pytest.raises(LostFile, match=r"experiment\.json is missing; restore it"), open_writer(tmp_path, KEPT):
        pass
    assert not path.exists(), "none that is not its own is made"


def test_kept_runs_that_only_a_database_has_are_not_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by one keep after `experiment.json` and the journal have gone, nor after the grace of old databases."""
    monkeypatch.setattr("kthink_core.store.built.GRACE", -1.0)
    write_sample(tmp_path, KEPT, DRAWN[:4], 4)
    layout = Layout(tmp_path / KEPT.name)
    layout.experiment.unlink()
    for path in layout.segments().values():
        path.unlink()
    with open_writer(tmp_path, KEPT, lambda line: None, verify=False) as writer:
        assert writer.next_inference == 4 and writer.committed == {0, 1, 2, 3}
    layout.manifest.unlink()
    with open_writer(tmp_path, KEPT, lambda line: None, verify=False) as writer:
        assert writer.committed == {0, 1, 2, 3}
        writer.build()
        assert [path.name for path in layout.databases()] == ["latents-0003.duckdb"]
    with open_reader(tmp_path, KEPT.name) as reader:
        assert reader.inference_ids == (0, 1, 2, 3)


def test_a_database_that_is_in_use_is_no_loss(tmp_path: Path) -> None:
    write_sample(tmp_path, KEPT, DRAWN[:4], 4)
    layout = Layout(tmp_path / KEPT.name)
    layout.segment(2).unlink()
    writing = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    with (
        open_elsewhere(writing, layout.database(1)),
        pytest.raises(StoreUnavailable, match=r"Could not set lock on file.*left as it is"),
        open_writer(tmp_path, KEPT),
    ):
        pass
    with open_writer(tmp_path, KEPT, lambda line: None) as writer:
        assert writer.committed == {0, 1, 2, 3}


@pytest.mark.parametrize("harm", ["segment", "all"])
def test_a_kept_run_is_taken_from_a_database_of_schema_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    """As is what the experiment was made with; and the database stays, should more of it be wanted."""
    monkeypatch.setattr("kthink_core.store.built.GRACE", -1.0)
    write_sample(tmp_path, KEPT, DRAWN[:4], 4)
    layout = Layout(tmp_path / KEPT.name)
    old = as_schema_2(layout.folder)
    cut(layout.segment(3))
    if harm == "all":
        layout.experiment.unlink()
        layout.manifest.unlink()
        layout.segment(0).unlink()
    told: list[str] = []
    with open_writer(tmp_path, KEPT, told.append, verify=False) as writer:
        assert writer.committed == {0, 1, 2, 3}
        writer.build()
    assert len(told) == (3 if harm == "all" else 1)
    assert all(line.endswith("is taken from a database that has it") for line in told)
    later = {"tags": (), "alternatives": None, "parent_experiment": None, "parent_inference": None}
    assert rows([read_segment(layout.segment(3), KEPT)]) == rows([replace(DRAWN[3], **later, parent_position=None)])
    assert old.exists()
    with open_reader(tmp_path, KEPT.name) as reader:
        assert reader.inference_ids == (0, 1, 2, 3)


def test_where_nothing_is_lost_a_database_of_schema_2_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kthink_core.store.built.GRACE", -1.0)
    write_sample(tmp_path, KEPT, DRAWN[:4], 4)
    old = as_schema_2(tmp_path / KEPT.name)
    with open_writer(tmp_path, KEPT) as writer:
        writer.build()
    assert not old.exists()


def test_a_kept_run_of_which_all_has_gone_stays_told(tmp_path: Path) -> None:
    write_sample(tmp_path, KEPT, DRAWN[:4], 3)
    layout = Layout(tmp_path / KEPT.name)
    layout.segment(3).unlink()
    layout.database(2).unlink()
    for _ in range(2):
        told: list[str] = []
        with open_writer(tmp_path, KEPT, told.append, verify=False) as writer:
            assert writer.next_inference == 4
        with open_reader(tmp_path, KEPT.name) as reader:
            assert reader.inference_ids == (0, 1, 2)
            assert reader.warnings == ("inference 3 is left out: its segment file has gone, and no database has it",)
    assert told == [], "once"


def test_a_lost_kept_run_that_is_put_back_is_there_again(tmp_path: Path) -> None:
    write_sample(tmp_path, KEPT, DRAWN[:4], 3)
    path = Layout(tmp_path / KEPT.name).segment(3)
    content = path.read_bytes()
    path.unlink()
    Layout(tmp_path / KEPT.name).database(2).unlink()
    with open_writer(tmp_path, KEPT, lambda line: None, verify=False):
        pass
    path.write_bytes(content)
    with open_writer(tmp_path, KEPT, verify=False):
        pass
    with open_reader(tmp_path, KEPT.name) as reader:
        assert reader.inference_ids == (0, 1, 2, 3) and reader.warnings == ()
    assert read_manifest(Layout(tmp_path / KEPT.name))[0].lost == ()


def test_links_in_a_strangers_folder_lead_nowhere(tmp_path: Path) -> None:
    write_sample(tmp_path / "cache", EXPERIMENT, DRAWN[:2])
    folder, victim = tmp_path / "cache" / NAME, tmp_path / "victim"
    victim.write_text("mine")
    for name in (".tmp-writer.json", ".tmp-experiment.json", ".tmp-manifest.json", "journal/.tmp-000002.parquet"):
        (folder / name).symlink_to(victim)
    with open_writer(tmp_path / "cache", EXPERIMENT) as writer:
        writer.append(DRAWN[2])
        writer.build()
    assert victim.read_text() == "mine"
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / ".tmp-thesis").write_text("mine")
    (folder / "journal").rename(folder / "journal-before")
    (folder / "journal").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BadFile, match="journal: it is a link"), open_writer(tmp_path / "cache", EXPERIMENT):
        pass
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == [".tmp-thesis"]


def unsealed(path: Path) -> None:
    """As a version before digests wrote it."""
    fields = json.loads(path.read_text())
    del fields["digest"]
    path.write_text(json.dumps(fields))


def test_an_older_experiment_file_is_sealed_and_compared_with_its_database(tmp_path: Path) -> None:
    write_sample(tmp_path, EXPERIMENT, DRAWN[:4], 3)
    path = tmp_path / NAME / "experiment.json"
    unsealed(path)
    with open_writer(tmp_path, EXPERIMENT) as writer:
        assert writer.experiment == EXPERIMENT
    assert "digest" in json.loads(path.read_text())
    unsealed(path)
    path.write_text(path.read_text().replace("2026-01-01", "2026-01-02"))
    with (
        pytest.raises(CorruptFile, match=r"experiment\.json is damaged; restore it, or move it away"),
        open_writer(tmp_path, EXPERIMENT),
    ):
        pass


def test_a_database_without_provenance_is_another_file(tmp_path: Path) -> None:
    write_sample(tmp_path, EXPERIMENT, DRAWN[:4], 4)
    with duckdb.connect(tmp_path / NAME / "latents-0001.duckdb") as connection:
        connection.execute("UPDATE experiment SET provenance = NULL")
    (tmp_path / NAME / "experiment.json").unlink()
    with pytest.raises(LostFile), open_writer(tmp_path, EXPERIMENT):
        pass


def test_what_was_set_aside_before_stays(tmp_path: Path) -> None:
    write_sample(tmp_path, KEPT, DRAWN[:3], 3)
    for _ in range(2):
        cut(Layout(tmp_path / KEPT.name).segment(1))
        with open_writer(tmp_path, KEPT, lambda line: None):
            pass
    names = sorted(path.name for path in (tmp_path / KEPT.name / "journal").glob("*damaged*"))
    assert names == ["000001.parquet.damaged", "000001.parquet.damaged-2"]


@contextmanager
def open_elsewhere(code: str, path: Path) -> Iterator[None]:
    """While another process that runs `code` has a file open."""
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdin=-1, stdout=-1, text=True) as process:
        assert process.stdout and process.stdout.readline() == "open\n"
        try:
            yield
        finally:
            process.kill()


def flipped(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def blocks(path: Path) -> range:
    """A place in each block of a database, its three headers included."""
    return range(1_000, path.stat().st_size, 262_144 // 4)


def test_a_flipped_bit_anywhere_ends_in_a_right_answer_or_one_line(tmp_path: Path) -> None:
    write_sample(tmp_path, EXPERIMENT, DRAWN, len(DRAWN))
    path = tmp_path / NAME / "latents-0001.duckdb"
    sound = path.read_bytes()
    with open_reader(tmp_path, NAME) as reader:
        right = queries.feature_counts(reader, HOOKPOINTS[0])
    places = [10, 4_100, 8_200, *blocks(path)]
    told = 0
    for place in places:
        path.write_bytes(sound)
        flipped(path, place)
        try:
            with open_reader(tmp_path, NAME) as reader:
                assert queries.feature_counts(reader, HOOKPOINTS[0]).equals(right)
        except CorruptFile as error:
            told += 1
            assert "latents-0001.duckdb is damaged; run `precompute` again" in str(error)
    assert told > len(places) / 3


def test_a_flipped_bit_is_found_by_the_writer_and_the_database_is_built_again(tmp_path: Path) -> None:
    write_sample(tmp_path, EXPERIMENT, DRAWN, len(DRAWN))
    rewrite_directions(tmp_path)
    path = tmp_path / NAME / "latents-0001.duckdb"
    assert is_finished(tmp_path, NAME, EXPERIMENT.config)
    flipped(path, path.stat().st_size // 2)
    assert not is_finished(tmp_path, NAME, EXPERIMENT.config), "`precompute` does not call it complete"
    told: list[str] = []
    with open_writer(tmp_path, EXPERIMENT, told.append) as writer:
        writer.build()
    assert told == [
        "latents-0001.duckdb was damaged and is kept as latents-0001.duckdb.damaged: it is built again from the journal"
    ]
    with open_reader(tmp_path, NAME) as reader:
        assert reader.inferences == len(DRAWN)


def rewrite_directions(cache: Path) -> None:
    """Lets the manifest say that the database has directions and fidelity, as that of a finished experiment."""
    manifest, _ = read_manifest(Layout(cache / NAME))
    assert manifest.database
    entry = manifest.database.model_copy(update={"directions": "sha256:0", "fidelity": manifest.database.inferences})
    rewrite(cache / NAME / "manifest.json", database=entry.model_dump())


@pytest.mark.parametrize("ending", ["duckdb", "parquet"])
def test_a_damaged_database_is_not_exported(tmp_path: Path, ending: str) -> None:
    write_sample(tmp_path, EXPERIMENT, DRAWN, len(DRAWN))
    path = tmp_path / NAME / "latents-0001.duckdb"
    with duckdb.connect(path, read_only=True) as connection:
        (block,) = connection.execute(
            "SELECT min(block_id) FROM pragma_storage_info('latents') WHERE block_id >= 0"
        ).fetchall()[0]
    flipped(path, 3 * 4096 + block * 262_144 + 1_000)
    target = tmp_path / f"out.{ending}"
    target.write_bytes(b"older")
    with pytest.raises(CorruptFile, match=r"latents-0001\.duckdb is damaged"):
        export(tmp_path, NAME, target)
    assert target.read_bytes() == b"older"


def test_a_sound_database_is_not_called_damaged(tmp_path: Path) -> None:
    """Neither where memory is short, nor where another connection has it open for writing, nor by a writer."""
    write_sample(tmp_path, EXPERIMENT, DRAWN, len(DRAWN))
    path = tmp_path / NAME / "latents-0001.duckdb"
    entry = read_manifest(Layout(tmp_path / NAME))[0].database
    assert entry
    with (
        duckdb.connect(config={"memory_limit": "1MB"}) as short,
        pytest.raises(StoreUnavailable, match=r"Out of Memory .*left as it is"),
        damage.damage_told({path: entry}),
    ):
        short.execute("SELECT list(range) FROM range(1_000_000)")
    writing = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    with open_elsewhere(writing, path):
        with pytest.raises(StoreUnavailable, match=r"Could not set lock on file.*left as it is"):
            open_reader(tmp_path, NAME)
        told: list[str] = []
        with open_writer(tmp_path, EXPERIMENT, told.append):
            assert told == []
        assert path.exists()


def test_what_cannot_be_read_is_the_systems_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of another user's file: root may read all, so the error is raised where the file would be opened."""
    write_sample(tmp_path, EXPERIMENT, DRAWN, len(DRAWN))
    path = tmp_path / NAME / "latents-0001.duckdb"

    def refuse(_: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(damage, "sha256_of", refuse)
    with pytest.raises(PermissionError), open_writer(tmp_path, EXPERIMENT):
        pass
    assert path.exists()


def test_the_files_of_another_experiment_are_not_taken_for_its_own(tmp_path: Path) -> None:
    other = sample_experiment("other")
    strange = sample_inferences(other, seed=1)
    write_sample(tmp_path, EXPERIMENT, DRAWN[:4], 2)
    write_sample(tmp_path, other, strange[:4], 2)
    here, there = Layout(tmp_path / NAME), Layout(tmp_path / "other")
    here.segment(3).write_bytes(there.segment(3).read_bytes())
    here.database(2).write_bytes(there.database(2).read_bytes())
    with open_reader(tmp_path, NAME) as reader:
        assert reader.inference_ids == (0, 1)
        assert "latents-0002.duckdb is damaged" in reader.warnings[0]  # its digest is not that of what was built
    here.database(1).write_bytes(there.database(1).read_bytes())
    with pytest.raises(CorruptFile, match=r"latents-0001\.duckdb is damaged \(it belongs to another experiment\)"):
        open_reader(tmp_path, NAME)
    before = {path: path.read_bytes() for path in here.folder.rglob("*") if path.is_file() and path != here.lock}
    with pytest.raises(ForeignFile, match="move it away"), open_writer(tmp_path, EXPERIMENT):
        pass
    assert {path: path.read_bytes() for path in before} == before, "nothing is touched while it cannot be told"
    here.segment(3).unlink()
    with open_writer(tmp_path, EXPERIMENT, lambda line: None) as writer:
        assert writer.committed == {0, 1, 2}


def test_an_experiment_file_of_another_is_not_believed(tmp_path: Path) -> None:
    other = EXPERIMENT.model_copy(update={"provenance": EXPERIMENT.provenance | {"created": "later"}})
    write_sample(tmp_path, EXPERIMENT, DRAWN[:4], 3)
    write_sample(tmp_path / "elsewhere", other, sample_inferences(other)[:1], 1)
    (tmp_path / NAME / "experiment.json").write_bytes((tmp_path / "elsewhere" / NAME / "experiment.json").read_bytes())
    with pytest.raises(ForeignFile, match=r"manifest\.json belongs to another experiment"):
        open_reader(tmp_path, NAME)
    for verify in (True, False):
        with pytest.raises(ForeignFile), open_writer(tmp_path, EXPERIMENT, verify=verify):
            pass
    assert [path.name for path in (tmp_path / NAME).rglob("*damaged*")] == [], "all is kept"


def test_an_older_manifest_than_the_database_is_told(tmp_path: Path) -> None:
    write_sample(tmp_path, EXPERIMENT, DRAWN[:4], 3)
    manifest = tmp_path / NAME / "manifest.json"
    rewrite(
        manifest, database={"file": "latents-0001.duckdb", "inferences": [[0, 1]], "schema_version": DATABASE_SCHEMA}
    )
    with pytest.raises(CorruptFile, match="it holds other inferences than the manifest says"):
        open_reader(tmp_path, NAME)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("file", "../../thesis.txt"),
        ("file", "latents-0001.duckdb\n"),
        ("file", "/etc/passwd"),
        ("inferences", [[0, 99_999_999_999]]),
        ("inferences", [[5, 2]]),
        ("inferences", [[0, 3], [2, 4]]),
        ("inferences", [[-4, 2]]),
        ("inferences", 7),
        ("sha256", "short"),
    ],
)
def test_a_manifest_is_not_believed(tmp_path: Path, field: str, value: object) -> None:
    """Though its digest is right: whoever wrote it knew how."""
    cache = tmp_path / "deep" / "cache"
    thesis = tmp_path / "thesis.txt"
    thesis.write_text("mine")
    write_sample(cache, EXPERIMENT, DRAWN[:4], 4)
    entry = read_manifest(Layout(cache / NAME))[0].database
    assert entry
    rewrite(cache / NAME / "manifest.json", database=entry.model_dump() | {field: value})
    with pytest.raises(CorruptFile, match=rf"manifest\.json is damaged \(database\.{field}.*precompute"):
        open_reader(cache, NAME)
    [status] = list_experiments(cache)
    assert status.problem and "manifest.json" in status.problem
    with open_writer(cache, EXPERIMENT, lambda line: None) as writer:
        assert writer.committed == {0, 1, 2, 3}
    assert thesis.read_text() == "mine" and list(tmp_path.rglob("*.damaged")) == []
    assert committed(cache, NAME) == {0, 1, 2, 3}


@pytest.mark.parametrize("segments", [["../000001.parquet"], ["000001.parquet"] * 2, ["x"], 3, ["/000001.parquet"]])
def test_names_of_segment_files_are_not_believed(tmp_path: Path, segments: object) -> None:
    write_sample(tmp_path, EXPERIMENT, DRAWN[:4])
    rewrite(tmp_path / NAME / "manifest.json", segments=segments)
    with pytest.raises(CorruptFile, match=r"manifest\.json is damaged \(segments"):
        open_reader(tmp_path, NAME)


def test_a_database_of_views_is_not_asked(tmp_path: Path) -> None:
    """A view computes what its author wrote, such as the content of any file that can be read."""
    write_sample(tmp_path, EXPERIMENT, DRAWN[:4], 4)
    path = tmp_path / NAME / "latents-0001.duckdb"
    with duckdb.connect(path) as connection:
        connection.execute("ALTER TABLE tokens RENAME TO kept")
        connection.execute(
            "CREATE VIEW tokens AS SELECT * REPLACE (content AS text) FROM kept, read_text('/etc/passwd')"
        )
    with pytest.raises(CorruptFile, match="it lacks tokens"):
        open_reader(tmp_path, NAME)


def test_recovered_arrays_have_the_kinds_of_the_original(tmp_path: Path) -> None:
    write_sample(tmp_path, EXPERIMENT, DRAWN[:2], 2)
    path = Layout(tmp_path / NAME).segment(1)
    path.unlink()
    with open_writer(tmp_path, EXPERIMENT, lambda line: None):
        pass
    found = read_segment(path, EXPERIMENT)
    for name, encoding in DRAWN[1].encodings.items():
        for field in ("features", "activations", "squared_error", "squared_norm"):
            one, other = getattr(encoding, field), getattr(found.encodings[name], field)
            assert one.dtype == other.dtype and one.ndim == other.ndim and len(one) == len(other)
        assert np.array_equal(encoding.squared_error, found.encodings[name].squared_error)
