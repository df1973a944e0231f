"""A store in which queries find something, as far as no model is needed, and how each of them is asked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from kthink_core.evidence.rollout_plan import Question, standing
from kthink_core.store.causal_studies import ABLATION, AblationQuestion, AblationStudy, FeatureEffect, traced
from kthink_core.store.reader import Reader, open_reader
from kthink_core.store.sentence_studies import KIND, Place, SentenceStudy
from kthink_core.store.studies import made_with, save_study
from tests.app_samples import HOOKPOINTS, sample_experiment, write_experiment
from tests.sweep_samples import made_up

H = {"hookpoint": HOOKPOINTS[0]}
ONE = {"inference": "1"}
FEATURE = {**H, "feature": "7"}


def write_studied(cache: Path) -> str:
    """Stores `demo` and `other`, and beside the first a sweep, an ablation and rollouts. Returns the sweep's id."""
    write_experiment(cache, sample_experiment("demo", 6))
    write_experiment(cache, sample_experiment("other", 4))
    with open_reader(cache, "demo") as reader:
        _save_ablation(reader)
        save_rollouts(reader, 4)
        made = made_with(reader.experiment, HOOKPOINTS[:1], "cpu", "float32")
        sweep = made_up(problems=2, samples=1, strengths=(1.5,), features=1).model_copy(update={"made": made})
        save_study(reader.layout, "sweep", sweep.id, sweep)
    return sweep.id


def spelled(given: Mapping[str, str]) -> list[str]:
    """Options as the command line has them."""
    return [part for name, value in given.items() for part in (f"--{name}", value)]


def questions(study: str) -> dict[str, dict[str, str]]:
    """Options of every query, as the command line has them and an address, too."""
    by_study = {"study": study}
    features = {**H, "features": "7,3"}
    return {
        "inferences": {},
        "transcript": {**ONE, **FEATURE},
        "feature-activations": {**ONE, **H, "top": "30"},
        "feature-frequencies": {**ONE, **H, "scope": "think"},
        "relevant-features": {**ONE, **H},
        "feature-counts": H,
        "top-tokens": {**FEATURE, **ONE, "scope": "all"},
        "interventions": {},
        "label-test": {**FEATURE, "pattern": "wait"},
        "think-or-word": FEATURE,
        "think-or-word-tokens": {**FEATURE, "top": "5"},
        "families": {**H, "top": "20"},
        "reason-score": {**H, "window": "0,3", "alpha": "0.5"},
        "quality": {"scope": "all"},
        "contrast": {**H, "between": "experiments", "other": "other", "top": "7"},
        "differences": {**H, **ONE, "against": "2", "top": "9"},
        "token-differences": {**H, **ONE, "other": "other"},
        "feature-differences": {**H, **ONE, "other": "other"},
        "sentences": {"inference": "0"},
        "injection": H,
        "sweeps": {},
        "sweep": by_study,
        "sweep-runs": {**by_study, "top": "9"},
        "steer-eval": by_study,
        "ablation": ONE,
        "ablation-effects": {**ONE, **FEATURE},
        "attribution": {},
        "attribution-checks": {},
        "questions": {"top": "3"},
        "feature-table": {**H, "sort": "think", "features": "7,3,5"},
        "feature-search": {**H, "text": "WAIT"},
        "feature-matrix": features,
        "feature-maxima": features,
        "feature-shares": features,
        "feature-percentiles": {**features, "maxima": "0.5,2e1"},
        "top-tokens-of": {**features, "top": "2"},
        "feature-summary": FEATURE,
        "feature-inferences": FEATURE,
        "feature-contrast": FEATURE,
        "feature-histogram": {**FEATURE, "scope": "all"},
        "contexts": {**FEATURE, "top": "2", "pages": "2"},
        "context-positions": {**FEATURE, "top": "3"},
        "context-tokens": {**FEATURE, **ONE, "position": "4"},
        "fires-with": FEATURE,
        "feature-pair": features,
        "neighbours": FEATURE,
        "promoted-tokens": FEATURE,
        "alternatives": {**ONE, "position": "9"},
        "branches": {},
        "token-features": {**H, **ONE, "top": "2"},
        "feature-tracks": {**features, **ONE},
        "ranked-features": {**H, **ONE, "ranking": "lift"},
        "span-features": {**H, **ONE, "span": "3:9"},
        "steps": {**H, **ONE, "grain": "turn", "top": "2"},
        "activation-histogram": {**H, **ONE},
        "quality-by-inference": H,
        "norms": ONE,
        "first-norms": H,
        "norm-histogram": H,
        "sinks": H,
        "steering-checks": ONE,
    }


MAY_BE_EMPTY = {
    "interventions", "injection", "attribution", "attribution-checks", "neighbours", "promoted-tokens", "sinks",
    "steering-checks", "branches",
}  # fmt: skip
"""Of the sample: nothing was steered or injected, and there is no model."""


def _save_ablation(reader: Reader) -> None:
    inference = reader.inference(1)
    positions = len(inference.token_ids)
    figures = tuple(0.25 * (position > 12) for position in range(positions))
    effect = FeatureEffect(feature=7, positions=(12,), activations=(2.0,), kl=figures, change=figures)
    study = AblationStudy(
        made=made_with(reader.experiment, HOOKPOINTS[:1], "cpu", "float32"),
        trace=traced(inference, 1),
        question=AblationQuestion(hookpoint=HOOKPOINTS[0], features=(7,)),
        effects=(effect,),
    )
    save_study(reader.layout, ABLATION, study.id, study)


def save_rollouts(reader: Reader, rollouts: int) -> SentenceStudy:
    """Of inference 0: every answer is another one after the second sentence."""
    (begun,) = standing(reader, reader.inference(0), Question(inference=0, rollouts=rollouts, seed=0))
    places = tuple(
        Place(
            position=position,
            answers=("72" if number < 2 else "<b>71</b>",) * rollouts,
            repeats=(False,) * rollouts if number < len(begun.sentences) else (),
            tokens=100 * rollouts,
            seconds=2.0,
        )
        for number, position in enumerate(begun.positions)
    )
    whole = SentenceStudy.model_validate(begun.model_dump() | {"complete": True, "places": places})
    save_study(reader.layout, KIND, whole.id, whole)
    return whole
