"""A sweep of the demo as the page asks for it: 5 strengths × 8 problems × 4 seeds, the baseline beside them.

python -m benchmarks.sweep [HOOKPOINT:FEATURE]
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from benchmarks.report import machine, markdown
from kthink_core.evidence.steer_table import steer_table
from kthink_core.evidence.sweep_figures import figures
from kthink_core.evidence.sweep_question import KIND, Wish, asked_of, begun, own_problems
from kthink_core.interventions.sweep import Machine, run_sweep
from kthink_core.precompute.pipeline import plan, precompute
from kthink_core.precompute.progress import Silent
from kthink_core.presets import preset
from kthink_core.store.reader import open_reader
from kthink_core.store.studies import made_with, save_study

STRENGTHS = (0.0, 0.5, 1.0, 2.0, 4.0)
PROBLEMS, SAMPLES = 8, 4


def main() -> None:
    named = sys.argv[1] if len(sys.argv) > 1 else "layers.6.mlp:767"
    hookpoint, _, feature = named.rpartition(":")
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        made = plan("demo", preset("demo"), "cpu", Silent())
        precompute(made, Path(folder), 32, Silent())
        with open_reader(Path(folder), "demo") as reader:
            problems = own_problems(reader, PROBLEMS)
            wish = Wish([(hookpoint, int(feature))], "clamp", STRENGTHS, 0, SAMPLES, None, at_residual=False)
            asked = asked_of(reader, wish, problems, "--steer-residual")
            id, sweep = begun(reader, asked, problems, made_with(reader.experiment, [hookpoint], "cpu", "float32"))
            layout = reader.layout
        wall, cpu = time.perf_counter(), time.process_time()
        running = Machine(made.lm, made.saes.by_hookpoint, made.experiment.config.site)
        for part in run_sweep(running, sweep, problems.problems):
            save_study(layout, KIND, id, part)
            sweep = part
        took = f"{time.perf_counter() - wall:.1f} s ({time.process_time() - cpu:.1f} s of processor)"
        size = save_study(layout, KIND, id, sweep).stat().st_size
    tokens = sum(run.tokens for run in sweep.runs)
    rows[f"{len(STRENGTHS)} strengths × {PROBLEMS} problems × {SAMPLES} seeds and the baseline (target ≤ 60 s)"] = took
    rows["runs, generated tokens"] = f"{len(sweep.runs)}, {tokens:,}"
    rows["document"] = f"{size / 1000:,.0f} kB"
    wall = time.perf_counter()
    figures(sweep)
    steer_table(sweep)
    rows["figures and table of it"] = f"{time.perf_counter() - wall:.2f} s"
    print(markdown(f"Sweep of {named}", rows, machine()))


if __name__ == "__main__":
    main()
