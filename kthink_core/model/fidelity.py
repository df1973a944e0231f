"""What an SAE's reconstruction costs the model: what it predicts with x̂, or with nothing, in the place of x.

One teacher-forced pass over a text for each of them: the model as it is; at one hookpoint x̂ = decode(encode(x)) in the
place of the captured vector x; at one hookpoint 0 in its place. What is replaced is replaced at every position, in the
prompt and at sinks, too. Of the prediction of the token at position t, which is made at t − 1:

    log p(token), log p̂(token), log p₀(token)
    KL(p ‖ p̂) = Σ_w p(w) (log p(w) − log p̂(w))        over the vocabulary, in nats

Their means over a scope give loss recovered, (CE_zero − CE_sae) / (CE_zero − CE_model), CE = −mean log p(token): the
figure of Gated SAEs (Rajamanoharan et al. 2024, arXiv 2404.16014) and of SAEBench, there for mean or zero ablation;
here for zero.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from kthink_core.config import Site
from kthink_core.errors import OutOfMemory
from kthink_core.model.divergence import compared
from kthink_core.model.hookpoints import Edit, passing
from kthink_core.model.language_model import LanguageModel
from kthink_core.model.replay import onsets
from kthink_core.model.sae import Sae, chunks
from kthink_core.model.steering import Steering
from kthink_core.records import Fidelity

_TOKENS = 2**11
"""Tokens, of all rows, in one pass: a live job waits for no more than that."""


class _Row(NamedTuple):
    """One way through the model."""

    hookpoint: str
    put: Literal["reconstruction", "nothing"]


@torch.inference_mode()
def fidelity(
    lm: LanguageModel,
    saes: Mapping[str, Sae],
    site: Site,
    token_ids: Sequence[int],
    pause: Callable[[], None],
    steering: Steering | None = None,
    prompt_tokens: int = 0,
) -> dict[str, Fidelity]:
    """Of one text, by hookpoint; arrays are [positions], NaN at 0, which nothing predicts.

    Where the text was written under `steering`, which acts behind `prompt_tokens`, it acts in every pass, and what is
    replaced is what goes on after it. `pause` is called between two passes; what it raises ends the work. Raises
    HookSkipped, OutOfMemory.
    """
    rows: list[_Row | None] = [None]
    rows += [row for hookpoint in saes for row in (_Row(hookpoint, "reconstruction"), _Row(hookpoint, "nothing"))]
    ids = torch.tensor([token_ids], device=lm.device)
    generated = torch.arange(len(token_ids), device=lm.device)[None] - prompt_tokens
    starts = onsets(lm, token_ids, site, steering, prompt_tokens) if steering else None
    at_once = max(1, _TOKENS // len(token_ids))
    hidden: list[Tensor] = []
    while len(hidden) < len(rows):
        pause()
        part = rows[len(hidden) : len(hidden) + at_once]
        try:
            with passing(lm.model, (), site, _edits(saes, part, steering, generated, starts)):
                output = lm.model.base_model(input_ids=ids.expand(len(part), -1), use_cache=False)
            hidden += output.last_hidden_state.unbind()
        except torch.OutOfMemoryError as error:
            if at_once == 1:
                remedy = "what was generated is kept: free memory there, or run again with another --device"
                raise OutOfMemory(lm.device.type, "measuring what the reconstruction costs", remedy) from error
            at_once = (at_once + 1) // 2
            torch.cuda.empty_cache()
    pause()
    found = compared(lm, hidden, ids[0])
    base, reconstructed, zeroed = found[0], found[1::2], found[2::2]
    return {
        hookpoint: Fidelity(base[0], with_sae[0], without[0], with_sae[1])
        for hookpoint, with_sae, without in zip(saes, reconstructed, zeroed, strict=True)
    }


def _edits(
    saes: Mapping[str, Sae],
    rows: Sequence[_Row | None],
    steering: Steering | None,
    generated: Tensor,
    starts: Tensor | None,
) -> dict[str, Edit]:
    """What is put where, by hookpoint, in a batch of such rows. `generated`: [1, positions] as for `Steering.edits`."""
    edits: dict[str, Edit] = dict(steering.edits(generated.expand(len(rows), -1), starts)) if steering else {}
    for hookpoint in dict.fromkeys(row.hookpoint for row in rows if row):
        at = [(number, row.put) for number, row in enumerate(rows) if row and row.hookpoint == hookpoint]
        edits[hookpoint] = _replacing(saes[hookpoint], at, edits.get(hookpoint))
    return edits


def _replacing(sae: Sae, at: Sequence[tuple[int, str]], first: Edit | None) -> Edit:
    """Puts the reconstruction or nothing in the place of some rows, after `first` has done its work."""

    def edit(vectors: Tensor) -> Tensor:
        passed = first(vectors) if first else vectors
        result = passed.clone()
        for row, put in at:
            result[row] = _reconstructed(sae, passed[row]) if put == "reconstruction" else 0
        return result

    return edit


def _reconstructed(sae: Sae, vectors: Tensor) -> Tensor:
    """[positions, d_in] → the same of x̂, in the dtype of x."""
    parts = chunks(sae, vectors.to(sae.W_dec.dtype))
    return torch.cat([sae.decode(sae.encode(part)) for part in parts]).to(vectors.dtype)
