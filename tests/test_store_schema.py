"""Stores of an older version: told to readers in one line, built again by the writer from the journal."""

import json
from pathlib import Path

import duckdb
import pytest
from store_samples import HOOKPOINTS, committed, rewrite, sample_experiment, sample_inferences, write_sample

from kthink_core import queries
from kthink_core.config import DATABASE_SCHEMA, JOURNAL_SCHEMA
from kthink_core.errors import SchemaTooOld
from kthink_core.store import built, writer
from kthink_core.store.completion import is_finished
from kthink_core.store.files import Layout
from kthink_core.store.manifest import read_manifest
from kthink_core.store.reader import list_experiments, open_reader
from kthink_core.store.writer import open_writer

EXPERIMENT = sample_experiment()
DRAWN = sample_inferences(EXPERIMENT)
NAME = EXPERIMENT.name


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The folder of a finished experiment as version 1 left it."""
    write_sample(tmp_path, EXPERIMENT, DRAWN, len(DRAWN))
    folder = tmp_path / NAME
    with duckdb.connect(folder / "latents-0001.duckdb") as connection:
        connection.execute("UPDATE experiment SET schema_version = 1")
        for table in ("feature_inferences", "relevant_features", "feature_tokens", "segment_sums"):
            connection.execute(f"DROP TABLE {table}")
    for name in ("experiment.json", "manifest.json"):
        fields = json.loads((folder / name).read_text()) | {"schema_version": 1}
        del fields["digest"]  # version 1 had none
        if fields.get("database"):
            fields["database"] = {key: fields["database"][key] for key in ("file", "inferences")}
        (folder / name).write_text(json.dumps(fields))
    return folder


def test_a_reader_is_told_what_to_do(old: Path) -> None:
    message = r"latents-0001\.duckdb has store schema 1, this kthink reads 7; run `precompute` again"
    with pytest.raises(SchemaTooOld, match=message) as caught:
        open_reader(old.parent, NAME)
    assert "\n" not in str(caught.value)
    [listed] = list_experiments(old.parent)
    assert listed.committed == len(DRAWN), "nothing of it is lost"


def test_it_is_not_finished_and_is_built_again(old: Path) -> None:
    assert not is_finished(old.parent, NAME, EXPERIMENT.config)
    with open_writer(old.parent, EXPERIMENT) as writing:
        assert writing.committed == frozenset(range(len(DRAWN)))
        assert writing.build().name == "latents-0003.duckdb"
    with open_reader(old.parent, NAME) as reader:
        assert reader.inferences == len(DRAWN)
        assert not queries.feature_table(reader, HOOKPOINTS[0]).empty
    with duckdb.connect(old / "latents-0003.duckdb", read_only=True) as connection:
        assert connection.execute("SELECT schema_version FROM experiment").fetchall() == [(DATABASE_SCHEMA,)]


def test_what_an_older_version_left_unbuilt_is_told_and_built_by_the_next_writer(tmp_path: Path) -> None:
    write_sample(tmp_path, EXPERIMENT, DRAWN[:3])
    (tmp_path / NAME / "latents-0001.duckdb").unlink()
    segments = [f"{inference:06d}.parquet" for inference in range(3)]
    rewrite(tmp_path / NAME / "manifest.json", schema_version=2, increments=[], segments=segments)
    with pytest.raises(SchemaTooOld, match=r"manifest\.json has store schema 2, .* run `precompute` again"):
        open_reader(tmp_path, NAME)
    [listed] = list_experiments(tmp_path)
    assert listed.committed == 3 and not is_finished(tmp_path, NAME, EXPERIMENT.config)
    with open_writer(tmp_path, EXPERIMENT):
        pass
    with open_reader(tmp_path, NAME) as reader:
        assert reader.inferences == 3
        assert not queries.feature_table(reader, HOOKPOINTS[0]).empty


@pytest.mark.parametrize("complete", [True, False])
def test_a_large_one_stays_until_its_successor_is_whole(
    old: Path, monkeypatch: pytest.MonkeyPatch, complete: bool
) -> None:
    """It is not built twice; where more inferences are to come, its successor is built at once."""
    monkeypatch.setattr(built, "MINIMUM_UNMERGED", 4)
    if not complete:
        (old / "journal" / "000011.parquet").unlink()
    before = (old / "manifest.json").read_bytes()
    with open_writer(old.parent, EXPERIMENT) as writing:
        assert ((old / "manifest.json").read_bytes() == before) == complete
        assert (old / "latents-0001.duckdb").exists()
        writing.build()
    manifest, _ = read_manifest(Layout(old))
    assert (
        manifest.schema_version == JOURNAL_SCHEMA
        and manifest.database
        and manifest.database.file == "latents-0002.duckdb"
    )
    assert len(committed(old.parent, NAME)) == len(DRAWN) - (not complete)


def test_a_complete_experiment_is_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last build is asked for: it waits for the directions."""
    monkeypatch.setattr(built, "MINIMUM_UNMERGED", len(DRAWN))
    monkeypatch.setattr(writer, "PATIENCE", 0.0)
    with open_writer(tmp_path, EXPERIMENT) as writing:
        for inference in DRAWN:
            writing.append(inference)
        manifest, _ = read_manifest(Layout(tmp_path / NAME))
        assert manifest.database is None and manifest.in_databases() == writing.committed
        path = writing.build()
    manifest, _ = read_manifest(Layout(tmp_path / NAME))
    assert manifest.database and manifest.database.file == path.name and manifest.increments == ()
