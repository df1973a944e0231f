"""What rollouts from between the sentences of a stored thought are asked for, and what they will cost, told before they
are begun and while they are under way."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from kthink_core.config import Experiment
from kthink_core.errors import BadValue
from kthink_core.prompts import NONE
from kthink_core.records import Inference, Intervention, hookpoints_needed
from kthink_core.sentence_splitting import sentences, thought
from kthink_core.store.reader import Reader
from kthink_core.store.sentence_studies import (
    KIND,
    MOST_ROLLOUTS,
    MOST_SENTENCES,
    Place,
    Said,
    SentenceStudy,
)
from kthink_core.store.studies import list_studies, made_with, read_study, trace_digest

ROLLOUTS = 100
"""From each place, unless asked otherwise."""


class Question(NamedTuple):
    """What is asked of a stored inference."""

    inference: int
    rollouts: int
    """From each place."""
    seed: int
    clamp: Intervention | None = None
    """Done in all rollouts, and to the thought before each place as it is read again; also asked is then how much of a
    sentence's importance passes its feature."""


class Cost(NamedTuple):
    """Of what is not done yet."""

    places: int
    tokens: int
    """To be written, about."""
    seconds: float | None
    """About; None where nothing tells how fast this machine is."""


def hookpoints_of(trace: Inference, question: Question) -> list[str]:
    """The hookpoints at which the rollouts are steered, or wait for a feature."""
    return hookpoints_needed((*trace.interventions, *([question.clamp] if question.clamp else [])))


def standing(
    reader: Reader, trace: Inference, question: Question, device: str = "", dtype: str = ""
) -> list[SentenceStudy]:
    """What is stored of a question, with nothing done where nothing is: the study without the clamp, then, if one is
    asked for, the one with it. device, dtype: what those not begun yet will be made with.

    Raises BadValue for a trace without a thought, or what cannot be asked; BadFile, OSError.
    """
    asked = [question._replace(clamp=None), *([question] if question.clamp else [])]
    fresh = [_begun(reader.experiment, trace, one, device, dtype) for one in asked]
    stored = [read_study(reader.layout, reader.experiment, KIND, one.id, SentenceStudy) for one in fresh]
    return [new if old is None else old for old, new in zip(stored, fresh, strict=True)]


def left(reader: Reader, studies: Sequence[SentenceStudy], device: str | None = None) -> Cost:
    """What is not done of some studies, by the speed at which they, or else earlier ones in the experiment, were made:
    on that device, if one is named."""
    rate = _rate([place for study in studies for place in study.places]) or _known_rate(
        reader, studies[0].rollouts, device
    )
    ahead = [study.rollouts * tokens for study in studies for tokens in _ahead(study)]
    return Cost(len(ahead), sum(ahead), sum(ahead) / rate if rate else None)


def _begun(experiment: Experiment, trace: Inference, question: Question, device: str, dtype: str) -> SentenceStudy:
    if not 2 <= question.rollouts <= MOST_ROLLOUTS:
        raise BadValue(f"{question.rollouts} rollouts: from 2 to {MOST_ROLLOUTS}")
    inside = thought(trace.texts, trace.segments, trace.finish_reason)
    found = sentences(trace.texts[inside.start : inside.stop], inside.start)
    if not found:
        raise BadValue(f"inference {trace.inference} has no thought: there are no sentences to go on from")
    if len(found) > MOST_SENTENCES:
        raise BadValue(
            f"the thought of inference {trace.inference} has {len(found):,} sentences, over {MOST_SENTENCES}"
        )
    config = experiment.config
    said = [Said(first=one.first, last=one.last, text="".join(trace.texts[one.first : one.last + 1])) for one in found]
    return SentenceStudy(
        made=made_with(experiment, hookpoints_of(trace, question), device, dtype),
        complete=False,
        inference=trace.inference,
        trace=trace_digest(trace.token_ids),
        prompt_tokens=trace.prompt_tokens,
        generated_tokens=trace.generated_tokens,
        reference=None if config.grade == NONE else trace.reference,
        grade=config.grade,
        cut_off_unanswered=True,
        rollouts=question.rollouts,
        seed=question.seed,
        temperature=config.temperature if trace.temperature is None else trace.temperature,
        top_p=config.top_p if trace.top_p is None else trace.top_p,
        max_new_tokens=trace.max_new_tokens or config.max_new_tokens,
        steering=trace.interventions,
        clamp=question.clamp,
        sentences=tuple(said),
        places=(),
    )


def _ahead(study: SentenceStudy) -> list[int]:
    """Tokens of one rollout from each place that is not done. It ends where the trace ended, on the median, until those
    that are done say better; and never goes beyond the trace's limit."""
    most = study.prompt_tokens + study.max_new_tokens
    ends = study.prompt_tokens + study.generated_tokens
    if study.places:
        ends = round(median(place.position + place.tokens / study.rollouts for place in study.places))
    return [max(min(ends, most) - position, 0) for position in study.positions[len(study.places) :]]


def _known_rate(reader: Reader, rollouts: int, device: str | None) -> float | None:
    """Tokens a second of earlier rollouts in the experiment: of those that were about as many at once, the newest."""
    stored = list_studies(reader.layout, reader.experiment, KIND, SentenceStudy).found.values()
    measured = [study for study in stored if _rate(study.places) and device in (None, study.made.device)]
    nearest = min(measured, key=lambda study: abs(study.rollouts - rollouts), default=None)
    return nearest and _rate(nearest.places)


def _rate(places: Sequence[Place]) -> float | None:
    seconds = sum(place.seconds for place in places)
    return sum(place.tokens for place in places) / seconds if seconds > 0 else None
