"""How long it takes to keep a live inference, by how many are kept already.

    python -m benchmarks.keep [--number 900]

A keep takes as long however many there are; now and then one also builds the database anew, ever more rarely.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.report import machine, markdown
from kthink_core.config import DEMO
from kthink_core.live.api import GenerateRequest
from kthink_core.store.files import Layout
from kthink_core.store.journal import read_segment
from kthink_core.store.manifest import read_experiment
from kthink_core.worker.keep import keep

WINDOW = 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=900)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder)
        subprocess.run([sys.executable, "-m", "kthink_core", "precompute", "--cache", folder], check=True)
        made_by = read_experiment(cache, DEMO)
        assert made_by is not None
        inference = read_segment(Layout(cache / DEMO).segment(0), made_by)
        request = GenerateRequest(prompt="Two and two?")
        alone: list[float] = []
        building: list[float] = []
        for _ in range(options.number):
            before = max(Layout(cache / "live").databases().values(), default=0)
            start = time.perf_counter()
            keep(cache, made_by, inference, request, "somebody")
            seconds = time.perf_counter() - start
            built = max(Layout(cache / "live").databases().values(), default=0) > before
            (building if built else alone).append(seconds)
    print(
        markdown(
            f"Keep, {options.number} times",
            {
                f"median of the first {WINDOW}": f"{statistics.median(alone[:WINDOW]) * 1e3:.0f} ms",
                f"median of the last {WINDOW}": f"{statistics.median(alone[-WINDOW:]) * 1e3:.0f} ms",
                "slowest that built no database": f"{max(alone) * 1e3:.0f} ms",
                f"the {len(building)} that built one": ", ".join(f"{seconds:.1f}" for seconds in building) + " s",
            },
            machine(),
        )
    )


if __name__ == "__main__":
    main()
