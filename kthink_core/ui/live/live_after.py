"""What can be asked of a live run once it has ended: what is unusual in it, the article's plots, and to keep it."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from kthink_core import queries
from kthink_core.errors import KthinkError
from kthink_core.live.api import GenerateRequest, Kept
from kthink_core.live.request import MOST_REFERENCE
from kthink_core.live.study_requests import RunTrace
from kthink_core.ui.causes import causes_panel
from kthink_core.ui.causes.traced_page import TracedPage
from kthink_core.ui.inference import trace_parts
from kthink_core.ui.inference.trace_parts import LISTED, TITLES, Reading
from kthink_core.ui.live.live_run import LiveRun
from kthink_core.ui.live.presence import Worker
from kthink_core.ui.parts.writing import plain
from kthink_core.ui.view import choices
from kthink_core.ui.view.page import Page, link, with_features
from kthink_core.ui.view.permalink import View

_KEPT = "live_kept"
"""With the job: where it is stored, or why it is not."""


def draw(page: Page, worker: Worker, run: LiveRun, read: Reading, span: tuple[int, int] | None) -> None:
    """Nothing where the run left nothing to ask of."""
    if not len(run.trace):
        return
    keep(page, worker, run, read.shown, span, reference=_reference(page, run))
    if span is not None:
        with st.container(border=True):
            trace_parts.span_title(*span)
            trace_parts.span(read, *span)
    with choices.tab("after", TITLES, page) as tab:
        ranked = run.trace.ranked(read.hookpoint, run.scope, LISTED)
        trace_parts.tab(read, TITLES[tab], trace_parts.with_lift(page, ranked, run.scope))
    if _is_whole(worker, run):
        trace = RunTrace(job=run.job or "")
        tokens = read.trace.tokens()
        causes_panel.draw(TracedPage(page, trace, read.called, tokens, read.shown, span, read.choose))
        if "think" in tokens["segment"].tolist():
            st.caption("Keep the run to ask which of its sentences matter: the page of the kept one does.")


def keep(
    page: Page,
    worker: Worker,
    run: LiveRun,
    shown: tuple[int, ...],
    span: tuple[int, int] | None = None,
    name: str = "live",
    reference: str | None = None,
) -> None:
    """What stores a run that has an end and all hookpoints, then what leads to where it is stored. `name` tells it from
    that of another run; `reference`: the right answer, where it is known."""
    if run.job is None or not worker.answers or not _is_whole(worker, run):
        return
    kept: Kept | str | None = st.session_state.get(f"{_KEPT} {run.job}")
    if isinstance(kept, Kept):
        view = page.view
        watched = {watch.hookpoint for watch in run.watched}
        here = view.hookpoint in watched or not watched
        hookpoint = view.hookpoint if here else min(watched)  # a link watches one: that at which somebody did
        watch = tuple((watch.feature, watch.threshold) for watch in run.watched if watch.hookpoint == hookpoint)
        at = View(kept.experiment, hookpoint, kept.inference, watch=watch, span=span)
        if here:
            at = replace(with_features(at, shown), basis=view.basis, locked=view.locked)
        link("inference", at, f"Kept as inference {kept.inference} of {kept.experiment}")
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        if page.person.way == "open":
            st.text_input("Your name", key=f"{name}_author", max_chars=80)
        st.button(
            "Keep", icon=":material/bookmark_add:", help="Store it, with a link of its own.", key=f"{name}_keep",
            on_click=_store, args=(worker, run.job, name, reference),
        )  # fmt: skip
    if kept is not None:
        st.error(plain(kept), icon=":material/error:")


def _reference(page: Page, run: LiveRun) -> str | None:
    """The right answer, where the prompt is a problem of the experiment that has one."""
    if not isinstance(run.request, GenerateRequest):
        return None
    table = page.ask(queries.inferences)
    found = table.loc[table["question"] == run.request.prompt, "reference"].dropna().tolist()
    return found[0] if found and len(found[0]) <= MOST_REFERENCE else None


def _is_whole(worker: Worker, run: LiveRun) -> bool:
    """Whether the worker has an inference of it: one that has ended, with all hookpoints."""
    asked = set(run.request.hookpoints or worker.health.hookpoints)
    written = any(segment != "prompt" for segment in run.trace.segments)  # of a pasted text, where it is a trace
    ended = run.end is not None and written
    return ended and run.job is not None and asked >= set(worker.health.hookpoints)


def _store(worker: Worker, job: str, name: str, reference: str | None) -> None:
    try:
        kept = worker.client.keep(job, st.session_state.get(f"{name}_author", ""), reference)
    except KthinkError as error:
        kept = str(error)
    st.session_state[f"{_KEPT} {job}"] = kept
