"""Sentences that matter, of one trace of the demo: what the rollouts take (target ≤ 3 minutes), and their table.

python -m benchmarks.sentences [INFERENCE] [ROLLOUTS]
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from benchmarks.report import machine, markdown
from kthink_core.evidence.rollout_plan import ROLLOUTS, Question
from kthink_core.evidence.sentence_results import TRUSTED, table
from kthink_core.interventions.sentence_run import Engaged, run
from kthink_core.precompute.pipeline import plan, precompute
from kthink_core.precompute.progress import Silent
from kthink_core.presets import preset
from kthink_core.store.reader import open_reader

INFERENCE = 19
"""The longest trace of the demo's."""


def main() -> None:
    given = dict(enumerate(map(int, sys.argv[1:])))
    inference, rollouts = given.get(0, INFERENCE), given.get(1, ROLLOUTS)
    with tempfile.TemporaryDirectory() as folder:
        made = plan("demo", preset("demo"), "cpu", Silent())
        precompute(made, Path(folder), 32, Silent())
        with open_reader(Path(folder), "demo") as reader:
            wall, cpu = time.perf_counter(), time.process_time()
            steps = list(run(reader, Question(inference, rollouts, 0), Engaged(made.lm, made.saes.by_hookpoint)))
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        study = steps[-1].study
        began = time.perf_counter()
        found = table(study)
        reckoned = time.perf_counter() - began
    tokens = sum(place.tokens for place in study.places)
    first = next(step.left.seconds for step in steps if step.left.seconds is not None)
    rows = {
        "trace": f"inference {inference}, {study.generated_tokens} tokens, {len(study.sentences)} sentences",
        f"{rollouts} rollouts from each of {len(study.places)} places (target ≤ 180 s)": f"{wall:.0f} s",
        "processor time": f"{cpu:.0f} s",
        "tokens written, a second": f"{tokens:,}, {tokens / wall:,.0f}",
        "told before they were begun": f"{steps[0].left.tokens:,} tokens",
        "told after the first place, of the rest": f"{first:.0f} s, in fact {wall - study.places[0].seconds:.0f} s",
        "the table": f"{reckoned:.2f} s",
        f"sentences with q < {TRUSTED}": f"{sum(q < TRUSTED for q in found['q'].tolist())} of {len(found)}",
    }
    print(markdown("Sentences that matter", rows, machine()))


if __name__ == "__main__":
    main()
