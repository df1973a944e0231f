"""A trace gone on with from one of its positions, many times: what it answers then."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch

from kthink_core.config import Site
from kthink_core.errors import OutOfMemory
from kthink_core.model.generate import generate
from kthink_core.model.hookpoints import Captured
from kthink_core.model.language_model import LanguageModel, text_of, token_text
from kthink_core.model.out_of_memory import out_of_memory
from kthink_core.model.receipts import read_again, receipts
from kthink_core.model.sae import encode
from kthink_core.model.sampling import Sampling
from kthink_core.model.steering import Steering
from kthink_core.prompts import final_answer, segments, think_close
from kthink_core.records import Encoding, Generation, Inference, Problem, Prompt, Receipt
from kthink_core.sentence_splitting import sentences

BATCH = 128
"""Rollouts at once."""


class Rollout(NamedTuple):
    """One continuation."""

    answer: str | None
    """The final answer of what stands before the place and what was written after it, together; None, too, where it was
    cut off at the limit."""
    tokens: int
    """Written."""
    repeats: bool
    """Whether the first sentence written is the one that was asked about, but for white space and case."""
    receipts: tuple[Receipt, ...] = ()
    """Of each intervention, of what was written; that which ends first has checks, and activations after."""


def roll_out(
    lm: LanguageModel,
    site: Site,
    trace: Inference,
    at: int,
    seeds: Sequence[int],
    sampling: Sampling,
    steering: Steering | None,
    sentence: str | None,
    pause: Callable[[], None] = lambda: None,
) -> Iterator[tuple[int, Rollout]]:
    """Go on from position `at` of a trace, once with each seed, until `sampling.max_new_tokens` of the whole trace: the
    number of the seed and what came of it, as one after the other ends.

    Steering acts on what was written before `at`, too, as if the model read it again. `sentence`: what follows there in
    the trace. `pause` is called after every token; what it raises ends it. Raises OutOfMemory, HookSkipped.
    """
    before = tuple(map(int, trace.token_ids[:at]))
    written = at - trace.prompt_tokens
    left = sampling._replace(max_new_tokens=max(sampling.max_new_tokens - written, 0))
    prompts = [Prompt(row, _NO_PROBLEM, trace.mode, seed, before) for row, seed in enumerate(seeds)]
    going = {prompt.inference: prompt for prompt in prompts}
    batch, words, checked = BATCH, dict[int, str](), False
    while going:
        rows = list(going.values())[:batch]
        try:
            with out_of_memory():
                for made, captured in generate(lm, rows, left, (), site, lambda *_: pause(), steering, written):
                    one = _rollout(lm, trace, at, made, sentence, words)
                    if steering and made.token_ids:
                        one = one._replace(receipts=_receipts(lm, site, made, captured, steering, written, not checked))
                        checked = True
                    del going[made.prompt.inference]  # not before all of it is done: a check may run out of memory
                    yield made.prompt.inference, one
        except torch.OutOfMemoryError as error:
            torch.cuda.empty_cache()
            if len(rows) == 1:
                raise OutOfMemory(lm.device.type, "with one rollout at a time", "take another --device") from error
            batch = (len(rows) + 1) // 2


_NO_PROBLEM = Problem(0, "", None)


def _rollout(
    lm: LanguageModel, trace: Inference, at: int, made: Generation, sentence: str | None, words: dict[int, str]
) -> Rollout:
    token_ids, answer = made.token_ids, None
    if made.finish_reason == "stop":
        whole = [*map(int, trace.token_ids[trace.prompt_tokens : at]), *token_ids]
        answer = final_answer(text_of(lm.tokenizer, whole, special=False))
    if sentence is None:
        return Rollout(answer, len(token_ids), repeats=False)
    words |= {token_id: token_text(lm.tokenizer, token_id) for token_id in {*token_ids} - words.keys()}
    texts = [words[token_id] for token_id in token_ids]
    first = "".join(texts[: one.last + 1]) if (one := next(iter(sentences(texts)), None)) else ""
    return Rollout(answer, len(token_ids), _plain(first) == _plain(sentence))


def _receipts(
    lm: LanguageModel,
    site: Site,
    made: Generation,
    captured: Captured,
    steering: Steering,
    written: int,
    check: bool,
) -> tuple[Receipt, ...]:
    """Of what was written behind the `written` tokens that were there: those are read again in one pass, which notes
    nothing."""
    prompt, checks, encodings = made.prompt, (), dict[str, Encoding]()
    if check:
        ids, first = prompt.token_ids + made.token_ids, len(prompt.token_ids) - written
        read, checks = read_again(lm, made, captured.logprobs, site, steering, written)
        labels = segments(ids, first, prompt.mode, think_close(lm.tokenizer))
        encodings = {name: encode(steering.saes[name], vectors, labels) for name, vectors in read.vectors.items()}
    found = receipts(steering, captured.notes, encodings, len(prompt.token_ids), checks)
    return tuple(replace(one, began=None if one.began is None else one.began + written) for one in found)


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()
