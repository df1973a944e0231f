"""k-sparse autoencoders: loaded through sparsify; vectors become latents."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Literal, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from kthink_core import demo
from kthink_core.config import MOST_LATENTS, MOST_WIDTH, SaeShape
from kthink_core.documents import checked, parse_object, read_bounded
from kthink_core.errors import MissingFiles, UnknownName, UnsupportedSae
from kthink_core.model.sources import locate
from kthink_core.model.weights import read_tensors
from kthink_core.prompts import Segment
from kthink_core.records import Encoding

with redirect_stdout(io.StringIO()):  # it prints a line where triton is absent, into whatever is piped from here
    from sparsify import SparseCoder, SparseCoderConfig

_ACTIVATIONS = ("topk", "groupmax")

_PRE_ACTIVATIONS = 2**26
"""Pre-activations held at once, 256 MB in float32: `encode` makes one for every feature at every position."""


class LoadedSaes(NamedTuple):
    """SAEs by hookpoint, in the order asked."""

    by_hookpoint: dict[str, SparseCoder]
    revision: str
    revisions: dict[str, str]
    """By hookpoint: what identifies its SAE, whichever others are loaded with it."""

    def facts(self) -> dict[str, str]:
        """For the provenance: `sae_revision HOOKPOINT` where that is not the revision of them all."""
        return {f"sae_revision {at}": own for at, own in self.revisions.items() if own != self.revision}

    def shapes(self) -> dict[str, SaeShape]:
        return {
            hookpoint: SaeShape(num_latents=sae.num_latents, k=sae.cfg.k, d_in=sae.d_in, activation=sae.cfg.activation)
            for hookpoint, sae in self.by_hookpoint.items()
        }


def load_saes(source: str, revision: str | None, hookpoints: Sequence[str], device: torch.device) -> LoadedSaes:
    """Load `<source>/<hookpoint>/{cfg.json, sae.safetensors}` for each hookpoint.

    Raises MissingFiles, UnknownName for a hookpoint that the source has no SAE for, UnsupportedSae for a transcoder,
    BadFile where cfg.json or the weights are not what they should be.
    """
    patterns = [f"{hookpoint}/{name}" for hookpoint in hookpoints for name in ("cfg.json", "sae.safetensors")]
    found = locate(source, demo.SAES, revision, patterns)
    loaded = {hookpoint: _load(source, found.folder, hookpoint, device) for hookpoint in hookpoints}
    return LoadedSaes(loaded, found.revision, {hookpoint: found.part(hookpoint) for hookpoint in hookpoints})


def _load(source: str, folder: Path, hookpoint: str, device: torch.device) -> SparseCoder:
    path = folder / hookpoint
    if not (path / "cfg.json").is_file():
        there = sorted(str(cfg.parent.relative_to(folder)) for cfg in folder.glob("*/cfg.json"))
        raise UnknownName("SAE hookpoint", hookpoint, there, f"{source} has no {hookpoint}/cfg.json")
    cfg = _read_cfg(path / "cfg.json")
    latents = cfg.num_latents or cfg.d_in * cfg.expansion_factor
    shapes = {
        "encoder.weight": (latents, cfg.d_in),
        "encoder.bias": (latents,),
        "W_dec": (latents, cfg.d_in),
        "b_dec": (cfg.d_in,),
    }
    try:
        tensors = read_tensors(path / "sae.safetensors", shapes, device)
    except FileNotFoundError as error:
        raise MissingFiles(f"{path} is no complete SAE: no sae.safetensors") from error
    settings = SparseCoderConfig(activation=cfg.activation, num_latents=latents, k=cfg.k, normalize_decoder=False)
    sae = SparseCoder(cfg.d_in, settings, device="meta", dtype=tensors["W_dec"].dtype)
    sae.load_state_dict(tensors, assign=True)
    return sae.eval().requires_grad_(False)


class _Cfg(BaseModel):
    """An SAE's cfg.json: what sparsify writes into it, and wrote in earlier versions. sparsify itself never sees the
    file: its reader imports and calls what a key `_type_` names."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    d_in: int = Field(ge=1, le=MOST_WIDTH)
    num_latents: int = Field(default=0, ge=0, le=MOST_LATENTS)
    """0: `expansion_factor` times d_in."""
    expansion_factor: int = Field(default=32, ge=1, le=MOST_LATENTS)
    k: int = Field(default=32, ge=1, le=MOST_LATENTS)
    activation: Literal["topk", "groupmax"] = "topk"
    normalize_decoder: bool = True
    multi_topk: bool = False
    """How it was trained; it does not matter any more."""
    signed: Literal[False] = False
    transcode: bool = False
    skip_connection: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        latents = self.num_latents or self.d_in * self.expansion_factor
        if latents > MOST_LATENTS:
            raise ValueError(f"{latents} latents are more than {MOST_LATENTS}")
        if self.k > latents:
            raise ValueError(f"k is {self.k}, more than the {latents} latents there are")
        if self.activation == "groupmax" and latents % self.k:
            raise ValueError(f"{latents} latents do not fall into {self.k} groups of one size")
        return self


def _read_cfg(path: Path) -> _Cfg:
    """Raises UnsupportedSae for other kinds, BadFile."""
    fields = parse_object(path, read_bounded(path))
    if fields.get("transcode") or fields.get("skip_connection"):
        raise UnsupportedSae(f"{path.parent} is a transcoder; kthink encodes autoencoders only")
    activation = fields.get("activation", "topk")
    if activation not in _ACTIVATIONS:
        known = " and ".join(_ACTIVATIONS)
        raise UnsupportedSae(f"{path.parent} uses activation '{str(activation)[:60]}'; kthink encodes {known}")
    return checked(path, fields, _Cfg)


def check_widths(saes: Mapping[str, SparseCoder], vectors: Mapping[str, Tensor]) -> None:
    """Raises UnsupportedSae where the width of captured vectors `[…, width]` is not what the SAE takes."""
    for hookpoint, sae in saes.items():
        width = vectors[hookpoint].shape[-1]
        if width != sae.d_in:
            raise UnsupportedSae(
                f"the SAE of {hookpoint} takes vectors of width {sae.d_in}, the model gives {width}; "
                "it belongs to another model or hookpoint"
            )


@torch.inference_mode()
def encode(sae: SparseCoder, vectors: Tensor, segments: Sequence[Segment]) -> Encoding:
    """Latents, reconstruction error and segment sums of captured vectors `[positions, d_in]`.

    Formulas: sparsify's `encode` (relu(W_enc (x − b_dec) + b_enc), of which the k largest or the largest of each of k
    groups are kept) and `decode`. `segments`: [positions].
    """
    rows = vectors.to(sae.dtype)
    parts = [_encode_rows(sae, part) for part in chunks(sae, rows)]
    features, activations, squared_error, squared_norm = (
        torch.cat(column).cpu().numpy() for column in zip(*parts, strict=True)
    )
    return Encoding(features.astype(np.int32), activations, squared_error, squared_norm, _segment_sums(rows, segments))


def chunks(sae: SparseCoder, rows: Tensor) -> Sequence[Tensor]:
    """`rows` [positions, d_in] in parts that can be encoded at once."""
    return rows.split(max(1, _PRE_ACTIVATIONS // sae.num_latents))


def _encode_rows(sae: SparseCoder, rows: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    latents = sae.encode(rows)
    error = rows - sae.decode(latents.top_acts, latents.top_indices)
    return latents.top_indices, latents.top_acts.float(), error.float().square().sum(-1), rows.float().square().sum(-1)


def _segment_sums(rows: Tensor, segments: Sequence[Segment]) -> dict[Segment, NDArray[np.float64]]:
    """Σ x of each segment in float64, which keeps Σ‖x‖² − ‖Σx‖²/n exact where the mean dominates."""
    labels = np.array(segments)
    return {
        segment: rows[torch.from_numpy(labels == segment).to(rows.device)].sum(0, dtype=torch.float64).cpu().numpy()
        for segment in dict.fromkeys(segments)
    }
