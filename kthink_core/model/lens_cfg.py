"""An SAE's `cfg.json` as SAELens writes it, in the forms of versions 2 to 6: what of it says how to encode.

Since version 6 what only tells where the SAE came from stands under `metadata`; before, everything stands at the top,
and a training's whole configuration may stand there, too. What an older version left out means what SAELens takes it
for (`handle_pre_6_0_config`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator

from kthink_core.config import MOST_LATENTS, MOST_WIDTH
from kthink_core.documents import checked, parse_object, read_bounded
from kthink_core.errors import UnsupportedSae, short

Architecture = Literal["standard", "topk", "batchtopk", "jumprelu"]

_OLDER = {"hook_point": "hook_name", "hook_point_head_index": "hook_head_index", "activation_fn_str": "activation_fn"}
_NORMALIZATIONS = ("none", "expected_average_only_in")
"""The second is a factor that SAELens multiplies into the weights when a training ends, and its older versions leave
in cfg.json nevertheless: either way such an SAE encodes what passes as it is."""
_DTYPES = {
    name: dtype
    for dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16)
    for name in (str(dtype), str(dtype).removeprefix("torch."))
}


class LensCfg(NamedTuple):
    """How an SAE encodes."""

    architecture: Architecture
    d_in: int
    d_sae: int
    k: int | None
    """Of topk."""
    apply_b_dec_to_input: bool
    rescale_acts_by_decoder_norm: bool
    dtype: torch.dtype


def read_lens_cfg(path: Path) -> LensCfg:
    """Raises UnsupportedSae, naming the field, for what is not encoded here; BadFile."""
    fields = _told(path)
    architecture = fields.get("architecture", "standard")
    options = fields.get("activation_fn_kwargs") or {}
    activation = fields.get("activation_fn", "relu")
    known = Architecture.__args__
    if architecture not in known:
        raise _refused(path, "architecture", architecture, f"it encodes {', '.join(known)}")
    if activation == "topk" and isinstance(options, dict) and options.get("k") is not None:
        architecture, fields = "topk", fields | {"k": options["k"]}
    elif activation != "relu" and architecture in ("standard", "jumprelu"):
        raise _refused(path, "activation_fn", activation, "it encodes relu and topk")
    normalization = fields.get("normalize_activations") or "none"
    if normalization is not True and normalization not in _NORMALIZATIONS:
        remedy = "it scales no vectors while it encodes; train without, or fold it into the weights with SAELens"
        raise _refused(path, "normalize_activations", normalization, remedy)
    if fields.get("finetuning_scaling_factor"):
        raise _refused(path, "finetuning_scaling_factor", True, "multiply it into W_dec, and save without it")
    if fields.get("reshape_activations", "none") != "none" or fields.get("hook_head_index") is not None:
        name = "hook_head_index" if fields.get("hook_head_index") is not None else "reshape_activations"
        raise _refused(path, name, fields[name], "it encodes outputs of whole modules, not of heads")
    dtype = fields.get("dtype", "float32")
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise _refused(path, "dtype", dtype, "it takes float32, float64, float16, bfloat16")
    cfg = checked(path, fields | {"architecture": architecture}, _Fields)
    k = cfg.k if architecture == "topk" else None
    return LensCfg(
        cfg.architecture, cfg.d_in, cfg.d_sae, int(k) if k is not None else None,
        cfg.apply_b_dec_to_input, cfg.rescale_acts_by_decoder_norm, _DTYPES[dtype],
    )  # fmt: skip


def hook_name_of(path: Path) -> str | None:
    """The hook that an SAE was trained at; None where its cfg.json does not say. Raises BadFile."""
    name = _told(path).get("hook_name")
    return name if isinstance(name, str) and name else None


def _told(path: Path) -> dict[str, Any]:
    """The fields of either form by their newer names."""
    fields = parse_object(path, read_bounded(path))
    metadata = fields.pop("metadata", None)
    whole = (metadata if isinstance(metadata, dict) else {}) | fields
    return {_OLDER.get(name, name): value for name, value in whole.items()}


def _refused(path: Path, field: str, value: object, remedy: str) -> UnsupportedSae:
    return UnsupportedSae(f"{path}: {field} is {short(value)!r}, which kthink does not encode; {remedy}")


class _Fields(BaseModel):
    """Those that count, checked. There are many others, of the training."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)

    architecture: Architecture
    d_in: int = Field(ge=1, le=MOST_WIDTH)
    d_sae: int = Field(ge=1, le=MOST_LATENTS)
    k: float | None = Field(default=None, ge=1, le=MOST_LATENTS)
    """A whole number for topk; of batchtopk a mean."""
    apply_b_dec_to_input: bool = True
    rescale_acts_by_decoder_norm: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.architecture == "topk":
            if self.k is None or self.k != int(self.k):
                raise ValueError("k is no whole number, which topk needs")
            if self.k > self.d_sae:
                raise ValueError(f"k is {int(self.k)}, more than the {self.d_sae} latents there are")
        return self
