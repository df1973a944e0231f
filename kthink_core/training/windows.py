"""Texts cut into windows, some of them held out, the others in the order in which they are trained on."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kthink_core.errors import BadValue
from kthink_core.store.trainings import Data, Source
from kthink_core.training.corpus import Corpus, Piece

HELD_OUT = 0.05
"""Share of the tokens that are never trained on."""
MOST_HELD_OUT = 200_000
"""Tokens: so many tell how good an SAE is."""

Window = NDArray[np.int32]
"""[positions] token ids."""


class Windows(NamedTuple):
    trained: list[Window]
    held_out: list[Window]


def cut(corpus: Corpus, window: int, seed: int) -> Windows:
    """Windows of at most so many tokens; those of some groups of texts, drawn with the seed, are held out.

    Groups are held out until they have `HELD_OUT` of the tokens, or `MOST_HELD_OUT`; at least one is, and at least one
    is not. Raises BadValue where there is but one.
    """
    groups: dict[str, list[Piece]] = {}
    for piece in corpus.pieces:
        groups.setdefault(piece.group, []).append(piece)
    if len(groups) < 2:
        raise BadValue(f"{len(groups)} text to train on: it takes two or more, of which some are held out")
    wanted = min(MOST_HELD_OUT, math.ceil(HELD_OUT * sum(len(piece.token_ids) for piece in corpus.pieces)))
    order = np.random.default_rng(seed).permutation(len(groups))[:-1]
    names = list(groups)
    out, tokens = set[str](), 0
    for index in order:
        if tokens >= wanted:
            break
        out.add(names[index])
        tokens += sum(len(piece.token_ids) for piece in groups[names[index]])
    found = Windows([], [])
    for piece in corpus.pieces:
        side = found.held_out if piece.group in out else found.trained
        side += [piece.token_ids[first : first + window] for first in range(0, len(piece.token_ids), window)]
    return found


def described(windows: Windows, sources: Sequence[Source]) -> Data:
    """What there is of either, and its digest."""
    digest = hashlib.sha256()
    for side in windows:
        digest.update(f"{len(side)}:".encode())
        for window in side:
            digest.update(f"{len(window)}:".encode() + window.astype("<i4").tobytes())
    trained, held_out = windows
    return Data(
        digest=f"sha256:{digest.hexdigest()}", sources=tuple(sources),
        windows=len(trained), tokens=sum(map(len, trained)),
        held_out_windows=len(held_out), held_out_tokens=sum(map(len, held_out)),
    )  # fmt: skip


def batches(windows: Sequence[Window], size: int, steps: int | None, seed: int) -> list[list[int]]:
    """Which windows each step trains on, `size` of them; as many steps as asked, or each window once.

    Each time round the windows are shuffled, those of about one length come together, and the batches are shuffled;
    what is left over by whole batches waits for the next time. Raises BadValue where there are too few for one.
    """
    if len(windows) < size:
        raise BadValue(
            f"{len(windows)} windows to train on do not fill a batch: lower --batch-size {size} or --window, or give "
            "more texts"
        )
    lengths = np.array([len(window) for window in windows])
    return list(islice(_rounds(lengths, size, seed), steps or len(windows) // size))


def _rounds(lengths: NDArray, size: int, seed: int) -> Iterator[list[int]]:
    random = np.random.default_rng(seed)
    whole = len(lengths) // size
    while True:
        drawn = random.permutation(len(lengths))[: whole * size]
        alike = drawn[np.argsort(lengths[drawn], kind="stable")].reshape(whole, size)
        yield from alike[random.permutation(whole)].tolist()


def padding(windows: Sequence[Window], vocabulary: int) -> int:
    """A token id that stands nowhere in the windows: what it fills is told by it and left out of the loss. Raises
    BadValue where the model has no such."""
    used = np.zeros(vocabulary, bool)
    for window in windows:
        used[window] = True
    free = np.flatnonzero(~used)
    if len(free) == 0:
        raise BadValue(f"every one of the model's {vocabulary} token ids stands in the data: none is left to pad with")
    return int(free[-1])


class Rows:
    """What a Trainer reads: the windows of every step, one after another, those of a step of one length."""

    def __init__(self, windows: Sequence[Window], order: Sequence[Sequence[int]], pad: int) -> None:
        self._windows, self._order, self._pad = windows, order, pad
        self._size = len(order[0]) if order else 1

    def __len__(self) -> int:
        return len(self._order) * self._size

    def __getitem__(self, row: int) -> dict[str, Tensor]:
        batch = self._order[row // self._size]
        longest = max(len(self._windows[index]) for index in batch)
        window = self._windows[batch[row % self._size]]
        padded = np.full(longest, self._pad, np.int64)
        padded[: len(window)] = window
        return {"input_ids": torch.from_numpy(padded)}

    def select(self, rows: range) -> Rows:
        """Those of the steps that begin in `rows`, which are whole steps."""
        return Rows(self._windows, self._order[rows.start // self._size : rows.stop // self._size], self._pad)
