"""The stages in order: problems, prompts, generations, latents, store.

    plan        configuration → problems, model, SAEs, prompts; every mistake that can be seen is seen here
    precompute  the missing inferences, a batch at a time: generate, and beside it encode → journal; then the decoder
                directions of the features that were active in them, and what the SAEs' reconstruction costs the model
                in each; then the database

Whatever happens in between, an inference is in the journal whole or not at all, and the next run makes the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from kthink_core.config import MOST_INFERENCES, Device, Experiment, ExperimentConfig, Revisions
from kthink_core.errors import BadValue, OutOfMemory, PromptTooLong
from kthink_core.model.fidelity import fidelity
from kthink_core.model.generate import generate
from kthink_core.model.hookpoints import Captured
from kthink_core.model.language_model import LanguageModel, load_model, pick_device, text_of, token_text
from kthink_core.model.logit_lens import directions
from kthink_core.model.provenance import provenance
from kthink_core.model.receipts import receipts, tried
from kthink_core.model.replay import replay
from kthink_core.model.sae import LoadedSaes, check_widths, encode
from kthink_core.model.sampling import Sampling
from kthink_core.model.sparse_coder import load_saes
from kthink_core.model.steering import Steering, steering
from kthink_core.precompute.beside import Beside
from kthink_core.precompute.problems import load_problems
from kthink_core.precompute.site_check import check_site
from kthink_core.prompts import Segment, final_answer, is_correct, prompt_ids, segments, think_close
from kthink_core.records import Encoding, Generation, Inference, Intervention, Problem, Prompt, Receipt
from kthink_core.store.completion import has_begun
from kthink_core.store.writer import Writer, open_writer


class Progress(Protocol):
    """Who hears how far a run is."""

    def stage(self, text: str) -> None:
        """Something that takes a while begins."""

    def start(self, total: int, done: int) -> None:
        """`done` of `total` inferences are in the journal already."""

    def step(self, step: int, rows: int) -> None:
        """`rows` inferences of the current batch got their token number `step`."""

    def pause(self) -> None:
        """Other work may be done now, between two parts of a long one; what it raises ends the run."""

    def committed(self, inference: Inference) -> None:
        """One more is in the journal."""

    def notice(self, text: str) -> None:
        """Something that the user should know, not an error."""


class Plan(NamedTuple):
    """An experiment ready to run."""

    experiment: Experiment
    prompts: list[Prompt]
    """All inferences of the experiment, done or not, in order."""
    lm: LanguageModel
    saes: LoadedSaes
    steering: Steering | None


def plan(name: str, config: ExperimentConfig, device: Device, progress: Progress) -> Plan:
    """Load everything and check that it fits together.

    Raises BadProblems, MissingFiles, UnknownName, UnsupportedSae, PromptTooLong, BadValue.
    """
    where = pick_device(device)
    problems = load_problems(config.problems, config.limit)
    progress.stage(f"loading {config.model} and {len(config.hookpoints)} SAEs on {where}")
    saes = load_saes(config.sae, config.sae_revision, config.hookpoints, where)
    lm = load_model(config.model, config.model_revision, where, config.dtype)
    return _planned(name, config, problems, lm, saes)


def plan_with(loaded: Plan, name: str, config: ExperimentConfig) -> Plan:
    """The plan of an experiment with the model and SAEs of another, which are loaded once. Raises as `plan`."""
    return _planned(name, config, load_problems(config.problems, config.limit), loaded.lm, loaded.saes)


def _planned(
    name: str, config: ExperimentConfig, problems: Sequence[Problem], lm: LanguageModel, saes: LoadedSaes
) -> Plan:
    check_widths(saes.by_hookpoint, replay(lm, [[0]], config.hookpoints, config.site)[0].vectors)
    if config.samples * len(problems) > MOST_INFERENCES:
        raise BadValue(
            f"--samples {config.samples} of {len(problems):,} problems: at most {MOST_INFERENCES:,} inferences"
        )
    token_ids = [tuple(prompt_ids(lm.tokenizer, lm.frames, problem.question, config.mode)) for problem in problems]
    # All problems once, then all again: the first are what they are without further samples.
    prompts = [
        Prompt(inference, problems[at], config.mode, config.seed + inference, token_ids[at])
        for inference in range(config.samples * len(problems))
        for at in [inference % len(problems)]
    ]
    for prompt in prompts[: len(problems)]:
        if len(prompt.token_ids) + config.max_new_tokens > lm.context:
            tokens = len(prompt.token_ids)
            raise PromptTooLong(prompt.problem.problem, tokens, config.max_new_tokens, lm.context)
    experiment = Experiment(
        name=name,
        config=config,
        inferences=len(prompts),
        saes=saes.shapes(),
        revisions=Revisions(model=lm.revision, sae=saes.revision, saes=saes.own_revisions()),
        provenance=provenance(lm, problems),
    )
    return Plan(experiment, prompts, lm, saes, steering(config.steering, saes.by_hookpoint))


def precompute(plan: Plan, cache: Path, batch_size: int, progress: Progress, *, site_is_chosen: bool = False) -> None:
    """Make the inferences that the experiment's journal lacks, then its directions and fidelity, then its database.

    `site_is_chosen`: somebody named the capture site, and it is not doubted. Memory is bounded by two batches: one is
    generated while the other is stored. Raises WrongSite before anything is stored of a new experiment;
    ExperimentBusy, ExperimentMismatch, DiskFull, OutOfMemory.
    """
    if batch_size < 1:
        raise BadValue(f"--batch-size {batch_size}: at least 1")
    experiment = plan.experiment
    # The other site is none that anybody gets without asking for it; what has begun was decided then.
    if not site_is_chosen and experiment.config.site == "hookpoint" and not has_begun(cache, experiment.name):
        progress.stage("trying the SAEs at the sites of their layers")
        check_site(plan.lm, plan.saes.by_hookpoint, [prompt.token_ids for prompt in plan.prompts])
    with open_writer(cache, plan.experiment, progress.notice) as writer:
        missing = [prompt for prompt in plan.prompts if prompt.inference not in writer.committed]
        progress.start(len(plan.prompts), len(plan.prompts) - len(missing))
        _make(plan, missing, batch_size, progress, writer)

        def pause() -> None:
            progress.pause()
            writer.catch_up()

        if not writer.has_directions:
            progress.stage("comparing the features' decoder directions")
            writer.put_directions(*directions(plan.lm, plan.saes.by_hookpoint, writer.active_features, pause))
        _measure(plan, writer, pause, progress)
        progress.stage("building the database")
        writer.build()


def _make(plan: Plan, missing: Sequence[Prompt], batch_size: int, progress: Progress, writer: Writer) -> None:
    """Whole inferences, each committed as soon as it is one; out of memory on a GPU halves the batch and goes on."""
    config = plan.experiment.config
    sampling = Sampling(config.temperature, config.top_p, config.max_new_tokens)
    lacking = {prompt.inference: prompt for prompt in missing}

    def store(generation: Generation, captured: Captured) -> Inference:
        inference = _encoded(plan, generation, captured)
        writer.append(inference)
        return inference

    def committed(inference: Inference) -> None:
        del lacking[inference.inference]
        progress.committed(inference)

    def step(number: int, rows: int) -> None:
        beside.hear()
        if writer.is_behind:
            beside.tend(writer.catch_up)
        progress.step(number, rows)

    with Beside(store, committed, most=batch_size, pause=progress.pause) as beside:
        while lacking:
            batch = [prompt for prompt in lacking.values() if prompt.inference not in beside.under_way][:batch_size]
            try:
                if not batch:
                    beside.finish()
                    continue
                made = generate(plan.lm, batch, sampling, config.hookpoints, config.site, step, plan.steering)
                for generation, captured in made if beside.most else list(made):  # one under way holds its caches
                    beside.put(generation, _tried(plan, generation, captured))
            except torch.cuda.OutOfMemoryError as error:
                if beside.most == 0:
                    remedy = "lower --max-new-tokens or take another --device"
                    raise OutOfMemory(plan.lm.device.type, "with a batch of one", remedy) from error
                torch.cuda.empty_cache()
                if batch_size > 1:
                    batch_size = beside.most = (min(len(batch or lacking), batch_size) + 1) // 2
                    progress.notice(f"out of GPU memory: going on with batches of {batch_size}")
                else:
                    beside.most = 0
                    _drain(beside)
                    progress.notice("out of GPU memory: going on with one at a time, stored before the next begins")


def _tried(plan: Plan, generation: Generation, captured: Captured) -> Captured:
    """With what is tried on a steered one: on this thread, since another's hooks would run in its pass."""
    if plan.steering is None:
        return captured
    site = plan.experiment.config.site
    return captured._replace(checks=tried(plan.lm, generation, captured.logprobs, site, plan.steering))


def _measure(plan: Plan, writer: Writer, pause: Callable[[], None], progress: Progress) -> None:
    """What the reconstruction costs the model, inference by inference. Readers do not wait for it."""
    if writer.awaits_last_build:
        writer.publish()
    site, saes = plan.experiment.config.site, plan.saes.by_hookpoint
    for index, inference in enumerate(writer.unmeasured()):
        if index == 0:
            progress.stage("measuring what the SAEs' reconstruction costs the model")
        token_ids, prompt_tokens = inference.token_ids.tolist(), inference.prompt_tokens
        found = fidelity(plan.lm, saes, site, token_ids, pause, plan.steering, prompt_tokens)
        writer.fidelity.put(inference, found)


def _drain(beside: Beside) -> None:
    """Wait for what is under way; what does not fit is made again."""
    while beside.under_way:
        try:
            beside.finish()
        except torch.cuda.OutOfMemoryError:
            torch.cuda.empty_cache()


def _encoded(plan: Plan, generation: Generation, captured: Captured) -> Inference:
    """A generation of the experiment with the latents of its captured vectors."""
    prompt = generation.prompt
    token_ids = prompt.token_ids + generation.token_ids
    labels = segments(token_ids, len(prompt.token_ids), prompt.mode, think_close(plan.lm.tokenizer))
    encodings = {
        hookpoint: encode(sae, captured.vectors[hookpoint], labels) for hookpoint, sae in plan.saes.by_hookpoint.items()
    }
    given = len(prompt.token_ids)
    told = receipts(plan.steering, captured.notes, encodings, given, captured.checks) if plan.steering else ()
    return assemble(
        plan.lm, generation, labels, captured.logprobs.numpy(), encodings, plan.experiment.config.steering, told
    )


def assemble(
    lm: LanguageModel,
    generation: Generation,
    labels: tuple[Segment, ...],
    logprobs: NDArray[np.float32],
    encodings: dict[str, Encoding],
    interventions: tuple[Intervention, ...] = (),
    receipts: tuple[Receipt, ...] = (),
) -> Inference:
    """Put together what is stored of one inference. `labels` are the segments, [positions] as `logprobs`."""
    prompt, token_ids = generation.prompt, generation.prompt.token_ids + generation.token_ids
    texts = {token_id: token_text(lm.tokenizer, token_id) for token_id in set(token_ids)}
    answer = final_answer(text_of(lm.tokenizer, generation.token_ids, special=False))
    return Inference(
        inference=prompt.inference,
        problem=prompt.problem.problem,
        question=prompt.problem.question,
        prompt=text_of(lm.tokenizer, prompt.token_ids),
        mode=prompt.mode,
        seed=prompt.seed,
        prompt_tokens=len(prompt.token_ids),
        finish_reason=generation.finish_reason,
        answer=answer,
        reference=prompt.problem.reference,
        correct=is_correct(answer, prompt.problem.reference),
        token_ids=np.array(token_ids, dtype=np.int32),
        texts=tuple(texts[token_id] for token_id in token_ids),
        segments=labels,
        logprobs=logprobs,
        encodings=encodings,
        interventions=interventions,
        receipts=receipts,
    )
