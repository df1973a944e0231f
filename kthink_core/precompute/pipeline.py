"""The stages in order: problems, prompts, generations, latents, store.

    plan        configuration → problems or traces, model, SAEs, prompts; every mistake that can be seen is seen here
    precompute  the missing inferences, a batch at a time: generate, or read traces and pass them through the model
                (teacher_forcing), and beside it encode → journal; then the decoder
                directions of the features that were active in them, and what the SAEs' reconstruction costs the model
                in each; then the database

Whatever happens in between, an inference is in the journal whole or not at all, and the next run makes the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import torch

from kthink_core.config import MOST_INFERENCES, Device, Experiment, ExperimentConfig
from kthink_core.errors import BadValue, KthinkError, OutOfMemory, PromptTooLong
from kthink_core.model.fidelity import fidelity
from kthink_core.model.generate import generate
from kthink_core.model.hookpoints import Captured
from kthink_core.model.language_model import LanguageModel, load_model, pick_device
from kthink_core.model.logit_lens import directions
from kthink_core.model.provenance import made_with, provenance
from kthink_core.model.receipts import tried
from kthink_core.model.replay import replay
from kthink_core.model.sae import LoadedSaes, check_widths
from kthink_core.model.sae_folders import load_saes
from kthink_core.model.sampling import Sampling
from kthink_core.model.steering import Steering, steering
from kthink_core.precompute.assembly import encoded
from kthink_core.precompute.beside import Beside
from kthink_core.precompute.bundled import make_way
from kthink_core.precompute.problems import load_problems
from kthink_core.precompute.site_check import PROMPTS as TRIED
from kthink_core.precompute.site_check import check_site
from kthink_core.precompute.teacher_forcing import by_length, forced
from kthink_core.precompute.traces import Traces, check_there, open_traces
from kthink_core.prompts import prompt_ids
from kthink_core.records import Generation, Inference, Problem, Prompt, cut_positions
from kthink_core.revisions import Revisions
from kthink_core.settings import Settings, from_environment
from kthink_core.store.completion import has_begun, is_finished
from kthink_core.store.manifest import read_experiment
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
    """All inferences of the experiment, done or not, in order; none where they are, or were, traces."""
    lm: LanguageModel
    saes: LoadedSaes
    steering: Steering | None
    traces: Traces | None = None


def plan(name: str, config: ExperimentConfig, device: Device, progress: Progress, cache: Path | None = None) -> Plan:
    """Load everything and check that it fits together. `cache`: where another experiment's traces are; None: where the
    settings say.

    Raises BadProblems, MissingFiles, UnknownName, UnsupportedSae, PromptTooLong, BadValue.
    """
    where = pick_device(device)
    place = cache or from_environment(Settings).cache
    try:
        check_there(config.traces, place)
    except KthinkError:
        if not is_finished(place, name, config):  # else nobody reads them again
            raise
    problems = [] if config.traces else load_problems(config.problems, config.limit)
    progress.stage(f"loading {config.model} and {len(config.hookpoints)} SAEs on {where}")
    saes = load_saes(config.sae, config.sae_revision, config.hookpoints, where, config.most_active)
    lm = load_model(config.model, config.model_revision, where, config.dtype, config.chat)
    if not config.traces:
        return _planned(name, config, problems, lm, saes)
    return _of_traces(name, config, place, lm, saes, progress)


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
    experiment = _experiment(name, config, len(prompts), provenance(lm, problems), lm, saes)
    return Plan(experiment, prompts, lm, saes, steering(config.steering, saes.by_hookpoint))


def _of_traces(
    name: str, config: ExperimentConfig, cache: Path, lm: LanguageModel, saes: LoadedSaes, progress: Progress
) -> Plan:
    check_widths(saes.by_hookpoint, replay(lm, [[0]], config.hookpoints, config.site)[0].vectors)
    stored = read_experiment(cache, name) if is_finished(cache, name, config) else None
    if stored is not None:  # its traces may lie anywhere by now
        facts = made_with(lm) | {"problems": stored.provenance.get("problems", "")}
        return Plan(_experiment(name, config, stored.inferences, facts, lm, saes), [], lm, saes, None)
    progress.stage(f"reading the traces of {config.traces}")
    traces = open_traces(config, lm, cache)
    for notice in traces.notices:
        progress.notice(notice)
    facts = made_with(lm) | {"problems": traces.digest}
    return Plan(_experiment(name, config, len(traces.numbers), facts, lm, saes), [], lm, saes, None, traces)


def _experiment(
    name: str, config: ExperimentConfig, count: int, facts: dict[str, str], lm: LanguageModel, saes: LoadedSaes
) -> Experiment:
    return Experiment(
        name=name,
        config=config,
        inferences=count,
        saes=saes.shapes(),
        revisions=Revisions(model=lm.revision, sae=saes.revision, saes=saes.own_revisions()),
        provenance=facts,
    )


def precompute(plan: Plan, cache: Path, batch_size: int, progress: Progress, *, site_is_chosen: bool = False) -> None:
    """Make the inferences that the experiment's journal lacks, then its directions and fidelity, then its database.

    `site_is_chosen`: somebody named the capture site, and it is not doubted. Memory is bounded by two batches: one is
    generated while the other is stored. Raises WrongSite before anything is stored of a new experiment;
    ExperimentBusy, ExperimentMismatch, DiskFull, OutOfMemory.
    """
    if batch_size < 1:
        raise BadValue(f"--batch-size {batch_size}: at least 1")
    experiment = plan.experiment
    make_way(cache, experiment, progress.notice)
    # The other site is none that anybody gets without asking for it; what has begun was decided then.
    if not site_is_chosen and experiment.config.site == "hookpoint" and not has_begun(cache, experiment.name):
        progress.stage("trying the SAEs at the sites of their layers")
        check_site(plan.lm, plan.saes.by_hookpoint, _first_tokens(plan))
    with open_writer(cache, plan.experiment, progress.notice) as writer:
        if plan.traces is None:
            lacking = {one.inference: one for one in plan.prompts if one.inference not in writer.committed}
        else:
            order = by_length(plan.traces, batch_size)
            lacking = {trace: plan.traces for trace in order if trace not in writer.committed}
        progress.start(experiment.inferences, experiment.inferences - len(lacking))
        _make(plan, lacking, batch_size, progress, writer)

        def pause() -> None:
            progress.pause()
            writer.catch_up()

        if not writer.has_directions:
            progress.stage("comparing the features' decoder directions")
            writer.put_directions(*directions(plan.lm, plan.saes.by_hookpoint, writer.active_features, pause))
        _measure(plan, writer, pause, progress)
        progress.stage("building the database")
        writer.build()


def _first_tokens(plan: Plan) -> list[tuple[int, ...]]:
    """Those of prompts, or of a few traces, to try SAEs on."""
    if plan.traces is None:
        return [prompt.token_ids for prompt in plan.prompts]
    few = (plan.traces.read(trace) for trace in plan.traces.numbers[:TRIED])
    return [trace.prompt.token_ids + trace.token_ids for trace in few]


def _make(
    plan: Plan, lacking: dict[int, Prompt] | dict[int, Traces], batch_size: int, progress: Progress, writer: Writer
) -> None:
    """Whole inferences, each committed as soon as it is one; out of memory on a GPU halves the batch and goes on."""

    grade, saes = plan.experiment.config.grade, plan.experiment.saes
    cut = dict.fromkeys(saes, 0)

    def store(generation: Generation, captured: Captured) -> Inference:
        inference = encoded(plan.lm, plan.saes, plan.steering, generation, captured, grade)
        writer.append(inference)
        return inference

    def committed(inference: Inference) -> None:
        del lacking[inference.inference]
        for hookpoint, encoding in inference.encodings.items():
            cut[hookpoint] += cut_positions(encoding, saes[hookpoint].most)
        progress.committed(inference)

    def step(number: int, rows: int) -> None:
        beside.hear()
        if writer.is_behind:
            beside.tend(writer.catch_up)
        progress.step(number, rows)

    with Beside(store, committed, most=batch_size, pause=progress.pause) as beside:
        while lacking:
            batch = [inference for inference in lacking if inference not in beside.under_way][:batch_size]
            try:
                if not batch:
                    beside.finish()
                    continue
                made = _passing(plan, batch, step)
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
    for hookpoint, positions in cut.items():
        if positions:
            kept = f"the {saes[hookpoint].most:,} strongest features"
            progress.notice(f"{hookpoint}: {kept} are kept at {positions:,} positions; --most-active N keeps more")


def _passing(
    plan: Plan, batch: Sequence[int], step: Callable[[int, int], None]
) -> Iterator[tuple[Generation, Captured]]:
    """Some inferences, as they come out of the model."""
    config = plan.experiment.config
    if plan.traces is not None:
        return forced(plan.lm, plan.traces, batch, config.hookpoints, config.site, step)
    sampling = Sampling(config.temperature, config.top_p, config.max_new_tokens)
    prompts = [plan.prompts[inference] for inference in batch]
    return generate(plan.lm, prompts, sampling, config.hookpoints, config.site, step, plan.steering)


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
