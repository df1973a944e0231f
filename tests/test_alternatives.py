"""What else the model might have written: against plain forward passes, through every place that keeps or tells it."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from kthink_core import queries
from kthink_core.errors import BadFile
from kthink_core.live.api import Tokens
from kthink_core.live.live_trace import LiveTrace
from kthink_core.model.generate import generate
from kthink_core.model.language_model import LanguageModel, token_text
from kthink_core.model.likeliest import Likeliest, likeliest
from kthink_core.model.replay import replay
from kthink_core.model.sampling import Sampling
from kthink_core.precompute.pipeline import Plan, precompute
from kthink_core.precompute.progress import Silent
from kthink_core.records import Alternatives, Inference, Problem, Prompt
from kthink_core.store.export import export
from kthink_core.store.journal import misfit, read_segment, write_segment
from kthink_core.store.reader import open_reader
from kthink_core.store.sealed import sealed
from kthink_core.travel.imports import import_experiment
from kthink_core.ui.parts.packing import payload
from kthink_core.worker.stream import encode_text, generate_live
from tests.store_samples import sample_experiment, sample_inference, write_sample
from tests.test_hostile_imports import harm
from tests.test_transcript import unpacked

PROMPTS = [Prompt(row, Problem(row, "q", None), "think", row, tuple(range(20 + row, 23 + 5 * row))) for row in range(3)]


def plainly(lm: LanguageModel, token_ids: list[int], first: int) -> list[tuple[list[int], list[float], float]]:
    """Five tokens, their log-probabilities and the entropy at each position from `first` on, by one pass and sums."""
    with torch.no_grad():
        logits = lm.model(torch.tensor([token_ids])).logits[0].double()
    found = []
    for row in logits[first - 1 : -1]:
        chances = torch.log_softmax(row, -1).tolist()
        best = sorted(range(len(chances)), key=lambda token_id: -chances[token_id])[:5]
        found.append((best, [chances[one] for one in best], -sum(math.exp(one) * one for one in chances)))
    return found


def check(lm: LanguageModel, token_ids: list[int], first: int, found: Likeliest | Alternatives) -> None:
    wanted = plainly(lm, token_ids, first)
    assert len(found.entropies) == len(wanted) == len(token_ids) - first
    for row, (best, chances, entropy) in enumerate(wanted):
        assert found.token_ids[row].tolist() == best
        assert found.logprobs[row].tolist() == pytest.approx(chances, abs=1e-4)
        assert float(found.entropies[row]) == pytest.approx(entropy, abs=1e-4)


def test_generation_and_replay_are_a_plain_pass(tiny_lm: LanguageModel) -> None:
    """Whatever the temperature, the filter and the batch, of which rows leave one by one."""
    stop = tiny_lm._replace(stop_ids=torch.arange(0, tiny_lm.vocabulary, 9))
    made = list(generate(stop, PROMPTS, Sampling(0.7, 0.5, 24), (), "hookpoint"))
    assert len({len(one.token_ids) for one, _ in made}) > 1
    for one, captured in made:
        ids, given = [*one.prompt.token_ids, *one.token_ids], len(one.prompt.token_ids)
        assert captured.likeliest
        check(tiny_lm, ids, given, captured.likeliest)
        [again] = replay(tiny_lm, [ids], (), "hookpoint", prompt_tokens=[given], others=True)
        assert again.likeliest
        check(tiny_lm, ids, given, again.likeliest)
    assert replay(tiny_lm, [ids], (), "hookpoint")[0].likeliest is None


def test_the_replay_of_a_long_text_is_a_plain_pass(tiny_lm: LanguageModel) -> None:
    ids = [(7 * position) % 300 + 5 for position in range(300)]
    for first in (1, 257, 258, 299):
        [found] = replay(tiny_lm, [ids], (), "hookpoint", prompt_tokens=[first], others=True)
        assert found.likeliest
        check(tiny_lm, ids, first, found.likeliest)


def test_of_equal_ones_the_smaller_goes_first() -> None:
    logits = torch.tensor([[0.0, 3, 1, 3, 1, 2, -torch.inf], [1, 1, 1, 1, 1, -torch.inf, -torch.inf]])
    found = likeliest(logits.log_softmax(-1))
    assert found.token_ids.tolist() == [[1, 3, 5, 2, 4], [0, 1, 2, 3, 4]]
    assert float(found.entropies[1]) == pytest.approx(math.log(5))


def test_what_is_stored_is_told_alike_everywhere(tiny_plan: Plan, tmp_path: Path) -> None:
    """Journal, database, export, import, query, live and the page's own packing."""
    precompute(tiny_plan, tmp_path, 2, Silent())
    lm, saes, config = tiny_plan.lm, tiny_plan.saes, tiny_plan.experiment.config
    with open_reader(tmp_path, "tiny") as reader:
        inference = reader.inference(1)
        table = queries.alternatives(reader, 1)
        tokens = queries.transcript(reader, 1)
        one = queries.alternatives(reader, 1, inference.prompt_tokens + 2)
    stored, ids, given = inference.alternatives, inference.token_ids.tolist(), inference.prompt_tokens
    assert stored
    check(lm, ids, given, stored)
    assert stored.texts == {id_: token_text(lm.tokenizer, id_) for id_ in set(stored.token_ids.ravel().tolist())}
    assert table["token_id"].tolist() == stored.token_ids.ravel().tolist()
    assert table["text"].tolist() == [stored.texts[id_] for id_ in table["token_id"]]
    assert table["logprob"].tolist() == stored.logprobs.ravel().tolist()
    assert table["written"].tolist() == [ids[row.position] == row.token_id for row in table.itertuples()]
    assert table["entropy"].tolist() == np.repeat(stored.entropies, 5).tolist()
    assert one.equals(table[table["position"] == given + 2].reset_index(drop=True))

    export(tmp_path, "tiny", tmp_path / "tiny.duckdb")
    import_experiment(tmp_path / "other", tmp_path / "tiny.duckdb")
    with open_reader(tmp_path / "other", "tiny") as reader:
        assert queries.alternatives(reader, 1).equals(table)

    sampling = Sampling(config.temperature, config.top_p, config.max_new_tokens)
    trace = LiveTrace()
    for event in generate_live(lm, saes, config.site, tiny_plan.prompts[1], sampling):
        if isinstance(event, Tokens):
            trace.add(Tokens.model_validate_json(event.model_dump_json()))
    pd.testing.assert_frame_equal(trace.alternatives(), table, check_dtype=False, atol=1e-5)
    pasted = LiveTrace()
    whole, *_ = encode_text(lm, saes, config.site, ids)
    assert isinstance(whole, Tokens)
    pasted.add(whole)
    rest = pasted.alternatives().query("position >= @given").reset_index(drop=True)
    pd.testing.assert_frame_equal(rest, table, check_dtype=False, atol=1e-5)

    sent = packed(tokens, table)
    assert sent["texts"] == [token_text(lm.tokenizer, int(id_)) for id_ in unpacked(sent["ids"])]
    assert [unpacked(sent["ids"])[int(at)] for at in unpacked(sent["named"])] == table["token_id"].tolist()
    shares = np.exp(-np.array(unpacked(sent["surprises"])) / 1000)
    assert shares == pytest.approx(np.exp(table["logprob"].to_numpy()), rel=1e-3)
    assert unpacked(sent["counts"]) == [0] * given + [5] * (len(ids) - given)
    assert np.array(unpacked(sent["entropies"]))[given:] / 1000 == pytest.approx(stored.entropies, abs=1e-3)


def packed(tokens: pd.DataFrame, table: pd.DataFrame) -> dict:
    none = pd.DataFrame({"position": [], "feature": [], "activation": [], "max_activation": [], "share": []})
    return payload(
        "one", tokens, none, none, none, alternatives=table, hookpoint="h", features=(), maxima={}, labels={},
        scope="all", span=None, position=None, marked=(), verdict=None,
    )["alternatives"]  # fmt: skip


def test_an_older_segment_file_has_none(tmp_path: Path) -> None:
    experiment = sample_experiment()
    inference = sample_inference(experiment, 3)
    (tmp_path / "journal").mkdir()
    path = write_segment(tmp_path, inference)
    older = pq.read_table(path).drop_columns(
        ["alternatives", "parent_experiment", "parent_inference", "parent_position"]
    )
    path.write_bytes(sealed(older, None)[0])
    found = read_segment(path)
    assert inference.alternatives and inference.parent_position and inference.parent_experiment
    assert (found.alternatives, found.parent_experiment, found.parent_inference, found.parent_position) == (None,) * 4


def test_alternatives_that_fit_no_inference_are_none(tmp_path: Path) -> None:
    experiment = sample_experiment()
    inference = sample_inference(experiment, 3)
    assert inference.alternatives and misfit(experiment, inference) is None
    ids, chances, entropies, texts = inference.alternatives
    strange: list[Alternatives] = [
        Alternatives(ids[1:], chances[1:], entropies[1:], texts),
        Alternatives(ids, chances[:, :1], entropies, texts),
        Alternatives(ids, chances, entropies, dict(list(texts.items())[1:])),
    ]
    for one in strange:
        changed: Inference = replace(inference, alternatives=one)
        assert "alternatives" in (misfit(experiment, changed) or "")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, experiment = tmp_path_factory.mktemp("sound"), sample_experiment(inferences=2)
    write_sample(folder, experiment, [sample_inference(experiment, index) for index in range(2)], 2)
    return export(folder, experiment.name, folder / "own.duckdb")


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM alternatives WHERE position = 4",
        "UPDATE alternatives SET position = 0 WHERE position = 4",
        "INSERT INTO alternatives FROM alternatives LIMIT 1",
        "UPDATE alternatives SET token_ids = [1, 1]",
        "UPDATE alternatives SET token_ids = [1]",
        "UPDATE alternatives SET texts = [repeat('a', 3000), 'b']",
        "UPDATE alternatives SET logprobs = [0.5, -1.0]",
        "UPDATE alternatives SET logprobs = [NULL, -1.0]",
        "UPDATE alternatives SET entropy = 'nan'",
        "ALTER TABLE alternatives DROP COLUMN entropy",
    ],
)
def test_strange_alternatives_are_not_imported(sound: Path, tmp_path: Path, statement: str) -> None:
    path = Path(shutil.copy(sound, tmp_path))
    harm(path, statement)
    with pytest.raises(BadFile, match="alternatives"):
        import_experiment(tmp_path / "other", path)
