"""The widgets that change the view. The link is the truth: each run sets the widgets from it, each change writes it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import streamlit as st

from kthink_core.store.scopes import SCOPES
from kthink_core.ui.page import Page, go
from kthink_core.ui.permalink import View

SCOPE_HELP = (
    "Which positions count. **generated**: all that the model wrote; **think**: up to `</think>`; "
    "**answer**: after it; **prompt**: what it was given; **all**: everything."
)


def inference(page: Page) -> None:
    first, last = page.inferences[0], page.inferences[-1]
    _set("inference", page.view.inference)
    st.number_input(f"Inference ({first} to {last})", first, last, step=1, **_bound(page.view, "inference"))


def hookpoint(page: Page) -> None:
    _set("hookpoint", page.view.hookpoint)
    # A feature's number means something at its own hookpoint only.
    bound = _bound(replace(page.view, feature=None), "hookpoint")
    st.selectbox("Hookpoint", list(page.experiment.saes), help="The module whose output was encoded.", **bound)


def scope(page: Page) -> None:
    _set("scope", page.view.scope)
    st.selectbox("Scope", list(SCOPES), help=SCOPE_HELP, **_bound(page.view, "scope"))


def feature(page: Page, default: int) -> int:
    """The feature to show: the link's, else `default`."""
    chosen = page.view.feature if page.view.feature is not None else default
    last = page.experiment.saes[page.view.hookpoint].num_latents - 1
    _set("feature", chosen)
    st.number_input(f"Feature (0 to {last})", 0, last, step=1, **_bound(page.view, "feature"))
    return chosen


def previous_and_next(page: Page) -> None:
    """Two buttons, and the keys K and J, that go through the inferences."""
    at = page.inferences.index(page.view.inference)
    before, after = page.inferences[:at][-1:], page.inferences[at + 1 : at + 2]
    with st.container(horizontal=True, gap="small", width="content"):
        _step("Previous", ":material/chevron_left:", "k", page.view, before)
        _step("Next", ":material/chevron_right:", "j", page.view, after)


def _step(label: str, icon: str, key: str, view: View, to: tuple[int, ...]) -> None:
    """A button that leads to the one inference in `to`, if there is one."""
    target = replace(view, inference=to[0]) if to else view
    st.button(label, icon=icon, shortcut=key, key=f"step_{label}", on_click=go, args=(target,), disabled=not to)


def _set(field: str, value: str | int) -> None:
    st.session_state[f"choose_{field}"] = value


def _bound(view: View, field: str) -> dict[str, Any]:
    return {"key": f"choose_{field}", "on_change": _go_field, "args": (view, field)}


def _go_field(view: View, field: str) -> None:
    go(replace(view, **{field: st.session_state[f"choose_{field}"]}))
