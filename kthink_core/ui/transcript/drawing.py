"""The transcript on a page, and what a person chose in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import pandas as pd
import streamlit as st
from streamlit.components.v2 import component

from kthink_core.store.scopes import Scope
from kthink_core.ui.parts.browser_code import TRANSCRIPT
from kthink_core.ui.parts.packing import ALONE, payload
from kthink_core.ui.view.permalink import BASES, MOST_FEATURES, SHADES, STEPS, View

STYLE, SCRIPT = TRANSCRIPT
_component = component("kthink_transcript", css=STYLE, js=SCRIPT)


class Selection(NamedTuple):
    """What is chosen after this run: what `draw` was given, unless the person has just chosen something else."""

    span: tuple[int, int] | None
    """First and last position of the marked stretch; None where there is none, or it was just cleared."""
    features: tuple[int, ...]
    """The features shown, each in its hue; at most five."""
    feature: int | None
    """The feature that the person has just asked to open, else None."""
    basis: str = BASES[0]
    """What activations are divided by the maximum of: "trace" or "experiment"."""
    locked: int | None = None
    """The feature that stays lit alone."""
    shade: str = SHADES[0]
    """What is lit in its place: "surprise", "entropy", or "features": nothing."""
    grain: str = STEPS[0]
    """What the transcript is cut into."""
    sought: int | None = None
    """The feature whose firings are gone through."""
    branch: tuple[int, ...] = ()
    """The position from which the person has just asked to go on, and the token to put there, if any."""

    def into(self, view: View) -> View:
        """A view with how the transcript is shown now: all but the span and the features."""
        return replace(
            view, basis=self.basis, locked=self.locked, shade=self.shade, grain=self.grain, sought=self.sought
        )


def draw(
    trace: str,
    tokens: pd.DataFrame,
    tracks: pd.DataFrame,
    hover: pd.DataFrame,
    ranked: pd.DataFrame,
    *,
    alternatives: pd.DataFrame | None = None,
    hookpoint: str,
    features: Sequence[int],
    maxima: Mapping[int, float],
    scope: Scope,
    labels: Mapping[int, str] | None = None,
    span: tuple[int, int] | None = None,
    position: int | None = None,
    visit: int = 0,
    marked: Sequence[int] = (),
    verdict: str | None = None,
    standing: pd.DataFrame | None = None,
    lines: Mapping[int, str] | None = None,
    basis: str = BASES[0],
    locked: int | None = None,
    shade: str = SHADES[0],
    grain: str = STEPS[0],
    grains: Sequence[str] = STEPS,
    outline: pd.DataFrame | None = None,
    sought: int | None = None,
    shared: Mapping[int, float] | None = None,
    bases: Mapping[str, str] = ALONE,
    branches: bool = False,
    last: int | None = None,
    key: str = "transcript",
    choose: Callable[[Selection], None] = lambda _: None,
) -> Selection:
    """Draw one inference at one hookpoint and say what is chosen in it.

    `trace` names the inference within the app ("demo 3"): under the same name tokens are appended, not drawn anew.
    `tokens` is the answer of `queries.transcript` (all positions from 0, no gaps). `tracks` is the answer of
    `queries.feature_tracks` for the shown features and, better, for all `ranked` ones too: a feature without a track is
    shown where it is among the first of a token in `hover`, and marked as incomplete. `hover` is the answer of
    `queries.token_features`, `alternatives` that of `queries.alternatives`, `ranked` that of
    `queries.ranked_features`, in the order in which the list shows them.
    `features` are shown at once, each in its hue (`hues.HUES`), five at most. `maxima` are their largest activations in
    `scope` of the whole experiment (`queries.feature_maxima`); more features may be given. `labels` name features,
    `lines` are the top tokens of others. `span` is marked; the page goes to `position` when that or `visit` changes.
    Positions in `marked` have a frame: something is reported of them. `verdict` stands in the header of the answer.
    `standing`, the answer of `queries.span_features` of the span, is what the list shows while the span is marked.
    `outline` is the answer of `queries.steps` of the `grain`, one of `grains`, which may be chosen instead.
    `basis`, `locked`, `shade`, `grain` and `sought` are what is chosen at first, and change with what is given.
    Activations are divided by the larger of the trace's maximum and that in `shared`, by feature; `bases` says both
    bases in words. `branches`: whether the tooltip offers to go on from a position. `last` is the largest number that a
    feature has there.

    `choose` is called before the next run with what the person has just chosen: a page that keeps its view in the link
    writes it there, and that run already shows it. In a fragment, which has a run of its own, compare what is returned.
    """

    def selection(sent: Mapping[str, Any]) -> Selection:
        return read(
            sent.get("chosen"), len(tokens), Selection(span, tuple(features), None, basis, locked, shade, grain, sought)
        )

    def chosen() -> None:
        choose(selection(st.session_state[key]))

    data = payload(
        trace,
        tokens,
        tracks,
        hover,
        ranked,
        alternatives=alternatives,
        hookpoint=hookpoint,
        features=features,
        maxima=maxima,
        labels=labels or {},
        scope=scope,
        span=span,
        position=position,
        visit=visit,
        marked=marked,
        verdict=verdict,
        standing=standing,
        lines=lines,
        basis=basis,
        locked=locked,
        shade=shade,
        grain=grain,
        grains=grains,
        outline=outline,
        sought=sought,
        shared=shared,
        bases=bases,
        branches=branches,
        last=last,
    )
    answer = _component(
        data=data,
        key=key,
        on_chosen_change=chosen,
    )
    return selection(answer)


def read(sent: object, length: int, given: Selection) -> Selection:
    """What the browser sent of an inference of `length` tokens; what is missing or makes no sense stays as `given`."""
    if not isinstance(sent, dict):
        return given
    span, features = given.span, given.features
    if sent.get("span", span) is None:
        span = None
    elif (ends := _naturals(sent.get("span"))) and len(ends) == 2 and ends[0] <= ends[1] < length:
        span = (ends[0], ends[1])
    if (shown := _naturals(sent.get("features"))) is not None:
        features = tuple(dict.fromkeys(shown))[:MOST_FEATURES]
    opened = _naturals([sent.get("feature")])
    basis = next((known for known in BASES if known == sent.get("basis")), given.basis)
    shade = next((known for known in SHADES if known == sent.get("shade")), given.shade)
    grain = next((known for known in STEPS if known == sent.get("grain")), given.grain)
    branch = _naturals(sent.get("branch")) or ()
    known_branch = branch if 1 <= len(branch) <= 2 and max(branch[:1]) < length else ()
    locked, sought = _one(sent, "locked", given.locked), _one(sent, "sought", given.sought)
    feature = opened[0] if opened else None
    return Selection(span, features, feature, basis, locked, shade, grain, sought, known_branch)


def _one(sent: Mapping[str, object], name: str, given: int | None) -> int | None:
    """A whole number from 0, or none; what is given where it is missing or something else."""
    if sent.get(name, given) is None:
        return None
    found = _naturals([sent.get(name)])
    return found[0] if found else given


def _naturals(sent: object) -> tuple[int, ...] | None:
    """A list of whole numbers from 0, or None where it is something else."""
    if not isinstance(sent, list):
        return None
    found = tuple(value for value in sent if isinstance(value, int) and not isinstance(value, bool) and value >= 0)
    return found if len(found) == len(sent) else None
