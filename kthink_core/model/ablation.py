"""What features do in a trace: each set to 0 where it fires, the trace otherwise as it was written.

h is what passes the hookpoint at a position, a = encode(h). Feature i ablated at positions T:

    h_t − a_{i,t} W_dec[i]     for t in T, the SAE's error kept; all tokens stay as they were written

Of every later token: KL(p ‖ p′) of the distributions from which it was drawn, and log p′(token) − log p(token). One
forward pass a feature, exact. It measures the effect on what was written, not on what would have been written: that is
what steering from a position on tells.

Left out is what cannot change: the layers below the hookpoint, read once for all features of a batch, and the positions
before the first that is ablated, whose keys and values are those of the trace under causal attention.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import DynamicCache

from kthink_core.config import Site
from kthink_core.errors import OutOfMemory
from kthink_core.model.divergence import compared
from kthink_core.model.hookpoints import Edit, passing
from kthink_core.model.kv_cache import begun_cache
from kthink_core.model.language_model import LanguageModel
from kthink_core.model.objective import Objective, against_runners_up, value_of
from kthink_core.model.out_of_memory import out_of_memory
from kthink_core.model.replay import onsets
from kthink_core.model.sae import Latents, Sae, latents_of
from kthink_core.model.steering import Steering

_TOKENS = 2**11
"""Tokens, of all rows, in one pass: a live job waits for no more than that."""


class Target(NamedTuple):
    """A feature, and where it is set to 0."""

    hookpoint: str
    feature: int
    positions: Sequence[int] | None = None
    """None: wherever it fires."""


class Effect(NamedTuple):
    """What an ablation changes. Position t holds what concerns the prediction *of* the token at t; NaN at 0."""

    positions: NDArray[np.int32]
    """[fired] those asked at which the feature fires, ascending; where there is none, nothing was changed."""
    activations: NDArray[np.float32]
    """[fired] what was taken away."""
    kl: NDArray[np.float32]
    """[positions] KL(p ‖ p′) in nats; 0 up to the first position ablated."""
    change: NDArray[np.float32]
    """[positions] log p′(token) − log p(token); 0 up to the first position ablated."""


class _Row(NamedTuple):
    number: int
    """Of its target."""
    hookpoint: str
    feature: int
    at: Tensor
    """[fired] positions, ascending, not empty."""
    activations: Tensor
    """[fired]"""


class Ablation:
    """A trace that was read once, whose features can be ablated. Not for several threads."""

    @torch.inference_mode()
    def __init__(
        self,
        lm: LanguageModel,
        saes: Mapping[str, Sae],
        site: Site,
        token_ids: Sequence[int],
        pause: Callable[[], None] = lambda: None,
        steering: Steering | None = None,
        prompt_tokens: int = 0,
    ) -> None:
        """`steering`, which acts behind `prompt_tokens`, acts in every pass; ablated is what goes on after it. `pause`
        is called between two passes; what it raises ends the work. Raises HookSkipped, UnknownName."""
        self._lm, self._saes, self._pause, self._steering = lm, saes, pause, steering
        self._site: Site = site
        self._ids = torch.tensor([list(token_ids)], device=lm.device)
        self._generated = torch.arange(len(token_ids), device=lm.device)[None] - prompt_tokens
        self._starts = onsets(lm, token_ids, site, steering, prompt_tokens) if steering else None
        cache = None if steering else DynamicCache(config=lm.model.config)
        with passing(lm.model, list(saes), site, self._steered()) as captured:
            output = lm.model.base_model(input_ids=self._ids, past_key_values=cache, use_cache=cache is not None)
        self._hidden: Tensor = output.last_hidden_state[0]
        self._cache = cache
        self._vectors = {hookpoint: vectors[0] for hookpoint, vectors in captured.items()}
        self._latents: dict[str, Latents] = {}

    @torch.inference_mode()
    def effects(self, targets: Sequence[Target]) -> Iterator[tuple[int, Effect]]:
        """The effect of each target, with its index, as they come. Raises OutOfMemory, HookSkipped."""
        length = self._ids.shape[1]
        rows = self._rows(targets)
        silent = set(range(len(targets))) - {row.number for row in rows}
        for index in sorted(silent):
            nothing = np.zeros(length, np.float32)
            nothing[0] = np.nan
            yield index, Effect(np.zeros(0, np.int32), np.zeros(0, np.float32), nothing, nothing.copy())
        for batch, first, hidden in self._passes(rows):
            ids = self._ids[0, first:]
            base, *others = compared(self._lm, [self._hidden[first:], *hidden], ids)
            for row, other in zip(batch, others, strict=True):
                kl, change = (np.zeros(length, np.float32) for _ in range(2))
                kl[0] = change[0] = np.nan
                later = int(row.at[0]) + 1
                kl[later:] = other.kl[later - first :]
                change[later:] = (other.logprob - base.logprob)[later - first :]
                at, activations = row.at.int().cpu().numpy(), row.activations.float().cpu().numpy()
                yield row.number, Effect(at, activations, kl, change)

    @torch.inference_mode()
    def values(self, targets: Sequence[Target], objective: Objective) -> Iterator[tuple[int, float]]:
        """By how much each target changes the objective, with its index, as they come: what it is less what it is
        without the feature, positive where the feature raises it. Raises as `effects` does."""
        rows = self._rows(targets)
        for index in sorted(set(range(len(targets))) - {row.number for row in rows}):
            yield index, 0.0
        ids = self._ids[0]
        last = max(objective.positions)
        base = float(value_of(self._lm, self._hidden, ids, objective))
        for batch, first, hidden in self._passes([row for row in rows if int(row.at[0]) < last]):
            for row, states in zip(batch, hidden, strict=True):
                whole = torch.cat([self._hidden[:first], states])
                yield row.number, base - float(value_of(self._lm, whole, ids, objective))
        for row in rows:
            if int(row.at[0]) >= last:  # what comes after a token does not change it
                yield row.number, 0.0

    @torch.inference_mode()
    def rivalled(self, objective: Objective) -> Objective:
        """The same tokens, each against the one that the model found most probable of all others."""
        return against_runners_up(self._lm, self._hidden, self._ids[0], objective)

    def latents(self, hookpoint: str) -> Latents:
        """The features of the trace at every position, [positions, kept]."""
        if hookpoint not in self._latents:
            with torch.inference_mode():
                self._latents[hookpoint] = latents_of(self._saes[hookpoint], self._vectors[hookpoint])
        return self._latents[hookpoint]

    def _rows(self, targets: Sequence[Target]) -> list[_Row]:
        """Those of the targets that change anything."""
        rows = []
        for index, target in enumerate(targets):
            activations, indices = self.latents(target.hookpoint)
            here = (activations * (indices == target.feature)).sum(-1)  # [positions]
            if target.positions is not None:
                asked = torch.zeros_like(here, dtype=torch.bool)
                asked[torch.tensor(list(target.positions), dtype=torch.int64, device=here.device)] = True
                here = here * asked
            at = here.nonzero()[:, 0]
            if len(at):
                rows.append(_Row(index, target.hookpoint, target.feature, at, here[at]))
        return rows

    def _passes(self, rows: Sequence[_Row]) -> Iterator[tuple[list[_Row], int, list[Tensor]]]:
        """Rows read together; the position from which on they are read; of each its last hidden states from there."""
        waiting = sorted(rows, key=lambda row: (row.hookpoint, int(row.at[0])))
        most = _TOKENS
        while waiting:
            self._pause()
            hookpoint, first = waiting[0].hookpoint, int(waiting[0].at[0])
            cache = begun_cache(self._cache, first) if self._cache is not None and first else None
            if cache is None:
                first = 0
            at_once = max(1, most // (self._ids.shape[1] - first))
            batch = [row for row in waiting[:at_once] if row.hookpoint == hookpoint]
            try:
                with out_of_memory():
                    hidden = self._read(batch, first, cache)
            except torch.OutOfMemoryError as error:
                if len(batch) == 1:
                    remedy = "take a shorter trace or another --device"
                    raise OutOfMemory(self._lm.device.type, "ablating one feature", remedy) from error
                most = (len(batch) + 1) // 2 * (self._ids.shape[1] - first)
                torch.cuda.empty_cache()
                continue
            waiting = waiting[len(batch) :]
            yield batch, first, list(hidden)

    def _read(self, batch: Sequence[_Row], first: int, cache: DynamicCache | None) -> Tensor:
        """[rows, positions from `first` on, width]"""
        length = self._ids.shape[1]
        hookpoint = batch[0].hookpoint
        edits = self._steered()
        edits[hookpoint] = self._without(batch, first, edits.get(hookpoint))
        positions = torch.arange(first, length, device=self._lm.device)[None]
        with passing(self._lm.model, (), self._site, edits):
            output = self._lm.model.base_model(
                input_ids=self._ids[:, first:],
                position_ids=positions,
                past_key_values=cache,
                use_cache=cache is not None,
            )
        return output.last_hidden_state

    def _without(self, batch: Sequence[_Row], first: int, before: Edit | None) -> Edit:
        """One row comes up to the hookpoint, and as many as there are features go on from it."""
        sae = self._saes[batch[0].hookpoint]

        def edit(vectors: Tensor) -> Tensor:
            passed = before(vectors) if before else vectors
            rows = passed.repeat(len(batch), 1, 1)
            for row, (_, _, feature, at, activations) in zip(rows, batch, strict=True):
                row[at - first] -= (activations[:, None] * sae.W_dec[feature]).to(row.dtype)
            return rows

        return edit

    def _steered(self) -> dict[str, Edit]:
        """The steering's edits, for however many rows come: where it acted when the trace was read."""
        return self._steering.edits(self._generated, self._starts) if self._steering else {}
