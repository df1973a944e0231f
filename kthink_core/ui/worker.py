"""The app's way to the worker, and what a page says where there is none."""

from __future__ import annotations

from typing import NamedTuple

import streamlit as st
from streamlit.runtime import exists, get_instance
from streamlit.runtime.scriptrunner import get_script_run_ctx

from kthink_core.client import WorkerClient
from kthink_core.config import WorkerSettings
from kthink_core.errors import KthinkError
from kthink_core.jobs import Health
from kthink_core.ui.text import plain


class Worker(NamedTuple):
    """A worker that answers."""

    settings: WorkerSettings
    client: WorkerClient
    health: Health


def visitor() -> str:
    """A name for this visit: the worker counts jobs by it."""
    context = get_script_run_ctx()
    return context.session_id if context else ""


def still_here(session: str) -> bool:
    """Whether a visit goes on: its tab is open. From any thread."""
    return exists() and get_instance().is_active_session(session)


def reach() -> Worker | None:
    """The worker, once it is ready; else the page says what is missing, and looks again by itself."""
    settings = WorkerSettings()
    client = _client(visitor())
    try:
        health = client.health()
    except KthinkError as error:
        _missing(str(error))
        return None
    if health.status != "ready":
        with st.container(border=True):
            st.markdown(f"**The worker is loading** {plain(health.model)} …")
            st.caption("This page goes on by itself.")
        _look_again()
        return None
    return Worker(settings, client, health)


def _missing(reason: str) -> None:
    with st.container(border=True):
        st.markdown("**No worker answers.** What is stored can be browsed; live prompts need one:")
        st.code("python -m kthink_core worker", language="bash")
        st.caption(plain(reason))
        st.caption("This page looks again by itself.")
    _look_again()


@st.fragment(run_every=2.0)
def _look_again() -> None:
    """Runs the page again once a worker is ready."""
    try:
        ready = _client(visitor()).health().status == "ready"
    except KthinkError:
        return
    if ready:
        st.rerun()


@st.cache_resource(max_entries=200, show_spinner=False, on_release=WorkerClient.close)
def _client(session: str) -> WorkerClient:
    return WorkerClient(WorkerSettings(), session)
