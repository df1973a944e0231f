"""A live run: its transcript as it grows, the features that matter so far, what the watchlist reports."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import streamlit as st

from kthink_core import queries
from kthink_core.live.api import GenerateRequest
from kthink_core.live.watchlist import Firing, firings
from kthink_core.ui import transcript
from kthink_core.ui.inference import reading, trace_parts
from kthink_core.ui.inference.trace_parts import Drawn, Reading
from kthink_core.ui.live import branch_panel, live_after
from kthink_core.ui.live.presence import Worker, visitor
from kthink_core.ui.live.run_state import RunState
from kthink_core.ui.parts import feature_names, header, terms
from kthink_core.ui.parts.writing import plain
from kthink_core.ui.view.page import Page, go, lead, with_features
from kthink_core.ui.view.permalink import MOST_FEATURES
from kthink_core.ui.view.yardstick import yardstick

TICK = 0.15
"""Seconds between two looks at what has come."""
FIRST = 0.3
"""Seconds that the first look waits for the first token."""
GROWTH = 0.01
"""A longer trace is drawn again when it has grown by so much: what is sent a second stays the same as it grows."""
LISTED = 50
"""Features in the list beside the tokens: each comes with its track, many times a second."""
SILENT = 10.0
"""Seconds without a word from the worker after which the page says so."""


ENDINGS = {"stop": "ended by itself", "length": "cut off at the limit", None: "encoded"}


class Beside(NamedTuple):
    """What another stream beside one shades by, too."""

    maxima: dict[int, float]
    """The largest activations in both, by feature."""
    words: dict[str, str]
    """What the maxima are of, by basis."""


def draw(page: Page, worker: Worker | None, run: RunState, going: bool) -> None:
    """Draws until the run has ended, then once more with all that can be asked afterwards. `going`: whether it goes on
    as far as the rest of the page knows."""
    features = shown(page, run)
    stream(page, run, features, going)
    if not going and encoded(page, run):
        live_after.draw(page, worker, run, _reading(page, run, features), _span(run, "live"))


def stream(
    page: Page,
    run: RunState,
    features: tuple[int, ...],
    going: bool,
    *,
    name: str = "live",
    beside: Beside | None = None,
) -> None:
    """Draw a run as it grows under some features, and run the page again when it has ended, be it since the rest of the
    page, which took it for `going`, was drawn. `name` tells the streams of a page apart."""
    if going:
        run.began_to_come.wait(FIRST)
    st.fragment(_trace, run_every=TICK if going else None)(page, run, going, features, name, beside)


def _reading(page: Page, run: RunState, shown: tuple[int, ...]) -> Reading:
    def choose(feature: int) -> None:
        go(with_features(page.view, (feature, *shown[1:])))

    return Reading(page, run.trace, f"live run {run.job}", run.scope, shown, choose)


def _trace(
    page: Page, run: RunState, was_going: bool, shown: tuple[int, ...], name: str, beside: Beside | None
) -> None:
    read, view = _reading(page, run, shown), page.view
    run.join(visitor())
    with run.lock:
        going, silence = run.going, run.silence
        span = _span(run, name)
        standing = run.trace.span(view.hookpoint, *span) if span and not going else None
        exact = trace_parts.exact(read, standing)
        drawn = _drawn(run, view.hookpoint, view.grain, exact, name)
        status = _status(page, run, drawn.firings)
    if was_going and not going:
        st.rerun()
    if silence >= SILENT:  # on the same line: what is below stays in place
        status = f"{status.rstrip('.')}. Nothing has come for {silence:.0f} seconds: the worker is busy, or it hangs."
    st.caption(plain(status))
    if not going:
        _bounded(run, view.hookpoint)
    if run.forgotten:
        st.warning(plain(run.forgotten), icon=":material/history_toggle_off:")
    if run.trouble:
        st.error(plain(run.trouble), icon=":material/error:")
    if not encoded(page, run):
        header.nothing(f"This run was not encoded at {view.hookpoint}, but at {', '.join(run.request.hookpoints)}.")
        return
    if drawn.tokens.empty:
        if going:
            st.info("Nothing has come yet.", icon=":material/hourglass_empty:")
        return
    # Those of ranked features change with every look while tokens come: they are asked for once, at the end.
    everyone = exact if going else tuple(dict.fromkeys([*exact, *drawn.ranked["feature"].tolist()]))
    chosen = trace_parts.draw(
        read,
        drawn,
        maxima=reading.maxima(page, view.hookpoint, everyone, run.scope),
        span=span,
        position=st.session_state.pop(f"{name}_go", None),
        shared=beside.maxima if beside else None,
        bases=beside.words if beside else transcript.ALONE,
        standing=standing,
        branches=name == "live" and run.end is not None,
        key=f"{name}_transcript",
    )
    trace_parts.reports(read, drawn.firings, partial(_look, name))
    if chosen.branch:
        branch_panel.take(run, chosen.branch)
        st.rerun()
    if chosen.feature is not None:
        lead("feature", with_features(view, (chosen.feature,)))
    if (chosen.span, chosen.features) != (span, shown) or chosen.into(view) != view:
        st.session_state[f"{name}_span"] = (run, chosen.span)
        go(chosen.into(view if chosen.features == shown else with_features(view, chosen.features)))
        st.rerun()


def _bounded(run: RunState, hookpoint: str) -> None:
    """Where the SAE has no fixed k: at how many positions more features may fire than are kept."""
    most = None if run.end is None else run.end.most.get(hookpoint)
    full = 0 if most is None else run.trace.full(hookpoint, most)
    if full:
        st.caption(
            f"At {full:,} of {len(run.trace):,} positions {most:,} features fire: no more are kept of a position, and "
            "others may fire there, too.",
            help=terms.help("cut"),
        )


def _look(name: str, position: int) -> None:
    """Take the transcript to a position in the next run."""
    st.session_state[f"{name}_go"] = position


def encoded(page: Page, run: RunState) -> bool:
    """Whether latents were asked for at the hookpoint shown."""
    return not run.request.hookpoints or page.view.hookpoint in run.request.hookpoints


def _span(run: RunState, name: str) -> tuple[int, int] | None:
    """What is marked in this run."""
    marked, span = st.session_state.get(f"{name}_span", (None, None))
    return span if marked is run else None


def _drawn(run: RunState, hookpoint: str, grain: str, exact: tuple[int, ...], name: str) -> Drawn:
    """What is drawn next: the same as last time where hardly more has come."""
    of = (run, hookpoint, exact, grain, run.going)
    last, drawn = st.session_state.get(f"{name}_drawn", (None, None))
    if drawn is not None and last == of and len(run.trace) <= (1 + GROWTH) * len(drawn.tokens):
        return drawn
    ranked = run.trace.ranked(hookpoint, run.scope, LISTED)
    drawn = trace_parts.drawn(run.trace, hookpoint, exact, ranked, firings(run.trace, run.watched), grain)
    st.session_state[f"{name}_drawn"] = (of, drawn)
    return drawn


def _status(page: Page, run: RunState, firings: Sequence[Firing]) -> str:
    if run.position is not None and run.going:
        before = f"{run.position} before this one" if run.position else "this one is next"
        return f"Waiting: {before}."
    if run.job is None and run.going:
        return "Not in the worker's queue yet."
    written = run.written
    told = isinstance(run.request, GenerateRequest)
    parts = [f"{len(run.trace) - written} prompt + {written} generated tokens" if told else f"{len(run.trace)} tokens"]
    if run.rate is not None:
        parts.append(f"{run.rate:.0f} tokens a second")
    if firings:
        last = firings[-1]
        called = feature_names.in_words(page, last.watch.hookpoint, last.watch.feature)
        parts += [f"{len(firings)} reports", f"the last of {called} at position {last.position}"]
    if run.going:
        return ", ".join(["Running", *parts])
    if run.refused:
        return "Refused"
    if run.end is None:
        return ", ".join(["Stopped", *parts, *_settings(run), "not to be kept: it has no end"])
    if run.end.answer is not None:
        parts.append(f"answer {run.end.answer}")
    ending = ENDINGS[run.end.finish_reason]
    return ", ".join(["Done", *parts, ending, *_settings(run)])


def _settings(run: RunState) -> list[str]:
    """What the form may have changed since."""
    asked = run.request
    if not isinstance(asked, GenerateRequest):
        return []
    return [asked.mode, f"temperature {asked.temperature:g}", f"top-p {asked.top_p:g}", f"seed {asked.seed}"]


def shown(page: Page, run: RunState) -> tuple[int, ...]:
    """The link's features and those that are watched; without any, the one that matters in most stored inferences: it
    stays the same while the run's own ranks still change."""
    view = page.view
    chosen = () if view.feature is None else (view.feature, *view.also)
    watched = [watch.feature for watch in run.watched if watch.hookpoint == view.hookpoint]
    if chosen or watched:
        return tuple(dict.fromkeys((*chosen, *watched)))[:MOST_FEATURES]
    whole = yardstick(page) or page
    return tuple(whole.ask(queries.feature_counts, view.hookpoint, top=1)["feature"].tolist()) or (0,)
