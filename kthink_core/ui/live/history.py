"""What is remembered of this visitor's live runs, and the runs that go on at this moment, whoever watches them."""

from __future__ import annotations

import logging
from functools import lru_cache
from pathlib import Path
from weakref import WeakValueDictionary

import streamlit as st

from kthink_core.access.person import Person
from kthink_core.access.visitor_cookie import COOKIE, is_visitor, new_visitor, owner_of
from kthink_core.errors import KthinkError, in_words
from kthink_core.live.api import EncodeRequest
from kthink_core.live.remembered import Remembered, State
from kthink_core.live.run_shelf import RunShelf
from kthink_core.prompts import Grade, is_correct
from kthink_core.settings import HistorySettings, Settings, from_environment
from kthink_core.ui.live.live_run import LiveRun
from kthink_core.ui.live.run_state import RunName, RunState

LOST = "The app was started anew while this run went on: what had come is gone. Run it again."
_VISITOR = "visitor without a cookie"
log = logging.getLogger("kthink.runs")


_going: WeakValueDictionary[str, LiveRun] = WeakValueDictionary()
"""Runs of this process, by their id, as long as they go on or a visit has them."""


def shelf() -> RunShelf:
    """Where runs are remembered. Raises BadValue for a setting that makes no sense."""
    settings = from_environment(HistorySettings)
    return _shelf(from_environment(Settings).cache, settings)  # pyright: ignore[reportArgumentType]  # frozen


@lru_cache(maxsize=8)
def _shelf(cache: Path, settings: HistorySettings) -> RunShelf:
    return RunShelf(cache, settings)


def owner(person: Person) -> str:
    """Whose runs this visit's are: by the browser's cookie and the person. A browser that takes no cookie has a history
    as long as its page is open."""
    given = st.context.cookies.get(COOKIE)
    if not is_visitor(given):
        given = st.session_state.setdefault(_VISITOR, new_visitor())
    return owner_of(str(given), person)


def going(run: str) -> LiveRun | None:
    """A run of this process, whether it still goes on or has just ended."""
    return _going.get(run)


def is_own(person: Person, run: RunState) -> bool:
    """Whether a run is this visitor's; one that is not remembered is the visit's own."""
    return not run.id or run.name.owner == owner(person)


def forget(owner: str, id: str) -> None:
    """A run is remembered no more, and ends if it goes on. Raises OSError."""
    shelf().forget(owner, id)
    if (run := _going.pop(id, None)) is not None:
        run.stop()


class Memory:
    """Remembers one run: as it begins, and how it came out. Its errors are told in the log and by the run; they end
    nothing."""

    def __init__(self, shelf: RunShelf, owner: str, first: Remembered, grade: Grade) -> None:
        """`first`: as it begins. `grade`: how an answer is graded where the right one is known."""
        self._shelf, self._owner, self._first = shelf, owner, first
        self._grade: Grade = grade
        self._began = False

    def hear(self, run: LiveRun) -> None:
        """To be called once the worker has taken the run, and when it has ended."""
        try:
            if not self._began and not run.refused:
                self._began = True
                self._shelf.begin(self._owner, self._first.model_copy(update={"job": run.job}))
            if not run.going and self._began:
                self._shelf.end(self._owner, self._ended(run), run.trace)
        except (KthinkError, OSError) as error:
            run.forgotten = f"This run is not remembered: {in_words(error)}"
            log.error("a live run is not remembered: %s", in_words(error))

    def _ended(self, run: LiveRun) -> Remembered:
        first, answer = self._first, None if run.end is None else run.end.answer
        state: State = "done" if run.end is not None else "failed" if run.trouble else "stopped"
        only_encoded = isinstance(run.request, EncodeRequest)
        return first.model_copy(
            update={
                "state": state,
                "job": run.job,
                "tokens": len(run.trace) if only_encoded else run.written,
                "rate": run.rate,
                "end": run.end,
                "trouble": run.trouble,
                "correct": is_correct(answer, first.reference, self._grade) if run.end and not only_encoded else None,
            }
        )


def begun(run: LiveRun) -> None:
    """From now on other pages of this process find it."""
    _going[run.id] = run


def remembered(id: str) -> RunState | None:
    """A run that has ended, as far as it is remembered. One that was under way when the app ended has what it began
    with. Raises OSError."""
    found = shelf().find(id)
    trace = None if found is None else shelf().trace(found[0], id)
    if found is None or trace is None:
        return None
    owner, told = found
    run = RunState(told.request, told.watched, RunName(id, owner, told.experiment, told.mark))
    run.trace = trace
    run.job, run.end, run.trouble, run.kept, run.past_rate = told.job, told.end, told.trouble, told.kept, told.rate
    run.began_to_come.set()
    if told.state == "going":
        run.trouble = LOST
    return run
