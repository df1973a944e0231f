"""The demo's generator: steps that add up, varied traces, a tokenizer that keeps reasoning words whole."""

from __future__ import annotations

import json
import operator
import re
from itertools import islice

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from bundle.phrases import REASONING_WORDS
from bundle.traces import Example, make_example
from bundle.word_problems import DEMO, TRAINING_SEED, calculation, held_out_problems, make_problem, training_problems
from kthink_core.demo import MODEL, PROBLEMS
from kthink_core.model.chat_template import frames
from kthink_core.prompts import prompt_ids

OPERATORS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}
SAMPLE = list(islice(training_problems(), 1300))
EXAMPLES = [make_example(problem, TRAINING_SEED, index) for index, problem in SAMPLE]
THINKING = [
    (problem, example) for (_, problem), example in zip(SAMPLE, EXAMPLES, strict=True) if example.mode == "think"
]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(MODEL)


def numbers_of(text: str) -> set[int]:
    return {int(number) for number in re.findall(r"\d+", text)}


def test_a_problem_depends_on_seed_and_index_only() -> None:
    assert [make_problem(5, index) for index in (3, 4)] == [make_problem(5, index) for index in (4, 3)][::-1]
    assert make_problem(5, 3) != make_problem(6, 3)
    index, problem = SAMPLE[0]
    assert make_example(problem, 1, index) == make_example(problem, 1, index)


def test_steps_follow_from_the_question_and_from_each_other() -> None:
    """Each result is right, and each operand is in the question, is an earlier result, or belongs to the kind."""
    known = {"fence": {2}, "farm": {2, 4}, "comparison": {2, 3}}
    for _, problem in SAMPLE:
        at_hand = numbers_of(problem.question) | known.get(problem.kind, set())
        for step in problem.steps:
            assert OPERATORS[step.operator](step.left, step.right) == step.result > 0, problem
            assert {step.left, step.right} <= at_hand, problem
            at_hand.add(step.result)


def test_kinds_and_steps_are_varied() -> None:
    assert len({problem.kind for _, problem in SAMPLE}) >= 8
    assert {len(problem.steps) for _, problem in SAMPLE} == {2, 3, 4}
    shapes = {re.sub(r"\d+", "#", problem.question) for _, problem in SAMPLE}
    assert len(shapes) > 0.8 * len(SAMPLE)


def test_traces_think_once_and_box_the_right_answer() -> None:
    for (_, problem), example in zip(SAMPLE, EXAMPLES, strict=True):
        assert re.findall(r"\\boxed\{(\d+)\}", example.completion) == [str(problem.answer)]
        assert "<think>" not in example.completion
        if example.mode == "think":
            assert example.completion.count("</think>") == 1
            assert example.completion[0].isupper()
        else:
            assert "</think>" not in example.completion
            assert example.completion.startswith("\n\n1. ")
    assert 0.15 < sum(example.mode == "bypass" for example in EXAMPLES) / len(EXAMPLES) < 0.21


def test_traces_are_not_copies_of_one_template() -> None:
    thoughts = {re.sub(r"\d+", "#", example.completion.split("</think>")[0]) for _, example in THINKING}
    assert len(thoughts) == len(THINKING)
    starters = {re.split(r"[ ,.]", example.completion, maxsplit=1)[0] for _, example in THINKING}
    assert len(starters) >= 8


def test_training_never_sees_a_held_out_calculation() -> None:
    held_out = {calculation(problem) for problem in held_out_problems()}
    assert not held_out & {calculation(problem) for _, problem in SAMPLE}


def test_the_bundled_problems_are_the_first_held_out_ones() -> None:
    with PROBLEMS.open(encoding="utf-8") as file:
        bundled = [json.loads(line) for line in file]
    expected = held_out_problems()[:DEMO]
    assert [(row["question"], row["answer"]) for row in bundled] == [(p.question, str(p.answer)) for p in expected]
    assert len({row["kind"] for row in bundled}) >= 8


def test_traces_have_80_to_300_tokens(tokenizer: PreTrainedTokenizerBase) -> None:
    lengths = [len(tokenizer.encode(example.completion)) + 1 for _, example in THINKING]
    assert 80 <= min(lengths) <= max(lengths) <= 300


def test_the_tokenizer_takes_any_text_and_gives_it_back(tokenizer: PreTrainedTokenizerBase) -> None:
    for text in ("12 * 7 = 84", "naïve – 日本語 🙂\t\x00\n\n  x", *(example.completion for example in EXAMPLES[:50])):
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text
        assert tokenizer.bos_token_id not in ids
    assert len(tokenizer.encode("2048")) == 4


def test_reasoning_words_are_single_tokens(tokenizer: PreTrainedTokenizerBase) -> None:
    for word in REASONING_WORDS:
        for spelling in (word, word.lower(), f" {word}", f" {word.lower()}"):
            assert len(tokenizer.encode(spelling)) == 1, spelling


def test_special_tokens_are_deepseeks(tokenizer: PreTrainedTokenizerBase) -> None:
    special = set(tokenizer.all_special_tokens)
    assert {tokenizer.bos_token, tokenizer.eos_token} == {"<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"}
    assert tokenizer.pad_token != tokenizer.eos_token
    for thought in ("<think>", "</think>"):
        assert len(tokenizer.encode(thought)) == 1
        assert thought not in special
        assert tokenizer.decode(tokenizer.encode(thought), skip_special_tokens=True) == thought


def test_prompts_render_as_in_the_real_model(tokenizer: PreTrainedTokenizerBase) -> None:
    example = Example("How many?", "think", "")
    chats = frames(str(tokenizer.chat_template), tokenizer.special_tokens_map)
    think = tokenizer.decode(prompt_ids(tokenizer, chats, example.question, "think"))
    assert think.startswith("<｜begin▁of▁sentence｜><｜User｜>How many? Please reason step by step")
    assert think.endswith("\\boxed{}<｜Assistant｜><think>\n")
    bypass = tokenizer.decode(prompt_ids(tokenizer, chats, example.question, "bypass"))
    assert bypass == "<｜begin▁of▁sentence｜><｜User｜>How many?<｜Assistant｜><think>\n\n</think>"
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "1+1?"},
        {"role": "assistant", "content": "2"},
    ]
    text = tokenizer.apply_chat_template(turns, tokenize=False)
    assert text == "<｜begin▁of▁sentence｜>Be brief.<｜User｜>1+1?<｜Assistant｜>2<｜end▁of▁sentence｜>"
