"""The figures that no sampling touches: activations at the positions of one prompt."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pandas as pd
import torch

from kthink_core.model.language_model import LanguageModel
from kthink_core.model.replay import replay
from kthink_core.model.sae import Sae
from kthink_core.prompts import prompt_ids
from kthink_core.reproduction.published import Published


@torch.inference_mode()
def prompt_figures(published: Published, lm: LanguageModel, sae: Sae) -> pd.DataFrame:
    """One row a figure: figure (in words), published, found (NaN where there is no such position), tolerance (as a
    part of the published one), holds. `sae`: that of the published hookpoint."""
    config = published.config
    ids = prompt_ids(lm.tokenizer, lm.frames, published.question, config.mode)
    captured = replay(lm, [ids], [published.hookpoint], config.site)[0].vectors[published.hookpoint]
    latents = sae.encode(captured.to(sae.W_dec.dtype))
    # Sorted: which feature a figure belongs to was not published for all of them.
    ranked = latents.activations.float().sort(dim=1, descending=True).values.tolist()
    by_feature = [
        dict(zip(features, activations, strict=True))
        for features, activations in zip(latents.indices.tolist(), latents.activations.tolist(), strict=True)
    ]

    def figures() -> Iterator[tuple[str, float, float]]:
        for row in published.largest:
            there = ranked[row.position] if row.position < len(ranked) else []
            for rank, activation in enumerate(row.activations):
                found = there[rank] if rank < len(there) else math.nan
                yield f"position {row.position}, activation {rank + 1} by size", activation, found
        for at in published.features:
            kept = by_feature[at.position].get(at.feature, 0.0) if at.position < len(by_feature) else math.nan
            yield f"position {at.position}, feature {at.feature}", at.activation, kept

    tolerance = published.tolerance.float32 if lm.model.dtype == torch.float32 else published.tolerance.other
    count = [("tokens of the prompt", published.prompt_tokens, len(ids), 0.0, len(ids) == published.prompt_tokens)]
    rows = [
        (figure, wanted, found, tolerance, math.isclose(wanted, found, rel_tol=tolerance))
        for figure, wanted, found in figures()
    ]
    return pd.DataFrame(count + rows, columns=["figure", "published", "found", "tolerance", "holds"])
