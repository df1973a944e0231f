"""Neighbours and promoted tokens against plain NumPy, and the way of the directions through the store."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sparsify import SparseCoder
from store_samples import HOOKPOINTS, sample_experiment, sample_fidelity, sample_inferences, write_sample

from benchmarks.stand_in import SHAPES
from kthink_core import queries
from kthink_core.config import ExperimentConfig
from kthink_core.errors import CorruptFile, OutOfMemory
from kthink_core.model import logit_lens as module
from kthink_core.model.language_model import LanguageModel, load_model, token_text
from kthink_core.model.logit_lens import directions, unembedding
from kthink_core.precompute.pipeline import Plan, plan, precompute
from kthink_core.precompute.progress import Silent
from kthink_core.records import Directions
from kthink_core.store.completion import is_finished
from kthink_core.store.directions import read_directions, write_directions
from kthink_core.store.export import export
from kthink_core.store.reader import open_reader, store_version
from kthink_core.store.writer import open_writer

HOOKPOINT = SHAPES["tiny"].hookpoints[0]
FEATURES = np.array([0, 3, 5, 77, 127], np.int32)
EXPERIMENT = sample_experiment()
DRAWN = sample_inferences(EXPERIMENT)
NAME = EXPERIMENT.name
CPU = torch.device("cpu")


def sae_of(folder: Path, hookpoint: str = HOOKPOINT) -> SparseCoder:
    """One whose decoder rows have different norms, among them two that are parallel and one that is zero."""
    sae = SparseCoder.load_from_disk(folder / "saes" / hookpoint).requires_grad_(False)
    assert sae.W_dec is not None
    sae.W_dec *= torch.linspace(0.5, 2, len(sae.W_dec))[:, None]
    sae.W_dec[5] = 3 * sae.W_dec[3]
    sae.W_dec[9] = 0
    return sae


def with_norm(lm: LanguageModel) -> LanguageModel:
    """The model with a final norm whose weight is not one throughout."""
    with torch.no_grad():
        lm.model.base_model.norm.weight.copy_(torch.linspace(-1, 2, lm.model.config.hidden_size))
    return lm


def strongest(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices and values of the ten largest of each row, equal ones by the smaller index."""
    order = np.argsort(-scores, axis=1, kind="stable")[:, :10]
    return order, np.take_along_axis(scores, order, 1)


@pytest.mark.parametrize("scores", [2**26, 300])
def test_directions_are_those_of_numpy(tiny: Path, monkeypatch: pytest.MonkeyPatch, scores: int) -> None:
    monkeypatch.setattr(module, "_SCORES", scores)
    lm, sae = with_norm(load_model(str(tiny / "model"), None, CPU)), sae_of(tiny)
    found, texts = directions(lm, {HOOKPOINT: sae}, {HOOKPOINT: FEATURES})
    kept = found[HOOKPOINT]
    assert sae.W_dec is not None
    decoder = sae.W_dec.numpy().astype(float)
    unit = decoder / np.maximum(np.linalg.norm(decoder, axis=1, keepdims=True), 1e-300)
    cosines = unit[FEATURES] @ unit.T
    cosines[np.arange(len(FEATURES)), FEATURES] = -np.inf
    vocabulary = lm.model.get_output_embeddings().weight.numpy().astype(float)[: len(lm.tokenizer)]
    logits = (decoder[FEATURES] * lm.model.base_model.norm.weight.numpy()) @ vocabulary.T
    assert kept.features.tolist() == FEATURES.tolist()
    assert kept.neighbours[1, 0] == 5 and kept.cosines[1, 0] == pytest.approx(1), "the parallel one"
    for ids, values, (wanted_ids, wanted) in [
        (kept.neighbours, kept.cosines, strongest(cosines)),
        (kept.promoted, kept.promoted_logits, strongest(logits)),
        (kept.suppressed, -kept.suppressed_logits, strongest(-logits)),
    ]:
        assert ids.shape == (len(FEATURES), 10) and ids.dtype == np.int32 and values.dtype == np.float32
        np.testing.assert_allclose(values, wanted, rtol=1e-4, atol=1e-6)
        assert ids.tolist() == wanted_ids.tolist()
    named = {int(token_id) for ids in (kept.promoted, kept.suppressed) for token_id in ids.ravel()}
    assert texts == {token_id: token_text(lm.tokenizer, token_id) for token_id in named}
    assert max(named) < len(lm.tokenizer) < lm.model.config.vocab_size, "the padding of the vocabulary has no text"


def test_a_logit_is_what_the_model_makes_of_the_direction_up_to_the_norms_scale(tiny: Path) -> None:
    lm, sae = with_norm(load_model(str(tiny / "model"), None, CPU)), sae_of(tiny)
    assert sae.W_dec is not None
    row = sae.W_dec[77]
    with torch.inference_mode():
        logits = lm.model.get_output_embeddings()(lm.model.base_model.norm(row)) * row.square().mean().sqrt()
    kept = directions(lm, {HOOKPOINT: sae}, {HOOKPOINT: FEATURES})[0][HOOKPOINT]
    np.testing.assert_allclose(kept.promoted_logits[3], logits[kept.promoted[3]].numpy(), rtol=1e-3, atol=1e-5)


def test_a_narrow_model_is_multiplied_in_float32(tiny: Path) -> None:
    narrow = load_model(str(tiny / "model"), None, CPU, "bfloat16")
    wide = narrow._replace(model=load_model(str(tiny / "model"), None, CPU).model)
    with torch.no_grad():
        wide.model.load_state_dict(narrow.model.state_dict())
    assert unembedding(narrow).weight.dtype == torch.bfloat16
    sae = sae_of(tiny)
    one, other = (directions(lm, {HOOKPOINT: sae}, {HOOKPOINT: FEATURES})[0][HOOKPOINT] for lm in (narrow, wide))
    assert one.promoted.tolist() == other.promoted.tolist()
    np.testing.assert_allclose(one.promoted_logits, other.promoted_logits, rtol=1e-6)


def cramped(monkeypatch: pytest.MonkeyPatch, rows: int) -> list[int]:
    """A device that holds so many rows of scores: more raise what CUDA raises. The sizes that were asked for."""
    asked, products = [], module._products

    def fail_beyond(some: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
        asked.append(len(some))
        if len(some) > rows:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return products(some, matrix)

    monkeypatch.setattr(module, "_products", fail_beyond)
    return asked


def test_out_of_memory_halves_the_chunk(tiny: Path, tiny_lm: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    saes, features = {HOOKPOINT: sae_of(tiny)}, {HOOKPOINT: FEATURES}
    roomy = directions(tiny_lm, saes, features)[0][HOOKPOINT]
    asked = cramped(monkeypatch, 2)
    kept = directions(tiny_lm, saes, features)[0][HOOKPOINT]
    assert asked == [5, 3, 2, 2, 2, 2, 1, 1]
    for name in Directions._fields:
        np.testing.assert_allclose(getattr(kept, name), getattr(roomy, name), rtol=1e-5)


def test_out_of_memory_with_one_feature_is_one_line_and_keeps_what_was_generated(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = ready(tiny, tmp_path / "problems.jsonl")
    with monkeypatch.context() as patch:
        cramped(patch, 0)
        with pytest.raises(OutOfMemory, match=r"on cpu comparing decoder directions.*another --device$"):
            precompute(experiment, tmp_path / "cache", 2, Silent())
    with open_reader(tmp_path / "cache", "tiny") as reader:
        assert reader.inferences == 2
    precompute(experiment, tmp_path / "cache", 2, Silent())
    assert is_finished(tmp_path / "cache", "tiny", experiment.experiment.config)


@given(seed=st.integers(0, 2**32 - 1), columns=st.integers(1, 30), distinct=st.integers(1, 6))
def test_equal_scores_go_by_the_smaller_index(seed: int, columns: int, distinct: int) -> None:
    scores = np.random.default_rng(seed).integers(0, distinct, (4, columns)).astype(np.float32)
    values, indices = module._largest(torch.from_numpy(scores), min(10, columns))
    wanted, expected = strongest(scores)
    assert indices.tolist() == wanted.tolist() and values.tolist() == expected.tolist()


def made_up(features: np.ndarray, latents: int = 24, seed: int = 0) -> Directions:
    random, shape = np.random.default_rng(seed), (len(features), 3)
    ids = [random.integers(0, latents, shape).astype(np.int32) for _ in range(3)]
    values = [random.normal(size=shape).astype(np.float32) for _ in range(3)]
    return Directions(features, ids[0], values[0], ids[1], values[1], ids[2], values[2])


TEXTS = {token_id: f"t{token_id}\0'</b>" for token_id in range(24)}


@pytest.mark.parametrize("built", [5, len(DRAWN)])
def test_what_is_stored_is_answered(tmp_path: Path, built: int) -> None:
    with open_writer(tmp_path, EXPERIMENT) as writer:
        for inference in DRAWN[:built]:
            writer.append(inference)
        active = writer.active_features
        made = {name: made_up(features, seed=index) for index, (name, features) in enumerate(active.items())}
        assert not writer.has_directions
        writer.put_directions(made, TEXTS)
        assert writer.has_directions
        writer.build()
        for inference in DRAWN[built:]:
            writer.append(inference)
    for hookpoint in HOOKPOINTS:
        fired = {
            int(feature)
            for inference in DRAWN[:built]
            for feature in inference.encodings[hookpoint].features[inference.encodings[hookpoint].activations > 0]
        }
        assert active[hookpoint].tolist() == sorted(fired)
    with open_reader(tmp_path, NAME) as reader:
        for name, kept in made.items():
            for row, feature in enumerate(kept.features):
                table = queries.neighbours(reader, name, int(feature))
                assert list(table.columns) == ["rank", "feature", "cosine"]
                expected = zip(range(1, 4), kept.neighbours[row], kept.cosines[row], strict=True)
                assert list(table.itertuples(index=False, name=None)) == list(expected)
                table = queries.promoted_tokens(reader, name, int(feature), 2)
                assert list(table.columns) == ["sign", "rank", "token_id", "text", "logit"]
                expected = [
                    (sign, rank + 1, ids[row][rank], TEXTS[ids[row][rank]], logits[row][rank])
                    for sign, ids, logits in (
                        ("promoted", kept.promoted, kept.promoted_logits),
                        ("suppressed", kept.suppressed, kept.suppressed_logits),
                    )
                    for rank in range(2)
                ]
                assert list(table.itertuples(index=False, name=None)) == expected
        assert queries.neighbours(reader, HOOKPOINTS[0], 20).empty, "it never is active"
        assert queries.promoted_tokens(reader, HOOKPOINTS[0], 20).empty


def test_an_unfinished_experiment_has_none(tmp_path: Path) -> None:
    write_sample(tmp_path, EXPERIMENT, DRAWN[:4], 2)
    with open_reader(tmp_path, NAME) as reader:
        assert queries.neighbours(reader, HOOKPOINTS[0], 0).empty
        assert queries.promoted_tokens(reader, HOOKPOINTS[0], 0).empty


def store_with_directions(cache: Path) -> Path:
    with open_writer(cache, EXPERIMENT) as writer:
        for inference in DRAWN:
            writer.append(inference)
        writer.put_directions({name: made_up(kept) for name, kept in writer.active_features.items()}, TEXTS)
        writer.build()
    return cache / NAME / "directions.parquet"


def test_directions_make_another_database_and_another_version(tmp_path: Path) -> None:
    write_sample(tmp_path, EXPERIMENT, DRAWN, len(DRAWN))
    before = store_version(tmp_path, NAME)
    assert not is_finished(tmp_path, NAME, EXPERIMENT.config)
    with open_writer(tmp_path, EXPERIMENT) as writer:
        writer.put_directions({name: made_up(kept) for name, kept in writer.active_features.items()}, TEXTS)
        for inference in writer.unmeasured():
            writer.fidelity.put(inference, sample_fidelity(inference))
        assert writer.build().name == "latents-0002.duckdb" == writer.build().name
    assert is_finished(tmp_path, NAME, EXPERIMENT.config)
    assert store_version(tmp_path, NAME) != before
    digest = json.loads((tmp_path / NAME / "manifest.json").read_text())["database"]["directions"]
    assert digest == read_directions(tmp_path / NAME / "directions.parquet")[1]


@pytest.mark.parametrize("place", [0.0, 0.5, 0.9, 0.999])
def test_a_changed_byte_is_told(tmp_path: Path, place: float) -> None:
    path = store_with_directions(tmp_path)
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1
    path.write_bytes(content)
    with pytest.raises(CorruptFile, match=r"directions\.parquet is damaged; `precompute` sets it aside"):
        read_directions(path)


def test_a_damaged_file_is_set_aside_and_made_again(tmp_path: Path) -> None:
    path = store_with_directions(tmp_path)
    path.write_bytes(path.read_bytes()[:-9])
    with open_writer(tmp_path, EXPERIMENT) as writer:
        assert not writer.has_directions
        assert path.with_name("directions.parquet.damaged").exists() and not path.exists()


def test_a_file_of_other_columns_is_damaged(tmp_path: Path) -> None:
    journal = store_with_directions(tmp_path).parent / "journal" / "000000.parquet"
    with pytest.raises(CorruptFile):
        read_directions(journal)


def test_an_export_of_what_is_pending_has_them(tmp_path: Path) -> None:
    store_with_directions(tmp_path)
    (tmp_path / NAME / "manifest.json").unlink()
    with open_writer(tmp_path, EXPERIMENT):
        pass  # it counts the journal, and builds nothing of so few
    target = export(tmp_path, NAME, tmp_path / "out.duckdb")
    with open_reader(tmp_path, NAME) as reader:
        assert reader.query("SELECT count(*) AS number FROM neighbours")["number"].tolist() == [0]

    with duckdb.connect(target, read_only=True) as connection:
        [(neighbours,)] = connection.execute("SELECT count(*) FROM neighbours").fetchall()
    assert neighbours > 0


def test_hookpoints_without_active_features(tmp_path: Path) -> None:
    none = np.empty(0, np.int32)
    empty = Directions(none, *(np.empty((0, 0), kind) for kind in (np.int32, np.float32) * 3))
    path = tmp_path / "directions.parquet"
    write_directions(path, {"layers.1.mlp": empty, "layers.2.mlp": made_up(np.array([4], np.int32))}, TEXTS)
    assert set(read_directions(path)[0]["hookpoint"].to_pylist()) == {"layers.2.mlp"}


class StopAt(Silent):
    """Ctrl-C when a stage begins."""

    def __init__(self, stage: str) -> None:
        self.at = stage
        self.seen: list[str] = []

    def stage(self, text: str) -> None:
        self.seen.append(text)
        if self.at and self.at in text:
            raise KeyboardInterrupt


def ready(folder: Path, problems: Path) -> Plan:
    problems.write_text('{"question": "Two?", "answer": "2"}\n{"question": "Three?", "answer": "3"}\n')
    given = {
        "model": str(folder / "model"),
        "sae": str(folder / "saes"),
        "hookpoints": SHAPES["tiny"].hookpoints,
        "problems": str(problems),
        "max_new_tokens": 6,
    }
    return plan("tiny", ExperimentConfig.model_validate(given), "cpu", Silent())


def test_a_killed_run_resumes_where_it_was(tiny: Path, tmp_path: Path) -> None:
    experiment = ready(tiny, tmp_path / "problems.jsonl")
    path = tmp_path / "cache" / "tiny" / "directions.parquet"
    for stage, stored in [("decoder directions", False), ("building", True)]:
        with pytest.raises(KeyboardInterrupt):
            precompute(experiment, tmp_path / "cache", 2, StopAt(stage))
        assert path.exists() == stored
        assert not is_finished(tmp_path / "cache", "tiny", experiment.experiment.config)
        with open_reader(tmp_path / "cache", "tiny") as reader:
            assert reader.inferences == 2 and queries.neighbours(reader, HOOKPOINT, 0).empty
    before, last = path.read_bytes(), StopAt("")
    precompute(experiment, tmp_path / "cache", 2, last)
    assert path.read_bytes() == before and not any("decoder" in stage for stage in last.seen)
    assert is_finished(tmp_path / "cache", "tiny", experiment.experiment.config)
    made = directions(
        experiment.lm, experiment.saes.by_hookpoint, dict.fromkeys(experiment.saes.by_hookpoint, FEATURES)
    )[0]
    with open_reader(tmp_path / "cache", "tiny") as reader:
        fired = set(queries.feature_table(reader, HOOKPOINT, "all", top=1000)["feature"])
        for row, feature in enumerate(FEATURES):
            table = queries.neighbours(reader, HOOKPOINT, int(feature))
            assert table["feature"].tolist() == (made[HOOKPOINT].neighbours[row].tolist() if feature in fired else [])
        assert fired & set(FEATURES.tolist())
        stored = reader.query("SELECT DISTINCT feature FROM neighbours WHERE hookpoint = ?", [HOOKPOINT])
        assert set(stored["feature"]) == fired
