"""What `benchmarks.gpu` measures: each part takes the loaded stand-in and gives figures by name."""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.precompute import Clock, article_way
from kthink_core.config import Device
from kthink_core.model.ablation import Ablation, Target
from kthink_core.model.attribution import attribution
from kthink_core.model.generate import steps
from kthink_core.model.objective import Objective
from kthink_core.model.sae import encode
from kthink_core.model.sampling import Sampling
from kthink_core.model.steering import Steering, steering
from kthink_core.precompute.pipeline import Plan, precompute
from kthink_core.precompute.progress import Silent
from kthink_core.records import Intervention
from kthink_core.store.journal import read_segment
from kthink_core.worker.stream import generate_live

ROOT = Path(__file__).resolve().parent.parent
Figures = dict[str, float | str]


class Sizes(NamedTuple):
    """How much is measured."""

    problems: int
    new_tokens: int
    article: int
    """Inferences made in the article's way; the time of all is taken to be so many times theirs."""
    batches: tuple[int, ...]
    tokens: int
    """Of each row, where only its pace matters."""
    positions: int
    rounds: int
    trace: int
    """Tokens of the one of which features are ablated and attributed to."""
    features: int
    """Ablated, of each hookpoint."""


Stock = Callable[[], Plan]
"""What is measured: loaded when it is first asked for."""


def tests(_stock: Stock, _device: Device, _sizes: Sizes) -> Figures:
    """The tests that need a GPU. Raises RuntimeError where one fails."""
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider", "tests/test_gpu.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stdout[-4000:] + done.stderr[-1000:])
    return {"pytest -m gpu": done.stdout.strip().splitlines()[-1]}


class _Stages(Clock):
    """When each stage after the generation began."""

    def __init__(self) -> None:
        super().__init__()
        self.at: list[float] = []

    def stage(self, text: str) -> None:
        self.at.append(time.perf_counter())


def whole(stock: Stock, device: Device, sizes: Sizes) -> Figures:
    """An experiment from prompts to database, against the article's way with the same tokens."""
    ready = stock()
    weights = _held(device)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        precompute(ready._replace(prompts=ready.prompts[:1]), folder / "warm-up", 32, Silent())
        _reset_peak(device)
        clock = _Stages()
        began = time.perf_counter()
        precompute(ready, folder / "cache", 32, clock)
        end = time.perf_counter()
        peak = _peak(device)
        paths = sorted((folder / "cache/gpu/journal").glob("*.parquet"))
        inferences = [read_segment(path) for path in paths]
        chosen = inferences[: sizes.article]
        with torch.inference_mode():
            _reset_peak(device)
            article_began = time.perf_counter()
            for inference in chosen:
                article_way(ready, inference, folder)
            article = time.perf_counter() - article_began
    tokens = sum(inference.generated_tokens for inference in inferences)
    article *= tokens / sum(inference.generated_tokens for inference in chosen)
    _site_check, directions_began, fidelity_began, database_began = clock.at
    stored = directions_began - began
    return {
        "inferences": len(inferences),
        "generated tokens": tokens,
        "article's way, s, from some of them": article,
        "kthink, s": end - began,
        "ratio": article / (end - began),
        "ratio without loss recovered and KL": article / (end - began - database_began + fidelity_began),
        "generation steps, s": clock.generating,
        "prompts, and what of encode and write was not done beside, s": stored - clock.generating,
        "directions, s": fidelity_began - directions_began,
        "loss recovered and KL, s": database_began - fidelity_began,
        "database, s": end - database_began,
        "all but generation steps, over them": (end - began) / clock.generating - 1,
        "tokens a second, whole": tokens / (end - began),
        "memory of the weights, GB": weights,
        "memory at most, GB": peak,
        "memory at most, article's way, GB": _peak(device),
    }


def decode(stock: Stock, device: Device, sizes: Sizes) -> Figures:
    """Tokens a second after the prompts, with vectors captured and without."""
    ready = stock()
    hookpoints = ready.experiment.config.hookpoints
    figures: Figures = {}
    for rows in sizes.batches:
        pairs = [
            (_pace(ready, rows, sizes.tokens, ()), _pace(ready, rows, sizes.tokens, hookpoints))
            for _ in range(sizes.rounds + 1)
        ][1:]  # the first was the warm-up, here and below
        figures[f"{rows} rows, tokens a second"] = statistics.median(plain for plain, _ in pairs)
        figures[f"{rows} rows, capture costs"] = statistics.median(plain / captured - 1 for plain, captured in pairs)
    return figures | {"faster decoding": "none yet: all of it is eager"}


def live(stock: Stock, device: Device, sizes: Sizes) -> Figures:
    """One row as the worker makes it (capture, encode, tell), its bare steps, transformers' `generate`; in turns."""
    ready = stock()
    prompt = ready.prompts[0]
    sampling = Sampling(0.6, 0.95, sizes.tokens)
    told, bare, plain = [], [], []
    for _ in range(sizes.rounds + 1):
        stream = generate_live(ready.lm, ready.saes, ready.experiment.config.site, prompt, sampling)
        next(stream)
        told.append(_timed(device, lambda stream=stream: sum(1 for _ in stream)))
        bare.append(1 / _pace(ready, 1, sizes.tokens, ()))
        plain.append(_transformers(ready, sizes.tokens))
    told, bare, plain = told[1:], bare[1:], plain[1:]
    return {
        "live, tokens a second": 1 / statistics.median(told),
        "without capture and encode, tokens a second": 1 / statistics.median(bare),
        "transformers' generate, tokens a second": 1 / statistics.median(plain),
        "live over the bare steps": statistics.median(a / b for a, b in zip(told, bare, strict=True)) - 1,
        "live over transformers' generate": statistics.median(a / b for a, b in zip(told, plain, strict=True)) - 1,
    }


def encoding(stock: Stock, device: Device, sizes: Sizes) -> Figures:
    """Captured vectors to latents on the CPU, a hookpoint."""
    ready = stock()
    segments = ("think",) * sizes.positions
    figures: Figures = {}
    for hookpoint, sae in ready.saes.by_hookpoint.items():
        vectors = torch.randn(sizes.positions, sae.shape.d_in, device=ready.lm.device).to(ready.lm.model.dtype)
        work = partial(encode, sae, vectors, segments)
        taken = [_timed(device, lambda work=work: len(work().features)) for _ in range(sizes.rounds + 1)][1:]
        figures[f"{hookpoint}, positions a second"] = 1 / statistics.median(taken)
    return figures


def steered(stock: Stock, device: Device, sizes: Sizes) -> Figures:
    """What interventions cost: two at each hookpoint, beside the same rows without."""
    ready = stock()
    hookpoints = ready.experiment.config.hookpoints
    asked = [
        one
        for hookpoint in hookpoints
        for one in (Intervention(hookpoint, 1, "clamp", 1.0), Intervention(hookpoint, 2, "add", 0.1))
    ]
    acting = steering(asked, ready.saes.by_hookpoint)
    figures: Figures = {"interventions": len(asked)}
    for rows in (sizes.batches[0], sizes.batches[-1]):
        pairs = [
            (_pace(ready, rows, sizes.tokens, hookpoints), _pace(ready, rows, sizes.tokens, hookpoints, acting))
            for _ in range(sizes.rounds + 1)
        ][1:]
        figures[f"{rows} rows, steered, tokens a second"] = statistics.median(pace for _, pace in pairs)
        figures[f"{rows} rows, steering costs"] = statistics.median(plain / pace - 1 for plain, pace in pairs)
    return figures


def causes(stock: Stock, device: Device, sizes: Sizes) -> Figures:
    """What features do in one long trace: exact ablation of some, attribution to all."""
    ready = stock()
    ids = torch.randint(3, 1400, (sizes.trace,), generator=torch.Generator().manual_seed(1)).tolist()
    site = ready.experiment.config.site
    figures: Figures = {"tokens": len(ids)}
    for hookpoint in ready.saes.by_hookpoint:
        _reset_peak(device)
        figures[f"{hookpoint}, features ablated a second"] = _ablated(ready, device, hookpoint, ids, sizes.features)
        figures[f"{hookpoint}, memory at most, GB"] = _peak(device)
    _reset_peak(device)
    objectives = [Objective((len(ids) - 1,))]

    def attributed() -> int:
        attribution(ready.lm, ready.saes.by_hookpoint, site, ids, objectives)
        return 1

    taken = [_timed(device, attributed) for _ in range(sizes.rounds + 1)][1:]
    return figures | {"attribution, s": statistics.median(taken), "attribution, memory at most, GB": _peak(device)}


PARTS: dict[str, Callable[[Stock, Device, Sizes], Figures]] = {
    "tests": tests,
    "precompute": whole,
    "decode": decode,
    "live": live,
    "encode": encoding,
    "steering": steered,
    "causes": causes,
}


def _pace(ready: Plan, rows: int, tokens: int, hookpoints: Sequence[str], acting: Steering | None = None) -> float:
    """Tokens a second of so many rows, after their prompts."""
    config = ready.experiment.config
    made = steps(ready.lm, ready.prompts[:rows], Sampling(0.6, 0.95, tokens), hookpoints, config.site, acting)
    next(made)
    began = time.perf_counter()
    count = sum(len(step.token_ids) for step in made)  # each has waited for its tokens
    return count / (time.perf_counter() - began)


def _transformers(ready: Plan, tokens: int) -> float:
    """Seconds a token of one row, after the prompt."""
    ids = torch.tensor([ready.prompts[0].token_ids], device=ready.lm.device)
    generate: Callable[..., Tensor] = ready.lm.model.generate  # pyright: ignore
    options = {"do_sample": True, "temperature": 0.6, "top_p": 0.95, "attention_mask": torch.ones_like(ids)}

    def seconds(count: int) -> float:
        began = time.perf_counter()
        generate(ids, **options, min_new_tokens=count, max_new_tokens=count).tolist()
        return time.perf_counter() - began

    return (seconds(tokens) - seconds(1)) / (tokens - 1)


def _ablated(ready: Plan, device: Device, hookpoint: str, ids: list[int], most: int) -> float:
    """Features a second, each everywhere."""
    read = Ablation(ready.lm, {hookpoint: ready.saes.by_hookpoint[hookpoint]}, ready.experiment.config.site, ids)
    latents = read.latents(hookpoint)
    firing = latents.indices[latents.activations > 0].unique()[:most].tolist()
    return 1 / _timed(device, lambda: len(list(read.effects([Target(hookpoint, feature) for feature in firing]))))


def _timed(device: Device, work: Callable[[], int]) -> float:
    """Seconds of each of the things that `work` says it did."""
    began = time.perf_counter()
    count = work()
    if device == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - began) / count


def _held(device: Device) -> float:
    """Gigabytes of tensors."""
    return torch.cuda.memory_allocated() / 1e9 if device == "cuda" else _peak(device)


def _reset_peak(device: Device) -> None:
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()


def _peak(device: Device) -> float:
    """Gigabytes: of tensors since the last reset on a GPU, of the whole process ever on a CPU."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
