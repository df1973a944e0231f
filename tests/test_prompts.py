"""Prompts, segments, final answers: checked against the article's texts and plain recomputation."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kthink_core.model.language_model import LanguageModel
from kthink_core.prompts import (
    BYPASS,
    INSTRUCTION,
    Mode,
    Segmenter,
    final_answer,
    is_correct,
    prompt_ids,
    segments,
    spelled_ids,
    typed_prompt,
)

QUESTION = "Natalia sold 48 clips in April and half as many in May. How many in all?"


def test_think_prompt_is_the_articles(bundle: LanguageModel) -> None:
    text = bundle.tokenizer.decode(prompt_ids(bundle.tokenizer, bundle.frames, QUESTION, "think"))
    assert text == f"<｜begin▁of▁sentence｜><｜User｜>{QUESTION}{INSTRUCTION}<｜Assistant｜><think>\n"


def test_bypass_prompt_is_the_articles(bundle: LanguageModel) -> None:
    ids = prompt_ids(bundle.tokenizer, bundle.frames, QUESTION, "bypass")
    assert bundle.tokenizer.decode(ids) == f"<｜begin▁of▁sentence｜><｜User｜>{QUESTION}{BYPASS}"
    assert ids.count(bundle.tokenizer.convert_tokens_to_ids("<｜Assistant｜>")) == 1, "one token, not its letters"


tokens = st.integers(0, 2)


@pytest.mark.parametrize("mode", ["think", "bypass"])
@pytest.mark.parametrize("text", [QUESTION, "a</think>b", "</think>", "Two</think></think>?"])
@pytest.mark.parametrize("special", [False, True])
def test_a_typed_prompt_is_sent_as_a_stored_one(bundle: LanguageModel, text: str, mode: Mode, special: bool) -> None:
    """Its frame, the text, and which tokens are of the text; special tokens only where they are meant."""
    tokenizer = bundle.tokenizer
    sent = typed_prompt(tokenizer, bundle.frames, text, mode, special=special)
    whole = tokenizer.decode(prompt_ids(tokenizer, bundle.frames, text, mode))
    assert tokenizer.decode(sent.token_ids) == whole
    before = len(bundle.frames[mode].before)
    mine = [token_id for token_id, typed in zip(sent.token_ids, sent.typed, strict=True) if typed]
    ahead = sent.token_ids[: sent.typed.index(True)]
    assert tokenizer.decode(ahead) == whole[:before]
    assert tokenizer.decode(mine).startswith(text) if special else tokenizer.decode(mine) == text
    close = tokenizer.convert_tokens_to_ids("</think>")
    assert mine.count(close) == (text.count("</think>") if special else 0)
    if special or "</think>" not in text:
        assert sent.token_ids == prompt_ids(tokenizer, bundle.frames, text, mode)


def test_by_itself_a_typed_prompt_cannot_fake_the_template(bundle: LanguageModel) -> None:
    ids = typed_prompt(bundle.tokenizer, bundle.frames, "</think>", "think").token_ids
    assert bundle.tokenizer.convert_tokens_to_ids("</think>") not in ids


def test_the_instruction_can_be_left_out_where_the_model_thinks(bundle: LanguageModel) -> None:
    def sent(mode: Mode, instruction: bool) -> str:
        prompt = typed_prompt(bundle.tokenizer, bundle.frames, QUESTION, mode, instruction=instruction)
        return bundle.tokenizer.decode(prompt.token_ids)

    assert INSTRUCTION in sent("think", True) and INSTRUCTION not in sent("think", False)
    assert QUESTION in sent("think", False) and sent("think", False).endswith("<think>\n")
    assert sent("bypass", True) == sent("bypass", False) and sent("bypass", True).endswith(BYPASS)


@given(st.lists(st.sampled_from(["</think>", "<｜Assistant｜>", "x", " two", "<think>"]), max_size=8))
def test_what_is_spelled_out_names_no_special_token(bundle: LanguageModel, parts: list[str]) -> None:
    ids = spelled_ids(bundle.tokenizer, "".join(parts))
    assert bundle.tokenizer.decode(ids) == "".join(parts)
    assert not set(ids) & set(bundle.tokenizer.added_tokens_decoder)


@given(st.lists(tokens, max_size=5), st.lists(tokens, max_size=30), st.lists(tokens, min_size=1, max_size=4))
def test_think_ends_with_the_first_close(prompt: list[int], generated: list[int], close: list[int]) -> None:
    """Also where `</think>` is several tokens, some of them alike; told at once, and token by token."""
    text, end = ("".join(map(str, ids)) for ids in (generated, close))
    split = text.index(end) + len(close) if end in text else len(text)
    wanted = ("think",) * split + ("answer",) * (len(text) - split)
    assert segments([*prompt, *generated], len(prompt), "think", close) == ("prompt",) * len(prompt) + wanted
    segmenter = Segmenter("think", close)
    assert tuple(segmenter.next(token_id) for token_id in generated) == wanted


def test_one_token_may_follow_the_close() -> None:
    assert segments([1, 7, 8, 2], 1, "think", [7, 8]) == ("prompt", "think", "think", "answer")


def test_bypass_is_all_answer() -> None:
    assert segments([1, 2, 3], 1, "bypass", [9]) == ("prompt", "answer", "answer")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"so \boxed{12}.", "12"),
        (r"\boxed{1} then \boxed{ 2 }", "2"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{4} and cut: \boxed{5", "4"),
        (r"\boxed{}", ""),
        ("no box {3}", None),
        ("", None),
    ],
)
def test_final_answer(text: str, answer: str | None) -> None:
    assert final_answer(text) == answer


@pytest.mark.parametrize(
    ("answer", "reference", "verdict"),
    [
        ("1,000", "1000", True),
        ("$10.00", "10", True),
        (r"\$1{,}234.50", "1234.5", True),
        (r"\text{18 apples}", "18", True),
        (r"\frac{3}{4}", "0.75", True),
        ("-5", "5", False),
        ("3 and 4", "34", False),
        ("1/0", "1", False),
        (None, "7", False),
        ("", "7", False),
        ("Monday", "monday", True),
        ("Monday", "7", False),
        ("7", None, None),
        (None, None, None),
    ],
)
def test_is_correct(answer: str | None, reference: str | None, verdict: bool | None) -> None:
    assert is_correct(answer, reference) is verdict


def test_a_number_of_thousands_of_digits_is_a_text() -> None:
    long = "9" * 5000
    assert is_correct(long, long) is True
    assert is_correct(f"{long[1:]} 9", long) is True
    assert is_correct(long, "9") is False
    assert is_correct("9", long) is False
    for text in (f"1/{long}", f"0.{long}", f"\\frac{{{long}}}{{7}}", f"1{',000' * 2000}"):
        assert is_correct(text, "41") is False
    assert is_correct("9" * 200 + ".0", "9" * 200) is True


@given(st.integers(-(10**9), 10**9), st.integers(0, 99))
def test_numbers_are_compared_as_numbers(whole: int, cents: int) -> None:
    assert is_correct(f"${whole:,}.{cents:02}".replace("$-", "-$"), f"{whole}.{cents:02}0") is True


@given(st.text())
def test_any_text_is_judged(text: str) -> None:
    answer = final_answer(text)
    assert answer is None or re.search(r"\\boxed\{", text)
    assert is_correct(text, "41") in (True, False)
