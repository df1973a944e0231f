"""What passed a model, encoded and put together as the inference that is stored."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kthink_core.model import receipts as told
from kthink_core.model.hookpoints import Captured
from kthink_core.model.language_model import LanguageModel, text_of, token_text
from kthink_core.model.likeliest import Likeliest
from kthink_core.model.sae import LoadedSaes, encode
from kthink_core.model.steering import Steering
from kthink_core.prompts import Grade, Segment, final_answer, is_correct, segments, think_close
from kthink_core.records import Encoding, Generation, Inference, Intervention, Receipt


def encoded(
    lm: LanguageModel,
    saes: LoadedSaes,
    steering: Steering | None,
    generation: Generation,
    captured: Captured,
    grade: Grade = "number",
) -> Inference:
    """A generation with the latents of its captured vectors, and what was done while it came about."""
    prompt, given = generation.prompt, generation.given
    prompted, token_ids = len(prompt.token_ids), prompt.token_ids + generation.token_ids
    labels = given.segments if given else segments(token_ids, prompted, prompt.mode, think_close(lm.tokenizer))
    encodings = {
        hookpoint: encode(sae, captured.vectors[hookpoint], labels) for hookpoint, sae in saes.by_hookpoint.items()
    }
    logprobs = captured.logprobs.numpy()
    others = captured.likeliest
    if steering is None:
        return assemble(lm, generation, labels, logprobs, encodings, grade=grade, others=others)
    found = told.receipts(steering, captured.notes, encodings, prompted, captured.checks)
    return assemble(lm, generation, labels, logprobs, encodings, steering.interventions, found, grade, others)


def assemble(
    lm: LanguageModel,
    generation: Generation,
    labels: tuple[Segment, ...],
    logprobs: NDArray[np.float32],
    encodings: dict[str, Encoding],
    interventions: tuple[Intervention, ...] = (),
    receipts: tuple[Receipt, ...] = (),
    grade: Grade = "number",
    others: Likeliest | None = None,
) -> Inference:
    """Put together what is stored of one inference. `labels` are the segments, [positions] as `logprobs`; `others`
    what else might have stood there, [generated]."""
    prompt, token_ids = generation.prompt, generation.prompt.token_ids + generation.token_ids
    if not prompt.token_ids:
        others = None  # the very first token follows nothing
    named = set(token_ids) | (others.distinct() if others else set())
    texts = {token_id: token_text(lm.tokenizer, token_id) for token_id in named}
    if generation.given is None:
        answer = final_answer(text_of(lm.tokenizer, generation.token_ids, special=False))
        correct, tags = is_correct(answer, prompt.problem.reference, grade), ()
    else:
        _, answer, correct, tags = generation.given
    return Inference(
        inference=prompt.inference,
        problem=prompt.problem.problem,
        question=prompt.problem.question,
        prompt=text_of(lm.tokenizer, prompt.token_ids),
        mode=prompt.mode,
        seed=prompt.seed,
        prompt_tokens=len(prompt.token_ids),
        finish_reason=generation.finish_reason,
        answer=answer,
        reference=prompt.problem.reference,
        correct=correct,
        token_ids=np.array(token_ids, dtype=np.int32),
        texts=tuple(texts[token_id] for token_id in token_ids),
        segments=labels,
        logprobs=logprobs,
        encodings=encodings,
        interventions=interventions,
        receipts=receipts,
        tags=tags,
        alternatives=others and others.told(texts),
    )
