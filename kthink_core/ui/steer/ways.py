"""What leads to the page Steer from where features are looked at, with everything filled in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import streamlit as st

from kthink_core import queries
from kthink_core.live.api import GenerateRequest
from kthink_core.records import Intervention
from kthink_core.steer_options import Asked
from kthink_core.store.intervention_rows import intervention_of
from kthink_core.ui.live import live_view
from kthink_core.ui.live.run_state import RunState
from kthink_core.ui.steer import question
from kthink_core.ui.steer.asked_interventions import usual
from kthink_core.ui.view.page import Page, at_inference, lead, link, with_features
from kthink_core.ui.view.permalink import STEERED, SWITCH, View
from kthink_core.ui.view.steer_link import Run

_LABEL, _ICON = "Steer it", ":material/tune:"


def from_feature(page: Page, feature: int) -> None:
    """A link: the feature at its maximum, on the question of the inference in view."""
    link("steer", _at(page, feature), _LABEL, _ICON)


def from_inference(page: Page, feature: int) -> None:
    """A link: the inference's question and settings, with its own interventions where it has some."""
    own = page.ask(queries.interventions, page.view.inference)
    view = _at(page, feature)
    if not own.empty:
        steer = tuple(Asked(_intervention({**row})) for row in own.to_dict("records"))
        at_residual = page.experiment.config.site == "residual"  # it was allowed when it was written
        view = replace(view, steer=steer, residual=SWITCH[at_residual])
    link("steer", view, _LABEL, _ICON)


def from_live(page: Page, run: RunState) -> None:
    """A button: the run's prompt, settings and seed, and the main feature shown. A prompt that is a stored question is
    referred to by its inference."""
    request = run.request
    if run.going or not isinstance(request, GenerateRequest) or request.branch or not len(run.trace):
        return
    settings = Run(*(getattr(request, name) for name in Run._fields))
    view = replace(_at(page, live_view.shown(page, run)[0]), run=settings)
    inference = _asking(page, request.prompt)

    if st.button(_LABEL, icon=_ICON, key="live_steer"):
        question.take(page, request.prompt, inference)
        lead("steer", at_inference(view, inference))


def _at(page: Page, feature: int) -> View:
    view = replace(page.view, span=None, position=None, run=None, residual=SWITCH[0], steered=STEERED[0])
    return replace(with_features(view, (feature,)), steer=(usual(page, view.hookpoint, feature),))


def _asking(page: Page, text: str) -> int:
    """The inference in view, or if its question is another the first one of this question, if there is one."""
    table = page.ask(queries.inferences)
    found = table.loc[table["question"] == text, "inference"].tolist()
    return page.view.inference if page.view.inference in found or not found else int(found[0])


def _intervention(row: Mapping[str, Any]) -> Intervention:
    """Of a row of `queries.interventions`."""
    waits = isinstance(row["after_hookpoint"], str)  # else both are null, whichever way pandas writes that
    trigger = {"after_hookpoint": row["after_hookpoint"], "after_feature": int(row["after_feature"])} if waits else {}
    return intervention_of({**row, "after_hookpoint": None, **trigger})
