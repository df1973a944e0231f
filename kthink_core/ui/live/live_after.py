"""What can be asked of a live run once it has ended: what is unusual in it, the article's plots, and to keep it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import streamlit as st

from kthink_core.errors import KthinkError, WorkerRefused
from kthink_core.live.study_requests import RunTrace
from kthink_core.ui.causes import causes_panel
from kthink_core.ui.causes.traced_page import TracedPage
from kthink_core.ui.inference import lifts, trace_parts
from kthink_core.ui.inference.trace_parts import LISTED, TITLES, Reading
from kthink_core.ui.live import history, kept_with, pasted_note, starting
from kthink_core.ui.live.live_run import LiveRun
from kthink_core.ui.live.presence import Worker
from kthink_core.ui.live.run_state import RunState
from kthink_core.ui.parts.writing import plain
from kthink_core.ui.steer import receipt_table
from kthink_core.ui.view import choices
from kthink_core.ui.view.page import Page, link, with_features
from kthink_core.ui.view.permalink import View

_KEPT, _THERE = "live_kept", "live_job_there"
"""With the job: why it is not stored; and whether the worker still has it."""


def draw(page: Page, worker: Worker | None, run: RunState, read: Reading, span: tuple[int, int] | None) -> None:
    """Nothing where the run left nothing to ask of."""
    if not len(run.trace):
        return
    pasted_note.draw(run)
    keep(page, worker, run, read.shown, span, reference=starting.reference(page, run.request))
    steered = run.end.interventions if run.end is not None else ()
    if run.end is not None and steered:
        receipt_table.of_live(page, steered, run.end.receipts)
    if span is not None:
        with st.container(border=True):
            trace_parts.span_title(*span)
            trace_parts.span(read, *span)
    with choices.tab("after", TITLES, page) as tab:
        ranked = run.trace.ranked(read.hookpoint, run.scope, LISTED)
        trace_parts.tab(read, TITLES[tab], lifts.with_lift(page, ranked, run.scope))
    if worker is not None and _is_there(page, worker, run):
        trace = RunTrace(job=run.job or "")
        tokens = read.trace.tokens()
        causes_panel.draw(TracedPage(page, trace, read.called, tokens, read.shown, span, read.choose, bool(steered)))
        if "think" in tokens["segment"].tolist():
            st.caption("Keep the run to ask which of its sentences matter: the page of the kept one does.")


def keep(
    page: Page,
    worker: Worker | None,
    run: RunState,
    shown: tuple[int, ...],
    span: tuple[int, int] | None = None,
    name: str = "live",
    reference: str | None = None,
) -> None:
    """What stores a run that has an end and all hookpoints, then what leads to where it is stored. `name` tells it from
    that of another run; `reference`: the right answer, where it is known."""
    kept, problem = run.kept, st.session_state.get(f"{_KEPT} {run.job}")
    if kept is not None and not kept_with.is_deleted(page, kept):
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
    if worker is None or not _is_there(page, worker, run):
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        if page.person.way == "open":
            st.text_input("Your name", key=f"{name}_author", max_chars=80)
        st.button(
            "Keep", icon=":material/bookmark_add:", help="Store it, with a link of its own.", key=f"{name}_keep",
            on_click=_store, args=(page, worker, run, name, reference),
        )  # fmt: skip
    if problem is not None:
        st.error(plain(problem), icon=":material/error:")


def _is_there(page: Page, worker: Worker, run: RunState) -> bool:
    """Whether the worker can be asked for what it made; where it has forgotten that, the page says so."""
    if not worker.answers or not _is_whole(worker, run) or not history.is_own(page.person, run):
        return False
    if isinstance(run, LiveRun):
        return True
    known = f"{_THERE} {run.job}"
    if known not in st.session_state:
        try:
            worker.client.status(run.job or "")
        except WorkerRefused:
            st.session_state[known] = False
        except KthinkError:  # it may answer next time
            return False
        else:
            st.session_state[known] = True
    if not st.session_state[known]:
        st.caption("The worker has forgotten this run: run it again to keep it, or to ask what its features do.")
    return st.session_state[known]


def _is_whole(worker: Worker, run: RunState) -> bool:
    """Whether the worker has an inference of it: one that has ended, with all hookpoints."""
    asked = set(run.request.hookpoints or worker.health.hookpoints)
    written = any(segment != "prompt" for segment in run.trace.segments)  # of a pasted text, where it is a trace
    ended = run.end is not None and written
    return ended and run.job is not None and asked >= set(worker.health.hookpoints)


def _store(page: Page, worker: Worker, run: RunState, name: str, reference: str | None) -> None:
    author = st.session_state.get(f"{name}_author", "")
    try:
        kept = worker.client.keep(run.job or "", author, reference, kept_with.seen(page, run))
    except KthinkError as error:
        st.session_state[f"{_KEPT} {run.job}"] = str(error)
        return
    run.kept = kept
    if run.id:
        with suppress(KthinkError, OSError):  # it is stored; only the list of runs does not say so
            history.shelf().keep(run.name.owner, run.id, kept)
