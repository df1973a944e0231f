"""Exports stand alone, hold everything visible, and replace an older file only when they are whole."""

import json
import os
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest
from store_samples import full_disk, sample_experiment, sample_inferences, write_sample

from kthink_core.errors import BadValue, DiskFull, UnknownName
from kthink_core.store.export import export
from kthink_core.store.files import temporary

EXPERIMENT = sample_experiment()
DRAWN = sample_inferences(EXPERIMENT)
NAME = EXPERIMENT.name


def expected() -> list[tuple[object, ...]]:
    """hookpoint, feature, inference, position, activation, token_id, text, segment of every activation, in order."""
    rows = [
        (
            number, int(feature), inference.inference, position, float(activation), int(inference.token_ids[position]),
            inference.texts[position], inference.segments[position],
        )
        for inference in DRAWN
        for number, encoding in enumerate(inference.encodings.values())
        for position in range(len(inference.texts))
        for feature, activation in zip(encoding.features[position], encoding.activations[position], strict=True)
        if activation > 0
    ]  # fmt: skip
    hookpoints = list(EXPERIMENT.saes)
    return [(hookpoints[number], *row) for number, *row in sorted(rows)]


@pytest.mark.parametrize("built", [0, 5, len(DRAWN)])
def test_a_database_holds_everything_in_one_file(tmp_path: Path, built: int) -> None:
    write_sample(tmp_path / "cache", EXPERIMENT, DRAWN, built)
    target = tmp_path / "out.duckdb"
    assert export(tmp_path / "cache", NAME, target) == target
    assert {path.name for path in tmp_path.iterdir()} == {"cache", "out.duckdb"}
    with duckdb.connect(target, read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM inferences").fetchall() == [(len(DRAWN),)]
        found = connection.execute("""
            SELECT hookpoint::VARCHAR, feature, inference, position, activation, token_id, text, tokens.segment::VARCHAR
            FROM latents JOIN tokens USING (inference, position) ORDER BY hookpoint, feature, inference, position
        """).fetchall()
    assert found == expected()


@pytest.mark.parametrize("built", [0, 5, len(DRAWN)])
def test_parquet_holds_every_activation_with_its_token(tmp_path: Path, built: int) -> None:
    write_sample(tmp_path / "cache", EXPERIMENT, DRAWN, built)
    target = tmp_path / "out.parquet"
    export(tmp_path / "cache", NAME, target)
    table = pq.read_table(target)
    assert [tuple(row.values()) for row in table.to_pylist()] == expected()
    described = json.loads(pq.read_metadata(target).metadata[b"kthink.experiment"])
    assert described == EXPERIMENT.model_dump(mode="json")


def test_an_experiment_without_inferences_exports(tmp_path: Path) -> None:
    write_sample(tmp_path / "cache", EXPERIMENT, [])
    assert pq.read_table(export(tmp_path / "cache", NAME, tmp_path / "out.parquet")).num_rows == 0
    export(tmp_path / "cache", NAME, tmp_path / "out.duckdb")


@pytest.mark.parametrize("ending", ["duckdb", "parquet"])
@pytest.mark.parametrize("built", [0, len(DRAWN)])
def test_an_older_file_is_replaced_as_a_whole(tmp_path: Path, ending: str, built: int) -> None:
    write_sample(tmp_path / "cache", EXPERIMENT, DRAWN, built)
    target = tmp_path / f"out.{ending}"
    target.write_bytes(b"older")
    export(tmp_path / "cache", NAME, target)
    assert target.stat().st_size > 100
    assert not temporary(target).exists()


def test_a_full_disk_keeps_the_older_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_sample(tmp_path / "cache", EXPERIMENT, DRAWN[:2], 2)
    target = tmp_path / "out.parquet"
    target.write_bytes(b"older")
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(DiskFull, match=r"no space left writing .*out\.parquet"):
        export(tmp_path / "cache", NAME, target)
    assert target.read_bytes() == b"older"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_mistakes_are_told(tmp_path: Path) -> None:
    write_sample(tmp_path / "cache", EXPERIMENT, DRAWN[:1])
    with pytest.raises(BadValue, match=r"out\.csv ends in neither \.duckdb nor \.parquet"):
        export(tmp_path / "cache", NAME, tmp_path / "out.csv")
    with pytest.raises(BadValue, match="there is no folder"):
        export(tmp_path / "cache", NAME, tmp_path / "nowhere" / "out.duckdb")
    with pytest.raises(UnknownName, match="unknown experiment 'smaple': did you mean 'sample'"):
        export(tmp_path / "cache", "smaple", tmp_path / "out.duckdb")
