"""Measures the bundled demo with plain torch code of its own, apart from the pipeline: the figures README.md states.

`python -m bundle.measure` prints Markdown, with `--json` JSON. Seeds are fixed.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from sparsify import SparseCoder
from transformers import AutoTokenizer, PreTrainedTokenizerBase, Qwen2ForCausalLM

from bundle.features import Codes, Quality, copies, encode, quality, reasoning_features
from bundle.problem import Problem
from bundle.rollouts import Rollout, sample
from bundle.tokenizer import EOS, token_id
from bundle.word_problems import DEMO, held_out_problems
from kthink_core.demo import MODEL, SAES
from kthink_core.prompts import THINK_CLOSE, Mode

MEASURED = 500  # held-out problems besides the demo's
SEED = 0
BOXED = re.compile(r"\\boxed\{([^{}]*)\}")


def share(flags: Sequence[bool]) -> float:
    """The share of true ones."""
    return round(sum(flags) / len(flags), 4)


def behaviour(
    tokenizer: PreTrainedTokenizerBase, problems: Sequence[Problem], rollouts: Sequence[Rollout], mode: Mode
) -> dict[str, Any]:
    """Shares of right answers, closed thoughts and own endings; lengths in generated tokens; accuracy by kind.

    In bypass mode the prompt already closes the thought; closed then means that the model opens no other.
    """
    texts = [str(tokenizer.decode(rollout.generated)) for rollout in rollouts]
    answers = [(BOXED.findall(text) or [""])[-1] for text in texts]
    right = [answer == str(problem.answer) for answer, problem in zip(answers, problems, strict=True)]
    lengths = sorted(len(rollout.generated) for rollout in rollouts)
    kinds = sorted({problem.kind for problem in problems})
    return {
        "problems": len(problems),
        "accuracy": share(right),
        "closed": share([text.count(THINK_CLOSE) == (1 if mode == "think" else 0) for text in texts]),
        "ended": share([rollout.generated[-1] == token_id(tokenizer, EOS) for rollout in rollouts]),
        "tokens_min_median_max": [lengths[0], median(lengths), lengths[-1]],
        "tokens_80_to_300": share([80 <= length <= 300 for length in lengths]),
        "accuracy_by_kind": {
            kind: share([ok for ok, problem in zip(right, problems, strict=True) if problem.kind == kind])
            for kind in kinds
        },
    }


def weights_megabytes(*folders: Path) -> float:
    """Size of all safetensors files below the folders, in millions of bytes."""
    return round(sum(file.stat().st_size for folder in folders for file in folder.rglob("*.safetensors")) / 1e6, 2)


def measure(model_folder: Path, sae_folder: Path, count: int) -> dict[str, Any]:
    """All figures of a model and its SAEs, over `count` held-out problems and over the demo's."""
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    model = Qwen2ForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    held_out = held_out_problems()
    demo, problems = held_out[:DEMO], held_out[DEMO : DEMO + count]
    rollouts = {
        "think": sample(model, tokenizer, [problem.question for problem in problems], "think", SEED),
        "bypass": sample(model, tokenizer, [problem.question for problem in problems], "bypass", SEED),
        "demo": sample(model, tokenizer, [problem.question for problem in demo], "think", SEED),
    }
    figures: dict[str, Any] = {
        "think": behaviour(tokenizer, problems, rollouts["think"], "think"),
        "bypass": behaviour(tokenizer, problems, rollouts["bypass"], "bypass"),
        "demo": behaviour(tokenizer, demo, rollouts["demo"], "think"),
        "parameters": model.num_parameters(),
        "weights_megabytes": weights_megabytes(model_folder, sae_folder),
    }
    if sae_folder.exists():
        saes = SparseCoder.load_many(str(sae_folder), local=True)
        figures["saes"] = {name: _sae_figures(sae, model, name, rollouts["think"]) for name, sae in saes.items()}
        codes = {name: [encode(sae, model, name, one) for one in rollouts["demo"]] for name, sae in saes.items()}
        latents = max(sae.num_latents for sae in saes.values())
        figures["reasoning_features"] = reasoning_features(tokenizer, codes, latents)
    return figures


def _sae_figures(sae: SparseCoder, model: Qwen2ForCausalLM, name: str, rollouts: Sequence[Rollout]) -> dict[str, Any]:
    codes: list[Codes] = [encode(sae, model, name, rollout) for rollout in rollouts]
    found: Quality = quality(sae, codes)
    return {"k": sae.cfg.k, "latents": sae.num_latents, **found._asdict(), "copies": copies(sae)}


def markdown(figures: dict[str, Any]) -> str:
    """The figures as the tables of README.md."""
    lines = [
        "| | problems | accuracy | closed | ended | tokens min, median, max | 80–300 tokens |",
        "|---|---|---|---|---|---|---|",
    ]
    for mode in ("think", "bypass", "demo"):
        row = figures[mode]
        lengths = ", ".join(f"{value:g}" for value in row["tokens_min_median_max"])
        shares = [f"{100 * row[key]:.1f} %" for key in ("accuracy", "closed", "ended")]
        lines.append(
            f"| {mode} | {row['problems']} | {' | '.join(shares)} | {lengths} | {100 * row['tokens_80_to_300']:.1f} % |"
        )
    lines += [
        "",
        "Accuracy by kind: "
        + ", ".join(f"{k} {100 * v:.0f} %" for k, v in figures["think"]["accuracy_by_kind"].items()),
    ]
    lines += ["", f"{figures['parameters']:,} parameters; all weights {figures['weights_megabytes']} MB.", ""]
    lines += [
        "| hookpoint | k | latents | FVU | FVU, generated | L0 | dead | copies |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, row in figures.get("saes", {}).items():
        lines.append(
            f"| {name} | {row['k']} | {row['latents']} | {row['fvu']:.3f} | {row['fvu_generated']:.3f} "
            f"| {row['l0']:.2f} | {100 * row['dead']:.1f} % | {100 * row['copies']:.1f} % |"
        )
    lines += ["", "| feature | its five highest tokens | relevant in, of 32 |", "|---|---|---|"]
    for feature in figures.get("reasoning_features", []):
        tokens = " ".join(f"`{token}`" for token in feature["tokens"])
        lines.append(f"| {feature['hookpoint']}:{feature['feature']} | {tokens} | {feature['inferences']} |")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", type=Path, default=MODEL)
    parser.add_argument("saes", nargs="?", type=Path, default=SAES)
    parser.add_argument("--problems", type=int, default=MEASURED, help="held-out problems to measure on")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    figures = measure(arguments.model, arguments.saes, arguments.problems)
    print(json.dumps(figures, indent=2, ensure_ascii=False) if arguments.json else markdown(figures))


if __name__ == "__main__":
    main()
