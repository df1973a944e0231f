"""Reading a trace: the transcript of one inference under some features, with everything that it asks the store."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd

from kthink_core import queries
from kthink_core.store.scopes import SEGMENTS_OF, Scope
from kthink_core.ui import transcript
from kthink_core.ui.inference import inference_charts
from kthink_core.ui.parts import feature_tables, note_panel, verdict
from kthink_core.ui.view.page import Page

LISTED = 100
"""Features in the list beside the tokens."""


def ranked(page: Page, inference: int | None = None, hookpoint: str | None = None) -> pd.DataFrame:
    """The features of an inference, the view's unless another is named, by the view's ranking."""
    view = page.view
    where = (view.inference if inference is None else inference, hookpoint or view.hookpoint)
    return page.ask(queries.ranked_features, *where, view.scope, view.ranking, LISTED)


def maxima(page: Page, hookpoint: str, features: tuple[int, ...], scope: Scope = "generated") -> dict[int, float]:
    """The largest activation of each feature in the whole experiment."""
    found = page.ask(queries.feature_maxima, hookpoint, features, scope)
    return dict(zip(found["feature"].tolist(), found["max_activation"].tolist(), strict=True))


def trace(
    page: Page,
    shown: Sequence[int],
    choose: Callable[[transcript.Selection], None],
    *,
    inference: int | None = None,
    span: tuple[int, int] | None = None,
    position: int | None = None,
    key: str = "transcript",
) -> None:
    """Draw an inference, the view's unless another is named. `choose` is called before the next run with what the
    person has chosen in it."""
    view = page.view
    number = view.inference if inference is None else inference
    listed = ranked(page, number)
    standing = None if span is None else page.ask(queries.span_features, number, view.hookpoint, *span)
    stands = [] if standing is None else standing["feature"].tolist()
    everyone = tuple(map(int, dict.fromkeys([*shown, *listed["feature"], *stands])))
    stored = page.ask(queries.inferences).set_index("inference").loc[number]
    transcript.draw(
        f"{view.experiment} {number}",
        page.ask(queries.transcript, number),
        page.ask(queries.feature_tracks, number, view.hookpoint, everyone),
        page.ask(queries.token_features, number, view.hookpoint),
        listed,
        hookpoint=view.hookpoint,
        features=shown,
        maxima=maxima(page, view.hookpoint, everyone, view.scope),
        scope=view.scope,
        labels=note_panel.labels(page, view.hookpoint, everyone),
        span=span,
        position=position,
        verdict=verdict.of(stored["correct"]),
        standing=standing,
        lines=feature_tables.tokens(page, view.hookpoint, stands) if stands else {},
        key=key,
        choose=choose,
    )


def activations(page: Page, shown: Sequence[int]) -> pd.DataFrame:
    """Where the features shown fire in scope of the view's inference, and at which tokens: feature, position,
    token_id, text, activation."""
    view = page.view
    tracks = page.ask(queries.feature_tracks, view.inference, view.hookpoint, tuple(shown))
    tokens = page.ask(queries.transcript, view.inference)
    counted = tokens.loc[tokens["segment"].isin(SEGMENTS_OF[view.scope]), ["position", "token_id", "text"]]
    return tracks.merge(counted, on="position").filter(items=["feature", "position", "token_id", "text", "activation"])


def plotted(page: Page, name: str, shown: Sequence[int]) -> pd.DataFrame:
    """What one of `inference_charts.BY_NAME` draws."""
    view = page.view
    where = (view.inference, view.hookpoint, view.scope)
    if name == inference_charts.TOP:
        return page.ask(queries.feature_activations, *where)
    if name == inference_charts.FREQUENCIES:
        return page.ask(queries.feature_frequencies, *where)
    if name == inference_charts.HISTOGRAM:
        return page.ask(queries.activation_histogram, *where)
    return activations(page, shown)
