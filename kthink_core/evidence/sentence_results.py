"""What was found by rollouts from between the sentences of a thought, as a table, and what to know of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kthink_core.errors import BadValue
from kthink_core.evidence.pooled_receipts import failure, joined, pooled
from kthink_core.evidence.sentence_importance import (
    Codes,
    Moved,
    accuracy_difference,
    counterfactual,
    importance,
    passing,
    q_values,
)
from kthink_core.prompts import answer_key, is_correct
from kthink_core.queries.checks import check_feature, check_inference
from kthink_core.queries.inference import transcript
from kthink_core.records import Receipt
from kthink_core.store.reader import Reader
from kthink_core.store.sentence_studies import Found, Place, SentenceStudy, find_studies
from kthink_core.store.studies import trace_digest

COLUMNS = (
    "sentence", "first", "last", "text", "importance", "low", "high", "chance", "chance_high", "p", "q", "rollouts",
    "none_before", "none_after", "accuracy_before", "accuracy_after", "accuracy_difference", "accuracy_low",
    "accuracy_high", "accuracy_p", "accuracy_q", "differing", "counterfactual", "counterfactual_low",
    "counterfactual_high", "counterfactual_chance", "counterfactual_p", "counterfactual_q", "clamped", "passing",
    "passing_low", "passing_high", "passing_p", "passing_q", "positions", "change", "change_max", "before", "after",
    "checks",
)  # fmt: skip

_COUNTS = ("sentence", "first", "last", "rollouts", "none_before", "none_after", "differing")

FEW = 30
"""Rollouts from a place below which only large changes stand out."""
TRUSTED = 0.05
"""q up to which a figure counts as a find."""


class Results(NamedTuple):
    """What is stored of one inference."""

    study: SentenceStudy
    clamped: SentenceStudy | None
    table: pd.DataFrame
    """`COLUMNS`, a row for each sentence with rollouts on both sides of it."""


def sentences(
    reader: Reader, inference: int, hookpoint: str | None = None, feature: int | None = None, top: int | None = None
) -> pd.DataFrame:
    """The sentences of an inference's thought by their importance, in their order: `COLUMNS`.

    importance and the rest: sentence_importance.py; none_before, none_after: rollouts without a final answer; accuracy:
    share of right ones, null without a reference; differing: rollouts from before whose own sentence is another,
    against which `counterfactual` is. clamped: the importance with the feature clamped, null unless its hookpoint and
    number are given; passing: how much less that is; positions: at how many written ones the clamp acted in the
    rollouts from before the sentence and after it; change, change_max: median and largest of ‖Δh‖ / ‖h‖ there; before,
    after: medians of the feature's activation, after of the changed vector encoded again in the rollouts that were
    checked; checks: what was tried on those, the worst value, the most that it may be; null where an older version made
    them. "Differing" goes by the text but for case and white space: a paraphrase is another sentence. importance is
    KL(after ‖ before). top: only so many of the most important ones. Raises OutOfRange, UnknownName, BadValue where
    nothing is stored.
    """
    if (hookpoint is None) != (feature is None):
        raise BadValue("a clamped feature needs --hookpoint and --feature")
    if hookpoint is not None and feature is not None:
        check_feature(reader, hookpoint, feature)
    found = stored(reader, inference)
    if found.plain is None:
        raise BadValue(f"inference {inference} has no rollouts yet: `sentences` makes them")
    clamped = next((one for one in found.clamped if one.clamp and _is_of(one, hookpoint, feature)), None)
    if feature is not None and clamped is None:
        known = ", ".join(f"{one.clamp.hookpoint}:{one.clamp.feature}" for one in found.clamped if one.clamp)
        raise BadValue(
            f"inference {inference} has no rollouts with feature {feature} of {hookpoint} clamped (known: "
            f"{known or 'none'}): `sentences --clamp` makes them"
        )
    rows = table(found.plain, clamped)
    return rows if top is None else rows.nlargest(top, "importance", keep="first")


def stored(reader: Reader, inference: int) -> Found:
    """The studies of an inference. Raises OutOfRange, BadValue, OSError."""
    check_inference(reader, inference)
    trace = trace_digest(transcript(reader, inference)["token_id"].tolist())
    return find_studies(reader.layout, reader.experiment, inference, trace)


def remarks(reader: Reader, inference: int) -> list[str]:
    """What to know of an answer of `sentences`, a line each."""
    found = stored(reader, inference)
    broken = [told for one in found.clamped for told in failures(one)]
    return [*found.problems, *broken, *([] if found.plain is None else doubts(found.plain))]


def receipts(study: SentenceStudy) -> tuple[Receipt, ...]:
    """Of each intervention over all places; none where nothing was steered, or an older version made them."""
    told = [place.receipts for place in study.places if place.receipts]
    return tuple(map(joined, zip(*told, strict=True)))


def failures(study: SentenceStudy) -> list[str]:
    """What was tried on steered rollouts and does not hold, a sentence."""
    tried = pooled(place.receipts[0] for place in study.places if place.receipts)  # a run's are the same for each
    where = f"rollouts with {study.clamp.hookpoint}:{study.clamp.feature} clamped" if study.clamp else "rollouts"
    return [told] if (told := failure(tried, where)) else []


def doubts(study: SentenceStudy) -> list[str]:
    """What to know before believing a study, a sentence each."""
    told = failures(study)
    if not study.complete:
        told.append(
            f"Rollouts of {len(study.places)} of {len(study.positions)} places are done: q is over the sentences "
            "between these. The same command goes on."
        )
    if study.rollouts < FEW:
        told.append(
            f"{study.rollouts} rollouts from a place: only large changes stand out of chance. Take {FEW} or more."
        )
    none = sum(answer is None for place in study.places for answer in place.answers)
    every = study.rollouts * len(study.places)
    if every and none > every / 4:
        told.append(
            f"{none} of {every} rollouts gave no final answer, most likely at the limit of {study.max_new_tokens} new "
            "tokens of the whole trace: none counts as an answer."
        )
    return told


def table(study: SentenceStudy, clamped: SentenceStudy | None = None) -> pd.DataFrame:
    """`COLUMNS` of the sentences with rollouts on both sides; of `clamped` those that it has done, too."""
    keys: dict[str, int] = {}

    def coded(answers: Sequence[str | None]) -> Codes:
        """The same number for answers that state the same."""
        own = [keys.setdefault(answer_key(answer, study.grade), len(keys)) for answer in answers]
        return np.array(own, np.int64)

    own = [coded(place.answers) for place in study.places]
    other = [coded(place.answers) for place in clamped.places] if clamped else []
    rows = [_row(study, number, own, other) for number in range(max(len(own) - 1, 0))]
    for number, row in enumerate(rows):
        row |= _clamped(clamped.places[number : number + 2] if clamped and number + 1 < len(other) else ())
    found = pd.DataFrame(rows, columns=list(COLUMNS))
    for name in ("", "accuracy_", "counterfactual_", "passing_"):
        tested = found[f"{name}p"].notna()
        found.loc[tested, f"{name}q"] = q_values(found.loc[tested, f"{name}p"].tolist())
    real = [name for name in COLUMNS if name not in ("text", "checks")]
    types = dict.fromkeys(real, "float64") | dict.fromkeys(_COUNTS, "int64") | {"positions": "Int64"}
    return found.astype(types)


def _row(study: SentenceStudy, number: int, own: list[Codes], other: list[Codes]) -> dict[str, Any]:
    said, before, after = study.sentences[number], study.places[number], study.places[number + 1]
    differs = ~np.array(before.repeats, bool)
    row: dict[str, Any] = {
        "sentence": number,
        "first": said.first,
        "last": said.last,
        "text": said.text,
        "rollouts": study.rollouts,
        "none_before": before.answers.count(None),
        "none_after": after.answers.count(None),
        "differing": int(differs.sum()),
    }
    row |= _named(importance(own[number], own[number + 1]), "importance", "")
    if study.reference is not None:
        right = _right(study, before.answers), _right(study, after.answers)
        row |= {"accuracy_before": right[0].mean(), "accuracy_after": right[1].mean()}
        row |= _named(accuracy_difference(*right), "accuracy_difference", "accuracy_")
    if (against := counterfactual(own[number], own[number + 1], differs)) is not None:
        row |= _named(against, "counterfactual", "counterfactual_")
    if number + 1 < len(other):
        row["clamped"] = importance(other[number], other[number + 1]).value
        row |= _named(passing(own[number], own[number + 1], other[number], other[number + 1]), "passing", "passing_")
    return row


def _clamped(places: Sequence[Place]) -> dict[str, Any]:
    """What the clamp did in the rollouts from some places."""
    told = [place.receipts[-1] for place in places if place.receipts]
    if not told:
        return {}
    whole = joined(told)
    return {
        "positions": whole.positions,
        "change": whole.change_median,
        "change_max": whole.change_max,
        "before": whole.before_median,
        "after": whole.after_median,
        "checks": pooled(told).text,
    }


def _named(moved: Moved, value: str, prefix: str) -> dict[str, float]:
    return {value: moved.value} | {f"{prefix}{name}": figure for name, figure in moved._asdict().items()}


def _right(study: SentenceStudy, answers: Sequence[str | None]) -> NDArray[np.bool_]:
    return np.array([bool(is_correct(answer, study.reference, study.grade)) for answer in answers])


def _is_of(study: SentenceStudy, hookpoint: str | None, feature: int | None) -> bool:
    return study.clamp is not None and (study.clamp.hookpoint, study.clamp.feature) == (hookpoint, feature)
