"""Rollouts from between the sentences of a stored thought, as a job of the worker's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from kthink_core.evidence.rollout_plan import Question, hookpoints_of, standing
from kthink_core.interventions.sentence_run import Engaged, run
from kthink_core.live.api import Event, Progressed, Studied
from kthink_core.live.study_requests import SentencesRequest
from kthink_core.model.steering import steering
from kthink_core.precompute.pipeline import Plan
from kthink_core.queries.checks import check_inference
from kthink_core.steer_options import check_steering
from kthink_core.store.reader import Reader, open_reader
from kthink_core.worker.jobs import Outcome
from kthink_core.worker.same_maker import check_made_by


def check_rollable(reader: Reader, plan: Plan, asked: SentencesRequest) -> None:
    """Raises UnknownName, OutOfRange, BadValue for what cannot be asked; PromptRefused where the worker has another
    model, SAE or capture site."""
    check_inference(reader, asked.trace.inference)
    trace, question = reader.inference(asked.trace.inference), _question(asked)
    if question.clamp is not None:
        limit, site = reader.experiment.config.max_new_tokens, reader.experiment.config.site
        check_steering((question.clamp,), limit, site, at_residual=asked.at_residual, flag='"at_residual": true')
    steering((*trace.interventions, *([question.clamp] if question.clamp else [])), plan.saes.by_hookpoint)
    check_made_by(reader, plan, (*hookpoints_of(trace, question), next(iter(reader.experiment.saes))))
    standing(reader, trace, question)


def roll_out_sentences(
    cache: Path, asked: SentencesRequest, plan: Plan, pause: Callable[[], None]
) -> Iterator[Event | Outcome]:
    """Make and store the rollouts that are missing. Raises what `sentence_run.run` does."""
    with open_reader(cache, asked.trace.experiment) as reader:
        study = None
        for step in run(reader, _question(asked), Engaged(plan.lm, plan.saes.by_hookpoint), pause):
            study = step.study
            yield Progressed(done=step.done, of=step.of)
        if study is not None:
            yield Studied(id=study.id, document=study.model_dump(mode="json"))
    yield Outcome()


def _question(asked: SentencesRequest) -> Question:
    return Question(asked.trace.inference, asked.rollouts, asked.seed, asked.clamp)
