"""k-sparse autoencoders in sparsify's format.

`encode`: z = relu(W_enc (x − b_dec) + b_enc), of which the k largest, or the largest of each of k groups, are kept.
`decode`: Σ aᵢ W_dec[i] + b_dec. Both are sparsify's own (eai-sparsify 1.3): `SparseCoder.encode`, and of its two
decoders the one for any device. `SparseCoder.decode` takes triton's wherever triton is installed, which PyPI's torch
brings along on Linux, and that one knows no CPU tensors.
"""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from pathlib import Path
from typing import Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor
from torch.nn.functional import linear

from kthink_core.config import MOST_LATENTS, MOST_WIDTH, SaeShape
from kthink_core.documents import checked, parse_object, read_bounded
from kthink_core.errors import MissingFiles, UnsupportedSae
from kthink_core.model.sae import Latents
from kthink_core.model.weights import read_tensors

with redirect_stdout(io.StringIO()):  # it prints a line where triton is absent, into whatever is piped from here
    from sparsify import SparseCoder, SparseCoderConfig
    from sparsify.utils import eager_decode

WEIGHTS = "sae.safetensors"
_ACTIVATIONS = ("topk", "groupmax")
_ROUNDING = 1e-2
"""Of a pre-activation."""


class KSparse:
    """An `Sae` of sparsify's."""

    def __init__(self, coder: SparseCoder) -> None:
        assert coder.W_dec is not None  # sparsify has none only where the decoder is tied
        self._coder = coder
        self.W_dec: Tensor = coder.W_dec
        self.shape = SaeShape(
            num_latents=coder.num_latents, k=coder.cfg.k, d_in=coder.d_in, activation=coder.cfg.activation
        )

    def encode(self, vectors: Tensor) -> Latents:
        kept = self._coder.encode(vectors)
        return Latents(kept.top_acts, kept.top_indices)

    def decode(self, latents: Latents) -> Tensor:
        activations = latents.activations.to(self.W_dec.dtype)
        return eager_decode(latents.indices, activations, self.W_dec.mT) + self._coder.b_dec

    def quiet(self, vectors: Tensor, features: Tensor) -> bool:
        """A pre-activation below 0 is an activation of 0, whatever the others are; near 0 rounding may decide."""
        if vectors.dtype not in (torch.float32, torch.float64):
            return False
        encoder = self._coder.encoder
        before = linear(vectors - self._coder.b_dec, encoder.weight[features], encoder.bias[features])
        return bool(before.max() < -_ROUNDING)


def load_k_sparse(path: Path, device: torch.device) -> KSparse:
    """Of a folder with `cfg.json` and `sae.safetensors`. Raises MissingFiles, UnsupportedSae for a transcoder, BadFile
    where cfg.json or the weights are not what they should be."""
    cfg = _read_cfg(path / "cfg.json")
    latents = cfg.num_latents or cfg.d_in * cfg.expansion_factor
    shapes = {
        "encoder.weight": (latents, cfg.d_in),
        "encoder.bias": (latents,),
        "W_dec": (latents, cfg.d_in),
        "b_dec": (cfg.d_in,),
    }
    try:
        tensors = read_tensors(path / WEIGHTS, shapes, device)
    except FileNotFoundError as error:
        raise MissingFiles(f"{path} is no complete SAE: no {WEIGHTS}") from error
    settings = SparseCoderConfig(activation=cfg.activation, num_latents=latents, k=cfg.k, normalize_decoder=False)
    coder = SparseCoder(cfg.d_in, settings, device="meta", dtype=tensors["W_dec"].dtype)
    coder.load_state_dict(tensors, assign=True)
    return KSparse(coder.eval().requires_grad_(False))


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
