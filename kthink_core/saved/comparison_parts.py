"""What a saved page has side by side: two features on one trace, two inferences, two experiments."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd

from kthink_core import queries
from kthink_core.errors import BadValue, NotComparable, UnknownName
from kthink_core.evidence.difference_table import Asked, differences, remarks
from kthink_core.evidence.same_problems import paired
from kthink_core.evidence.same_tokens import feature_differences, is_same_text, token_differences
from kthink_core.identity import same_features
from kthink_core.saved import part, transcript_part
from kthink_core.saved.found_view import Opened
from kthink_core.saved.part import Column, Part
from kthink_core.ui.parts import naming, verdict_words
from kthink_core.ui.view import choice_link
from kthink_core.ui.view.permalink import SCALES

COUNTED = 30
"""Features in the count table of either experiment, as in the app."""
_PAIR = (
    Column("both", "Both fire"), Column("only_first", "Only the first"), Column("only_second", "Only the second"),
    Column("neither", "Neither"), Column("overlap", "Overlap", 1, "%"),
)  # fmt: skip
_COUNTS = (
    Column("feature", "Feature"), transcript_part.CALLED, Column("inferences", "Relevant in"),
    Column("of", "of inferences"), Column("max_activation", "Maximum", 2),
)  # fmt: skip
_LISTED = 100
_APART = (
    Column("feature", "Feature"), transcript_part.CALLED, Column("feature_other", "Its like"),
    Column("called_other", "Label or top tokens of its like"),
    Column("apart", "Apart"), Column("both", "Both"), Column("positions", "Positions"),
    Column("positions_other", "Positions there"), Column("max_activation", "Maximum", 2),
    Column("max_activation_other", "Maximum there", 2),
)  # fmt: skip
_DIFFERENCES = (
    Column("feature", "Feature"), transcript_part.CALLED, Column("difference", "Difference", 4),
    Column("low", "From", 4), Column("high", "To", 4), Column("q", "q", 3), Column("positions_a", "Positions"),
    Column("of_a", "of"), Column("positions_b", "Positions there"), Column("of_b", "of there"),
    Column("mean_a", "Mean", 2), Column("mean_b", "Mean there", 2), Column("n_a", "n"), Column("n_b", "n there"),
)  # fmt: skip
_EXPECTED = (
    Column("position", "Position"), Column("text", "Token", token=True), Column("logprob", "Log-probability", 3),
    Column("logprob_other", "There", 3), Column("difference", "Difference", 3), Column("active", "Features"),
    Column("active_other", "Features there"), Column("shared", "In both"),
)  # fmt: skip
_QUALITY = (
    Column("hookpoint", "Hookpoint"), Column("fvu", "FVU", 3), Column("l0", "L0", 1),
    Column("dead_share", "Dead", 1, "%"), Column("positions", "Positions"),
)  # fmt: skip


def comparison(opened: Opened, other: Opened | None) -> tuple[str, list[Part]]:
    """Title and parts of what the view compares; `other` is the experiment that it names beside its own, opened."""
    if opened.view.pair.what:
        return _pair(opened, other)
    if other is not None:
        return f"{opened.experiment.name} and {other.experiment.name}", _experiments(opened, other)
    view = opened.view
    if view.against is None:
        return _features(opened)
    return f"Inferences {view.inference} and {view.against}, {view.hookpoint}", _inferences(opened)


def _features(opened: Opened) -> tuple[str, list[Part]]:
    view, first = opened.view, opened.first_feature()
    offered = [feature for feature in opened.ranked()["feature"].tolist() if feature != first]
    if not offered and not view.also:
        nothing = f"No other feature fires in scope {view.scope} of inference {view.inference}."
        return f"Feature {first} of {view.hookpoint}", [part.lines(nothing)]
    second = view.also[0] if view.also else int(offered[0])
    counts = opened.ask(queries.feature_pair, view.hookpoint, first, second, view.scope)
    union = counts["both"] + counts["only_first"] + counts["only_second"]
    counts = counts.assign(overlap=counts["both"] / union.where(union > 0))
    title = f"Positions over all inferences in scope {view.scope}"
    names = opened.names((first, second))
    pair = part.table(title, f"features {first} and {second}", counts, _PAIR)
    read = part.group(f"Inference {view.inference}", transcript_part.inference(opened, (first, second)))
    both = " and ".join(naming.in_words(feature, names) for feature in (first, second))
    return f"Features {both} of {view.hookpoint}", [pair, read]


def _inferences(opened: Opened) -> list[Part]:
    view, feature = opened.view, opened.first_feature()
    return [_two(opened, opened.at(replace(view, inference=int(view.against or 0))), feature, feature)]


def _pair(opened: Opened, other: Opened | None) -> tuple[str, list[Part]]:
    """Two inferences or two spans, of one experiment or two, and the features that differ."""
    view, base = opened.view, other or opened
    wanted = view.pair.there if other is not None else view.against
    number = choice_link.second("second inference", wanted, view.inference, base.inferences, [])
    if number is None:
        raise BadValue(f"no inference of experiment '{base.experiment.name}' is committed yet")
    there = base.at(replace(base.view, inference=number))
    same = other is None or same_features(opened.experiment, other.experiment, view.hookpoint)
    spans = (view.span, view.pair.span) if view.pair.what == "spans" else (None, None)
    feature = opened.first_feature()
    two = _two(opened, there, feature, feature if same else there.first_feature(), same=same)
    title = " and ".join(
        _name(side) + ("" if span is None else f", positions {span[0]} to {span[1]}")
        for side, span in zip((opened, there), spans, strict=True)
    )
    return title, [_differences(opened, other, Asked(view.inference, number, *spans)), two]


def _differences(opened: Opened, other: Opened | None, asked: Asked) -> Part:
    view, reader = opened.view, None if other is None else other.reader
    try:
        table = differences(opened.reader, view.hookpoint, view.scope, *asked, reader, _LISTED)
    except (BadValue, NotComparable, UnknownName) as error:
        return part.lines(str(error))
    given: dict[str, Any] = {"hookpoint": view.hookpoint, "inference": asked.inference, "other": reader}
    drawn = part.table("Features that differ", "differences", transcript_part.with_labels(opened, table), _DIFFERENCES)
    return part.group("What differs", [part.lines(*remarks(opened.reader, table, given)), drawn])


def _two(one: Opened, other: Opened, feature: int, feature_there: int, *, same: bool = True) -> Part:
    """The inferences of two views, shaded by one scale where features mean the same and the view wants it."""
    shared = same and one.view.scale == SCALES[0]
    locked = () if one.view.locked is None else (one.view.locked,)
    scale = transcript_part.one_scale(one, other, (feature, *locked)) if shared else None
    return part.sides(
        *(
            [part.group(_name(side), transcript_part.inference(side, (shown,), placed=False, scale=scale))]
            for side, shown in ((one, feature), (other, feature_there))
        )
    )


def _experiments(opened: Opened, other: Opened) -> list[Part]:
    if opened.view.facet == "quality":
        return [part.sides(*([_quality(side)] for side in (opened, other)))]
    if not other.inferences:
        return [part.lines(f"No inference of {other.experiment.name} is committed yet.")]
    if opened.view.facet == "features":
        found = _differences(opened, other, Asked())
        return [found, part.sides(*([_counts(side)] for side in (opened, other)))]
    if opened.view.facet == "tokens":
        return [_tokens(opened, other)]
    pairs = _shared_problems(opened, other)
    there = dict(zip(pairs["inference"], pairs["inference_other"], strict=True)).get(opened.view.inference)
    columns = [Column("problem", "Problem")]
    for suffix, side in (("", opened), ("_other", other)):
        columns.append(Column(f"verdict{suffix}", f"Verdict, {side.experiment.name}"))
        columns.append(Column(f"answer{suffix}", f"Answer, {side.experiment.name}"))
    table = part.table(f"{len(pairs)} problems in both", "problems", pairs, [*columns, Column("question", "Question")])
    if there is None:
        alone = transcript_part.inference(opened, (opened.first_feature(),), placed=False)
        nothing = part.lines(f"{other.experiment.name} has no inference of this problem.")
        return [part.sides([part.group(_name(opened), alone)], [nothing]), table]
    beside = other.at(replace(other.view, inference=int(there)))
    same = opened.view.hookpoint == beside.view.hookpoint and same_features(
        opened.experiment, beside.experiment, opened.view.hookpoint
    )
    feature = opened.first_feature()
    two = _two(opened, beside, feature, feature if same else beside.first_feature(), same=same)
    return [two, table]


def _name(side: Opened) -> str:
    return f"Inference {side.view.inference} of {side.experiment.name}, {side.view.hookpoint}"


def _quality(side: Opened) -> Part:
    name = side.experiment.name
    return part.table(name, f"quality of {name}", side.ask(queries.quality, side.view.scope), _QUALITY)


def _counts(side: Opened) -> Part:
    view, name = side.view, side.experiment.name
    counts = side.ask(queries.feature_counts, view.hookpoint, view.scope, COUNTED, view.relevant)
    labelled = transcript_part.with_labels(side, counts)
    return part.table(f"{name}, {view.hookpoint}", f"features by count of {name}", labelled, _COUNTS)


def _shared_problems(one: Opened, other: Opened) -> pd.DataFrame:
    """One row a pair of inferences of one question."""
    here, there = (side.ask(queries.inferences) for side in (one, other))
    pairs = paired(here, there, ("verdict", "answer"))
    for column in ("verdict", "verdict_other"):
        pairs[column] = [verdict_words.signed(verdict) for verdict in pairs[column]]
    return pairs


def _tokens(one: Opened, other: Opened) -> Part:
    """The view's inference, where it is the same text in both."""
    view, names = one.view, f"{one.experiment.name} and {other.experiment.name}"
    if view.hookpoint not in other.experiment.saes or not is_same_text(one.reader, other.reader, view.inference):
        return part.lines(f"Inference {view.inference} is not the same text in {names}, at {view.hookpoint}.")
    asked = (other.reader, view.inference, view.hookpoint)
    features = transcript_part.with_labels(one, feature_differences(one.reader, *asked, view.scope, _LISTED))
    likes = features["feature_other"]
    called = other.at(replace(other.view, hookpoint=view.hookpoint)).names(likes.dropna().astype(int).tolist())
    features = features.assign(called_other=[called.get(like) for like in likes])
    title = f"Features that differ, inference {view.inference} in {names}"
    first = part.table(title, f"features in {names}", features, _APART)
    tokens = token_differences(one.reader, *asked)
    return part.group("One text", [first, part.table("What either expected", f"tokens in {names}", tokens, _EXPECTED)])
