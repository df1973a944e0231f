"""What SAELens calls the places of a model, in the words used here.

Its names are TransformerLens's, the same for every family of models: `blocks.19.hook_resid_post` is what leaves layer
19, hookpoint `layers.19`. What enters a layer is what leaves the one before it: `blocks.20.hook_resid_pre` is
`layers.19`, too. Or they are modules of the model, `model.layers.19`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, NamedTuple

from kthink_core.errors import UnsupportedSae, short

Part = Literal["", "mlp", "attention"]
"""Whose output is meant: the whole layer's, or that of a part."""

PART_NAMES: Mapping[Part, tuple[str, ...]] = {
    "mlp": ("mlp", "ffn", "feed_forward", "block_sparse_moe"),
    "attention": ("self_attn", "attn", "attention", "self_attention"),
}
"""What model families call the parts of a layer."""

_HOOK = re.compile(r"blocks\.(\d{1,6})\.(\w+(?:\.\w+)*)", re.ASCII)
_MODULE = re.compile(r"(?:model\.|transformer\.|gpt_neox\.)?((?:layers|h|blocks)\.\d+(?:\.(?!hook_)\w+)*)", re.ASCII)
_PLACE = re.compile(r"(?:.*\.)?(?:layers|h|blocks)\.(\d{1,6})(?:\.(\w+))?", re.ASCII)
_OUTPUTS: Mapping[str, Part] = {"hook_resid_post": "", "hook_mlp_out": "mlp", "hook_attn_out": "attention"}
_INPUT = "hook_resid_pre"


class _Place(NamedTuple):
    layer: int
    part: Part


def hookpoint_named(hook: str) -> str:
    """The hookpoint of a hook, as Llama's and Qwen's families call it. Raises UnsupportedSae where there is none."""
    if module := _MODULE.fullmatch(hook):
        return module[1]
    layer, part = _place_of_hook(hook)
    return f"layers.{layer}" + (f".{PART_NAMES[part][0]}" if part else "")


def is_at(hook: str, hookpoint: str) -> bool:
    """Whether a hook is a hookpoint of whatever family of models. Raises UnsupportedSae where it is none."""
    if module := _MODULE.fullmatch(hook):
        return module[1] == hookpoint
    return _place_of_hook(hook) == _place_of_module(hookpoint)


def _place_of_module(name: str) -> _Place | None:
    found = _PLACE.fullmatch(name)
    if not found:
        return None
    layer, child = found.groups()
    if child is None:
        return _Place(int(layer), "")
    return next((_Place(int(layer), part) for part, names in PART_NAMES.items() if child in names), None)


def _place_of_hook(hook: str) -> _Place:
    found = _HOOK.fullmatch(hook)
    layer, name = (int(found[1]), found[2]) if found else (0, "")
    if name in _OUTPUTS:
        return _Place(layer, _OUTPUTS[name])
    if name == _INPUT and layer:
        return _Place(layer - 1, "")
    known = ", ".join(f"blocks.L.{name}" for name in (*_OUTPUTS, _INPUT))
    raise UnsupportedSae(
        f"hook_name '{short(hook)}' is the output of no module: kthink captures {known} (of layer 1 on), and modules "
        "such as model.layers.10.mlp"
    )
