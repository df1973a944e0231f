"""What else the model might have written at a position: its likeliest tokens, and how undecided it was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from kthink_core.model.kv_cache import Growing
from kthink_core.records import MOST_ALTERNATIVES, Alternatives


class Likeliest(NamedTuple):
    """Of some positions; of the model's own distribution (temperature 1, before top-p)."""

    token_ids: Tensor
    """[…, tokens] int32, `MOST_ALTERNATIVES` of them where the vocabulary has as many, the likeliest first."""
    logprobs: Tensor
    """[…, tokens] float32, natural."""
    entropies: Tensor
    """[…] float32: −Σ p ln p over the whole vocabulary, in nats."""

    def told(self, texts: Mapping[int, str]) -> Alternatives:
        """As it is stored. `texts`: of each token at least."""
        token_ids, logprobs, entropies = (values.cpu().numpy() for values in self)
        known = {token_id: texts[token_id] for token_id in sorted(set(token_ids.ravel().tolist()))}
        return Alternatives(token_ids, logprobs, entropies, known)

    def distinct(self) -> set[int]:
        return set(self.token_ids.flatten().tolist())


def likeliest(logprobs: Tensor) -> Likeliest:
    """Of normalised log-probabilities, […, vocabulary] float32. Of equal ones the smaller id goes first; which of those
    that equal the last one are kept is not defined."""
    values, ids = logprobs.topk(min(MOST_ALTERNATIVES, logprobs.shape[-1]), sorted=False)
    ids, order = ids.sort()
    values, by_value = values.gather(-1, order).sort(descending=True, stable=True)
    entropies = torch.special.entr(logprobs.exp()).sum(-1)
    return Likeliest(ids.gather(-1, by_value).int(), values, entropies)


def together(parts: Sequence[Likeliest]) -> Likeliest:
    """Stretches that follow each other, [positions, …] each, as one."""
    return Likeliest(*map(torch.cat, zip(*parts, strict=True)))


class GrowingLikeliest:
    """Of the rows of a batch, longer by one position with every `append`; it stays where the model is."""

    def __init__(self) -> None:
        self._token_ids, self._logprobs, self._entropies = Growing(), Growing(), Growing()

    def append(self, part: Likeliest) -> None:
        """[rows, …] of the next position."""
        self._token_ids.append(part.token_ids[:, None])
        self._logprobs.append(part.logprobs[:, None])
        self._entropies.append(part.entropies[:, None, None])

    def select(self, rows: Tensor) -> None:
        """Keep only the rows with these indices, in this order."""
        for growing in (self._token_ids, self._logprobs, self._entropies):
            growing.select(rows)

    def of(self, row: int) -> Likeliest:
        """[positions, …] of one row, a copy."""
        token_ids, logprobs, entropies = (
            growing.values[row].clone() for growing in (self._token_ids, self._logprobs, self._entropies)
        )
        return Likeliest(token_ids, logprobs, entropies.squeeze(-1))
