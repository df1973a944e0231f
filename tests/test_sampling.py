"""Sampling against plain nucleus sampling written out with NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kthink_core.model.sampling import Sampling, draw, uniform_table


def plain_draw(logits: np.ndarray, uniform: float, temperature: float, top_p: float) -> int:
    """One row, one step at a time: sort, keep tokens until their mass reaches top_p, walk to the uniform number."""
    order = sorted(range(len(logits)), key=lambda token: -logits[token])
    weights = np.exp((logits - logits.max()) / temperature)
    probabilities = weights / weights.sum()
    kept, mass = [], 0.0
    for token in order:
        kept.append(token)
        mass += probabilities[token]
        if mass >= top_p:
            break
    walked = 0.0
    for token in kept:
        walked += probabilities[token]
        if uniform * mass < walked:
            return token
    return kept[-1]


@given(
    seed=st.integers(0, 2**31 - 1),
    vocabulary=st.sampled_from([3, 64, 65, 500]),
    spread=st.sampled_from([0.1, 1.0, 8.0]),
    temperature=st.floats(0.1, 3),
    top_p=st.floats(0.05, 1),
)
def test_draws_what_plain_nucleus_sampling_draws(
    seed: int, vocabulary: int, spread: float, temperature: float, top_p: float
) -> None:
    random = np.random.default_rng(seed)
    logits = (random.normal(size=(4, vocabulary)) * spread).astype(np.float32)
    uniforms = random.random(4, dtype=np.float32)
    drawn = draw(torch.from_numpy(logits), torch.from_numpy(uniforms), Sampling(temperature, top_p, 1)).tolist()
    for row, token in enumerate(drawn):
        # float32 sums may fall on the other side of a boundary: the draw must be right for a uniform within 1e-4
        near = {
            plain_draw(logits[row].astype(np.float64), float(uniforms[row]) + shift, temperature, top_p + nudge)
            for shift in (-1e-4, 0, 1e-4)
            for nudge in (-1e-5, 0, 1e-5)
        }
        assert token in near


def test_frequencies_follow_the_distribution() -> None:
    logits = torch.tensor([[2.0, 1.0, 0.0, -9.0]]).expand(20_000, -1)
    uniforms = torch.rand(20_000, generator=torch.Generator().manual_seed(1))
    drawn = draw(logits, uniforms, Sampling(1.0, 0.95, 1))
    wanted = np.exp([2.0, 1.0, 0.0])
    shares = np.bincount(drawn.numpy(), minlength=4) / 20_000
    assert np.abs(shares[:3] - wanted / wanted.sum()).max() < 0.01
    assert shares[3] == 0


def test_temperature_zero_is_greedy() -> None:
    logits = torch.tensor([[0.0, 3.0, 1.0], [5.0, 3.0, 1.0]])
    assert draw(logits, torch.tensor([0.99, 0.99]), Sampling(0, 0.95, 1)).tolist() == [1, 0]


def test_uniform_one_below_stays_in_the_nucleus() -> None:
    logits = torch.tensor([[10.0, 0.0, 0.0]])
    almost_one = torch.tensor([1.0]) - torch.finfo(torch.float32).eps
    assert draw(logits, almost_one, Sampling(1.0, 0.5, 1)).tolist() == [0]


def test_a_token_has_its_share_from_where_the_one_before_it_ends() -> None:
    """Four equally likely tokens, exact in float32; which of them comes first is open."""
    logits = torch.zeros(4, 4)
    starts = draw(logits, torch.tensor([0, 0.25, 0.5, 0.75]), Sampling(1.0, 1.0, 1)).tolist()
    assert sorted(starts) == [0, 1, 2, 3]
    for top_p, kept in [(0.25, 1), (0.5, 2), (0.51, 3), (0.75, 3), (0.76, 4)]:
        last = draw(logits[:1], torch.tensor([0.999]), Sampling(1.0, top_p, 1)).tolist()
        assert last == [starts[kept - 1]], "the fewest whose probabilities reach top-p"


def test_tables_belong_to_the_seed_alone() -> None:
    together, alone = uniform_table([5, 6, 7], 10), uniform_table([6], 10)
    assert torch.equal(together[1], alone[0])
    assert not torch.equal(together[0], together[1])


@pytest.mark.parametrize("sampling", [Sampling(1e-40, 0.9, 1), Sampling(1.0, 1e-46, 1), Sampling(1e-30, 1e-300, 1)])
def test_the_smallest_temperature_and_top_p_take_the_most_likely_token(sampling: Sampling) -> None:
    logits = torch.tensor([[1.0, 5.0, 2.0], [900.0, -900.0, 0.0]])
    assert draw(logits, torch.tensor([0.999, 0.999]), sampling).tolist() == [1, 0]
