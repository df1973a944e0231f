"""Sweeps of steering over an experiment's problems, as a job of the worker's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from kthink_core.evidence.sweep_question import KIND, ProblemSet, Wish, asked_of, begun, own_problems
from kthink_core.interventions.sweep import Machine, run_sweep
from kthink_core.live.api import Event, Progressed, Studied
from kthink_core.live.study_requests import SweepRequest
from kthink_core.precompute.pipeline import Plan
from kthink_core.store.reader import Reader, open_reader
from kthink_core.store.studies import made_with, save_study
from kthink_core.store.sweeps import Asked
from kthink_core.worker.jobs import Outcome
from kthink_core.worker.same_maker import check_made_by


def check_sweepable(reader: Reader, plan: Plan, asked: SweepRequest) -> tuple[Asked, ProblemSet]:
    """The question and its problems. Raises UnknownName, OutOfRange, BadValue; PromptRefused where the worker has
    another model, SAE or capture site."""
    features = [(one.hookpoint, one.feature) for one in asked.features]
    wish = Wish(features, asked.action, asked.strengths, asked.start, asked.samples, asked.seed, asked.at_residual)
    problems = own_problems(reader, asked.problems)
    question = asked_of(reader, wish, problems, '"at_residual": true')
    check_made_by(reader, plan, asked.hookpoints)
    return question, problems


def sweep_features(
    cache: Path, asked: SweepRequest, plan: Plan, pause: Callable[[], None]
) -> Iterator[Event | Outcome]:
    """Make the runs that are missing, stored batch by batch. Raises as `check_sweepable` and `run_sweep` do."""
    lm = plan.lm
    with open_reader(cache, asked.experiment) as reader:
        question, problems = check_sweepable(reader, plan, asked)
        made = made_with(reader.experiment, asked.hookpoints, str(lm.device), lm.dtype_name)
        id, sweep = begun(reader, question, problems, made)
        layout = reader.layout
    yield Progressed(done=len(sweep.runs), of=sweep.of)
    machine = Machine(lm, plan.saes.by_hookpoint, plan.experiment.config.site)
    for part in run_sweep(machine, sweep, problems.problems, pause=pause):
        save_study(layout, KIND, id, part)
        yield Progressed(done=len(part.runs), of=part.of)
    yield Studied(id=id)
    yield Outcome()
