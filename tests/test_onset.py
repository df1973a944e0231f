"""Interventions that wait for a feature to fire, against a loop that looks for itself, one position at a time."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmarks.stand_in import SHAPES
from kthink_core.model.fidelity import fidelity
from kthink_core.model.generate import generate
from kthink_core.model.language_model import LanguageModel
from kthink_core.model.replay import onsets, replay
from kthink_core.model.sae import Sae
from kthink_core.model.sae_folders import load_saes
from kthink_core.model.sampling import Sampling
from kthink_core.model.steering import Steering, steering
from kthink_core.records import Intervention, Problem, Prompt, Trigger

CPU = torch.device("cpu")
FIRST, LAST = SHAPES["tiny"].hookpoints[0], SHAPES["tiny"].hookpoints[-1]
HOOKPOINTS = SHAPES["tiny"].hookpoints
PROMPTS = [
    Prompt(index, Problem(index, "q", None), "think", 7 + index, tuple(range(10 + index, 10 + index + length)))
    for index, length in enumerate((5, 9, 2))
]
SAMPLING = Sampling(1.0, 1.0, 14)


@pytest.fixture(scope="module")
def saes(tiny: Path) -> dict[str, Sae]:
    return dict(load_saes(str(tiny / "saes"), None, HOOKPOINTS, CPU).by_hookpoint)


def fires(sae: Sae, row: Tensor, feature: int) -> bool:
    latents = sae.encode(row[None])
    return bool(((latents.indices == feature) & (latents.activations > 0)).any())


def some_feature(lm: LanguageModel, saes: dict[str, Sae], hookpoint: str) -> int:
    """One that first fires somewhere in the middle of the first plain generation."""
    generation, captured = next(iter(generate(lm, PROMPTS[:1], SAMPLING, HOOKPOINTS, "hookpoint")))
    given = len(generation.prompt.token_ids)
    latents = saes[hookpoint].encode(captured.vectors[hookpoint][given:])
    seen: set[int] = set()
    for position in range(len(generation.token_ids)):
        fresh = set(latents.indices[position][latents.activations[position] > 0].tolist()) - seen
        if position >= 3 and fresh:
            return min(fresh)
        seen |= fresh
    raise AssertionError("no feature begins to fire in the middle")


def found_by_hand(
    lm: LanguageModel, saes: dict[str, Sae], done: Intervention, ids: list[int], given: int
) -> int | None:
    """The generated position after the first firing, by plain passes over longer and longer prefixes."""
    assert done.after is not None
    for number in range(done.start, len(ids) - given):
        vectors = replay(lm, [ids[: given + number + 1]], [done.after.hookpoint], "hookpoint")[0].vectors
        if fires(saes[done.after.hookpoint], vectors[done.after.hookpoint][given + number], done.after.feature):
            return number + 1
    return None


@pytest.mark.parametrize(("acts", "waits"), [(FIRST, LAST), (LAST, FIRST), (FIRST, FIRST)])
@pytest.mark.parametrize("start", [0, 2])
def test_it_begins_after_the_first_firing(
    tiny_lm: LanguageModel, saes: dict[str, Sae], acts: str, waits: str, start: int
) -> None:
    """Before it everything is as without steering; so the first firing is found in plain passes. Whichever hookpoint is
    deeper, token by token, in a batch, and in one pass it is the same."""
    trigger = some_feature(tiny_lm, saes, waits)
    done = Intervention(acts, 5, "clamp", 40.0, start, Trigger(waits, trigger))
    asked = steering([done], saes)
    assert asked is not None
    begun = 0
    for generation, captured in generate(tiny_lm, PROMPTS, SAMPLING, HOOKPOINTS, "hookpoint", steering=asked):
        given, ids = len(generation.prompt.token_ids), [*generation.prompt.token_ids, *generation.token_ids]
        wanted = found_by_hand(tiny_lm, saes, done, ids, given)
        acted = captured.notes[acts][:, 2].nonzero()[:, 0].tolist()
        expected = [] if wanted is None else list(range(wanted, len(generation.token_ids)))
        assert acted == expected
        begun += bool(expected)
        once = replay(tiny_lm, [ids], HOOKPOINTS, "hookpoint", asked, [given])[0]
        for hookpoint in HOOKPOINTS:
            torch.testing.assert_close(captured.vectors[hookpoint], once.vectors[hookpoint], atol=2e-4, rtol=1e-3)
        starts = onsets(tiny_lm, ids, "hookpoint", asked, given)
        assert starts is not None and (int(starts[0, 0]) == wanted or (wanted is None and starts[0, 0] > len(ids)))
    assert begun, "no row of them ever steered"


def test_one_sets_off_the_next(tiny_lm: LanguageModel, saes: dict[str, Sae]) -> None:
    """The trigger of the second fires only because of the first: found in one pass after another, and while writing."""
    first = Intervention(FIRST, 5, "clamp", 40.0, 3)
    prompt = PROMPTS[:1]
    _, plain = next(iter(generate(tiny_lm, prompt, SAMPLING, HOOKPOINTS, "hookpoint")))
    generation, captured = next(
        iter(generate(tiny_lm, prompt, SAMPLING, HOOKPOINTS, "hookpoint", steering=steering([first], saes)))
    )
    given = len(generation.prompt.token_ids)

    def firing(vectors: Tensor) -> set[int]:
        latents = saes[LAST].encode(vectors[given:])
        return set(latents.indices[latents.activations > 0].tolist())

    new = sorted(firing(captured.vectors[LAST]) - firing(plain.vectors[LAST]))
    assert new
    second = Intervention(LAST, 9, "add", 3.0, 0, Trigger(LAST, new[0]))
    both = steering([first, second], saes)
    assert both is not None
    written, captured = next(iter(generate(tiny_lm, prompt, SAMPLING, HOOKPOINTS, "hookpoint", steering=both)))
    acted = captured.notes[LAST][:, 2].nonzero()[:, 0].tolist()
    assert acted and acted[0] > 3
    ids = [*written.prompt.token_ids, *written.token_ids]
    once = replay(tiny_lm, [ids], HOOKPOINTS, "hookpoint", both, [given])[0]
    torch.testing.assert_close(captured.vectors[LAST], once.vectors[LAST], atol=2e-4, rtol=1e-3)


def test_rows_that_end_take_their_onset_along(tiny_lm: LanguageModel, saes: dict[str, Sae]) -> None:
    """Each row of a batch begins where it begins alone."""
    asked = steering([Intervention(FIRST, 5, "clamp", 40.0, 0, Trigger(LAST, some_feature(tiny_lm, saes, LAST)))], saes)
    together = {
        generation.prompt.inference: (generation.token_ids, captured.notes[FIRST][:, 2].tolist())
        for generation, captured in generate(tiny_lm, PROMPTS, SAMPLING, [], "hookpoint", steering=asked)
    }
    for prompt in PROMPTS:
        [(generation, captured)] = generate(tiny_lm, [prompt], SAMPLING, [], "hookpoint", steering=asked)
        assert together[prompt.inference] == (generation.token_ids, captured.notes[FIRST][:, 2].tolist())


def test_what_the_reconstruction_costs_is_measured_under_it(tiny_lm: LanguageModel, saes: dict[str, Sae]) -> None:
    """`fidelity` leaves the model alone but for the steering: its log-probabilities are those of the run."""
    asked = steering([Intervention(FIRST, 5, "clamp", 40.0, 0, Trigger(LAST, some_feature(tiny_lm, saes, LAST)))], saes)
    assert isinstance(asked, Steering)
    generation, captured = next(iter(generate(tiny_lm, PROMPTS[:1], SAMPLING, [], "hookpoint", steering=asked)))
    given, ids = len(generation.prompt.token_ids), [*generation.prompt.token_ids, *generation.token_ids]
    found = fidelity(tiny_lm, saes, "hookpoint", ids, lambda: None, asked, given)[FIRST]
    torch.testing.assert_close(torch.from_numpy(found.logprob[given:]), captured.logprobs[given:], atol=1e-4, rtol=1e-4)
