"""One job, done: its tokens as they come, then what is left of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from kthink_core.live.api import EncodeRequest, Event, GenerateRequest
from kthink_core.model.sampling import Sampling
from kthink_core.model.steering import steering
from kthink_core.precompute.pipeline import Plan
from kthink_core.records import Inference, Problem, Prompt
from kthink_core.worker.jobs import Job, Outcome
from kthink_core.worker.stream import encode_text, generate_live


def perform(plan: Plan, job: Job, pause: Callable[[], None]) -> Iterator[Event | Outcome | None]:
    """The events of a job, or None after a forward pass without one; last of all its outcome. `pause` is called inside
    what takes longer."""
    request = job.request
    if job.work is not None:
        yield from job.work(plan, pause)
        return
    known = plan.saes.by_hookpoint
    asked = {hookpoint: known[hookpoint] for hookpoint in request.hookpoints or known}
    saes = plan.saes._replace(by_hookpoint=asked)
    site, most = plan.experiment.config.site, {name: sae.shape.most for name, sae in asked.items() if sae.shape.most}
    if isinstance(request, EncodeRequest):
        stored = None
        for part in encode_text(plan.lm, saes, site, job.token_ids):
            if isinstance(part, Inference):
                stored = part if len(asked) == len(known) else None
            else:
                yield part
        yield Outcome(inference=stored, most=most)
        return
    assert isinstance(request, GenerateRequest)  # what is neither has work of its own
    begun = job.begun
    problem = Problem(0, begun.trace.question, begun.trace.reference) if begun else Problem(0, request.prompt, None)
    mode = begun.trace.mode if begun else request.mode
    prompt = Prompt(0, problem, mode, request.seed, job.token_ids)
    sampling = Sampling(request.temperature, request.top_p, request.max_new_tokens)
    steered = steering(begun.trace.interventions if begun else request.steering, known)
    for part in generate_live(plan.lm, saes, site, prompt, sampling, steered, begun):
        if isinstance(part, Inference):
            if begun:
                part = replace(
                    part,
                    parent_experiment=begun.experiment,
                    parent_inference=begun.inference,
                    parent_position=begun.position,
                )
            whole = part if len(asked) == len(known) else None
            yield Outcome(part.finish_reason, part.answer, whole, part.receipts, part.interventions, most)
        else:
            yield part
