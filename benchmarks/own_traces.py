"""What importing traces takes: peak memory and time, by how many there are. It must not grow with their number.

    python -m benchmarks.own_traces [--numbers 500,5000] [--tokens 120]

A stand-in of four narrow layers reads them, so that what is measured is kthink and not the model; each number in a
process of its own. Building the database at the end is told apart: DuckDB takes what it may, 2 GB, where it is of use.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from resource import RUSAGE_SELF, getrusage

from benchmarks.report import machine, markdown
from benchmarks.stand_in import SHAPES, make_stand_in
from kthink_core.config import ExperimentConfig
from kthink_core.precompute.progress import Silent

_WORDS = ("Okay", "so", "Wait", "the", "two", "apples", "cost", "maybe", "3", "17", "and", "then", "Hmm")


class _Peaks(Silent):
    """Peak memory as each stage begins, and at the end."""

    def __init__(self) -> None:
        self.began, self.peaks = time.monotonic(), {}

    def stage(self, text: str) -> None:
        self.peaks[text.split(" of ")[0]] = _mark(self.began)


def _mark(began: float) -> tuple[float, float]:
    """Megabytes at most so far, and seconds."""
    return getrusage(RUSAGE_SELF).ru_maxrss / 1024, time.monotonic() - began


def measured(folder: Path, number: int, tokens: int) -> dict[str, tuple[float, float]]:
    """By stage, in this process."""
    from kthink_core.precompute.pipeline import plan, precompute

    drawn = random.Random(number)
    path = folder / f"{number}.jsonl"
    with path.open("w") as file:
        for trace in range(number):
            said = [" ".join(drawn.choices(_WORDS, k=drawn.randint(tokens // 4, tokens // 2))) for _ in range(2)]
            row = {"prompt": f"Problem {trace}?", "completion": f"{said[0]}</think>{said[1]} \\boxed{{7}}"}
            file.write(json.dumps(row | {"reference": "7"}) + "\n")
    config = ExperimentConfig(
        model=str(folder / "model"), sae=str(folder / "saes"), hookpoints=SHAPES["tiny"].hookpoints, limit=None,
        traces=str(path), problems=str(path),
    )  # fmt: skip
    heard = _Peaks()
    precompute(plan("traces", config, "cpu", heard), folder / f"cache-{number}", 32, heard, site_is_chosen=True)
    return heard.peaks | {"end": _mark(heard.began)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--numbers", default="500,5000")
    parser.add_argument("--tokens", type=int, default=120)
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one is not None:
        print(json.dumps(measured(options.one, int(options.numbers), options.tokens)))
        return
    rows: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as name:
        make_stand_in(SHAPES["tiny"], Path(name))
        for number in options.numbers.split(","):
            given = ["--numbers", number, "--tokens", str(options.tokens), "--one", name]
            command = [sys.executable, "-m", "benchmarks.own_traces", *given]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            for stage, (peak, seconds) in json.loads(done.stdout.splitlines()[-1]).items():
                rows[f"{int(number):,} traces, {stage}"] = f"{peak:.0f} MB at most so far, after {seconds:.0f} s"
    print(markdown("Own traces", rows, machine()))


if __name__ == "__main__":
    main()
