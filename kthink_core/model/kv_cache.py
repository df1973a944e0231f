"""Tensors that get longer at every step of a generation, without copying at each step what they hold.

Concatenation, which transformers' own cache uses, copies all keys and values for every token: with 32 rows of the demo,
a third of the time.
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedConfig
from transformers.cache_utils import DynamicLayer

_AHEAD = 128
"""Least number of positions that are made room for at once; a quarter of what is held where that is more."""


class Growing:
    """`[rows, …, positions, width]`, longer by some positions with every `append`."""

    def __init__(self) -> None:
        self._room: Tensor | None = None  # [rows, …, positions with room ahead, width]
        self._length = 0

    @property
    def values(self) -> Tensor:
        """What was appended so far, `[rows, …, positions, width]`; a view, valid until the next `append`."""
        assert self._room is not None, "nothing was appended"
        return self._room[..., : self._length, :]

    def append(self, part: Tensor) -> Tensor:
        """Put `[rows, …, some positions, width]` at the end; returns `values`."""
        end = self._length + part.shape[-2]
        if self._room is None or end > self._room.shape[-2]:
            roomier = part.new_empty((*part.shape[:-2], end + max(_AHEAD, end // 4), part.shape[-1]))
            if self._room is not None:
                roomier[..., : self._length, :] = self.values
            self._room = roomier
        self._room[..., self._length : end, :] = part
        self._length = end
        return self.values

    def select(self, rows: Tensor) -> Tensor:
        """Keep only the rows with these indices, in this order; returns `values`."""
        assert self._room is not None, "nothing was appended"
        self._room = self._room[rows]
        return self.values


class _GrowingLayer(DynamicLayer):
    """Keys and values of one attention layer, `[rows, heads, positions, width]`."""

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        super().lazy_initialization(key_states, value_states)
        self._growing_keys, self._growing_values = Growing(), Growing()

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        self.keys, self.values = self._growing_keys.append(key_states), self._growing_values.append(value_states)
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        self.keys, self.values = self._growing_keys.select(indices), self._growing_values.select(indices)


def growing_cache(config: PreTrainedConfig) -> DynamicCache:
    """An empty key-value cache for a model; layers with a sliding window keep transformers' own form."""
    cache = DynamicCache(config=config)
    cache.layers = [_GrowingLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


class _BegunLayer(DynamicLayer):
    """Keys and values of the first positions of one row, put before those of however many rows come. It stays as it
    is, so that any number of passes may go on from it."""

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        super().__init__()
        self.keys, self.values = keys, values
        self.dtype, self.device, self.is_initialized = keys.dtype, keys.device, True

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        def joined(begun: Tensor | None, rest: Tensor) -> Tensor:
            assert begun is not None
            return torch.cat([begun.expand(len(rest), -1, -1, -1), rest], dim=-2)

        return joined(self.keys, key_states), joined(self.values, value_states)


def begun_cache(cache: DynamicCache, positions: int) -> DynamicCache | None:
    """The first `positions` of what a cache holds of its one row, for passes of any number of rows that begin in the
    same way; None where it holds something else than keys and values, such as a sliding window's."""
    begun = DynamicCache()
    for layer in cache.layers:
        if type(layer) is not DynamicLayer or layer.keys is None or layer.values is None:
            return None
        begun.layers.append(_BegunLayer(layer.keys[..., :positions, :], layer.values[..., :positions, :]))
    return begun
