"""This visitor's live runs: when, what, how it came out; each can be opened again, and forgotten."""

from __future__ import annotations

from datetime import UTC, datetime

import pandas as pd
import streamlit as st
from streamlit.column_config import NumberColumn, TextColumn
from streamlit.elements.lib.column_types import ColumnConfig

from kthink_core.errors import in_words
from kthink_core.live.api import GenerateRequest
from kthink_core.live.remembered import Remembered
from kthink_core.store.files import Layout
from kthink_core.store.kept_memory import kept_as
from kthink_core.ui.live import history, kept_with, shown_run
from kthink_core.ui.live.run_state import RunState
from kthink_core.ui.parts import clicks
from kthink_core.ui.parts.writing import plain, visible
from kthink_core.ui.view.page import Page, go, link
from kthink_core.ui.view.permalink import View

_OPEN, _PROBLEM = "live_runs", "live_runs_problem"
_START = 100
"""Characters of a prompt."""
COLUMNS: dict[str, ColumnConfig] = {
    "when": TextColumn("When (UTC)", width=125),
    "prompt": TextColumn("Prompt", width=185),
    "outcome": TextColumn("How it came out", width=200),
    "tokens": NumberColumn("Tokens", format="%d", width=60),
    "settings": TextColumn("Settings", width=183),
}
"""Of the list: all in sight on a screen 1280 px wide."""


def draw(page: Page) -> None:
    """Nothing where nothing is remembered. Raises OSError."""
    shelf = history.shelf()
    if not shelf.remembers:
        return
    if shown_run.is_gone():
        _gone(page)
    with st.expander("Your runs", icon=":material/history:", key=_OPEN, on_change=lambda: None):
        if st.session_state.get(_OPEN):
            _list(page, shelf.of(history.owner(page.person)), shelf.days)


def _gone(page: Page) -> None:
    if problem := shown_run.unreadable():
        st.error(f"The run of this link cannot be read: {plain(problem)}", icon=":material/error:")
        return
    if page.view.live and (kept := _kept(page)) is not None:
        st.info("The run of this link was kept: it is remembered there.", icon=":material/bookmark:")
        link("inference", kept, f"Inference {kept.inference} of {plain(kept.experiment)}")
        return
    st.info(
        "The run of this link is not here any more: runs are remembered for "
        f"{_days(history.shelf().days)}, and can be deleted. {_filled(page.view)}",
        icon=":material/history:",
    )


def _filled(view: View) -> str:
    """What of a run its link still has."""
    if view.prompt:
        return f"Its prompt {'and settings are' if view.sent else 'is'} filled in: run it again."
    if view.sent:
        return "Its settings are filled in; its prompt is not in the link."
    return "Neither its prompt nor its settings are in the link."


def _kept(page: Page) -> View | None:
    """Where the run of the link was kept, which outlasts what is remembered."""
    for status in page.statuses:
        if status.experiment is not None and status.experiment.open_ended:
            number = kept_as(Layout(page.source.cache / status.name), page.view.live)
            if number is not None:
                return View(status.name, page.view.hookpoint, number)
    return None


def _list(page: Page, runs: list[Remembered], days: float) -> None:
    runs = [run for run in runs if page.person.sees(run.experiment)]
    st.caption(
        f"Remembered on this server for {_days(days)}, and listed in this browser only, by a cookie"
        f"{'' if page.person.way == 'open' else ', to you only'}. Who has the link of a run sees it, too."
    )
    if not runs:
        st.caption("None yet.")
        return
    rows = [_row(page, run) for run in runs]

    def open_run(row: int) -> None:
        go(shown_run.link_to(page, runs[row].run, runs[row].experiment))

    key = f"live runs {runs[0].run} {len(runs)}"
    clicks.table(pd.DataFrame(rows), COLUMNS, key, open_run, rows=8, described="Your live runs, the newest first")
    st.caption("A click opens a run, with its prompt, settings and watchlist as they were.")
    with st.container(horizontal=True):
        shown = shown_run.shown()
        if shown is not None and shown.id in {run.run for run in runs}:
            with st.popover("Delete the one shown", icon=":material/delete:", key="live_runs_one"):
                st.text("It is gone for whoever has its link, too. What was kept of it stays.")
                st.button("Delete it", key="live_runs_delete", on_click=_forget, args=(page, [shown.id]))
        with st.popover("Delete all", icon=":material/delete_sweep:", key="live_runs_every"):
            st.text("They are gone for whoever has their links, too. What was kept stays.")
            every = [run.run for run in runs]
            st.button(f"Delete all {len(runs)}", key="live_runs_delete_all", on_click=_forget, args=(page, every))
    if problem := st.session_state.pop(_PROBLEM, None):
        st.error(plain(problem), icon=":material/error:")


def _row(page: Page, told: Remembered) -> dict[str, object]:
    request = told.request
    settings = "encoded only"
    if isinstance(request, GenerateRequest):
        settings = f"{request.mode}, {request.temperature:g}, top-p {request.top_p:g}, seed {request.seed}"
        settings += ", a branch" if request.branch is not None else ""
    return {
        "when": datetime.fromtimestamp(told.began, UTC).strftime("%Y-%m-%d %H:%M"),
        "prompt": visible(told.text[:_START]) + ("…" if len(told.text) > _START else ""),
        "outcome": _outcome(page, told, history.going(told.run)),
        "tokens": told.tokens or None,
        "settings": settings,
    }


def _outcome(page: Page, told: Remembered, run: RunState | None) -> str:
    """How a run came out; `run`: as it is in this process, where it is."""
    kept = ""
    if told.kept is not None:
        deleted = ", which was deleted" if kept_with.is_deleted(page, told.kept) else ""
        kept = f", kept as inference {told.kept.inference} of {told.kept.experiment}{deleted}"
    if told.state == "going":
        return "goes on" if run is not None and run.going else "ended with the app" if run is None else "ended"
    if told.end is None:
        return "stopped" if told.state == "stopped" else f"failed: {told.trouble}"
    if told.end.finish_reason is None:
        return f"encoded{kept}"
    answer = f", answer {told.end.answer}" if told.end.answer is not None else ""
    verdicts: dict[bool | None, str] = {True: "right", False: "wrong", None: "ended"}
    verdict = "cut off" if told.end.finish_reason == "length" else verdicts[told.correct]
    return f"{verdict}{answer}{kept}"


def _forget(page: Page, runs: list[str]) -> None:
    owner = history.owner(page.person)
    try:
        for run in runs:
            history.forget(owner, run)
    except OSError as error:
        st.session_state[_PROBLEM] = in_words(error)
    shown = shown_run.shown()
    if shown is not None and shown.id in runs:
        shown_run.left(page)


def _days(days: float) -> str:
    return f"{days:g} day{'' if days == 1 else 's'}" if days >= 1 else f"{days * 24:.2g} hours"
