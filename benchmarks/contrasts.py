"""Contrasts: how long they take, that shuffled labels find nothing, and that what was planted is found.

`python -m benchmarks.contrasts [--parts demo large shuffles planted] [--cache cache] [--folder FOLDER]` prints
Markdown. `large` builds a store of 1,000 inferences, about 1 GB, in a few minutes; in FOLDER it stays
and is used again.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from scipy.sparse import csc_array
from scipy.stats import binomtest

from benchmarks.report import machine, markdown
from benchmarks.store import LATENTS, PROMPT, WIDTH, K
from kthink_core.config import Experiment, ExperimentConfig, SaeShape
from kthink_core.evidence import permutation
from kthink_core.evidence.differences import contrast
from kthink_core.evidence.divides import Between, Side, sides
from kthink_core.evidence.strata import by_length
from kthink_core.prompts import Segment
from kthink_core.records import Encoding, Inference
from kthink_core.store.reader import list_experiments, open_reader
from kthink_core.store.writer import open_writer

HOOKPOINT = "layers.10.mlp"
INFERENCES = 1000
PLANTED = 100
"""Features that fire in wrong inferences twice as often."""
SHUFFLES = 200


def experiment() -> Experiment:
    return Experiment(
        name="contrasts",
        config=ExperimentConfig(hookpoints=(HOOKPOINT,), limit=INFERENCES),
        inferences=INFERENCES,
        saes={HOOKPOINT: SaeShape(num_latents=LATENTS, k=K, d_in=WIDTH, activation="topk")},
        provenance={"created": "by benchmarks/contrasts.py"},
    )


def inference(index: int, share: np.ndarray) -> Inference:
    """Of 150 to 800 generated tokens; the longer, the likelier wrong. Every 300th feature has twice its share there."""
    random = np.random.default_rng(index)
    generated = int(np.clip(random.lognormal(np.log(350), 0.35), 150, 800))
    wrong = bool(random.random() < 1 / (1 + np.exp(-(generated - 450) / 80)))
    think = generated - int(random.integers(40, 100))
    lengths: dict[Segment, int] = {"prompt": PROMPT, "think": think, "answer": generated - think}
    segments: tuple[Segment, ...] = tuple(segment for segment, length in lengths.items() for _ in range(length))
    weights = np.where((np.arange(LATENTS) % (LATENTS // PLANTED) == 7) & wrong, 2, 1) * share
    drawn = np.searchsorted(np.cumsum(weights) / weights.sum(), random.random((len(segments), K)))
    token_ids = random.integers(0, 5000, len(segments)).astype(np.int32)
    logprobs = -random.exponential(0.3, len(segments)).astype(np.float32)
    logprobs[:PROMPT] = np.nan
    return Inference(
        inference=index, problem=index, question="How many?", prompt="<｜User｜>How many?", mode="think", seed=index,
        prompt_tokens=PROMPT, finish_reason="stop", answer="4", reference="5" if wrong else "4", correct=not wrong,
        token_ids=token_ids, texts=tuple(f" t{token_id}" for token_id in token_ids), segments=segments,
        logprobs=logprobs,
        encodings={
            HOOKPOINT: Encoding(
                features=drawn.clip(0, LATENTS - 1).astype(np.int32),
                activations=random.gamma(2, 1, drawn.shape).astype(np.float32),
                squared_error=np.ones(len(segments), np.float32),
                squared_norm=np.full(len(segments), 5, np.float32),
                vector_sums={segment: np.ones(WIDTH) for segment in lengths},
            )
        },
    )  # fmt: skip


def store(cache: Path) -> None:
    share = np.random.default_rng(0).permutation(1 / np.arange(1, LATENTS + 1) ** 0.9)
    with open_writer(cache, experiment()) as writer:
        missing = [index for index in range(INFERENCES) if index not in writer.committed]
        for index in missing:
            writer.append(inference(index, share))
        if missing:
            writer.build()


def taken(cache: Path, name: str, hookpoint: str, between: Between, word: str | None) -> tuple[float, float, int, int]:
    """Seconds, peak memory in GB, features, and how many of them have q < 0.05."""
    with open_reader(cache, name) as reader:
        start = time.perf_counter()
        table = contrast(reader, hookpoint, between, word=word, top=LATENTS)
        seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return seconds, peak, len(table), int((table["q"].to_numpy() < 0.05).sum())


def timed(cache: Path, name: str, hookpoint: str, target: str) -> dict[str, str]:
    """Each contrast in a process of its own."""
    rows = {}
    asked: list[tuple[Between, str | None]] = [("right:wrong", None), ("think:answer", None)]
    if name == "demo":
        asked.append(("before:after", "wait"))
    for between, word in asked:
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            seconds, peak, features, found = pool.submit(taken, cache, name, hookpoint, between, word).result()
        rows[f"{name}, {hookpoint}, {between}: {features:,} features, 1,000 permutations"] = (
            f"{seconds:.1f} s (≤ {target}), {peak:.2f} GB, {found:,} with q < 0.05"
        )
    return rows


def demo(cache: Path, _: Path) -> dict[str, str]:
    return timed(cache, "demo", last_hookpoint(cache), "2 s")


def large(_: Path, folder: Path) -> dict[str, str]:
    store(folder)
    return timed(folder, "contrasts", HOOKPOINT, "60 s")


def last_hookpoint(cache: Path) -> str:
    with open_reader(cache, "demo") as reader:
        return next(reversed(reader.experiment.saes))


def shuffles(cache: Path, _: Path) -> dict[str, str]:
    """Right and wrong of the demo, and of invented inferences, dealt out anew among those of like length."""
    with open_reader(cache, "demo") as reader:
        hookpoint = next(reversed(reader.experiment.saes))
        counts, positions = together(*sides(reader, hookpoint, "think:answer", "generated", None, None))
    rows = {}
    for wrong in (4, 12):
        rows[f"the demo, {wrong} of {len(positions)} called wrong"] = found_in_shuffles(counts, positions, wrong)
    random = np.random.default_rng(0)
    for dependent in (True, False):
        made, lengths = invented(random, 100, 3000, dependent=dependent)
        name = "of 30 topics" if dependent else "independent of each other"
        rows[f"100 inferences, 3,000 features {name}, 30 called wrong"] = found_in_shuffles(made, lengths, 30)
    return {f"shuffled labels that find any feature with q < 0.05: {name}": told for name, told in rows.items()}


def together(one: Side, two: Side) -> tuple[csc_array, np.ndarray]:
    """Counts of both sides put together, [inferences, features], and positions."""
    features = np.unique(np.concatenate([one.cells.feature, two.cells.feature]))
    counts = np.zeros((len(one.inferences), len(features)), np.float32)
    for side in (one, two):
        at = np.searchsorted(one.inferences, side.cells.inference), np.searchsorted(features, side.cells.feature)
        np.add.at(counts, at, side.cells.positions)
    return csc_array(counts), one.positions + two.positions


def invented(
    random: np.random.Generator, inferences: int, features: int, *, dependent: bool
) -> tuple[csc_array, np.ndarray]:
    """Features of very different rates, each more or less frequent from inference to inference, by topic."""
    lengths = random.lognormal(np.log(200), 0.3, inferences).astype(np.int64)
    rates = 10 ** random.uniform(-4.5, -1, features)
    mood = 0.5 * random.normal(size=(inferences, features))
    if dependent:
        mood += random.normal(size=(inferences, 30))[:, random.integers(0, 30, features)]
    counts = np.minimum(random.poisson(lengths[:, None] * rates * np.exp(mood)), lengths[:, None])
    return csc_array(counts[:, counts.any(axis=0)].astype(np.float32)), lengths


def found_in_shuffles(counts: csc_array, positions: np.ndarray, wrong: int) -> str:
    random = np.random.default_rng(3)
    strata = by_length(np.zeros(len(positions), np.int64), positions)
    hits = 0
    for shuffle in range(SHUFFLES):
        right = random.permutation(len(positions)) >= wrong
        hits += bool((permutation.test(counts, positions, right, strata, seed=shuffle).q < 0.05).any())
    low, high = binomtest(hits, SHUFFLES).proportion_ci()
    return f"{hits} of {SHUFFLES} ({low:.1%} to {high:.1%}; ≤ 5 %)"


def planted(_: Path, __: Path) -> dict[str, str]:
    """20 features that fire `times` as often in 30 wrong of 100 inferences; and one that fires late only."""
    rows = {}
    for times in (2, 3, 5):
        power, false, late = [], [], 0
        for seed in range(20):
            random = np.random.default_rng(seed)
            made, lengths = invented(random, 100, 3000, dependent=True)
            counts = made.toarray()
            chance = 1 / (1 + np.exp(-(lengths - np.quantile(lengths, 0.7)) / 40))
            right = random.random(len(lengths)) >= chance
            changed = np.argsort(-counts.sum(axis=0))[50:250:10]
            more = random.poisson((times - 1) * counts[:, changed])
            counts[:, changed] += np.where(right[:, None], 0, more)
            fires_late = random.binomial(np.maximum(lengths - 200, 0), 0.3)
            counts = np.minimum(np.column_stack([counts, fires_late]), lengths[:, None]).astype(np.float32)
            strata = by_length(np.zeros(len(lengths), np.int64), lengths)
            found = permutation.test(csc_array(counts), lengths, right, strata, seed=seed).q < 0.05
            power.append(found[changed].mean())
            false.append((found.sum() - found[changed].sum()) / max(found.sum(), 1))
            late += bool(found[-1])
        rows[f"20 of 3,000 features {times} times as frequent where wrong (30 of 100)"] = (
            f"{np.mean(power):.0%} found, {np.mean(false):.1%} of what is found is not so; "
            f"a feature that fires late only is found in {late} of 20 runs"
        )
    return rows


PARTS: dict[str, Callable[[Path, Path], dict[str, str]]] = {
    "demo": demo, "large": large, "shuffles": shuffles, "planted": planted,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--cache", type=Path, default=Path("cache"), help="where the experiment `demo` is")
    parser.add_argument("--folder", type=Path, help="where the large store goes; stays there, and is used again")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        cache = options.cache
        if not any(status.name == "demo" for status in list_experiments(cache)):
            cache = Path(temporary) / "demo"
            subprocess.run([sys.executable, "-m", "kthink_core", "precompute", "--cache", str(cache)], check=True)
        for part in options.parts:
            rows = PARTS[part](cache, options.folder or Path(temporary) / "large")
            print(markdown(f"Contrasts: {part}", rows, machine()), flush=True)


if __name__ == "__main__":
    main()
