"""What attribution explains: one number that the model's predictions of some tokens of a trace give.

    m = Σ_t log p(token_t)                        over the tokens of the final answer, or of one token
    m = Σ_t logit(token_t) − logit(rival_t)       how much rather these tokens than others

Where the model is certain of a token, log p hardly moves whatever is done: its gradient is that of p, which is at its
end. The difference to a rival still moves.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from kthink_core.errors import BadValue
from kthink_core.model.language_model import LanguageModel, text_of
from kthink_core.prompts import answer_span

MOST_TOKENS = 256
"""Of an answer: so many rows of logits are held at once."""


class Objective(NamedTuple):
    """The tokens whose prediction counts."""

    positions: tuple[int, ...]
    """Ascending, none of them 0, which nothing predicts."""
    rivals: tuple[int, ...] = ()
    """[positions] another token id that could stand at each; empty: the log-probability counts."""


def value_of(lm: LanguageModel, hidden: Tensor, token_ids: Tensor, objective: Objective) -> Tensor:
    """m, in float64. `hidden`: last hidden states [positions, width]; `token_ids`: [positions]. Gradients pass."""
    logits, tokens = _logits(lm, hidden, objective).double(), _tokens(token_ids, objective)
    own = logits.gather(1, tokens)
    if not objective.rivals:
        return (own - logits.logsumexp(1, keepdim=True)).sum()
    return (own - logits.gather(1, torch.tensor(objective.rivals, device=logits.device)[:, None])).sum()


def against_runners_up(lm: LanguageModel, hidden: Tensor, token_ids: Tensor, objective: Objective) -> Objective:
    """The same tokens, each against the one that the model found most probable of all others. As for `value_of`."""
    others = _logits(lm, hidden, objective).scatter(1, _tokens(token_ids, objective), -torch.inf)
    return objective._replace(rivals=tuple(others.argmax(1).tolist()))


def _logits(lm: LanguageModel, hidden: Tensor, objective: Objective) -> Tensor:
    """[tokens, vocabulary] that each of the objective's tokens was drawn by."""
    head = lm.model.get_output_embeddings()
    assert head is not None  # every causal language model has one
    return head(hidden[torch.tensor(objective.positions, device=hidden.device) - 1])


def _tokens(token_ids: Tensor, objective: Objective) -> Tensor:
    """[tokens, 1] their ids."""
    return token_ids[torch.tensor(objective.positions, device=token_ids.device), None]


def of_answer(lm: LanguageModel, token_ids: Sequence[int], prompt_tokens: int) -> Objective:
    """The tokens of the content of the last `\\boxed{…}` of what was generated. Raises BadValue where there is none."""
    generated = list(token_ids[prompt_tokens:])
    span = answer_span(text_of(lm.tokenizer, generated, special=False))
    if span is None or span[0] == span[1]:
        raise BadValue("this trace has no answer in \\boxed{}, so there is no token to attribute to: choose a position")
    lengths = _Lengths(lm, generated)
    first, last = bisect_right(lengths, span[0]), bisect_left(lengths, span[1])
    positions = tuple(range(prompt_tokens + first - 1, prompt_tokens + last))
    if len(positions) > MOST_TOKENS:
        raise BadValue(f"the answer has {len(positions)} tokens, more than {MOST_TOKENS}: choose a position")
    return Objective(positions)


def of_token(lm: LanguageModel, token_ids: Sequence[int], position: int, rival: int | None = None) -> Objective:
    """One token, or how much rather it than a rival. Raises BadValue for a position that nothing predicts, and a rival
    that the model has no such token for or that stands there."""
    if not 1 <= position < len(token_ids):
        raise BadValue(f"position {position}: from 1 to {len(token_ids) - 1} is a token that others predict")
    head = lm.model.get_output_embeddings()
    assert head is not None
    if rival is not None and not 0 <= rival < head.weight.shape[0]:
        raise BadValue(f"token {rival}: the model has 0 to {head.weight.shape[0] - 1}")
    if rival == token_ids[position]:
        raise BadValue(f"token {rival} stands at position {position} itself: name another as its rival")
    return Objective((position,), () if rival is None else (rival,))


class _Lengths(Sequence[int]):
    """How many characters the first tokens have, 0 of them, 1, 2 …: each reckoned where it is asked for."""

    def __init__(self, lm: LanguageModel, token_ids: list[int]) -> None:
        self._lm, self._ids = lm, token_ids

    def __len__(self) -> int:
        return len(self._ids) + 1

    def __getitem__(self, tokens: int) -> int:  # type: ignore[override]
        return len(text_of(self._lm.tokenizer, self._ids[:tokens], special=False))
