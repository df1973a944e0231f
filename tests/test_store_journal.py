"""Segment files: what is written is read again exactly, and damage is told."""

import errno
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_samples import HOOKPOINTS, full_disk, same, sample_experiment, sample_inference

from kthink_core.errors import CorruptFile, DiskFull, SchemaTooNew
from kthink_core.records import Encoding, Inference
from kthink_core.store.files import Layout
from kthink_core.store.journal import read_segment, write_segment
from kthink_core.store.sealed import sealed

EXPERIMENT = sample_experiment()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "journal").mkdir()
    return tmp_path


@pytest.mark.parametrize("index", range(8))
def test_an_inference_is_read_as_it_was_written(folder: Path, index: int) -> None:
    inference = sample_inference(EXPERIMENT, index)
    path = write_segment(folder, inference)
    assert path == folder / "journal" / f"{index:06d}.parquet"
    assert same(read_segment(path), inference)
    assert Layout(folder).segments() == {index: path}
    assert [entry.name for entry in path.parent.iterdir()] == [path.name], "temporaries stay behind"


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(TEXT, min_size=1, max_size=12), scalars=st.lists(TEXT | st.none(), min_size=4, max_size=4))
def test_any_text_survives(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], scalars: list[str | None]
) -> None:
    folder = tmp_path_factory.mktemp("segments")
    (folder / "journal").mkdir()
    positions = len(texts)
    inference = Inference(
        inference=7,
        problem=7,
        question=scalars[0] or "",
        prompt=scalars[1] or "",
        mode="think",
        seed=7,
        prompt_tokens=positions,
        finish_reason="length",
        answer=scalars[2],
        reference=scalars[3],
        correct=None,
        token_ids=np.arange(positions, dtype=np.int32),
        texts=tuple(texts),
        segments=("prompt",) * positions,
        logprobs=np.full(positions, np.nan, np.float32),
        encodings={
            "layers.0": Encoding(
                features=np.zeros((positions, 1), np.int32),
                activations=np.full((positions, 1), np.inf, np.float32),
                squared_error=np.zeros(positions, np.float32),
                squared_norm=np.zeros(positions, np.float32),
                vector_sums={"prompt": np.array([1e-300, -0.0])},
            )
        },
    )
    assert same(read_segment(write_segment(folder, inference)), inference)


def test_a_segment_file_is_one_row_that_other_tools_read(folder: Path) -> None:
    inference = sample_inference(EXPERIMENT, 0)
    [row] = pq.read_table(write_segment(folder, inference)).to_pylist()
    assert [token["text"] for token in row["tokens"]] == list(inference.texts)
    assert [encoding["hookpoint"] for encoding in row["encodings"]] == list(HOOKPOINTS)
    assert len(row["encodings"][0]["features"]) == len(inference.texts) * row["encodings"][0]["k"]


@pytest.mark.parametrize("share", [0.0, 0.3, 0.999])
def test_a_truncated_file_is_corrupt(folder: Path, share: float) -> None:
    path = write_segment(folder, sample_inference(EXPERIMENT, 0))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(CorruptFile, match=r"000000\.parquet is damaged; `precompute`"):
        read_segment(path)


@settings(max_examples=150, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_any_changed_byte_is_noticed(tmp_path_factory: pytest.TempPathFactory, place: float, flip: int) -> None:
    folder = tmp_path_factory.mktemp("segments")
    (folder / "journal").mkdir()
    path = write_segment(folder, sample_inference(EXPERIMENT, 3))
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= flip
    path.write_bytes(content)
    with pytest.raises(CorruptFile):
        read_segment(path)


def test_a_file_under_another_name_is_corrupt(folder: Path) -> None:
    path = write_segment(folder, sample_inference(EXPERIMENT, 0))
    with pytest.raises(CorruptFile):
        read_segment(path.rename(path.with_name("000001.parquet")))


def test_a_file_of_another_kind_is_corrupt(folder: Path) -> None:
    """However few columns it has, and though it is sealed."""
    path = Layout(folder).segment(0)
    path.write_bytes(sealed(pa.table({"feature": [1]}), None)[0])
    with pytest.raises(CorruptFile):
        read_segment(path)


def test_what_was_done_before_there_were_receipts_is_read(folder: Path) -> None:
    """As schema 3 wrote it: five fields an intervention."""
    inference = sample_inference(EXPERIMENT, 2)
    path = write_segment(folder, inference)
    table = pq.read_table(path)
    names = ("hookpoint", "feature", "action", "value", "start")
    kinds = (pa.string(), pa.int32(), pa.string(), pa.float64(), pa.int32())
    rows = [[{name: done[name] for name in names} for done in table["interventions"].to_pylist()[0]]]
    older = pa.array(rows, pa.list_(pa.struct(list(zip(names, kinds, strict=True)))))
    at = table.schema.get_field_index("interventions")
    path.write_bytes(sealed(table.set_column(at, "interventions", older).drop_columns("tags"), None)[0])
    found = read_segment(path)
    assert inference.tags and found.tags == ()
    assert [replace(done, after=None) for done in inference.interventions] == list(found.interventions)
    assert len(found.interventions) == 2 and found.receipts == ()


def test_a_newer_schema_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as newer:
        newer.setattr("kthink_core.store.sealed.JOURNAL_SCHEMA", 99)
        path = write_segment(folder, sample_inference(EXPERIMENT, 0))
    with pytest.raises(SchemaTooNew, match="store schema 99, this kthink reads up to 6"):
        read_segment(path)


def test_a_missing_file_is_not_called_damaged(folder: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_segment(folder / "journal" / "000000.parquet")


def test_a_full_disk_commits_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "journal" / "000000.parquet"
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(DiskFull) as caught:
        write_segment(folder, sample_inference(EXPERIMENT, 0))
    assert isinstance(caught.value.__cause__, OSError) and caught.value.__cause__.errno == errno.ENOSPC
    assert list(path.parent.iterdir()) == []


def test_what_replaces_a_segment_file_replaces_all_of_it(folder: Path) -> None:
    first = sample_inference(EXPERIMENT, 0)
    second = replace(first, question="another")
    write_segment(folder, first)
    assert same(read_segment(write_segment(folder, second)), second)
