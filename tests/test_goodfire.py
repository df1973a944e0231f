"""Goodfire's layout, read by plain SQL as a stranger would; and what is made of such files."""

from __future__ import annotations

import shutil
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest
from store_samples import HOOKPOINTS, sample_experiment, sample_inferences, write_sample

from kthink_core.cli import main
from kthink_core.errors import BadFile, BadValue
from kthink_core.evidence.passport import passport
from kthink_core.listing import query_table
from kthink_core.queries import norm_histogram
from kthink_core.store.reader import open_reader
from kthink_core.travel.goodfire import export_goodfire
from kthink_core.travel.imports import import_experiment

EXPERIMENT = sample_experiment()
DRAWN = sample_inferences(EXPERIMENT)
NAME = EXPERIMENT.name


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cache = tmp_path_factory.mktemp("there")
    write_sample(cache, EXPERIMENT, DRAWN, len(DRAWN))
    return cache


@pytest.fixture(scope="module")
def exported(there: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "sample"
    export_goodfire(there, NAME, folder)
    return folder


@pytest.fixture(scope="module")
def here(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    cache = tmp_path_factory.mktemp("here")
    import_experiment(cache, exported)
    return cache


def write_layout(path: Path, tokens: list[tuple], activations: list[tuple]) -> Path:
    """As the release has it, by hand."""
    with duckdb.connect(path) as connection:
        connection.execute(
            "CREATE TABLE tokens (sequence_id BIGINT, token_idx BIGINT, token BIGINT, decoded_token TEXT)"
        )
        connection.execute(
            "CREATE TABLE activations (feature_id BIGINT, sequence_id BIGINT, token_idx BIGINT, strength DOUBLE)"
        )
        connection.executemany("INSERT INTO tokens VALUES (?, ?, ?, ?)", tokens)
        if activations:
            connection.executemany("INSERT INTO activations VALUES (?, ?, ?, ?)", activations)
    return path


def test_each_hookpoint_is_one_database_that_plain_sql_reads(exported: Path) -> None:
    assert sorted(path.name for path in exported.iterdir()) == sorted(f"{name}.duckdb" for name in HOOKPOINTS)
    tokens = [
        (inference.inference, at, int(inference.token_ids[at]), inference.texts[at])
        for inference in DRAWN
        for at in range(len(inference.texts))
    ]
    for hookpoint in HOOKPOINTS:
        activations = sorted(
            (int(feature), inference.inference, at, float(strength))
            for inference in DRAWN
            for at in range(len(inference.texts))
            for feature, strength in zip(
                inference.encodings[hookpoint].features[at], inference.encodings[hookpoint].activations[at], strict=True
            )
            if strength > 0
        )
        with duckdb.connect(exported / f"{hookpoint}.duckdb", read_only=True) as connection:
            assert {name for (name,) in connection.execute("SHOW TABLES").fetchall()} == {"tokens", "activations"}
            asked = "SELECT sequence_id, token_idx, token, decoded_token FROM tokens"
            assert connection.execute(asked).fetchall() == tokens
            asked = "SELECT feature_id, sequence_id, token_idx, strength FROM activations"
            assert connection.execute(asked).fetchall() == activations
            [(comment,)] = connection.execute(
                "SELECT comment FROM duckdb_tables() WHERE table_name='tokens'"
            ).fetchall()
            assert comment == EXPERIMENT.model_dump_json()


def test_latents_and_tokens_survive_the_round_trip(there: Path, here: Path) -> None:
    """Asked of three inferences: with a thought and an answer, without the one, without the other."""

    def ask(cache: Path, query: str, **options: object) -> pd.DataFrame:
        return query_table(cache, NAME, query, "all", lambda _: None, **options)

    for hookpoint in HOOKPOINTS:
        for query, options in (
            ("feature-counts", {"top": 100}),
            ("top-tokens", {"feature": 3, "top": 100}),
            *((query, {"inference": inference}) for query in ("relevant-features", "feature-activations",
               "feature-frequencies") for inference in (0, 5, 10)),
        ):  # fmt: skip
            before = ask(there, query, hookpoint=hookpoint, **options)
            pd.testing.assert_frame_equal(ask(here, query, hookpoint=hookpoint, **options), before, check_exact=True)
    for inference in DRAWN:
        found = ask(here, "transcript", inference=inference.inference)
        assert tuple(found["text"]) == inference.texts and found["logprob"].dropna().empty
        assert found["token_id"].tolist() == inference.token_ids.tolist()


def test_what_the_layout_has_not_is_missing_not_made_up(here: Path) -> None:
    with open_reader(here, NAME) as reader:
        assert reader.experiment.is_bare and reader.experiment.config.model == "unknown"
        quality = passport(reader, "all")
        unknown = ["fvu", "loss_recovered", "kl", "ce_model", "mean_norm", "median_norm", "max_norm"]
        assert quality[unknown].dropna(how="all").empty
        assert quality["positions"].tolist() == [sum(len(drawn.texts) for drawn in DRAWN)] * 3
        assert min(quality["l0"]) > 0
        assert norm_histogram(reader, HOOKPOINTS[0], "all").empty
        assert reader.query("SELECT count(*) FROM neighbours").iloc[0, 0] == 0
        scopes = reader.query("SELECT DISTINCT segment::VARCHAR AS segment FROM tokens")
        assert scopes["segment"].tolist() == ["answer"]


def test_a_single_file_as_published(tmp_path: Path) -> None:
    """Numbers with gaps, wide integers, an ending of its own; a zero is no activation."""
    tokens = [(7, 3, 10, "Wait"), (7, 1, 0, "<s>"), (2, 0, 5, "a"), (2, 1, 6, "b"), (900_000, 0, 1, "alone")]
    found = write_layout(
        tmp_path / "logic-1.ddb", tokens, [(764, 7, 3, 1.5), (3, 7, 3, 2.5), (3, 7, 1, 0.25), (9, 2, 1, 0.0)]
    )
    made = import_experiment(tmp_path / "cache", found)
    assert (made.experiment.name, made.inferences, list(made.experiment.saes)) == ("logic-1", 3, ["logic_1"])
    assert made.experiment.saes["logic_1"].num_latents == 765
    with open_reader(tmp_path / "cache", "logic-1") as reader:
        first, second, third = map(reader.inference, range(3))
    assert (first.question, second.question, third.question) == ("sequence 2", "sequence 7", "sequence 900000")
    assert second.texts == ("<s>", "Wait") and second.token_ids.tolist() == [0, 10]
    latents = second.encodings["logic_1"]
    assert latents.features.tolist() == [[3, 0], [3, 764]]
    assert latents.activations.tolist() == [[0.25, 0], [2.5, 1.5]]
    assert first.encodings["logic_1"].features.shape == (2, 0) and np.isnan(third.logprobs).all()


def test_folders_that_are_none(exported: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadFile, match="it has 0 database files"):
        import_experiment(tmp_path / "cache", tmp_path / "empty")
    with pytest.raises(FileNotFoundError):
        import_experiment(tmp_path / "cache", tmp_path / "nowhere")
    twins = Path(shutil.copytree(exported, tmp_path / "twins"))
    shutil.copy(twins / "layers.2.mlp.duckdb", twins / "layers.2.mlp.db")
    with pytest.raises(BadFile, match="named after one hookpoint"):
        import_experiment(tmp_path / "cache", twins)
    (twins / "layers.2.mlp.db").unlink()
    with duckdb.connect(twins / "layers.5.mlp.duckdb") as connection:
        connection.execute("UPDATE tokens SET decoded_token = 'other' WHERE sequence_id = 3 AND token_idx = 1")
    with pytest.raises(BadFile, match=r"its tokens of sequence 3 are not those of layers\.2\.mlp\.duckdb"):
        import_experiment(tmp_path / "cache", twins)
    with duckdb.connect(twins / "layers.5.mlp.duckdb") as connection:
        connection.execute("DROP TABLE activations")
    with pytest.raises(BadFile, match="not of the layout"):
        import_experiment(tmp_path / "cache", twins)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [".import.lock"]


def test_the_command_line(there: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, cache = tmp_path / "out", tmp_path / "cache"
    command = ["export", "--experiment", NAME, str(folder), "--layout", "goodfire", "--cache", str(there)]
    assert main(command) == 0
    assert capsys.readouterr().out.splitlines() == [str(folder / f"{name}.duckdb") for name in EXPERIMENT.saes]
    assert main(command) == 0, "an earlier export is replaced"
    assert main(["import", str(folder), "--experiment", "theirs", "--cache", str(cache)]) == 0
    captured = capsys.readouterr()
    assert captured.out.endswith("theirs\n") and "theirs: 12 inferences" in captured.err
    assert main(["import", str(folder), "--experiment", "theirs", "--cache", str(cache)]) == 2
    assert "experiment 'theirs' exists" in capsys.readouterr().err
    with pytest.raises(BadValue, match="is no folder"):
        export_goodfire(there, NAME, folder / "layers.2.mlp.duckdb")
    with pytest.raises(BadValue, match="there is no folder"):
        export_goodfire(there, NAME, tmp_path / "a" / "b")
