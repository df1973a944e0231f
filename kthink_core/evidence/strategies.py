"""Ways of putting a feature's own tokens into a text that has nothing to do with reasoning (arXiv 2601.05679, §3).

A strategy takes tokens from what drives the feature and changes a text at places drawn at random; the same seed,
feature, strategy and text give the same result, whatever else is tested beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

TOKENS = 3
"""Tokens that prepend, append, intersperse and replace put in."""
BIGRAMS = 2
TRIGRAMS = 1
MOST_ADDED = 4
"""Tokens by which a text grows at most."""

Unit = tuple[int, ...]
"""Token ids that are put in next to each other."""


class Drivers(NamedTuple):
    """What a feature fires on, each list the strongest first; empty where there is nothing of the kind."""

    feature: int
    tokens: tuple[Unit, ...] = ()
    bigrams: tuple[Unit, ...] = ()
    trigrams: tuple[Unit, ...] = ()
    before: tuple[Unit, ...] = ()
    """A top token behind the token that most often stands before it."""
    after: tuple[Unit, ...] = ()
    """A top token with the token that most often follows it."""
    active_trigrams: tuple[Unit, ...] = ()
    """Three neighbours, at each of which the activation is a tenth of its trace's largest or more."""


class Injected(NamedTuple):
    """A changed text."""

    text: int
    """Which of the texts it was."""
    token_ids: tuple[int, ...]
    places: tuple[int, ...]
    """Positions of the tokens that were put in, ascending, from 0 at the text's first token; what stands before the
    first of them is as it was."""


_Change = Callable[[np.random.Generator, Sequence[int], Sequence[Unit]], tuple[list[int], list[int]]]


def _prepend(rng: np.random.Generator, text: Sequence[int], units: Sequence[Unit]) -> tuple[list[int], list[int]]:
    put = _drawn(rng, units, TOKENS)
    return [*put, *text], list(range(len(put)))


def _append(rng: np.random.Generator, text: Sequence[int], units: Sequence[Unit]) -> tuple[list[int], list[int]]:
    put = _drawn(rng, units, TOKENS)
    return [*text, *put], list(range(len(text), len(text) + len(put)))


def _replace(rng: np.random.Generator, text: Sequence[int], units: Sequence[Unit]) -> tuple[list[int], list[int]]:
    places = sorted(rng.choice(len(text), TOKENS, replace=False).tolist())
    changed = list(text)
    for place, token in zip(places, _drawn(rng, units, TOKENS), strict=True):
        changed[place] = token
    return changed, places


def _put_in(count: int) -> _Change:
    """`count` units, each between two tokens of the text, before the first or behind the last."""

    def change(rng: np.random.Generator, text: Sequence[int], units: Sequence[Unit]) -> tuple[list[int], list[int]]:
        gaps = set(rng.choice(len(text) + 1, count, replace=False).tolist())
        changed: list[int] = []
        places: list[int] = []
        for gap in range(len(text) + 1):
            if gap in gaps:
                put = units[int(rng.integers(len(units)))]
                places += range(len(changed), len(changed) + len(put))
                changed += put
            changed += text[gap : gap + 1]
        return changed, places

    return change


def _drawn(rng: np.random.Generator, units: Sequence[Unit], count: int) -> list[int]:
    """So many tokens, each as likely as any other, the same one perhaps again."""
    return [units[index][0] for index in rng.integers(len(units), size=count)]


class Strategy(NamedTuple):
    """One way: what it takes of what drives a feature, and how it changes a text."""

    takes: Callable[[Drivers], Sequence[Unit]]
    change: _Change


STRATEGIES: dict[str, Strategy] = {
    "prepend": Strategy(lambda drivers: drivers.tokens, _prepend),
    "append": Strategy(lambda drivers: drivers.tokens, _append),
    "intersperse": Strategy(lambda drivers: drivers.tokens, _put_in(TOKENS)),
    "replace": Strategy(lambda drivers: drivers.tokens, _replace),
    "bigrams": Strategy(lambda drivers: drivers.bigrams, _put_in(BIGRAMS)),
    "trigrams": Strategy(lambda drivers: drivers.trigrams, _put_in(TRIGRAMS)),
    "token with the one before": Strategy(lambda drivers: drivers.before, _put_in(BIGRAMS)),
    "token with the one after": Strategy(lambda drivers: drivers.after, _put_in(BIGRAMS)),
    "active trigrams": Strategy(lambda drivers: drivers.active_trigrams, _put_in(TRIGRAMS)),
}
"""By name; the order settles which of two equally good ones counts."""


def usable(drivers: Drivers) -> list[str]:
    """The strategies for which the feature has something to put in, in order."""
    return [name for name, strategy in STRATEGIES.items() if strategy.takes(drivers)]


def inject(strategy: str, drivers: Drivers, text: Sequence[int], number: int, seed: int) -> Injected:
    """A text with what drives a feature put into it.

    text: token ids, at least `TOKENS` of them; number: which of the texts it is, from 0. `strategy` is one of those
    that are `usable`.
    """
    takes, change = STRATEGIES[strategy]
    rng = np.random.default_rng([seed, drivers.feature, list(STRATEGIES).index(strategy), number])
    token_ids, places = change(rng, text, takes(drivers))
    return Injected(number, tuple(token_ids), tuple(places))
