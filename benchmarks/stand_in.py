"""Stand-ins for DeepSeek-R1-Distill-Qwen-1.5B and its SAEs: the true shape, random weights, the real file formats.

    python -m benchmarks.stand_in small FOLDER      28 layers of width 64, SAEs of 1,024 latents
    python -m benchmarks.stand_in full FOLDER       28 layers of width 1,536, vocabulary 151,936, SAEs of 65,536 latents

FOLDER gets `model/` (config, safetensors, the bundle's tokenizer) and `saes/layers.{5,10,20}.mlp/`. Where the weights
cannot be downloaded, these take the whole path that the real ones take.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import torch
from sparsify import SparseCoder, SparseCoderConfig
from transformers import AutoTokenizer, GenerationConfig, Qwen2Config, Qwen2ForCausalLM

from kthink_core import demo


class Shape(NamedTuple):
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    vocabulary: int | None
    """None: the tokenizer's, and 64 ids that no token has, as real models pad theirs."""
    dtype: torch.dtype
    num_latents: int
    k: int
    hookpoints: tuple[str, ...]


ARTICLE_HOOKPOINTS = ("layers.5.mlp", "layers.10.mlp", "layers.20.mlp")
SHAPES = {
    "tiny": Shape(4, 32, 64, 4, 2, None, torch.float32, 128, 8, ("layers.1.mlp", "layers.2.mlp")),
    "small": Shape(28, 64, 128, 4, 2, None, torch.bfloat16, 1024, 32, ARTICLE_HOOKPOINTS),
    "full": Shape(28, 1536, 8960, 12, 2, 151_936, torch.bfloat16, 65_536, 32, ARTICLE_HOOKPOINTS),
}


def make_stand_in(shape: Shape, folder: Path) -> None:
    """Write `folder/model` and `folder/saes`. The same shape gives the same weights."""
    torch.manual_seed(0)
    _make_model(shape, folder / "model")
    for hookpoint in shape.hookpoints:
        sae = SparseCoder(shape.hidden, SparseCoderConfig(num_latents=shape.num_latents, k=shape.k))
        sae.save_to_disk(folder / "saes" / hookpoint)


def _make_model(shape: Shape, folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(demo.MODEL)
    config = Qwen2Config(
        vocab_size=shape.vocabulary or len(tokenizer) + 64,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        max_position_embeddings=131_072,
        tie_word_embeddings=False,
        dtype=shape.dtype,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    before = torch.get_default_dtype()
    torch.set_default_dtype(shape.dtype)
    try:
        model = Qwen2ForCausalLM(config)
    finally:
        torch.set_default_dtype(before)
    model.generation_config = GenerationConfig(eos_token_id=tokenizer.eos_token_id, bos_token_id=tokenizer.bos_token_id)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    make_stand_in(SHAPES[options.shape], options.folder)


if __name__ == "__main__":
    main()
