"""What features do in traces: how fast they are ablated and attributed to, how far the two agree, and the memory.

python -m benchmarks.causes                    the demo
python -m benchmarks.causes long FOLDER        2,000 tokens of the stand-in that `benchmarks.stand_in full` wrote there
"""

from __future__ import annotations

import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import torch

from benchmarks.report import machine, markdown
from kthink_core import demo
from kthink_core.errors import BadValue
from kthink_core.interventions.attributing import attribute
from kthink_core.interventions.subject import Subject
from kthink_core.model.ablation import Ablation, Target
from kthink_core.model.attribution import attribution
from kthink_core.model.language_model import load_model
from kthink_core.model.objective import Objective
from kthink_core.model.sae_folders import hookpoints_in, load_saes
from kthink_core.precompute.pipeline import Plan, plan, precompute
from kthink_core.precompute.progress import Silent
from kthink_core.presets import preset
from kthink_core.store.causal_studies import RUNNER_UP, AttributionQuestion, AttributionStudy
from kthink_core.store.reader import Reader, open_reader

TRACES = 8
"""Of which features are ablated for time."""
FEATURES = 40
"""Of each, at each hookpoint."""
LONG = {"demo": 1024, "stand-in": 2000}
"""Tokens."""


def nothing() -> None:
    """Nobody else wants the device."""


def ablated(made: Plan, reader: Reader, hookpoint: str) -> tuple[float, float]:
    """Features a second everywhere in demo traces, those read included; and the traces' mean length."""
    features, tokens, began = 0, 0, time.perf_counter()
    for number in range(TRACES):
        trace = reader.inference(number)
        read = Ablation(made.lm, {hookpoint: made.saes.by_hookpoint[hookpoint]}, "hookpoint", trace.token_ids.tolist())
        latents = read.latents(hookpoint)
        firing = latents.indices[latents.activations > 0].unique()[:FEATURES].tolist()
        features += len(list(read.effects([Target(hookpoint, feature) for feature in firing])))
        tokens += len(trace.token_ids)
    return features / (time.perf_counter() - began), tokens / TRACES


def attributed(made: Plan, reader: Reader) -> tuple[float, float]:
    """Median seconds of one attribution at all hookpoints, alone and with its comparisons and controls at one."""
    alone, whole = [], []
    for number in range(TRACES):
        trace = reader.inference(number)
        ids = trace.token_ids.tolist()
        began = time.perf_counter()
        attribution(made.lm, made.saes.by_hookpoint, "hookpoint", ids, [Objective((len(ids) - 1,))])
        alone.append(time.perf_counter() - began)
        question = AttributionQuestion(hookpoint=list(made.saes.by_hookpoint)[-1], rival=RUNNER_UP)
        began = time.perf_counter()
        list(attribute(subject(made, reader, number), [question], nothing))
        whole.append(time.perf_counter() - began)
    return statistics.median(alone), statistics.median(whole)


def subject(made: Plan, reader: Reader, number: int) -> Subject:
    return Subject(made.lm, made.saes.by_hookpoint, made.experiment, reader.inference(number), number)


def agreements(made: Plan, reader: Reader, rival: str | None) -> dict[str, list[float]]:
    """By hookpoint, the rank correlations of all traces that have an answer."""
    found: dict[str, list[float]] = {hookpoint: [] for hookpoint in made.saes.by_hookpoint}
    for number in reader.inference_ids:
        questions = [AttributionQuestion(hookpoint=hookpoint, rival=rival) for hookpoint in found]
        try:
            answers = list(attribute(subject(made, reader, number), questions, nothing))
        except BadValue:  # no answer
            continue
        for study in answers:
            if isinstance(study, AttributionStudy) and study.rho is not None:
                found[study.question.hookpoint].append(study.rho)
    return found


class Memory(NamedTuple):
    """Of an attribution."""

    seconds: float
    before: float
    """Gigabytes that the process had at most until then: model and SAEs."""
    peak: float


def of_memory(model: str, saes: str, tokens: int) -> Memory:
    """In a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measure, (model, saes, tokens))


def _measure(model: str, saes: str, tokens: int) -> Memory:
    lm = load_model(model, None, torch.device("cpu"))
    hookpoints = hookpoints_in(demo.SAES if saes == "demo" else Path(saes))
    loaded = load_saes(saes, None, hookpoints, torch.device("cpu")).by_hookpoint
    ids = torch.randint(3, 1400, (tokens,), generator=torch.Generator().manual_seed(1)).tolist()
    before, began = _peak(), time.perf_counter()
    attribution(lm, loaded, "hookpoint", ids, [Objective((tokens - 1,))])
    return Memory(time.perf_counter() - began, before, _peak())


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def told(memory: Memory) -> str:
    return f"{memory.peak:.2f} GB at most, {memory.before:.2f} of it loading; {memory.seconds:.1f} s"


def main() -> None:
    rows: dict[str, str] = {}
    if sys.argv[1:2] == ["long"]:
        folder = Path(sys.argv[2])
        memory = of_memory(str(folder / "model"), str(folder / "saes"), LONG["stand-in"])
        rows[f"attribution of {LONG['stand-in']:,} tokens of the full-size stand-in (target: within 24 GB)"] = told(
            memory
        )
        print(markdown("What features do: the full size", rows, machine()))
        return
    with tempfile.TemporaryDirectory() as folder:
        made = plan("demo", preset("demo"), "cpu", Silent())
        precompute(made, Path(folder), 32, Silent())
        with open_reader(Path(folder), "demo") as reader:
            for hookpoint in made.saes.by_hookpoint:
                rate, length = ablated(made, reader, hookpoint)
                rows[
                    f"features of {hookpoint} ablated everywhere, {length:.0f} tokens a trace (target ≥ 8 a second)"
                ] = f"{rate:.0f} a second"
            alone, whole = attributed(made, reader)
            rows["attribution of one trace, all hookpoints (target ≤ 1 s)"] = f"{alone:.2f} s"
            rows["with 30 exact ablations and the check before, one hookpoint"] = f"{whole:.2f} s"
            for name, rival in (("log-probability", None), ("against the runner-up", RUNNER_UP)):
                for hookpoint, found in agreements(made, reader, rival).items():
                    rows[f"rank correlation with ablation, answer by {name}, {hookpoint}, {len(found)} traces"] = (
                        f"median {statistics.median(found):.2f}, from {min(found):.2f} to {max(found):.2f}"
                    )
    memory = of_memory("demo", "demo", LONG["demo"])
    rows[f"attribution of {LONG['demo']:,} tokens of the demo's model"] = told(memory)
    print(markdown("What features do", rows, machine()))


if __name__ == "__main__":
    main()
