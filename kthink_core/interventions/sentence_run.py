"""Rollouts from every place between the sentences of a stored thought, place by place, kept as they come."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from itertools import count, islice
from typing import NamedTuple

from kthink_core.config import Experiment
from kthink_core.evidence.pooled_receipts import joined
from kthink_core.evidence.rollout_plan import Cost, Question, left, standing
from kthink_core.interventions.rollouts import Rollout, roll_out
from kthink_core.model.language_model import LanguageModel
from kthink_core.model.sae import Sae
from kthink_core.model.sampling import Sampling
from kthink_core.model.steering import steering
from kthink_core.records import Inference
from kthink_core.store.reader import Reader
from kthink_core.store.sentence_studies import KIND, LONGEST_ANSWER, Place, SentenceStudy
from kthink_core.store.studies import save_study


class Engaged(NamedTuple):
    """What the rollouts are made with."""

    lm: LanguageModel
    saes: Mapping[str, Sae]
    """By hookpoint: at least those at which something is steered."""


class Step(NamedTuple):
    """How far it is."""

    done: int
    of: int
    """Rollouts, those with the feature clamped among them."""
    left: Cost
    """As of the last place that is done."""
    study: SentenceStudy
    """As it is stored now: the one without the clamp until that is complete, then the one with it."""


def run(
    reader: Reader, question: Question, engaged: Engaged, pause: Callable[[], None] = lambda: None
) -> Iterator[Step]:
    """Make the rollouts that are not stored yet, and store them after every place; a step before the first and after
    each rollout. With a clamp the same places are gone on from without it first, unless that is stored.

    Raises what `standing` raises; DiskFull, OutOfMemory.
    """
    trace = reader.inference(question.inference)
    device, dtype = str(engaged.lm.device), engaged.lm.dtype_name
    studies = standing(reader, trace, question, device, dtype)

    def step(study: SentenceStudy) -> Step:
        done = sum(one.rollouts * len(one.places) for one in studies)
        of = sum(one.rollouts * len(one.positions) for one in studies)
        return Step(done, of, left(reader, studies, device), study)

    last = step(studies[0])
    yield last
    for number in range(len(studies)):
        while not studies[number].complete:
            for made in _place(studies[number], reader.experiment, trace, engaged, pause):
                if isinstance(made, Place):
                    studies[number] = _with_place(studies[number], made)
                    save_study(reader.layout, KIND, studies[number].id, studies[number])
                else:
                    yield last._replace(done=last.done + made)
            last = step(studies[number])
            yield last


def _with_place(study: SentenceStudy, place: Place) -> SentenceStudy:
    places = (*study.places, place)
    return study.model_copy(update={"places": places, "complete": len(places) == len(study.positions)})


def _place(
    study: SentenceStudy, experiment: Experiment, trace: Inference, engaged: Engaged, pause: Callable[[], None]
) -> Iterator[int | Place]:
    """The next place of a study: how many of its rollouts have ended, after each but the last, then all."""
    sampling = Sampling(study.temperature, study.top_p, study.max_new_tokens)
    seeds = list(islice((seed for seed in count(study.seed) if seed != trace.seed), study.rollouts))
    number = len(study.places)
    at = study.positions[number]
    sentence = study.sentences[number].text if number < len(study.sentences) else None
    began, aside = time.perf_counter(), 0.0

    def paused() -> None:
        nonlocal aside
        away = time.perf_counter()
        pause()
        aside += time.perf_counter() - away

    steered = steering(study.interventions, engaged.saes)
    made: dict[int, Rollout] = {}
    for row, one in roll_out(engaged.lm, experiment.config.site, trace, at, seeds, sampling, steered, sentence, paused):
        made[row] = one
        if len(made) < len(seeds):
            yield len(made)
    rollouts = [made[row] for row in range(len(seeds))]
    yield Place(
        position=at,
        answers=tuple(one.answer and one.answer[:LONGEST_ANSWER] for one in rollouts),
        repeats=() if sentence is None else tuple(one.repeats for one in rollouts),
        tokens=sum(one.tokens for one in rollouts),
        seconds=round(time.perf_counter() - began - aside, 3),
        receipts=tuple(map(joined, zip(*(one.receipts for one in rollouts if one.receipts), strict=True))),
    )
