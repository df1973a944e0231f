"""The tab for sweeps: what is asked, how far it is, and which of the stored ones is shown."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import pandas as pd
import streamlit as st
from pydantic import ValidationError

from kthink_core import queries
from kthink_core.access.person import Person
from kthink_core.config import source_told
from kthink_core.documents import told
from kthink_core.errors import BadValue, KthinkError, in_words, short
from kthink_core.evidence import sweep_results
from kthink_core.evidence.steer_table import steer_table
from kthink_core.evidence.sweep_figures import figures
from kthink_core.evidence.sweep_question import KIND
from kthink_core.live.study_requests import SweepRequest
from kthink_core.records import ACTIONS
from kthink_core.store.studies import studies_state
from kthink_core.store.sweeps import MOST_RUNS, Sweep, runs_of
from kthink_core.ui.live import job_button
from kthink_core.ui.parts import header, injection_badge, terms
from kthink_core.ui.parts.writing import plain
from kthink_core.ui.steer import sweep_charts, sweep_tables
from kthink_core.ui.view import cache, choices, listed
from kthink_core.ui.view.page import Page, go

_STRENGTHS = "0, 0.5, 1, 2, 4"
_OFFERED = 20
"""Features that can be chosen without typing."""
_OPENED = "sweep opened"


def draw(page: Page) -> None:
    """The tab of the page Steer."""
    st.caption(
        "The same problems at the same seeds, once as they are and once at every strength: what becomes of answers, "
        "length and text?",
        help=terms.help("sweep_baseline"),
    )
    if page.experiment.open_ended:
        header.nothing("This experiment holds what was typed, not problems: choose another one to sweep.")
        return
    if not page.inferences:
        header.nothing("No inference of this experiment is there yet to take the features' maxima from.")
        return
    request = _asked(page)
    if request is not None:
        otherwise = ", or sweep on the command line with `steer-eval`"
        ended = job_button.draw(
            page, KIND, request, "Sweep", "runs done", otherwise=otherwise, icon=":material/stacked_line_chart:"
        )
        if ended is not None and ended.id and st.session_state.get(_OPENED) != ended.id:
            st.session_state[_OPENED] = ended.id  # once: then whoever looks may choose another
            go(replace(page.view, sweep=ended.id))
            st.rerun()
    _stored(page)


def _asked(page: Page) -> SweepRequest | None:
    """What the form says; None, with the reason shown, where that is no sweep."""
    view = page.view
    chosen = (view.feature if view.feature is not None else listed.first(page), *view.also)
    offered = page.ask(queries.feature_counts, view.hookpoint, top=_OFFERED)["feature"].tolist()
    choices.features(page, chosen, offered, title="Features to sweep")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        action = st.segmented_control("Do", ACTIONS, default=ACTIONS[0], required=True, help=terms.help("strength"))
        strengths = ""
        if action != "ablate":
            help = "Numbers with commas between them, in units of the feature's maximum in the experiment."
            strengths = st.text_input("Strengths", _STRENGTHS, max_chars=200, help=help, width=170)
        most = max(1, page.experiment.inferences // page.experiment.config.samples)
        problems = st.number_input(f"Problems (of {most})", 1, min(most, MOST_RUNS), min(8, most), width=130)
        samples = st.number_input("Seeds of each", 1, 1000, 4, width=130)
        limit = page.experiment.config.max_new_tokens
        start = st.number_input("From generated token", 0, limit - 1, 0, width=160)
    at_residual = page.experiment.config.site == "residual" and st.toggle(
        "Steer the residual stream with these SAEs nevertheless"
    )
    try:
        if action != "ablate":
            _check_strengths(strengths)
        request = SweepRequest.model_validate(
            {
                "experiment": page.experiment.name,
                "features": [{"hookpoint": view.hookpoint, "feature": feature} for feature in chosen],
                "action": action,
                "strengths": [float(part) for part in strengths.split(",") if part.strip()],
                "start": start,
                "problems": problems,
                "samples": samples,
                "at_residual": at_residual,
            }
        )
    except ValidationError as error:
        header.nothing(plain(told(error)))
        return None
    except BadValue as error:
        header.nothing(plain(str(error)))
        return None
    runs = runs_of(len(chosen), max(1, len(set(request.strengths))), problems, samples)
    st.caption(f"{runs:,} runs of at most {limit:,} tokens, the baseline's included. What is done is kept.")
    return request


def _check_strengths(typed: str) -> None:
    """Raises BadValue for what is no list of finite numbers."""
    parts = [part.strip() for part in typed.split(",") if part.strip()]
    if not parts:
        raise BadValue(f"strengths: there is none; write some with commas between them, such as {_STRENGTHS}")
    for part in parts:
        try:
            number = float(part)
        except ValueError:
            raise BadValue(f"strengths: '{short(part)}' is no number; write such as {_STRENGTHS}") from None
        if not math.isfinite(number):
            raise BadValue(f"strengths: '{short(part)}' is no finite number")


def _stored(page: Page) -> None:
    """One of the stored sweeps: the link's, else the newest."""
    table = _table(page)
    if table.empty:
        header.nothing("No sweep of this experiment is stored yet.")
        return
    ids = table["study"].tolist()
    if page.view.sweep and page.view.sweep not in ids:
        st.warning(plain(f"The link's sweep '{page.view.sweep}' is not stored here."), icon=":material/link_off:")
    shown = page.view.sweep if page.view.sweep in ids else ids[0]
    names = {row["study"]: _name(row) for row in table.to_dict("records")}
    choices.select("Stored sweeps", "sweep", names, page, chosen=shown, width=700)
    try:
        read = _read(page, shown)
    except KthinkError as error:
        st.warning(plain(in_words(error)), icon=":material/warning:")
        return
    _about(read.sweep, page.person)
    sweep_charts.draw(page, shown, read.sweep, read.figures)
    sweep_tables.draw(page, shown, read.sweep, read.figures, read.solved)


def _name(row: Mapping[Hashable, Any]) -> str:
    """Of a stored sweep in a list: no other's."""
    when = row["created"][:16].replace("T", " ")
    return f"{row['study']} · {when} · {row['action']} {row['strengths']} · {row['features']}"


def _about(sweep: Sweep, person: Person) -> None:
    asked, made, source = sweep.asked, sweep.made, source_told(sweep.problems_from, person.sees)
    st.caption(
        plain(
            f"Problems: {len(sweep.questions)} of {source}; runs of each: {asked.samples}, seeds from "
            f"{asked.seed} on; temperature {asked.temperature:g}; steered from generated token {asked.start} on. "
            f"kthink {made.kthink}, {made.device}, {made.dtype}, {made.created}."
        )
    )


def _table(page: Page) -> pd.DataFrame:
    layout = injection_badge.layout(page)
    return _listed(str(layout.folder), page.source, studies_state(layout, KIND))


@st.cache_resource(max_entries=16, show_spinner=False)
def _listed(folder: str, _source: cache.Source, state: int) -> pd.DataFrame:
    return sweep_results.sweeps(cache.reader(_source))


class _Read(NamedTuple):
    """A stored sweep with its figures."""

    sweep: Sweep
    figures: pd.DataFrame
    """`sweep_figures.figures`."""
    solved: pd.DataFrame
    """`steer_table.steer_table`."""


def _read(page: Page, id: str) -> _Read:
    """Raises KthinkError."""
    layout = injection_badge.layout(page)
    return _document(str(layout.folder), page.source, id, studies_state(layout, KIND))


@st.cache_resource(max_entries=8, show_spinner=False)
def _document(folder: str, _source: cache.Source, id: str, state: int) -> _Read:
    sweep = sweep_results.stored(cache.reader(_source), id)
    return _Read(sweep, figures(sweep), steer_table(sweep))
