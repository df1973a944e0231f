"""Sparse autoencoders: what one is here, whatever its kind, and how captured vectors become latents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kthink_core.config import SaeShape
from kthink_core.errors import UnsupportedSae
from kthink_core.prompts import Segment
from kthink_core.records import Encoding

_PRE_ACTIVATIONS = 2**26
"""Pre-activations held at once, 256 MB in float32: `encode` makes one for every feature at every position."""


class Latents(NamedTuple):
    """The features kept of some vectors. Rows may hold fewer than there are columns: the rest has activation 0."""

    activations: Tensor
    """[positions, kept]"""
    indices: Tensor
    """[positions, kept] features, each at most once a row where its activation is positive; in any order."""


class Sae(Protocol):
    """An autoencoder of one hookpoint. How many features a position keeps is its own affair."""

    @property
    def shape(self) -> SaeShape:
        """Its outline."""
        ...

    @property
    def W_dec(self) -> Tensor:
        """[num_latents, d_in] decoder directions; their device and dtype are those of the whole."""
        ...

    def encode(self, vectors: Tensor) -> Latents:
        """`vectors`: [positions, d_in], in the autoencoder's dtype. How many columns come may differ each time."""
        ...

    def decode(self, latents: Latents) -> Tensor:
        """[positions, d_in]"""
        ...

    def quiet(self, vectors: Tensor, features: Tensor) -> bool:
        """Whether it is certain, without an encoding, that none of these features fires at any of the vectors."""
        ...


class LoadedSaes(NamedTuple):
    """SAEs by hookpoint, in the order asked."""

    by_hookpoint: Mapping[str, Sae]
    revision: str
    revisions: dict[str, str]
    """By hookpoint: what identifies its SAE, whichever others are loaded with it."""

    def own_revisions(self) -> dict[str, str]:
        """Those that are not the revision of them all."""
        return {hookpoint: own for hookpoint, own in self.revisions.items() if own != self.revision}

    def shapes(self) -> dict[str, SaeShape]:
        return {hookpoint: sae.shape for hookpoint, sae in self.by_hookpoint.items()}


def check_widths(saes: Mapping[str, Sae], vectors: Mapping[str, Tensor]) -> None:
    """Raises UnsupportedSae where the width of captured vectors `[…, width]` is not what the SAE takes."""
    for hookpoint, sae in saes.items():
        width = vectors[hookpoint].shape[-1]
        if width != sae.shape.d_in:
            raise UnsupportedSae(
                f"the SAE of {hookpoint} takes vectors of width {sae.shape.d_in}, the model gives {width}; "
                "it belongs to another model or hookpoint"
            )


@torch.inference_mode()
def encode(sae: Sae, vectors: Tensor, segments: Sequence[Segment]) -> Encoding:
    """Latents, reconstruction error and segment sums of captured vectors `[positions, d_in]`; `segments`: [positions].

    Parts that keep different numbers of features are filled up with feature 0 at activation 0.
    """
    rows = vectors.to(sae.W_dec.dtype)
    parts = [_encode_rows(sae, part) for part in chunks(sae, rows)]
    features, activations, squared_error, squared_norm = zip(*parts, strict=True)
    return Encoding(
        stacked(features).cpu().numpy().astype(np.int32),
        stacked(activations).cpu().numpy(),
        torch.cat(squared_error).cpu().numpy(),
        torch.cat(squared_norm).cpu().numpy(),
        _segment_sums(rows, segments),
    )


def chunks(sae: Sae, rows: Tensor) -> Sequence[Tensor]:
    """`rows` [positions, d_in] in parts that can be encoded at once."""
    return rows.split(max(1, _PRE_ACTIVATIONS // sae.shape.num_latents))


def _encode_rows(sae: Sae, rows: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    latents = sae.encode(rows)
    error = rows - sae.decode(latents)
    squared_error, squared_norm = (values.float().square().sum(-1) for values in (error, rows))
    return latents.indices, latents.activations.float(), squared_error, squared_norm


def latents_of(sae: Sae, vectors: Tensor) -> Latents:
    """Of any number of captured vectors, [positions, d_in] in any dtype; filled up as `encode` does it."""
    parts = [sae.encode(part) for part in chunks(sae, vectors.to(sae.W_dec.dtype))]
    return Latents(*(stacked(column) for column in zip(*parts, strict=True)))


def stacked(parts: Sequence[Tensor]) -> Tensor:
    """Parts [positions, kept] below each other, the narrow ones filled up with zeros."""
    widest = max(part.shape[1] for part in parts)
    return torch.cat([torch.nn.functional.pad(part, (0, widest - part.shape[1])) for part in parts])


def _segment_sums(rows: Tensor, segments: Sequence[Segment]) -> dict[Segment, NDArray[np.float64]]:
    """Σ x of each segment in float64, which keeps Σ‖x‖² − ‖Σx‖²/n exact where the mean dominates."""
    labels = np.array(segments)
    return {
        segment: rows[torch.from_numpy(labels == segment).to(rows.device)].sum(0, dtype=torch.float64).cpu().numpy()
        for segment in dict.fromkeys(segments)
    }
