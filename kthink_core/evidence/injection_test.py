"""Is a feature more than its words? Token injection (arXiv 2601.05679), step by step, over whatever reads activations.

Every strategy is tried on a few texts that count no further. The best two go on: the first is measured on all other
texts, the second, too, where the first does not reach the highest verdict already and the second's effect was at least
`PROMISING`. The better one counts, and its verdict asks for two p-values: the t-test's, and that of the best of what
was measured (`chance_of_best`). So a strategy that was lucky in the choice has to show it again on other texts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from kthink_core.evidence.effect_size import VERDICTS, Effect, Verdict, chance_of_best, effect, verdict
from kthink_core.evidence.strategies import Drivers, Injected, inject, usable

LENGTH = 64
"""Tokens of a text."""
SCREENED = 16
"""Texts on which every strategy is tried, to choose by."""
MEASURED = 100
"""Texts on which a chosen strategy is measured."""
TEXTS = SCREENED + MEASURED
FINALISTS = 2
PROMISING = 0.2
"""d on the few texts, below which a second strategy is not measured."""
CONTRASTED = 40
"""Of the measured texts: those that get another feature's tokens."""
CONTROLS = 10
"""Features drawn at random, to whose verdicts a feature's is compared."""
_TRIES = 10 * CONTROLS
"""Features that are drawn for these, at most."""

_CHOOSING = range(SCREENED)
_MEASURING = range(SCREENED, TEXTS)


class Probe(Protocol):
    """What reads a model's activations of features, in texts that it has."""

    @property
    def texts(self) -> Sequence[Sequence[int]]:
        """Token ids of each of the `TEXTS` texts, without the token that begins a sequence."""
        ...

    def baselines(self, features: Sequence[int]) -> NDArray[np.float64]:
        """[features, texts] largest activation over a text's own positions."""
        ...

    def maxima(self, rows: Sequence[tuple[int, Injected]]) -> NDArray[np.float64]:
        """[rows] largest activation of each row's feature over its changed text."""
        ...


class Trial(NamedTuple):
    """One strategy with what came of it."""

    strategy: str
    texts: int
    """On which it was measured: `MEASURED`, or `SCREENED` where it was not chosen."""
    d: float
    p: float
    mean_injected: float
    mean_baseline: float
    fires_in_injected: float
    """Share of these texts, with its tokens in them, in which the feature fires."""


class Tested(NamedTuple):
    """What the test found of one feature."""

    feature: int
    verdict: Verdict
    trials: tuple[Trial, ...] = ()
    """Those that were measured first, the best first."""
    p_best: float | None = None
    """Of the best of the measured strategies, by chance."""
    other: int | None = None
    """The feature whose tokens were put in instead, to see whether any tokens would do."""
    other_effect: Effect | None = None
    fires_in: float = 0.0
    """Share of the texts, as they were, in which the feature fires."""

    @property
    def best(self) -> Trial | None:
        return self.trials[0] if self.trials else None


def draw_controls(firing: Sequence[int], seed: int, drivers: Callable[[int], Drivers]) -> list[Drivers]:
    """`CONTROLS` features drawn at random among those that fire, the same for a seed; in the order drawn. Those that
    fire on no token often enough to be tested are passed over: they could have no verdict."""
    order = np.random.default_rng([seed, len(firing)]).permutation(len(firing))[:_TRIES]
    drawn = (drivers(firing[index]) for index in order)
    return list(islice((each for each in drawn if each.tokens), CONTROLS))


def examine(probe: Probe, wanted: Sequence[Drivers], seed: int, others: Sequence[Drivers] = ()) -> list[Tested]:
    """Test some features, together: one verdict each, in order.

    others: features from which one without a common top token is taken, whose tokens are put in by the strategy that
    counts; empty: that is left out. A feature that has nothing to put in is `untested` where it fires in the texts as
    they are, `silent` where it does not.
    """
    baselines = probe.baselines([drivers.feature for drivers in wanted])
    fires = [float((row > 0).mean()) for row in baselines]
    testable = {index: drivers for index, drivers in enumerate(wanted) if drivers.tokens}
    screened = _measure(probe, {i: (d, usable(d)) for i, d in testable.items()}, baselines, _CHOOSING, seed)
    ranked = {index: sorted(trials, key=lambda trial: -trial.d) for index, (trials, _) in screened.items()}
    measured: dict[int, list[Trial]] = {index: [] for index in testable}
    values: dict[int, list[NDArray[np.float64]]] = {index: [] for index in testable}
    for place in range(FINALISTS):
        going = {
            index: (drivers, [ranked[index][place].strategy])
            for index, drivers in testable.items()
            if len(ranked[index]) > place
            and (place == 0 or ranked[index][place].d >= PROMISING)
            and _verdict(measured[index], values[index], baselines[index], seed)[0] != VERDICTS[0]
        }
        for index, (trials, rows) in _measure(probe, going, baselines, _MEASURING, seed).items():
            measured[index] += trials
            values[index] += rows
    found: list[Tested] = []
    for index, drivers in enumerate(wanted):
        if index not in testable:
            found.append(Tested(drivers.feature, "untested" if fires[index] else "silent", fires_in=fires[index]))
            continue
        said, p_best = _verdict(measured[index], values[index], baselines[index], seed)
        chosen = [trial.strategy for trial in measured[index]]
        trials = sorted(measured[index], key=lambda trial: -trial.d)
        trials += [trial for trial in ranked[index] if trial.strategy not in chosen]
        found.append(Tested(drivers.feature, said, tuple(trials), p_best, fires_in=fires[index]))
    return _contrasted(probe, wanted, found, baselines, seed, others)


def _verdict(
    trials: Sequence[Trial], values: Sequence[NDArray[np.float64]], baseline: NDArray[np.float64], seed: int
) -> tuple[Verdict, float | None]:
    """Of what was measured so far, with the chance of the best."""
    if not trials:
        return VERDICTS[3], None
    best = max(trials, key=lambda trial: trial.d)
    p_best = chance_of_best(values, baseline[SCREENED:], seed)
    return verdict(best.d, max(best.p, p_best)), p_best


def _measure(
    probe: Probe,
    asked: Mapping[int, tuple[Drivers, Sequence[str]]],
    baselines: NDArray[np.float64],
    texts: range,
    seed: int,
) -> dict[int, tuple[list[Trial], list[NDArray[np.float64]]]]:
    """By index of the feature: a trial and the maxima of each of its strategies, all read together."""
    rows = [
        (drivers.feature, inject(strategy, drivers, probe.texts[number], number, seed))
        for drivers, strategies in asked.values()
        for strategy in strategies
        for number in texts
    ]
    read = iter(probe.maxima(rows).reshape(-1, len(texts)) if rows else ())
    found = {}
    for index, (_, strategies) in asked.items():
        baseline = baselines[index, texts.start : texts.stop]
        values = [next(read) for _ in strategies]
        trials = [
            Trial(
                strategy, len(texts), *effect(one, baseline), float(one.mean()), float(baseline.mean()),
                float((one > 0).mean()),
            )
            for strategy, one in zip(strategies, values, strict=True)
        ]  # fmt: skip
        found[index] = trials, values
    return found


def _contrasted(
    probe: Probe,
    wanted: Sequence[Drivers],
    found: Sequence[Tested],
    baselines: NDArray[np.float64],
    seed: int,
    others: Sequence[Drivers],
) -> list[Tested]:
    """With what another feature's tokens do, put in by the strategy that counts."""
    texts = range(SCREENED, SCREENED + CONTRASTED)
    pairs = {
        index: (other, tested.best.strategy)
        for index, (drivers, tested) in enumerate(zip(wanted, found, strict=True))
        if tested.best and (other := _stranger(drivers, tested.best.strategy, others))
    }
    rows = [
        (wanted[index].feature, inject(strategy, other, probe.texts[number], number, seed))
        for index, (other, strategy) in pairs.items()
        for number in texts
    ]
    read = iter(probe.maxima(rows).reshape(-1, len(texts)) if rows else ())
    told = list(found)
    for index, (other, _) in pairs.items():
        of = effect(next(read), baselines[index, texts.start : texts.stop])
        told[index] = told[index]._replace(other=other.feature, other_effect=of)
    return told


def _stranger(drivers: Drivers, strategy: str, others: Sequence[Drivers]) -> Drivers | None:
    """The first of the others that can be put in this way and has no top token of the feature's."""
    own = set(drivers.tokens)
    return next((other for other in others if strategy in usable(other) and not own & set(other.tokens)), None)
