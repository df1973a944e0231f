"""Brings a trained model's residual stream to a readable scale without changing what the model computes.

Training lets the stream grow, because every reader normalizes it first; MLP outputs then have norms in the thousands.
Dividing all that writes to the stream (embeddings, attention and MLP outputs) by one power of two, multiplying the
final norm by it (the embeddings are the output layer, too) and adapting the norms' epsilon keeps every logit as it was.
`python -m bundle.rescale` (after `python -m bundle.train_model`).
"""

from __future__ import annotations

import argparse
import math
from itertools import islice
from pathlib import Path

import torch
from transformers import AutoTokenizer, Qwen2ForCausalLM

from bundle.rollouts import mlp_outputs
from bundle.train_model import documents
from bundle.word_problems import TRAINING_SEED
from kthink_core.demo import MODEL

NORM = 8.0  # the middle MLP's median output norm comes within a factor of 1.5 of this
DOCUMENTS = 50


def median_norm(model: Qwen2ForCausalLM, folder: Path) -> float:
    """The median norm of the middle layer's MLP output over some training documents."""
    middle = f"layers.{model.config.num_hidden_layers // 2}.mlp"
    sample = islice(documents(AutoTokenizer.from_pretrained(folder), TRAINING_SEED), DOCUMENTS)
    norms = [mlp_outputs(model, document.ids, [middle])[middle].norm(dim=1) for document in sample]  # each [positions]
    return torch.cat(norms).median().item()


@torch.no_grad()
def rescale(model: Qwen2ForCausalLM, factor: float) -> None:
    """Divides the residual stream by `factor`, a power of two: a change of exponents only, exact in floating point."""
    model.model.embed_tokens.weight.div_(factor)
    for name, weights in model.model.layers.named_parameters():
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            weights.div_(factor)
    model.model.norm.weight.mul_(factor)
    model.config.rms_norm_eps /= factor**2  # is added to the stream's mean square; in force once loaded again


def main() -> None:
    """Rescale the model in a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=MODEL)
    folder = parser.parse_args().folder
    model = Qwen2ForCausalLM.from_pretrained(folder, dtype=torch.float32)
    factor = 2.0 ** round(math.log2(median_norm(model, folder) / NORM))
    rescale(model, factor)
    model.save_pretrained(folder)
    print(f"residual stream divided by {factor:g}")


if __name__ == "__main__":
    main()
