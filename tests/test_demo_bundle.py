"""What the bundle promises a newcomer, checked by running the demo through the pipeline and asking the store."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from bundle.phrases import REASONING_WORDS
from kthink_core import demo as bundled
from kthink_core import queries
from kthink_core.store.reader import Reader, open_reader

WORDS = {word.casefold() for word in REASONING_WORDS} | {"okay", "so", "hmm", "wait", "therefore", "alright", "maybe"}
NAMED = re.compile(r"^\| (layers\.\d+\.mlp):(\d+) \|.*\| (\d+) \|$", re.MULTILINE)


@pytest.fixture(scope="module")
def reader(demo: Path) -> Iterator[Reader]:
    with open_reader(demo, "demo") as reader:
        yield reader


def test_weights_are_small_and_safetensors_only() -> None:
    folder = Path(bundled.__file__).parent
    weights = [path for path in folder.rglob("*") if path.stat().st_size > 500_000]
    assert {path.suffix for path in weights} == {".safetensors"}
    assert sum(path.stat().st_size for path in folder.rglob("*.safetensors")) <= 30e6


def test_traces(reader: Reader) -> None:
    table = queries.inferences(reader)
    assert len(table) == 32
    assert (table["finish_reason"] == "stop").all()
    assert 0.5 < table["correct"].mean() < 1, "some wrong answers are wanted: they make contrasts possible"
    for inference in range(32):
        segments = queries.transcript(reader, inference)["segment"].tolist()
        assert segments.count("think") and segments.count("answer")


def test_saes(reader: Reader) -> None:
    table = queries.quality(reader, "all")
    assert len(table) == 3
    assert (table["fvu"] <= 0.2).all()
    assert all(shape.num_latents >= 2048 and shape.k <= 32 for shape in reader.experiment.saes.values())


def test_the_articles_finding_can_be_made_again(reader: Reader) -> None:
    """The features that the bundle's page names answer to reasoning words and matter in at least 8 inferences."""
    named = NAMED.findall((Path(bundled.__file__).parent / "README.md").read_text("utf-8"))
    assert len(named) >= 5
    for hookpoint, feature, _ in named:
        assert queries.feature_summary(reader, hookpoint, int(feature)).iloc[0]["relevant_inferences"] >= 8
        tokens = queries.top_tokens(reader, hookpoint, int(feature), top=5)["text"].tolist()
        assert {token.strip().casefold() for token in tokens} <= WORDS
