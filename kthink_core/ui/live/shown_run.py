"""Which run the live page shows: this visit's latest, or the one that the link names; and the form as it was then."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import streamlit as st

from kthink_core.errors import KthinkError, encodable, in_words
from kthink_core.live.api import EncodeRequest, GenerateRequest
from kthink_core.live.watchlist import Watch
from kthink_core.ui.live import history, prompt_box
from kthink_core.ui.live.run_state import RunState
from kthink_core.ui.view import live_link, steer_link
from kthink_core.ui.view.page import Page, beside, go
from kthink_core.ui.view.permalink import MOST_FEATURES, View, without_run

RUN = "live_run"
_TAKEN, _WATCHED, _GONE = "live_link_taken", "live_link_watched", "live_run_gone"
_UNREADABLE = "live_run_unreadable"
log = logging.getLogger("kthink.runs")
_LARGEST = 2**53 - 1
"""Whole number of a form: a browser knows no larger one."""


def take(page: Page) -> Page:
    """The page at the run that it shows. To be called before the form is drawn, which a link fills."""
    run, view = shown(), page.view
    named = (view.live, view.prompt, view.sent)
    if not any(named):
        if run is None or not run.id:
            _fill_watchlist(view)
            return page
        view = linked(page, run, view)
        go(view)
        _taken(view)
        return replace(page, view=view)
    if st.session_state.get(_TAKEN) == named:
        return page
    _taken(view)
    if not view.live:
        _fill(view, view.prompt, _watched(view))
        return page
    if run is None or run.id != view.live:
        run = _found(page)
        st.session_state[RUN], st.session_state[_GONE] = run, run is None
    if run is None:
        _fill(view, view.prompt, _watched(view))
        return page
    if run.name.experiment != view.experiment and run.name.experiment in _there(page):
        st.session_state.pop(_TAKEN)
        go(replace(view, experiment=run.name.experiment))
        st.rerun()
    view = linked(page, run, view)
    go(view)
    _taken(view)
    _fill(view, run.text, run.watched)
    return replace(page, view=view)


def shown() -> RunState | None:
    """The run that this visit shows; None where there is none."""
    return st.session_state.get(RUN)


def is_gone() -> bool:
    """Whether the link names a run that is remembered no more."""
    return bool(st.session_state.get(_GONE))


def unreadable() -> str | None:
    """Why the run that the link names, which is there, is not shown."""
    return st.session_state.get(_UNREADABLE)


def begun(page: Page, run: RunState) -> None:
    """From now on the page shows another run, and so does the link."""
    st.session_state[RUN], st.session_state[_GONE] = run, False
    view = linked(page, run, page.view)
    go(view)
    _taken(view)


def link_to(page: Page, run: str, experiment: str) -> View:
    """The whole view of a remembered run, as far as it is there: to be in the link at once, or Back would only take
    away what the page then adds."""
    view = View(experiment, page.view.hookpoint, live=run)
    found = _found(replace(page, view=view))
    with suppress(KthinkError, OSError):  # the page says what is wrong with the experiment
        there = page if experiment == page.experiment.name else beside(page, experiment)
        view = replace(view, hookpoint=there.view.hookpoint, inference=there.view.inference)
        return view if found is None else linked(there, found, view)
    return view


def left(page: Page) -> None:
    """The page shows none any more."""
    st.session_state.pop(RUN, None)
    st.session_state.pop(_TAKEN, None)
    go(without_run(page.view))


def linked(page: Page, run: RunState, view: View) -> View:
    """The view of a run: its prompt where a link can hold it, how it was sent, and what was watched here."""
    request, text = run.request, encodable(run.text)
    is_branch = isinstance(request, GenerateRequest) and request.branch is not None
    watch = {each.feature: each.threshold for each in run.watched if each.hookpoint == view.hookpoint}
    return replace(
        view,
        live=run.id,
        prompt=text if live_link.fits(text) and not is_branch else "",
        sent=_sent(request, all_of=set(page.experiment.saes)),
        watch=tuple(watch.items())[:MOST_FEATURES],
        branch=(),
    )


def _sent(request: GenerateRequest | EncodeRequest, all_of: set[str]) -> live_link.Sent:
    hookpoints = () if set(request.hookpoints) == all_of else request.hookpoints
    if isinstance(request, EncodeRequest):
        usual = GenerateRequest(prompt=request.text)
        how = steer_link.Run(*(getattr(usual, name) for name in steer_link.Run._fields))
        return live_link.Sent(how._replace(special=request.special), True, hookpoints)
    how = steer_link.Run(*(getattr(request, name) for name in steer_link.Run._fields))
    return live_link.Sent(how, False, hookpoints)


def _found(page: Page) -> RunState | None:
    """The run that the link names, if it is there for this person: as it goes on, or as it is remembered."""
    st.session_state.pop(_UNREADABLE, None)
    try:
        run = history.going(page.view.live) or history.remembered(page.view.live)
    except OSError as error:
        log.error("a run is not shown: %s", in_words(error))  # its path is nobody's business
        st.session_state[_UNREADABLE] = f"{error.strerror or 'it is refused'}; the app's log says where it lies"
        return None
    if run is None or not page.person.sees(run.name.experiment):
        return None
    # What was computed anew under the same name may have other features.
    known = _there(page).get(run.name.experiment)
    return run if known in (None, run.name.mark) else None


def _there(page: Page) -> dict[str, str]:
    """The marks of the experiments that there are for this person."""
    return {status.name: status.experiment.mark for status in page.statuses if status.experiment is not None}


def _taken(view: View) -> None:
    st.session_state[_TAKEN] = (view.live, view.prompt, view.sent)


def _watched(view: View) -> tuple[Watch, ...]:
    return tuple(Watch(view.hookpoint, feature, threshold) for feature, threshold in view.watch)


def _fill_watchlist(view: View) -> None:
    """Put into the form what a link without a run watches, once: it may be changed there."""
    watched = (view.hookpoint, view.watch)
    if view.watch and st.session_state.get(_WATCHED) != watched:
        st.session_state[_WATCHED] = watched
        _fill(view, "", _watched(view))


def _fill(view: View, text: str, watched: Sequence[Watch]) -> None:
    """Put into the form what a link or a run says."""
    state = st.session_state
    if text:
        prompt_box.take(text)
    if view.sent is not None:
        for name, value in view.sent.run._asdict().items():
            whole = isinstance(value, int) and not isinstance(value, bool)
            state[f"live_{name}"] = min(max(value, -_LARGEST), _LARGEST) if whole else value
        state["live_encode"] = view.sent.encode
        state.pop("live_hookpoints", None)
        if view.sent.hookpoints:
            state["live_hookpoints"] = list(view.sent.hookpoints)
    for hookpoint in dict.fromkeys(each.hookpoint for each in watched):
        own = [each for each in watched if each.hookpoint == hookpoint]
        state[f"watch {hookpoint}"] = [each.feature for each in own]
        state.update({f"watch {hookpoint} {each.feature}": each.threshold for each in own})
