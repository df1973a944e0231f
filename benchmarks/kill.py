"""The demo's precompute killed with SIGKILL at random moments, then resumed.

    python -m benchmarks.kill [--kills 12]

Fails if anything that was visible is lost or changed, if a reader sees anything partial, or if the end result does not
have every inference once. A run is killed at most half a second after it has committed some more inferences, how many
and how long being random: while tokens are drawn, while files are written, and, when all are there, while the database
is built.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random

import numpy as np

from benchmarks.report import machine
from kthink_core.config import DEMO
from kthink_core.store.files import Layout
from kthink_core.store.journal import read_segment
from kthink_core.store.manifest import read_manifest
from kthink_core.store.reader import open_reader

MOST = 6
"""A run is killed after it has committed at most so many inferences more,"""

LATEST = 0.5
"""and at most so many seconds later."""


def start(cache: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "kthink_core", "precompute", "--batch-size", "2", "--cache", str(cache)]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL)


def wait_for(run: subprocess.Popen[bytes], cache: Path, inferences: int) -> None:
    """Until so many are committed, or the run has ended."""
    while run.poll() is None and len(Layout(cache / DEMO).segments()) < inferences:
        time.sleep(0.005)


def committed(cache: Path) -> frozenset[int]:
    """What the manifest says that readers see."""
    manifest, _ = read_manifest(Layout(cache / DEMO))
    return manifest.in_databases()


def digests(cache: Path) -> dict[int, str]:
    """SHA-256 of each committed segment file."""
    segments = Layout(cache / DEMO).segments()
    return {inference: hashlib.sha256(path.read_bytes()).hexdigest() for inference, path in segments.items()}


def visible(cache: Path) -> frozenset[int]:
    """What a reader sees; exits where any of it is not whole, compared row by row with the journal."""
    if not committed(cache):
        return frozenset()
    segments = Layout(cache / DEMO).segments()
    with open_reader(cache, DEMO) as reader:
        rows = reader.query("SELECT inference, count(*) AS latents FROM latents GROUP BY inference")
        found = dict(zip(rows["inference"].tolist(), rows["latents"].tolist(), strict=True))
        for inference in reader.inference_ids:
            stored = read_segment(segments[inference]).encodings.values()
            if found[inference] != sum(int(np.count_nonzero(encoding.activations)) for encoding in stored):
                sys.exit(f"inference {inference} is seen in part, or twice")
        if reader.warnings:
            sys.exit("; ".join(reader.warnings))
        return frozenset(reader.inference_ids)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=12)
    options = parser.parse_args()
    random, before = Random(0), dict[int, str]()
    print(f"### Killed while precomputing\n\n{machine()}\n")
    print(
        "| kill | committed before | seconds after the last of them | visible, whole |\n| ---: | ---: | ---: | ---: |"
    )
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder)
        for kill in range(1, options.kills + 1):
            wanted = min(32, len(before) + random.randint(1, MOST))
            seconds = LATEST * random.random()
            run = start(cache)
            wait_for(run, cache, wanted)
            time.sleep(seconds)
            told = committed(cache)
            run.kill()
            run.wait()
            seen, after = visible(cache), digests(cache)
            if told - seen or any(after.get(inference) != digest for inference, digest in before.items()):
                sys.exit(f"kill {kill}: something committed is lost or changed")
            before = after
            print(f"| {kill} | {wanted} | {seconds:.2f} | {len(seen)} |", flush=True)
        if start(cache).wait() or visible(cache) != frozenset(range(32)):
            sys.exit("the resumed run did not end with every inference")
    print("\nResumed to the end: every one of 32 inferences is there once.\n")


if __name__ == "__main__":
    main()
