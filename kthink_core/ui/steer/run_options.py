"""How a run is sampled: widgets bound to the link, whose first values are those of the inference in view."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, get_args

import pandas as pd
import streamlit as st

from kthink_core import queries
from kthink_core.prompts import Mode
from kthink_core.ui.live.prompt_check import NAMES
from kthink_core.ui.view.page import Page, go
from kthink_core.ui.view.steer_link import Run


def chosen(page: Page) -> Run:
    """What the link says, else how the inference was made."""
    if page.view.run is not None or not page.inferences:
        return page.view.run or _usual(page)
    return of_inference(page, stored(page))


def stored(page: Page) -> dict[str, Any]:
    """The row of the inference in view."""
    rows = page.ask(queries.inferences).to_dict("records")
    return next({**row} for row in rows if row["inference"] == page.view.inference)


def of_inference(page: Page, row: Mapping[str, Any]) -> Run:
    """How an inference was made: `row` is its row of `queries.inferences`. One that was kept says it itself."""
    usual = _usual(page)
    own = {name: row[name] for name in ("temperature", "top_p", "max_new_tokens") if not pd.isna(row[name])}
    return usual._replace(
        mode=row["mode"],
        seed=int(row["seed"]),
        temperature=float(own.get("temperature", usual.temperature)),
        top_p=float(own.get("top_p", usual.top_p)),
        max_new_tokens=int(own.get("max_new_tokens", usual.max_new_tokens)),
        instruction=_instruction(page, row["mode"]) in row["prompt"],
    )


def draw(page: Page) -> Run:
    """The widgets. No widget has bounds: what cannot be is shown, and told beside the prompt."""
    run, state = chosen(page), st.session_state
    for name, value in run._asdict().items():
        state[f"steer_run_{name}"] = value

    def changed(name: str) -> None:
        value = state[f"steer_run_{name}"]
        go(replace(page.view, run=run._replace(**{name: getattr(run, name) if value is None else value})))

    def bound(name: str) -> dict[str, Any]:
        return {"key": f"steer_run_{name}", "on_change": changed, "args": (name,)}

    st.segmented_control("Mode", get_args(Mode), required=True, **bound("mode"))
    one, two = st.columns(2)
    one.number_input(NAMES["temperature"], step=0.1, help="0: always the likeliest token.", **bound("temperature"))
    two.number_input(NAMES["top_p"], step=0.05, **bound("top_p"))
    one.number_input(NAMES["max_new_tokens"], step=1, **bound("max_new_tokens"))
    if run.max_new_tokens < 1:
        one.error("At least 1.")
    two.number_input(NAMES["seed"], step=1, help="Of both streams.", **bound("seed"))
    with st.container(horizontal=True):
        st.toggle(
            "Instruction", disabled=not _instruction(page, run.mode),
            help="Append the instruction that the stored inferences have behind their question; there may be none.",
            **bound("instruction"),
        )  # fmt: skip
        st.toggle(
            "Special tokens", help="Let names such as `</think>` in the text be these tokens.", **bound("special")
        )
    return run


def _instruction(page: Page, mode: Mode) -> str:
    """What the experiment appends to a question, if anything."""
    chat = page.experiment.config.chat
    return chat.think if mode == "think" else chat.bypass


def _usual(page: Page) -> Run:
    config = page.experiment.config
    return Run(config.mode, config.temperature, config.top_p, config.max_new_tokens, config.seed)
