"""Stores of an older version: told to readers in one line, built again by the writer from the journal."""

import json
from pathlib import Path

import duckdb
import pytest
from store_samples import HOOKPOINTS, committed, rewrite, sample_experiment, sample_inferences, write_sample

from kthink_core import queries
from kthink_core.config import DATABASE_SCHEMA, JOURNAL_SCHEMA
from kthink_core.errors import SchemaTooOld
from kthink_core.store import writer as module
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
    message = r"latents-0001\.duckdb has store schema 1, this kthink reads 3; run `precompute` again"
    with pytest.raises(SchemaTooOld, match=message) as caught:
        open_reader(old.parent, NAME)
    assert "\n" not in str(caught.value)
    [listed] = list_experiments(old.parent)
    assert listed.committed == len(DRAWN), "nothing of it is lost"


def test_it_is_not_finished_and_is_built_again(old: Path) -> None:
    assert not is_finished(old.parent, NAME, EXPERIMENT.config)
    with open_writer(old.parent, EXPERIMENT) as writer:
        assert writer.committed == frozenset(range(len(DRAWN)))
        assert writer.build().name == "latents-0002.duckdb"
    with open_reader(old.parent, NAME) as reader:
        assert reader.inferences == len(DRAWN)
        assert not queries.feature_table(reader, HOOKPOINTS[0]).empty
    with duckdb.connect(old / "latents-0002.duckdb", read_only=True) as connection:
        assert connection.execute("SELECT schema_version FROM experiment").fetchall() == [(DATABASE_SCHEMA,)]


def test_what_is_pending_of_an_older_version_is_read_as_it_is(tmp_path: Path) -> None:
    write_sample(tmp_path, EXPERIMENT, DRAWN[:3])
    path = tmp_path / NAME / "manifest.json"
    rewrite(path, schema_version=1)
    with open_reader(tmp_path, NAME) as reader:
        assert reader.inferences == 3
        assert not queries.feature_table(reader, HOOKPOINTS[0]).empty


@pytest.mark.parametrize("complete", [True, False])
def test_a_large_one_stays_until_its_successor_is_whole(
    old: Path, monkeypatch: pytest.MonkeyPatch, complete: bool
) -> None:
    """Readers would else read every segment file; where more inferences are to come, its successor is built at once."""
    monkeypatch.setattr(module, "MINIMUM_PENDING", 4)
    if not complete:
        (old / "journal" / "000011.parquet").unlink()
    before = (old / "manifest.json").read_bytes()
    with open_writer(old.parent, EXPERIMENT) as writer:
        assert ((old / "manifest.json").read_bytes() == before) == complete
        assert (old / "latents-0001.duckdb").exists()
        writer.build()
    manifest, _ = read_manifest(Layout(old))
    assert (
        manifest.schema_version == JOURNAL_SCHEMA
        and manifest.database
        and manifest.database.file == "latents-0002.duckdb"
    )
    assert len(committed(old.parent, NAME)) == len(DRAWN) - (not complete)


def test_a_complete_experiment_is_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last build is asked for: it waits for the directions."""
    monkeypatch.setattr(module, "MINIMUM_PENDING", len(DRAWN))
    with open_writer(tmp_path, EXPERIMENT) as writer:
        for inference in DRAWN:
            writer.append(inference)
        assert not list((tmp_path / NAME).glob("*.duckdb"))
        assert writer.build().name == "latents-0001.duckdb"
