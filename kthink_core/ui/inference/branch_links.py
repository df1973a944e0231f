"""What a trace is a branch of, and what branches were kept of it."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import streamlit as st

from kthink_core import queries
from kthink_core.errors import KthinkError
from kthink_core.ui.parts.writing import plain, visible
from kthink_core.ui.view.page import Page, beside, go
from kthink_core.ui.view.permalink import View

_SHOWN = 20
"""Children that are listed."""


def parent(page: Page) -> None:
    """Of a branch: a link to the position at which it leaves its parent."""
    if not page.experiment.open_ended:
        return
    found = page.ask(queries.branches, page.view.inference).to_dict("records")
    if not found:
        return
    [row] = found
    position, experiment = int(row["parent_position"]), row["parent_experiment"]
    if not isinstance(experiment, str):
        st.caption(f"A branch, at position {position}, of a run that was not kept.")
        return
    if experiment not in [status.name for status in page.statuses]:
        st.caption(f"A branch, at position {position}, of an experiment that is not here.")
        return
    inference = int(row["parent_inference"])
    label = f"Branched from inference {inference} of {plain(experiment)}, at position {position}"
    there = View(experiment, page.view.hookpoint, inference, position=position)
    _button(there, label, "branch_parent", ":material/call_split:")


def children(page: Page) -> None:
    """Kept branches of the inference, by their position; nothing where there are none."""
    found = _children(page)
    if not found:
        return
    st.header("Branches", help="Kept runs that go on from a position of this trace with another token or seed.")
    for experiment, row in found[:_SHOWN]:
        inference, position = int(row["inference"]), int(row["parent_position"])
        said = f"At {position}: “{plain(visible(row['text']))}” … {row['verdict']}"
        answer = f", answer {plain(str(row['answer'])[:40])}" if isinstance(row["answer"], str) else ""
        there = replace(View(experiment, page.view.hookpoint, inference), position=position)
        label = f"{said}{answer} (inference {inference} of {plain(experiment)})"
        _button(there, label, f"branch {experiment} {inference}")
    if len(found) > _SHOWN:
        st.caption(f"And {len(found) - _SHOWN} more: `query branches --experiment {found[-1][0]}` lists all.")


def _button(there: View, label: str, key: str, icon: str = ":material/arrow_forward:") -> None:
    """Leads to another inference on this page: a link to the page it is on would leave the address as it was."""
    st.button(label, icon=icon, type="tertiary", key=key, on_click=go, args=(there,))


def _children(page: Page) -> list[tuple[str, dict]]:
    found: list[tuple[str, dict]] = []
    for status in page.statuses:
        if status.experiment is None or not status.experiment.open_ended:
            continue
        try:
            table: pd.DataFrame = beside(page, status.name).ask(queries.branches)
        except KthinkError:  # the overview says what is wrong with it
            continue
        here = (table["parent_experiment"] == page.experiment.name) & (table["parent_inference"] == page.view.inference)
        own: pd.DataFrame = table.loc[here]
        found += [(status.name, row) for row in own.to_dict("records")]
    return sorted(found, key=lambda one: (one[1]["parent_position"], one[0], one[1]["inference"]))
