"""What steering costs a token of live generation, on the demo.

`python -m benchmarks.steering`. The same prompt with the same seed, in turns unsteered and steered in a way that
changes nothing (a decoder row added 0 times), so that both write the same tokens: the work is that of any strength.
Processor time of all threads, which other programs do not lengthen by much.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import NamedTuple

from benchmarks.report import machine, markdown
from kthink_core.model.language_model import leave_a_core
from kthink_core.model.sampling import Sampling
from kthink_core.model.steering import Steering, steering
from kthink_core.precompute.pipeline import Plan, plan
from kthink_core.precompute.progress import Silent
from kthink_core.presets import PRESETS
from kthink_core.records import Inference, Intervention, Trigger
from kthink_core.worker.stream import generate_live

HOOKPOINT = "layers.6.mlp"
KINDS: dict[str, tuple[Intervention, ...]] = {
    "one feature": (Intervention(HOOKPOINT, 767, "add", 0.0),),
    "five features at three hookpoints": tuple(
        Intervention(hookpoint, feature, "add", 0.0)
        for hookpoint, feature in (
            (HOOKPOINT, 767), (HOOKPOINT, 1075), (HOOKPOINT, 150), ("layers.4.mlp", 5), ("layers.2.mlp", 7),
        )
    ),
    "one that waits for a feature": (Intervention(HOOKPOINT, 767, "add", 0.0, 0, Trigger(HOOKPOINT, 1912)),),
}  # fmt: skip


class _Run(NamedTuple):
    tokens: tuple[int, ...]
    milliseconds: float
    """Of processor time, a token, from the first to the last generated one."""
    checks: float
    """Milliseconds for what is tried at the end."""


def run(ready: Plan, asked: Steering | None) -> _Run:
    prompt, began, ended, tokens = ready.prompts[0], 0.0, 0.0, ()
    for part in generate_live(ready.lm, ready.saes, "hookpoint", prompt, Sampling(0.6, 0.95, 400), asked):
        if isinstance(part, Inference):
            tokens = tuple(part.token_ids.tolist())
        else:
            ended = time.process_time()
            began = began or ended
    written = len(tokens) - len(prompt.token_ids)
    return _Run(tokens, 1000 * (ended - began) / written, 1000 * (time.process_time() - ended))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=12)
    options = parser.parse_args()
    leave_a_core()
    ready = plan("demo", PRESETS["demo"], "cpu", Silent())
    rows = {}
    for name, interventions in KINDS.items():
        asked = steering(interventions, ready.saes.by_hookpoint)
        plain, steered = [], []
        for _ in range(options.rounds):
            plain.append(run(ready, None))
            steered.append(run(ready, asked))
        assert {one.tokens for one in plain} == {one.tokens for one in steered}, "strength zero is the unsteered run"
        ratios = [one.milliseconds / other.milliseconds for one, other in zip(steered, plain, strict=True)]
        base = statistics.median(one.milliseconds for one in plain)
        rows[f"{name} (target: ratio ≤ 1.05)"] = (
            f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f}) of {base:.2f} ms a token; "
            f"checks at the end {statistics.median(one.checks for one in steered):.0f} ms"
        )
    print(markdown("Steering, processor time a token of live generation", rows, machine()))


if __name__ == "__main__":
    main()
