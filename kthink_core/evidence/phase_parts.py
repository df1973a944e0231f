r"""Why a feature fires at more positions inside thoughts than outside: because of the words there, or of the phase?

With n_w, f_w how often token w stands on a side and how often the feature fires on it, N the side's positions, p_w =
n_w / N and r_w = f_w / n_w, the difference of the shares of positions is a sum over the tokens on which it fires. Of
the tokens that stand on both sides often enough, it falls into two parts (Kitagawa 1955, J. Am. Stat. Assoc. 50:1168):

    Σ f_w / N − Σ f'_w / N' = Σ (p_w − p'_w)(r_w + r'_w) / 2 + Σ (r_w − r'_w)(p_w + p'_w) / 2 + the other tokens' part

the words', other tokens stand there, and the phase's, it fires otherwise on the same ones. What the other tokens
contribute belongs to neither: what the feature does on them on the other side, nobody has seen (Ñopo 2008, Review of
Economics and Statistics 90:290).
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kthink_core.evidence.bootstrap import FEWEST, draws, ends
from kthink_core.evidence.clustered_shares import share_intervals

LEAST = 5
"""Times that a token has to stand on either side to be compared."""
MOST = 250
"""Tokens that are looked at for it, those on which the feature fires most often: time and memory are bounded."""

_Floats = NDArray[np.float64]
_Numbers = NDArray[np.int64]


class Counts(NamedTuple):
    """How often tokens stand on either side, and the feature fires on them. Side 0 is the thought, 1 what follows."""

    token: _Numbers
    """[cells] of which token a cell is, from 0; the first ones are those on which the feature fires most often."""
    problem: _Numbers
    """[cells] of which problem, from 0; no two cells are of the same token, problem and side."""
    side: _Numbers
    positions: _Numbers
    """[cells] at which the problem has the token on that side."""
    active: _Numbers
    """[cells] those of them at which the feature fires."""
    totals: _Numbers
    """[2, problems] positions of either side, whatever token is there."""
    fired: _Numbers
    """[2, problems] those of them at which the feature fires."""

    def by_token(self) -> tuple[_Numbers, _Numbers]:
        """Positions and active ones: [2, tokens] each."""
        size = int(self.token.max(initial=-1)) + 1
        summed = (np.bincount(self.side * size + self.token, of, 2 * size) for of in (self.positions, self.active))
        positions, active = (of.reshape(2, size).astype(np.int64) for of in summed)
        return positions, active


class Part(NamedTuple):
    """A figure with its interval of 95 % over problems; NaN where one cannot be had."""

    value: float
    low: float
    high: float

    @property
    def is_sure(self) -> bool:
        """Whether it is of one sign throughout the interval."""
        return self.low > 0 or self.high < 0


class Parts(NamedTuple):
    """The difference of the shares of positions, thought less answer, and its three parts, which add up to it."""

    difference: Part
    words: Part
    phase: Part
    one_sided: Part
    like_think: float
    """Share of the compared tokens' times at which it fires in thoughts, if each stood as often as on average."""
    like_answer: float
    """The same of answers."""


def compared(counts: Counts) -> NDArray[np.bool_]:
    """[tokens] whether a token stands on both sides often enough, and is among the first `MOST`."""
    thought, answer = counts.by_token()[0]
    return (thought >= LEAST) & (answer >= LEAST) & (np.arange(len(thought)) < MOST)


def parts_of(counts: Counts) -> Parts:
    """The parts as they are, and their intervals by bootstrap over problems (see `bootstrap`). A resample in which a
    token does not stand on both sides has it among the others.

    What never fired, or always, does so in each resample, though it stands there seven times only: so the intervals of
    words and phase are at least as wide as those of their tokens' shares make them (Zou and Donner 2008, Statistics in
    Medicine 27:1693).
    """
    problems = counts.totals.shape[1]
    if not problems:
        unknown = Part(np.nan, np.nan, np.nan)
        return Parts(unknown, unknown, unknown, unknown, np.nan, np.nan)
    taken = _taken(problems)
    totals, fired = ((taken @ of.T.astype(np.float32)).T.astype(np.float64) for of in (counts.totals, counts.fired))
    positions, active = _of_compared(counts, taken)
    with np.errstate(divide="ignore", invalid="ignore"):
        difference = fired[0] / totals[0] - fired[1] / totals[1]
        in_both = (positions > 0).all(axis=0)
        share = np.where(in_both, active / np.where(in_both, positions, 1), 0)
        mix = np.where(in_both, positions / totals[:, :, None], 0)
    words = ((mix[0] - mix[1]) * share.mean(axis=0)).sum(axis=1)
    phase = ((share[0] - share[1]) * mix.mean(axis=0)).sum(axis=1)
    mixed = mix[:, 0].mean(axis=0)
    weight, like = float(mixed.sum()), (share[:, 0] * mixed).sum(axis=1)
    known = (np.count_nonzero(counts.totals, axis=1) >= FEWEST).all()
    figures = (difference, words, phase, difference - words - phase)
    parts = [Part(float(one[0]), *(ends(one[1:]) if known else (np.nan, np.nan))) for one in figures]
    below, above = _reach(counts)
    for place in (1, 2):
        value, low, high = parts[place]
        parts[place] = Part(value, min(low, value - below[place - 1]), max(high, value + above[place - 1]))
    inside, outside = (float(one / weight) if weight else np.nan for one in like)
    return Parts(parts[0], parts[1], parts[2], parts[3], inside, outside)


@lru_cache(maxsize=2)
def _taken(problems: int) -> NDArray[np.float32]:
    """[1 + resamples, problems] how often each is taken: in the first row once, in the others as drawn. To draw them
    would take a third of the time of all."""
    taken = np.concatenate([np.ones((1, problems)), draws(problems)]).astype(np.float32)
    taken.flags.writeable = False
    return taken


def _reach(counts: Counts) -> tuple[_Floats, _Floats]:
    """[words, phase] how far below and above their values the intervals of their tokens' shares reach."""
    chosen = compared(counts)
    positions, active = (of[:, chosen] for of in counts.by_token())
    mix, share = positions / counts.totals.sum(axis=1)[:, None], active / positions
    ends = []
    for side in (0, 1):
        here = counts.side == side
        cells = counts.token[here], counts.active[here], counts.positions[here]
        low, high = share_intervals(*cells, len(chosen))
        # Without an interval, of one problem alone, all is possible.
        ends.append((np.nan_to_num(low[chosen], nan=0.0), np.nan_to_num(high[chosen], nan=1.0)))
    below, above = [], []
    for weights in ((mix[0] - mix[1]) / 2 * np.ones((2, 1)), mix.mean(axis=0) * np.array([[1], [-1]])):
        squares = np.zeros(2)
        for side, (low, high) in enumerate(ends):
            down, up = weights[side] * (share[side] - low), weights[side] * (high - share[side])
            swapped = weights[side] < 0
            squares[0] += (np.where(swapped, up, down) ** 2).sum()
            squares[1] += (np.where(swapped, down, up) ** 2).sum()
        below.append(squares[0] ** 0.5)
        above.append(squares[1] ** 0.5)
    return np.array(below), np.array(above)


def _of_compared(counts: Counts, taken: NDArray[np.float32]) -> tuple[_Floats, _Floats]:
    """[2, resamples, tokens] positions and active ones of the tokens that are compared."""
    chosen = compared(counts)
    place = np.cumsum(chosen) - 1
    shape = taken.shape[1], int(chosen.sum())
    found = []
    for of in (counts.positions, counts.active):
        sides = []
        for side in (0, 1):
            here = np.flatnonzero((counts.side == side) & chosen[counts.token])
            cells = np.zeros(shape, np.float32)
            cells[counts.problem[here], place[counts.token[here]]] = of[here]
            sides.append((taken @ cells).astype(np.float64))
        found.append(np.stack(sides))
    return found[0], found[1]
