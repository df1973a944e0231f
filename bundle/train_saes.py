"""Trains the demo's k-sparse autoencoders with `kthink train-sae`, on generated documents the model can predict.

`python -m bundle.train_saes` (after `python -m bundle.train_model`). The documents go into a JSONL file of token ids;
the rest is the command, once for each seed, and a copy of what it made into one folder.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from itertools import islice
from pathlib import Path

from transformers import AutoTokenizer

from bundle.train_model import documents
from kthink_core.cli import main as kthink
from kthink_core.demo import MODEL

SEEDS = {"layers.2.mlp": 1, "layers.4.mlp": 0, "layers.6.mlp": 0}
"""By hookpoint, at 1/4, 1/2 and 3/4 of the depth. At the first, with seed 0, half of the features die; README.md."""
HOOKPOINTS = tuple(SEEDS)
SEED = 3  # of the documents: others than the model was trained on
SETTINGS = {"latents": 2048, "k": 16, "batch-size": 16, "lr": 2e-3, "warmup": 50}
DOCUMENTS = 2_106  # a twentieth of them is held out: about 2,000 are trained on, each once


def write_documents(model: Path, count: int, file: Path) -> None:
    """Documents as `train-sae` reads them, token by token as the model saw its own."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    rows = (json.dumps({"token_ids": document.ids}) for document in islice(documents(tokenizer, SEED), count))
    file.write_text("".join(f"{row}\n" for row in rows), "utf-8")


def train(model: str, file: Path, out: Path, seed: int, k: int) -> int:
    """The hookpoints of one seed, in a folder beside `out`, which gets the SAEs; the command's exit status."""
    trained = out.with_name(f"{out.name}-seed-{seed}")
    hookpoints = [hookpoint for hookpoint, its in SEEDS.items() if its == seed]
    settings = SETTINGS | {"k": k, "seed": seed}
    options = [part for name, value in settings.items() for part in (f"--{name}", str(value))]
    where = ["--model", model, "--data", str(file), "--out", str(trained)]
    status = kthink(["train-sae", *where, "--hookpoints", *hookpoints, *options])
    if status == 0:
        for hookpoint in hookpoints:
            shutil.copytree(trained / hookpoint, out / hookpoint, dirs_exist_ok=True)
    return status


def main() -> int:
    """Train the SAEs of a model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", type=Path, default=MODEL)
    parser.add_argument("saes", nargs="?", type=Path, default=Path("cache/saes/demo"), help="folder to put them into")
    parser.add_argument("--k", type=int, default=SETTINGS["k"], help="features kept at each position")
    parser.add_argument("--documents", type=int, default=DOCUMENTS)
    arguments = parser.parse_args()
    file = arguments.saes.with_suffix(".jsonl")  # stays: the same command goes on with a training that was stopped
    file.parent.mkdir(parents=True, exist_ok=True)
    write_documents(arguments.model, arguments.documents, file)
    model = "demo" if arguments.model == MODEL else str(arguments.model)
    return max(train(model, file, arguments.saes, seed, arguments.k) for seed in sorted(set(SEEDS.values())))


if __name__ == "__main__":
    sys.exit(main())
