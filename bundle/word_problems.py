"""Seeded word problems: endless ones to train on, and held-out ones that training never sees.

Problem i of a seed depends on nothing but the seed and i, so any one can be made again alone. A training problem whose
kind and calculation equal those of a held-out problem is skipped: what the model is tested on is new to it in its
numbers, not only in its names.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

from bundle.kinds import KINDS
from bundle.problem import Problem
from kthink_core.demo import PROBLEMS

TRAINING_SEED = 1
HELD_OUT_SEED = 2
HELD_OUT = 540
DEMO = 32  # the first held-out problems are the demo's; the others measure the model
UNSEEN = slice(227, 532)  # of these nothing was looked at before the model was done


def make_problem(seed: int, index: int) -> Problem:
    """Problem `index` of the stream `seed`; the kinds take turns, so that all are equally common."""
    rng = random.Random(f"problem:{seed}:{index}")
    return KINDS[index % len(KINDS)](rng)


def calculation(problem: Problem) -> tuple[str, tuple[str, ...]]:
    """What identifies a problem whatever its names and wording: its kind and its steps' expressions."""
    return problem.kind, tuple(step.expression for step in problem.steps)


def held_out_problems() -> list[Problem]:
    """The held-out problems, always the same, in order."""
    return [make_problem(HELD_OUT_SEED, index) for index in range(HELD_OUT)]


def training_problems(seed: int = TRAINING_SEED) -> Iterator[tuple[int, Problem]]:
    """Endless (index, problem) pairs to train on, none with the calculation of a held-out problem."""
    forbidden = {calculation(problem) for problem in held_out_problems()}
    index = 0
    while True:
        problem = make_problem(seed, index)
        if calculation(problem) not in forbidden:
            yield index, problem
        index += 1


def write(problems: Sequence[Problem], path: Path) -> None:
    """As a problem file: one JSON object a line."""
    rows = [{"question": p.question, "answer": str(p.answer), "kind": p.kind} for p in problems]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def main() -> None:
    """Write the demo's problems: `python -m bundle.word_problems`; or 305 others that nothing was chosen by."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--unseen", type=Path, metavar="FILE", help="write 305 problems that nothing was chosen by")
    unseen: Path | None = parser.parse_args().unseen
    if unseen:
        write(held_out_problems()[UNSEEN], unseen)
    else:
        write(held_out_problems()[:DEMO], PROBLEMS)


if __name__ == "__main__":
    main()
