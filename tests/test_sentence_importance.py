"""The importance of a sentence, against the same figures computed plainly, and against chance itself."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence
from itertools import combinations, pairwise, product
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kthink_core.evidence import sentence_importance
from kthink_core.evidence.sentence_importance import (
    Codes,
    accuracy_difference,
    counterfactual,
    importance,
    passing,
    q_values,
)

Answers = Sequence[int]


def kl(after: Answers, before: Answers, seen: Answers | None = None) -> float:
    """From the definition, answer by answer."""
    answers = set(seen if seen is not None else [*after, *before])
    a, b = Counter(after), Counter(before)
    total = 0.0
    for answer in answers:
        p = (a[answer] + 0.5) / (len(after) + len(answers) / 2)
        q = (b[answer] + 0.5) / (len(before) + len(answers) / 2)
        total += p * math.log(p / q)
    return total


def codes(*answers: int) -> Codes:
    return np.array(answers, np.int64)


PAIRS = [
    (codes(1, 1, 1, 2, 2, 0, 0, 1), codes(1, 3, 3, 3, 2, 3, 0, 3)),
    (codes(1, 1, 1, 1, 1, 1, 1, 2), codes(2, 2, 2, 2, 2, 2, 2, 1)),
    (codes(0, 1, 2, 3, 4, 5, 6, 7), codes(7, 6, 5, 4, 3, 2, 1, 0)),
    (codes(9, 9, 9, 9), codes(9, 9, 9, 9)),
]


class TestOracle:
    @pytest.mark.parametrize(("before", "after"), PAIRS)
    def test_importance_and_every_dealing(self, before: Codes, after: Codes) -> None:
        found = importance(before, after)
        value = kl(after.tolist(), before.tolist())
        assert found.value == pytest.approx(value, abs=1e-12)
        dealt = []
        for swaps in product([False, True], repeat=len(before)):
            pairs = [(a, b) if swap else (b, a) for swap, b, a in zip(swaps, before, after, strict=True)]
            dealt.append(kl([a for _, a in pairs], [b for b, _ in pairs]))
        exact = fmean(one >= value - 1e-9 for one in dealt)
        assert found.p == pytest.approx(exact, abs=0.02)
        assert found.chance == pytest.approx(fmean(dealt), abs=0.01)
        assert fmean(one > found.chance_high + 1e-9 for one in dealt) <= 0.06

    def test_interval(self) -> None:
        before, after = PAIRS[0]
        found, draw = importance(before, after), random.Random(0)
        seen, resampled = [*before.tolist(), *after.tolist()], []
        for _ in range(4000):
            rows = draw.choices(range(len(before)), k=len(before))
            resampled.append(kl([int(after[row]) for row in rows], [int(before[row]) for row in rows], seen))
        excess = fmean(resampled) - found.value
        resampled.sort()
        assert found.low == pytest.approx(max(resampled[100] - excess, 0), abs=0.08)
        assert found.high == pytest.approx(resampled[3899] - excess, abs=0.15)

    def test_counterfactual_and_every_dealing(self) -> None:
        before, after = PAIRS[0]
        differs = np.array([True, False, True, True, False, False, True, True])
        found = counterfactual(before, after, differs)
        assert found is not None
        others, seen = before[differs].tolist(), [*before.tolist(), *after.tolist()]
        value = kl(after.tolist(), others, seen)
        assert found.value == pytest.approx(value, abs=1e-12)
        pool = [*others, *after.tolist()]
        dealt = [
            kl([pool[at] for at in range(len(pool)) if at not in chosen], [pool[at] for at in chosen], seen)
            for chosen in combinations(range(len(pool)), len(others))
        ]
        assert found.p == pytest.approx(fmean(one >= value - 1e-9 for one in dealt), abs=0.02)
        assert found.chance == pytest.approx(fmean(dealt), abs=0.01)
        assert counterfactual(before, after, np.arange(8) == 3) is None

    def test_what_passes_a_feature_and_every_dealing(self) -> None:
        (before, after), (held_before, held_after) = PAIRS[0], (codes(1, 1, 1, 2, 2, 0, 0, 1), codes(*[1] * 7, 2))
        found = passing(before, after, held_before, held_after)
        places = [one.tolist() for one in (before, after, held_before, held_after)]
        seen = [answer for place in places for answer in place]
        value = kl(places[1], places[0], seen) - kl(places[3], places[2], seen)
        assert found.value == pytest.approx(value, abs=1e-12)
        dealt = []
        for swaps in product([False, True], repeat=8):
            rows = [
                row[2:] + row[:2] if swap else row for swap, row in zip(swaps, zip(*places, strict=True), strict=True)
            ]
            b, a, c, d = zip(*rows, strict=True)
            dealt.append(kl(a, b, seen) - kl(d, c, seen))
        assert found.p == pytest.approx(fmean(abs(one) >= abs(value) - 1e-9 for one in dealt), abs=0.02)
        assert found.low < value < found.high

    def test_accuracy_is_a_sign_test(self) -> None:
        before, after = np.array([1, 1, 0, 0, 0, 0, 0, 1], bool), np.array([1, 0, 1, 1, 1, 1, 1, 1], bool)
        found = accuracy_difference(before, after)
        assert found.value == pytest.approx((5 - 1) / 8)
        assert found.p == pytest.approx(2 * (1 + 6) / 2**6, abs=0.02)  # 5 or 6 of 6 up, or as many down
        assert found.low < found.value < found.high

    def test_q(self) -> None:
        p = [0.01, 0.04, 0.03, 0.005, 0.5]
        plain = [min(min(p[j] * 5 / (sorted(p).index(p[j]) + 1) for j in range(5) if p[j] >= one), 1) for one in p]
        assert q_values(p).tolist() == pytest.approx(plain)
        assert q_values([]).tolist() == []


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=40))
def test_it_does_not_depend_on_names_or_order(pairs: list[tuple[int, int]]) -> None:
    before, after = codes(*(b for b, _ in pairs)), codes(*(a for _, a in pairs))
    found, renamed = importance(before, after), importance(90 + before, 90 + after)
    assert found == renamed
    assert found == importance(before[::-1].copy(), after[::-1].copy())
    assert found.value >= 0 and 0 < found.p <= 1 and 0 <= found.low <= found.high
    assert importance(before, before).p == 1


class TestChance:
    """Rollouts of which it is known what they are drawn from."""

    SHARES = (0.6, 0.2, 0.15, 0.05)

    def drawn(self, generator: np.random.Generator, rollouts: int = 40) -> Codes:
        return generator.choice(4, rollouts, p=self.SHARES)

    def test_sentences_that_move_nothing_are_no_finds(self) -> None:
        """Places share their rollouts with both neighbours, as those of a thought do."""
        generator, trials, finds = np.random.default_rng(3), 60, 0
        for _ in range(trials):
            places = [self.drawn(generator) for _ in range(7)]
            p = [importance(b, a).p for b, a in pairwise(places)]
            finds += bool((q_values(p) < 0.05).any())
        assert finds <= 0.1 * trials

    def test_nor_where_pairs_are_alike(self) -> None:
        generator, p = np.random.default_rng(4), []
        for _ in range(200):
            before = self.drawn(generator)
            p.append(importance(before, np.where(generator.random(40) < 0.5, before, self.drawn(generator))).p)
        assert np.mean(np.array(p) < 0.05) <= 0.09

    def test_what_chance_gives_is_what_it_gave(self) -> None:
        """The mean of sentences that move nothing is what stands beside them as chance."""
        generator = np.random.default_rng(5)
        found = [importance(self.drawn(generator), self.drawn(generator)) for _ in range(150)]
        assert np.mean([one.value for one in found]) == pytest.approx(np.mean([one.chance for one in found]), rel=0.2)

    def test_a_sentence_that_decides_is_found(self) -> None:
        generator = np.random.default_rng(6)
        places = [self.drawn(generator) for _ in range(4)] + [generator.choice(4, 40, p=(0.05, 0.05, 0.05, 0.85))]
        q = q_values([importance(b, a).p for b, a in pairwise(places)])
        assert q[-1] < 0.01 and q.argmin() == 3

    def test_intervals_hold_the_truth(self) -> None:
        generator, true, held = np.random.default_rng(7), (0.3, 0.4, 0.2, 0.1), 0
        truth = sum(p * math.log(p / q) for p, q in zip(true, self.SHARES, strict=True))
        for _ in range(100):
            found = importance(self.drawn(generator, 64), generator.choice(4, 64, p=true))
            held += found.low <= truth <= found.high
        assert held >= 88

    def test_dealings_are_many_enough_for_many_sentences(self) -> None:
        """The smallest p there is stays below 0.05 after the correction over a hundred sentences."""
        assert 100 / (1 + sentence_importance.DEALINGS) < 0.05
