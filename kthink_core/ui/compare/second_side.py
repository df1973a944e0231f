"""The second of two inferences or spans: of which experiment, and which one."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import streamlit as st

from kthink_core import queries
from kthink_core.errors import KthinkError
from kthink_core.ui.parts import header
from kthink_core.ui.parts.writing import plain
from kthink_core.ui.view import choice_link
from kthink_core.ui.view.page import Page, beside, go
from kthink_core.ui.view.pair_link import Pair
from kthink_core.ui.view.permalink import View


def choose(page: Page) -> Page | None:
    """The choice of both; what is chosen, as a page at that inference. None, which the page says, where the experiment
    that the link names has no inference yet. Raises KthinkError."""
    view, here = page.view, page.experiment.name
    there = page if view.other is None else beside(page, view.other)
    problems: list[str] = []
    number = _number(view, there, problems)
    for message in problems:
        st.warning(plain(message), icon=":material/link_off:")
    st.session_state["choose_second_experiment"] = there.experiment.name
    st.session_state["choose_against"] = number

    def other_chosen() -> None:
        name = st.session_state["choose_second_experiment"]
        there = None if name == here else name
        go(replace(view, other=there, against=None, pair=Pair(_what(view), view.pair.span)))

    def inference_chosen() -> None:
        to = st.session_state["choose_against"]
        if view.other is None:
            go(replace(view, against=to))
        else:
            go(replace(view, pair=Pair(_what(view), view.pair.span, to)))

    names = [status.name for status in page.statuses if status.experiment is not None]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        if there.inferences:
            first, last = there.inferences[0], there.inferences[-1]
            st.number_input(
                f"Second inference ({first} to {last})", first, last, step=1, key="choose_against",
                on_change=inference_chosen, width=300,
            )  # fmt: skip
        if len(names) > 1:
            st.selectbox(
                "Of experiment", names, key="choose_second_experiment", on_change=other_chosen, width=300
            )  # fmt: skip
    if number is None:
        header.nothing(f"No inference of {plain(there.experiment.name)} is committed yet.")
        return None
    return replace(there, view=replace(there.view, inference=number))


def _number(view: View, there: Page, problems: list[str]) -> int | None:
    """Of the second inference: the link's, else that of the first one; None where there is none yet. Adds a line where
    the link's does not exist."""
    wanted = view.against if view.other is None else view.pair.there
    return choice_link.second("second inference", wanted, view.inference, there.inferences, problems)


def _what(view: View) -> str:
    return view.pair.what or "inferences"


def two_inferences(view: View) -> View:
    """The view in which its inference is compared with one of its other experiment."""
    return replace(view, against=None, pair=Pair("inferences", None, view.pair.there))


def two_spans(page: Page, other: str | None = None) -> View:
    """The view in which two spans of its inference are compared: the marked one, else the first half of what was
    written, and what follows it, else what goes before. With the view's other experiment, the marked one and the first
    half of what was written there."""
    view = page.view
    first, last, end = _first_half(page, view.inference)
    first, last = view.span or (first, last)
    second = (last + 1, end - 1) if last + 1 < end else (0, max(first - 1, 0))
    number: int | None = None
    if other is not None:
        with suppress(KthinkError, OSError):  # what is then shown says what is wrong with it
            there = beside(page, other)
            number = _number(view, there, [])
            second = second if number is None else _first_half(there, number)[:2]
    return replace(view, other=other, against=None, span=(first, last), pair=Pair("spans", second, number))


def _first_half(page: Page, inference: int) -> tuple[int, int, int]:
    """First and last position of the first half of what was written, and how many positions there are."""
    stored = page.ask(queries.inferences).set_index("inference").loc[inference]
    begin = int(stored["prompt_tokens"])
    end = begin + int(stored["generated_tokens"])
    return begin, max(begin + (end - begin) // 2 - 1, begin), end
