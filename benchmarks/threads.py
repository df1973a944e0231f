"""How torch's threads wait for each other, on a quiet and on a busy machine.

    python -m benchmarks.threads                       four rounds, and as many beside two busy processes
    python -m benchmarks.threads --rounds 8 --busy 4

The demo, in a process of its own for each way to wait: its precompute of 32 inferences, and a token of one live row.
All ways take turns within a round, forwards and backwards, and are compared with the first one of the same round: what
else the machine does falls on all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.busy import busy
from benchmarks.report import machine

_SPINNING = {"GOMP_SPINCOUNT": "300000"}
"""What libgomp takes where nothing is said; it goes before the policy."""
WAYS: dict[str, dict[str, str]] = {
    "asleep after 0.03 ms": {},
    "asleep": {"GOMP_SPINCOUNT": "0"},
    "asleep after 0.01 ms": {"GOMP_SPINCOUNT": "1000"},
    "asleep after 0.1 ms": {"GOMP_SPINCOUNT": "10000"},
    "spinning, as libgomp does by itself": _SPINNING,
}
"""What each adds to the environment; the first is kthink's."""
MEASURED = ("precompute", "token")
_OURS = ("OMP_WAIT_POLICY", "OMP_NUM_THREADS", "GOMP_SPINCOUNT")


def one_way(way: str) -> dict[str, float]:
    """Seconds of each workload in a new process."""
    environment = {name: value for name, value in os.environ.items() if name not in _OURS} | WAYS[way]
    command = [sys.executable, "-m", "benchmarks.threads", "--alone"]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def alone() -> dict[str, float]:
    """Both workloads in this process."""
    from kthink_core.model.generate import steps
    from kthink_core.model.sampling import Sampling
    from kthink_core.precompute.pipeline import plan, precompute
    from kthink_core.precompute.progress import Silent
    from kthink_core.presets import preset

    config = preset("demo")
    ready = plan("threads", config, "cpu", Silent())
    with tempfile.TemporaryDirectory() as folder:
        precompute(ready._replace(prompts=ready.prompts[:1]), Path(folder) / "warm-up", 32, Silent())
        began = time.perf_counter()
        precompute(ready, Path(folder) / "cache", 32, Silent())
        whole = time.perf_counter() - began
    sampling = Sampling(config.temperature, config.top_p, 200)
    began = time.perf_counter()
    tokens = sum(1 for _ in steps(ready.lm, ready.prompts[:1], sampling, config.hookpoints, config.site))
    return {"precompute": whole, "token": (time.perf_counter() - began) / tokens}


def rounds(count: int) -> dict[str, list[dict[str, float]]]:
    """By way, what each round gave."""
    taken: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for index in range(count):
        for way in list(WAYS)[:: -1 if index % 2 else 1]:
            taken[way].append(one_way(way))
            print(f"round {index + 1}: {way}: {taken[way][-1]}", file=sys.stderr, flush=True)
    return taken


def table(title: str, taken: dict[str, list[dict[str, float]]]) -> str:
    """Median times, and median and worst ratio to the first way in the same round."""
    lines = [f"#### {title}", "", "| threads wait | precompute | a token | over the first: precompute | a token |"]
    lines.append("| --- | ---: | ---: | ---: | ---: |")
    first = taken[next(iter(WAYS))]
    for way, times in taken.items():
        median = {name: statistics.median(one[name] for one in times) for name in MEASURED}
        ratios = {name: [a[name] / b[name] for a, b in zip(times, first, strict=True)] for name in MEASURED}
        over = [f"{statistics.median(ratios[name]):.2f}× ({min(ratios[name]):.2f} to {max(ratios[name]):.2f})"
                for name in MEASURED]  # fmt: skip
        lines.append(
            f"| {way} | {median['precompute']:.2f} s | {1000 * median['token']:.2f} ms | {over[0]} | {over[1]} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--busy", type=int, default=2, help="processes beside it on the busy machine")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        print(json.dumps(alone()))
        return
    print(f"### How threads wait\n\n{machine()}\n")
    print(table(f"Nothing else (load {os.getloadavg()[0]:.1f} before)", rounds(options.rounds)))
    with busy(options.busy):
        print(table(f"Beside {options.busy} busy processes", rounds(options.rounds)))


if __name__ == "__main__":
    main()
