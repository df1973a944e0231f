"""The store with 30 million latents: how long it builds, how large it is, how fast it answers.

`python -m benchmarks.store [--inferences 690] [--folder FOLDER]` prints Markdown. It needs about 2 GB of disk.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import duckdb
import numpy as np

from benchmarks.report import machine
from benchmarks.store_questions import latencies
from kthink_core.config import Experiment, ExperimentConfig, SaeShape
from kthink_core.prompts import Segment
from kthink_core.records import Directions, Encoding, Inference
from kthink_core.store.database import build_database
from kthink_core.store.directions import read_directions
from kthink_core.store.files import Layout
from kthink_core.store.journal import read_segment
from kthink_core.store.manifest import committed_count
from kthink_core.store.reader import open_reader
from kthink_core.store.writer import open_writer

HOOKPOINTS = ("layers.5.mlp", "layers.10.mlp", "layers.20.mlp")
LATENTS, K, WIDTH, POSITIONS, PROMPT = 65_536, 32, 1_536, 455, 55
VOCABULARY = 150_000


class Written(NamedTuple):
    """What a task took: seconds, peak memory of its process in GB; and the database that it built."""

    seconds: float
    peak: float
    path: Path


def experiment(inferences: int, hookpoints: Sequence[str] = HOOKPOINTS) -> Experiment:
    return Experiment(
        name="benchmark",
        config=ExperimentConfig(hookpoints=tuple(hookpoints), limit=inferences),
        inferences=inferences,
        saes={name: SaeShape(num_latents=LATENTS, k=K, d_in=WIDTH, activation="topk") for name in hookpoints},
        provenance={"created": "by benchmarks/store.py"},
    )


class Source:
    """Inferences of the article's shape: features by Zipf's law in a shuffled order, another order a hookpoint."""

    def __init__(self, hookpoints: Sequence[str] = HOOKPOINTS) -> None:
        self._random = np.random.default_rng(0)
        weights = 1 / np.arange(1, LATENTS + 1) ** 0.9
        self._share = np.cumsum(weights) / weights.sum()
        self.order = {name: self._random.permutation(LATENTS).astype(np.int32) for name in hookpoints}
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
            encodings={name: self._encoding(name) for name in self.order},
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
    """Stores an experiment as a run does, rebuilding its database as it grows; what is there stays."""
    source, whole, seconds = Source(), experiment(inferences), 0.0
    with open_writer(cache, whole) as writer:
        for index in range(inferences):
            inference = source.inference(index)
            if index in writer.committed:
                continue
            start = time.perf_counter()
            writer.append(inference)
            seconds += time.perf_counter() - start
        start = time.perf_counter()
        if not writer.has_directions:
            found = {name: directions(features) for name, features in writer.active_features.items()}
            writer.put_directions(found, {token_id: f" t{token_id}" for token_id in range(VOCABULARY)})
        path = writer.build()
        return Written(seconds + time.perf_counter() - start, peak(), path)


def directions(features: np.ndarray) -> Directions:
    """Random ones."""
    random, shape = np.random.default_rng(2), (len(features), 10)
    ids = [random.integers(0, size, shape).astype(np.int32) for size in (LATENTS, VOCABULARY, VOCABULARY)]
    values = [random.random(shape, np.float32) for _ in ids]
    return Directions(features, ids[0], values[0], ids[1], values[1], ids[2], values[2])


def build(cache: Path, inferences: int) -> Written:
    """Builds one database of all segment files and the directions."""
    whole = experiment(inferences)
    path = cache / "once.duckdb"
    layout = Layout(cache / whole.name)
    segments = layout.segments().values()
    start = time.perf_counter()
    rows, _ = read_directions(layout.directions)
    build_database(path, whole, (read_segment(segment) for segment in segments), rows)
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
    fresh = not committed_count(cache, name)
    stored = alone(store, cache, inferences)
    built = alone(build, cache, inferences)
    sizes = bytes_of_tables(built.path)
    both = sizes["latents"] + sizes["token_latents"]
    start = time.perf_counter()
    with open_reader(cache, name) as reader:
        opened = time.perf_counter() - start
        asked = list(latencies(reader, HOOKPOINTS[1], Source().order[HOOKPOINTS[1]], inferences))
    print("| what | measured | target |\n| --- | ---: | ---: |")
    if fresh:
        print(f"| append all, every rebuild included | {stored.seconds:.0f} s | |")
        print(f"| memory while appending, peak | {stored.peak:.2f} GB | ≤ 4 GB |")
    print(f"| build of one database | {built.seconds:.1f} s | ≤ 60 s |")
    print(f"| memory while building, peak | {built.peak:.2f} GB | ≤ 4 GB |")
    print(f"| `latents` + `token_latents` | {both / rows:.1f} bytes a row | ≤ 20 |")
    print(f"| whole database | {built.path.stat().st_size / 1e6:.0f} MB | |")
    print(f"| open a reader | {1000 * opened:.0f} ms | |")
    print("\n| question | median | worst | targets |\n| --- | ---: | ---: | ---: |")
    for question, taken in asked:
        targets = " and ".join(f"{target:.0f}" for target in taken.target)
        print(f"| {question} | {taken.median:.1f} ms | {taken.worst:.1f} ms | ≤ {targets} ms |")
    print("\n" + ", ".join(f"`{table}` {size / 1e6:.0f} MB" for table, size in sizes.items()))


if __name__ == "__main__":
    main()
