"""A live run: its transcript as it grows, the features that matter so far, what the watchlist reports."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import streamlit as st

from kthink_core import queries
from kthink_core.ui import choices, live_after, notes, transcript
from kthink_core.ui.live_run import LiveRun
from kthink_core.ui.page import Page, go
from kthink_core.ui.text import plain, visible
from kthink_core.ui.worker import Worker

TICK = 0.15
"""Seconds between two looks at what has come."""


def draw(page: Page, worker: Worker, run: LiveRun) -> None:
    """Draws until the run has ended, then once more with all that can be asked afterwards."""
    st.divider()
    choices.hookpoint(page)
    going = run.going
    st.fragment(_trace, run_every=TICK if going else None)(page, run, going)
    if not going:
        live_after.draw(page, worker, run, _shown(page, run, run.trace.ranked(page.view.hookpoint)))


def _trace(page: Page, run: LiveRun, was_going: bool) -> None:
    view = page.view
    with run.lock:
        status, going, firings = _status(run), run.going, list(run.firings)
        tokens, tracks = run.trace.tokens(), run.trace.latents(view.hookpoint)
        hover, ranked = run.trace.strongest(view.hookpoint), run.trace.ranked(view.hookpoint)
    if was_going and not going:
        st.rerun()
    st.caption(plain(status))
    if run.trouble:
        st.error(plain(run.trouble), icon=":material/error:")
    if tokens.empty:
        st.info("Nothing has come yet.", icon=":material/hourglass_empty:")
        return
    shown = _shown(page, run, ranked)
    maxima = page.ask(queries.feature_maxima, view.hookpoint, shown, view.scope)
    chosen = transcript.draw(
        f"live {run.job}",
        tokens,
        tracks,
        hover,
        ranked,
        hookpoint=view.hookpoint,
        features=shown,
        maxima=dict(zip(maxima["feature"].tolist(), maxima["max_activation"].tolist(), strict=True)),
        scope="generated",
        labels=notes.labels(page, view.hookpoint, [*shown, *ranked["feature"].tolist()]),
        key="live_transcript",
    )
    _reports(firings)
    if chosen.features != shown and chosen.features:
        go(replace(view, feature=chosen.features[0], also=chosen.features[1:]))
        st.rerun()


def _status(run: LiveRun) -> str:
    if run.position:
        return f"Waiting: {run.position} before this one."
    parts = [f"{len(run.trace)} tokens"]
    if run.rate is not None:
        parts.append(f"{run.rate:.0f} tokens a second")
    if run.going:
        return ", ".join(["Running", *parts])
    if run.end is None:
        return ", ".join(["Stopped", *parts])
    if run.end.answer is not None:
        parts.append(f"answer {run.end.answer}")
    ending = {"stop": "ended by itself", "length": "cut off at the limit", None: "encoded"}[run.end.finish_reason]
    return ", ".join(["Done", *parts, ending])


def _shown(page: Page, run: LiveRun, ranked: pd.DataFrame) -> tuple[int, ...]:
    """The link's features, else those that are watched, else the first of the list."""
    view = page.view
    if view.feature is not None:
        return (view.feature, *view.also)
    watched = [watch.feature for watch in run.watched if watch.hookpoint == view.hookpoint]
    return tuple(dict.fromkeys(watched))[:5] or tuple(ranked["feature"].head(1).tolist()) or (0,)


def _reports(firings: list) -> None:
    if not firings:
        return
    st.markdown(f"**{len(firings)} reports of the watchlist**")
    st.dataframe(
        pd.DataFrame(
            {
                "feature": [firing.watch.feature for firing in firings],
                "position": [firing.position for firing in firings],
                "token": [visible(firing.text) for firing in firings],
                "activation": [firing.activation for firing in firings],
            }
        ),
        hide_index=True,
    )
