"""Features of a trace set to 0, asked and answered."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from kthink_core.errors import BadValue, OutOfRange
from kthink_core.interventions.subject import Step, Subject, plain
from kthink_core.model.ablation import Ablation, Target
from kthink_core.store.causal_studies import AblationQuestion, AblationStudy, FeatureEffect, traced


def check_ablation(subject: Subject, question: AblationQuestion) -> None:
    """Raises UnknownName, OutOfRange, BadValue."""
    subject.check_hookpoint(question.hookpoint)
    size, length = subject.saes[question.hookpoint].shape.num_latents, len(subject.inference.token_ids)
    for feature in question.features:
        if feature >= size:
            raise OutOfRange("feature", feature, size)
    if len(set(question.features)) < len(question.features):
        raise BadValue("a feature is named twice")
    if question.span is not None and not question.span[0] <= question.span[1] < length:
        raise BadValue(f"positions {question.span[0]} to {question.span[1]}: the trace has 0 to {length - 1}")


def ablate(subject: Subject, question: AblationQuestion, pause: Callable[[], None]) -> Iterator[Step | AblationStudy]:
    """Steps, then the answer. Raises as `check_ablation`, OutOfMemory, HookSkipped."""
    lm, inference = subject.lm, subject.inference
    check_ablation(subject, question)
    yield Step(0, len(question.features))
    saes = {question.hookpoint: subject.saes[question.hookpoint]}
    site = subject.experiment.config.site
    read = Ablation(lm, saes, site, subject.token_ids, pause, subject.steering(), inference.prompt_tokens)
    positions = None if question.span is None else range(question.span[0], question.span[1] + 1)
    found: dict[int, FeatureEffect] = {}
    targets = [Target(question.hookpoint, feature, positions) for feature in question.features]
    for index, effect in read.effects(targets):
        found[index] = FeatureEffect(
            feature=question.features[index],
            positions=tuple(effect.positions.tolist()),
            activations=plain(effect.activations),
            kl=plain(effect.kl),
            change=plain(effect.change),
        )
        yield Step(len(found), len(targets))
    yield AblationStudy(
        made=subject.made(question.hookpoint),
        trace=traced(inference, subject.number),
        question=question,
        effects=tuple(found[index] for index in range(len(targets))),
    )
