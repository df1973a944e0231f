"""Configurations that have a name."""

from __future__ import annotations

from kthink_core.config import DEMO, ExperimentConfig
from kthink_core.errors import UnknownName

DEMO_RESIDUAL = "demo-residual"
"""The demo's second experiment: its first problems, captured where the article captured them."""

PRESETS: dict[str, ExperimentConfig] = {
    DEMO: ExperimentConfig(),
    DEMO_RESIDUAL: ExperimentConfig(site="residual", limit=8),
    "r1-distill-qwen-1.5b": ExperimentConfig(
        model="deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B",
        sae="EleutherAI/sae-DeepSeek-R1-Distill-Qwen-1.5B-65k",
        hookpoints=("layers.5.mlp", "layers.10.mlp", "layers.20.mlp"),
        problems="gsm8k",
    ),
    # "I Have Covered All the Bases Here" (arXiv 2503.18878), whose ReasonScore is: `standard` in SAELens's format, on
    # what leaves layer 19, 65,536 latents. No beginning or end of a sequence was among what it was trained on.
    "r1-distill-llama-8b": ExperimentConfig(
        model="deepseek-ai/DeepSeek-R1-Distill-Llama-8B",
        sae="andreuka18/deepseek-r1-distill-llama-8b-lmsys-openthoughts",
        hookpoints=("layers.19",),
        problems="gsm8k",
    ),
}


def preset(name: str) -> ExperimentConfig:
    """The configuration of a preset. Raises UnknownName."""
    if name not in PRESETS:
        raise UnknownName("preset", name, PRESETS)
    return PRESETS[name]


def companion(name: str, config: ExperimentConfig) -> str | None:
    """The preset that a worker makes once it has made this experiment, with the same model and SAEs; None: none."""
    return DEMO_RESIDUAL if (name, config) == (DEMO, PRESETS[DEMO]) else None
