"""One job, done: its tokens as they come, then what is left of it."""

from __future__ import annotations

from collections.abc import Iterator

from kthink_core.live.api import EncodeRequest, Tokens
from kthink_core.model.sampling import Sampling
from kthink_core.precompute.pipeline import Plan, assemble
from kthink_core.records import Problem, Prompt
from kthink_core.worker.jobs import Job
from kthink_core.worker.stream import Live, encode_text


def perform(plan: Plan, job: Job) -> Iterator[Tokens | None]:
    """The events of a job, or None after a forward pass without one.

    After the last the job has its outcome and, where it has all hookpoints, its inference.
    """
    request = job.request
    known = plan.saes.by_hookpoint
    saes = {hookpoint: known[hookpoint] for hookpoint in request.hookpoints or known}
    site = plan.experiment.config.site
    if isinstance(request, EncodeRequest):
        yield encode_text(plan.lm, saes, site, job.token_ids)
        return
    prompt = Prompt(0, Problem(0, request.prompt, None), request.mode, request.seed, job.token_ids)
    live = Live(plan.lm, saes, site, prompt, Sampling(request.temperature, request.top_p, request.max_new_tokens))
    yield from live
    if live.generation is not None:
        made = assemble(plan.lm, plan.saes._replace(by_hookpoint=saes), live.generation, live.captured)
        job.finish_reason, job.answer = made.finish_reason, made.answer
        job.inference = made if len(saes) == len(known) else None
