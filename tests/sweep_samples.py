"""Sweeps made up for tests: small ones, of random outcomes, in the stored form."""

from __future__ import annotations

import numpy as np

from kthink_core.records import Problem, Receipt
from kthink_core.store.studies import Made
from kthink_core.store.sweeps import Asked, Run, Sweep, Target, digest_of, questions_of

MADE = Made(
    model="m", saes={"layers.0.mlp": "s"}, site="hookpoint", kthink="0", created="2026-01-01", device="cpu",
    dtype="float32",
)  # fmt: skip


def made_up(
    problems: int = 5,
    samples: int = 3,
    strengths: tuple[float, ...] = (0.0, 1.5),
    features: int = 2,
    seed: int = 0,
    missing: float = 0.0,
    referenced: bool = True,
    cut: float = 0.0,
) -> Sweep:
    """A sweep whose runs are drawn at random; a share of them is missing, one `cut` off with its answer written."""
    random, ends = np.random.default_rng(seed), np.random.default_rng(seed)
    asked_problems = [Problem(at, f"question {at}", str(at) if referenced else None) for at in range(problems)]
    asked = Asked(
        targets=tuple(Target(hookpoint="layers.0.mlp", feature=7 + at, maximum=2.0) for at in range(features)),
        action="clamp", strengths=strengths, start=0, problems=digest_of(asked_problems), samples=samples, seed=4,
        stride=problems, mode="think", temperature=0.6, top_p=0.95, max_new_tokens=50,
    )  # fmt: skip
    runs = [
        Run(
            arm=arm, problem=problem, sample=sample, seed=asked.seed_of(problem, sample),
            tokens=int(random.integers(5, 50)), closed=bool(random.random() < 0.7),
            finish_reason="length" if ends.random() < cut else "stop",
            repetition=float(random.random()), answer=str(problem),
            correct=bool(random.random() < 0.5) if referenced else None, text=f"<think>arm {arm}",
            receipt=Receipt(0, 9, 0.5, 0.9, 0.0, 1.0, 1.2, 1.9) if arm else None,
        )
        for arm in range(1 + features * len(strengths))
        for problem in range(problems)
        for sample in range(samples)
    ]  # fmt: skip
    kept = tuple(run for run in runs if random.random() >= missing)
    return Sweep(
        made=MADE, complete=len(kept) == len(runs), asked=asked, problems_from="made up",
        questions=questions_of(asked_problems), runs=kept,
    )  # fmt: skip
