"""What steering did while an inference was written, told by what was measured: positions, changes, activations, checks.

Peers steer without a word: a hook that a compiled graph leaves out, a cache that was filled before, an error term that
undoes the edit all give fluent text. So a steered run says what happened, and three things are tried on it:

    as it is       one steered feature clamped to the activation that it has: ‖Δh‖ / ‖h‖ is rounding at most
    silent         a feature that does not fire ablated: nothing changes, bit for bit
    cached         the log-probabilities that the run had, token by token with its cache, against those of one pass over
                   the whole text under the same steering: their largest difference, in nats

That every hook ran in every pass is tried all along: `hookpoints.passing` raises where one did not.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from kthink_core.config import Site
from kthink_core.model.hookpoints import Captured
from kthink_core.model.language_model import LanguageModel
from kthink_core.model.replay import replay
from kthink_core.model.steering import Steering
from kthink_core.records import Action, Check, Encoding, Generation, Intervention, Receipt

_ROUNDING = 1e-6
"""Of ‖Δh‖ / ‖h‖."""
_NOTHING = 1e-12
"""Of a vector's norm: what is changed of one of zeros is no share of it."""
_CACHED = {torch.float32: 1e-3}
_CACHED_NARROW = 0.5
"""Nats. Sums in another order round otherwise; at narrow dtypes by much, of unlikely tokens above all."""


def tried(
    lm: LanguageModel, generation: Generation, logprobs: Tensor, site: Site, steering: Steering
) -> tuple[Check, ...]:
    """What is tried on one steered generation. `logprobs`: [positions] those of when it was written. Raises
    HookSkipped."""
    return read_again(lm, generation, logprobs, site, steering)[1]


@torch.inference_mode()
def read_again(
    lm: LanguageModel, generation: Generation, logprobs: Tensor, site: Site, steering: Steering, earlier: int = 0
) -> tuple[Captured, tuple[Check, ...]]:
    """`tried`, with what the pass over the whole text captured where it is steered. The last `earlier` tokens of its
    prompt were written before, as `generate` has it."""
    prompt = generation.prompt.token_ids
    ids, behind = [prompt + generation.token_ids], [len(prompt) - earlier]
    read = replay(lm, ids, steering.hookpoints, site, steering, behind)[0]
    differences = (read.logprobs - logprobs)[len(prompt) :].abs()
    most = _CACHED.get(lm.model.dtype, _CACHED_NARROW)
    return read, (*_edit_checks(steering, read.vectors), Check("cached", float(differences.max()), most))


def _edit_checks(steering: Steering, vectors: Mapping[str, Tensor]) -> list[Check]:
    """`vectors`: by hookpoint, [positions, d_in], of a text."""
    done = steering.interventions[0]
    sae, last = steering.saes[done.hookpoint], vectors[done.hookpoint][-1:]
    latents = sae.encode(last.to(sae.W_dec.dtype))
    now = (latents.activations * (latents.indices == done.feature)).sum()
    firing = set(latents.indices[latents.activations > 0].tolist())
    silent = next((feature for feature in range(sae.shape.num_latents) if feature not in firing), None)
    found = [Check("as it is", _change(steering, last, done.feature, "clamp", float(now)), _ROUNDING)]
    if silent is not None:
        found.append(Check("silent", _change(steering, last, silent, "ablate"), 0.0))
    return found


def _change(steering: Steering, rows: Tensor, feature: int, action: Action, value: float = 0.0) -> float:
    """‖Δh‖ / ‖h‖ of what an intervention does to rows, [positions, d_in]."""
    one = Intervention(steering.interventions[0].hookpoint, feature, action, value)
    (edit,) = Steering((one,), steering.saes).edits(0).values()
    return float((edit(rows[None])[0] - rows).float().norm() / rows.float().norm())


def receipts(
    steering: Steering,
    notes: Mapping[str, Tensor],
    encodings: Mapping[str, Encoding],
    prompt_tokens: int,
    checks: tuple[Check, ...],
) -> tuple[Receipt, ...]:
    """One receipt an intervention. `notes`: of the generated positions. `encodings`: of all positions, of the vectors
    that went on; without one of a hookpoint its activations after are unknown."""
    found = []
    for number, done in enumerate(steering.interventions):
        which = steering.numbers_of(done.hookpoint)
        noted = notes[done.hookpoint].cpu().numpy()  # [generated, 1 + 3 · interventions]
        at = which.index(number)
        changes, acting, befores = np.split(noted[:, 1:], 3, axis=1)  # [generated, interventions] each
        acted = np.flatnonzero(acting[:, at])
        change = changes[acted, at] / np.maximum(noted[acted, 0], _NOTHING)
        before = befores[acted, at]
        encoding = encodings.get(done.hookpoint)
        after = _activations(encoding, done.feature)[prompt_tokens + acted] if encoding else np.empty(0)
        found.append(
            Receipt(
                began=int(acted[0]) if len(acted) else None,
                positions=len(acted),
                change_median=_median(change),
                change_max=_largest(change),
                before_median=_median(before),
                before_max=_largest(before),
                after_median=_median(after),
                after_max=_largest(after),
                checks=checks,
            )
        )
    return tuple(found)


def _activations(encoding: Encoding, feature: int) -> np.ndarray:
    """[positions]"""
    return np.where(encoding.features == feature, encoding.activations, 0).max(1)


def _median(values: np.ndarray) -> float | None:
    return float(np.median(values)) if len(values) else None


def _largest(values: np.ndarray) -> float | None:
    return float(values.max()) if len(values) else None
