"""Traces passed through a model instead of being written by it: those of about one length together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch

from kthink_core.config import Site
from kthink_core.model.hookpoints import Captured
from kthink_core.model.language_model import LanguageModel
from kthink_core.model.replay import replay
from kthink_core.precompute.traces import Traces
from kthink_core.records import Generation

_TOKENS = 2**11
"""Tokens of one pass, padding included, but for a longer trace, which passes alone: what memory it takes does not grow
with their number, and a live job waits for no more than that."""
_AMONG = 16
"""Batches among which traces are put together by their length."""


def by_length(traces: Traces, batch_size: int) -> list[int]:
    """The order in which traces are read: by length among neighbours, so that little is padded, and what is done at any
    time are the first ones but for a few."""
    numbers, lengths, size = traces.numbers, traces.lengths, _AMONG * batch_size
    parts = (numbers[first : first + size] for first in range(0, len(numbers), size))
    return [trace for part in parts for trace in sorted(part, key=lambda trace: (lengths[trace], trace))]


def forced(
    lm: LanguageModel,
    traces: Traces,
    batch: Sequence[int],
    hookpoints: Sequence[str],
    site: Site,
    on_pass: Callable[[int, int], None] = lambda number, rows: None,
) -> Iterator[tuple[Generation, Captured]]:
    """Each as soon as it has passed. Log-probabilities are NaN in the prompt, as a generation has them.

    `on_pass` hears before each pass its number, from 1, and how many traces it takes; what it raises ends the work.
    """
    for number, rows in enumerate(_passes(traces, batch), start=1):
        on_pass(number, len(rows))
        read = [traces.read(trace) for trace in rows]
        sequences = [[*one.prompt.token_ids, *one.token_ids] for one in read]
        given = [len(one.prompt.token_ids) for one in read]
        passed = replay(lm, sequences, hookpoints, site, prompt_tokens=given, others=True)
        for one, captured in zip(read, passed, strict=True):
            given = len(one.prompt.token_ids)
            yield (
                one,
                captured._replace(logprobs=torch.cat([torch.full((given,), torch.nan), captured.logprobs[given:]])),
            )


def _passes(traces: Traces, batch: Sequence[int]) -> Iterator[list[int]]:
    """Which traces pass together."""
    together: list[int] = []
    longest = 0
    for trace in batch:
        longest = max(longest, traces.lengths[trace])
        if together and longest * (len(together) + 1) > _TOKENS:
            yield together
            together, longest = [], traces.lengths[trace]
        together.append(trace)
    if together:
        yield together
