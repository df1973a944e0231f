"""A writer killed with SIGKILL at random moments, then resumed: nothing committed is lost, nothing partial is seen.

`python -m benchmarks.kill [--kills 12] [--inferences 300]` prints Markdown; it fails if anything is lost.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from random import Random

from benchmarks.store import HOOKPOINTS, POSITIONS, K, Source, experiment
from kthink_core.store.manifest import committed
from kthink_core.store.reader import open_reader
from kthink_core.store.writer import open_writer

BUILD_EVERY = 10
LONGEST = 3.0
"""Seconds after its first commit within which a writer is killed."""


def write(cache: Path, inferences: int) -> None:
    """Appends what is missing, printing the number of each inference once it is committed."""
    source = Source()
    with open_writer(cache, experiment(inferences)) as writer:
        for index in range(inferences):
            if index not in writer.committed:
                writer.append(source.inference(index))
                print(index, flush=True)
                if index % BUILD_EVERY == 0:
                    writer.build()


def run(cache: Path, inferences: int, seconds: float | None) -> set[int]:
    """Runs a writer, killed so many seconds after its first commit; returns what it told as committed."""
    command = [sys.executable, "-m", "benchmarks.kill", "--write", str(cache), "--inferences", str(inferences)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout
        told = {int(line) for line in [writer.stdout.readline()] if line}
        if seconds is None:
            return told | {int(line) for line in writer.stdout}
        timer = threading.Timer(seconds, writer.kill)
        timer.start()
        told |= {int(line) for line in writer.stdout if line.endswith("\n")}
        timer.cancel()
    return told


def check(cache: Path, inferences: int, told: set[int]) -> int:
    """Looks as a reader does right after a kill; returns how many inferences are visible, all of them whole."""
    name = experiment(inferences).name
    with open_reader(cache, name) as reader:
        visible = set(reader.inference_ids)
        lost = told - visible
        if lost or reader.warnings:
            sys.exit(f"lost {sorted(lost)}; {reader.warnings}")
        whole = POSITIONS * len(HOOKPOINTS) * K
        counts = reader.query("SELECT inference, count(*) AS latents FROM latents GROUP BY inference")
        if set(counts["inference"]) != visible or set(counts["latents"]) - {whole}:
            sys.exit("an inference is seen in part, or twice")
    return len(visible)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=12)
    parser.add_argument("--inferences", type=int, default=300)
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write:
        write(options.write, options.inferences)
        return
    random, told = Random(0), set[int]()
    print(
        "| kill | seconds after the first commit | told as committed | visible, whole |\n| ---: | ---: | ---: | ---: |"
    )
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder)
        for kill in range(1, options.kills + 1):
            seconds = LONGEST * random.random()
            told |= run(cache, options.inferences, seconds)
            print(f"| {kill} | {seconds:.2f} | {len(told)} | {check(cache, options.inferences, told)} |", flush=True)
        told |= run(cache, options.inferences, None)
        check(cache, options.inferences, told)
        if committed(cache, experiment(options.inferences).name) != frozenset(range(options.inferences)):
            sys.exit("the resumed run did not end with every inference")
    print(f"\nResumed to the end: every one of {options.inferences} inferences is there once.")


if __name__ == "__main__":
    main()
