"""The app's way to the worker, and what a page says where there is none."""

from __future__ import annotations

from typing import NamedTuple

import streamlit as st
from streamlit.runtime import exists, get_instance

from kthink_core.access.person import Person
from kthink_core.config import Experiment
from kthink_core.errors import KthinkError
from kthink_core.identity import maker
from kthink_core.live.api import Health
from kthink_core.live.client import WorkerClient
from kthink_core.settings import WorkerSettings, from_environment
from kthink_core.ui.parts.writing import plain
from kthink_core.ui.view import visitor as visitors
from kthink_core.ui.view.page import Page, link
from kthink_core.ui.view.permalink import View

_LAST = "worker_health"


class Worker(NamedTuple):
    """A worker as it last answered."""

    client: WorkerClient
    health: Health
    answers: bool
    """Whether it still does."""


def matches(page: Page, worker: Worker) -> bool:
    """Whether the features of the page's experiment are the worker's; else the page says so, and where they are."""
    health, view = worker.health, page.view
    if _made(health, page.experiment, view.hookpoint):
        return True
    with st.container(border=True):
        st.markdown(
            f"**The worker has another model or other SAEs than experiment {plain(page.experiment.name)}:** "
            f"{plain(health.model)} with {plain(health.sae)} ({plain(health.site)})."
        )
        stored = [status.experiment for status in page.statuses if status.experiment is not None]
        last = [(experiment, next(reversed(experiment.saes))) for experiment in stored]
        fitting = [
            View(experiment.name, hookpoint) for experiment, hookpoint in last if _made(health, experiment, hookpoint)
        ]
        for there in fitting:
            link("live", there, f"Go on with experiment {plain(there.experiment)}")
        if not fitting:
            st.caption("None of its experiments is stored here.")
    return False


def _made(health: Health, experiment: Experiment, hookpoint: str) -> bool:
    made = maker(experiment, hookpoint)
    return made is not None and made == health.maker(hookpoint)


def visitor() -> str:
    """A name for this visit: the worker counts jobs by it."""
    return visitors.session()


def client(person: Person) -> WorkerClient:
    """This visit's way to the worker, whether there is one or not. Raises BadValue for a setting that makes no
    sense."""
    return _client(visitor(), person)


def still_here(session: str) -> bool:
    """Whether a visit goes on: its tab is open. From any thread."""
    return exists() and get_instance().is_active_session(session)


def reach() -> Worker | None:
    """The worker. Where it is not ready the page says so and looks again by itself; None where it never was, and for
    somebody whose role does not include it."""
    person = visitors.person()
    if not person.may("runner"):
        st.info(f"Live prompts and tests need the role runner; yours is {person.role}.", icon=":material/lock:")
        return None
    client = _client(visitor(), person)
    last: Health | None = st.session_state.get(_LAST)
    try:
        health = client.health()
    except KthinkError as error:
        _missing(str(error))
        return Worker(client, last, answers=False) if last else None
    if health.status == "ready":
        st.session_state[_LAST] = health
        return Worker(client, health, answers=True)
    with st.container(border=True):
        st.markdown(f"**The worker is loading** {plain(health.model)} …")
        st.caption("This page goes on by itself.")
    _look_again()
    return Worker(client, last, answers=False) if last else None


def _missing(reason: str) -> None:
    with st.container(border=True):
        st.markdown("**No worker answers.** What is stored can be browsed; live prompts and tests need one:")
        st.code(_command(from_environment(WorkerSettings)), language=None)
        st.caption(plain(reason))
        st.caption("This page looks again by itself.")
    _look_again()


def _command(settings: WorkerSettings) -> str:
    """What starts a worker where this app looks for one, from whichever terminal."""
    usual = WorkerSettings.model_fields["port"].default
    port = "" if settings.url is not None or settings.port == usual else f" --port {settings.port}"
    return f"python -m kthink_core worker{port}"


@st.fragment(run_every=2.0)
def _look_again() -> None:
    """Runs the page again once a worker is ready."""
    try:
        ready = _client(visitor(), visitors.person()).health().status == "ready"
    except KthinkError:
        return
    if ready:
        st.rerun()


def lasting_client(visitor: str, person: Person) -> WorkerClient:
    """One that goes on where the visit has ended. Raises BadValue for a setting that makes no sense."""
    return WorkerClient(from_environment(WorkerSettings), visitor, person)


@st.cache_resource(scope="session", show_spinner=False, on_release=WorkerClient.close)
def _client(visitor: str, person: Person) -> WorkerClient:
    """This visit's own; it closes with the visit. Raises as `lasting_client`."""
    return lasting_client(visitor, person)
