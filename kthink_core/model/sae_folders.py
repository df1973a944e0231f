"""Where the SAEs of a source lie, and of what format each is: sparsify's or SAELens's.

The SAE of hookpoint `layers.10.mlp` lies in the folder `layers.10.mlp`, in either format, by which its weights are told
(`sae.safetensors`, `sae_weights.safetensors`). In SAELens's it may else be the source's own folder, or a folder in it
by any name, or in one of those, whose `cfg.json` names the hook (hook_names.py): `blocks.10.hook_mlp_out`. Of several
those that lie nearest count.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

import torch

from kthink_core import demo
from kthink_core.config import MOST_ACTIVE
from kthink_core.errors import BadFile, UnknownName, UnsupportedSae
from kthink_core.model import lens_sae, sparse_coder
from kthink_core.model.hook_names import hookpoint_named, is_at
from kthink_core.model.lens_cfg import hook_name_of
from kthink_core.model.lens_sae import load_lens_sae
from kthink_core.model.sae import LoadedSaes, Sae
from kthink_core.model.sources import locate
from kthink_core.model.sparse_coder import load_k_sparse

_CFG = "cfg.json"
_DEEPEST = 4
"""Folders in folders, as in `layer_10/width_16k/canonical/`."""
_MOST_FOLDERS = 4096
"""Looked into, of one source."""


def load_saes(
    source: str, revision: str | None, hookpoints: Sequence[str], device: torch.device, most: int = MOST_ACTIVE
) -> LoadedSaes:
    """The SAE of each hookpoint. `most`: features kept at a position where their number is not fixed.

    Raises MissingFiles, UnknownName for a hookpoint that the source has no SAE for, UnsupportedSae for one that is not
    encoded here, BadFile where cfg.json or the weights are not what they should be.
    """
    places = _places(source, revision, hookpoints)
    names = (_CFG, sparse_coder.WEIGHTS, lens_sae.WEIGHTS)
    patterns = [f"{place}/{name}" if place else name for place in places.values() for name in names]
    found = locate(source, demo.SAES, revision, patterns)
    loaded = {hookpoint: _load(found.folder / place, device, most) for hookpoint, place in places.items()}
    return LoadedSaes(loaded, found.revision, {hookpoint: found.part(place) for hookpoint, place in places.items()})


def check_hookpoints(source: str, revision: str | None, hookpoints: Sequence[str]) -> None:
    """Whether the source has an SAE of each, before anything takes long. Raises MissingFiles, UnknownName,
    UnsupportedSae, BadFile."""
    _places(source, revision, hookpoints)


def hookpoints_in(folder: Path) -> list[str]:
    """Those that a folder has an SAE of, by layer; of hooks, by the name that they have in Llama's family."""
    names = {name for path in _folders(folder) if (name := _hookpoint(folder, path)) is not None}
    return sorted(names, key=lambda name: [(int(part) if part.isdecimal() else -1, part) for part in name.split(".")])


def _load(folder: Path, device: torch.device, most: int) -> Sae:
    return load_lens_sae(folder, device, most) if _is_lens(folder) else load_k_sparse(folder, device)


def _places(source: str, revision: str | None, hookpoints: Sequence[str]) -> dict[str, str]:
    """By hookpoint the folder of its SAE, as named from that of the source; "" is the latter itself."""
    patterns = [f"{hookpoint}/{_CFG}" for hookpoint in hookpoints]
    # Of the hub a pattern's `*` stands for folders in folders, too: cfg.json files are small.
    folder = locate(source, demo.SAES, revision, [*patterns, _CFG, f"*/{_CFG}"]).folder
    return {hookpoint: _place(source, folder, hookpoint) for hookpoint in hookpoints}


def _place(source: str, folder: Path, hookpoint: str) -> str:
    if (folder / hookpoint / _CFG).is_file():
        return hookpoint
    levels = ([path for path in level if _is_hooked_at(path, hookpoint)] for level in _levels(folder))
    found = next(filter(None, levels), [])
    if len(found) > 1:
        names = ", ".join(path.relative_to(folder).as_posix() for path in found[:5])
        raise UnsupportedSae(f"{source} has several SAEs of {hookpoint}: {names}; name the folder of one of them")
    if not found:
        elsewhere = next((reason for path in _folders(folder) if (reason := _at_no_hookpoint(path))), None)
        hint = f"{source} has no {hookpoint}/{_CFG}" + (f"; {elsewhere}" if elsewhere else "")
        raise UnknownName("SAE hookpoint", hookpoint, hookpoints_in(folder), hint)
    return "" if found[0] == folder else found[0].relative_to(folder).as_posix()


def _folders(folder: Path) -> Iterator[Path]:
    """Those with a cfg.json, the nearest first."""
    return chain.from_iterable(_levels(folder))


def _levels(folder: Path) -> Iterator[list[Path]]:
    """Those with a cfg.json: the folder itself, then the ones in it by name, then the ones in these, and so on."""
    level, left = [folder], _MOST_FOLDERS
    for _ in range(_DEEPEST + 1):
        yield [path for path in level if (path / _CFG).is_file()]
        inside = (path for each in level for path in sorted(each.glob("[!.]*")) if path.is_dir())
        level = list(islice(inside, left))
        left -= len(level)


def _hookpoint(folder: Path, path: Path) -> str | None:
    hook = _hook(path)
    if hook is None:
        return path.name if path.parent == folder and path != folder else None
    try:
        return hookpoint_named(hook)
    except UnsupportedSae:
        return None


def _hook(path: Path) -> str | None:
    """The hook that an SAE's cfg.json names; None where none does, and where it cannot be read: that is told of the
    one that is asked for."""
    try:
        return hook_name_of(path / _CFG)
    except (BadFile, OSError):
        return None


def _is_hooked_at(path: Path, hookpoint: str) -> bool:
    hook = _hook(path)
    try:
        return hook is not None and is_at(hook, hookpoint)
    except UnsupportedSae:
        return False


def _at_no_hookpoint(path: Path) -> str | None:
    """Why, if so, of one in SAELens's format."""
    hook = _hook(path)
    if hook is None:
        told = (path / lens_sae.WEIGHTS).is_file()
        return f"{path / _CFG} has no hook_name: give the folder the name of the hookpoint" if told else None
    try:
        hookpoint_named(hook)
    except UnsupportedSae as error:
        return str(error)
    return None


def _is_lens(folder: Path) -> bool:
    """Which of the formats it is; where the weights are missing, by what cfg.json says."""
    if (folder / lens_sae.WEIGHTS).is_file() or (folder / sparse_coder.WEIGHTS).is_file():
        return not (folder / sparse_coder.WEIGHTS).is_file()
    return _hook(folder) is not None
