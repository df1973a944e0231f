"""A live inference that somebody wants to keep goes into an experiment of its own kind, journal and all."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from kthink_core.config import Experiment
from kthink_core.errors import CorruptFile, KthinkError
from kthink_core.identity import same_makers
from kthink_core.live.api import EncodeRequest, GenerateRequest, Kept
from kthink_core.prompts import Grade, is_correct
from kthink_core.records import Inference
from kthink_core.store.completion import is_outdated
from kthink_core.store.files import Layout
from kthink_core.store.kept_memory import KeptMemory, write_memory
from kthink_core.store.manifest import read_experiment
from kthink_core.store.writer import open_writer

LIVE = "live"
"""The experiment of kept inferences; where another model or other SAEs have it, theirs gets a suffix."""
_SAMPLING = {"temperature", "top_p", "max_new_tokens"}
"""What is stored of how a generation was asked for; a trace that was pasted has none of it."""
LIVE_STEERED = "live-steered"
"""That of steered ones: what features do when they are made to is no measure of what they do by themselves."""


def keep(
    cache: Path,
    made_by: Experiment,
    inference: Inference,
    request: GenerateRequest | EncodeRequest,
    author: str,
    committed: Callable[[Kept], None] = lambda kept: None,
    reference: str | None = None,
    memory: KeptMemory | None = None,
) -> Kept:
    """Commit an inference under the next free number. `made_by`: what the worker would precompute.
    `reference`: the right answer, where it is known. `memory`: what is remembered beside it.

    Readers see it when this returns. `tidy` should follow. `committed` hears of it as soon as it is stored, also where
    an error keeps readers from seeing it: `show` is to follow then. Raises ExperimentBusy, DiskFull.
    """
    grade = made_by.config.grade
    if reference is None:  # a branch has its parent's
        reference, grade = inference.reference, _grade(cache, inference, grade)
    experiment = _experiment(cache, made_by, LIVE_STEERED if inference.interventions else LIVE)
    # A keep takes as long however many there are.
    with open_writer(cache, experiment, verify=False, merge=False) as writer:
        index = writer.next_inference
        kept = Kept(experiment=experiment.name, inference=index)
        write_memory(Layout(cache / experiment.name), index, memory or KeptMemory())
        try:
            writer.append(
                replace(
                    inference,
                    inference=index,
                    problem=index,
                    author=author or "unnamed",
                    **(request.model_dump(include=_SAMPLING) if isinstance(request, GenerateRequest) else {}),
                    reference=reference,
                    correct=is_correct(inference.answer, reference, grade),
                )
            )
        finally:
            if Layout(cache / experiment.name).segment(index).exists():
                committed(kept)
    return kept


def _grade(cache: Path, inference: Inference, otherwise: Grade) -> Grade:
    """How the experiment compares answers that a branch has its reference of; `otherwise` where it is not there."""
    try:
        parent = read_experiment(cache, inference.parent_experiment) if inference.parent_experiment else None
    except (KthinkError, OSError):
        return otherwise
    return parent.config.grade if parent else otherwise


def show(cache: Path, kept: Kept) -> bool:
    """Make readers see what was committed. False where it is there no more. Raises as `tidy`."""
    experiment = read_experiment(cache, kept.experiment)
    if experiment is None:
        return False
    with open_writer(cache, experiment, verify=False, merge=False) as writer:
        return kept.inference in writer.committed


def tidy(cache: Path, name: str, pause: Callable[[], None]) -> None:
    """Merge the databases of the kept inferences of one experiment, which takes the longer the more there are. Nobody
    need wait for it: what `pause`, called now and then, raises ends it, and the next one begins it anew.

    Raises ExperimentBusy, DiskFull, and what opening a writer raises.
    """
    experiment = read_experiment(cache, name)
    if experiment is not None:
        with open_writer(cache, experiment, verify=False, merge=False) as writer:
            writer.tidy(pause)


def outdated(cache: Path) -> list[str]:
    """The experiments of kept inferences that no reader reads as they are: `tidy` brings them up to date."""
    return [stored.name for stored in _stored(cache) if _is_outdated(cache, stored.name)]


def _is_outdated(cache: Path, name: str) -> bool:
    try:
        return is_outdated(cache, name)
    except (KthinkError, OSError):  # a writer mends it, or says why not
        return True


def _stored(cache: Path) -> Iterator[Experiment]:
    """The experiments of kept inferences, whoever made them; those that cannot be read are left out."""
    for name in [LIVE, *sorted(path.name for path in cache.glob(f"{LIVE}-*"))]:
        try:
            stored = read_experiment(cache, name)
        except (KthinkError, OSError):
            continue
        if stored is not None and stored.open_ended and stored.name == name:
            yield stored


def _experiment(cache: Path, made_by: Experiment, name: str) -> Experiment:
    typed = {"problems": LIVE, "limit": None, "seed": 0, "samples": 1, "steering": ()}
    typed |= {"traces": None, "split": "train", "skip_bad": False, "by_id": False}
    config = made_by.config.model_copy(update=typed)
    provenance = {name: fact for name, fact in made_by.provenance.items() if name != "problems"}
    fields = {"name": name, "config": config, "inferences": 0, "open_ended": True, "provenance": provenance}
    experiment = made_by.model_copy(update=fields)
    try:
        stored = read_experiment(cache, name)
    except CorruptFile:  # the writer mends it, or says why not
        return experiment
    if stored is None or (stored.open_ended and same_makers(stored, experiment)):
        return experiment
    for other in _stored(cache):  # an older version may have named it otherwise
        if other.name.startswith(LIVE_STEERED) == (name == LIVE_STEERED) and same_makers(other, experiment):
            return experiment.model_copy(update={"name": other.name})
    facts = repr((config, experiment.revisions))
    return experiment.model_copy(update={"name": f"{name}-{hashlib.sha256(facts.encode()).hexdigest()[:8]}"})
