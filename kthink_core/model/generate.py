"""Prompts become tokens and captured vectors: one batch at a time, each row with its own seed and its own end.

steps      one forward pass of the model after another, as they come: what a live view follows
generate   the same gathered into whole generations: what is stored
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import DynamicCache

from kthink_core.config import Site
from kthink_core.model.hookpoints import Captured, Edit, passing
from kthink_core.model.kv_cache import Growing, growing_cache
from kthink_core.model.language_model import LanguageModel
from kthink_core.model.likeliest import GrowingLikeliest, Likeliest, likeliest
from kthink_core.model.onset import Onset
from kthink_core.model.sampling import Sampling, draw, uniform_table
from kthink_core.model.steering import Notes, Steering
from kthink_core.records import FinishReason, Generation, Prompt


class Step(NamedTuple):
    """One forward pass. The first takes the prompts, each further one the token drawn last, a row's last too."""

    prompts: list[int]
    """[rows] index of the prompt that a row answers; a row that has ended is gone from the next step on."""
    token_ids: list[int]
    """[rows] the token that passed; empty in the first step."""
    logprobs: list[float]
    """[rows] its natural log-probability under the model (temperature 1, no filter); empty in the first step."""
    likeliest: Likeliest | None
    """[rows, …] what else might have been drawn; None in the first step."""
    vectors: dict[str, Tensor]
    """By hookpoint, [rows, positions that passed, width]; in the first step a row's padding comes first."""
    notes: Notes
    """What was done to them, [rows, positions that passed, …]; in the first step to what was written `earlier`."""
    ended: dict[int, FinishReason]
    """The rows whose last token this was, and why."""


@torch.inference_mode()
def steps(
    lm: LanguageModel,
    prompts: Sequence[Prompt],
    sampling: Sampling,
    hookpoints: Sequence[str],
    site: Site,
    steering: Steering | None = None,
    earlier: int = 0,
) -> Iterator[Step]:
    """Run until every row has drawn an end token or `max_new_tokens`. Prompts are padded on the left; where all are the
    same, it passes once.

    Rows that end leave the batch, so that the rest goes on cheaper. Close the iterator to stop early. Vectors are those
    that went on, after `steering`. `earlier`: so many last tokens of every prompt are what the model wrote before:
    `steering` acts on them, too. Raises HookSkipped.
    """
    uniforms = uniform_table([prompt.seed for prompt in prompts], sampling.max_new_tokens).to(lm.device)
    stops = set(lm.stop_ids.tolist())
    shared = len(prompts) > 1 and len({prompt.token_ids for prompt in prompts}) == 1
    tokens, mask = _left_padded(prompts[:1] if shared else prompts, lm.device)
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    longest = mask.shape[1]
    mask = pad(mask, (0, sampling.max_new_tokens), value=1)
    cache = growing_cache(lm.model.config)
    onset = Onset(steering, len(tokens), lm.device) if steering else None
    seen = list(dict.fromkeys((*hookpoints, *(steering.watched if steering else ()))))
    alive = list(range(len(prompts)))
    token_ids: list[int] = []
    logprobs: list[float] = []
    others: Likeliest | None = None
    for step in range(sampling.max_new_tokens + 1):
        padded = any(len(prompts[index].token_ids) < longest for index in alive)
        visible = mask[:, : longest + step] if padded else None  # transformers would look at all of it to know
        notes: Notes = {}
        if step:
            number = step - 1 + earlier
            edits = onset.edits(number, notes) if onset else None
            logits, captured = _passed(lm, tokens, visible, positions, cache, seen, site, edits)
            if onset:
                onset.see(captured, torch.full_like(tokens, number))
        else:
            numbers = torch.arange(earlier - longest, earlier, device=lm.device).expand_as(tokens)
            while True:
                notes.clear()
                edits = onset.edits(numbers, notes) if onset and earlier else None  # prompts stay as they are
                logits, captured = _passed(lm, tokens, visible, positions, cache, seen, site, edits)
                if not onset or not earlier or onset.settled(captured, numbers):
                    break
                cache = growing_cache(lm.model.config)
            if shared:
                rows = torch.zeros(len(prompts), dtype=torch.int64, device=lm.device)
                cache.batch_select_indices(rows)
                logits, mask, positions = logits[rows], mask[rows], positions[rows]
                captured = {name: vectors.expand(len(prompts), -1, -1) for name, vectors in captured.items()}
                notes = {name: noted.expand(len(prompts), -1, -1) for name, noted in notes.items()}
                if onset:
                    onset.select(rows)
        ended: dict[int, FinishReason] = {row: "stop" for row, token_id in enumerate(token_ids) if token_id in stops}
        if step == sampling.max_new_tokens:
            ended = {row: ended.get(row, "length") for row in range(len(alive))}
        yield Step(alive, token_ids, logprobs, others, {name: captured[name] for name in hookpoints}, notes, ended)
        if ended:
            going = [row for row in range(len(alive)) if row not in ended]
            if not going:
                return
            rows = torch.tensor(going, device=lm.device)
            cache.batch_select_indices(rows)
            logits, mask, positions = logits[rows], mask[rows], positions[rows]
            if onset:
                onset.select(rows)
            alive = [alive[row] for row in going]
        drawn = draw(logits, uniforms[alive, step], sampling)
        chances = logits.float().log_softmax(-1)
        others = likeliest(chances)
        token_ids, logprobs = drawn.tolist(), chances.gather(-1, drawn[:, None]).squeeze(-1).tolist()
        tokens = drawn[:, None]
        positions = positions[:, -1:] + 1


def _passed(
    lm: LanguageModel,
    tokens: Tensor,
    visible: Tensor | None,
    positions: Tensor,
    cache: DynamicCache,
    seen: Sequence[str],
    site: Site,
    edits: Mapping[str, Edit] | None,
) -> tuple[Tensor, Mapping[str, Tensor]]:
    """One forward pass over `tokens` [rows, positions]: the last logits, [rows, vocabulary], and what was captured."""
    with passing(lm.model, seen, site, edits) as captured:
        logits = lm.model(
            input_ids=tokens,
            attention_mask=visible,
            position_ids=positions,
            past_key_values=cache,
            logits_to_keep=1,
        ).logits[:, -1]
    return logits, captured


@torch.inference_mode()
def generate(
    lm: LanguageModel,
    prompts: Sequence[Prompt],
    sampling: Sampling,
    hookpoints: Sequence[str],
    site: Site,
    on_step: Callable[[int, int], None] = lambda step, rows: None,
    steering: Steering | None = None,
    earlier: int = 0,
) -> Iterator[tuple[Generation, Captured]]:
    """One generation a prompt, as soon as it is whole: at an end token, or after `max_new_tokens`. Its vectors are its
    own: they keep no buffer of the batch.

    `on_step` hears after every token its number, from 1, and how many rows got one; what it raises ends the generation.
    `earlier`: as `steps`.
    """
    longest = max(len(prompt.token_ids) for prompt in prompts)
    seen = {hookpoint: Growing() for hookpoint in hookpoints}
    noted = {done.hookpoint: Growing() for done in steering.interventions} if steering else {}
    others = GrowingLikeliest()
    written: list[list[int]] = [[] for _ in prompts]
    logprobs: list[list[float]] = [[] for _ in prompts]
    for number, step in enumerate(steps(lm, prompts, sampling, hookpoints, site, steering, earlier)):
        for hookpoint, vectors in step.vectors.items():
            seen[hookpoint].append(vectors)
        for hookpoint, growing in noted.items():
            if steering and number:
                growing.append(notes_of(step, hookpoint, steering))
        for index, token_id, logprob in zip(step.prompts, step.token_ids, step.logprobs, strict=bool(number)):
            written[index].append(token_id)
            logprobs[index].append(logprob)
        if step.likeliest:
            others.append(step.likeliest)
        if number:
            on_step(number, len(step.prompts))
        for row, reason in step.ended.items():
            index = step.prompts[row]
            prompt = prompts[index]
            padding = longest - len(prompt.token_ids)
            yield (
                Generation(prompt, tuple(written[index]), reason),
                Captured(
                    {hookpoint: growing.values[row, padding:].clone() for hookpoint, growing in seen.items()},
                    torch.tensor([torch.nan] * len(prompt.token_ids) + logprobs[index]),
                    {hookpoint: growing.values[row].clone() for hookpoint, growing in noted.items() if number},
                    likeliest=others.of(row) if step.likeliest else None,
                ),
            )
        going = [row for row in range(len(step.prompts)) if row not in step.ended]
        if step.ended and going:
            rows = torch.tensor(going, device=lm.device)
            for growing in (*seen.values(), *noted.values(), *([others] if step.likeliest else [])):
                growing.select(rows)


def notes_of(step: Step, hookpoint: str, steering: Steering, positions: int = 1) -> Tensor:
    """What a step noted of a hookpoint at its last positions: [rows, positions, …], zeros where nothing has begun."""
    if hookpoint in step.notes:
        return step.notes[hookpoint][:, -positions:]
    device = steering.saes[hookpoint].W_dec.device
    return torch.zeros(len(step.prompts), positions, 1 + 3 * len(steering.numbers_of(hookpoint)), device=device)


def _left_padded(prompts: Sequence[Prompt], device: torch.device) -> tuple[Tensor, Tensor]:
    """Token ids and mask, both [prompts, longest]; the mask is 0 on the padding."""
    longest = max(len(prompt.token_ids) for prompt in prompts)
    padding = [longest - len(prompt.token_ids) for prompt in prompts]
    ids = [[0] * empty + list(prompt.token_ids) for empty, prompt in zip(padding, prompts, strict=True)]
    mask = [[0] * empty + [1] * (longest - empty) for empty in padding]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)
