"""How strongly features fire in many short texts and in changed copies of them, as cheaply as is exact.

Three things are left out that cannot matter: what follows the hookpoint in the model; the part of a changed text before
its first change, whose keys and values are those of the text as it was, under causal attention; and the same text, as
it was, for every further feature.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from kthink_core.config import Site
from kthink_core.model.hookpoints import ending_at, passing
from kthink_core.model.language_model import LanguageModel
from kthink_core.model.sae import Latents, Sae, latents_of

_POSITIONS = 2048
"""Positions of one forward pass: between two of them others may use the device."""

_FEW = 16
"""Rows that are read together though one could begin later than the others."""


class Changed(Protocol):
    """A text with other tokens in it."""

    @property
    def text(self) -> int: ...
    @property
    def token_ids(self) -> tuple[int, ...]: ...
    @property
    def places(self) -> tuple[int, ...]:
        """Ascending; before the first of them the text is as it was."""
        ...


class _Row(NamedTuple):
    place: int
    feature: int
    text: int
    ids: list[int]
    """With the token that begins a sequence."""
    same: int
    """Positions at the beginning that are as in the text."""


class FeatureMaxima:
    """Reads features of one hookpoint in some texts. Not for several threads."""

    def __init__(
        self,
        lm: LanguageModel,
        sae: Sae,
        hookpoint: str,
        site: Site,
        texts: Sequence[Sequence[int]],
        pause: Callable[[], None] = lambda: None,
    ) -> None:
        """texts: token ids each, without one that begins a sequence: it is put before them where the model has one, and
        left out of what is read. `pause` is called between two forward passes; what it raises ends the reading."""
        self.texts = texts
        self._lm, self._sae, self._hookpoint, self._pause = lm, sae, hookpoint, pause
        self._site: Site = site
        begin = lm.tokenizer.bos_token_id
        self._begin = [begin] if isinstance(begin, int) else []
        self._keys: list[tuple[Tensor, Tensor]] | None = None
        """By layer, [texts, heads, positions, width] each; None where the model's cache is of another kind."""
        self._latents = self._read_texts()

    def baselines(self, features: Sequence[int]) -> NDArray[np.float64]:
        """[features, texts] largest activation over a text."""
        return np.array([[_largest(latents, feature) for latents in self._latents] for feature in features]).reshape(
            len(features), len(self.texts)
        )

    @torch.inference_mode()
    def maxima(self, rows: Sequence[tuple[int, Changed]]) -> NDArray[np.float64]:
        """[rows] largest activation of each row's feature over its changed text."""
        begin = self._begin
        listed = [
            _Row(index, feature, changed.text, begin + list(changed.token_ids), len(begin) + changed.places[0])
            for index, (feature, changed) in enumerate(rows)
        ]
        found = np.zeros(len(rows))
        for batch in self._batches(sorted(listed, key=lambda row: (row.same, len(row.ids)))):
            self._pause()
            same = min(row.same for row in batch) if self._keys else 0
            tails = [row.ids[same:] for row in batch]
            latents = self._encoded(tails, self._cache([row.text for row in batch], same))
            for row, after in zip(batch, latents, strict=True):
                before = _largest(self._latents[row.text], row.feature, same - len(begin)) if same else 0.0
                found[row.place] = max(before, _largest(after, row.feature))
        return found

    @torch.inference_mode()
    def activations(self, feature: int, token_ids: Sequence[int]) -> NDArray[np.float64]:
        """[positions] activation of a feature at each of a text's own tokens."""
        (latents,) = self._encoded([[*self._begin, *token_ids]], None)
        here = torch.where(latents.indices == feature, latents.activations, 0).amax(-1)
        return here.double().cpu().numpy()

    @torch.inference_mode()
    def _read_texts(self) -> list[Latents]:
        read: list[Latents] = []
        kept: list[list[tuple[Tensor, Tensor]]] = []
        plain = True
        size = max(1, _POSITIONS // max(len(text) + 1 for text in self.texts))
        alike = len({len(text) for text in self.texts}) == 1
        for first in range(0, len(self.texts), size):
            self._pause()
            part = [[*self._begin, *text] for text in self.texts[first : first + size]]
            cache = DynamicCache(config=self._lm.model.config) if alike else None
            read += self._encoded(part, cache)
            layers = _keys_and_values(cache) if cache is not None else []
            plain = plain and bool(layers)
            kept.append(layers)
        if plain:
            self._keys = [
                (torch.cat([keys for keys, _ in layer]), torch.cat([values for _, values in layer]))
                for layer in zip(*kept, strict=True)
            ]
        return read

    def _batches(self, rows: Sequence[_Row]) -> list[list[_Row]]:
        """Rows whose first change is at about the same position, together."""
        batches: list[list[_Row]] = []
        for row in rows:
            batch = batches[-1] if batches else []
            begin = batch[0].same if batch and self._keys else 0
            longest = max([len(row.ids), *(len(other.ids) for other in batch)]) - begin
            near = len(batch) < _FEW or row.same - begin <= longest // 8
            if batch and near and (len(batch) + 1) * longest <= _POSITIONS:
                batch.append(row)
            else:
                batches.append([row])
        return batches

    def _cache(self, texts: Sequence[int], same: int) -> DynamicCache | None:
        if not self._keys or not same:
            return None
        cache = DynamicCache()
        rows = torch.tensor(texts, device=self._lm.device)
        for layer, (keys, values) in enumerate(self._keys):
            cache.update(keys[rows, :, :same], values[rows, :, :same], layer)
        return cache

    def _encoded(self, sequences: Sequence[Sequence[int]], cache: DynamicCache | None) -> list[Latents]:
        """The latents of each sequence, which goes on from what the cache holds of its row; of the token that begins a
        sequence none. Padded on the right: no position sees what comes after it."""
        model, device = self._lm.model, self._lm.device
        longest = max(map(len, sequences))
        padded = torch.tensor([[*ids, *[0] * (longest - len(ids))] for ids in sequences], device=device)
        begin = cache.get_seq_length() if cache is not None else 0
        positions = torch.arange(begin, begin + longest, device=device)[None].expand(len(sequences), -1)
        with passing(model, [self._hookpoint], self._site) as captured, ending_at(model, self._hookpoint, self._site):
            model.base_model(
                input_ids=padded, position_ids=positions, past_key_values=cache, use_cache=cache is not None
            )
        first = max(len(self._begin) - begin, 0)
        rows = zip(captured[self._hookpoint], sequences, strict=True)
        whole = latents_of(self._sae, torch.cat([row[first : len(ids)] for row, ids in rows]))
        lengths = [len(ids) - first for ids in sequences]
        parts = whole.activations.float().split(lengths), whole.indices.split(lengths)
        return [Latents(*pair) for pair in zip(*parts, strict=True)]


def _keys_and_values(cache: DynamicCache) -> list[tuple[Tensor, Tensor]]:
    """Of each layer that was reached; empty where a layer keeps something else, such as a sliding window's."""
    if any(type(layer) is not DynamicLayer for layer in cache.layers):
        return []
    pairs = [(layer.keys, layer.values) for layer in cache.layers if isinstance(layer, DynamicLayer)]
    return [(keys, values) for keys, values in pairs if keys is not None and values is not None]


def _largest(latents: Latents, feature: int, end: int | None = None) -> float:
    """Of a feature over positions [0, end)."""
    activations, indices = latents.activations[:end], latents.indices[:end]
    here = activations[indices == feature]
    return float(here.max()) if len(here) else 0.0
