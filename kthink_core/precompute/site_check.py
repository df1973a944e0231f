"""Before an experiment begins: are its SAEs used where they were trained? Tried on a handful of positions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kthink_core.errors import WrongSite
from kthink_core.model.language_model import LanguageModel
from kthink_core.model.sae import Sae
from kthink_core.model.sites import LAYER_INPUT, Audit, capture, measured

PROMPTS = 4
"""Prompts that are tried, the shortest of the first `_AMONG`."""
_AMONG = 32
_TOKENS = 128
"""Most tokens of each."""


def check_site(lm: LanguageModel, saes: Mapping[str, Sae], prompts: Sequence[Sequence[int]]) -> None:
    """Raises WrongSite where an SAE was clearly trained elsewhere than at the output of the module that its hookpoint
    names. `prompts`: token ids. The demo's take a tenth of a second."""
    shortest = sorted(prompts[:_AMONG], key=len)[:PROMPTS]
    captured = capture(lm, [prompt[:_TOKENS] for prompt in shortest], list(saes))
    for hookpoint, sae in saes.items():
        audit = measured(lm, hookpoint, sae, captured[hookpoint])
        if audit.is_misnamed:
            raise _wrong(audit)


def _wrong(audit: Audit) -> WrongSite:
    best, *others = audit.alike
    remedy = "take --site residual"
    if best != LAYER_INPUT:
        remedy = f"give its folder the name {audit.modules[best]} and take that hookpoint"
    found, asked = ((site, audit.fvu(site)) for site in (best, audit.named))
    return WrongSite(audit.hookpoint, found, others, asked, remedy)
