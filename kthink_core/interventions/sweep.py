"""Sweeps: the same problems at the same seeds, once as they are and once at every strength of every feature.

A batch holds runs of one arm. What batches there are is fixed, so that a sweep that was interrupted goes on with just
those that one without a break would make.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch

from kthink_core.config import Site
from kthink_core.errors import OutOfMemory, PromptTooLong
from kthink_core.model.generate import generate
from kthink_core.model.hookpoints import Captured
from kthink_core.model.language_model import LanguageModel, text_of
from kthink_core.model.out_of_memory import out_of_memory
from kthink_core.model.receipts import receipts, tried
from kthink_core.model.sae import Sae, encode
from kthink_core.model.sampling import Sampling
from kthink_core.model.steering import Steering, steering
from kthink_core.prompts import final_answer, is_correct, prompt_ids, segments, think_close
from kthink_core.records import Check, Generation, Problem, Prompt, Receipt
from kthink_core.store.sweeps import Asked, Run, Sweep

BATCH = 32
"""Runs of one batch."""
GROUP = 4
"""Tokens whose coming again counts as repetition."""


class Machine(NamedTuple):
    """What writes."""

    lm: LanguageModel
    saes: Mapping[str, Sae]
    """By hookpoint."""
    site: Site


def repetition(token_ids: Sequence[int]) -> float:
    """Share of the groups of `GROUP` tokens in a row that have stood there before: 1 − different ones / all. 0 where
    there is none."""
    groups = [tuple(token_ids[first : first + GROUP]) for first in range(len(token_ids) - GROUP + 1)]
    return 1 - len(set(groups)) / len(groups) if groups else 0.0


def prompts_of(lm: LanguageModel, asked: Asked, problems: Sequence[Problem]) -> list[Prompt]:
    """All problems once, then all again with other seeds, as experiments have them. Raises PromptTooLong."""
    ids = [tuple(prompt_ids(lm.tokenizer, lm.frames, problem.question, asked.mode)) for problem in problems]
    for problem, own in zip(problems, ids, strict=True):
        if len(own) + asked.max_new_tokens > lm.context:
            raise PromptTooLong(problem.problem, len(own), asked.max_new_tokens, lm.context)
    return [
        Prompt(sample * len(problems) + at, problem, asked.mode, asked.seed_of(problem.problem, sample), ids[at])
        for sample in range(asked.samples)
        for at, problem in enumerate(problems)
    ]


def run_sweep(
    machine: Machine,
    sweep: Sweep,
    problems: Sequence[Problem],
    batch_size: int = BATCH,
    pause: Callable[[], None] = lambda: None,
) -> Iterator[Sweep]:
    """Make the runs that a sweep lacks; the sweep so far after each batch. `problems`: those that its digest is of.

    `pause` is called between two forward passes; what it raises ends the sweep. Raises PromptTooLong, UnknownName,
    BadValue, HookSkipped, OutOfMemory.
    """
    prompts = prompts_of(machine.lm, sweep.asked, problems)
    ways = [steering([arm.intervention] if arm.intervention else [], machine.saes) for arm in sweep.arms]
    done = {run.key for run in sweep.runs}
    for number, steered in enumerate(ways):
        waiting = deque(prompts[first : first + batch_size] for first in range(0, len(prompts), batch_size))
        while waiting:
            batch = [prompt for prompt in waiting.popleft() if (number, *_place(prompt, problems)) not in done]
            if not batch:
                continue
            try:
                with out_of_memory():
                    runs = _runs(machine, sweep, number, batch, problems, steered, pause)
            except torch.OutOfMemoryError as error:
                if len(batch) == 1:
                    raise OutOfMemory(machine.lm.device.type, "with a batch of one", "take another --device") from error
                torch.cuda.empty_cache()
                half = len(batch) // 2
                waiting.extendleft([batch[half:], batch[:half]])
                continue
            together = (*sweep.runs, *runs)
            sweep = sweep.model_copy(update={"runs": together, "complete": len(together) == sweep.of})
            yield sweep


def _place(prompt: Prompt, problems: Sequence[Problem]) -> tuple[int, int]:
    """Index of its problem in the sweep, and its sample."""
    sample, at = divmod(prompt.inference, len(problems))
    return at, sample


def _runs(
    machine: Machine,
    sweep: Sweep,
    arm: int,
    batch: Sequence[Prompt],
    problems: Sequence[Problem],
    steered: Steering | None,
    pause: Callable[[], None],
) -> list[Run]:
    """By problem within sample, as the batch. What steering did is checked on the first that ends."""
    asked = sweep.asked
    sampling = Sampling(asked.temperature, asked.top_p, asked.max_new_tokens)
    hookpoints = steered.hookpoints if steered else ()
    found: dict[int, Run] = {}
    made = generate(machine.lm, batch, sampling, hookpoints, machine.site, lambda step, rows: pause(), steered)
    for generation, captured in made:
        receipt = None
        if steered:
            checks = () if found else tried(machine.lm, generation, captured.logprobs, machine.site, steered)
            receipt = _receipt(machine, steered, generation, captured, checks)
        found[generation.prompt.inference] = _run(machine.lm, sweep, arm, generation, problems, receipt)
    return [found[prompt.inference] for prompt in batch]


def _run(
    lm: LanguageModel,
    sweep: Sweep,
    arm: int,
    generation: Generation,
    problems: Sequence[Problem],
    receipt: Receipt | None,
) -> Run:
    prompt, written = generation.prompt, generation.token_ids
    problem, sample = _place(prompt, problems)
    answer = final_answer(text_of(lm.tokenizer, written, special=False))
    close = tuple(think_close(lm.tokenizer))
    return Run(
        arm=arm,
        problem=problem,
        sample=sample,
        seed=prompt.seed,
        tokens=len(written),
        finish_reason=generation.finish_reason,
        closed=_holds(written, close) if prompt.mode == "think" else None,
        repetition=repetition(written),
        answer=answer and answer[:1000],
        correct=is_correct(answer, prompt.problem.reference, sweep.asked.grade),
        text=text_of(lm.tokenizer, written)[: sweep.longest_text],
        receipt=receipt,
    )


def _holds(token_ids: Sequence[int], wanted: tuple[int, ...]) -> bool:
    return any(tuple(token_ids[first : first + len(wanted)]) == wanted for first in range(len(token_ids)))


def _receipt(
    machine: Machine, steered: Steering, generation: Generation, captured: Captured, checks: tuple[Check, ...]
) -> Receipt:
    prompt = generation.prompt
    token_ids = prompt.token_ids + generation.token_ids
    labels = segments(token_ids, len(prompt.token_ids), prompt.mode, think_close(machine.lm.tokenizer))
    encodings = {
        hookpoint: encode(machine.saes[hookpoint], vectors, labels) for hookpoint, vectors in captured.vectors.items()
    }
    (receipt,) = receipts(steered, captured.notes, encodings, len(prompt.token_ids), checks)
    return receipt
