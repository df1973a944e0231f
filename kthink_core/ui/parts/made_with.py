"""Where an experiment comes from: its configuration, and the versions that made it."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import streamlit as st

from kthink_core.access.person import Person
from kthink_core.config import GENERATING, IMPORTED, Experiment
from kthink_core.ui.parts import download
from kthink_core.ui.parts.numerals import MISSING
from kthink_core.ui.view.page import Page


def summary(page: Page) -> None:
    """The configuration in one line; all of it, with the provenance, behind a fold."""
    experiment = page.experiment
    line(experiment, page.person)
    with st.expander("Configuration and provenance", icon=":material/fact_check:"):
        known = {"sae", "hookpoints"} if experiment.is_bare else None
        hidden = GENERATING if experiment.config.traces else None
        config = experiment.config.told_to(page.person.sees).model_dump(include=known, exclude=hidden)
        parts = (_facts(config | experiment.bounds | experiment.revisions.found(config)), _facts(experiment.facts))
        for column, facts in zip(st.columns(2), parts, strict=True):
            column.dataframe(facts, hide_index=True)
        download.buttons(page, "configuration and provenance", pd.concat(parts, ignore_index=True))


def line(experiment: Experiment, person: Person) -> None:
    """What was asked of what, in one line, as somebody may know it."""
    config = experiment.config.told_to(person.sees)
    imported = [f"imported {experiment.provenance[IMPORTED]}"] if experiment.is_imported else []
    if experiment.is_bare:
        st.text(imported[0])
        return
    greedy = config.temperature == 0
    sampling = (
        [f"nothing generated, traces {config.traces}"]
        if config.traces
        else [
            f"problems {config.problems}",
            f"mode {config.mode}",
            "greedy" if greedy else f"temperature {config.temperature:g}, top-p {config.top_p:g}",
            f"at most {config.max_new_tokens} new tokens",
            f"seed {config.seed}",
            *([f"{config.samples} samples a problem"] if config.samples > 1 else []),
        ]
    )
    parts = [
        f"model {_with_revision(config.model, config.model_revision)}",
        f"SAEs {_with_revision(config.sae, config.sae_revision)}",
        f"capture site {config.site}",
        *(["prompts typed live, each sampled as its page says"] if experiment.open_ended else sampling),
        *imported,
    ]
    st.text(" · ".join(parts))


def _with_revision(source: str, revision: str | None) -> str:
    return f"{source}@{revision}" if revision else source


def _facts(values: Mapping[str, object]) -> pd.DataFrame:
    names = [name.replace("_", " ") for name in values]
    return pd.DataFrame({"What": names, "Value": [_shown(value) for value in values.values()]})


def _shown(value: object) -> str:
    if value is None:
        return MISSING
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
