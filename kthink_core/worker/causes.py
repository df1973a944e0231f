"""What features do in a trace, as jobs of the worker's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from kthink_core.errors import PromptRefused
from kthink_core.interventions.ablating import ablate, check_ablation
from kthink_core.interventions.attributing import attribute, check_attribution
from kthink_core.interventions.subject import Step, Subject
from kthink_core.live.api import Event, Progressed, Studied
from kthink_core.live.study_requests import AblationRequest, AttributionRequest, StoredTrace
from kthink_core.precompute.pipeline import Plan
from kthink_core.queries.checks import check_hookpoint, check_inference
from kthink_core.records import Inference, hookpoints_needed
from kthink_core.store.causal_studies import AblationStudy, AttributionStudy, causal_id
from kthink_core.store.reader import open_reader
from kthink_core.store.studies import save_study
from kthink_core.worker.jobs import Outcome
from kthink_core.worker.same_maker import check_made_by

Asked = AblationRequest | AttributionRequest


def check_causes(cache: Path, asked: Asked, plan: Plan, written: Callable[[str], Inference]) -> Subject:
    """The trace that is asked about. Raises UnknownName, OutOfRange, BadValue; PromptRefused where the worker has
    another model, SAE or capture site than its experiment, or has forgotten it."""
    subject = _subject(cache, asked, plan, written)
    if isinstance(asked, AblationRequest):
        check_ablation(subject, asked.question)
    else:
        check_attribution(subject, asked.question)
    return subject


def map_causes(
    cache: Path, asked: Asked, subject: Subject, _: Plan, pause: Callable[[], None]
) -> Iterator[Event | Outcome]:
    """Answer, and store the answer of an inference that is stored. Raises as `ablate` and `attribute` do."""
    if isinstance(asked, AblationRequest):
        steps: Iterator[Step | AblationStudy | AttributionStudy] = ablate(subject, asked.question, pause)
    else:
        steps = attribute(subject, [asked.question], pause)
    for step in steps:
        if isinstance(step, Step):
            yield Progressed(done=step.done, of=step.of)
            continue
        id = None
        if isinstance(asked.trace, StoredTrace):
            id = causal_id(step.trace, step.question, step.made)
            with open_reader(cache, asked.trace.experiment) as reader:
                save_study(reader.layout, asked.kind, id, step)
        yield Studied(id=id, document=step.model_dump(mode="json"))
    yield Outcome()


def _subject(cache: Path, asked: Asked, plan: Plan, written: Callable[[str], Inference]) -> Subject:
    saes, trace = plan.saes.by_hookpoint, asked.trace
    if not isinstance(trace, StoredTrace):
        return Subject(plan.lm, saes, plan.experiment, written(trace.job), None)
    with open_reader(cache, trace.experiment) as reader:
        check_inference(reader, trace.inference)
        check_hookpoint(reader, asked.question.hookpoint)
        found = reader.inference(trace.inference)
        check_made_by(reader, plan, (asked.question.hookpoint, *hookpoints_needed(found.interventions)))
        if len(found.token_ids) < 2:
            raise PromptRefused(f"inference {trace.inference} has one token only: there is nothing to predict")
        return Subject(plan.lm, saes, reader.experiment, found, trace.inference)
