"""A thought cut into sentences: what is an end, and that no token is lost."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kthink_core.sentence_splitting import Sentence, sentences, thought
from kthink_core.store.reader import open_reader


def cut(text: str, first: int = 0) -> list[str]:
    """Sentences of a text whose tokens are words, signs and spaces, as a tokenizer has them."""
    texts = re.findall(r" ?\w+|[.!?]+\n+|\n+| |[^\w\s]", text)
    assert "".join(texts) == text
    return ["".join(texts[one.first - first : one.last + 1 - first]) for one in sentences(texts, first)]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("Okay, so. Wait, let me double-check. Yes!", ["Okay, so.", " Wait, let me double-check.", " Yes!"]),
        ("Is it 5? No! It is 6", ["Is it 5?", " No!", " It is 6"]),
        ("3.5 + 1.25 = 4.75. So 4.75 it is.", ["3.5 + 1.25 = 4.75.", " So 4.75 it is."]),
        ("First line\nSecond line\n\nThird.", ["First line\n", "Second line\n\n", "Third."]),
        ("One.\n\nTwo.\n", ["One.\n\n", "Two.\n"]),
        ("1. Cost: 20.\n2. Total: 35.\n", ["1. Cost: 20.\n", "2. Total: 35.\n"]),
        ("There are 20. He has 5.", ["There are 20.", " He has 5."]),
        ("Mr. Bean has e.g. 5 apples. Dr. No has none.", ["Mr. Bean has e.g. 5 apples.", " Dr. No has none."]),
        ("See Fig. 3 for it. No. That is wrong.", ["See Fig. 3 for it.", " No.", " That is wrong."]),
        ("At 5 p.m. he left. At 6 p.m. She came.", ["At 5 p.m. he left.", " At 6 p.m.", " She came."]),
        ("Hmm... maybe not. Hmm... But why?", ["Hmm... maybe not.", " Hmm...", " But why?"]),
        ('He said "yes." Then he left (at last.) So.', ['He said "yes."', " Then he left (at last.)", " So."]),
        ("**Step one.** Then two.", ["**Step one.**", " Then two."]),
        ("A sum:\n---\n5 + 5", ["A sum:\n", "---\n5 + 5"]),
        ("\n\nSo it begins. ...", ["\n\nSo it begins. ..."]),
        ("那么答案是五。再检查。", ["那么答案是五。", "再检查。"]),
        ("...", ["..."]),
        ("", []),
    ],
)
def test_what_is_an_end(text: str, parts: list[str]) -> None:
    assert cut(text) == parts
    assert cut(text, first=40) == parts


@given(st.lists(st.text(st.sampled_from("ab 5.!?…\n)\"'*é。"), max_size=6), max_size=40), st.integers(0, 1000))
@example(["", ""], 0)
def test_sentences_are_all_tokens_in_order(texts: list[str], first: int) -> None:
    found = sentences(texts, first)
    assert [at for one in found for at in range(one.first, one.last + 1)] == list(range(first, first + len(texts)))
    said = ["".join(texts[one.first - first : one.last + 1 - first]) for one in found]
    assert len(said) <= 1 or all(re.search(r"\w", piece) for piece in said)


def test_a_token_that_ends_one_and_begins_the_next_stays_whole() -> None:
    assert sentences(["So", ". Then", " what", "?"]) == [Sentence(0, 1), Sentence(2, 3)]


class TestThought:
    def test_closed_by_its_mark(self) -> None:
        texts = ["q", "So", ".", "</think>", "5"]
        assert thought(texts, ["prompt", "think", "think", "think", "answer"], "stop") == range(1, 3)

    def test_closed_by_several_tokens(self) -> None:
        texts = ["q", "So", ".", "</", "think", ">", "5"]
        assert thought(texts, ["prompt", "think", "think", "think", "think", "think", "answer"], "stop") == range(1, 3)

    def test_never_closed(self) -> None:
        assert thought(["q", "So", ".", "<end>"], ["prompt", "think", "think", "think"], "stop") == range(1, 3)
        assert thought(["q", "So", "."], ["prompt", "think", "think"], "length") == range(1, 3)

    def test_none(self) -> None:
        assert not thought(["q", "5"], ["prompt", "answer"], "stop")
        assert not thought(["q", "</think>", "5"], ["prompt", "think", "answer"], "stop")

    def test_of_the_demo(self, demo: Path) -> None:
        with open_reader(demo, "demo") as reader:
            for number in reader.inference_ids:
                trace = reader.inference(number)
                inside = thought(trace.texts, trace.segments, trace.finish_reason)
                found = sentences(trace.texts[inside.start : inside.stop], inside.start)
                assert [at for one in found for at in range(one.first, one.last + 1)] == list(inside)
                said = ["".join(trace.texts[one.first : one.last + 1]) for one in found]
                assert all(re.fullmatch(r"[^.?\n]+[.?]\s*", piece) for piece in said)
                assert trace.texts[inside.stop] == "</think>"
