"""Labels put to the test, against a count position by position; and the patterns that they claim."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kthink_core.errors import BadValue, OutOfRange, UnknownName
from kthink_core.evidence import pattern as patterns
from kthink_core.evidence.label_test import TENTHS, label_test
from kthink_core.evidence.pattern import compiled, spans
from kthink_core.listing import query_table
from kthink_core.queries import SCOPES, Scope
from kthink_core.records import Inference
from kthink_core.store.reader import Reader, open_reader
from kthink_core.store.scopes import SEGMENTS_OF
from tests.app_samples import HOOKPOINTS, SILENT, sample_experiment, sample_inference, write_experiment

EXPERIMENT = sample_experiment("demo", 8)
INFERENCES = [sample_inference(EXPERIMENT, number) for number in range(8)]
HOOKPOINT = HOOKPOINTS[0]
PATTERN = "/ [Ww]ait, maybe| 4|s are|Okay so/"


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    cache = tmp_path_factory.mktemp("cache")
    write_experiment(cache, EXPERIMENT)
    with open_reader(cache, "demo") as opened:
        yield opened


def activation(inference: Inference, position: int, feature: int, scope: Scope) -> float:
    encoding = inference.encodings[HOOKPOINT]
    at = np.flatnonzero(encoding.features[position] == feature)
    found = max((float(encoding.activations[position, slot]) for slot in at), default=0.0)
    return found if inference.segments[position] in SEGMENTS_OF[scope] else 0.0


def marked(inference: Inference, pattern: str) -> list[bool]:
    ends = list(accumulate(map(len, inference.texts)))
    covered = [set(range(end - len(text), end)) for end, text in zip(ends, inference.texts, strict=True)]
    spans = [set(range(*match.span())) for match in re.finditer(pattern, "".join(inference.texts))]
    return [any(token & span for span in spans) for token in covered]


def places(feature: int, scope: Scope, odd: bool) -> list[tuple[str, bool]]:
    """The kind of each position in scope of a half, and whether it is marked."""
    everything = [
        (one, position, activation(one, position, feature, scope))
        for one in INFERENCES
        for position in range(len(one.texts))
    ]
    most = max(value for *_, value in everything)
    tokens = {int(one.token_ids[position]) for one, position, value in everything if value > 0}
    marks = {one.inference: marked(one, PATTERN.strip("/")) for one in INFERENCES}
    found = []
    for one, position, value in everything:
        if one.segments[position] not in SEGMENTS_OF[scope] or (one.inference % 2 == 1) != odd:
            continue
        tenth = next((step for step in range(TENTHS) if value < most * (step + 1) / TENTHS), TENTHS - 1)
        silent = "near" if int(one.token_ids[position]) in tokens else "other"
        found.append((f"tenth {tenth}" if value > 0 else silent, marks[one.inference][position]))
    return found


def rate(found: list[tuple[str, bool]], kind: str) -> float:
    return float(np.mean([mark for other, mark in found if other == kind]))


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("feature", [0, 5, 17])
def test_a_label_is_tested_position_by_position(reader: Reader, feature: int, scope: Scope) -> None:
    table = label_test(reader, HOOKPOINT, feature, PATTERN, scope)
    assert table["half"].tolist() == ["held out", "looked at"]
    for row, odd in zip(table.to_dict("records"), (True, False), strict=True):
        found = places(feature, scope, odd)
        kinds = {kind for kind, _ in found}
        fires = [mark for kind, mark in found if kind.startswith("tenth")]
        near = [mark for kind, mark in found if kind == "near"]
        assert row["inferences"] == 4 and row["positions"] == len(found)
        assert (row["firing"], row["both"]) == (len(fires), sum(fires))
        assert row["marked"] == sum(mark for _, mark in found)
        assert (row["near_misses"], row["near_marked"]) == (len(near), sum(near))
        assert row["recall"] == pytest.approx(sum(fires) / len(fires) if fires else np.nan, nan_ok=True)
        assert row["precision"] == pytest.approx(sum(fires) / row["marked"] if row["marked"] else np.nan, nan_ok=True)
        tenths = [kind for kind in kinds if kind.startswith("tenth")]
        silent = [kind for kind in kinds if not kind.startswith("tenth")]
        if tenths and silent:
            hits = float(np.mean([rate(found, kind) for kind in tenths]))
            area = (hits + 1 - float(np.mean([rate(found, kind) for kind in silent]))) / 2
            assert row["auroc"] == pytest.approx(area)
            assert row["low"] <= row["auroc"] + 0.1 and row["auroc"] - 0.1 <= row["high"]
        else:
            assert np.isnan(row["auroc"])


def test_the_interval_comes_from_inferences_not_from_positions(tmp_path: Path, reader: Reader) -> None:
    """A trace that stands twice in the half says no more than once: the interval is that of its two copies."""
    table = label_test(reader, HOOKPOINT, 5, PATTERN)
    assert (table["low"] < table["auroc"]).all() and (table["auroc"] < table["high"]).all()
    alone = sample_experiment("alone", 2)
    write_experiment(tmp_path, alone)
    with open_reader(tmp_path, "alone") as single:
        row = label_test(single, HOOKPOINT, 5, PATTERN).iloc[0]
        assert row["inferences"] == 1 and np.isnan(row["low"]) and np.isnan(row["high"])


def test_a_perfect_claim_and_a_void_one(reader: Reader) -> None:
    nothing = label_test(reader, HOOKPOINT, 5, "nowhere").iloc[0]
    assert nothing["marked"] == 0 and nothing["recall"] == 0 and nothing["auroc"] == 0.5
    assert np.isnan(nothing["precision"])
    everything = label_test(reader, HOOKPOINT, 5, r"/[\s\S]+/").iloc[0]
    assert everything["recall"] == 1 and everything["auroc"] == 0.5
    silent = label_test(reader, HOOKPOINT, SILENT, "wait").iloc[0]
    assert silent["firing"] == 0 and np.isnan(silent["auroc"]) and np.isnan(silent["recall"])


def test_the_command_line_says_where_a_figure_rests_on_nothing(tmp_path: Path) -> None:
    write_experiment(tmp_path, EXPERIMENT)
    told: list[str] = []

    def ask(feature: int, pattern: str) -> list[str]:
        told.clear()
        given = {"hookpoint": HOOKPOINT, "feature": feature, "pattern": pattern}
        query_table(tmp_path, "demo", "label-test", "generated", told.append, **given)
        return [line.partition(":")[0] for line in told]

    assert ask(5, PATTERN) == []
    assert ask(5, "zzzqqq") == ["The pattern matches nothing in scope generated"]
    assert ask(SILENT, PATTERN) == ["The feature never fires in scope generated"]
    assert ["document" in "".join(each.texts) for each in INFERENCES[:2]] == [True, False]
    assert ask(5, "document") == ["The pattern matches nothing in scope generated of the inferences held out"]


def test_mistakes_are_told(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OutOfRange):
        label_test(reader, HOOKPOINT, 64, "wait")
    with pytest.raises(UnknownName):
        label_test(reader, "layers.9.mlp", 0, "wait")
    monkeypatch.setattr(patterns, "PATIENCE", 0)
    with pytest.raises(BadValue, match="takes more than"):
        label_test(reader, HOOKPOINT, 0, "wait")


@pytest.mark.parametrize(
    "pattern",
    ["/a{99999999}/", "/(((((a{50}){50}){50}){50}){50})/", "/(?:a{3000}){3000}/", "/(?R)/", "/(?P<x>.)(?P=x){9}/",
     "/" + "|".join(f"[^x]{{{n}}}y" for n in range(970, 987)) + "/"],
)  # fmt: skip
def test_what_would_take_for_ever_is_no_pattern(pattern: str) -> None:
    with pytest.raises(BadValue, match="is no regular expression that RE2 takes"):
        compiled(pattern)


def test_what_takes_others_for_ever_takes_a_moment() -> None:
    assert list(spans(compiled("/(?:a|aa)+$/"), ["a" * 10_000 + "c"])) == [[]]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("", "the pattern is empty"),
        (" , ", "the pattern is empty"),
        ("/", "stands between slashes"),
        ("//", "stands between slashes"),
        ("/a", "stands between slashes"),
        ("/a/x", "stands between slashes"),
        ("/(/", "is no regular expression that RE2 takes: missing"),
        ("a" * 201, "has 201 characters; 200 at most"),
    ],
)
def test_what_is_no_pattern_is_told(pattern: str, message: str) -> None:
    with pytest.raises(BadValue, match=message):
        compiled(pattern)


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("wait", " Wait, await WAIT", ["Wait", "WAIT"]),
        ("wait, let me", "Let me wait", ["Let me", "wait"]),
        ("c++", "c++ and c+", ["c++"]),
        ("/[Ww]ait/", "wait WAIT Wait", ["wait", "Wait"]),
        ("/wait/i", "wait WAIT", ["wait", "WAIT"]),
        ("/a/b/", "a/b", ["a/b"]),
        (r"/\n(So)/", "So\nSo", ["So"]),
        ("/🙂 (é)|(x)/", "🙂 é x", ["é"]),
        ("/x*/", "axxb", ["xx"]),
    ],
)
def test_patterns_match(pattern: str, text: str, found: list[str]) -> None:
    (named,) = spans(compiled(pattern), [text])
    assert [text[first:end] for first, end in named] == found


@given(st.lists(st.text("abc. ", min_size=1, max_size=5), min_size=1, max_size=4), st.text("abc. ABC", max_size=40))
def test_words_are_found_as_they_stand(words: list[str], text: str) -> None:
    given_words = [word.strip() for word in words if word.strip()]
    if not given_words:
        return
    (named,) = spans(compiled(",".join(words)), [text])
    for first, end in named:
        assert text[first:end].lower() in given_words
        assert not text[first - 1 : first].isalnum() and not text[end : end + 1].isalnum()
