"""What it costs to store the likeliest tokens and the entropy of each generated position: precompute with and without.

    python -m benchmarks.alternatives            demo model, 8 problems, 6 pairs

Processor time of everything from prompts to the finished database, in pairs, of which every other begins with the other
side; the median of their ratios. Bytes a generated token: how much larger the journal and the database are.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

from benchmarks.report import machine, markdown
from kthink_core.config import ExperimentConfig
from kthink_core.precompute.pipeline import Plan, plan, precompute
from kthink_core.precompute.progress import Silent
from kthink_core.presets import preset
from kthink_core.store.files import Layout
from kthink_core.store.reader import open_reader


class Run(NamedTuple):
    """One precompute."""

    seconds: float
    """Of the processor."""
    journal: int
    database: int
    """Bytes."""
    tokens: int
    """Generated."""


def run(ready: Plan, *, alternatives: bool) -> Run:
    with tempfile.TemporaryDirectory() as folder, ExitStack() as patched:
        if not alternatives:
            patched.enter_context(patch("kthink_core.model.generate.likeliest", lambda _: None))
        begun, cache = time.process_time(), Path(folder)
        precompute(ready, cache, 32, Silent(), site_is_chosen=True)
        seconds = time.process_time() - begun
        layout = Layout(cache / ready.experiment.name)
        journal = sum(path.stat().st_size for path in layout.segments().values())
        database = sum(path.stat().st_size for path in layout.databases())
        with open_reader(cache, ready.experiment.name) as reader:
            tokens = int(reader.query("SELECT sum(generated_tokens) AS n FROM inferences")["n"].iloc[0])
        return Run(seconds, journal, database, tokens)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--limit", type=int, default=8)
    parser.add_argument("--pairs", type=int, default=6)
    options = parser.parse_args()
    config: ExperimentConfig = preset("demo").model_copy(update={"limit": options.limit})
    ready = plan("demo", config, "cpu", Silent())
    run(ready, alternatives=True)  # warms up
    pairs: list[tuple[Run, Run]] = []
    for number in range(options.pairs):
        first = run(ready, alternatives=bool(number % 2))
        second = run(ready, alternatives=not number % 2)
        pairs.append((first, second) if number % 2 else (second, first))
    ratios = [with_.seconds / without.seconds for with_, without in pairs]
    with_, without = pairs[-1]
    journal, database = (
        (ours - theirs) / with_.tokens
        for ours, theirs in ((with_.journal, without.journal), (with_.database, without.database))
    )
    low, high = min(ratios), max(ratios)
    rows = {
        "processor time, with / without (at most 1.1)": f"{statistics.median(ratios):.3f} ({low:.3f} to {high:.3f})",
        "journal, bytes a generated token (at most 1,024)": f"{journal:.0f}",
        "database, bytes a generated token (at most 1,024)": f"{database:.0f}",
    }
    where = f"{machine()}; {options.pairs} pairs of {options.limit} inferences, {with_.tokens} generated tokens"
    print(markdown("Alternatives", rows, where))


if __name__ == "__main__":
    main()
