"""How long it takes to keep a live inference, by how many are kept already.

    python -m benchmarks.keep [--number 900]

A keep takes as long however many there are. What follows, when its caller has the answer, merges databases: mostly
small ones, and ever more rarely the database of all. Who keeps meanwhile ends it.
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
from kthink_core.store.manifest import read_experiment, read_manifest
from kthink_core.worker.keep import keep, tidy

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
        kept: list[float] = []
        tidied: list[float] = []
        databases: list[int] = []
        for _ in range(options.number):
            start = time.perf_counter()
            keep(cache, made_by, inference, request, "somebody")
            between = time.perf_counter()
            tidy(cache, "live", lambda: None)
            tidied.append(time.perf_counter() - between)
            kept.append(between - start)
            databases.append(len(read_manifest(Layout(cache / "live"))[0].databases))
    print(
        markdown(
            f"Keep, {options.number} times",
            {
                f"median of the first {WINDOW}": f"{statistics.median(kept[:WINDOW]) * 1e3:.0f} ms",
                f"median of the last {WINDOW}": f"{statistics.median(kept[-WINDOW:]) * 1e3:.0f} ms",
                "slowest": f"{max(kept) * 1e3:.0f} ms",
                "afterwards: median": f"{statistics.median(tidied) * 1e3:.0f} ms",
                "afterwards: one in a hundred": f"{sorted(tidied)[-len(tidied) // 100 - 1]:.1f} s",
                "afterwards: slowest": f"{max(tidied):.1f} s",
                "databases that a reader attaches, most": f"{max(databases)}",
            },
            machine(),
        )
    )


if __name__ == "__main__":
    main()
