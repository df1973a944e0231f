"""`reproduce` on the stand-in, with figures of its own that a plain computation made; and the article's document."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sparsify import SparseCoder

from kthink_core.cli import main
from kthink_core.errors import BadFile
from kthink_core.model.language_model import LanguageModel
from kthink_core.presets import preset
from kthink_core.prompts import prompt_ids
from kthink_core.reproduction.count_figures import binomial_range, count_figures
from kthink_core.reproduction.published import ARTICLE, read_published
from kthink_core.store.journal import read_segment
from kthink_core.store.reader import open_reader

HOOKPOINT = "layers.2.mlp"
QUESTION = "Tom has 3 apples and buys 4 more."
Write = Callable[..., Path]


@pytest.fixture(scope="module")
def figures(tiny: Path, tiny_lm: LanguageModel, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A document whose figures come from transformers' hidden states and the SAE's own weights."""
    folder = tmp_path_factory.mktemp("figures")
    problems = folder / "problems.jsonl"
    problems.write_text("".join(json.dumps({"question": f"{n} and {n}?"}) + "\n" for n in range(4)))
    ids = prompt_ids(tiny_lm.tokenizer, tiny_lm.frames, QUESTION, "think")
    x = tiny_lm.model(torch.tensor([ids]), output_hidden_states=True).hidden_states[2][0]
    sae = SparseCoder.load_from_disk(tiny / "saes" / HOOKPOINT).requires_grad_(False)
    z = ((x - sae.b_dec) @ sae.encoder.weight.T + sae.encoder.bias).clamp(min=0)
    ranked = z.sort(dim=1, descending=True)
    config = {
        "model": str(tiny / "model"), "sae": str(tiny / "saes"), "hookpoints": ["layers.1.mlp", HOOKPOINT],
        "site": "residual", "problems": str(problems), "limit": 4, "max_new_tokens": 8, "temperature": 1.0,
    }  # fmt: skip
    last = len(ids) - 1
    return {
        "source": "a plain computation", "experiment": "stand-in", "config": config, "question": QUESTION,
        "tolerance": {"float32": 0.001, "other": 0.05}, "prompt_tokens": len(ids), "hookpoint": HOOKPOINT, "of": 4,
        "largest": [{"position": at, "activations": ranked.values[at, :3].tolist()} for at in (0, 5, last)],
        "features": [
            {"position": at, "feature": int(ranked.indices[at, 1]), "activation": float(ranked.values[at, 1])}
            for at in (0, last)
        ],
        "counts": [{"hookpoint": HOOKPOINT, "feature": feature, "inferences": 2} for feature in (3, 90)],
    }  # fmt: skip


@pytest.fixture
def write(figures: dict[str, Any], tmp_path: Path) -> Write:
    def written(**changed: object) -> Path:
        path = tmp_path / "figures.json"
        path.write_text(json.dumps(figures | changed))
        return path

    return written


def reproduce(path: Path, cache: Path, *more: str) -> int:
    return main(["reproduce", "--figures", str(path), "--cache", str(cache), "--device", "cpu", *more])


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Filled by the first test that asks; the others find their inferences there."""
    return tmp_path_factory.mktemp("cache")


def test_figures_that_hold(write: Write, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert reproduce(write(), cache) == 0
    told = capsys.readouterr().out
    assert "12 of 12 hold" in told and "a plain computation" in told and "False" not in told
    assert "2 of 4 (7% to 93%)" in told
    with open_reader(cache, "stand-in") as reader:
        assert reader.inferences == 4 and reader.experiment.config.site == "residual"


def test_a_figure_that_fails(
    write: Write, figures: dict[str, Any], cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each alone is enough; what sampling touches is still told, and never fails."""
    largest, features = figures["largest"], figures["features"]
    off = largest[1] | {"activations": [largest[1]["activations"][0] * 1.002, *largest[1]["activations"][1:]]}
    wrong: list[dict[str, object]] = [
        {"prompt_tokens": figures["prompt_tokens"] + 1},
        {"largest": [largest[0], off, largest[2]]},
        {"largest": [*largest, {"position": 500, "activations": [1.0]}]},
        {"features": [features[0] | {"feature": (features[0]["feature"] + 1) % 128}]},
        {"features": [features[0] | {"position": 500}]},
    ]
    for changed in wrong:
        assert reproduce(write(**changed), cache) == 1, changed
        told = capsys.readouterr().out
        assert told.count("False") == 1 and "Clopper-Pearson" in told, changed


def test_tolerance_goes_by_the_models_numbers(write: Write, figures: dict[str, Any], tmp_path: Path) -> None:
    """In bfloat16 figures move by more than float32's tolerance, and by less than its own."""
    other = figures["config"] | {"dtype": "bfloat16"}
    assert reproduce(write(config=other), tmp_path / "cache") == 0
    tight = {"float32": 0.5, "other": 1e-6}
    assert reproduce(write(config=other, tolerance=tight), tmp_path / "cache") == 1


def test_weights_and_problems_of_ones_own(write: Write, tiny: Path, figures: dict[str, Any], tmp_path: Path) -> None:
    path = write(config=figures["config"] | {"model": "no/model", "sae": "no/sae", "problems": "gsm8k"})
    given = ["--model", str(tiny / "model"), "--sae", str(tiny / "saes"), "--problems", figures["config"]["problems"]]
    assert reproduce(path, tmp_path / "cache", *given, "--experiment", "mine", "--batch-size", "2") == 0
    with open_reader(tmp_path / "cache", "mine") as reader:
        assert reader.inferences == 4


def test_counts_are_those_of_the_journal(write: Write, cache: Path) -> None:
    reproduce(write(), cache)
    inferences = [read_segment(path) for path in sorted((cache / "stand-in" / "journal").glob("*.parquet"))]
    found = dict.fromkeys(range(128), 0)
    for inference in inferences:
        encoding = inference.encodings[HOOKPOINT]
        best = np.zeros(128)
        for position in range(inference.prompt_tokens, len(inference.token_ids)):
            for feature, activation in zip(encoding.features[position], encoding.activations[position], strict=True):
                best[feature] = max(best[feature], activation)
        for feature in sorted(range(128), key=lambda feature: (-best[feature], feature))[:10]:
            found[feature] += 1
    counts = [{"hookpoint": HOOKPOINT, "feature": feature, "inferences": 4 - of} for feature, of in found.items()]
    with open_reader(cache, "stand-in") as reader:
        table = count_figures(read_published(write(counts=counts)), reader)
    assert table["found"].tolist() == list(found.values()) and set(table["found"]) >= {0, 1}
    assert (table["found_of"] == 4).all() and (table["q"] >= table["p"] - 1e-12).all()
    for row in table.to_dict("records"):  # both counts have the sum 4: the hypergeometric table, added up
        chances = [math.comb(4, k) * math.comb(4, 4 - k) / math.comb(8, 4) for k in range(5)]
        wanted = sum(chance for chance in chances if chance <= chances[row["found"]] * (1 + 1e-7))
        assert row["p"] == pytest.approx(wanted)


@pytest.mark.parametrize(("count", "of"), [(28, 32), (14, 32), (32, 32), (0, 32), (1, 1)])
def test_binomial_ranges(count: int, of: int) -> None:
    """At its ends a count as extreme has a chance of 2.5 %."""
    low, high = binomial_range(count, of)

    def chance(share: float, counts: range) -> float:
        return sum(math.comb(of, k) * share**k * (1 - share) ** (of - k) for k in counts)

    assert low == 0 if count == 0 else chance(low, range(count, of + 1)) == pytest.approx(0.025)
    assert high == 1 if count == of else chance(high, range(count + 1)) == pytest.approx(0.025)


def test_the_articles_document() -> None:
    article = read_published()
    assert {(at.position, at.feature): at.activation for at in article.features}[0, 1038] == 4630.9312
    assert (article.prompt_tokens, article.of) == (55, 32)
    counted = {count.feature: count.inferences for count in article.counts}
    assert counted == {32456: 28, 6252: 14, 31146: 10, 1038: 32}
    assert {count.hookpoint for count in article.counts} == {article.hookpoint} == {"layers.10.mlp"}
    # The notebook loaded the model without a dtype, which transformers 4.48 took for float32.
    changed = {"site": "residual", "dtype": "float32"}
    assert article.config == preset("r1-distill-qwen-1.5b").model_copy(update=changed)
    for row in article.largest:
        assert list(row.activations) == sorted(row.activations, reverse=True) and row.position < 55
    assert "MIT" in article.source and ARTICLE.stat().st_size < 5_000


def test_without_the_weights_it_is_one_line(
    figures: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["reproduce", "--cache", str(tmp_path), "--problems", figures["config"]["problems"]]) == 2
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("kthink: ")]
    assert len(told) == 1 and "neither a folder here nor to be had from the hub" in told[0]


@pytest.mark.parametrize(
    "changed",
    [
        {"counts": [{"hookpoint": "layers.7.mlp", "feature": 1, "inferences": 1}]},
        {"counts": [{"hookpoint": HOOKPOINT, "feature": 1, "inferences": 9}]},
        {"tolerance": {"float32": 0, "other": 0.1}},
        {"experiment": "../out"},
        {"largest": [{"position": -1, "activations": [1.0]}]},
        {"more": 1},
        {"config": {"model": ""}},
    ],
)
def test_documents_that_make_no_sense(write: Write, changed: dict[str, object]) -> None:
    with pytest.raises(BadFile):
        read_published(write(**changed))


def test_a_document_that_is_not_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert reproduce(tmp_path / "none.json", tmp_path) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_feature_beyond_the_sae_is_told(write: Write, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    counts = [{"hookpoint": HOOKPOINT, "feature": 128, "inferences": 1}]
    assert reproduce(write(counts=counts), cache) == 2
    assert "feature 128 is out of range" in capsys.readouterr().err
