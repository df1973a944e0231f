"""At which site of its layer an SAE was trained: the same tokens, encoded at each, and how badly they come out.

1. `capture` runs some token sequences through the model once, and keeps what passes every site of some layers.
2. `measured` encodes and decodes the vectors of each site with the SAE; the FVU of each says how much is lost.
3. `Audit.trained` is the site at which the SAE works, where it is clearly one.

FVU = Σ ‖x − x̂‖² / Σ ‖x − x̄‖² (EleutherAI's sparsify), over the positions that are no sinks: those whose ‖x‖ is more
than ten times the median one. A few sinks would be nearly all of the variance, and say nothing of the rest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from kthink_core.errors import UnsupportedSae
from kthink_core.model.hook_names import PART_NAMES
from kthink_core.model.hookpoints import layer_of, module_of, passing
from kthink_core.model.language_model import LanguageModel
from kthink_core.model.sae import Sae, chunks

LAYER_INPUT, LAYER_OUTPUT = "layer input", "layer output"
MLP_OUTPUT, ATTENTION_OUTPUT = "mlp output", "attention output"

_PARTS = {MLP_OUTPUT: PART_NAMES["mlp"], ATTENTION_OUTPUT: PART_NAMES["attention"]}

CLEAR = 1.5
"""The next best site must leave so many times as much unexplained as the best one: neighbours on the residual stream
are alike."""

_SINK = 10.0
"""Times the median norm."""


class Fvu(NamedTuple):
    """How an SAE does at one site."""

    site: str
    fvu: float
    """NaN where the vectors do not vary."""
    positions: int
    """Those that count."""
    sinks: int
    """Those left out."""


class Audit(NamedTuple):
    """One SAE at every site of its layer."""

    hookpoint: str
    sites: tuple[Fvu, ...]
    """The smallest FVU first, NaN last."""
    modules: dict[str, str]
    """By site: the module that it belongs to."""

    @property
    def named(self) -> str:
        """The site that the hookpoint names: what an experiment captures unless it is told otherwise."""
        return next(site for site, module in self.modules.items() if _is_output_of(self.hookpoint, site, module))

    @property
    def clearness(self) -> float:
        """How many times as much the next best site leaves unexplained; infinite where there is none."""
        best, *others = self.sites
        if not others or math.isnan(others[0].fvu) or not best.fvu:
            return math.inf
        return others[0].fvu / best.fvu

    @property
    def alike(self) -> list[str]:
        """The best site and those that are not clearly worse; none where the best is no better than a constant."""
        best = self.sites[0].fvu
        return [each.site for each in self.sites if best < 1 and (each.fvu < CLEAR * best or each is self.sites[0])]

    @property
    def trained(self) -> str | None:
        """The site that the SAE was trained at: FVU below 1 there, and clearly less than anywhere else. None:
        undecided."""
        return self.alike[0] if len(self.alike) == 1 else None

    @property
    def is_misnamed(self) -> bool:
        """Whether the SAE works elsewhere, and clearly not at the site that its hookpoint names."""
        return bool(self.alike) and self.named not in self.alike and not math.isnan(self.fvu(self.named))

    def fvu(self, site: str) -> float:
        """Of one site; NaN where it is none of these."""
        return next((each.fvu for each in self.sites if each.site == site), math.nan)


@torch.inference_mode()
def capture(
    lm: LanguageModel, sequences: Sequence[Sequence[int]], hookpoints: Sequence[str]
) -> dict[str, dict[str, Tensor]]:
    """What passes the sites of each hookpoint's layer, in one pass: by hookpoint and site, [positions, width], all
    sequences below each other. Raises UnknownName, HookSkipped."""
    places = {hookpoint: sites_of(lm, hookpoint) for hookpoint in hookpoints}
    outputs = {module for sites in places.values() for site, module in sites.items() if site != LAYER_INPUT}
    inputs = {sites[LAYER_INPUT] for sites in places.values() if LAYER_INPUT in sites}
    longest = max(map(len, sequences))
    # Padded on the right, where no real position sees it: as `replay` does.
    padded = torch.tensor([[*ids, *[0] * (longest - len(ids))] for ids in sequences], device=lm.device)
    real = torch.tensor([[place < len(ids) for place in range(longest)] for ids in sequences], device=lm.device)
    with passing(lm.model, sorted(outputs), "hookpoint") as left, passing(lm.model, sorted(inputs), "residual") as came:
        lm.model.base_model(input_ids=padded, use_cache=False)
    return {
        hookpoint: {site: (came if site == LAYER_INPUT else left)[module][real] for site, module in sites.items()}
        for hookpoint, sites in places.items()
    }


def sites_of(lm: LanguageModel, hookpoint: str) -> dict[str, str]:
    """The sites of a hookpoint's layer by name, and the module that each belongs to; where the hookpoint is no part of
    a layer, only its own output. Raises UnknownName where it is no module."""
    module_of(lm.model, hookpoint)
    layer = layer_of(hookpoint)
    if layer is None:
        return {_own(hookpoint): hookpoint}
    children = dict(module_of(lm.model, layer).named_children())
    parts = {site: next((name for name in names if name in children), None) for site, names in _PARTS.items()}
    sites = {site: f"{layer}.{name}" for site, name in parts.items() if name is not None}
    sites |= {LAYER_INPUT: layer, LAYER_OUTPUT: layer}
    if hookpoint in sites.values():
        return sites
    # It may have the output of what it is a part of: the MLP's last projection has.
    others = {site: module for site, module in sites.items() if module == layer or not _is_in(hookpoint, module)}
    return others | {_own(hookpoint): hookpoint}


@torch.inference_mode()
def measured(lm: LanguageModel, hookpoint: str, sae: Sae, vectors: Mapping[str, Tensor]) -> Audit:
    """How an SAE does with the vectors of each site, [positions, width]. Sites of another width are left out. Raises
    UnsupportedSae where that leaves none."""
    fitting = {site: rows for site, rows in vectors.items() if rows.shape[1] == sae.shape.d_in}
    if not fitting:
        widths = ", ".join(sorted({str(rows.shape[1]) for rows in vectors.values()}))
        raise UnsupportedSae(
            f"the SAE of {hookpoint} takes vectors of width {sae.shape.d_in}, those of its layer have {widths}; "
            "it belongs to another model"
        )
    found = [_fvu(site, sae, rows) for site, rows in fitting.items()]
    by_fvu = sorted(found, key=lambda each: (math.isnan(each.fvu), each.fvu))
    return Audit(hookpoint, tuple(by_fvu), sites_of(lm, hookpoint))


def _fvu(site: str, sae: Sae, vectors: Tensor) -> Fvu:
    norms = vectors.float().norm(dim=1)
    plain = norms <= _SINK * norms.median()
    rows = vectors[plain].to(sae.W_dec.dtype)
    error = sum(float((part - sae.decode(sae.encode(part))).double().square().sum()) for part in chunks(sae, rows))
    exact = rows.double()
    variation = float((exact - exact.mean(0)).square().sum())
    return Fvu(site, error / variation if variation else math.nan, len(rows), len(vectors) - len(rows))


def _own(hookpoint: str) -> str:
    return f"{hookpoint} output"


def _is_in(hookpoint: str, module: str) -> bool:
    return hookpoint.startswith(f"{module}.")


def _is_output_of(hookpoint: str, site: str, module: str) -> bool:
    return module == hookpoint and site != LAYER_INPUT
