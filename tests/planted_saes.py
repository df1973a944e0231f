"""SAEs that are right at one site by construction: they keep the directions in which its vectors vary most."""

from __future__ import annotations

from pathlib import Path

import torch
from sparsify import SparseCoder, SparseCoderConfig
from torch import Tensor


def plant_sae(folder: Path, vectors: Tensor, rank: int) -> Path:
    """Write an SAE in sparsify's format: every principal direction of `vectors` [positions, width] up to `rank` is two
    latents, one a sign, so that the kept ones are the projection on all of them."""
    mean = vectors.mean(0)
    directions = torch.linalg.svd(vectors - mean, full_matrices=False).Vh[:rank]
    sae = SparseCoder(vectors.shape[1], SparseCoderConfig(num_latents=2 * rank, k=rank))
    both = torch.cat([directions, -directions])
    with torch.no_grad():
        sae.encoder.weight.copy_(both)
        sae.encoder.bias.zero_()
        sae.W_dec.copy_(both)
        sae.b_dec.copy_(mean)
    sae.save_to_disk(folder)
    return folder
