"""A text that somebody pasted, as far as it is a trace: what is prompt, thought and answer, and what is stored."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import accumulate

import numpy as np

from kthink_core import signs
from kthink_core.model.language_model import LanguageModel, text_of
from kthink_core.model.likeliest import Likeliest
from kthink_core.precompute.assembly import assemble
from kthink_core.prompts import BYPASS, THINK_CLOSE, THINK_OPEN, Segment, final_answer
from kthink_core.records import Encoding, Generation, Given, Inference, Problem, Prompt

_BYPASSED = BYPASS[BYPASS.index(THINK_OPEN) :]
_OPENS = re.compile(re.escape(THINK_OPEN) + r"\n?")


def pasted_segments(texts: Sequence[str]) -> tuple[Segment, ...]:
    """The segment of every token of a text, of the tokens' own texts; bytes that are no UTF-8 as they are stored.

    As in a generation, the prompt goes up to and with the first `<think>` and the line break behind it, or the empty
    thought that bypass mode writes; the thought up to and with the next `</think>`, be it the text's end; the answer
    follows. A text that only closes a thought begins in it. Without a mark of a thought all is prompt.
    """
    whole = signs.whole(texts)
    text = "".join(whole)
    opened = _OPENS.search(text)
    first = opened.end() if opened else 0
    closed = text.find(THINK_CLOSE, first)
    if not opened and closed < 0:
        return ("prompt",) * len(texts)
    end = closed + len(THINK_CLOSE) if closed >= 0 else len(text)
    if opened and text[opened.start() : end] == _BYPASSED:
        first = end
    starts = accumulate((len(part) for part in whole[:-1]), initial=0)
    return tuple("prompt" if start < first else "think" if start < end else "answer" for start in starts)


def pasted_inference(
    lm: LanguageModel,
    token_ids: Sequence[int],
    segments: tuple[Segment, ...],
    logprobs: Sequence[float | None],
    encodings: dict[str, Encoding],
    others: Likeliest | None,
) -> Inference | None:
    """What is stored of a pasted trace; None where it has nothing but a prompt. `others`: what else might have stood
    there, from position 1 on."""
    given = segments.count("prompt")
    if given == len(segments):
        return None
    asked, written = tuple(token_ids[:given]), tuple(token_ids[given:])
    answer = final_answer(text_of(lm.tokenizer, written, special=False))
    question = text_of(lm.tokenizer, asked, special=False).strip()
    question = question.removesuffix(THINK_CLOSE).rstrip().removesuffix(THINK_OPEN).strip()
    prompt = Prompt(0, Problem(0, question, None), "think" if "think" in segments else "bypass", 0, asked)
    told = Given(segments, answer, None)
    found = Generation(prompt, written, "stop" if segments[-1] == "answer" else "length", told)
    own = np.array(logprobs, np.float32)  # None becomes NaN
    own[:given] = np.nan  # as a generation has it
    behind = others and Likeliest(*(values[max(given - 1, 0) :] for values in others))
    return assemble(lm, found, segments, own, encodings, others=behind)
