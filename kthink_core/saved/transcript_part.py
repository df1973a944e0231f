"""An inference of a saved page: its transcript, whose hovering and locking need no server, and its tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

import pandas as pd

from kthink_core import queries
from kthink_core.live.watchlist import Watch, firings
from kthink_core.outline import grain_of
from kthink_core.queries.trace import StoredTrace, larger, peaks
from kthink_core.saved import part
from kthink_core.saved.found_view import Opened
from kthink_core.saved.part import Column, Part
from kthink_core.store.verdicts import Verdict
from kthink_core.ui.parts import verdict_words
from kthink_core.ui.parts.packing import ALONE, payload
from kthink_core.ui.view.permalink import STEPS

CALLED = Column("called", "Label or top tokens")
FEATURES = (
    Column("rank", "Rank"), Column("feature", "Feature"), CALLED,
    Column("max_activation", "Maximum", 2), Column("mean_activation", "Mean", 2), Column("positions", "Positions"),
    Column("share", "Share", 1, "%"), Column("lift", "Lift", 2),
)  # fmt: skip
"""Of ranked features."""
_SPAN = (
    Column("feature", "Feature"), CALLED, Column("positions", "Positions"),
    Column("lift", "Lift", 2), Column("lift_low", "at least", 2), Column("lift_high", "at most", 2),
)  # fmt: skip


class Scale(NamedTuple):
    """What two traces are shaded by, by feature."""

    traces: Mapping[int, float]
    """The largest activations in scope of both traces."""
    experiments: Mapping[int, float]
    """And of both experiments; empty where they are one."""
    words: Mapping[str, str]
    """What the maxima are of, by basis."""


def inference(opened: Opened, shown: Sequence[int], *, placed: bool = True, scale: Scale | None = None) -> list[Part]:
    """The view's inference under some features, the main one first. `placed`: with the view's span and position."""
    view, about = opened.view, opened.stored(opened.view.inference)
    span, position = (view.span, view.position) if placed else (None, None)
    trace, ranked = StoredTrace(opened.ask, view.inference), opened.ranked()
    tokens = trace.tokens()
    if span is not None and span[0] >= len(tokens):
        span = None
    standing = None if span is None else trace.span(view.hookpoint, span[0], min(span[1], len(tokens) - 1))
    stands = [] if standing is None else standing["feature"].tolist()
    alone = [one for one in (view.locked, view.sought) if one is not None]
    everyone = tuple(dict.fromkeys([*shown, *alone, *stands, *ranked["feature"].tolist()]))
    tracks, hover = trace.tracks(view.hookpoint, everyone), trace.strongest(view.hookpoint)
    grain = grain_of(view.grain)
    outline = trace.steps(view.hookpoint, grain) if grain else None
    named = {*everyone, *hover["feature"].tolist(), *([] if outline is None else outline["feature"].dropna().tolist())}
    labels = opened.labels(named)
    reported = firings(trace, [Watch(view.hookpoint, feature, threshold) for feature, threshold in view.watch])
    verdict = cast(Verdict, about["verdict"])
    transcript: Part = {
        "kind": "transcript",
        "data": payload(
            f"{view.experiment} inference {view.inference}",
            tokens,
            tracks,
            hover,
            ranked,
            alternatives=trace.alternatives(),
            hookpoint=view.hookpoint,
            last=opened.experiment.saes[view.hookpoint].num_latents - 1,
            features=shown,
            maxima=opened.maxima(everyone) | dict(scale.experiments if scale else {}),
            labels=labels,
            scope=view.scope,
            span=span,
            position=position,
            marked=[firing.position for firing in reported],
            verdict=verdict,
            standing=standing,
            lines={feature: tokens for feature, tokens in opened.tokens(named).items() if feature not in labels},
            basis=view.basis,
            locked=view.locked,
            shade=view.shade,
            grain=view.grain,
            grains=() if outline is None else (STEPS[0], view.grain),
            outline=outline,
            sought=view.sought,
            shared=scale.traces if scale else None,
            bases=scale.words if scale else ALONE,
        ),
    }
    told = verdict_words.told(about, sampled=opened.experiment.config.traces is None)
    said = f"{verdict_words.signed(verdict)} · {about['mode']} · {told}"
    if opened.experiment.is_bare:
        said = f"{about['generated_tokens']} tokens"
    parts = [part.lines(said, str(about["question"]), _quality(opened)), transcript]
    if standing is not None and span is not None:
        rows = with_labels(opened, standing)
        name = f"span {span[0]} to {span[1]} of inference {view.inference}"
        parts.append(part.table(f"What stands out from position {span[0]} to {span[1]}", name, rows, _SPAN))
    return [*parts, _features(opened, ranked), _tokens(opened, tokens, tracks, shown)]


def one_scale(one: Opened, other: Opened, shown: Sequence[int]) -> Scale:
    """What shades two inferences alike, at whose hookpoints features mean the same: those shown or ranked in either."""
    ranked = (side.ranked()["feature"].tolist() for side in (one, other))
    features = tuple(dict.fromkeys([*shown, *(feature for side in ranked for feature in side)]))
    traces = larger(
        *(
            peaks(StoredTrace(side.ask, side.view.inference), side.view.hookpoint, side.view.scope, features)
            for side in (one, other)
        )
    )
    if one.view.experiment == other.view.experiment:
        return Scale(traces, {}, ALONE | {"trace": "both traces"})
    words = {"trace": "both traces", "experiment": "both experiments"}
    return Scale(traces, larger(one.maxima(features), other.maxima(features)), words)


def with_labels(opened: Opened, rows: pd.DataFrame) -> pd.DataFrame:
    """A table of features with their labels, empty where there is none, and what they are called: the label, else the
    top tokens."""
    features = rows["feature"].tolist()
    labels, tokens = opened.labels(features), opened.tokens(features)
    own = [labels.get(feature, "") for feature in features]
    return rows.assign(
        label=own, called=[label or tokens.get(feature, "") for label, feature in zip(own, features, strict=True)]
    )


def _features(opened: Opened, ranked: pd.DataFrame) -> Part:
    shown = [
        column._replace(bar=part.largest(ranked, column.name)) if column.name in ("max_activation", "share") else column
        for column in FEATURES
        if column.name in ranked or column.name == CALLED.name
    ]
    note = f"The first {len(ranked)} of {opened.view.hookpoint} in scope {opened.view.scope}."
    name = f"features of inference {opened.view.inference}"
    return part.table("Features", name, with_labels(opened, ranked), shown, note=note)


def _tokens(opened: Opened, tokens: pd.DataFrame, tracks: pd.DataFrame, shown: Sequence[int]) -> Part:
    """The tokens with the activations of the features shown."""
    columns = [
        Column("position", "Position"), Column("token_id", "Id"), Column("text", "Token", token=True),
        Column("segment", "Segment"), Column("logprob", "Log-probability", 3),
    ]  # fmt: skip
    for feature in shown:
        own = tracks.loc[tracks["feature"] == feature].set_index("position")["activation"]
        tokens = tokens.assign(**{f"activation {feature}": tokens["position"].map(own)})
        columns.append(Column(f"activation {feature}", f"Feature {feature}", 2))
    name = f"transcript of inference {opened.view.inference}"
    return part.table(f"Tokens ({len(tokens)})", name, tokens, columns, folded=True)


def _quality(opened: Opened) -> str:
    view = opened.view
    rows = opened.ask(queries.quality, view.scope, view.inference).to_dict("records")
    row = next(row for row in rows if row["hookpoint"] == view.hookpoint)
    fvu, l0 = ("–" if pd.isna(row[name]) else f"{row[name]:.{digits}f}" for name, digits in (("fvu", 3), ("l0", 1)))
    return f"{view.hookpoint} in this inference, scope {view.scope}: FVU {fvu}, L0 {l0}"
