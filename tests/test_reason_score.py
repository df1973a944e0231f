"""ReasonScore against a plain computation from the raw records; words, matches and windows against brute force."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as some

from kthink_core import queries
from kthink_core.cli import main
from kthink_core.errors import BadValue, OutOfRange, UnknownName
from kthink_core.evidence import vocabulary
from kthink_core.evidence.matches import Traces, find, missing_words, positive, word_matches
from kthink_core.evidence.reason_score import COLUMNS, INTERVALS, reason_score
from kthink_core.evidence.word_evidence import word_activations, word_places
from kthink_core.queries import SCOPES, Scope
from kthink_core.records import Inference
from kthink_core.store.reader import Reader, open_reader
from tests import reason_oracle as oracle
from tests.store_samples import HOOKPOINTS, sample_experiment, sample_inference, write_sample

TEXTS = (
    "<s>", "</s>", " Wait", "wait", " let", " me", "Let", "h", "mm", "Hmm", " ", "But", "ton", "ti", "m", "e", ".",
    "12", " However", "", " maybe", " so",
)  # fmt: skip
"""By token id. `h` + `mm` is a word here and there; `m` + `e` of `ti` + `m` + `e` should be none."""
PHRASES = ((4, 5), (6, 5), (7, 8), (13, 14, 15), (14, 15, 16), (11, 12), (10, 3), *((token,) for token in range(2, 22)))
WORDS = ("wait", "let me", "hmm", '"But"', "me", "however", "#20", "#13 #14", "never")
EXPERIMENT = sample_experiment("reason", 30)
HOOKPOINT = HOOKPOINTS[0]


def worded(index: int) -> Inference:
    """A sample inference with other tokens; it begins with `<s>`, and ends with `</s>` where it stopped."""
    inference = sample_inference(EXPERIMENT, index)
    random, length = np.random.default_rng(index), len(inference.texts)
    said = [token for phrase in random.integers(0, len(PHRASES), length) for token in PHRASES[phrase]]
    token_ids = np.array(said[:length], np.int32)
    token_ids[0] = 0
    if inference.finish_reason == "stop":
        token_ids[-1] = 1
    if index % 5 == 0:  # the end of the prompt reaches what follows
        token_ids[inference.prompt_tokens - 1] = 2
    return replace(inference, token_ids=token_ids, texts=tuple(TEXTS[token_id] for token_id in token_ids))


INFERENCES = [worded(index) for index in range(EXPERIMENT.inferences)]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    write_sample(folder, EXPERIMENT, INFERENCES, built=20)
    return folder


@pytest.fixture(scope="module")
def reader(cache: Path) -> Iterator[Reader]:
    with open_reader(cache, EXPERIMENT.name) as opened:
        yield opened


QUESTIONS: list[tuple[Scope, tuple[str, ...], tuple[int, int], float]] = [
    *((scope, WORDS, (1, 2), 0.7) for scope in SCOPES),
    ("generated", WORDS, (0, 0), 0.7),
    ("generated", WORDS[:4], (2, 1), 0.3),
    ("generated", WORDS[:4], (0, 3), 0.0),
    ("all", ("me", "hmm"), (0, 0), 2.0),
    ("think", ("wait",), (1, 2), 0.7),
]


@pytest.mark.parametrize(("scope", "words", "window", "alpha"), QUESTIONS)
@pytest.mark.parametrize("hookpoint", HOOKPOINTS[:2])
def test_scores_are_those_of_the_formula(
    reader: Reader, hookpoint: str, scope: Scope, words: tuple[str, ...], window: tuple[int, int], alpha: float
) -> None:
    table = reason_score(reader, hookpoint, scope, words, window, alpha, top=1000)
    expected = oracle.reason_score(INFERENCES, hookpoint, scope, words, window, alpha)
    assert tuple(table.columns) == COLUMNS
    found = {row.pop("feature"): row for row in table.to_dict("records")}
    assert found.keys() == expected.keys()
    for feature, row in expected.items():
        assert {name: found[feature][name] for name in row} == pytest.approx(row, abs=1e-12), feature
    scores = table["score"].tolist()
    assert scores == sorted(scores, reverse=True)
    assert reason_score(reader, hookpoint, scope, words, window, alpha, top=3).equals(table.head(3))


def test_the_words_of_the_sample_tell_a_wrong_formula_from_the_right_one() -> None:
    """Otherwise the comparison above would prove nothing: each of these changes some score."""
    right = oracle.reason_score(INFERENCES, HOOKPOINT, "generated", WORDS, (1, 2), 0.7)
    wrong = [
        oracle.reason_score(INFERENCES, HOOKPOINT, "generated", WORDS, (1, 2), 1.0),
        oracle.reason_score(INFERENCES, HOOKPOINT, "generated", WORDS, (2, 1), 0.7),
        oracle.reason_score(INFERENCES, HOOKPOINT, "generated", WORDS[:-1], (1, 2), 0.7),
        oracle.reason_score(INFERENCES, HOOKPOINT, "all", WORDS, (1, 2), 0.7),
    ]
    for other in wrong:
        assert any(other[feature]["score"] != pytest.approx(row["score"], abs=1e-6) for feature, row in right.items())


@pytest.mark.parametrize("scope", SCOPES)
def test_words_are_counted(reader: Reader, scope: Scope) -> None:
    table = word_matches(reader, scope, WORDS, (1, 2))
    near, matches = oracle.facts([oracle.tokens(inference) for inference in INFERENCES], WORDS, (1, 2))
    inside = [
        [[p for p in positions if oracle.counts(INFERENCES[index], p, scope)] for index, positions in enumerate(word)]
        for word in near
    ]
    assert table["word"].tolist() == list(WORDS)
    assert table["matches"].tolist() == matches
    assert table["positions"].tolist() == [sum(map(len, word)) for word in inside]
    assert table["inferences"].tolist() == [sum(map(bool, word)) for word in inside]
    assert set(table["of"]) == {len(INFERENCES)}
    assert missing_words(table, scope)[0] == "words that occur in no trace: never"


def test_a_part_of_a_longer_word_is_no_word_of_several_tokens() -> None:
    def matches(*texts: str) -> list[tuple[int, int]]:
        [found] = find(made([list(texts)]), vocabulary.groups(["me"]))
        return list(zip(found.first.tolist(), found.last.tolist(), strict=True))

    assert matches("ti", "m", "e", ".") == []
    assert matches(".", "m", "e", "!", "ti", "m", "e") == [(1, 2), (5, 6)]  # a spelling now, wherever it stands
    assert matches("ti", "me", "12") == [(1, 1)]
    assert matches("M", "", "e") == []


def made(traces: list[list[str]]) -> Traces:
    """Traces of texts, of which each has an id."""
    texts = sorted({text for trace in traces for text in trace})
    token_ids = np.array([texts.index(text) for trace in traces for text in trace], np.int64)
    starts = np.cumsum([0, *map(len, traces)])
    counted = np.array([text not in oracle.EDGES for trace in traces for text in trace], np.bool_)
    return Traces(np.arange(len(traces)), starts, token_ids, counted, dict(enumerate(texts)))


LINES = ("a", "ab", "aba", "a b", '"A"', '" "', "#0", "#1 #2", "b a")
PIECES = some.sampled_from(["a", "A", "b", " a", " ", "ab", " Ab", "", "<s>", ".", "ba"])


@given(
    some.lists(some.lists(PIECES, min_size=1, max_size=12), min_size=1, max_size=4),
    some.lists(
        some.sampled_from(["a", "ab", "aba", "a b", '"A"', '" "', "#0", "#1 #2", "b a"]), min_size=1, unique=True
    ),
    some.tuples(some.integers(0, 4), some.integers(0, 4)),
)
@example([["a"], ["b", "a"]], ["ab", "#0 #1", "#1 #0"], (1, 1))
def test_matches_and_windows_are_those_of_brute_force(
    texts: list[list[str]], lines: list[str], window: tuple[int, int]
) -> None:
    traces = made(texts)
    ids = {text: token_id for token_id, text in traces.texts.items()}
    near, matches = oracle.facts([[(ids[text], text) for text in trace] for trace in texts], lines, window)
    found = find(traces, vocabulary.groups(lines))
    assert [len(one.first) for one in found] == matches
    for row, word in zip(positive(traces, found, window), near, strict=True):
        places = {
            int(traces.starts[index]) + position
            for index, positions in enumerate(word)
            for position in positions
            if texts[index][position] not in oracle.EDGES
        }
        assert set(np.flatnonzero(row).tolist()) == places


def test_what_a_feature_does_at_each_word(reader: Reader) -> None:
    near = oracle.facts([oracle.tokens(inference) for inference in INFERENCES], WORDS, (1, 2)).near
    feature = int(reason_score(reader, HOOKPOINT, vocabulary=WORDS)["feature"].iloc[0])
    table = word_activations(reader, HOOKPOINT, feature, vocabulary=WORDS)
    places = word_places(reader, HOOKPOINT, feature, vocabulary=WORDS, each=3)
    means = []
    for index, word in enumerate(WORDS):
        own = {
            (number, position): oracle.activations(inference, HOOKPOINT, position).get(feature, 0.0)
            for number, inference in enumerate(INFERENCES)
            for position in near[index][number]
            if oracle.counts(inference, position, "generated")
        }
        row = table.iloc[index]
        means.append(sum(own.values()) / len(own) if own else np.nan)
        assert (row["word"], row["positions"], row["active"]) == (word, len(own), sum(map(bool, own.values())))
        strongest: dict[int, tuple[float, int]] = {}  # traces are shorter than two contexts are long
        for (number, position), value in sorted(own.items()):
            if value > strongest.get(number, (0.0, 0))[0]:
                strongest[number] = (value, position)
        expected = sorted((-value, number, position) for number, (value, position) in strongest.items())[:3]
        shown = places[places["band"] == word]
        assert list(zip(-shown["activation"], shown["inference"], shown["position"], strict=True)) == expected
    assert table["mean_activation"].tolist() == pytest.approx(means, nan_ok=True)
    assert table["share"].tolist() == pytest.approx(np.nan_to_num(means) / np.nansum(means))
    alike = queries.contexts(reader, HOOKPOINT, feature)
    assert list(places.columns) == list(alike.columns)[:6]


def test_intervals_hold_the_score_and_come_out_the_same_again(reader: Reader) -> None:
    table = reason_score(reader, HOOKPOINT, vocabulary=WORDS)
    assert ((table["low"] <= table["score"]) & (table["score"] <= table["high"])).mean() > 0.9
    assert (table["low"] < table["high"]).all()
    assert reason_score(reader, HOOKPOINT, vocabulary=WORDS).equals(table)


def test_the_interval_is_that_of_drawing_whole_inferences(reader: Reader) -> None:
    """Drawn anew by hand, from the records; two samples of a thousand differ a little."""
    first = reason_score(reader, HOOKPOINT, vocabulary=WORDS[:3], top=1).iloc[0]
    random, feature, scores = np.random.default_rng(5), int(first["feature"]), []
    for _ in range(150):
        drawn = [INFERENCES[index] for index in random.integers(0, len(INFERENCES), len(INFERENCES))]
        scores.append(oracle.reason_score(drawn, HOOKPOINT, "generated", WORDS[:3], (1, 2), 0.7)[feature]["score"])
    width = first["high"] - first["low"]
    assert np.quantile(scores, [0.025, 0.975]) == pytest.approx([first["low"], first["high"]], abs=0.25 * width)


def test_too_few_inferences_have_no_interval(tmp_path: Path) -> None:
    few = sample_experiment("few", 4)
    write_sample(tmp_path, few, [worded(index) for index in range(4)])
    with open_reader(tmp_path, "few") as reader:
        table = reason_score(reader, HOOKPOINT, vocabulary=WORDS)
        assert table["low"].isna().all() and table["high"].isna().all()
        assert table["of"].max() < 5 <= len(table)


def test_what_lies_beyond_the_first_hundred_has_a_score_alone(tmp_path: Path) -> None:
    wide = sample_experiment("wide", 20, latents=600)
    inferences = [
        replace(worded(index), encodings=sample_inference(wide, index).encodings) for index in range(wide.inferences)
    ]
    write_sample(tmp_path, wide, inferences)
    with open_reader(tmp_path, "wide") as reader:
        table = reason_score(reader, HOOKPOINT, vocabulary=WORDS, top=600)
    assert len(table) > INTERVALS + 5
    first, rest = table.head(INTERVALS), table.iloc[INTERVALS:]
    beside = ["low", "high", "active_positive", "active_negative", "inferences"]
    assert first[beside].notna().all(axis=None) and rest[beside].isna().all(axis=None)
    assert table.drop(columns=beside).notna().all(axis=None)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"vocabulary": ()}, "the vocabulary is empty; it takes a word a line"),
        ({"vocabulary": ("", "  ")}, "the vocabulary is empty"),
        ({"vocabulary": ("never", "nowhere")}, "no word of the vocabulary occurs in scope generated"),
        ({"vocabulary": ("x" * 63,)}, "a word has 60"),
        ({"vocabulary": tuple(f"w{index}" for index in range(101))}, "has 101 words; it takes 100"),
        ({"vocabulary": ("# Wait",)}, "is not token ids such as #1 #2"),
        ({"vocabulary": ("#1 " * 21,)}, "token ids such as #1 #2, 20 at most"),
        ({"window": (-1, 2)}, "window -1,2: it must be two numbers from 0 to 20"),
        ({"window": (1, 21)}, "window 1,21"),
        ({"vocabulary": tuple(f"#{token}" for token in range(22))}, "every position in scope generated is near a word"),
        ({"alpha": -0.1}, "alpha is -0.1"),
        ({"alpha": float("nan")}, "alpha is nan"),
        ({"top": 0}, "top is 0"),
    ],
)
def test_what_makes_no_sense_is_said(reader: Reader, asked: dict, message: str) -> None:
    with pytest.raises(BadValue, match=message):
        reason_score(reader, HOOKPOINT, **({"vocabulary": WORDS} | asked))


def test_names_that_do_not_exist(reader: Reader) -> None:
    with pytest.raises(UnknownName, match="hookpoint"):
        reason_score(reader, "layers.11.mlp")
    with pytest.raises(UnknownName, match="scope"):
        reason_score(reader, HOOKPOINT, "thinking")  # pyright: ignore[reportArgumentType]
    with pytest.raises(OutOfRange):
        word_activations(reader, HOOKPOINT, 24)


class TestVocabulary:
    def test_the_default_is_that_of_the_authors(self) -> None:
        small = ("alternatively", "hmm", "maybe", "wait", "perhaps", "let me", "therefore", "however")
        large = ("Alternatively", "Hmm", "Maybe", "Wait", "Perhaps", "Let me", "Therefore", "However")
        authors = [*small, *large, *(f" {text}" for text in small + large), "But", "Another"]
        groups = vocabulary.groups(vocabulary.DEFAULT)
        assert len(groups) == 10
        assert sorted(text for group in groups for text in group.spellings) == sorted(authors)

    @pytest.mark.parametrize(
        ("line", "spellings", "token_ids"),
        [
            ("Wait", {"wait", "Wait", " wait", " Wait"}, ()),
            ("  let me ", {"let me", "Let me", " let me", " Let me"}, ()),
            ('" But"', {" But"}, ()),
            ('""', {'""', ' ""'}, ()),
            ("24", {"24", " 24"}, ()),
            ("#14190", set(), (14190,)),
            ("#1  #2", set(), (1, 2)),
        ],
    )
    def test_a_line(self, line: str, spellings: set[str], token_ids: tuple[int, ...]) -> None:
        [group] = vocabulary.groups([line])
        assert (group.word, group.spellings, group.token_ids) == (line.strip(), spellings, token_ids)

    def test_lines_that_stand_for_the_same_are_one(self) -> None:
        assert [group.word for group in vocabulary.groups(["Wait", "", "wait", '"Wait"', "#1", "#1 "])] == [
            "Wait", '"Wait"', "#1",
        ]  # fmt: skip

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "is empty"),
            (b"\n \n", "is empty"),
            (b"caf\xe9\n", "not UTF-8"),
            (b"wait\n" * 5000, "longer than 20,000 bytes"),
            (None, "cannot be read: "),
        ],
    )
    def test_a_file_that_is_none(self, tmp_path: Path, content: bytes | None, message: str) -> None:
        path = tmp_path / "words.txt"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(BadValue, match=message):
            vocabulary.read_vocabulary(path)


class TestCommandLine:
    def asked(self, cache: Path, *more: str) -> int:
        given = ["query", "reason-score", "--experiment", EXPERIMENT.name, "--cache", str(cache), "--format", "json"]
        return main([*given, *more])

    def test_the_answer_is_that_of_the_function(
        self, cache: Path, reader: Reader, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = tmp_path / "words.txt"
        path.write_text("\ufeff" + "\r\n".join(WORDS), encoding="utf-8")
        options = ("--vocabulary", str(path), "--window", "0,3", "--alpha", "0.3", "--scope", "think", "--top", "5")
        assert self.asked(cache, "--hookpoint", HOOKPOINT, *options) == 0
        printed = capsys.readouterr()
        expected = reason_score(reader, HOOKPOINT, "think", WORDS, (0, 3), 0.3, 5)
        rows = json.loads(printed.out)
        assert [list(row) for row in rows] == [list(COLUMNS)] * 5
        assert [row["feature"] for row in rows] == expected["feature"].tolist()
        assert [row["score"] for row in rows] == pytest.approx(expected["score"].tolist())
        assert printed.err.splitlines() == [
            "kthink: words that occur in no trace: never",
            f"kthink: H counts all 9 words, of which 8 occur: it is {math.log(8) / math.log(9):.2f} at most",
        ]

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ((), "needs --hookpoint"),
            (("--hookpoint", HOOKPOINT, "--vocabulary", "/nowhere/words.txt"), "the vocabulary cannot be read: "),
            (("--hookpoint", HOOKPOINT, "--window", "1"), "'1' is not two whole numbers such as 1,2"),
            (("--hookpoint", HOOKPOINT, "--window", "1,x"), "'x' is no whole number"),
            (("--hookpoint", HOOKPOINT, "--window", "1,21"), "window 1,21: it must be"),
            (("--hookpoint", HOOKPOINT, "--alpha", "inf"), "alpha is inf"),
            (("--hookpoint", HOOKPOINT, "--feature", "1"), "query reason-score takes no --feature"),
        ],
    )
    def test_a_mistake_is_one_line(
        self, cache: Path, options: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        try:
            status = self.asked(cache, *options)
        except SystemExit as stopped:
            status = stopped.code
        said = capsys.readouterr().err
        assert status == 2 and message in said and said.count("\n") == 1

    def test_other_queries_take_none_of_its_options(self, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
        given = ["query", "inferences", "--experiment", EXPERIMENT.name, "--cache", str(cache), "--alpha", "1"]
        assert main(given) == 2
        assert "query inferences takes no --alpha" in capsys.readouterr().err
