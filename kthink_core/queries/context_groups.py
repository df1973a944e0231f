"""Contexts that are nearly the same: one of them is shown, the positions of the others are counted with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_array

from kthink_core.sentence_splitting import sentences

SAME = 0.8
"""Contexts of which this share of tokens is the same, in whatever order, are nearly the same."""


class Likeness:
    """Which of some contexts are nearly the same: they have one sentence in common, the one with the place, as it is
    written but for white space; or `SAME` of their tokens. Digits count: sums of other numbers are other sentences."""

    def __init__(self, tokens: pd.DataFrame, middles: Sequence[int]) -> None:
        """`tokens`: place, position, token_id, text, by place and position; `middles`: [places] each one's position."""
        place, tables = tokens["place"].to_numpy(), {"token": tokens["token_id"], "place": tokens["place"]}
        number = pd.DataFrame(tables).groupby(["place", "token"]).cumcount()
        # The n-th of a token in a context is a column: shared columns are then the tokens that both have.
        _, column = np.unique(np.stack([tokens["token_id"], number]), axis=1, return_inverse=True)
        shape = len(middles), int(column.max(initial=-1)) + 1
        self._has = csr_array((np.ones(len(place), np.int32), (place, column.ravel())), shape)
        self._sizes = np.bincount(place, minlength=len(middles))
        starts = np.append(0, np.cumsum(self._sizes))
        texts, positions = tokens["text"].tolist(), tokens["position"].tolist()
        said = [
            _sentence(texts[begin:end], positions[begin], middle)
            for begin, end, middle in zip(starts[:-1], starts[1:], middles, strict=True)
        ]
        self._said = pd.factorize(pd.Series(said, dtype=object))[0]

    def to(self, one: int) -> NDArray[np.bool_]:
        """[places] whether each is nearly as that one."""
        both = self._has @ self._has[[one]].toarray().ravel()
        return (both >= SAME * np.maximum(self._sizes, self._sizes[one])) | (
            (self._said == self._said[one]) & (self._said[one] >= 0)
        )


def _sentence(texts: Sequence[str], first: int, middle: int) -> str | None:
    """The sentence at position `middle` as far as it lies in the context; None of one that says nothing."""
    within = next(each for each in sentences(texts, first) if each.first <= middle <= each.last)
    return " ".join("".join(texts[within.first - first : within.last + 1 - first]).split()) or None


class Band(NamedTuple):
    """Contexts that are offered for one band, in order."""

    name: str
    offered: Sequence[int]
    looked_at: int
    """How many of them a page looks at."""
    shown: int
    """How many a page shows, at most."""


class Shown(NamedTuple):
    """A context that is shown."""

    context: int
    band: str
    page: int


def shown_once(bands: Sequence[Band], likeness: Likeness, pages: int) -> tuple[list[Shown], dict[int, int]]:
    """Go through the bands page by page, each where the last page left it, and take those that are not nearly as one
    that was taken before; what a page shows does not depend on the pages after it. Returns them in the order in which
    they were taken, and which of them each context that was seen or offered is counted with: the first that it is
    nearly as, itself if it is shown."""
    counted: dict[int, int] = {}
    seen: set[int] = set()
    taken: list[Shown] = []
    places = {band.name: 0 for band in bands}

    def unseen(band: Band, page: int) -> Iterator[int]:
        while places[band.name] < min(len(band.offered), band.looked_at * page):
            context = band.offered[places[band.name]]
            places[band.name] += 1
            if context not in seen:
                seen.add(context)
                yield context

    def new(band: Band, page: int) -> Iterator[int]:
        return (context for context in unseen(band, page) if context not in counted)

    for page in range(1, pages + 1):
        for band in bands:
            for context in islice(new(band, page), band.shown):
                taken.append(Shown(context, band.name, page))
                for like in np.flatnonzero(likeness.to(context)).tolist():
                    counted.setdefault(like, context)
                counted[context] = context
    return taken, counted
