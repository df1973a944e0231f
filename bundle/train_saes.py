"""Trains the demo's k-sparse autoencoders with sparsify's own Trainer, on generated documents the model can predict.

`python -m bundle.train_saes` (after `python -m bundle.train_model`).
Rows hold one document each; padding is left out of the loss. Only cfg.json and sae.safetensors are kept.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from itertools import islice
from pathlib import Path
from typing import Any, cast

import torch
from sparsify import SaeConfig, TrainConfig, Trainer
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerBase, Qwen2ForCausalLM

from bundle.tokenizer import PAD, token_id
from bundle.train_model import documents
from kthink_core.demo import MODEL, SAES

HOOKPOINTS = ("layers.2.mlp", "layers.4.mlp", "layers.6.mlp")  # 1/4, 1/2 and 3/4 of the depth
LATENTS = 2048
K = 16
SEED = 3  # of the documents: others than the model was trained on
ROWS = 16  # documents in a batch
DOCUMENTS = 2_000
RATE = 2e-3


def padded_documents(tokenizer: PreTrainedTokenizerBase, count: int) -> list[dict[str, Tensor]]:
    """Documents padded on the right, as long as the longest of their batch; batches of similar lengths, shuffled."""
    texts = sorted((document.ids for document in islice(documents(tokenizer, SEED), count)), key=len)
    groups = [texts[start : start + ROWS] for start in range(0, len(texts) - ROWS + 1, ROWS)]
    random.Random(SEED).shuffle(groups)
    padded = []
    for group in groups:
        for ids in group:
            padded.append(torch.tensor(ids + [token_id(tokenizer, PAD)] * (len(group[-1]) - len(ids))))
    return [{"input_ids": ids} for ids in padded]


def configuration(scratch: str, k: int, pad: int) -> TrainConfig:
    """How sparsify trains: with Adam on the reconstruction alone. So few features die that none needs waking."""
    return TrainConfig(
        SaeConfig(num_latents=LATENTS, k=k),
        batch_size=ROWS,
        optimizer="adam",
        lr=RATE,
        lr_warmup_steps=50,
        exclude_tokens=[pad],
        hookpoints=list(HOOKPOINTS),
        save_every=10**9,
        save_dir=scratch,
        log_to_wandb=False,
    )


def train(model_folder: Path, sae_folder: Path, k: int, count: int) -> None:
    """Trains one SAE a hookpoint on `count` documents and saves them under `sae_folder`."""
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    model = Qwen2ForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    with tempfile.TemporaryDirectory() as scratch:  # for the Trainer's own checkpoint, with optimizer state
        dataset = padded_documents(tokenizer, count)  # has length and items, which is all that the Trainer asks
        trainer = Trainer(configuration(scratch, k, token_id(tokenizer, PAD)), cast(Any, dataset), model)
        trainer.fit()
    for name, sae in trainer.saes.items():
        sae.save_to_disk(sae_folder / name)


def main() -> None:
    """Train the SAEs of a model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", type=Path, default=MODEL)
    parser.add_argument("saes", nargs="?", type=Path, default=SAES)
    parser.add_argument("--k", type=int, default=K, help="features kept at each position")
    parser.add_argument("--documents", type=int, default=DOCUMENTS, help="documents to train on")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    train(arguments.model, arguments.saes, arguments.k, arguments.documents)


if __name__ == "__main__":
    main()
