"""What is drawn of a trace, stored or live: its transcript, its features in numbers, the span marked in it, the plots,
and what is unusual in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd
import streamlit as st
from streamlit.column_config import NumberColumn, TextColumn
from streamlit.elements.lib.column_types import ColumnConfig

from kthink_core import queries
from kthink_core.live.watchlist import Firing
from kthink_core.outline import grain_of
from kthink_core.queries.trace import Trace, token_activations
from kthink_core.store.scopes import Scope
from kthink_core.ui import transcript
from kthink_core.ui.inference import inference_charts
from kthink_core.ui.parts import clicks, feature_names, feature_tables, header, numerals, plot, terms
from kthink_core.ui.parts.writing import plain, visible
from kthink_core.ui.view import choices
from kthink_core.ui.view.page import Page
from kthink_core.ui.view.permalink import AFTER, STEPS
from kthink_core.ui.view.yardstick import choice, compared, yardstick

TITLES: dict[str, str] = dict(zip(AFTER, ("Unusual here", "Features", *inference_charts.BY_NAME), strict=True))
"""Of the tabs, by what the link calls them."""
LISTED = 100
"""Features in the table of them, and in the list beside the tokens of a stored trace."""
_RANKED = 200
"""Features of which it is asked how unusual they are; no more than fifty are shown."""
_VISIT = "transcript visit"


@dataclass(frozen=True)
class Reading:
    """A trace as it is read: under some features of the view's hookpoint."""

    page: Page
    trace: Trace
    called: str
    """`inference 3`: names its tables and files, and tells them from others."""
    scope: Scope
    shown: tuple[int, ...]
    """Features, the main one first."""
    choose: Callable[[int], None]
    """Makes a feature the main one."""

    @property
    def hookpoint(self) -> str:
        return self.page.view.hookpoint


class Drawn(NamedTuple):
    """What the transcript shows of a trace."""

    tokens: pd.DataFrame
    tracks: pd.DataFrame
    hover: pd.DataFrame
    ranked: pd.DataFrame
    firings: Sequence[Firing]
    alternatives: pd.DataFrame
    outline: pd.DataFrame | None


def drawn(
    trace: Trace,
    hookpoint: str,
    shown: Sequence[int],
    ranked: pd.DataFrame,
    firings: Sequence[Firing] = (),
    grain: str = STEPS[0],
) -> Drawn:
    """Ask a trace for what its transcript shows, with the features shown and the `ranked` ones, cut into steps."""
    everyone = tuple(dict.fromkeys([*shown, *ranked["feature"].tolist()]))
    tracks, hover = trace.tracks(hookpoint, everyone), trace.strongest(hookpoint)
    known = grain_of(grain)
    outline = trace.steps(hookpoint, known) if known else None
    return Drawn(trace.tokens(), tracks, hover, ranked, firings, trace.alternatives(), outline)


def exact(reading: Reading, standing: pd.DataFrame | None) -> tuple[int, ...]:
    """Features of which every firing is drawn, ranked or not: those shown, the locked one, the one that is sought, what
    a span has."""
    alone = (reading.page.view.locked, reading.page.view.sought)
    stands = [] if standing is None else standing["feature"].tolist()
    return tuple(dict.fromkeys([*reading.shown, *(one for one in alone if one is not None), *stands]))


def draw(
    reading: Reading,
    drawn: Drawn,
    *,
    maxima: Mapping[int, float],
    span: tuple[int, int] | None,
    position: int | None,
    key: str,
    standing: pd.DataFrame | None = None,
    verdict: str | None = None,
    shared: Mapping[int, float] | None = None,
    bases: Mapping[str, str] = transcript.ALONE,
    branches: bool = False,
    choose: Callable[[transcript.Selection], None] = lambda _: None,
) -> transcript.Selection:
    """Draw the transcript, shaded as the view says; the arguments are those of `transcript.draw`."""
    page, hookpoint = reading.page, reading.hookpoint
    everyone = {*exact(reading, standing), *drawn.ranked["feature"].tolist(), *drawn.hover["feature"].tolist()}
    if drawn.outline is not None:
        everyone |= {*drawn.outline["feature"].dropna().tolist()}
    called = feature_names.called(page, hookpoint, everyone)
    return transcript.draw(
        f"{page.view.experiment} {reading.called}",
        drawn.tokens,
        drawn.tracks,
        drawn.hover,
        drawn.ranked,
        alternatives=drawn.alternatives,
        hookpoint=hookpoint,
        last=page.experiment.saes[hookpoint].num_latents - 1,
        features=reading.shown,
        maxima=maxima,
        scope=reading.scope,
        labels=called.labels,
        span=span,
        position=position,
        visit=st.session_state.get(_VISIT, 0),
        marked=[firing.position for firing in drawn.firings if firing.watch.hookpoint == hookpoint],
        verdict=verdict,
        basis=page.view.basis,
        locked=page.view.locked,
        shade=page.view.shade,
        grain=page.view.grain,
        outline=drawn.outline,
        sought=page.view.sought,
        shared=shared,
        bases=bases,
        branches=branches,
        standing=standing,
        lines=called.tokens,
        key=key,
        choose=choose,
    )


def visit() -> None:
    """Before a run that takes the transcript to a position: it goes there although it went there before."""
    st.session_state[_VISIT] = st.session_state.get(_VISIT, 0) + 1


def reports(reading: Reading, firings: Sequence[Firing], look: Callable[[int], None]) -> None:
    """Where watched features fire, the latest first. A click calls `look` with the position."""
    if not firings:
        return
    latest = firings[::-1]
    watched: dict[str, set[int]] = {}
    for firing in firings:
        watched.setdefault(firing.watch.hookpoint, set()).add(firing.watch.feature)
    names = {place: feature_names.names(reading.page, place, features) for place, features in watched.items()}
    activation = numerals.column("Activation", [firing.activation for firing in latest], decimals=2)
    threshold = numerals.column("Above", [firing.watch.threshold for firing in latest], decimals=2)
    shown = pd.DataFrame(
        {
            "hookpoint": [firing.watch.hookpoint for firing in latest],
            "feature": [firing.watch.feature for firing in latest],
            "name": [names[firing.watch.hookpoint].get(firing.watch.feature, "") for firing in latest],
            "position": [firing.position for firing in latest],
            "token": [visible(firing.text) for firing in latest],
            "activation": activation.values,
            "threshold": threshold.values,
        }
    )
    columns: dict[str, ColumnConfig] = {
        "hookpoint": TextColumn("Hookpoint"),
        "feature": NumberColumn("Feature", format="%d"),
        "name": TextColumn("Label or top tokens"),
        "position": NumberColumn("Position", format="%d"),
        "token": TextColumn("Token"),
        "activation": activation.config,
        "threshold": threshold.config,
    }

    def there(row: int) -> None:
        visit()
        look(latest[row].position)

    st.markdown(f"**{len(firings)} firings of watched features**")
    key = f"reports {reading.called} {len(firings)}"
    clicks.table(shown, columns, key, there, rows=6, described="Firings of watched features")


def features(reading: Reading, ranked: pd.DataFrame) -> None:
    """The ranked features in numbers."""
    measures = ("rank", "max_activation", "mean_activation", "positions", "share", "lift")
    kept = [measure for measure in measures if measure in ranked]
    _table(reading, ranked, kept, f"features of {reading.called}")


def span(reading: Reading, first: int, last: int) -> None:
    """What stands out in the marked stretch of tokens."""
    table = reading.trace.span(reading.hookpoint, first, last)
    nothing = f"No feature fires from position {first} to {last}, or none more than once."
    _table(reading, table, feature_tables.SPAN, f"span {first} to {last} of {reading.called}", nothing, "all")


def span_title(first: int, last: int) -> None:
    st.header(f"What stands out from position {first} to {last}", help=terms.help("span_lift"), width="content")


def tab(reading: Reading, name: str, ranked: pd.DataFrame) -> None:
    """What one of the tabs, by its title, holds."""
    if name == TITLES["unusual"]:
        unusual(reading)
    elif name == TITLES["features"]:
        features(reading, ranked)
    else:
        of = f"{reading.called} of {reading.page.view.experiment}"
        plot.draw(
            reading.page, name, _plotted(reading, name), reading.shown, reading.choose, of=of, scope=reading.scope
        )


def unusual(reading: Reading) -> None:
    """The features of a typed prompt by how rarely a stored inference has a larger maximum."""
    page = reading.page
    whole, names = compared(page), choice(page)
    if len(names) > 1 and whole is not None:
        counts = {status.name: status.committed for status in page.statuses}
        titles = {name: f"{name} ({counts.get(name, 0)} inferences)" for name in names}
        choices.select("Compare with", "measure", titles, page, chosen=whole.experiment.name)
    if whole is None or not whole.inferences:
        header.nothing("There is no stored inference yet to compare with.")
        return
    table = percentiles(reading, whole)
    number = len(whole.inferences)
    st.caption(
        f"Compared with the {number} inferences of {plain(whole.experiment.name)}. One in {number + 1} features "
        "exceeds them all by chance alone: look at by how much, and at what else is different, such as the length."
    )
    measures = ("percentile", "max_activation", "stored_maximum", "excess", "active_inferences")
    name = f"unusual features of {reading.called}"
    _table(reading, table.head(50), measures, name, measured=whole)


def percentiles(reading: Reading, whole: Page) -> pd.DataFrame:
    """The trace's features by how rarely an inference of another experiment has a larger maximum: as
    `queries.feature_percentiles`."""
    ranked = reading.trace.ranked(reading.hookpoint, reading.scope, _RANKED)
    maxima = dict(sorted(zip(ranked["feature"].tolist(), ranked["max_activation"].tolist(), strict=True)))
    features = (tuple(maxima), tuple(maxima.values()))
    return whole.ask(queries.feature_percentiles, reading.hookpoint, *features, reading.scope)


def _table(
    reading: Reading,
    table: pd.DataFrame,
    measures: Sequence[str],
    name: str,
    nothing: str = "No feature fires here.",
    scope: Scope | None = None,
    measured: Page | None = None,
) -> None:
    """A table of features beside what the yardstick, or another experiment that they are `measured` by, says of them. A
    click makes one the main one."""
    if table.empty:
        header.nothing(nothing)
        return
    page = reading.page
    feature_tables.draw(
        page, table, measures, reading.choose, name=name, whole=yardstick(page), measured=measured,
        scope=scope or reading.scope,
    )  # fmt: skip


def _plotted(reading: Reading, name: str) -> pd.DataFrame:
    """What one of `inference_charts.BY_NAME` draws."""
    trace, hookpoint, scope = reading.trace, reading.hookpoint, reading.scope
    if name == inference_charts.TOP:
        return trace.activations(hookpoint, scope)
    if name == inference_charts.FREQUENCIES:
        return trace.frequencies(hookpoint, scope)
    if name == inference_charts.HISTOGRAM:
        return trace.histogram(hookpoint, scope)
    return token_activations(trace, hookpoint, scope, reading.shown)
