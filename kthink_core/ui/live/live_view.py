"""A live run: its transcript as it grows, the features that matter so far, what the watchlist reports."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd
import streamlit as st
from streamlit.column_config import NumberColumn, TextColumn
from streamlit.elements.lib.column_types import ColumnConfig

from kthink_core import queries
from kthink_core.live.api import GenerateRequest
from kthink_core.live.live_trace import Firing
from kthink_core.ui import transcript
from kthink_core.ui.inference import reading
from kthink_core.ui.live import live_after
from kthink_core.ui.live.live_run import LiveRun
from kthink_core.ui.live.presence import Worker
from kthink_core.ui.parts import clicks, feature_tables, header, note_panel, numerals
from kthink_core.ui.parts.writing import plain, visible
from kthink_core.ui.view.page import Page, go, lead, with_features
from kthink_core.ui.view.permalink import MOST_FEATURES

TICK = 0.15
"""Seconds between two looks at what has come."""
FIRST = 0.3
"""Seconds that the first look waits for the first token."""
GROWTH = 0.01
"""A longer trace is drawn again when it has grown by so much: what is sent a second stays the same as it grows."""
SILENT = 10.0
"""Seconds without a word from the worker after which the page says so."""
_DRAWN, _GO, _SPAN = "live_drawn", "live_go", "live_span"


class Drawn(NamedTuple):
    """What has come of a run, as of one moment."""

    run: LiveRun
    hookpoint: str
    features: tuple[int, ...]
    going: bool
    tokens: pd.DataFrame
    tracks: pd.DataFrame
    hover: pd.DataFrame
    ranked: pd.DataFrame


def draw(page: Page, worker: Worker, run: LiveRun) -> None:
    """Draws until the run has ended, then once more with all that can be asked afterwards."""
    going = run.going
    if going:
        run.began_to_come.wait(FIRST)
    st.fragment(_trace, run_every=TICK if going else None)(page, run, going)
    if not going and _encoded(page, run):
        live_after.draw(page, worker, run, _shown(page, run), _span(run))


def _trace(page: Page, run: LiveRun, was_going: bool) -> None:
    view, shown = page.view, _shown(page, run)
    with run.lock:
        status, going, firings, silence = _status(run), run.going, list(run.firings), run.silence
        drawn = _drawn(run, view.hookpoint, shown)
    if was_going and not going:
        st.rerun()
    if silence >= SILENT:  # on the same line: what is below stays in place
        status = f"{status.rstrip('.')}. Nothing has come for {silence:.0f} seconds: the worker is busy, or it hangs."
    st.caption(plain(status))
    if run.trouble:
        st.error(plain(run.trouble), icon=":material/error:")
    if not _encoded(page, run):
        header.nothing(f"This run was not encoded at {view.hookpoint}, but at {', '.join(run.request.hookpoints)}.")
        return
    if drawn.tokens.empty:
        if going:
            st.info("Nothing has come yet.", icon=":material/hourglass_empty:")
        return
    span = _span(run)
    standing = run.trace.span(view.hookpoint, *span) if span and not going else None
    stands = [] if standing is None else standing["feature"].tolist()
    chosen = transcript.draw(
        f"live {run.job}",
        drawn.tokens,
        drawn.tracks,
        drawn.hover,
        drawn.ranked,
        hookpoint=view.hookpoint,
        features=shown,
        maxima=reading.maxima(page, view.hookpoint, shown, run.scope),
        scope=run.scope,
        span=span,
        position=st.session_state.pop(_GO, None),
        marked=[firing.position for firing in firings if firing.watch.hookpoint == view.hookpoint],
        labels=note_panel.labels(page, view.hookpoint, [*shown, *drawn.ranked["feature"].tolist(), *stands]),
        standing=standing,
        lines=feature_tables.tokens(page, view.hookpoint, stands) if stands else {},
        key="live_transcript",
    )
    _reports(run, firings)
    if chosen.feature is not None:
        lead("feature", with_features(view, (chosen.feature,)))
    if (chosen.span, chosen.features) != (span, shown):
        st.session_state[_SPAN] = (run, chosen.span)
        go(with_features(view, chosen.features))
        st.rerun()


def _encoded(page: Page, run: LiveRun) -> bool:
    """Whether latents were asked for at the hookpoint shown."""
    return not run.request.hookpoints or page.view.hookpoint in run.request.hookpoints


def _span(run: LiveRun) -> tuple[int, int] | None:
    """What is marked in this run."""
    marked, span = st.session_state.get(_SPAN, (None, None))
    return span if marked is run else None


def _drawn(run: LiveRun, hookpoint: str, features: tuple[int, ...]) -> Drawn:
    """What is drawn next: the same as last time where hardly more has come."""
    last: Drawn | None = st.session_state.get(_DRAWN)
    same = last is not None and last[:4] == (run, hookpoint, features, run.going)
    if last is not None and same and len(run.trace) <= (1 + GROWTH) * len(last.tokens):
        return last
    ranked = run.trace.ranked(hookpoint, run.scope)
    tracked = {*features, *ranked["feature"].tolist()}
    st.session_state[_DRAWN] = Drawn(
        run,
        hookpoint,
        features,
        run.going,
        run.trace.tokens(),
        run.trace.latents(hookpoint, features=tracked),
        run.trace.strongest(hookpoint),
        ranked,
    )
    return st.session_state[_DRAWN]


def _status(run: LiveRun) -> str:
    if run.position is not None and run.going:
        before = f"{run.position} before this one" if run.position else "this one is next"
        return f"Waiting: {before}."
    parts = [f"{len(run.trace)} tokens"]
    if run.rate is not None:
        parts.append(f"{run.rate:.0f} tokens a second")
    if run.firings:
        last = run.firings[-1]
        parts += [f"{len(run.firings)} reports", f"the last of {last.watch.feature} at position {last.position}"]
    if run.going:
        return ", ".join(["Running", *parts])
    if run.refused:
        return "Refused"
    if run.end is None:
        return ", ".join(["Stopped", *parts, *_settings(run), "not to be kept: it has no end"])
    if run.end.answer is not None:
        parts.append(f"answer {run.end.answer}")
    ending = {"stop": "ended by itself", "length": "cut off at the limit", None: "encoded"}[run.end.finish_reason]
    return ", ".join(["Done", *parts, ending, *_settings(run)])


def _settings(run: LiveRun) -> list[str]:
    """What the form may have changed since."""
    asked = run.request
    if not isinstance(asked, GenerateRequest):
        return []
    return [asked.mode, f"temperature {asked.temperature:g}", f"top-p {asked.top_p:g}", f"seed {asked.seed}"]


def _shown(page: Page, run: LiveRun) -> tuple[int, ...]:
    """The link's features and those that are watched; without any, the one that matters in most stored inferences: it
    stays the same while the run's own ranks still change."""
    view = page.view
    chosen = () if view.feature is None else (view.feature, *view.also)
    watched = [watch.feature for watch in run.watched if watch.hookpoint == view.hookpoint]
    if chosen or watched:
        return tuple(dict.fromkeys((*chosen, *watched)))[:MOST_FEATURES]
    return tuple(page.ask(queries.feature_counts, view.hookpoint, top=1)["feature"].tolist()) or (0,)


def _reports(run: LiveRun, firings: list[Firing]) -> None:
    """The latest first. A click takes the transcript there."""
    if not firings:
        return
    latest = firings[::-1]
    activation = numerals.column("Activation", [firing.activation for firing in latest], decimals=2)
    threshold = numerals.column("Above", [firing.watch.threshold for firing in latest], decimals=2)
    shown = pd.DataFrame(
        {
            "hookpoint": [firing.watch.hookpoint for firing in latest],
            "feature": [firing.watch.feature for firing in latest],
            "position": [firing.position for firing in latest],
            "token": [visible(firing.text) for firing in latest],
            "activation": activation.values,
            "threshold": threshold.values,
        }
    )
    columns: dict[str, ColumnConfig] = {
        "hookpoint": TextColumn("Hookpoint"),
        "feature": NumberColumn("Feature", format="%d"),
        "position": NumberColumn("Position", format="%d"),
        "token": TextColumn("Token"),
        "activation": activation.config,
        "threshold": threshold.config,
    }

    def look(row: int) -> None:
        st.session_state[_GO] = latest[row].position

    st.markdown(f"**{len(firings)} firings of watched features**")
    key = f"reports {run.job} {len(firings)}"
    clicks.table(shown, columns, key, look, rows=6, described="Firings of watched features")
