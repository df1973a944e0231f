"""Tensors from a file: those that are expected, in the shapes that are expected, every number finite."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from kthink_core.errors import BadFile

_KINDS = {torch.float64, torch.float32, torch.float16, torch.bfloat16}

_SHOWN = 5
"""Names that a message lists."""


def read_tensors(
    path: Path,
    shapes: Mapping[str, tuple[int, ...]],
    device: torch.device,
    optional: Mapping[str, tuple[int, ...]] = MappingProxyType({}),
    *,
    alike: bool = True,
) -> dict[str, Tensor]:
    """The tensors of a safetensors file, floating, and of one type unless `alike` is False.

    Nothing is read before names and shapes are those of `shapes`, and of what there is of `optional`. Raises BadFile,
    naming what is missing, unexpected, of another shape or not finite; OSError.
    """
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - no mapping
            wanted = {**shapes, **{name: shape for name, shape in optional.items() if name in found}}
            if wrong := differences(wanted, found):
                raise BadFile(path, wrong)
            tensors = {name: file.get_tensor(name) for name in wanted}
    except SafetensorError as error:
        raise BadFile(path, f"it is no whole safetensors file: {error}") from error
    kinds = {tensor.dtype for tensor in tensors.values()}
    if not kinds <= _KINDS or (alike and len(kinds) != 1):
        raise BadFile(
            path,
            f"its tensors are not all of {'one of ' if alike else ''}the types {', '.join(sorted(map(str, _KINDS)))}",
        )
    if bad := not_finite(tensors):
        raise BadFile(path, f"{listed(bad)}: not every number is finite")
    return tensors


def differences(expected: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]]) -> str:
    """What is missing, unexpected, or of another shape, in words; empty where nothing is."""
    other = [name for name in expected if name in found and found[name] != expected[name]]
    parts = {
        "missing": [name for name in expected if name not in found],
        "unexpected": [name for name in found if name not in expected],
        "of another shape": [f"{name} {list(found[name])} instead of {list(expected[name])}" for name in other],
    }
    return "; ".join(f"{what}: {listed(names)}" for what, names in parts.items() if names)


def not_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    """The names of those that hold an infinite number or none at all. Reads every number once."""
    return [name for name, tensor in tensors.items() if tensor.numel() and not _is_finite(tensor)]


def listed(names: Iterable[str]) -> str:
    """Some names, not more than a line holds."""
    known = sorted(names)
    more = f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
    return ", ".join(name[:100] for name in known[:_SHOWN]) + more


def _is_finite(tensor: Tensor) -> bool:
    low, high = tensor.aminmax()  # a NaN anywhere is both
    return bool(torch.isfinite(low) & torch.isfinite(high))
