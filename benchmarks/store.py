"""The store with 30 million latents: how long it builds, how large it is, how fast it answers.

`python -m benchmarks.store [--inferences 690] [--folder FOLDER]` prints Markdown. It needs about 2 GB of disk.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import duckdb
import numpy as np

from benchmarks.report import machine
from kthink_core import queries
from kthink_core.config import Experiment, ExperimentConfig, SaeShape
from kthink_core.prompts import Segment
from kthink_core.records import Encoding, Inference
from kthink_core.store.database import build_database
from kthink_core.store.journal import read_segment, segment_inferences
from kthink_core.store.manifest import committed
from kthink_core.store.reader import Reader, open_reader
from kthink_core.store.writer import open_writer

HOOKPOINTS = ("layers.5.mlp", "layers.10.mlp", "layers.20.mlp")
LATENTS, K, WIDTH, POSITIONS, PROMPT = 65_536, 32, 1_536, 455, 55
VOCABULARY = 150_000
REPEATS = 31


class Written(NamedTuple):
    """What a task took: seconds, peak memory of its process in GB; and the database that it built."""

    seconds: float
    peak: float
    path: Path


def experiment(inferences: int) -> Experiment:
    return Experiment(
        name="benchmark",
        config=ExperimentConfig(hookpoints=HOOKPOINTS, limit=inferences),
        inferences=inferences,
        saes={name: SaeShape(num_latents=LATENTS, k=K, d_in=WIDTH, activation="topk") for name in HOOKPOINTS},
        provenance={"created": "by benchmarks/store.py"},
    )


class Source:
    """Inferences of the article's shape: features by Zipf's law in a shuffled order, another order a hookpoint."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(0)
        weights = 1 / np.arange(1, LATENTS + 1) ** 0.9
        self._share = np.cumsum(weights) / weights.sum()
        self.order = {name: self._random.permutation(LATENTS).astype(np.int32) for name in HOOKPOINTS}
        """By hookpoint: feature ids, the most frequent first."""

    def inference(self, index: int) -> Inference:
        random = self._random
        think = int(random.integers(250, 380))
        parts: tuple[tuple[Segment, int], ...] = (
            ("prompt", PROMPT),
            ("think", think),
            ("answer", POSITIONS - PROMPT - think),
        )
        segments: tuple[Segment, ...] = tuple(segment for segment, length in parts for _ in range(length))
        token_ids = (VOCABULARY * random.random(POSITIONS) ** 4).astype(np.int32)
        logprobs = -random.exponential(0.3, POSITIONS).astype(np.float32)
        logprobs[:PROMPT] = np.nan
        return Inference(
            inference=index,
            problem=index,
            question="How many?",
            prompt="<｜User｜>How many?",
            mode="think",
            seed=index,
            prompt_tokens=PROMPT,
            finish_reason="length",
            answer=None,
            reference="4",
            correct=False,
            token_ids=token_ids,
            texts=tuple(f" t{token_id}" for token_id in token_ids),
            segments=segments,
            logprobs=logprobs,
            encodings={name: self._encoding(name) for name in HOOKPOINTS},
        )

    def _encoding(self, hookpoint: str) -> Encoding:
        random = self._random
        ranks = np.searchsorted(self._share, random.random((POSITIONS, K))).clip(0, LATENTS - 1)
        segments: tuple[Segment, ...] = ("prompt", "think", "answer")
        return Encoding(
            features=self.order[hookpoint][ranks],
            activations=random.gamma(2, 1, (POSITIONS, K)).astype(np.float32),
            squared_error=random.random(POSITIONS, np.float32),
            squared_norm=random.random(POSITIONS, np.float32) * 1000 + 1000,
            vector_sums={segment: random.normal(size=WIDTH) for segment in segments},
        )


def store(cache: Path, inferences: int) -> Written:
    """Stores an experiment as a run does, rebuilding its database as it grows."""
    source, whole, seconds = Source(), experiment(inferences), 0.0
    with open_writer(cache, whole) as writer:
        for index in range(inferences):
            inference = source.inference(index)
            start = time.perf_counter()
            writer.append(inference)
            seconds += time.perf_counter() - start
        start = time.perf_counter()
        path = writer.build()
        return Written(seconds + time.perf_counter() - start, peak(), path)


def build(cache: Path, inferences: int) -> Written:
    """Builds one database of all segment files."""
    whole = experiment(inferences)
    path = cache / "once.duckdb"
    segments = segment_inferences(cache / whole.name / "journal").values()
    start = time.perf_counter()
    build_database(path, whole, (read_segment(segment) for segment in segments))
    return Written(time.perf_counter() - start, peak(), path)


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def alone(task: Callable[[Path, int], Written], cache: Path, inferences: int) -> Written:
    """Runs a task in a fresh process, whose peak memory is its own."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(task, cache, inferences).result()


def bytes_of_tables(path: Path) -> dict[str, int]:
    """Bytes on disk of each table, as the blocks that it alone uses."""
    with duckdb.connect(path, read_only=True) as connection:
        [(block,)] = connection.execute("SELECT block_size FROM pragma_database_size()").fetchall()
        names = [name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()]
        sizes = {}
        for name in names:
            sql = f"SELECT block_id, additional_block_ids FROM pragma_storage_info('{name}') WHERE persistent"
            rows = connection.execute(sql).fetchall()
            sizes[name] = block * len(
                {block_id for first, more in rows for block_id in [first, *more] if block_id >= 0}
            )
    return sizes


def latencies(reader: Reader, order: dict[str, np.ndarray], inferences: int) -> dict[str, float]:
    """Median milliseconds of each question, warm; features are drawn by their frequency, inferences evenly."""
    random = np.random.default_rng(1)
    hookpoint = HOOKPOINTS[1]

    def feature() -> int:
        return int(order[hookpoint][int(LATENTS ** random.random()) - 1])

    def inference() -> int:
        return int(random.integers(inferences))

    by_feature = "SELECT inference, position, activation FROM latents WHERE hookpoint = ? AND feature = ?"
    by_inference = "SELECT position, features, activations FROM token_latents WHERE hookpoint = ? AND inference = ?"
    questions: dict[str, Callable[[], object]] = {
        "rows by (hookpoint, feature)": lambda: reader.query(by_feature, [hookpoint, feature()]),
        "rows of the most frequent feature": lambda: reader.query(by_feature, [hookpoint, int(order[hookpoint][0])]),
        "rows by (hookpoint, inference)": lambda: reader.query(by_inference, [hookpoint, inference()]),
        "inferences": lambda: queries.inferences(reader),
        "transcript": lambda: queries.transcript(reader, inference(), hookpoint, feature()),
        "feature_activations": lambda: queries.feature_activations(reader, inference(), hookpoint),
        "feature_frequencies": lambda: queries.feature_frequencies(reader, inference(), hookpoint),
        "relevant_features": lambda: queries.relevant_features(reader, inference(), hookpoint),
        "activation_histogram": lambda: queries.activation_histogram(reader, inference(), hookpoint),
        "feature_counts": lambda: queries.feature_counts(reader, hookpoint),
        "feature_counts, relevant=5": lambda: queries.feature_counts(reader, hookpoint, relevant=5),
        "top_tokens, all inferences": lambda: queries.top_tokens(reader, hookpoint, feature()),
        "top_tokens, one inference": lambda: queries.top_tokens(reader, hookpoint, feature(), inference()),
        "feature_inferences": lambda: queries.feature_inferences(reader, hookpoint, feature()),
        "feature_summary": lambda: queries.feature_summary(reader, hookpoint, feature()),
        "quality, all inferences": lambda: queries.quality(reader),
        "quality, one inference": lambda: queries.quality(reader, inference=inference()),
    }
    return {name: median(ask) for name, ask in questions.items()}


def median(ask: Callable[[], object]) -> float:
    taken = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        ask()
        taken.append(time.perf_counter() - start)
    return 1000 * statistics.median(taken[3:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inferences", type=int, default=690)
    parser.add_argument("--folder", type=Path, help="where the store goes; stays there, and is used again")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        cache = options.folder or Path(temporary)
        measure(cache, options.inferences)


def measure(cache: Path, inferences: int) -> None:
    name = experiment(inferences).name
    rows = inferences * len(HOOKPOINTS) * POSITIONS * K
    print(f"### Store: {rows / 1e6:.1f} million latents, {inferences} inferences\n\n{machine()}\n")
    stored = alone(store, cache, inferences) if len(committed(cache, name)) < inferences else None
    built = alone(build, cache, inferences)
    sizes = bytes_of_tables(built.path)
    both = sizes["latents"] + sizes["token_latents"]
    start = time.perf_counter()
    with open_reader(cache, name) as reader:
        opened = time.perf_counter() - start
        medians = latencies(reader, Source().order, inferences)
    print("| what | measured | target |\n| --- | ---: | ---: |")
    if stored:
        print(f"| append all, every rebuild included | {stored.seconds:.0f} s | |")
        print(f"| memory while appending, peak | {stored.peak:.2f} GB | ≤ 4 GB |")
    print(f"| build of one database | {built.seconds:.1f} s | ≤ 60 s |")
    print(f"| memory while building, peak | {built.peak:.2f} GB | ≤ 4 GB |")
    print(f"| `latents` + `token_latents` | {both / rows:.1f} bytes a row | ≤ 20 |")
    print(f"| whole database | {built.path.stat().st_size / 1e6:.0f} MB | |")
    print(f"| open a reader | {1000 * opened:.0f} ms | |")
    for question, milliseconds in medians.items():
        print(f"| {question} | {milliseconds:.1f} ms | {'≤ 10 ms' if question.startswith('rows by') else ''} |")
    print("\n" + ", ".join(f"`{table}` {size / 1e6:.0f} MB" for table, size in sizes.items()))


if __name__ == "__main__":
    main()
