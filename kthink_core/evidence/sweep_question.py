"""A sweep that somebody wants becomes a question of an experiment, and finds what is done of it already."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from kthink_core.errors import BadFile, BadValue, short
from kthink_core.queries import feature_maxima, questions
from kthink_core.records import Action, Intervention, Problem
from kthink_core.steer_options import check_steering
from kthink_core.store.reader import Reader
from kthink_core.store.studies import FOLDER, Kind, Made, read_study
from kthink_core.store.sweeps import (
    MOST_FEATURES,
    MOST_RUNS,
    MOST_STRENGTH,
    MOST_STRENGTHS,
    Asked,
    Sweep,
    Target,
    digest_of,
    questions_of,
    runs_of,
)

KIND: Kind = "sweep"


class Wish(NamedTuple):
    """What somebody wants swept."""

    features: Sequence[tuple[str, int]]
    """Hookpoint and feature, each steered alone."""
    action: Action
    strengths: Sequence[float]
    """In units of a feature's maximum in the experiment; none of `ablate`."""
    start: int
    """Generated position from which on it is steered."""
    samples: int
    seed: int | None
    """None: the experiment's own."""
    at_residual: bool
    """Whether an MLP's SAE may steer the residual stream."""


class ProblemSet(NamedTuple):
    """The problems of a sweep."""

    problems: list[Problem]
    source: str
    """For a reader: where they come from."""
    of: int
    """How many there would be without a limit: samples of one problem have seeds that far apart."""


def own_problems(reader: Reader, limit: int | None) -> ProblemSet:
    """Those of the experiment itself, from the first on. Raises BadValue."""
    experiment = reader.experiment
    if experiment.open_ended:
        raise BadValue(f"experiment '{experiment.name}' holds what was typed, not problems: name another")
    table = questions(reader, MOST_RUNS if limit is None else limit)
    if table.empty:
        raise BadValue(f"experiment '{experiment.name}' has no inference yet; run `precompute`")
    problems = [
        Problem(int(number), str(question), str(reference) if isinstance(reference, str) else None)
        for number, question, reference in zip(table["problem"], table["question"], table["reference"], strict=True)
    ]
    return ProblemSet(problems, experiment.config.problems, experiment.inferences // experiment.config.samples)


def asked_of(reader: Reader, wish: Wish, of: ProblemSet, flag: str) -> Asked:
    """The question. Raises UnknownName, OutOfRange, BadValue for what cannot be swept: a feature without a maximum to
    scale by, a strength that is no number or has no meaning, a start behind the end, too many runs. `flag`: how one
    says that an MLP's SAE may steer the residual stream."""
    config = reader.experiment.config
    features = list(dict.fromkeys(wish.features))
    strengths = _strengths(wish)
    if not 1 <= len(features) <= MOST_FEATURES:
        raise BadValue(f"{len(features)} features: sweep from 1 to {MOST_FEATURES}")
    if wish.start < 0:
        raise BadValue(f"start {wish.start}: generated positions count from 0")
    if wish.samples < 1:
        raise BadValue(f"samples {wish.samples}: at least 1")
    runs = runs_of(len(features), len(strengths), len(of.problems), wish.samples)
    if runs > MOST_RUNS:
        raise BadValue(f"{runs:,} runs, the baseline's included: at most {MOST_RUNS:,}; take fewer of something")
    seed = config.seed if wish.seed is None else wish.seed
    if not 0 <= seed < 2**31 - MOST_RUNS * of.of:
        raise BadValue(f"seed {seed}: from 0 to {2**31 - MOST_RUNS * of.of - 1}")
    targets = tuple(_target(reader, hookpoint, feature, wish.action) for hookpoint, feature in features)
    done = [Intervention(target.hookpoint, target.feature, wish.action, start=wish.start) for target in targets]
    check_steering(done, config.max_new_tokens, config.site, at_residual=wish.at_residual, flag=flag)
    return Asked(
        targets=targets,
        action=wish.action,
        strengths=strengths,
        start=wish.start,
        problems=digest_of(of.problems),
        samples=wish.samples,
        seed=seed,
        stride=of.of,
        mode=config.mode,
        temperature=config.temperature,
        top_p=config.top_p,
        max_new_tokens=config.max_new_tokens,
        grade=config.grade,
    )


def begun(reader: Reader, asked: Asked, of: ProblemSet, made: Made) -> tuple[str, Sweep]:
    """The id of a sweep, and what is stored of it; nothing yet: one without runs. Raises BadFile, also for one whose
    problems or seeds are not those that were asked for."""
    fresh = Sweep(
        made=made,
        complete=False,
        asked=asked,
        problems_from=of.source,
        questions=questions_of(of.problems),
        runs=(),
    )
    stored = read_study(reader.layout, reader.experiment, KIND, fresh.id, Sweep)
    if stored is None:
        return fresh.id, fresh
    own = stored.questions == fresh.questions and all(
        run.seed == asked.seed_of(of.problems[run.problem].problem, run.sample) for run in stored.runs
    )
    if not own:
        path = reader.layout.folder / FOLDER / KIND / f"{fresh.id}.json"
        raise BadFile(path, "its problems or seeds are not those that it says")
    return fresh.id, stored


def _strengths(wish: Wish) -> tuple[float, ...]:
    if wish.action == "ablate":
        if wish.strengths:
            raise BadValue("what is ablated has no strength: leave the strengths out, or clamp")
        return (0.0,)
    if not 1 <= len(set(wish.strengths)) <= MOST_STRENGTHS:
        raise BadValue(f"{len(set(wish.strengths))} strengths: from 1 to {MOST_STRENGTHS}, such as 0,0.5,1,2")
    for strength in wish.strengths:
        if not math.isfinite(strength) or abs(strength) > MOST_STRENGTH:
            raise BadValue(f"strength {short(strength)}: a number from {-MOST_STRENGTH:g} to {MOST_STRENGTH:g}")
        if wish.action == "clamp" and strength < 0:
            raise BadValue(f"strength {strength:g}: an activation is never negative, so none is clamped there; add it")
        if wish.action == "add" and strength == 0:
            raise BadValue("strength 0: to add nothing is the baseline, which is run anyhow")
    return tuple(sorted({strength + 0.0 for strength in wish.strengths}))


def _target(reader: Reader, hookpoint: str, feature: int, action: Action) -> Target:
    maximum = float(feature_maxima(reader, hookpoint, (feature,))["max_activation"].iloc[0])
    if maximum <= 0 and action != "ablate":
        raise BadValue(
            f"feature {feature} of {hookpoint} never fires in what the model wrote in experiment "
            f"'{reader.experiment.name}': it has no maximum to scale by; name one that fires"
        )
    return Target(hookpoint=hookpoint, feature=feature, maximum=maximum)
