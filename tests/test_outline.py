"""The steps of a trace: what begins one, that none is lost, and what stands out in each, against plain loops."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as some

from kthink_core import queries
from kthink_core.errors import UnknownName
from kthink_core.outline import COLUMNS, GRAINS, Grain, cut
from kthink_core.sentence_splitting import sentences
from kthink_core.store.reader import Reader, open_reader
from tests.app_samples import HOOKPOINTS, sample_experiment, sample_inference, write_experiment
from tests.query_oracle import risk_ratio

THOUGHT = (
    "<think>\nOkay, so there are 20. But no: 21.\nMaybe not! Button up.\n\nSo, wait. **Hmm**, it is 3.5\n\nNow, let "
    "me see. And then? Therefore 7.\n</think>"
)


def tokens_of(text: str) -> list[str]:
    found = re.findall(r"</?think>| ?\w+| ?[*]+|[.!?]+\n+|\n+| |[^\w\s]", text)
    assert "".join(found) == text
    return found


@pytest.mark.parametrize(
    ("grain", "parts"),
    [
        ("sentence", ["<think>\nOkay, so there are 20.", " But no: 21.\n", "Maybe not!", " Button up.\n\n", "So, wait.",
                      " **Hmm**, it is 3.5\n\n", "Now, let me see.", " And then?", " Therefore 7.\n</think>"]),
        ("paragraph", ["<think>\nOkay, so there are 20. But no: 21.\nMaybe not! Button up.\n\n",
                       "So, wait. **Hmm**, it is 3.5\n\n", "Now, let me see. And then? Therefore 7.\n</think>"]),
        ("turn", ["<think>\nOkay, so there are 20.", " But no: 21.\n", "Maybe not! Button up.\n\n", "So, wait.",
                  " **Hmm**, it is 3.5\n\n", "Now, let me see. And then? Therefore 7.\n</think>"]),
    ],
)  # fmt: skip
def test_what_begins_a_step(grain: Grain, parts: list[str]) -> None:
    texts = tokens_of(THOUGHT)
    found = cut(["Why", "?", *texts, "\n\n", "7"], ["prompt"] * 2 + ["think"] * len(texts) + ["answer"] * 2, grain)
    assert found[0] == (0, 1) and found[-1] == (len(texts) + 2, len(texts) + 3)
    assert ["".join(texts[first - 2 : last - 1]) for first, last in found[1:-1]] == parts


PIECES = some.sampled_from(
    ["Wait", " but", ".", ".\n\n", "\n", " ", "", "<think>", "</think>", "<|x|>", " 3", "!", " it"]
)


@given(some.lists(some.tuples(PIECES, some.sampled_from(["prompt", "think", "answer"])), max_size=40))
def test_steps_are_all_tokens_in_order_and_coarser_ones_are_made_of_sentences(trace: list[tuple[str, str]]) -> None:
    texts, segments = [text for text, _ in trace], [segment for _, segment in trace]
    found = {grain: cut(texts, segments, grain) for grain in GRAINS}
    for steps in found.values():
        assert [at for first, last in steps for at in range(first, last + 1)] == list(range(len(trace)))
        assert all(len({*segments[first : last + 1]}) == 1 for first, last in steps)
        assert {step.first for step in steps} <= {step.first for step in found["sentence"]}


def test_a_thought_has_the_sentences_that_are_tested_for_what_they_do() -> None:
    texts = tokens_of(THOUGHT)[2:-2]
    assert [tuple(step) for step in cut(texts, ["think"] * len(texts), "sentence")] == sentences(texts)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    cache = tmp_path_factory.mktemp("cache")
    write_experiment(cache, sample_experiment("demo", 3))
    with open_reader(cache, "demo") as opened:
        yield opened


@pytest.mark.parametrize("grain", GRAINS)
@pytest.mark.parametrize("inference", [0, 1])
def test_what_stands_out_in_each_step(reader: Reader, inference: int, grain: Grain) -> None:
    made = sample_inference(reader.experiment, inference)
    encoding, whole = made.encodings[HOOKPOINTS[1]], len(made.texts)
    rows = queries.steps(reader, inference, HOOKPOINTS[1], grain, top=2)
    assert tuple(rows.columns) == COLUMNS and set(rows["grain"]) == {grain}
    assert rows.drop_duplicates("step")["tokens"].sum() == whole
    for _, step in rows.groupby("step"):
        first, last, size = (int(step[name].iloc[0]) for name in ("first", "last", "tokens"))
        assert size == last - first + 1 and set(step["segment"]) == {made.segments[first]}
        assert set(step["text"]) == {"".join(made.texts[first : last + 1])} or inference == 0
        inside: dict[int, list[float]] = {}
        outside: dict[int, int] = {}
        for position in range(whole):
            for feature, value in zip(encoding.features[position], encoding.activations[position], strict=True):
                if value > 0 and first <= position <= last:
                    inside.setdefault(int(feature), []).append(float(value))
                elif value > 0:
                    outside[int(feature)] = outside.get(int(feature), 0) + 1
        expected = []
        for feature, values in inside.items():
            if len(values) > 1 or size < 4:
                lift, low, high = risk_ratio(len(values), size, outside.get(feature, 0), whole - size)
                mean = sum(values) / len(values)
                expected.append((-round(low, 9), -max(values), feature, len(values), mean, lift, low, high))
        expected = sorted(expected)[:2]
        if not expected:
            assert len(step) == 1 and step[["rank", "feature", "positions", "lift"]].isna().all(axis=None)
            continue
        assert step["rank"].tolist() == list(range(1, len(expected) + 1))
        assert step["feature"].tolist() == [row[2] for row in expected]
        assert step["positions"].tolist() == [row[3] for row in expected]
        assert step["max_activation"].tolist() == [-row[1] for row in expected]
        for name, column in (("mean_activation", 4), ("lift", 5), ("lift_low", 6), ("lift_high", 7)):
            assert step[name].tolist() == pytest.approx([row[column] for row in expected])
        marked = queries.span_features(reader, inference, HOOKPOINTS[1], first, last, top=2)
        assert marked["feature"].tolist() == step["feature"].tolist()


def test_a_grain_that_there_is_not(reader: Reader) -> None:
    with pytest.raises(UnknownName, match="unknown grain 'turns': did you mean 'turn'"):
        queries.steps(reader, 0, HOOKPOINTS[0], "turns")  # pyright: ignore[reportArgumentType]
