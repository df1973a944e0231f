"""Makes the folders beside it with SAELens itself: tiny SAEs of random weights, and in `expected.npz` what its own
`SAE.load_from_disk` makes of some vectors.

In an environment of its own, since the package pins other versions than kthink:
`pip install sae-lens==6.54.12`, then `python make_folders.py`.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import sae_lens
import torch
from safetensors.torch import load_file, save_file

HERE = Path(__file__).parent
WIDTH, LATENTS, POSITIONS = 8, 24, 12


def main() -> None:
    assert sae_lens.__version__ == "6.54.12"
    torch.manual_seed(0)
    _standard()
    _topk()
    _jumprelu()
    _batchtopk()
    _older()
    for folder in sorted(path.parent for path in HERE.glob("*/cfg.json")):
        _expect(folder)


def _standard() -> None:
    cfg = sae_lens.StandardSAEConfig(
        d_in=WIDTH, d_sae=LATENTS, apply_b_dec_to_input=False, metadata=_metadata("blocks.1.hook_resid_post")
    )
    _drawn(sae_lens.StandardSAE(cfg)).save_model(HERE / "standard")
    narrow = sae_lens.StandardSAEConfig(
        d_in=WIDTH, d_sae=LATENTS, dtype="bfloat16", metadata=_metadata("model.layers.2")
    )
    _drawn(sae_lens.StandardSAE(narrow)).save_model(HERE / "narrow")


def _topk() -> None:
    cfg = sae_lens.TopKSAEConfig(
        d_in=WIDTH, d_sae=LATENTS, k=4, rescale_acts_by_decoder_norm=True, metadata=_metadata("blocks.1.hook_mlp_out")
    )
    _drawn(sae_lens.TopKSAE(cfg)).save_model(HERE / "topk")


def _jumprelu() -> None:
    cfg = sae_lens.JumpReLUSAEConfig(d_in=WIDTH, d_sae=LATENTS, metadata=_metadata("blocks.2.hook_resid_pre"))
    sae = _drawn(sae_lens.JumpReLUSAE(cfg))
    sae.threshold.data.uniform_(-0.5, 1.5)
    sae.save_model(HERE / "jumprelu")


def _batchtopk() -> None:
    """As it ends, and as a training writes it meanwhile."""
    cfg = sae_lens.BatchTopKTrainingSAEConfig(
        d_in=WIDTH,
        d_sae=LATENTS,
        k=4.5,
        rescale_acts_by_decoder_norm=True,
        metadata=_metadata("blocks.3.hook_attn_out"),
    )
    sae = _drawn(sae_lens.BatchTopKTrainingSAE(cfg))
    sae.topk_threshold.fill_(0.7)
    sae.save_inference_model(HERE / "batchtopk")
    sae.save_model(HERE / "batchtopk-training")


def _older() -> None:
    """As before version 6: everything at the top, and scaling factors of 1."""
    top = {
        "d_in": WIDTH, "d_sae": LATENTS, "dtype": "float32", "device": "cuda", "model_name": "tiny", "hook_layer": 0,
        "hook_head_index": None, "activation_fn_kwargs": {}, "finetuning_scaling_factor": False, "prepend_bos": True,
        "sae_lens_training_version": "3.23.1", "context_size": 128, "normalize_activations": "none",
        "neuronpedia_id": None, "model_from_pretrained_kwargs": {"center_writing_weights": False},
    }  # fmt: skip
    _write("older", top | {"architecture": "standard", "hook_name": "blocks.0.hook_resid_post",
                           "activation_fn_str": "relu", "apply_b_dec_to_input": False})  # fmt: skip
    _write("oldest", {"d_in": WIDTH, "d_sae": LATENTS, "dtype": "torch.float32", "hook_point": "blocks.4.hook_mlp_out",
                      "normalize_activations": False})  # fmt: skip
    _write("older-topk", top | {"architecture": "standard", "hook_name": "blocks.16.hook_resid_pre",
                                "activation_fn_str": "topk", "activation_fn_kwargs": {"k": 3}})  # fmt: skip


def _write(name: str, cfg: dict[str, object]) -> None:
    sae = _drawn(sae_lens.StandardSAE(sae_lens.StandardSAEConfig(d_in=WIDTH, d_sae=LATENTS)))
    sae.save_model(HERE / name)
    weights = load_file(HERE / name / "sae_weights.safetensors")
    save_file(weights | {"scaling_factor": torch.ones(LATENTS)}, HERE / name / "sae_weights.safetensors")
    (HERE / name / "cfg.json").write_text(json.dumps(cfg))


def _drawn(sae):
    for name, size in (("W_enc", 0.5), ("b_enc", 0.3), ("W_dec", 0.5), ("b_dec", 0.5)):
        getattr(sae, name).data.normal_(0, size)
    return sae


def _metadata(hook: str):
    return sae_lens.saes.sae.SAEMetadata(model_name="tiny", hook_name=hook, prepend_bos=True)


def _expect(folder: Path) -> None:
    """What a training wrote is expected to do what it ends as."""
    loaded = sae_lens.SAE.load_from_disk(folder.with_name(folder.name.removesuffix("-training")))
    vectors = torch.randn(POSITIONS, WIDTH, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        activations = loaded.encode(vectors)
        reconstruction = loaded.decode(activations)
    columns = {"vectors": vectors, "activations": activations, "reconstruction": reconstruction}
    np.savez(folder / "expected.npz", **{name: value.float().numpy() for name, value in columns.items()})


if __name__ == "__main__":
    main()
