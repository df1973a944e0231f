"""Generation on a tiny random model: batching changes nothing, seeds are each inference's own, ends are honoured."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kthink_core.model.generate import generate
from kthink_core.model.hookpoints import Captured
from kthink_core.model.kv_cache import Growing
from kthink_core.model.language_model import LanguageModel
from kthink_core.model.replay import replay
from kthink_core.model.sampling import Sampling
from kthink_core.records import Generation, Problem, Prompt


def prompt(inference: int, length: int) -> Prompt:
    ids = tuple((inference * 31 + offset * 7) % 200 + 10 for offset in range(length))
    return Prompt(inference, Problem(inference, "q", None), "think", 100 + inference, ids)


PROMPTS = [prompt(index, length) for index, length in enumerate((3, 17, 9, 1))]
HOOKPOINTS = ("layers.1.mlp", "layers.3.mlp")


def generations(lm: LanguageModel, prompts: list[Prompt], sampling: Sampling) -> list[Generation]:
    return sorted(one for one, _ in generate(lm, prompts, sampling, HOOKPOINTS, "hookpoint"))


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_row_does_not_depend_on_its_batch(tiny_lm: LanguageModel, temperature: float) -> None:
    sampling = Sampling(temperature, 0.95, 24)
    together = generations(tiny_lm, PROMPTS, sampling)
    assert [generation.prompt for generation in together] == PROMPTS
    for one, generation in zip(PROMPTS, together, strict=True):
        assert generations(tiny_lm, [one], sampling) == [generation]


def test_greedy_is_what_a_full_forward_pass_would_pick(tiny_lm: LanguageModel) -> None:
    generation = generations(tiny_lm, PROMPTS, Sampling(0, 1, 12))[1]
    ids = list(PROMPTS[1].token_ids)
    for token_id in generation.token_ids:
        assert int(tiny_lm.model(torch.tensor([ids])).logits[0, -1].argmax()) == token_id
        ids.append(token_id)


def test_stops_at_an_end_token_and_only_there(tiny_lm: LanguageModel) -> None:
    plain = generations(tiny_lm, PROMPTS, Sampling(1, 1, 30))
    stop = plain[2].token_ids[10]
    stopping = generations(tiny_lm._replace(stop_ids=torch.tensor([stop])), PROMPTS, Sampling(1, 1, 30))
    assert stopping[2].finish_reason == "stop"
    for before, after in zip(plain, stopping, strict=True):
        cut = before.token_ids.index(stop) + 1 if stop in before.token_ids else 30
        assert after.token_ids == before.token_ids[:cut]
        assert after.finish_reason == ("stop" if stop in before.token_ids else "length")


def test_seed_decides(tiny_lm: LanguageModel) -> None:
    other = PROMPTS[1]._replace(seed=7)
    sampling = Sampling(1, 1, 20)
    first, again, differing = (
        generations(tiny_lm, [p], sampling)[0].token_ids for p in (PROMPTS[1], PROMPTS[1], other)
    )
    assert first == again != differing


def test_what_on_step_raises_ends_the_generation(tiny_lm: LanguageModel) -> None:
    heard: list[tuple[int, int]] = []

    def stop_at_three(step: int, rows: int) -> None:
        heard.append((step, rows))
        if step == 3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        next(generate(tiny_lm, PROMPTS, Sampling(1, 1, 20), HOOKPOINTS, "hookpoint", stop_at_three))
    assert heard == [(1, 4), (2, 4), (3, 4)]


@pytest.fixture(scope="module")
def shrinking(tiny_lm: LanguageModel) -> list[tuple[Generation, Captured]]:
    """Rows of a batch that end at different tokens, long enough for buffers to grow."""
    sampling = Sampling(1, 1, 150)
    plain = generations(tiny_lm, PROMPTS, sampling)
    stops = torch.tensor([plain[0].token_ids[20], plain[2].token_ids[70]])
    return list(generate(tiny_lm._replace(stop_ids=stops), PROMPTS, sampling, HOOKPOINTS, "residual"))


def test_each_comes_as_soon_as_it_is_whole(shrinking: list[tuple[Generation, Captured]]) -> None:
    lengths = [len(generation.token_ids) for generation, _ in shrinking]
    assert lengths == sorted(lengths) and len(set(lengths)) > 1
    assert sorted(generation.prompt.inference for generation, _ in shrinking) == [0, 1, 2, 3]


def test_what_is_captured_equals_a_teacher_forced_pass(
    tiny_lm: LanguageModel, shrinking: list[tuple[Generation, Captured]]
) -> None:
    """Vectors of every position, the last too, and log-probabilities of what was generated."""
    for generation, captured in shrinking:
        prompt_ids = generation.prompt.token_ids
        forced = replay(tiny_lm, [prompt_ids + generation.token_ids], HOOKPOINTS, "residual")[0]
        for hookpoint in HOOKPOINTS:
            torch.testing.assert_close(captured.vectors[hookpoint], forced.vectors[hookpoint], atol=1e-5, rtol=1e-4)
        assert torch.isnan(captured.logprobs[: len(prompt_ids)]).all()
        torch.testing.assert_close(
            captured.logprobs[len(prompt_ids) :], forced.logprobs[len(prompt_ids) :], atol=1e-5, rtol=1e-4
        )


@given(st.lists(st.integers(1, 150), min_size=1, max_size=12), st.integers(0, 12))
def test_growing_is_concatenation(lengths: list[int], at: int) -> None:
    """Parts of any length, rows dropped in between."""
    growing, plain = Growing(), torch.empty(3, 2, 0, 4)
    kept = torch.tensor([2, 0])
    for index, length in enumerate(lengths):
        part = torch.rand(len(plain), 2, length, 4)
        plain = torch.cat([plain, part], dim=-2)
        assert torch.equal(growing.append(part), plain)
        if index == at:
            plain = plain[kept]
            assert torch.equal(growing.select(kept), plain)
