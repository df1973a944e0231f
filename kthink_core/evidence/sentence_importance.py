"""Which sentences of a thought matter: how far each moves the distribution of final answers (thought anchors, Bogdan
et al. 2025, arXiv 2506.19143).

From just before a sentence and from just after it the model goes on n times, with the same n seeds. With b and a the
counts of the answers there, over the answers seen at either place,

    importance = KL(after ‖ before) = Σ p ln(p / q),  p = (a + ½) / (n + m / 2),  q = (b + ½) / (n + m / 2)

m the number of these answers; ½ is Jeffreys' prior (Krichevsky and Trofimov 1981). Of two equal distributions it is
above 0, too, by about (m − 1) / n: what chance gives stands beside it. The divergence is from after to before: p, with
the sentence, stands first. It is not symmetric; the other way round it has other values.

chance      before and after dealt out anew within each seed, 10,000 times: they are pairs, and if a sentence moves
            nothing, either of a pair may be the one before (a sign-flip test). p is the share of dealings, the true one
            included, with as large an importance; q over the sentences by Benjamini and Hochberg (1995).
interval    bootstrap over seeds. A resample's importance is too large once more, by as much on average as they exceed
            the measured one: the percentiles are moved down by that, to 0 at most.

Answers are codes from 0, [rollouts], in the order of the seeds; no answer is a code as any other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

DEALINGS = 10_000
RESAMPLES = 2_000
_TIE = 1e-9
_SEED = 4

Codes = NDArray[np.int64]
Counts = NDArray[np.float64] | NDArray[np.int64]


class Moved(NamedTuple):
    """A figure of two places with what is known of it."""

    value: float
    low: float
    high: float
    """Ends of the 95 % interval."""
    chance: float
    """What it is by chance, on average over the dealings."""
    chance_high: float
    """What chance exceeds in 5 % of them."""
    p: float


class _Pairs(NamedTuple):
    """Seeds whose answers are the same at every place, counted."""

    kinds: Codes
    """[kinds, places] answers, numbered anew from 0."""
    counts: Codes
    """[kinds] seeds."""
    answers: int

    def counted(self, place: int, drawn: Counts) -> NDArray[np.float64]:
        """How often each answer is given at a place: [draws, kinds] → [draws, answers]."""
        return drawn @ np.eye(self.answers)[self.kinds[:, place]]


def importance(before: Codes, after: Codes) -> Moved:
    """How far the sentence between two places moves the answers; places are paired by seed."""
    pairs, random = _pairs(before, after), np.random.default_rng(_SEED)
    value = float(divergence(pairs.counted(1, pairs.counts), pairs.counted(0, pairs.counts)))
    swapped = random.binomial(pairs.counts, 0.5, (DEALINGS, len(pairs.counts)))
    stayed = pairs.counts - swapped
    dealt = divergence(
        pairs.counted(1, stayed) + pairs.counted(0, swapped), pairs.counted(0, stayed) + pairs.counted(1, swapped)
    )
    drawn = random.multinomial(len(before), pairs.counts / len(before), RESAMPLES)
    resampled = divergence(pairs.counted(1, drawn), pairs.counted(0, drawn))
    return _moved(value, dealt, resampled, (dealt >= value - _TIE).sum())


def counterfactual(before: Codes, after: Codes, differs: NDArray[np.bool_]) -> Moved | None:
    """`importance` against those rollouts from before only whose own first sentence `differs` from the one written: by
    exact text but for case and white space, not in meaning as the paper has it, so that a paraphrase differs. They are
    no pairs any more: chance deals out both together. None where fewer than two differ."""
    if differs.sum() < 2:
        return None
    pairs, random = _pairs(before, after), np.random.default_rng(_SEED)
    there = np.bincount(np.unique(np.r_[before, after], return_inverse=True)[1][: len(before)][differs],
                        minlength=pairs.answers)  # fmt: skip
    whole = pairs.counted(1, pairs.counts)
    value = float(divergence(whole, there))
    pool = (whole + there).astype(np.int64)
    dealt_before = random.multivariate_hypergeometric(pool, int(there.sum()), DEALINGS)
    dealt = divergence(pool - dealt_before, dealt_before)
    drawn = random.multinomial(len(before), whole / len(before), RESAMPLES)
    drawn_before = random.multinomial(int(there.sum()), there / there.sum(), RESAMPLES)
    return _moved(value, dealt, divergence(drawn, drawn_before), (dealt >= value - _TIE).sum())


def passing(before: Codes, after: Codes, before_clamped: Codes, after_clamped: Codes) -> Moved:
    """How much of a sentence's importance passes a feature: the importance less the importance with the feature
    clamped, both over the answers seen at any of the four places. Chance deals out clamped and not within each seed;
    p is two-sided."""
    pairs, random = _pairs(before, after, before_clamped, after_clamped), np.random.default_rng(_SEED)

    def difference(own: Counts, other: Counts) -> NDArray[np.float64]:
        """Of `own` kinds as they are, and of `other` ones with clamped and not the other way round."""
        places = [pairs.counted(place, own) + pairs.counted((place + 2) % 4, other) for place in range(4)]
        return divergence(places[1], places[0]) - divergence(places[3], places[2])

    value = float(difference(pairs.counts, np.zeros_like(pairs.counts)))
    swapped = random.binomial(pairs.counts, 0.5, (DEALINGS, len(pairs.counts)))
    dealt = difference(pairs.counts - swapped, swapped)
    drawn = random.multinomial(len(before), pairs.counts / len(before), RESAMPLES)
    resampled = difference(drawn, np.zeros_like(drawn))
    return _moved(value, dealt, resampled, (abs(dealt) >= abs(value) - _TIE).sum(), least=-math.inf)


def accuracy_difference(before: NDArray[np.bool_], after: NDArray[np.bool_]) -> Moved:
    """Share of right answers after less before; p two-sided."""
    change, random = after.astype(np.int64) - before, np.random.default_rng(_SEED)
    n, up, down = len(change), int((change > 0).sum()), int((change < 0).sum())
    dealt = (2 * random.binomial(up + down, 0.5, DEALINGS) - (up + down)) / n
    drawn = random.multinomial(n, [up / n, down / n, (n - up - down) / n], RESAMPLES)
    value = (up - down) / n
    low, high = np.quantile((drawn[:, 0] - drawn[:, 1]) / n, (0.025, 0.975))
    p = (1 + (abs(dealt) >= abs(value) - _TIE).sum()) / (1 + DEALINGS)
    return Moved(value, float(low), float(high), 0.0, float(np.quantile(dealt, 0.95)), float(p))


def divergence(after: Counts, before: Counts) -> NDArray[np.float64]:
    """KL(after ‖ before) of counts [..., answers], with ½ added to each, in nats: [...]."""
    p, q = after + 0.5, before + 0.5
    p, q = p / p.sum(-1, keepdims=True), q / q.sum(-1, keepdims=True)
    return (p * np.log(p / q)).sum(-1)


def q_values(p: Sequence[float]) -> NDArray[np.float64]:
    """False discovery rates of Benjamini and Hochberg (1995), [tests]. Neighbouring sentences share the rollouts
    between them; for what depends like this the procedure is no proof, but known to hold."""
    given = np.asarray(p, np.float64)
    order = np.argsort(given, kind="stable")
    ranked = given[order] * len(given) / np.arange(1, len(given) + 1)
    q = np.empty_like(given)
    q[order] = np.minimum(np.minimum.accumulate(ranked[::-1])[::-1], 1)
    return q


def _pairs(*places: Codes) -> _Pairs:
    answers, numbered = np.unique(np.stack(places, axis=1), return_inverse=True)
    kinds, counts = np.unique(numbered.reshape(-1, len(places)), axis=0, return_counts=True)
    return _Pairs(kinds, counts, len(answers))


def _moved(
    value: float, dealt: NDArray[np.float64], resampled: NDArray[np.float64], reached: int, least: float = 0.0
) -> Moved:
    excess = resampled.mean() - value
    low, high = np.maximum(np.quantile(resampled, (0.025, 0.975)) - excess, least)
    p = (1 + reached) / (1 + len(dealt))
    return Moved(value, float(low), float(high), float(dealt.mean()), float(np.quantile(dealt, 0.95)), float(p))
