"""The button that has the worker do something longer, how far that is, or why it cannot be."""

from __future__ import annotations

from collections.abc import Collection

import streamlit as st

from kthink_core.identity import maker
from kthink_core.ui.live import presence
from kthink_core.ui.live.job_watch import Asked, JobWatch
from kthink_core.ui.parts import header
from kthink_core.ui.parts.writing import plain
from kthink_core.ui.view.page import Page

_TICK = 0.5
"""Seconds between two looks at how far a job is."""


def watch_of(kind: str) -> JobWatch | None:
    """This visit's latest job of a kind."""
    return st.session_state.get(_key(kind))


def draw(
    page: Page,
    kind: str,
    request: Asked,
    label: str,
    what: str,
    *,
    hookpoints: Collection[str] | None = None,
    otherwise: str = "",
    icon: str = ":material/science:",
) -> JobWatch | None:
    """A button, or how far the job is. Returns this visit's job of just this request, once it has ended.

    `what`: its parts, in the plural. `hookpoints`: those at which the worker must have the experiment's SAEs (the
    request's own unless given). `otherwise`: what to do without a fitting worker, a sentence.
    """
    watch = watch_of(kind)
    own = watch is not None and watch.request == request
    if watch is not None and own and watch.going:
        st.fragment(_progress, run_every=_TICK)(watch, what, kind)
        return None
    above = st.empty()
    worker = presence.reach()
    answers = worker is not None and worker.answers
    if watch is not None and own and watch.trouble:
        if watch.lost and answers:
            above.info("The worker went away meanwhile, and is back: ask again.", icon=":material/info:")
        else:
            above.error(plain(watch.trouble), icon=":material/error:")
    ended = watch if own else None
    if worker is None or not worker.answers:
        return ended
    if any(
        worker.health.maker(hookpoint) != maker(page.experiment, hookpoint)
        for hookpoint in (request.hookpoints if hookpoints is None else hookpoints)
    ):
        header.nothing(
            "The worker has another model, other SAEs or another capture site than this experiment: start one with "
            f"`--experiment {page.experiment.name}`{otherwise}."
        )
        return ended
    session = presence.visitor()

    def start() -> None:
        if watch is not None:
            watch.stop()
        st.session_state[_key(kind)] = JobWatch(worker.client, request, lambda: presence.still_here(session))

    st.button(label, icon=icon, on_click=start, key=f"start {kind}")
    return ended


def _key(kind: str) -> str:
    return f"job {kind}"


def _progress(watch: JobWatch, what: str, kind: str) -> None:
    with watch.lock:
        going, position, done, of = watch.going, watch.position, watch.done, watch.of
    if not going:
        st.rerun()
    if position:
        st.caption(f"It waits: {position} before it.")
    st.progress(done / of if of else 0.0, f"{done} of {of or '…'} {what}.")
    st.button("Stop", icon=":material/stop:", on_click=watch.stop, key=f"stop {kind}")
