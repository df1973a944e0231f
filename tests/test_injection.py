"""Token injection: the ways of changing a text, the effect, the verdict and its control, against plain calculations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from numpy.typing import NDArray

from kthink_core.evidence.effect_size import MOST_D, chance_of_best, effect, interval, verdict
from kthink_core.evidence.injection_test import (
    FINALISTS,
    LENGTH,
    MEASURED,
    SCREENED,
    TEXTS,
    draw_controls,
    examine,
)
from kthink_core.evidence.strategies import (
    BIGRAMS,
    MOST_ADDED,
    STRATEGIES,
    TOKENS,
    TRIGRAMS,
    Drivers,
    Injected,
    inject,
    usable,
)

WORDS = Drivers(
    7, ((1001,), (1002,)), ((1003, 1004),), ((1005, 1006, 1007),), ((5, 1001),), ((1002, 6),), ((1008, 1009, 1010),)
)
ADDED = {
    "prepend": TOKENS, "append": TOKENS, "intersperse": TOKENS, "replace": 0, "bigrams": 2 * BIGRAMS,
    "trigrams": 3 * TRIGRAMS, "token with the one before": 4, "token with the one after": 4, "active trigrams": 3,
}  # fmt: skip


class TestStrategies:
    @given(
        some.sampled_from(list(STRATEGIES)), some.lists(some.integers(0, 900), min_size=8, max_size=80),
        some.integers(0, 200), some.integers(0, 2**31 - 1),
    )  # fmt: skip
    def test_what_is_put_in_and_what_stays(self, strategy: str, text: list[int], number: int, seed: int) -> None:
        changed = inject(strategy, WORDS, text, number, seed)
        assert changed.text == number and len(changed.token_ids) == len(text) + ADDED[strategy]
        assert ADDED[strategy] <= MOST_ADDED
        assert list(changed.places) == sorted(set(changed.places))
        rest = [token for place, token in enumerate(changed.token_ids) if place not in set(changed.places)]
        if strategy == "replace":
            assert len(changed.places) == TOKENS
            assert rest == [token for place, token in enumerate(text) if place not in set(changed.places)]
        else:
            assert rest == text  # in their order, none missing
        assert list(changed.token_ids[: changed.places[0]]) == text[: changed.places[0]]
        own = set(STRATEGIES[strategy].takes(WORDS))
        put = [changed.token_ids[place] for place in changed.places]
        length = len(next(iter(own)))
        assert {tuple(put[first : first + length]) for first in range(0, len(put), length)} <= own

    def test_where_they_stand(self) -> None:
        text = list(range(20))
        assert inject("prepend", WORDS, text, 0, 0).places == (0, 1, 2)
        assert inject("append", WORDS, text, 0, 0).places == (20, 21, 22)
        firsts = {inject("intersperse", WORDS, text, number, 0).places for number in range(30)}
        assert len(firsts) > 20  # at other places in each text

    def test_the_same_whatever_else_is_tested(self) -> None:
        assert inject("bigrams", WORDS, [1, 2, 3, 4], 5, 9) == inject("bigrams", WORDS, [1, 2, 3, 4], 5, 9)
        assert inject("bigrams", WORDS, [1, 2, 3, 4], 5, 9) != inject("bigrams", WORDS, [1, 2, 3, 4], 5, 10)

    def test_only_what_there_is_something_for(self) -> None:
        assert usable(Drivers(1, ((3,),))) == ["prepend", "append", "intersperse", "replace"]
        assert usable(Drivers(1)) == []
        assert usable(WORDS) == list(STRATEGIES)


def plain_d(injected: Sequence[float], baseline: Sequence[float]) -> float:
    """Cohen's d as it is written down."""

    def mean(values: Sequence[float]) -> float:
        return sum(values) / len(values)

    def variance(values: Sequence[float]) -> float:
        return sum((value - mean(values)) ** 2 for value in values) / (len(values) - 1)

    return (mean(injected) - mean(baseline)) / ((variance(injected) + variance(baseline)) / 2) ** 0.5


class TestEffect:
    @given(some.integers(0, 10_000), some.floats(-2, 2), some.floats(0.1, 3))
    def test_d_and_p_by_plain_code(self, seed: int, shift: float, scale: float) -> None:
        rng = np.random.default_rng(seed)
        baseline, injected = rng.normal(1, 1, 40), rng.normal(1 + shift, scale, 40)
        found = effect(injected, baseline)
        assert found.d == pytest.approx(plain_d(injected.tolist(), baseline.tolist()))
        # Student's t of two samples of one size is d · sqrt(n / 2); its tail by numerical integration of the density.
        t, freedom = abs(found.d) * (40 / 2) ** 0.5, 2 * 40 - 2
        grid = np.linspace(0, t, 200_001)
        density = (1 + grid**2 / freedom) ** (-(freedom + 1) / 2)
        whole = np.linspace(0, 400, 2_000_001)
        total = np.trapezoid((1 + whole**2 / freedom) ** (-(freedom + 1) / 2), whole)
        assert found.p == pytest.approx(1 - np.trapezoid(density, grid) / total, abs=1e-6)

    def test_without_spread(self) -> None:
        zeros, ones = np.zeros(10), np.ones(10)
        assert effect(zeros, zeros) == (0.0, 1.0)
        assert effect(ones, zeros) == (MOST_D, 0.0)
        assert effect(zeros, ones) == (-MOST_D, 0.0)
        assert effect(ones + np.eye(10)[0] * 1e-9, zeros).d == MOST_D

    def test_interval_of_d(self) -> None:
        # s² = 2/50 + 0.8²/200 = 0.0432
        assert interval(0.8, 50) == pytest.approx((0.8 - 1.959964 * 0.0432**0.5, 0.8 + 1.959964 * 0.0432**0.5))
        assert interval(MOST_D, 50) is None and interval(-MOST_D, 50) is None

    def test_the_interval_holds_d_as_often_as_it_says(self) -> None:
        rng = np.random.default_rng(0)
        drawn = [effect(rng.normal(0.6, 1, 100), rng.normal(0, 1, 100)).d for _ in range(2000)]
        held = [low < 0.6 < high for low, high in filter(None, (interval(d, 100) for d in drawn))]
        assert len(held) == 2000 and abs(np.mean(held) - 0.95) < 4 * (0.95 * 0.05 / 2000) ** 0.5

    @pytest.mark.parametrize(
        ("d", "p", "said"),
        [
            (0.8, 0.0099, "token-driven"), (0.8, 0.01, "weakly token-driven"), (0.7999, 0.0099, "partly token-driven"),
            (0.5, 0.0099, "partly token-driven"), (0.5, 0.01, "weakly token-driven"),
            (0.4999, 0.0001, "weakly token-driven"), (0.2, 0.0499, "weakly token-driven"),
            (0.2, 0.05, "context-dependent"), (0.1999, 0.0001, "context-dependent"), (9.0, 0.05, "context-dependent"),
            (-3.0, 0.0001, "context-dependent"),
        ],
    )  # fmt: skip
    def test_verdicts_at_their_edges(self, d: float, p: float, said: str) -> None:
        assert verdict(d, p) == said

    def test_chance_of_the_best_counts_swaps(self) -> None:
        rng = np.random.default_rng(3)
        baseline = rng.exponential(1, 12)
        injected = [rng.exponential(1.3, 12), rng.exponential(1, 12)]
        signs = np.random.default_rng(5).choice([-1.0, 1.0], (999, 12))
        observed = max(plain_d(values.tolist(), baseline.tolist()) for values in injected)
        times = 0
        for row in signs:
            swapped = []
            for values in injected:
                ours = [x if sign > 0 else b for x, b, sign in zip(values, baseline, row, strict=True)]
                others = [b if sign > 0 else x for x, b, sign in zip(values, baseline, row, strict=True)]
                swapped.append(plain_d(ours, others))
            times += max(swapped) >= observed - 1e-12
        assert chance_of_best(injected, baseline, 5) == (1 + times) / 1000


class Made:
    """A probe whose activations are a function of a text's tokens."""

    def __init__(self, fires: str = "noise", seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.texts = rng.integers(0, 900, (TEXTS, LENGTH)).tolist()
        self._fires, self._rng, self.rows = fires, rng, 0

    def baselines(self, features: Sequence[int]) -> NDArray[np.float64]:
        return (
            self._rng.exponential(1, (len(features), TEXTS))
            if self._fires != "never"
            else np.zeros((len(features), TEXTS))
        )

    def maxima(self, rows: Sequence[tuple[int, Injected]]) -> NDArray[np.float64]:
        self.rows += len(rows)
        noise = self._rng.exponential(1, len(rows)) if self._fires != "never" else np.zeros(len(rows))
        if self._fires != "word":
            return noise
        return noise + [5.0 * any(token in (1001, 1002) for token in changed.token_ids) for _, changed in rows]


class TestExamine:
    def test_a_word_detector(self) -> None:
        (found,) = examine(Made("word"), [WORDS], 0, [Drivers(9, ((1500,),))])
        assert found.verdict == "token-driven" and found.best and found.best.texts == MEASURED
        assert found.best.fires_in_injected == 1.0
        assert len(found.trials) == len(STRATEGIES) and found.p_best is not None and found.p_best <= 0.001
        # Another feature's tokens do not make it fire, unless the strategy that counts is one that it cannot be put by.
        if found.other is not None:
            assert found.other == 9 and found.other_effect and found.other_effect.d < 0.8

    def test_what_is_put_in_does_nothing(self) -> None:
        probe = Made("never")
        (found,) = examine(probe, [WORDS], 0)
        assert found.verdict == "context-dependent" and found.best and found.best.d == 0
        assert found.best.fires_in_injected == 0.0
        assert probe.rows == SCREENED * len(STRATEGIES) + MEASURED  # no second strategy was worth measuring

    def test_nothing_to_put_in(self) -> None:
        assert examine(Made("noise"), [Drivers(3)], 0)[0].verdict == "untested"
        assert examine(Made("never"), [Drivers(3)], 0)[0].verdict == "silent"

    def test_noise_is_hardly_ever_driven_by_tokens(self) -> None:
        """The best of nine strategies is chosen, and noise gets no better for it: at most one in twenty has any verdict
        but context-dependent, and none the highest."""
        features = [WORDS._replace(feature=feature) for feature in range(200)]
        said = [found.verdict for found in examine(Made("noise", 1), features, 0)]
        assert "token-driven" not in said and "partly token-driven" not in said
        assert said.count("context-dependent") >= 0.95 * 200 - 3 * (200 * 0.05 * 0.95) ** 0.5

    def test_a_feature_alone_or_among_others(self) -> None:
        class Fixed(Made):
            def baselines(self, features: Sequence[int]) -> NDArray[np.float64]:
                return np.array([np.random.default_rng(feature).exponential(1, TEXTS) for feature in features])

            def maxima(self, rows: Sequence[tuple[int, Injected]]) -> NDArray[np.float64]:
                return np.array([hash((feature, changed)) % 1000 / 300 for feature, changed in rows])

        wanted = [WORDS._replace(feature=feature) for feature in (1, 2, 3)]
        together = examine(Fixed(), wanted, 4)
        assert together == [examine(Fixed(), [drivers], 4)[0] for drivers in wanted]
        measured = [trial for trial in together[0].trials if trial.texts == MEASURED]
        assert 1 <= len(measured) <= FINALISTS

    def test_controls_are_drawn_by_the_seed(self) -> None:
        firing = list(range(0, 400, 3))
        tried: list[int] = []

        def drivers(feature: int) -> Drivers:
            """Every other one that is drawn fires on no token often enough."""
            tried.append(feature)
            return WORDS._replace(feature=feature, tokens=WORDS.tokens if len(tried) % 2 else ())

        def drawn(seed: int) -> list[int]:
            tried.clear()
            return [each.feature for each in draw_controls(firing, seed, drivers)]

        assert drawn(0) == drawn(0) != drawn(1)
        assert len(set(drawn(0))) == 10 and set(drawn(0)) <= set(firing) and drawn(0) == tried[::2]
        assert [each.feature for each in draw_controls([4], 0, lambda _: WORDS)] == [WORDS.feature]
        assert draw_controls([4], 0, lambda _: WORDS._replace(tokens=())) == draw_controls([], 0, drivers) == []
