"""Generation on a tiny random model: batching changes nothing, seeds are each inference's own, ends are honoured."""

from __future__ import annotations

import pytest
import torch

from kthink_core.generate import generate
from kthink_core.model import LanguageModel
from kthink_core.records import Problem, Prompt
from kthink_core.sampling import Sampling


def prompt(inference: int, length: int) -> Prompt:
    ids = tuple((inference * 31 + offset * 7) % 200 + 10 for offset in range(length))
    return Prompt(inference, Problem(inference, "q", None), "think", 100 + inference, ids)


PROMPTS = [prompt(index, length) for index, length in enumerate((3, 17, 9, 1))]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_row_does_not_depend_on_its_batch(tiny_lm: LanguageModel, temperature: float) -> None:
    sampling = Sampling(temperature, 0.95, 24)
    together = generate(tiny_lm, PROMPTS, sampling)
    assert [generation.prompt for generation in together] == PROMPTS
    for one, generation in zip(PROMPTS, together, strict=True):
        assert generate(tiny_lm, [one], sampling) == [generation]


def test_greedy_is_what_a_full_forward_pass_would_pick(tiny_lm: LanguageModel) -> None:
    generation = generate(tiny_lm, PROMPTS, Sampling(0, 1, 12))[1]
    ids = list(PROMPTS[1].token_ids)
    for token_id in generation.token_ids:
        assert int(tiny_lm.model(torch.tensor([ids])).logits[0, -1].argmax()) == token_id
        ids.append(token_id)


def test_stops_at_an_end_token_and_only_there(tiny_lm: LanguageModel) -> None:
    plain = generate(tiny_lm, PROMPTS, Sampling(1, 1, 30))
    stop = plain[2].token_ids[10]
    stopping = generate(tiny_lm._replace(stop_ids=torch.tensor([stop])), PROMPTS, Sampling(1, 1, 30))
    assert stopping[2].finish_reason == "stop"
    for before, after in zip(plain, stopping, strict=True):
        cut = before.token_ids.index(stop) + 1 if stop in before.token_ids else 30
        assert after.token_ids == before.token_ids[:cut]
        assert after.finish_reason == ("stop" if stop in before.token_ids else "length")


def test_seed_decides(tiny_lm: LanguageModel) -> None:
    other = PROMPTS[1]._replace(seed=7)
    sampling = Sampling(1, 1, 20)
    first, again, differing = (generate(tiny_lm, [p], sampling)[0].token_ids for p in (PROMPTS[1], PROMPTS[1], other))
    assert first == again != differing


def test_what_on_step_raises_ends_the_generation(tiny_lm: LanguageModel) -> None:
    heard: list[tuple[int, int]] = []

    def stop_at_three(step: int, rows: int) -> None:
        heard.append((step, rows))
        if step == 3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        generate(tiny_lm, PROMPTS, Sampling(1, 1, 20), stop_at_three)
    assert heard == [(1, 4), (2, 4), (3, 4)]
