"""The whole pipeline on a tiny model in the real formats, checked against plain transformers and NumPy."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from sparsify import SparseCoder

from benchmarks.stand_in import SHAPES, make_stand_in
from kthink_core import queries
from kthink_core.config import ExperimentConfig
from kthink_core.errors import ExperimentMismatch, OutOfMemory, PromptTooLong, UnknownName, UnsupportedSae
from kthink_core.model.language_model import LanguageModel
from kthink_core.model.sae import Sae, encode
from kthink_core.precompute import assembly
from kthink_core.precompute.pipeline import Plan, plan, precompute
from kthink_core.precompute.progress import Silent
from kthink_core.prompts import Segment
from kthink_core.records import Encoding, Inference
from kthink_core.store.journal import read_segment
from kthink_core.store.reader import open_reader

ROOT = Path(__file__).resolve().parent.parent

GSM8K = Path(os.environ.get("KTHINK_GSM8K", ROOT.parent / "shared/data/gsm8k/train.jsonl"))
"""Its training split as JSONL, where it is at hand."""

QUESTIONS = [
    "Tom has 3 apples and buys 4 more. How many now?",
    "A pen costs $2. What do 6 pens cost?",
    "Ann had 9 cards.\nShe lost 5 — how many are left? 🙂",
    "Two?",
    "Sara reads 12 pages a day for 3 days. How many pages?",
]


@pytest.fixture(scope="session")
def problems(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("problems") / "problems.jsonl"
    rows = [{"question": question, "answer": str(index)} for index, question in enumerate(QUESTIONS)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def configuration(folder: Path, problems: str, **options: object) -> ExperimentConfig:
    given = {
        "model": str(folder / "model"),
        "sae": str(folder / "saes"),
        "hookpoints": SHAPES["tiny"].hookpoints,
        "problems": problems,
        "max_new_tokens": 12,
        "temperature": 1.0,
    }
    return ExperimentConfig.model_validate(given | options)


def ready(folder: Path, problems: str, **options: object) -> Plan:
    return plan("tiny", configuration(folder, problems, **options), "cpu", Silent())


def segments_of(cache: Path) -> list[Inference]:
    return [read_segment(path) for path in sorted((cache / "tiny" / "journal").glob("*.parquet"))]


@pytest.mark.parametrize("site", ["hookpoint", "residual"])
def test_every_stored_number(tiny: Path, tiny_lm: LanguageModel, problems: str, tmp_path: Path, site: str) -> None:
    precompute(ready(tiny, problems, site=site), tmp_path, 3, Silent())
    inferences = segments_of(tmp_path)
    assert [inference.inference for inference in inferences] == list(range(len(QUESTIONS)))
    for inference in inferences:
        assert inference.question == QUESTIONS[inference.problem]
        assert inference.generated_tokens == 12 and inference.finish_reason == "length"
        ids = torch.tensor([inference.token_ids.tolist()])
        vectors: dict[str, torch.Tensor] = {}
        handles = [
            tiny_lm.model.base_model.get_submodule(hookpoint).register_forward_hook(
                lambda _m, _i, output, into=vectors, hookpoint=hookpoint: into.update({hookpoint: output[0]})
            )
            for hookpoint in SHAPES["tiny"].hookpoints
        ]
        output = tiny_lm.model(ids, output_hidden_states=True)
        for handle in handles:
            handle.remove()
        logprobs = output.logits[0].log_softmax(-1)
        for position in range(len(inference.token_ids)):
            stored = inference.logprobs[position]
            if position < inference.prompt_tokens:
                assert np.isnan(stored)
            else:
                assert stored == pytest.approx(float(logprobs[position - 1, ids[0, position]]), abs=1e-4)
        for hookpoint, encoding in inference.encodings.items():
            layer = int(hookpoint.split(".")[1])
            x = (vectors[hookpoint] if site == "hookpoint" else output.hidden_states[layer][0]).numpy()
            sae = SparseCoder.load_from_disk(tiny / "saes" / hookpoint).requires_grad_(False)
            z = np.maximum((x - sae.b_dec.numpy()) @ sae.encoder.weight.numpy().T + sae.encoder.bias.numpy(), 0)
            wanted = -np.sort(-z, axis=1)[:, : sae.cfg.k]
            np.testing.assert_allclose(-np.sort(-encoding.activations, axis=1), wanted, atol=1e-5)
            np.testing.assert_allclose(np.take_along_axis(z, encoding.features, 1), encoding.activations, atol=1e-5)


def test_fvu_over_a_scope_is_the_definition(tiny: Path, problems: str, tmp_path: Path) -> None:
    experiment = ready(tiny, problems)
    precompute(experiment, tmp_path, 8, Silent())
    errors: list[np.ndarray] = []
    states: list[np.ndarray] = []
    hookpoint = SHAPES["tiny"].hookpoints[0]
    sae = SparseCoder.load_from_disk(tiny / "saes" / hookpoint).requires_grad_(False)
    for inference in segments_of(tmp_path):
        kept: list[torch.Tensor] = []
        module = experiment.lm.model.base_model.get_submodule(hookpoint)
        handle = module.register_forward_hook(lambda _m, _i, output, kept=kept: kept.append(output[0]))
        experiment.lm.model(torch.tensor([inference.token_ids.tolist()]))
        handle.remove()
        x = kept[0][inference.prompt_tokens :]
        errors.append((x - sae(x).sae_out).double().numpy())
        states.append(x.double().numpy())
    x = np.concatenate(states)
    wanted = (np.concatenate(errors) ** 2).sum() / ((x - x.mean(0)) ** 2).sum()
    with open_reader(tmp_path, "tiny") as reader:
        row = queries.quality(reader, "generated").set_index("hookpoint").loc[hookpoint]
    assert row["positions"] == len(x) == 12 * len(QUESTIONS)
    assert row["fvu"] == pytest.approx(wanted, rel=1e-4)


class Stop(Silent):
    """Ctrl-C after so many inferences."""

    def __init__(self, after: int) -> None:
        self.left = after

    def committed(self, inference: Inference) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


def test_stopped_and_resumed_equals_a_run_in_one_go(tiny: Path, problems: str, tmp_path: Path) -> None:
    experiment = ready(tiny, problems)
    precompute(experiment, tmp_path / "whole", 5, Silent())
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            precompute(experiment, tmp_path / "parts", 2, Stop(2))
    with open_reader(tmp_path / "parts", "tiny") as reader:
        stored = queries.inferences(reader)["inference"].tolist()
    assert stored == list(range(len(stored))) and len(stored) >= 4, "what was heard of is there"
    precompute(experiment, tmp_path / "parts", 2, Silent())
    for one, other in zip(segments_of(tmp_path / "whole"), segments_of(tmp_path / "parts"), strict=True):
        assert one.token_ids.tolist() == other.token_ids.tolist()
        for hookpoint in one.encodings:
            a, b = one.encodings[hookpoint].activations, other.encodings[hookpoint].activations
            np.testing.assert_allclose(np.sort(a), np.sort(b), atol=1e-5)


class Cramped(Silent):
    """A device that holds so many rows: more raise what CUDA raises."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.notices: list[str] = []

    def step(self, step: int, rows: int) -> None:
        if rows > self.rows:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    def notice(self, text: str) -> None:
        self.notices.append(text)


def test_out_of_memory_halves_the_batch(tiny: Path, problems: str, tmp_path: Path) -> None:
    progress = Cramped(rows=2)
    precompute(ready(tiny, problems), tmp_path, 5, progress)
    assert progress.notices == [f"out of GPU memory: going on with batches of {size}" for size in (3, 2)]
    assert len(segments_of(tmp_path)) == len(QUESTIONS)


def test_out_of_memory_with_one_row_is_an_error(tiny: Path, problems: str, tmp_path: Path) -> None:
    with pytest.raises(OutOfMemory):
        precompute(ready(tiny, problems), tmp_path, 5, Cramped(rows=0))


class Narrow:
    """In the place of `encode`: the device has too little memory for it so many times."""

    def __init__(self, fails: int) -> None:
        self.fails = fails

    def __call__(self, sae: Sae, vectors: torch.Tensor, labels: Sequence[Segment]) -> Encoding:
        if self.fails:
            self.fails -= 1
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return encode(sae, vectors, labels)


ONE_AFTER_THE_OTHER = ["batches of 1", "one at a time, stored before the next begins"]


@pytest.mark.parametrize("fails", [1, 2])
def test_out_of_memory_beside(
    tiny: Path, problems: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: int
) -> None:
    """At last nothing is generated while something is stored."""
    progress = Cramped(rows=9)
    monkeypatch.setattr(assembly, "encode", Narrow(fails))
    precompute(ready(tiny, problems), tmp_path, 2, progress)
    told = [f"out of GPU memory: going on with {what}" for what in ONE_AFTER_THE_OTHER]
    assert progress.notices == told[:fails]
    assert len(segments_of(tmp_path)) == len(QUESTIONS)


def test_out_of_memory_beside_without_end_is_an_error(
    tiny: Path, problems: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assembly, "encode", Narrow(1_000_000))
    progress = Cramped(rows=9)
    with pytest.raises(OutOfMemory):
        precompute(ready(tiny, problems), tmp_path, 5, progress)
    sizes = [int(notice.rpartition(" ")[2]) for notice in progress.notices[:-1]]
    assert sizes == sorted(set(sizes), reverse=True) and sizes[-1] == 1, "batches never grow"


def test_bypass_answers_at_once(tiny: Path, problems: str, tmp_path: Path) -> None:
    precompute(ready(tiny, problems, mode="bypass"), tmp_path, 8, Silent())
    for inference in segments_of(tmp_path):
        assert inference.prompt.endswith("<think>\n\n</think>")
        assert set(inference.segments) == {"prompt", "answer"}


def test_other_configuration_under_the_same_name(tiny: Path, problems: str, tmp_path: Path) -> None:
    precompute(ready(tiny, problems), tmp_path, 8, Silent())
    with pytest.raises(ExperimentMismatch, match=r"seed.*--experiment"):
        precompute(ready(tiny, problems, seed=1), tmp_path, 8, Silent())


def test_other_weights_under_the_same_configuration(tiny: Path, problems: str, tmp_path: Path) -> None:
    first = ready(tiny, problems)
    precompute(first, tmp_path, 8, Silent())
    revisions = first.experiment.revisions.model_copy(update={"model": "sha256:other"})
    changed = first._replace(experiment=first.experiment.model_copy(update={"revisions": revisions}))
    with pytest.raises(ExperimentMismatch, match="model_revision"):
        precompute(changed, tmp_path, 8, Silent())


def test_mistakes_are_seen_before_anything_is_computed(tiny: Path, problems: str) -> None:
    with pytest.raises(PromptTooLong, match="problem 0"):
        ready(tiny, problems, max_new_tokens=131_072)
    with pytest.raises(UnknownName, match=r"layers\.0\.mlp"):
        ready(tiny, problems, hookpoints=("layers.0.mlp",))


def test_saes_of_another_model(tiny: Path, problems: str, tmp_path: Path) -> None:
    other = SHAPES["tiny"]._replace(hidden=48)
    make_stand_in(other, tmp_path)
    with pytest.raises(UnsupportedSae, match="width 48, the model gives 32"):
        ready(tiny, problems, sae=str(tmp_path / "saes"))


@pytest.mark.skipif(not GSM8K.is_file(), reason=f"GSM8K is not at {GSM8K}")
def test_the_articles_preset_in_small(tmp_path: Path) -> None:
    """28 layers, bfloat16 files, padded vocabulary, SAEs with k = 32 at layers 5, 10 and 20, on GSM8K itself."""
    shape = SHAPES["small"]
    make_stand_in(shape, tmp_path)
    precompute(ready(tmp_path, str(GSM8K), hookpoints=shape.hookpoints, limit=3), tmp_path / "cache", 3, Silent())
    with open_reader(tmp_path / "cache", "tiny") as reader:
        table = queries.inferences(reader)
        assert table["reference"].tolist() == ["72", "10", "5"], "Natalia, Weng, Betty: in the order of the file"
        assert table["question"][1].startswith("Weng earns $12 an hour")
        for hookpoint in shape.hookpoints:
            relevant = queries.relevant_features(reader, 2, hookpoint, "generated")
            assert len(relevant) == 10
