"""The button that has features tested by token injection, and how far the test is."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from kthink_core.identity import maker
from kthink_core.live.api import MOST_TESTED, InjectRequest
from kthink_core.ui.injection.injection_watch import InjectionWatch
from kthink_core.ui.live import presence
from kthink_core.ui.parts import header, injection_badge, terms
from kthink_core.ui.parts.writing import plain
from kthink_core.ui.view.page import Page

_TICK = 0.5
"""Seconds between two looks at how far a test is."""
_WATCH = "injection watch"


def of_table(page: Page, features: Sequence[int]) -> None:
    """For the first features of a table that have no verdict yet. The worker is asked for once somebody wants it."""
    if not st.toggle("Are they more than their words?", help=terms.help("injection_verdict"), key="test the table"):
        return
    known = injection_badge.verdicts(page, page.view.hookpoint)
    watch: InjectionWatch | None = st.session_state.get(_WATCH)
    asked = tuple(int(feature) for feature in features if feature not in known)[:MOST_TESTED]
    if watch is not None and watch.going and len(watch.request.features) > 1:
        asked = watch.request.features  # some of them have a verdict by now
    if not asked:
        st.caption("Each of them has its verdict: it stands in the table.")
        return
    draw(page, asked, f"Test the first {len(asked)} without a verdict" if len(asked) > 1 else "Test the last one")


def draw(page: Page, features: tuple[int, ...], label: str) -> None:
    """A button, or how far the test of these features is, or why there can be none."""
    watch: InjectionWatch | None = st.session_state.get(_WATCH)
    request = InjectRequest(experiment=page.experiment.name, hookpoint=page.view.hookpoint, features=features)
    own = watch is not None and watch.request == request
    if watch is not None and own and watch.going:
        st.fragment(_progress, run_every=_TICK)(watch)
        return
    above = st.empty()
    worker = presence.reach()
    answers = worker is not None and worker.answers
    if watch is not None and own and watch.trouble:
        if watch.lost and answers:
            above.info("The worker went away during the test, and is back: test again.", icon=":material/info:")
        else:
            above.error(plain(watch.trouble), icon=":material/error:")
    if worker is None or not worker.answers:
        return
    if worker.health.maker(page.view.hookpoint) != maker(page.experiment, page.view.hookpoint):
        header.nothing(
            "The worker has another model, other SAEs or another capture site than this experiment: start one with "
            f"`--experiment {plain(page.experiment.name)}`, or test on the command line with `inject`."
        )
        return
    session = presence.visitor()

    def start() -> None:
        if watch is not None:
            watch.stop()
        st.session_state[_WATCH] = InjectionWatch(worker.client, request, lambda: presence.still_here(session))

    st.button(label, icon=":material/science:", on_click=start, key="test injection")


def _progress(watch: InjectionWatch) -> None:
    with watch.lock:
        going, position, done, of = watch.going, watch.position, watch.done, watch.of
    if not going:
        st.rerun()
    if position:
        st.caption(f"It waits: {position} before it.")
    others = " The features it is compared with come first, once." if of > 1 else ""
    st.progress(done / of if of else 0.0, f"{done} of {of or '…'} features tested.{others}")
    st.button("Stop", icon=":material/stop:", on_click=watch.stop, key="stop injection")
