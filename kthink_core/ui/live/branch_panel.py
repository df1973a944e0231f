"""What a branch is begun with: a stored trace that the link names, or the run that was just made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import streamlit as st
from pydantic import ValidationError

from kthink_core import queries, signs
from kthink_core.live.api import GenerateRequest
from kthink_core.live.branch import Branch
from kthink_core.live.study_requests import RunTrace, StoredTrace
from kthink_core.queries.trace import StoredTrace as Stored
from kthink_core.queries.trace import Trace
from kthink_core.ui.live import prompt_check
from kthink_core.ui.live.run_state import RunState
from kthink_core.ui.parts import numerals
from kthink_core.ui.parts.writing import plain, visible
from kthink_core.ui.steer import receipt_table
from kthink_core.ui.view.page import Page, go

_RUN, _PROBLEM = "live_branch", "live_branch_problem"
_DRAWN = -1
"""In the place of a token: it is drawn by the seed."""
_BEFORE = 40
"""Tokens before the branch that are shown."""


class _Start(NamedTuple):
    """Where a branch begins."""

    asked: StoredTrace | RunTrace
    trace: Trace
    called: str
    branch: tuple[int, ...]
    steered: pd.DataFrame
    """What the trace was steered with, as `queries.interventions` tells it; empty: it was not."""

    @property
    def position(self) -> int:
        return self.branch[0]

    @property
    def token_id(self) -> int | None:
        return self.branch[1] if len(self.branch) > 1 else None


def take(run: RunState, branch: tuple[int, ...]) -> None:
    """Begin a branch of a run, at a position, with a token if one is given; the next run of the page shows it."""
    st.session_state[_RUN] = (run, branch)


def draw(
    page: Page, run: RunState | None, options: dict[str, Any], start: Callable[[GenerateRequest], None] | None
) -> None:
    """The form, where a branch is wanted. `options` are those of a generation; `start`: None while nothing can be."""
    begins = _start(page, run)
    if begins is None:
        return
    tokens = begins.trace.tokens()
    if not 0 < begins.position <= len(tokens):
        return
    with st.container(border=True):
        st.markdown(f"**Branch from {plain(begins.called)}, at position {begins.position}**")
        before = tokens["text"].iloc[max(begins.position - _BEFORE, 0) : begins.position].tolist()
        st.text(("… " if begins.position > _BEFORE else "") + "".join(signs.whole(before)))
        if not begins.steered.empty:
            st.caption(f"Steered as the trace was: {plain(receipt_table.in_words(page, begins.steered))}")
        token = _token(begins)
        with st.container(horizontal=True):
            wanted = partial(_run, page, begins, _is_thought(tokens), options, token, start)
            st.button(
                "Run the branch", type="primary", icon=":material/call_split:", disabled=start is None,
                on_click=wanted, key="branch_run",
            )  # fmt: skip
            st.button("Close", on_click=_close, args=(page,), key="branch_close")
        if problem := st.session_state.pop(_PROBLEM, None):
            st.error(plain(problem), icon=":material/error:")


def _start(page: Page, run: RunState | None) -> _Start | None:
    of, branch = st.session_state.get(_RUN, (None, ()))
    if run is not None and of is run and run.job is not None:
        steered = pd.DataFrame()
        if run.end is not None and run.end.interventions:
            steered = receipt_table.of_run(run.end.interventions, run.end.receipts)
        return _Start(RunTrace(job=run.job), run.trace, "this run", branch, steered)
    view = page.view
    if not view.branch or view.inference not in page.inferences:
        return None
    asked = StoredTrace(experiment=view.experiment, inference=view.inference)
    called = f"inference {view.inference} of {view.experiment}"
    steered = page.ask(queries.interventions, view.inference)
    return _Start(asked, Stored(page.ask, view.inference), called, view.branch, steered)


def _token(begins: _Start) -> int | str:
    """The id of what is put there, `_DRAWN`, or a text that was typed."""
    table = begins.trace.alternatives()
    table = table.loc[table["position"] == begins.position]
    names = {
        int(token_id): f"“{visible(text)}” · {numerals.number(100 * float(np.exp(logprob)), 1)} %"
        for token_id, text, logprob in zip(table["token_id"], table["text"], table["logprob"], strict=True)
    }
    if begins.token_id is not None:
        names.setdefault(begins.token_id, f"token {begins.token_id}")
    names[_DRAWN] = "whatever the seed draws"
    options: list[int | str] = [*names]
    first = begins.token_id if begins.token_id is not None else _DRAWN
    chosen: int | str = st.selectbox(
        "Go on with", options, index=options.index(first), accept_new_options=True, width=360,
        format_func=lambda option: names[option] if option in names else str(option),
        key=f"branch_token {begins.asked} {begins.position} {begins.token_id}",
        help="One of the likeliest tokens there, or any text: it is put there, and the model goes on. The tokens "
        "before it are the trace's own. Temperature, top-p, seed and length are those beside.",
    )  # fmt: skip
    return chosen


def _is_thought(tokens: pd.DataFrame) -> bool:
    return bool((tokens["segment"] == "think").any())


def _run(
    page: Page,
    begins: _Start,
    is_thought: bool,
    options: dict[str, Any],
    token: int | str,
    start: Callable[[GenerateRequest], None] | None,
) -> None:
    typed = {"text": token} if isinstance(token, str) else {"token_id": token} if token != _DRAWN else {}
    try:
        branch = Branch.model_validate({"trace": begins.asked, "position": begins.position} | typed)
        given = options | {"mode": "think" if is_thought else "bypass", "branch": branch}
        request = GenerateRequest.model_validate({"prompt": f"branch of {begins.called}"} | given)
    except ValidationError as error:
        st.session_state[_PROBLEM] = prompt_check.told(error)
        return
    if start is not None:
        _close(page)
        start(request)


def _close(page: Page) -> None:
    st.session_state.pop(_RUN, None)
    go(replace(page.view, branch=()))
