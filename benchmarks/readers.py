"""What it costs to open an experiment under way, and what the writer pays for it.

    python -m benchmarks.readers

Processor seconds, on the demo: a reader of 31 inferences that are in no main database yet, and of the finished
experiment; each commit of a writer, alone and with increments built and merged at each.
"""

from __future__ import annotations

import argparse
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.report import machine, markdown
from kthink_core.config import DEMO, Experiment
from kthink_core.records import Inference
from kthink_core.store import writer
from kthink_core.store.files import Layout
from kthink_core.store.journal import read_segment
from kthink_core.store.manifest import read_experiment, read_manifest
from kthink_core.store.reader import open_reader

BESIDE = 31
REPEATS = 9


def seconds(work: Callable[[], None]) -> float:
    """Of processor time."""
    start = time.process_time()
    work()
    return time.process_time() - start


def open_and_close(cache: Path) -> None:
    with open_reader(cache, DEMO):
        pass


def median_open(cache: Path) -> float:
    return statistics.median(seconds(lambda: open_and_close(cache)) for _ in range(REPEATS))


def commits(cache: Path, experiment: Experiment, inferences: list[Inference], patience: float) -> list[float]:
    """Processor seconds of each commit; `patience`: as the writer's."""
    writer.PATIENCE = patience
    with writer.open_writer(cache, experiment) as writing:
        return [seconds(lambda inference=inference: writing.append(inference)) for inference in inferences]


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder)
        subprocess.run([sys.executable, "-m", "kthink_core", "precompute", "--cache", folder], check=True)
        experiment = read_experiment(cache, DEMO)
        assert experiment is not None
        inferences = [read_segment(path, experiment) for path in Layout(cache / DEMO).segments().values()][:BESIDE]
        alone = commits(cache / "alone", experiment, inferences, math.inf)
        shown = commits(cache / "shown", experiment, inferences, 0.0)
        increments = len(read_manifest(Layout(cache / "shown" / DEMO))[0].increments)
        milliseconds = {
            f"open a reader, {BESIDE} inferences in {increments} increments": median_open(cache / "shown"),
            f"open a reader, {BESIDE} inferences in one increment": median_open(cache / "alone"),
            "open a reader, finished": median_open(cache),
            "a commit, readers left behind": statistics.mean(alone),
            "a commit, an increment of it built, no other merged": statistics.median(shown[::2]),
            "a commit, increments built and merged at each, mean": statistics.mean(shown),
            "the slowest of these": max(shown),
        }
    rows = {name: f"{1e3 * value:.0f} ms" for name, value in milliseconds.items()}
    print(markdown("Readers of an experiment under way, processor time", rows, machine()))


if __name__ == "__main__":
    main()
