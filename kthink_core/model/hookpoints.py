"""Capture what passes a module of the model.

A hookpoint names a module relative to `model.base_model`, as sparsify does: `layers.10.mlp`. At site `hookpoint` its
output is captured, which is what the SAE was trained on; at site `residual` the input of the decoder layer that the
module belongs to: `layers.10.mlp` gives the residual stream entering layer 10, transformers' `hidden_states[10]`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from torch import Tensor, nn
from transformers import PreTrainedModel

from kthink_core.config import Site
from kthink_core.errors import UnknownName

_LAYER = re.compile(r"(?:.*\.)?(?:layers|h|blocks)\.\d+")


class Captured(NamedTuple):
    """What one sequence of tokens left behind on its way through the model."""

    vectors: dict[str, Tensor]
    """By hookpoint, [positions, width], in the model's dtype and on its device."""
    logprobs: Tensor
    """[positions] float32 on the CPU: natural log-probability of the token at a position given those before it, at
    temperature 1 without filter; NaN where nobody asked: at position 0, and in the prompt of a generation."""


@contextmanager
def capture(model: PreTrainedModel, hookpoints: Sequence[str], site: Site) -> Iterator[dict[str, Tensor]]:
    """While open, every forward pass leaves `[batch, positions, width]` by hookpoint in the yielded dict.

    Hooks sit on the asked modules only. Raises UnknownName for a hookpoint that is no module.
    """
    captured: dict[str, Tensor] = {}
    handles = [_attach(model, hookpoint, site, captured) for hookpoint in hookpoints]
    try:
        yield captured
    finally:
        for handle in handles:
            handle.remove()


def _attach(model: PreTrainedModel, hookpoint: str, site: Site, captured: dict[str, Tensor]) -> Any:
    def keep_output(_module: nn.Module, _inputs: object, output: Tensor | tuple[Tensor, ...]) -> None:
        captured[hookpoint] = (output if isinstance(output, Tensor) else output[0]).detach()

    def keep_input(_module: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]) -> None:
        captured[hookpoint] = (args[0] if args else kwargs["hidden_states"]).detach()

    module = module_of(model, hookpoint)
    if site == "hookpoint":
        return module.register_forward_hook(keep_output)
    layer = _LAYER.match(hookpoint)
    if layer is None:
        raise UnknownName(
            "layer of hookpoint", hookpoint, hookpoint_names(model), "site residual needs a decoder layer"
        )
    return module_of(model, layer.group()).register_forward_pre_hook(keep_input, with_kwargs=True)


def module_of(model: PreTrainedModel, hookpoint: str) -> nn.Module:
    """The module that a hookpoint names. Raises UnknownName."""
    try:
        return model.base_model.get_submodule(hookpoint or "?")  # the empty name would be the model itself
    except AttributeError as error:
        raise UnknownName("hookpoint", hookpoint, hookpoint_names(model)) from error


def hookpoint_names(model: PreTrainedModel) -> list[str]:
    """Modules inside the decoder layers down to one level: `layers.0`, `layers.0.self_attn`, `layers.0.mlp`, …"""
    return [name for name, _ in model.base_model.named_modules() if _LAYER.match(name) and name.count(".") <= 2]
