"""Who was invited: listed, ended, and one more invited, by an owner."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pandas as pd
import streamlit as st

from kthink_core.access.invitation_link import invitation_address
from kthink_core.access.invitations import LONGEST_NAME, MOST_DAYS, Invitation, Invitations
from kthink_core.access.person import ROLES, Person, Role
from kthink_core.access.secret_key import secret_key
from kthink_core.access.signatures import Signatures
from kthink_core.errors import KthinkError, NotAllowed
from kthink_core.settings import AccessSettings, Settings, from_environment
from kthink_core.ui import sign_in
from kthink_core.ui.parts import header
from kthink_core.ui.parts.writing import plain
from kthink_core.ui.view.page import Page

MOST_SHOWN = 200
"""Of those that count, and of those that have ended: the newest."""
_MAY: dict[Role, str] = {
    "viewer": "browse and download",
    "annotator": "also write labels, notes and lists, signed with the own name",
    "runner": "also have the worker compute (live prompts, steering, tests) and keep runs",
    "owner": "also see and cancel the jobs of others, delete what they kept, invite, and end invitations",
}
_LINK, _PROBLEM = "link of an invitation", "problem of an invitation"


def draw(page: Page) -> None:
    """Raises NotAllowed for whoever may not invite, BadFile, OSError."""
    _require(page.person)
    if "invitations" not in sign_in.gate().ways:
        header.nothing("Invitations count where the app is started with KTHINK_ACCESS=invitations.")
        return
    invitations, now = Invitations(page.source.cache), time.time()
    _form(page, invitations)
    everyone = sorted(invitations.all(), key=lambda each: each.issued, reverse=True)
    valid = [each for each in everyone if each.state(now) == "valid"]
    st.header("Who comes in")
    if not valid:
        header.nothing("Nobody by an invitation, as yet.")
    for each in valid[:MOST_SHOWN]:
        with st.container(horizontal=True, vertical_alignment="center"):
            only = f", {each.experiment} only" if each.experiment else ""
            st.text(f"{each.name}: {each.role}{only}, until {_time(each.expires)}", width="stretch")
            with st.popover("Revoke", key=f"ask {each.id}"):
                st.text(f"{each.name} comes in no more, and a visit under way ends. It cannot be taken back.")
                revoke = (page.person, invitations, each)
                st.button("Revoke it for good", key=f"revoke {each.id}", on_click=_revoke, args=revoke)
    ended = [each for each in everyone if each.state(now) != "valid"][:MOST_SHOWN]
    if ended:
        st.header("Ended")
        rows = [(each.name, each.role, each.experiment or "", _time(each.expires), each.state(now)) for each in ended]
        st.dataframe(pd.DataFrame(rows, columns=["Name", "Role", "Only", "Until", "State"]), hide_index=True)


def _require(person: Person) -> None:
    """Whoever sees a part only would invite others to all."""
    person.require("owner", "inviting people")
    if person.experiments is not None:
        raise NotAllowed("inviting people", f"{person.role} of some experiments", "owner of all")


def _form(page: Page, invitations: Invitations) -> None:
    names = [status.name for status in page.statuses if status.experiment is not None]
    with st.form("invite", clear_on_submit=True):
        st.text_input("Whom it is for", max_chars=LONGEST_NAME, key="invited_name")
        with st.container(horizontal=True):
            st.selectbox("Role", ROLES, key="invited_role")
            st.number_input("Days", 1, MOST_DAYS, 14, key="invited_days")
            st.selectbox("Experiment", [None, *names], format_func=lambda name: name or "all", key="invited_only")
        st.caption("\n".join(f"- **{role}** may {_MAY[role]}" for role in ROLES))
        st.text_input("What it opens", key="invited_view", placeholder="A link that Copy link gave; empty: the start")
        st.form_submit_button("Invite", on_click=_invite, args=(page.person, invitations))
    if problem := st.session_state.pop(_PROBLEM, None):
        st.error(plain(problem), icon=":material/error:")
    if link := st.session_state.pop(_LINK, None):
        st.text("Whoever has this link comes in by it. It is shown once:")
        st.code(link, language=None, wrap_lines=True)


def _invite(person: Person, invitations: Invitations) -> None:
    state, access, settings = st.session_state, from_environment(AccessSettings), from_environment(Settings)
    try:
        _require(person)
        app = access.app_url or (st.context.url or "").partition("?")[0].rpartition("/")[0]
        only = state["invited_only"]
        address = invitation_address(app, state["invited_view"], only, settings.base_path, elsewhere=not app)
        made = invitations.issue(state["invited_name"], state["invited_role"], float(state["invited_days"]), only)
        link = Signatures(secret_key(settings.cache, access.secret_file)).link(made.id)
    except (KthinkError, OSError) as error:
        state[_PROBLEM] = str(error)
        return
    state[_LINK] = f"{address}#{link}"
    _told("invitation", person, made)


def _revoke(person: Person, invitations: Invitations, each: Invitation) -> None:
    try:
        _require(person)
        invitations.revoke(each.id)
    except (KthinkError, OSError) as error:
        st.session_state[_PROBLEM] = str(error)
        return
    _told("revocation", person, each)


def _told(event: str, person: Person, about: Invitation) -> None:
    audit = sign_in.gate().audit
    if audit is not None:
        audit.write(event, person, invitation=about.id, invited=about.name, expires=about.expires)


def _time(when: float) -> str:
    return datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%d %H:%M UTC")
