"""Trains the demo's k-sparse autoencoders with `kthink train-sae`, on generated documents the model can predict.

`python -m bundle.train_saes` (after `python -m bundle.train_model`). The documents go into a JSONL file of token ids;
the rest is the command, with the settings that the bundled ones were trained with.
"""

from __future__ import annotations

import argparse
import json
import sys
from itertools import islice
from pathlib import Path

from transformers import AutoTokenizer

from bundle.train_model import documents
from kthink_core.cli import main as kthink
from kthink_core.demo import MODEL

HOOKPOINTS = ("layers.2.mlp", "layers.4.mlp", "layers.6.mlp")  # 1/4, 1/2 and 3/4 of the depth
SEED = 3  # of the documents: others than the model was trained on
SETTINGS = {"latents": 2048, "k": 16, "batch-size": 16, "lr": 2e-3, "warmup": 50}
DOCUMENTS = 2_106  # a twentieth of them is held out: about 2,000 are trained on, each once


def write_documents(model: Path, count: int, file: Path) -> None:
    """Documents as `train-sae` reads them, token by token as the model saw its own."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    rows = (json.dumps({"token_ids": document.ids}) for document in islice(documents(tokenizer, SEED), count))
    file.write_text("".join(f"{row}\n" for row in rows), "utf-8")


def main() -> int:
    """Train the SAEs of a model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", type=Path, default=MODEL)
    parser.add_argument("saes", nargs="?", type=Path, default=Path("cache/saes/demo"), help="folder to put them into")
    parser.add_argument("--k", type=int, default=SETTINGS["k"], help="features kept at each position")
    parser.add_argument("--documents", type=int, default=DOCUMENTS)
    arguments = parser.parse_args()
    settings = SETTINGS | {"k": arguments.k}
    file = arguments.saes.with_suffix(".jsonl")  # stays: the same command goes on with a training that was stopped
    file.parent.mkdir(parents=True, exist_ok=True)
    write_documents(arguments.model, arguments.documents, file)
    model = "demo" if arguments.model == MODEL else str(arguments.model)
    options = [part for name, value in settings.items() for part in (f"--{name}", str(value))]
    where = ["--model", model, "--data", str(file), "--out", str(arguments.saes)]
    return kthink(["train-sae", *where, "--hookpoints", *HOOKPOINTS, *options])


if __name__ == "__main__":
    sys.exit(main())
