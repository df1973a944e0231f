"""Precomputing an experiment, against the way of the article's notebooks; one run, same model, problems and tokens.

    python -m benchmarks.precompute                              demo model on this machine
    python -m benchmarks.precompute --model M --sae S --hookpoints … --problems P --device cuda

The article's way: batch 1, `generate(output_hidden_states=True)`, the states of all layers and steps saved with
`torch.save`, loaded again, those of each SAE's layer encoded. Its sampler is made to draw the tokens that kthink drew,
so that both ways handle the same texts. kthink's time is everything from prompts to the finished database; loading the
weights is left out on both sides. kthink's has more in it than the article's: loss recovered and KL of each SAE, seven
teacher-forced passes a trace where there are three hookpoints.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList
from transformers.generation.utils import GenerateDecoderOnlyOutput

from benchmarks.report import machine, markdown
from kthink_core.config import ExperimentConfig
from kthink_core.precompute.pipeline import Plan, plan, precompute
from kthink_core.precompute.progress import Silent
from kthink_core.presets import preset
from kthink_core.records import Inference
from kthink_core.store.journal import read_segment


class Clock(Silent):
    """Adds up the time that generation steps take, and the processor time of the measuring of the SAEs."""

    def __init__(self) -> None:
        self.generating = self.measuring = 0.0
        self._last = time.perf_counter()
        self._measuring_since: float | None = None

    def stage(self, text: str) -> None:
        if self._measuring_since is not None:
            self.measuring += time.process_time() - self._measuring_since
        self._measuring_since = time.process_time() if text.startswith("measuring") else None

    def step(self, step: int, rows: int) -> None:
        now = time.perf_counter()
        if step > 1:
            self.generating += now - self._last
        self._last = now


class Forced(LogitsProcessor):
    """Lets the sampler draw one given token a step."""

    def __init__(self, token_ids: list[int]) -> None:
        self._waiting = iter(token_ids)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        token_id = next(self._waiting)
        forced = torch.full_like(scores, -torch.inf)
        forced[:, token_id] = 0
        return forced


def article_way(ready: Plan, inference: Inference, folder: Path) -> None:
    """One inference as the notebooks make it. Latents of each hookpoint are left on the CPU."""
    written = inference.token_ids[inference.prompt_tokens :].tolist()
    prompt = torch.tensor([inference.token_ids[: inference.prompt_tokens].tolist()], device=ready.lm.device)
    generate: Callable[..., GenerateDecoderOnlyOutput] = ready.lm.model.generate  # pyright: ignore
    output = generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        do_sample=True,
        temperature=0.6,
        max_new_tokens=len(written),
        output_hidden_states=True,
        return_dict_in_generate=True,
        logits_processor=LogitsProcessorList([Forced(written)]),
        pad_token_id=int(ready.lm.stop_ids[0]),
    )
    path = folder / "states.pt"
    torch.save(output.hidden_states, path)
    kept: list[tuple[Tensor, Tensor]] = []
    states = torch.load(path, map_location=ready.lm.device, weights_only=True)
    for hookpoint, sae in ready.saes.by_hookpoint.items():
        layer = int(hookpoint.split(".")[1])
        for step in states:
            latents = sae.encode(step[layer][0].to(sae.W_dec.dtype))
            kept.append((latents.activations.cpu(), latents.indices.cpu()))


def measure(config: ExperimentConfig, device: str, batch_size: int, folder: Path) -> dict[str, str]:
    ready = plan("benchmark", config, device, Silent())  # type: ignore[arg-type]
    warm_up = ready._replace(prompts=ready.prompts[:1])
    precompute(warm_up, folder / "warm-up", batch_size, Silent())

    clock = Clock()
    began, processor = time.perf_counter(), time.process_time()
    precompute(ready, folder / "cache", batch_size, clock)
    kthink, processor = time.perf_counter() - began, time.process_time() - processor
    inferences = [read_segment(path) for path in sorted((folder / "cache/benchmark/journal").glob("*.parquet"))]

    with torch.inference_mode():
        article_way(ready, inferences[0], folder)
        began = time.perf_counter()
        for inference in inferences:
            article_way(ready, inference, folder)
        article = time.perf_counter() - began
    tokens = sum(inference.generated_tokens for inference in inferences)
    return {
        "inferences": str(len(inferences)),
        "generated tokens": f"{tokens:,}",
        "article's way": f"{article:.1f} s",
        "kthink": f"{kthink:.2f} s",
        "ratio": f"{article / kthink:.1f}×",
        "of which generation steps": f"{clock.generating:.2f} s",
        "encode, measure, write, database over generation": f"{kthink / clock.generating - 1:.0%}",
        "of which loss recovered and KL, processor time": f"{clock.measuring:.2f} of {processor:.2f} s",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--sae", default="demo")
    parser.add_argument("--hookpoints", nargs="+", default=list(preset("demo").hookpoints))
    parser.add_argument("--problems", default="demo")
    parser.add_argument("--limit", type=int, default=32)
    parser.add_argument("--max-new-tokens", type=int, default=400)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--batch-size", type=int, default=32)
    options = parser.parse_args()
    names = ("model", "sae", "hookpoints", "problems", "limit", "max_new_tokens", "dtype")
    config = ExperimentConfig.model_validate({name: getattr(options, name) for name in names})
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(config, options.device, options.batch_size, Path(folder))
    print(markdown(f"Precompute, {options.model}", rows, machine()))


if __name__ == "__main__":
    main()
