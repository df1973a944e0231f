"""Which experiments there are: the choice among them, those that cannot be read, and what to do where there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import streamlit as st

from kthink_core.access.person import Person
from kthink_core.config import Experiment
from kthink_core.errors import short
from kthink_core.store.deletion import find_deletion
from kthink_core.store.files import Layout
from kthink_core.store.reader import ExperimentStatus, list_experiments
from kthink_core.ui.parts.writing import plain


def of(person: Person, cache: Path) -> list[ExperimentStatus]:
    """The experiments that there are for somebody: all lists, links and comparisons of pages come from here. Raises
    OSError."""
    return [status for status in list_experiments(cache) if person.sees(status.name)]


def choose(names: Sequence[str], chosen: str) -> None:
    """A widget that makes the link name another experiment, at its start: it may lack the rest of the view."""
    st.session_state["choose_experiment"] = chosen
    st.selectbox("Experiment", names, key="choose_experiment", on_change=_go)


def unreadable(statuses: Sequence[ExperimentStatus]) -> None:
    """A fold with one line for each experiment that has something wrong with it; nothing where all are sound."""
    problems = [f"{status.name}: {status.problem}" for status in statuses if status.problem]
    if not problems:
        return
    number = "1 experiment" if len(problems) == 1 else f"{len(problems)} experiments"
    with st.expander(f"{number} cannot be read", icon=":material/warning:"):
        for problem in problems:
            st.caption(plain(problem))


def deleted(layout: Layout, parameters: Mapping[str, str]) -> list[str]:
    """A line where the link names a kept run that was deleted."""
    named = parameters.get("inference", "")
    found = find_deletion(layout, int(named)) if named.isascii() and named.isdecimal() and len(named) < 10 else None
    if found is None:
        return []
    who = f" by {short(found.by)}" if found.by else ""
    return [f"Inference {int(named)} of {layout.name} was kept, and deleted on {found.deleted[:10]}{who}."]


def lacking(experiment: Experiment) -> None:
    """What an experiment of received files has not, because their layout has no place for it; nothing for others."""
    if experiment.is_bare:
        st.info(
            "Imported from files of Goodfire's layout, which have tokens and activations only. "
            "Not known are the model, which tokens were prompt, thinking and answer (all count as generated), "
            "log-probabilities, which answers are right, and the SAEs' errors, directions and number of features.",
            icon=":material/move_to_inbox:",
        )


def missing(person: Person, cache: Path, statuses: Sequence[ExperimentStatus]) -> None:
    """What to do where no experiment can be read."""
    st.title("Nothing to explore yet")
    unreadable(statuses)
    if not person.may("owner"):
        st.text("There is no experiment that can be shown to you. It appears here by itself once there is one.")
        _look_again(person, cache)
        return
    if not statuses:
        st.text(f"There is no experiment in the folder {cache}.")
    st.markdown(
        "`make run` computes the bundled demo, which takes some ten seconds on two cores: it appears here by itself. "
        "Where nothing is being computed, do it beside this app:"
    )
    st.code("python -m kthink_core precompute --preset demo", language=None)
    _look_again(person, cache)


@st.fragment(run_every=1.0)
def _look_again(person: Person, cache: Path) -> None:
    """Runs the page again once there is an experiment."""
    with suppress(OSError):  # the page has said it
        if any(status.experiment is not None for status in of(person, cache)):
            st.rerun()


def _go() -> None:
    st.query_params.from_dict({"experiment": st.session_state["choose_experiment"]})
