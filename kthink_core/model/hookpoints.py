"""Capture what passes a module of the model, and put something else in its place.

A hookpoint names a module relative to `model.base_model`, as sparsify does: `layers.10.mlp`. At site `hookpoint` it is
its output, which is what the SAE was trained on; at site `residual` the input of the decoder layer that the module
belongs to: `layers.10.mlp` gives the residual stream entering layer 10, transformers' `hidden_states[10]`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from types import MappingProxyType
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from kthink_core.config import Site
from kthink_core.errors import HookSkipped, UnknownName
from kthink_core.model.likeliest import Likeliest
from kthink_core.records import Check

_LAYER = re.compile(r"(?:.*\.)?(?:layers|h|blocks)\.\d+")

Edit = Callable[[Tensor], Tensor]
"""[batch, positions, width] as it passes → what goes on in its place, of the same dtype and device, and shape but for a
batch of one, of which several may come."""


class Captured(NamedTuple):
    """What one sequence of tokens left behind on its way through the model."""

    vectors: dict[str, Tensor]
    """By hookpoint, [positions, width], in the model's dtype and on its device."""
    logprobs: Tensor
    """[positions] float32 on the CPU: natural log-probability of the token at a position given those before it, at
    temperature 1 without filter; NaN where nobody asked: at position 0, and in the prompt of a generation."""
    notes: Mapping[str, Tensor] = MappingProxyType({})
    """By hookpoint at which a generation was steered, [generated, …]: what was done there (`steering.Notes`)."""
    checks: tuple[Check, ...] = ()
    """What was tried on it where it was steered (receipts.py)."""
    likeliest: Likeliest | None = None
    """[generated, …] what else might have stood there; None where nobody asked."""


@contextmanager
def passing(
    model: PreTrainedModel, hookpoints: Sequence[str], site: Site, edits: Mapping[str, Edit] | None = None
) -> Iterator[dict[str, Tensor]]:
    """For one forward pass: what passes `hookpoints`, `[batch, positions, width]` each, is in the yielded dict after
    it. What passes the hookpoints of `edits` is replaced first; captured is what goes on.

    Hooks sit on the asked modules only. Raises UnknownName for a hookpoint that is no module; HookSkipped, at the end,
    where a hook did not run: as a compiled graph does it, which would leave an edit out without a word.
    """
    captured: dict[str, Tensor] = {}
    edited: set[str] = set()

    def replaced(hookpoint: str, edit: Edit) -> Edit:
        def put(vectors: Tensor) -> Tensor:
            edited.add(hookpoint)
            return edit(vectors)

        return put

    def kept(hookpoint: str) -> Callable[[Tensor], None]:
        return lambda vectors: captured.__setitem__(hookpoint, vectors.detach())

    with ExitStack() as attached:
        for hookpoint, edit in (edits or {}).items():  # before the others: hooks run in the order of their coming
            attached.callback(_attach(model, hookpoint, site, replaced(hookpoint, edit)).remove)
        for hookpoint in hookpoints:
            attached.callback(_attach(model, hookpoint, site, kept(hookpoint)).remove)
        yield captured
    if skipped := [*((edits or {}).keys() - edited), *(set(hookpoints) - captured.keys())]:
        raise HookSkipped(skipped)


def _attach(
    model: PreTrainedModel, hookpoint: str, site: Site, see: Callable[[Tensor], Tensor | None]
) -> RemovableHandle:
    """`see` hears what passes; what it returns, if anything, goes on."""

    def output(_module: nn.Module, _inputs: object, given: Any) -> Any:
        vectors = see(given if isinstance(given, Tensor) else given[0])
        if vectors is None or isinstance(given, Tensor):
            return vectors
        return (vectors, *given[1:])

    def inputs(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        vectors = see(args[0] if args else kwargs["hidden_states"])
        if vectors is None:
            return None
        return ((vectors, *args[1:]), kwargs) if args else (args, kwargs | {"hidden_states": vectors})

    module = module_of(model, hookpoint)
    if site == "hookpoint":
        return module.register_forward_hook(output)
    layer = layer_of(hookpoint)
    if layer is None:
        raise UnknownName(
            "layer of hookpoint", hookpoint, hookpoint_names(model), "site residual needs a decoder layer"
        )
    return module_of(model, layer).register_forward_pre_hook(inputs, with_kwargs=True)


def layer_of(hookpoint: str) -> str | None:
    """The decoder layer that a hookpoint belongs to, `layers.10` of `layers.10.mlp`; None where it is in none."""
    layer = _LAYER.match(hookpoint)
    return layer and layer.group()


def module_of(model: PreTrainedModel, hookpoint: str) -> nn.Module:
    """The module that a hookpoint names. Raises UnknownName."""
    try:
        return model.base_model.get_submodule(hookpoint or "?")  # the empty name would be the model itself
    except AttributeError as error:
        raise UnknownName("hookpoint", hookpoint, hookpoint_names(model)) from error


def decoder_layers(model: PreTrainedModel) -> list[nn.Module]:
    """The layers themselves, in their order."""
    return [module for name, module in model.base_model.named_modules() if _LAYER.fullmatch(name)]


def hookpoint_names(model: PreTrainedModel) -> list[str]:
    """Modules inside the decoder layers down to one level: `layers.0`, `layers.0.self_attn`, `layers.0.mlp`, …"""
    return [name for name, _ in model.base_model.named_modules() if _LAYER.match(name) and name.count(".") <= 2]


class _Reached(Exception):
    """A forward pass has come as far as it is needed."""


@contextmanager
def ending_at(model: PreTrainedModel, hookpoint: str, site: Site) -> Iterator[None]:
    """A forward pass in this block ends where the hookpoint has been captured: nothing behind it is computed. To be
    opened inside `passing`, whose hooks run first; what follows the pass in the block is left out."""

    def reached(_: Tensor) -> Tensor | None:
        raise _Reached

    handle = _attach(model, hookpoint, site, reached)
    try:
        yield
    except _Reached:
        pass
    finally:
        handle.remove()
