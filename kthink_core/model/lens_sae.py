"""SAEs in SAELens's format: `cfg.json` and `sae_weights.safetensors`.

`encode`: z = (x − b_dec) W_enc + b_enc (with `apply_b_dec_to_input` false: z = x W_enc + b_enc), of which are kept
`standard`: max(z, 0); `jumprelu`: z where z > 0 and z > threshold; `topk`: the k largest, where they are positive;
`batchtopk`, as a training writes it: as jumprelu, with the one threshold that it has learned.
`decode`: Σ aᵢ W_dec[i] + b_dec. With `rescale_acts_by_decoder_norm` z and aᵢ are of decoder rows of length 1: that is
multiplied into the weights when they are read, as SAELens does it when it saves (sae_lens 6.54).

How many features fire at a position is not fixed, and at one that no training saw, the first above all, it may be a
great part of them: the largest `most` are kept, and what the others would add is left to the reconstruction's error.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag, linear

from kthink_core.config import SaeShape
from kthink_core.errors import BadFile, MissingFiles, UnsupportedSae
from kthink_core.model.lens_cfg import LensCfg, read_lens_cfg
from kthink_core.model.sae import Latents
from kthink_core.model.weights import listed, not_finite, read_tensors

WEIGHTS = "sae_weights.safetensors"
_ROUNDING = 1e-2
"""Of a pre-activation."""


class LensSae:
    """An `Sae` of SAELens's."""

    def __init__(self, cfg: LensCfg, tensors: dict[str, Tensor], most: int) -> None:
        """`tensors`: W_enc [d_in, latents], b_enc, W_dec [latents, d_in], b_dec and, of jumprelu, threshold."""
        self._W_enc, self._b_enc, self._b_dec = tensors["W_enc"], tensors["b_enc"], tensors["b_dec"]
        self._threshold = tensors.get("threshold")
        self._centred = cfg.apply_b_dec_to_input
        self.W_dec: Tensor = tensors["W_dec"]
        self.shape = SaeShape(
            num_latents=cfg.d_sae,
            k=cfg.k,
            d_in=cfg.d_in,
            activation=cfg.architecture,
            most=None if cfg.k is not None or most >= cfg.d_sae else most,
        )

    def encode(self, vectors: Tensor) -> Latents:
        before = self._without_bias(vectors) @ self._W_enc + self._b_enc
        if self.shape.k is not None:
            values, indices = before.topk(self.shape.k, dim=-1, sorted=False)
            return Latents(values.relu(), indices)
        activations = before.relu()
        if self._threshold is not None:
            activations = activations * (before > self._threshold)
        return _packed(activations, self.shape.most)

    def decode(self, latents: Latents) -> Tensor:
        fires = latents.activations > 0  # a few positions may fire far more features than the others
        counts = fires.sum(1)
        weights = latents.activations[fires].to(self.W_dec.dtype)
        bags = counts.cumsum(0) - counts
        summed = embedding_bag(latents.indices[fires], self.W_dec, bags, mode="sum", per_sample_weights=weights)
        return summed + self._b_dec

    def quiet(self, vectors: Tensor, features: Tensor) -> bool:
        """A pre-activation below 0 is an activation of 0, whatever the others are; near 0 rounding may decide."""
        if vectors.dtype not in (torch.float32, torch.float64):
            return False
        before = linear(self._without_bias(vectors), self._W_enc[:, features].mT, self._b_enc[features])
        return bool(before.max() < -_ROUNDING)

    def _without_bias(self, vectors: Tensor) -> Tensor:
        return vectors - self._b_dec if self._centred else vectors


def _packed(activations: Tensor, most: int | None) -> Latents:
    """The positive ones of [positions, latents], at most `most` a position, the largest."""
    fires = activations > 0
    counts = fires.sum(1)
    widest = max(1, int(counts.max())) if len(counts) else 1
    if most is not None and widest > most:
        return Latents(*activations.topk(most, dim=-1))
    positions, features = fires.nonzero(as_tuple=True)
    slots = torch.arange(len(positions), device=counts.device) - (counts.cumsum(0) - counts)[positions]
    indices = features.new_zeros(len(counts), widest)
    indices[positions, slots] = features
    filled = torch.arange(widest, device=counts.device) < counts[:, None]
    return Latents(torch.where(filled, activations.gather(1, indices), 0), indices)


def load_lens_sae(folder: Path, device: torch.device, most: int) -> LensSae:
    """`most`: features kept at a position where their number is not fixed. Raises MissingFiles, UnsupportedSae,
    BadFile."""
    cfg = read_lens_cfg(folder / "cfg.json")
    shapes: dict[str, tuple[int, ...]] = {
        "W_enc": (cfg.d_in, cfg.d_sae),
        "b_enc": (cfg.d_sae,),
        "W_dec": (cfg.d_sae, cfg.d_in),
        "b_dec": (cfg.d_in,),
    }
    shapes |= {"jumprelu": {"threshold": (cfg.d_sae,)}, "batchtopk": {"topk_threshold": ()}}.get(cfg.architecture, {})
    path = folder / WEIGHTS
    try:
        tensors = read_tensors(path, shapes, device, {"scaling_factor": (cfg.d_sae,)}, alike=False)
    except FileNotFoundError as error:
        raise MissingFiles(f"{folder} is no complete SAE: no {WEIGHTS}") from error
    scaling = tensors.pop("scaling_factor", None)  # SAELens 2 to 5 wrote it also where it does nothing
    if scaling is not None and not torch.allclose(scaling, torch.ones_like(scaling)):
        raise UnsupportedSae(f"{path}: scaling_factor is not 1 everywhere; multiply it into W_dec, and save without it")
    if "topk_threshold" in tensors:
        tensors["threshold"] = torch.ones_like(tensors["b_enc"]) * tensors.pop("topk_threshold")
    tensors = {name: tensor.to(cfg.dtype) for name, tensor in tensors.items()}
    if cfg.rescale_acts_by_decoder_norm:
        _fold_lengths(path, tensors)
    if bad := not_finite(tensors):  # what the file has was finite
        raise BadFile(path, f"{listed(bad)}: too large for {cfg.dtype}, in which its cfg.json says that it encodes")
    return LensSae(cfg, tensors, most)


def _fold_lengths(path: Path, tensors: dict[str, Tensor]) -> None:
    lengths = tensors["W_dec"].norm(dim=1)
    if not lengths.all():
        raise BadFile(path, "W_dec has rows of length 0, which rescale_acts_by_decoder_norm would divide by")
    tensors["W_enc"] = tensors["W_enc"] * lengths
    tensors["b_enc"] = tensors["b_enc"] * lengths
    tensors["W_dec"] = tensors["W_dec"] / lengths[:, None]
