"""Reading a stored trace: one inference of the page's experiment under some features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import pandas as pd

from kthink_core import queries
from kthink_core.live.watchlist import Firing, Watch, firings
from kthink_core.queries.trace import StoredTrace, Trace, larger, peaks
from kthink_core.store.scopes import Scope
from kthink_core.ui import transcript
from kthink_core.ui.inference import lifts, trace_parts
from kthink_core.ui.inference.trace_parts import LISTED, Reading
from kthink_core.ui.transcript import Selection
from kthink_core.ui.view.page import Page
from kthink_core.ui.view.yardstick import yardstick


class Scale(NamedTuple):
    """What two traces are shaded by, by feature."""

    traces: dict[int, float]
    """The largest activations in scope of both traces."""
    experiments: dict[int, float]
    """And of both experiments; empty where they are one."""
    words: dict[str, str]
    """What the maxima are of, by basis."""


def ranked(page: Page, inference: int | None = None) -> pd.DataFrame:
    """The features of an inference, the view's unless another is named, by the view's ranking."""
    view, number = page.view, page.view.inference if inference is None else inference
    if page.experiment.open_ended and view.ranking == "lift":
        return lifts.by_lift(page, StoredTrace(page.ask, number), view.scope, LISTED)
    found = StoredTrace(page.ask, number, view.ranking).ranked(view.hookpoint, view.scope, LISTED)
    return lifts.with_lift(page, found, view.scope) if page.experiment.open_ended else found


def maxima(page: Page, hookpoint: str, features: tuple[int, ...], scope: Scope = "generated") -> dict[int, float]:
    """The largest activation of each feature in the whole experiment; of kept runs, in the one they are measured by."""
    found = (yardstick(page) or page).ask(queries.feature_maxima, hookpoint, features, scope)
    return dict(zip(found["feature"].tolist(), found["max_activation"].tolist(), strict=True))


def of_view(
    page: Page, shown: Sequence[int], choose: Callable[[int], None] = lambda _: None, inference: int | None = None
) -> Reading:
    """The view's inference, unless another is named, as a `Reading`."""
    number = page.view.inference if inference is None else inference
    trace = StoredTrace(page.ask, number)
    return Reading(page, trace, f"inference {number}", page.view.scope, tuple(shown), choose)


def watched(page: Page, trace: Trace) -> list[Firing]:
    """Where the features fire that the link watches."""
    watches = [Watch(page.view.hookpoint, feature, threshold) for feature, threshold in page.view.watch]
    return firings(trace, watches)


def trace(
    page: Page,
    shown: Sequence[int],
    choose: Callable[[Selection], None],
    *,
    inference: int | None = None,
    span: tuple[int, int] | None = None,
    position: int | None = None,
    reported: Sequence[Firing] = (),
    scale: Scale | None = None,
    branches: bool = False,
    key: str = "transcript",
) -> None:
    """Draw an inference, the view's unless another is named. `choose` is called before the next run with what the
    person has chosen in it. `scale` is what another trace beside it is shaded by, too; `branches`: as for
    `transcript.draw`."""
    view, number = page.view, page.view.inference if inference is None else inference
    read, listed = of_view(page, shown, inference=number), ranked(page, number)
    standing = None if span is None else read.trace.span(view.hookpoint, *span)
    stored = page.ask(queries.inferences).set_index("inference").loc[number]
    exact = trace_parts.exact(read, standing)
    everyone = tuple(dict.fromkeys([*exact, *listed["feature"].tolist()]))
    trace_parts.draw(
        read,
        trace_parts.drawn(read.trace, view.hookpoint, exact, listed, reported, view.grain),
        maxima=maxima(page, view.hookpoint, everyone, view.scope) | (scale.experiments if scale else {}),
        span=span,
        position=position,
        verdict=stored["verdict"],
        shared=scale.traces if scale else None,
        bases=scale.words if scale else transcript.ALONE,
        standing=standing,
        branches=branches,
        key=key,
        choose=choose,
    )


def one_scale(page: Page, other: Page, shown: Sequence[int]) -> Scale:
    """What shades the inferences of two views alike, at whose hookpoints features mean the same: those shown or ranked
    in either."""
    sides, everyone = (page, other), dict.fromkeys(shown)
    for side in sides:
        everyone |= dict.fromkeys(ranked(side)["feature"].tolist())
    features = tuple(everyone)
    traces = larger(
        *(
            peaks(StoredTrace(side.ask, side.view.inference), side.view.hookpoint, side.view.scope, features)
            for side in sides
        )
    )
    if page.source == other.source:
        return Scale(traces, {}, transcript.ALONE | {"trace": "both traces"})
    experiments = larger(*(maxima(side, side.view.hookpoint, features, side.view.scope) for side in sides))
    return Scale(traces, experiments, {"trace": "both traces", "experiment": "both experiments"})
