"""The reader: whole inferences only, in threads, beside a writer, and over what is damaged."""

import json
import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import pytest
from store_samples import HOOKPOINTS, rewrite, sample_experiment, sample_inference, sample_inferences, write_sample

from kthink_core import queries
from kthink_core.config import DATABASE_SCHEMA
from kthink_core.errors import CorruptFile, SchemaTooNew, UnknownName
from kthink_core.store import built, writer
from kthink_core.store.manifest import read_experiment
from kthink_core.store.reader import list_experiments, open_reader, store_version
from kthink_core.store.writer import open_writer

EXPERIMENT = sample_experiment()
DRAWN = sample_inferences(EXPERIMENT)
NAME = EXPERIMENT.name
THREADS = 8


def active(index: int) -> int:
    return sum(int((encoding.activations > 0).sum()) for encoding in DRAWN[index].encodings.values())


def test_a_database_opens_in_plain_duckdb(tmp_path: Path) -> None:
    write_sample(tmp_path, EXPERIMENT, DRAWN, len(DRAWN))
    with duckdb.connect(tmp_path / NAME / "latents-0001.duckdb", read_only=True) as connection:
        listed = "SELECT table_name, list(column_name ORDER BY column_index) FROM duckdb_columns() GROUP BY table_name"
        tables = dict(connection.execute(listed).fetchall())
        [described] = connection.execute("SELECT name, schema_version, config, provenance FROM experiment").fetchall()
        order = connection.execute("SELECT hookpoint::VARCHAR, feature, inference, position FROM latents").fetchall()
        zeros = connection.execute("SELECT count(*) FROM latents WHERE NOT activation > 0").fetchall()
    assert described[:2] == (NAME, DATABASE_SCHEMA)
    assert json.loads(described[2]) == EXPERIMENT.config.model_dump(mode="json")
    assert json.loads(described[3]) == EXPERIMENT.provenance
    assert order == sorted(order, key=lambda row: (HOOKPOINTS.index(row[0]), *row[1:])) and zeros == [(0,)]
    for table, columns in {
        "tokens": "inference position token_id text segment logprob",
        "latents": "hookpoint feature inference position activation",
        "token_latents": "inference hookpoint position features activations",
        "quality": "inference hookpoint position squared_error squared_norm",
        "vector_sums": "inference hookpoint segment positions sum",
        "feature_stats": "hookpoint feature scope positions inferences relevant_inferences max_activation",
        "feature_inferences": "hookpoint feature inference segment positions max_activation activation_sum",
        "relevant_features": "hookpoint scope inference rank feature max_activation",
        "feature_tokens": "hookpoint scope feature rank token_id text max_activation",
        "segment_sums": "hookpoint segment positions squared_error squared_norm sum",
        "neighbours": "hookpoint feature rank neighbour cosine",
        "promoted_tokens": "hookpoint feature sign rank token_id text logit",
    }.items():
        assert tables[table][: len(columns.split())] == columns.split()


@pytest.mark.parametrize("built", [0, 4, 6])
def test_a_reader_sees_what_there_was(tmp_path: Path, built: int) -> None:
    write_sample(tmp_path, EXPERIMENT, DRAWN[:6], built)
    with open_reader(tmp_path, NAME) as reader:
        assert reader.experiment == EXPERIMENT == read_experiment(tmp_path, NAME)
        assert reader.inferences == 6 and reader.warnings == ()
        assert reader.version == store_version(tmp_path, NAME)
        with open_writer(tmp_path, EXPERIMENT) as writer:
            assert reader.version == store_version(tmp_path, NAME), "opening alone changes nothing"
            writer.append(DRAWN[6])
            writer.publish()
            assert reader.version != store_version(tmp_path, NAME)
            writer.build()
        assert reader.inferences == 6 and len(queries.inferences(reader)) == 6, "a reader is a snapshot"


def test_a_reader_outlasts_the_database_it_has_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(built, "GRACE", -1.0)
    write_sample(tmp_path, EXPERIMENT, DRAWN[:6], 6)
    with open_reader(tmp_path, NAME) as reader:
        write_sample(tmp_path, EXPERIMENT, DRAWN[6:], 6)
        assert not (tmp_path / NAME / "latents-0001.duckdb").exists()
        assert len(queries.feature_counts(reader, HOOKPOINTS[0])) > 0


def test_a_reader_reaches_no_other_file(tmp_path: Path) -> None:
    write_sample(tmp_path, EXPERIMENT, DRAWN[:2], 2)
    with open_reader(tmp_path, NAME) as reader:
        for statement in (f"COPY tokens TO '{tmp_path}/out.csv'", "FROM read_text('/etc/hostname')", "SET threads = 1"):
            with pytest.raises(duckdb.Error):
                reader.query(statement)


def test_threads_share_a_reader(tmp_path: Path) -> None:
    write_sample(tmp_path, EXPERIMENT, DRAWN, 6)
    with open_reader(tmp_path, NAME) as reader, ThreadPoolExecutor(THREADS) as pool:
        asked = [index for _ in range(10) for index in range(len(DRAWN))]
        sql = "SELECT count(*) AS number FROM latents WHERE inference = ?"
        found = pool.map(lambda index: reader.query(sql, [index])["number"][0], asked)
        assert list(found) == [active(index) for index in asked]


def test_readers_beside_a_writer_see_whole_inferences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(built, "GRACE", -1.0)  # the hardest case: a database goes as soon as it is replaced
    monkeypatch.setattr(writer, "PATIENCE", 0.0)
    write_sample(tmp_path, EXPERIMENT, DRAWN[:1])
    done = threading.Event()

    def read() -> int:
        opened, last = 0, False
        while not last:
            last = done.is_set()
            with open_reader(tmp_path, NAME) as reader:
                latents = reader.query("SELECT inference, count(*) AS number FROM latents GROUP BY ALL ORDER BY ALL")
                tokens = reader.query("SELECT inference, count(*) AS number FROM tokens GROUP BY ALL ORDER BY ALL")
                visible = list(reader.inference_ids)
                assert reader.warnings == () and visible == list(range(len(visible)))
                assert list(latents["inference"]) == list(tokens["inference"]) == visible
                assert list(latents["number"]) == [active(index) for index in visible]
                assert list(tokens["number"]) == [len(DRAWN[index].texts) for index in visible]
                opened += 1
        assert visible == list(range(len(DRAWN)))
        return opened

    with ThreadPoolExecutor(2) as pool:
        reading = [pool.submit(read) for _ in range(2)]
        try:
            with open_writer(tmp_path, EXPERIMENT) as writing:
                for inference in DRAWN[1:]:
                    writing.append(inference)
                    if inference.inference % 5 == 0:
                        writing.build()
        finally:
            done.set()
        assert all(read.result() >= 1 for read in reading)


@pytest.mark.parametrize("harm", ["truncate", "flip", "remove", "another"])
def test_a_damaged_increment_is_left_out_and_told(tmp_path: Path, harm: str) -> None:
    write_sample(tmp_path, EXPERIMENT, DRAWN[:4], 2)
    path = tmp_path / NAME / "latents-0002.duckdb"
    if harm == "truncate":
        path.write_bytes(path.read_bytes()[:100])
    elif harm == "flip":
        flip_latents(path)
    elif harm == "another":
        path.write_bytes((tmp_path / NAME / "latents-0001.duckdb").read_bytes())
    else:
        path.unlink()
    with open_reader(tmp_path, NAME) as reader:
        assert reader.inference_ids == (0, 1) and len(queries.inferences(reader)) == 2
        assert reader.query("SELECT count(DISTINCT inference) AS number FROM latents")["number"][0] == 2
        [warning] = reader.warnings
        assert warning.startswith("inferences 2 to 3 are left out: ") and str(path) in warning
        assert "precompute" in warning and "\n" not in warning
    told: list[str] = []
    with open_writer(tmp_path, EXPERIMENT, told.append):
        assert len(told) == 1
        assert told[0].startswith(f"{path.name} {'is missing' if harm == 'remove' else 'was damaged'}")
    with open_reader(tmp_path, NAME) as reader:
        assert reader.inference_ids == (0, 1, 2, 3) and reader.warnings == ()


def test_damage_of_an_increment_that_shows_later_is_told_by_its_name(tmp_path: Path) -> None:
    write_sample(tmp_path, EXPERIMENT, DRAWN[:8], 4)
    path = tmp_path / NAME / "latents-0002.duckdb"
    message = r"latents-0002\.duckdb is damaged; run `precompute`"
    with open_reader(tmp_path, NAME) as reader:
        flip_latents(path)
        with pytest.raises(CorruptFile, match=message):
            reader.query("FROM latents")


def flip_latents(path: Path) -> None:
    """Changes one bit of a database, in a block of its table `latents`."""
    copy = path.read_bytes()
    beside = path.with_name("copy.duckdb")  # not the file itself, which a reader may have open
    beside.write_bytes(copy)
    with duckdb.connect(beside, read_only=True) as connection:
        stored = "SELECT min(block_id) FROM pragma_storage_info('latents') WHERE block_id >= 0"
        [(block,)] = connection.execute(stored).fetchall()
    beside.unlink()
    with path.open("r+b") as file:
        place = 3 * 4096 + block * 262_144 + 1_000
        file.seek(place)
        file.write(bytes([copy[place] ^ 1]))


def test_readers_read_no_journal(tmp_path: Path) -> None:
    write_sample(tmp_path, EXPERIMENT, DRAWN[:6], 4)
    shutil.rmtree(tmp_path / NAME / "journal")
    with open_reader(tmp_path, NAME) as reader:
        assert reader.inferences == 6 and reader.warnings == ()
        assert [reader.inference(index).texts for index in range(6)] == [kept.texts for kept in DRAWN[:6]]
        with pytest.raises(KeyError):
            reader.inference(6)


def test_a_damaged_segment_of_the_database_does_no_harm(tmp_path: Path) -> None:
    write_sample(tmp_path, EXPERIMENT, DRAWN[:4], 4)
    (tmp_path / NAME / "journal" / "000001.parquet").write_bytes(b"")
    with open_reader(tmp_path, NAME) as reader:
        assert reader.inferences == 4 and reader.warnings == ()


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5])
def test_a_truncated_database_is_told_with_its_remedy(tmp_path: Path, share: float) -> None:
    write_sample(tmp_path, EXPERIMENT, DRAWN, len(DRAWN))
    path = tmp_path / NAME / "latents-0001.duckdb"
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    message = r"latents-0001\.duckdb is damaged; run `precompute` again: it sets the file aside and builds another"
    with pytest.raises(CorruptFile, match=message), open_reader(tmp_path, NAME) as reader:
        reader.query("SELECT sum(activation) FROM latents")


def test_a_changed_block_is_told_when_it_is_read(tmp_path: Path) -> None:
    write_sample(tmp_path, EXPERIMENT, DRAWN, len(DRAWN))
    path = tmp_path / NAME / "latents-0001.duckdb"
    content = bytearray(path.read_bytes())
    for place in range(20_000, len(content), 4096):
        content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(CorruptFile), open_reader(tmp_path, NAME) as reader:
        for table in ("latents", "token_latents", "tokens", "quality", "vector_sums", "feature_stats"):
            reader.query(f"FROM {table}")


def test_a_missing_database_is_told(tmp_path: Path) -> None:
    write_sample(tmp_path, EXPERIMENT, DRAWN[:2], 2)
    (tmp_path / NAME / "latents-0001.duckdb").unlink()
    with pytest.raises(CorruptFile, match=r"latents-0001\.duckdb .*run `precompute` again"):
        open_reader(tmp_path, NAME)


@pytest.mark.parametrize("file", ["experiment.json", "manifest.json"])
def test_a_newer_schema_is_refused(tmp_path: Path, file: str) -> None:
    write_sample(tmp_path, EXPERIMENT, DRAWN[:1])
    path = tmp_path / NAME / file
    rewrite(path, schema_version=99)
    with pytest.raises(SchemaTooNew, match="has store schema 99, this kthink reads up to 6; upgrade kthink"):
        open_reader(tmp_path, NAME)
    [status] = list_experiments(tmp_path)
    assert status.problem and "store schema 99" in status.problem


def test_a_newer_database_is_refused(tmp_path: Path) -> None:
    write_sample(tmp_path, EXPERIMENT, DRAWN[:1], 1)
    with duckdb.connect(tmp_path / NAME / "latents-0001.duckdb") as connection:
        connection.execute("UPDATE experiment SET schema_version = 99")
    with pytest.raises(SchemaTooNew, match=r"latents-0001\.duckdb has store schema 99"):
        open_reader(tmp_path, NAME)


def test_an_unknown_experiment_is_told_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="unknown experiment 'nothing': known: none; run `precompute` first"):
        open_reader(tmp_path / "nowhere", "nothing")
    write_sample(tmp_path, EXPERIMENT, DRAWN[:1])
    for name in ("sampel", "../sample", "", ".", "sample/journal"):
        with pytest.raises(UnknownName):
            open_reader(tmp_path, name)
    assert store_version(tmp_path, "nothing") == "empty"


def test_experiments_are_listed_and_broken_ones_too(tmp_path: Path) -> None:
    other = sample_experiment("another")
    write_sample(tmp_path, EXPERIMENT, DRAWN[:3], 2)
    write_sample(tmp_path, other, [sample_inference(other, 0)])
    write_sample(tmp_path, sample_experiment("broken"), [])
    (tmp_path / "broken" / "experiment.json").write_text("{}")
    (tmp_path / "orphan" / "journal").mkdir(parents=True)
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/no\xfftext")).mkdir()
    (tmp_path / "unrelated").mkdir()
    (tmp_path / "README.md").write_text("not an experiment")
    listed = list_experiments(tmp_path)
    assert [(status.name, status.committed) for status in listed] == [
        ("another", 1), ("broken", 0), ("no\\udcfftext", 0), ("orphan", 0), ("sample", 3),
    ]  # fmt: skip
    assert [status.problem is None for status in listed] == [True, False, False, False, True]
    assert listed[4].experiment == EXPERIMENT and listed[1].experiment is None
