"""What an SAE is trained on: sources, windows, what is held out, the order, and padding."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as some
from torch.utils.data import DataLoader

from kthink_core.errors import BadValue, KthinkError, MissingFiles, UnknownName
from kthink_core.model.language_model import LanguageModel
from kthink_core.precompute.pipeline import Plan, precompute
from kthink_core.precompute.progress import Silent
from kthink_core.store.reader import open_reader
from kthink_core.store.trainings import TrainingConfig
from kthink_core.training.corpus import Corpus, Piece, read_corpus
from kthink_core.training.windows import MOST_HELD_OUT, Rows, batches, cut, described, padding

HOOKPOINTS = ("layers.1.mlp",)


def config(*data: object, **more: object) -> TrainingConfig:
    return TrainingConfig.model_validate({"hookpoints": HOOKPOINTS, "data": tuple(map(str, data))} | more)


def lines(path: Path, *rows: object) -> Path:
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows), "utf-8")
    return path


def ids(corpus: Corpus) -> list[list[int]]:
    return [piece.token_ids.tolist() for piece in corpus.pieces]


def test_each_kind_of_line(bundle: LanguageModel, tmp_path: Path) -> None:
    file = lines(
        tmp_path / "texts.jsonl",
        {"text": "Tom has 3 apples."},
        "",
        {"question": "Two and two?", "answer": 4},
        {"question": "Three?"},
        {"token_ids": [5, 6, 7], "text": "not read"},
        {"text": "  "},
        {"text": "Tom has 3 apples."},
        {"text": "a </think> b", "score": float("inf")},
    )
    corpus = read_corpus(bundle, tmp_path, config(file))
    encode = bundle.tokenizer.encode
    begin = [bundle.tokenizer.bos_token_id]
    expected = [
        begin + encode("Tom has 3 apples.", add_special_tokens=False),
        begin + encode("Two and two?\n\n4", add_special_tokens=False),
        begin + encode("Three?", add_special_tokens=False),
        [5, 6, 7],
    ]
    assert ids(corpus)[:4] == expected and len(corpus.pieces) == 5
    spelled = ids(corpus)[4]
    assert encode("</think>", add_special_tokens=False)[0] not in spelled
    assert bundle.tokenizer.decode(spelled[1:]) == "a </think> b"
    [source] = corpus.sources
    assert (source.texts, source.tokens) == (5, sum(map(len, ids(corpus))))


def test_sources_take_turns_until_there_are_enough_tokens(bundle: LanguageModel, tmp_path: Path) -> None:
    one = lines(tmp_path / "one.jsonl", *({"token_ids": [1, index]} for index in range(9)))
    other = lines(tmp_path / "other.jsonl", {"token_ids": [2, 2, 2]}, {"token_ids": [1, 0]}, {"token_ids": [2, 3]})
    found = read_corpus(bundle, tmp_path, config(one, other, tokens=10))
    assert ids(found) == [[1, 0], [2, 2, 2], [1, 1], [1, 2], [2]], "none twice, the last cut"
    assert [source.tokens for source in found.sources] == [6, 4]


def test_traces_are_token_by_token_those_that_are_stored(tiny_plan: Plan, tmp_path: Path) -> None:
    precompute(tiny_plan, tmp_path, 3, Silent())
    model = tiny_plan.experiment.config.model
    corpus = read_corpus(tiny_plan.lm, tmp_path, config("experiment:tiny", model=model))
    with open_reader(tmp_path, "tiny") as reader:
        stored = reader.query("SELECT list(token_id ORDER BY position) AS ids FROM tokens GROUP BY inference")
        assert sorted(ids(corpus)) == sorted(map(list, stored["ids"]))
        questions = set(reader.query("SELECT question FROM inferences")["question"])
    assert {piece.group for piece in corpus.pieces} == questions
    with pytest.raises(BadValue, match=r"its traces are of model sha256:.*, not of another@sha"):
        other = tiny_plan.lm._replace(revision="sha")
        read_corpus(other, tmp_path, config("experiment:tiny", model="another"))
    with pytest.raises(UnknownName, match="did you mean 'tiny'"):
        read_corpus(tiny_plan.lm, tmp_path, config("experiment:tyny"))


def test_a_column_of_a_data_set(bundle: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    folder = tmp_path / "set"
    folder.mkdir()
    table = pa.table({"body": ["One apple.", "Two pears.", None], "number": [1, 2, 3]})
    pyarrow.parquet.write_table(table.slice(0, 2), folder / "train.parquet")
    found = read_corpus(bundle, tmp_path, config(folder, column="body"))
    encode = bundle.tokenizer.encode
    assert [each[1:] for each in ids(found)] == [
        encode(text, add_special_tokens=False) for text in ("One apple.", "Two pears.")
    ]
    with pytest.raises(BadValue, match=r"--column text: .* has body, number"):
        read_corpus(bundle, tmp_path, config(folder))
    with pytest.raises(BadValue, match=r"not every row of .* has a text"):
        read_corpus(bundle, tmp_path, config(folder, column="number"))
    for source, more in (("nobody/has-this", {}), (folder, {"split": "tset"})):
        with pytest.raises(MissingFiles, match=f"--data {source}: it is no file here") as caught:
            read_corpus(bundle, tmp_path, config(source, **more))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "there is no text in it"),
        ('{"text": " "}', "there is no text in it"),
        ('{"text": 3}', "line 1: `text` must be a text"),
        ('{"question": "a", "answer": [1]}', "line 1: `answer` must be a text"),
        ('{"token_ids": [1, -1]}', "line 1: `token_ids` must be a list of ids"),
        ('{"token_ids": [1, true]}', "line 1: `token_ids` must be a list of ids"),
        ('{"token_ids": "12"}', "line 1: `token_ids` must be a list of ids"),
        ('{"token_ids": [9999999]}', "line 1: `token_ids` must be a list of ids"),
        ('{"title": "a"}', "line 1: it needs `token_ids`, `text`, or `question`"),
        ('"text"', "line 1: it needs `token_ids`"),
        ('{"text": "a"}\n{"text', "line 2: it is no JSON"),
    ],
)
def test_a_file_that_makes_no_sense(bundle: LanguageModel, tmp_path: Path, content: str, told: str) -> None:
    file = tmp_path / "texts.jsonl"
    file.write_text(content)
    with pytest.raises(KthinkError, match=told) as caught:
        read_corpus(bundle, tmp_path, config(file))
    assert str(file) in str(caught.value)


def test_a_file_that_is_not_there(bundle: LanguageModel, tmp_path: Path) -> None:
    with pytest.raises(BadValue, match="No such file"):
        read_corpus(bundle, tmp_path, config(tmp_path / "none.jsonl"))


@some.composite
def corpora(draw: some.DrawFn) -> Corpus:
    """Texts of numbers that no other text has."""
    lengths = draw(some.lists(some.integers(1, 40), min_size=2, max_size=30))
    groups = draw(some.lists(some.integers(0, 6), min_size=len(lengths), max_size=len(lengths)))
    groups[0], groups[1] = 0, 1
    starts = np.cumsum([0, *lengths])
    pieces = [
        Piece(np.arange(first, first + length, dtype=np.int32), str(group))
        for first, length, group in zip(starts, lengths, groups, strict=False)
    ]
    return Corpus(pieces, ())


@given(corpora(), some.integers(2, 50), some.integers(0, 2**31 - 1))
def test_every_token_is_on_one_side_once(corpus: Corpus, window: int, seed: int) -> None:
    windows = cut(corpus, window, seed)
    trained, held_out = (np.concatenate(side) for side in windows)
    assert sorted([*trained, *held_out]) == list(range(sum(len(piece.token_ids) for piece in corpus.pieces)))
    assert all(1 <= len(each) <= window and (np.diff(each) == 1).all() for side in windows for each in side)
    of = {int(token): piece.group for piece in corpus.pieces for token in piece.token_ids}
    sides = [{of[int(token)] for token in side} for side in (trained, held_out)]
    assert not sides[0] & sides[1], "a group is on one side only"
    largest = max(sum(len(piece.token_ids) for piece in corpus.pieces if piece.group == group) for group in of.values())
    assert len(held_out) < min(MOST_HELD_OUT, 0.05 * len(of) + 1) + largest, "no more than it takes"
    again = cut(corpus, window, seed)
    assert described(windows, ()) == described(again, ())


def test_the_digest_is_of_the_tokens_and_of_what_is_held_out() -> None:
    pieces = [Piece(np.arange(first, first + 9, dtype=np.int32), str(first)) for first in range(0, 90, 9)]
    digests = {described(cut(Corpus(pieces, ()), window, seed), ()).digest for window in (4, 9) for seed in (0, 1)}
    assert len(digests) == 4


def test_one_text_is_too_few() -> None:
    with pytest.raises(BadValue, match="1 text to train on: it takes two"):
        cut(Corpus([Piece(np.arange(9, dtype=np.int32), "a")] * 2, ()), 4, 0)


@given(
    some.lists(some.integers(1, 30), min_size=1, max_size=40), some.integers(1, 8), some.none() | some.integers(1, 60)
)
def test_each_window_once_a_round(lengths: list[int], size: int, steps: int | None) -> None:
    windows = [np.full(length, index, np.int32) for index, length in enumerate(lengths)]
    if len(windows) < size:
        with pytest.raises(BadValue, match="do not fill a batch"):
            batches(windows, size, steps, 0)
        return
    order = batches(windows, size, steps, 0)
    whole = len(windows) // size
    assert len(order) == (steps or whole) and all(len(batch) == size for batch in order)
    for first in range(0, len(order), whole):
        drawn = [index for batch in order[first : first + whole] for index in batch]
        assert len(set(drawn)) == len(drawn)
    assert batches(windows, size, None if steps is None else 2 * steps, 0)[: len(order)] == order


def test_rows_are_padded_with_what_stands_nowhere() -> None:
    windows = [np.array(ids, np.int32) for ids in ([1, 2, 3], [4], [5, 9], [0, 6, 7, 8])]
    pad = padding(windows, 12)
    assert pad == 11 and padding(windows, 11) == 10
    with pytest.raises(BadValue, match="every one of the model's 10 token ids"):
        padding(windows, 10)
    rows = Rows(windows, [[0, 1], [2, 3], [1, 3]], pad)
    loaded = [batch["input_ids"].tolist() for batch in DataLoader(rows, batch_size=2)]  # pyright: ignore
    assert loaded == [[[1, 2, 3], [4, 11, 11]], [[5, 9, 11, 11], [0, 6, 7, 8]], [[4, 11, 11, 11], [0, 6, 7, 8]]]
    rest = rows.select(range(2, 6))
    assert [batch["input_ids"].tolist() for batch in DataLoader(rest, batch_size=2)] == loaded[1:]  # pyright: ignore
