"""Who looks at a page, asked anew in each run: what the visit began with may be over."""

from __future__ import annotations

from datetime import UTC, datetime

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from kthink_core.access.admission import SIGN_OUT
from kthink_core.access.gate import Asking, Refused
from kthink_core.access.person import Person
from kthink_core.settings import AccessSettings, from_environment
from kthink_core.ui import sign_in
from kthink_core.ui.parts.writing import plain

_PERSON = "person of this visit"


def person() -> Person:
    """Who looks at this page. Ends the run where nobody may, any more. Raises what `sign_in.gate` raises.

    What the last person of a visit has left in it is dropped, should another one go on with it.
    """
    gate = sign_in.gate()
    context = st.context
    # Of this machine itself Streamlit says no address.
    found = gate.person(Asking(context.cookies, context.headers.get_all, context.ip_address or "127.0.0.1"))
    if isinstance(found, Refused):
        st.session_state.clear()
        st.error(f"{found.reason[:1].upper()}{found.reason[1:]}.", icon=":material/lock:")
        st.stop()
    before = st.session_state.get(_PERSON)
    if before is not None and before != found.id:
        st.session_state.clear()
    st.session_state[_PERSON] = found.id
    return found


def session() -> str:
    """A name for this visit."""
    context = get_script_run_ctx()
    return context.session_id if context else ""


def noted(person: Person, what: str, experiment: str) -> None:
    """Tells the audit log, where people are known, that somebody wrote something; not what."""
    _told_to_log("note", person, what, experiment)


def taken(person: Person, what: str, experiment: str) -> None:
    """Likewise that somebody took a file with them: what it is of."""
    _told_to_log("download", person, what, experiment)


def _told_to_log(event: str, person: Person, what: str, experiment: str) -> None:
    audit = sign_in.gate().audit
    if audit is not None:
        audit.write(event, person, what=what, experiment=experiment)


def told(person: Person) -> None:
    """Says at the side who is signed in, and on every page that anybody may come in where that is so."""
    if person.way == "open":
        if from_environment(AccessSettings).open:
            st.warning(
                "Open: whoever reaches this address may read, write and run everything here.",
                icon=":material/lock_open:",
            )
        return
    with st.sidebar:
        until = "" if person.expires is None else f", until {_day(person.expires)}"
        st.caption(f"{plain(person.name)}: {person.role}{until}")
        if person.may("owner") and person.experiments is None:
            st.page_link("pages/access.py", label="Invitations", icon=":material/key:")
        if person.way == "invitation":
            st.html(f'<a href=".{SIGN_OUT}" target="_self" style="color: inherit; font-size: 0.875rem">Sign out</a>')
        elif person.way == "oidc":
            st.button("Sign out", type="tertiary", icon=":material/logout:", key="sign_out", on_click=st.logout)


def _day(when: float) -> str:
    return datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%d %H:%M UTC")
